//! From bytes to stored values: the bits of a word that are the value, with their sign.

use crate::codec::Decoded;
use crate::error::{RenderError, malformed};
use crate::layout::Bits;

/// Stored values of a grey or palette image.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Samples {
    /// Values of at most 16 bits, counted up from `least`: tables are then indexed without a sign.
    Narrow { words: Vec<u16>, least: i32 },
    /// Values of more bits.
    Wide(Vec<i64>),
}

impl Bits {
    /// The value in a word.
    pub(crate) fn value(self, word: u32) -> i64 {
        let value = i64::from(word >> self.shift) & ((1 << self.stored) - 1);
        if self.signed { (value ^ self.sign()) - self.sign() } else { value }
    }

    fn sign(self) -> i64 {
        1 << (self.stored - 1)
    }
}

impl Samples {
    pub(crate) fn of(decoded: &Decoded) -> Result<Self, RenderError> {
        let Decoded { layout, big_endian, bytes } = decoded;
        let bits = layout.bits;
        if bits.stored > 16 {
            let (words, _) = bytes.as_chunks::<4>();
            let word = |four: &[u8; 4]| {
                if *big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) }
            };
            let values: Vec<i64> = words.iter().map(|four| bits.value(word(four))).collect();
            return exactly(values.len(), layout.pixels()).map(|()| Self::Wide(values));
        }
        let mask = u16::MAX >> (16 - bits.stored);
        // A signed value with its sign bit flipped counts up from the least one.
        let flip = if bits.signed { 1 << (bits.stored - 1) } else { 0 };
        let least = if bits.signed { -(1 << (bits.stored - 1)) } else { 0 };
        let words = words(bytes, layout.bits_allocated, *big_endian, bits.shift, |word| (word & mask) ^ flip);
        exactly(words.len(), layout.pixels()).map(|()| Self::Narrow { words, least })
    }
}

/// All samples of a colour image, by pixel: red, green, blue, or what the colour space has instead.
pub(crate) fn by_pixel(decoded: &Decoded) -> Result<Vec<u16>, RenderError> {
    let layout = &decoded.layout;
    let mask = u16::MAX >> (16 - layout.bits.stored.min(16));
    let samples =
        words(&decoded.bytes, layout.bits_allocated, decoded.big_endian, layout.bits.shift, |word| {
            word & mask
        });
    exactly(samples.len(), layout.pixels() * layout.samples)?;
    if !layout.planar {
        return Ok(samples);
    }
    let mut planes = samples.chunks_exact(layout.pixels());
    let (Some(first), Some(second), Some(third)) = (planes.next(), planes.next(), planes.next()) else {
        return Err(malformed("pixels-short", "a colour plane is missing"));
    };
    let pixels = first.iter().zip(second).zip(third);
    Ok(pixels.flat_map(|((first, second), third)| [*first, *second, *third]).collect())
}

fn words(
    bytes: &[u8],
    bits_allocated: u32,
    big_endian: bool,
    shift: u32,
    value: impl Fn(u16) -> u16,
) -> Vec<u16> {
    let pairs = bytes.as_chunks::<2>().0;
    match (bits_allocated, big_endian) {
        (8, _) => bytes.iter().map(|byte| value(u16::from(*byte) >> shift)).collect(),
        (16, false) => pairs.iter().map(|pair| value(u16::from_le_bytes(*pair) >> shift)).collect(),
        (16, true) => pairs.iter().map(|pair| value(u16::from_be_bytes(*pair) >> shift)).collect(),
        _ => {
            let word = |four: &[u8; 4]| {
                let word = if big_endian { u32::from_be_bytes(*four) } else { u32::from_le_bytes(*four) };
                let [low, high, ..] = (word >> shift).to_le_bytes();
                value(u16::from_le_bytes([low, high]))
            };
            bytes.as_chunks::<4>().0.iter().map(word).collect()
        }
    }
}

fn exactly(found: usize, expected: usize) -> Result<(), RenderError> {
    if found == expected {
        Ok(())
    } else {
        Err(malformed("pixels-short", "there are fewer or more pixels than rows and columns say"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::{Colour, Layout};

    fn decoded(bytes: &[u8], bits_allocated: u32, bits: Bits) -> Decoded {
        let columns = bytes.len() * 8 / bits_allocated as usize;
        let colour = Colour::Grey { inverted: false };
        let layout =
            Layout { rows: 1, columns, frames: 1, samples: 1, colour, planar: false, bits_allocated, bits };
        Decoded { bytes: bytes.to_vec(), big_endian: false, layout }
    }

    #[test]
    fn bits_above_the_value_are_masked_and_the_sign_is_extended() {
        let bits = Bits { stored: 12, shift: 0, signed: true };
        let samples = Samples::of(&decoded(&[0xFF, 0xFF, 0x00, 0x18, 0xFF, 0xF7], 16, bits)).unwrap();
        // -1, -2048, 2047, counted up from -2048.
        assert_eq!(samples, Samples::Narrow { words: vec![2047, 0, 4095], least: -2048 });
        assert_eq!(bits.value(0xF800), -2048);
    }

    #[test]
    fn a_value_in_the_high_bits_is_shifted_down() {
        let bits = Bits { stored: 12, shift: 4, signed: false };
        let samples = Samples::of(&decoded(&[0x5F, 0x12], 16, bits)).unwrap();
        assert_eq!(samples, Samples::Narrow { words: vec![0x125], least: 0 });
    }

    #[test]
    fn values_of_32_bits_keep_their_sign() {
        let bits = Bits { stored: 32, shift: 0, signed: true };
        let samples = Samples::of(&decoded(&[0xFE, 0xFF, 0xFF, 0xFF], 32, bits)).unwrap();
        assert_eq!(samples, Samples::Wide(vec![-2]));
    }
}
