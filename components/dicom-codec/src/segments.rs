//! Marker segments, which JPEG and JPEG-LS share (ISO/IEC 10918-1 B.1.1, 14495-1 C.1).

use crate::error::CodecError;

/// What a family of code streams makes of its segments.
pub(crate) trait Decode {
    /// Whether each sample has been decoded.
    fn is_whole(&self) -> bool;

    /// Takes a segment that is no entropy-coded data.
    fn take(&mut self, marker: u8, body: &[u8]) -> Result<(), CodecError>;

    /// Decodes the scan whose header is `body`; returns what stands behind its data.
    fn scan<'s>(&mut self, body: &[u8], entropy_coded: &'s [u8]) -> Result<&'s [u8], CodecError>;
}

/// Hands the segments of a code stream over, up to the end of the image. `bad` is said of a stream without such a form.
pub(crate) fn walk(stream: &[u8], decoder: &mut impl Decode, bad: CodecError) -> Result<(), CodecError> {
    let mut segments = Segments::of(stream).ok_or(bad)?;
    // Where the end of the image was cut off, and nothing with it, the image is there.
    while !(segments.is_empty() && decoder.is_whole()) {
        let (marker, body) = segments.next().ok_or(bad)?;
        if marker == EOI {
            break;
        }
        decoder.take(marker, body)?;
        if marker == SOS {
            let rest = decoder.scan(body, segments.entropy_coded())?;
            segments.go_on(rest);
        }
    }
    Ok(())
}

/// Walks over the markers of a code stream and stops at entropy-coded data.
#[derive(Debug, Clone)]
struct Segments<'a> {
    rest: &'a [u8],
}

/// Start of image.
const SOI: u8 = 0xD8;
/// End of image.
const EOI: u8 = 0xD9;
/// Start of scan; entropy-coded data follow its segment.
pub(crate) const SOS: u8 = 0xDA;
/// Number of lines.
pub(crate) const DNL: u8 = 0xDC;
/// Restart interval.
pub(crate) const DRI: u8 = 0xDD;

impl<'a> Segments<'a> {
    /// None where the stream does not start an image.
    fn of(stream: &'a [u8]) -> Option<Self> {
        Some(Self { rest: stream.strip_prefix(&[0xFF, SOI])? })
    }

    /// The next marker and the body of its segment, empty for the end of the image; None where there is no whole one.
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        loop {
            let (&[0xFF, marker], behind) = self.rest.split_first_chunk::<2>()? else { return None };
            match marker {
                // A fill byte.
                0xFF => self.rest = self.rest.get(1..)?,
                EOI => {
                    self.rest = behind;
                    return Some((EOI, &[]));
                }
                // Stuffing, restart markers and a second image have no place between segments.
                0x00..=0x01 | 0xD0..=SOI => return None,
                _ => {
                    let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
                    let body = behind.get(2..length)?;
                    self.rest = behind.get(length..)?;
                    return Some((marker, body));
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The entropy-coded data that the walk stands at, with all behind them.
    fn entropy_coded(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on behind entropy-coded data.
    fn go_on(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill_bytes_are_skipped_and_a_cut_segment_is_none() {
        let stream = [0xFF, 0xD8, 0xFF, 0xFF, 0xFE, 0, 3, 7, 0xFF, 0xD9, 0];
        let mut segments = Segments::of(&stream).unwrap();
        assert_eq!(segments.next(), Some((0xFE, &[7][..])));
        assert_eq!(segments.next(), Some((EOI, &[][..])));
        assert_eq!(segments.entropy_coded(), [0]);
        assert_eq!(Segments::of(&stream[..7]).unwrap().next(), None);
        // A length that does not hold itself.
        assert_eq!(Segments::of(&[0xFF, 0xD8, 0xFF, 0xFE, 0, 1, 0]).unwrap().next(), None);
    }
}
