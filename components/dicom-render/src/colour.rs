//! Colour: palettes and luminance-chrominance to RGB, RGB to grey.

use crate::codec::Decoded;
use crate::error::{RenderError, unsupported};
use crate::grey::{Grey, Modality};
use crate::header::Header;
use crate::layout::Colour;
use crate::lut::Lut;
use crate::samples::{self, Samples};

/// A colour image: red, green, blue by pixel, each from 0 to 2^bits - 1.
#[derive(Debug)]
pub(crate) struct Rgb {
    pub(crate) rows: usize,
    pub(crate) columns: usize,
    pub(crate) bits: u32,
    pub(crate) samples: Vec<u16>,
}

impl Rgb {
    pub(crate) fn of(decoded: &Decoded, header: &Header) -> Result<Self, RenderError> {
        let layout = &decoded.layout;
        let (bits, samples) = match layout.colour {
            Colour::Palette => palette(decoded, header)?,
            Colour::Rgb => (layout.bits.stored.min(16), samples::by_pixel(decoded)?),
            Colour::YbrFull | Colour::YbrFull422 if layout.bits.stored == 8 => {
                let mut samples = samples::by_pixel(decoded)?;
                samples.as_chunks_mut::<3>().0.iter_mut().for_each(|pixel| *pixel = from_ybr(*pixel));
                (8, samples)
            }
            _ => {
                return Err(unsupported(
                    "unsupported-colour",
                    "a colour space that this codec does not give",
                ));
            }
        };
        Ok(Self { rows: layout.rows, columns: layout.columns, bits, samples })
    }

    /// The eight highest bits of each sample.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let byte = |sample: &u16| {
            let wide = if self.bits >= 8 { sample >> (self.bits - 8) } else { stretched(*sample, self.bits) };
            let [low, _] = wide.to_le_bytes();
            low
        };
        self.samples.iter().map(byte).collect()
    }

    /// Luminance of ITU-R BT.601 (0.299, 0.587, 0.114 as 65536ths) in 16 bits, on the scale of one sample.
    pub(crate) fn luminance(&self) -> Grey {
        let half = 1_u32 << (self.bits - 1);
        let luminance = |&[red, green, blue]: &[u16; 3]| {
            // At most 65536 * 65535 + 32768: below 2^32.
            let sum = 19_595 * u32::from(red) + 38_470 * u32::from(green) + 7_471 * u32::from(blue) + half;
            u16::try_from(sum >> self.bits).unwrap_or(u16::MAX)
        };
        Grey {
            rows: self.rows,
            columns: self.columns,
            samples: Samples::Narrow {
                words: self.samples.as_chunks::<3>().0.iter().map(luminance).collect(),
                least: 0,
            },
            modality: Modality::Linear { slope: 1.0 / f64::from(1_u32 << (16 - self.bits)), intercept: 0.0 },
            padding: None,
            inverted: false,
            binary: false,
        }
    }
}

fn stretched(sample: u16, bits: u32) -> u16 {
    sample * 255 / ((1 << bits) - 1)
}

fn palette(decoded: &Decoded, header: &Header) -> Result<(u32, Vec<u16>), RenderError> {
    let [red, green, blue] = &header.palette;
    let tables = [red.table(header.signed)?, green.table(header.signed)?, blue.table(header.signed)?];
    // Tables of 8 significant bits in 16-bit descriptors exist; what counts is the descriptor.
    let bits = tables.iter().map(|table| table.bits).max().unwrap_or(8);
    let colour = |stored: i64| tables.each_ref().map(|table: &Lut| table.entry(stored));
    let samples = match Samples::of(decoded)? {
        Samples::Narrow { words, least } => {
            words.iter().flat_map(|word| colour(i64::from(*word) + i64::from(least))).collect()
        }
        Samples::Wide(values) => values.iter().flat_map(|value| colour(*value)).collect(),
    };
    Ok((u32::from(bits), samples))
}

/// PS3.3 C.7.6.3.1.2, inverted; rounded half up. The products are below 2^24 in 65536ths.
fn from_ybr([luma, blue, red]: [u16; 3]) -> [u16; 3] {
    let (y, cb, cr) = (f64::from(luma), f64::from(blue) - 128.0, f64::from(red) - 128.0);
    let sample = |value: f64| {
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and 255")]
        let byte = (value + 0.5).floor().clamp(0.0, 255.0) as u16;
        byte
    };
    let green = y - (0.114 * 1.772 / 0.587) * cb - (0.299 * 1.402 / 0.587) * cr;
    [sample(y + 1.402 * cr), sample(green), sample(y + 1.772 * cb)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn luminance_and_chrominance_give_the_primaries() {
        assert_eq!(from_ybr([76, 85, 255]), [254, 0, 0]);
        assert_eq!(from_ybr([255, 128, 128]), [255, 255, 255]);
        assert_eq!(from_ybr([29, 255, 107]), [0, 0, 254]);
    }

    #[test]
    fn white_stays_white_as_luminance_for_every_depth() {
        for bits in [1, 8, 12, 16] {
            let white = u16::MAX >> (16 - bits);
            let rgb = Rgb { rows: 1, columns: 1, bits, samples: vec![white; 3] };
            let Grey { samples: Samples::Narrow { words, .. }, modality, .. } = rgb.luminance() else {
                panic!()
            };
            let value = modality.value(i64::from(words[0]));
            assert!((value - f64::from(white)).abs() <= 0.5 / f64::from(1 << (16 - bits)), "{bits}: {value}");
        }
    }
}
