//! The shape of the pixels, checked once: whoever holds a [`Layout`] may multiply its numbers.

use crate::error::{RenderError, limit, malformed, unsupported};
use crate::header::Header;

/// What a grey or coloured value means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colour {
    /// Grey, larger is darker if the flag is set.
    Grey {
        inverted: bool,
    },
    Palette,
    Rgb,
    YbrFull,
    /// YBR_FULL_422: two pixels share their chrominance, where the data are not compressed.
    YbrFull422,
    /// YBR_ICT and YBR_RCT: JPEG 2000 decodes them to RGB.
    YbrOfJpeg2000,
}

/// Shape of one frame and of its values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) frames: u32,
    pub(crate) samples: usize,
    pub(crate) colour: Colour,
    /// Samples stand in planes, one behind the other.
    pub(crate) planar: bool,
    /// 1, or a multiple of 8 up to 64.
    pub(crate) bits_allocated: u32,
    pub(crate) bits: Bits,
}

/// Which bits of a word are the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Bits {
    pub(crate) stored: u32,
    /// Bits below the value.
    pub(crate) shift: u32,
    pub(crate) signed: bool,
}

impl Layout {
    /// # Errors
    /// Where a number is missing, contradicts another or asks for more than `most_frame_bytes` a frame.
    pub(crate) fn of(header: &Header, most_frame_bytes: u64) -> Result<Self, RenderError> {
        let samples = header.samples.unwrap_or(1);
        let (rows, columns) = (header.rows, header.columns);
        if rows == 0 || columns == 0 {
            return Err(malformed("no-size", "rows or columns are missing or zero"));
        }
        let allocated = u32::from(header.bits_allocated);
        if allocated != 1 && (allocated == 0 || allocated > 64 || !allocated.is_multiple_of(8)) {
            return Err(unsupported(
                "unsupported-bits",
                "bits allocated are neither 1 nor bytes up to eight",
            ));
        }
        let stored = u32::from(header.bits_stored);
        let high = u32::from(header.high_bit.unwrap_or(header.bits_stored.saturating_sub(1)));
        if stored == 0 || stored > allocated || high >= allocated || high + 1 < stored {
            return Err(malformed("bits", "bits allocated, stored and high bit contradict"));
        }
        let colour = match (header.photometric.as_str(), samples) {
            ("MONOCHROME1", 1) => Colour::Grey { inverted: true },
            ("MONOCHROME2", 1) => Colour::Grey { inverted: false },
            ("PALETTE COLOR", 1) => Colour::Palette,
            ("RGB", 3) => Colour::Rgb,
            ("YBR_FULL", 3) => Colour::YbrFull,
            ("YBR_FULL_422", 3) => Colour::YbrFull422,
            ("YBR_ICT" | "YBR_RCT", 3) => Colour::YbrOfJpeg2000,
            ("", _) => return Err(malformed("no-photometric", "the photometric interpretation is missing")),
            ("MONOCHROME1" | "MONOCHROME2" | "PALETTE COLOR" | "RGB", _) => {
                return Err(malformed(
                    "samples",
                    "samples a pixel and photometric interpretation contradict",
                ));
            }
            _ => return Err(unsupported("unsupported-colour", "a photometric interpretation not handled")),
        };
        let bits = Bits { stored, shift: high + 1 - stored, signed: header.signed };
        if stored == 64 && !header.signed {
            return Err(unsupported("unsupported-bits", "64 unsigned bits"));
        }
        if samples == 3 && (allocated == 1 || header.signed) {
            return Err(unsupported("unsupported-bits", "colour of single or signed bits"));
        }
        if matches!(colour, Colour::YbrFull | Colour::YbrFull422) && allocated != 8 {
            return Err(unsupported("unsupported-bits", "luminance and chrominance that are not of 8 bits"));
        }
        let frames = header.frames.unwrap_or(1);
        if frames == 0 {
            return Err(malformed("no-frames", "the number of frames is zero"));
        }
        let layout = Self {
            rows: usize::from(rows),
            columns: usize::from(columns),
            frames,
            samples: usize::from(samples),
            colour,
            planar: samples == 3 && header.planar == 1,
            bits_allocated: allocated,
            bits,
        };
        if layout.frame_bits().div_ceil(8) > most_frame_bytes {
            return Err(limit("frame-too-large", "a frame is larger than the limit"));
        }
        Ok(layout)
    }

    /// Pixels of a frame: below 2^32.
    pub(crate) fn pixels(&self) -> usize {
        self.rows * self.columns
    }

    /// Bits of a decoded frame with all its samples: below 2^40.
    pub(crate) fn frame_bits(&self) -> u64 {
        self.rows as u64 * self.columns as u64 * self.samples as u64 * u64::from(self.bits_allocated)
    }
}
