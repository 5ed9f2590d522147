//! JPEG 2000, also with high throughput (HTJ2K), by `openjp2`, a translation of OpenJPEG into Rust.
//!
//! That translation holds unsafe code. In the sandbox a fault in it stays there; a native build must not be fed
//! objects that nobody trusts.

use jpeg2k::{DecodeParameters, Image};

use crate::error::{CodecError, malformed, unsupported};
use crate::{Pixels, Shape, StreamColour};

/// Each tile costs the decoder some kilobytes before the first pixel.
const MOST_TILES: u64 = 4096;

pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Pixels, CodecError> {
    let bad = || malformed("jpeg2000", "the JPEG 2000 code stream is damaged or of another shape");
    let size = Size::read(stream).ok_or_else(bad)?;
    size.check(shape)?;
    let image = Image::from_bytes_with(stream, DecodeParameters::new().strict(true)).map_err(|_| bad())?;
    let components = image.components();
    let precision = components.first().map(jpeg2k::ImageComponent::precision).unwrap_or(0);
    let uniform = components.iter().all(|component| {
        component.precision() == precision
            && component.width() as usize == shape.columns
            && component.height() as usize == shape.rows
    });
    if components.len() != shape.samples || !uniform {
        return Err(bad());
    }
    let word = match precision {
        1..=8 => 1,
        9..=16 => 2,
        17..=32 => 4,
        _ => return Err(bad()),
    };
    let step = word * shape.samples;
    let mut bytes = vec![0_u8; shape.pixels() * step];
    for (sample, component) in components.iter().enumerate() {
        // The low bits of the two's complement: signed or not is the header's to say, as pydicom has it too.
        let into = bytes.get_mut(sample * word..).unwrap_or_default().chunks_mut(step);
        for (to, value) in into.zip(component.data()) {
            to.iter_mut().take(word).zip(value.to_le_bytes()).for_each(|(to, byte)| *to = byte);
        }
    }
    // A colour transform of the stream is undone by now.
    let colour = StreamColour::Unsaid;
    Ok(Pixels { bytes, word, precision, colour })
}

/// The SIZ segment of a code stream (ISO/IEC 15444-1, A.5.1).
struct Size {
    columns: u64,
    rows: u64,
    tiles: u64,
    components: usize,
    subsampled: bool,
    precision: u32,
}

impl Size {
    fn read(stream: &[u8]) -> Option<Self> {
        // The code stream may be wrapped in a JP2 file, against the standard.
        let start = stream.windows(4).take(4096).position(|four| four == [0xFF, 0x4F, 0xFF, 0x51])?;
        let segment = stream.get(start + 4..)?;
        let number = |at: usize| Some(u64::from(u32::from_be_bytes(*segment.get(at..)?.first_chunk()?)));
        let (x1, y1, x0, y0) = (number(4)?, number(8)?, number(12)?, number(16)?);
        let (tile_width, tile_height, tile_x, tile_y) = (number(20)?, number(24)?, number(28)?, number(32)?);
        let count = usize::from(u16::from_be_bytes(*segment.get(36..)?.first_chunk()?));
        let components = segment.get(38..38 + 3 * count)?.as_chunks::<3>().0;
        if tile_width == 0 || tile_height == 0 {
            return None;
        }
        Some(Self {
            columns: x1.checked_sub(x0)?,
            rows: y1.checked_sub(y0)?,
            tiles: x1.checked_sub(tile_x)?.div_ceil(tile_width)
                * y1.checked_sub(tile_y)?.div_ceil(tile_height),
            components: count,
            subsampled: components.iter().any(|[_, x, y]| (*x, *y) != (1, 1)),
            precision: components.iter().map(|[bits, ..]| u32::from(bits & 0x7F) + 1).max()?,
        })
    }

    fn check(&self, shape: &Shape) -> Result<(), CodecError> {
        if (self.columns, self.rows, self.components)
            != (shape.columns as u64, shape.rows as u64, shape.samples)
        {
            return Err(malformed("jpeg2000", "the JPEG 2000 code stream is of another shape"));
        }
        if self.subsampled || self.tiles > MOST_TILES || self.precision > shape.bits_allocated {
            return Err(unsupported("JPEG 2000 of so many tiles or bits, or subsampled"));
        }
        Ok(())
    }
}
