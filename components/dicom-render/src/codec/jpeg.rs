//! JPEG: sequential DCT of 8 bits and lossless, by the crate `jpeg-decoder`.
//!
//! The markers are read here first. They say what the decoder would do, so that what it does wrongly (a point
//! transform, 12-bit DCT) is refused, and what would be too large is not started.

use jpeg_decoder::{ColorTransform, Decoder, PixelFormat};

use super::{Decoded, by_pixel};
use crate::error::{RenderError, malformed, unsupported};
use crate::layout::{Colour, Layout};

pub(super) fn decode(stream: &[u8], layout: &Layout) -> Result<Decoded, RenderError> {
    let bad = || malformed("jpeg", "the JPEG code stream is damaged or of another shape");
    let frame = Markers::read(stream).ok_or_else(bad)?;
    let lossless = frame.process == 3;
    if !matches!(frame.process, 0..=3) || !lossless && frame.precision != 8 {
        return Err(unsupported("unsupported-syntax", "JPEG other than 8-bit sequential and lossless"));
    }
    if frame.point_transform != 0 && lossless {
        return Err(unsupported("unsupported-syntax", "lossless JPEG with a point transform"));
    }
    let fits = usize::from(frame.rows) == layout.rows
        && usize::from(frame.columns) == layout.columns
        && frame.components.len() == layout.samples
        && (2..=16).contains(&frame.precision)
        && (frame.precision <= 8 || layout.samples == 1)
        && u32::from(frame.precision) <= layout.bits_allocated;
    if !fits {
        return Err(bad());
    }
    let mut decoder = Decoder::new(stream);
    if layout.samples == 3 {
        // No transform: `None` does not interleave the components, `RGB` does and leaves them as they are.
        decoder.set_color_transform(ColorTransform::RGB);
    }
    let word = if frame.precision > 8 { 2 } else { 1 };
    decoder.set_max_decoding_buffer_size(layout.pixels() * layout.samples * 4 * word);
    let mut bytes = decoder.decode().map_err(|_| bad())?;
    let format = decoder.info().map(|info| info.pixel_format);
    match format {
        // A lossless image of fewer than 8 bits comes in words.
        Some(PixelFormat::L8) if bytes.len() == layout.pixels() * 2 => {
            bytes = bytes.as_chunks::<2>().0.iter().map(|pair| low_byte(u16::from_ne_bytes(*pair))).collect();
        }
        Some(PixelFormat::L16) => {
            let words = bytes.as_chunks_mut::<2>().0;
            words.iter_mut().for_each(|pair| *pair = u16::from_ne_bytes(*pair).to_le_bytes());
        }
        Some(PixelFormat::L8 | PixelFormat::RGB24) => {}
        _ => return Err(unsupported("unsupported-colour", "JPEG of four components")),
    }
    if bytes.len() != layout.pixels() * layout.samples * word {
        return Err(bad());
    }
    let mut decoded = by_pixel(layout, u32::from(frame.precision));
    decoded.colour = frame.colour(layout.colour);
    // Values of fewer bits than the header says still mean what the header says of the sign.
    decoded.bits.stored = u32::from(frame.precision).min(layout.bits.stored).max(1);
    Ok(Decoded { bytes, big_endian: false, layout: decoded })
}

fn low_byte(word: u16) -> u8 {
    let [low, _] = word.to_le_bytes();
    low
}

/// What the markers ahead of the first scan say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Markers {
    /// n of SOFn.
    process: u8,
    precision: u8,
    rows: u16,
    columns: u16,
    /// Component identifiers.
    components: Vec<u8>,
    point_transform: u8,
    jfif: bool,
    /// The transform byte of Adobe's APP14.
    adobe: Option<u8>,
}

impl Markers {
    fn read(stream: &[u8]) -> Option<Self> {
        let mut markers = Self::default();
        let mut rest = stream.strip_prefix(&[0xFF, 0xD8])?;
        let mut framed = false;
        loop {
            let (&[0xFF, marker], behind) = rest.split_first_chunk::<2>()? else { return None };
            if marker == 0xFF {
                rest = rest.get(1..)?;
                continue;
            }
            let length = usize::from(u16::from_be_bytes(*behind.first_chunk()?));
            let segment = behind.get(2..length)?;
            rest = behind.get(length..)?;
            match marker {
                0xC0..=0xC3 | 0xC5..=0xC7 | 0xC9..=0xCB | 0xCD..=0xCF => {
                    let [precision, r0, r1, c0, c1, count] = *segment.first_chunk()?;
                    let (specifications, _) = segment.get(6..)?.as_chunks::<3>();
                    markers.process = marker - 0xC0;
                    markers.precision = precision;
                    markers.rows = u16::from_be_bytes([r0, r1]);
                    markers.columns = u16::from_be_bytes([c0, c1]);
                    markers.components = specifications.iter().map(|[id, ..]| *id).collect();
                    framed = markers.components.len() == usize::from(count);
                }
                0xE0 => markers.jfif |= segment.starts_with(b"JFIF"),
                0xEE if segment.starts_with(b"Adobe") => markers.adobe = segment.get(11).copied(),
                0xDA => {
                    markers.point_transform = segment.last()? & 0xF;
                    return framed.then_some(markers);
                }
                _ => {}
            }
        }
    }

    /// What the components are: the code stream knows better than the header.
    fn colour(&self, said: Colour) -> Colour {
        let is_ybr = matches!(said, Colour::YbrFull | Colour::YbrFull422);
        match *self.components.as_slice() {
            [_, _, _] if !matches!(said, Colour::Rgb) && !is_ybr => said,
            [82, 71, 66] | [114, 103, 98] => Colour::Rgb,
            [_, _, _] if is_ybr || self.jfif => Colour::YbrFull,
            [_, _, _] if self.adobe == Some(1) => Colour::YbrFull,
            _ => said,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::Bits;

    const HEAD: &[u8] = &[
        0xFF, 0xD8, 0xFF, 0xC0, 0, 17, 8, 0, 2, 0, 3, 3, 82, 0x11, 0, 71, 0x11, 0, 66, 0x11, 0, 0xFF, 0xDA,
        0, 5, 1, 1, 4,
    ];

    #[test]
    fn the_shape_stands_in_the_markers() {
        let markers = Markers::read(HEAD).unwrap();
        assert_eq!((markers.rows, markers.columns, markers.point_transform), (2, 3, 4));
        assert_eq!(markers.colour(Colour::YbrFull), Colour::Rgb);
    }

    #[test]
    fn what_the_decoder_would_get_wrong_is_refused() {
        let bits = Bits { stored: 8, shift: 0, signed: false };
        let layout = Layout {
            rows: 2,
            columns: 3,
            frames: 1,
            samples: 3,
            colour: Colour::Rgb,
            planar: false,
            bits_allocated: 8,
            bits,
        };
        // Lossless with a point transform; DCT of 12 bits; progressive arithmetic coding.
        for (at, byte) in [(3, 0xC3), (6, 12), (3, 0xCA)] {
            let mut stream = HEAD.to_vec();
            stream[at] = byte;
            let refused = decode(&stream, &layout);
            assert!(matches!(refused, Err(RenderError::Unsupported { .. })), "{at} {byte}: {refused:?}");
        }
        let other = Layout { rows: 3, ..layout };
        assert!(matches!(decode(HEAD, &other), Err(RenderError::Malformed { .. })));
    }

    #[test]
    fn a_code_stream_cut_anywhere_is_no_frame() {
        for end in 0..HEAD.len() {
            assert_eq!(Markers::read(&HEAD[..end]), None, "{end}");
        }
    }
}
