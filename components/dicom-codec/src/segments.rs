//! Marker segments, which JPEG and JPEG-LS share (ISO/IEC 10918-1 B.1.1, 14495-1 C.1).

/// Walks over the markers of a code stream and stops at entropy-coded data.
#[derive(Debug, Clone)]
pub(crate) struct Segments<'a> {
    rest: &'a [u8],
}

/// Start of image.
const SOI: u8 = 0xD8;
/// End of image.
pub(crate) const EOI: u8 = 0xD9;
/// Start of scan; entropy-coded data follow its segment.
pub(crate) const SOS: u8 = 0xDA;
/// Number of lines.
pub(crate) const DNL: u8 = 0xDC;
/// Restart interval.
pub(crate) const DRI: u8 = 0xDD;

impl<'a> Segments<'a> {
    /// None where the stream does not start an image.
    pub(crate) fn of(stream: &'a [u8]) -> Option<Self> {
        Some(Self { rest: stream.strip_prefix(&[0xFF, SOI])? })
    }

    /// The next marker and the body of its segment, empty for the end of the image; None where there is no whole one.
    pub(crate) fn next(&mut self) -> Option<(u8, &'a [u8])> {
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

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The entropy-coded data that the walk stands at, with all behind them.
    pub(crate) fn entropy_coded(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on behind entropy-coded data.
    pub(crate) fn go_on(&mut self, rest: &'a [u8]) {
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
