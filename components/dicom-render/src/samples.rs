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
    /// The value in a word. Unsigned ones have 63 bits at most.
    pub(crate) fn value(self, word: u64) -> i64 {
        let unused = 64 - self.stored;
        let value = (word >> self.shift) << unused;
        if self.signed { value.cast_signed() >> unused } else { (value >> unused).cast_signed() }
    }
}

impl Samples {
    pub(crate) fn of(decoded: &Decoded) -> Result<Self, RenderError> {
        let Decoded { layout, big_endian, bytes } = decoded;
        let bits = layout.bits;
        if bits.stored > 16 {
            let words = wide_words(bytes, layout.bits_allocated, *big_endian);
            let values: Vec<i64> = words.map(|word| bits.value(word)).collect();
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

/// All samples of a colour image, by pixel: red, green, blue, or what the colour space has instead. Of more than 16 bits
/// the highest 16.
pub(crate) fn by_pixel(decoded: &Decoded) -> Result<Vec<u16>, RenderError> {
    let layout = &decoded.layout;
    let mask = u16::MAX >> (16 - layout.bits.stored.min(16));
    let shift = layout.bits.shift + layout.bits.stored.saturating_sub(16);
    let samples = words(&decoded.bytes, layout.bits_allocated, decoded.big_endian, shift, |word| word & mask);
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
            let narrow = |word: u64| {
                let [low, high, ..] = (word >> shift).to_le_bytes();
                value(u16::from_le_bytes([low, high]))
            };
            wide_words(bytes, bits_allocated, big_endian).map(narrow).collect()
        }
    }
}

/// Words of one to eight bytes.
fn wide_words(bytes: &[u8], bits_allocated: u32, big_endian: bool) -> impl Iterator<Item = u64> {
    bytes.chunks_exact((bits_allocated as usize / 8).max(1)).map(move |word| {
        let join = |word: u64, byte: &u8| word << 8 | u64::from(*byte);
        if big_endian { word.iter().fold(0, join) } else { word.iter().rev().fold(0, join) }
    })
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
    fn values_of_any_width_keep_their_sign() {
        for (width, bits_allocated) in [(3, 24), (4, 32), (5, 40), (8, 64)] {
            let bits = Bits { stored: bits_allocated, shift: 0, signed: true };
            let mut bytes = vec![0xFE];
            bytes.resize(width, 0xFF);
            let samples = Samples::of(&decoded(&bytes, bits_allocated, bits)).unwrap();
            assert_eq!(samples, Samples::Wide(vec![-2]), "{bits_allocated}");
            let bits = Bits { stored: 17, shift: 3, signed: false };
            let samples = Samples::of(&decoded(&bytes, bits_allocated, bits)).unwrap();
            assert_eq!(samples, Samples::Wide(vec![(1 << 17) - 1]), "{bits_allocated}");
        }
    }

    #[test]
    fn colour_of_many_bits_keeps_the_highest_sixteen() {
        let bits = Bits { stored: 32, shift: 0, signed: false };
        let mut frame = decoded(&[0, 0, 0x34, 0x12, 0, 0, 0x78, 0x56, 0, 0, 0xBC, 0x9A], 32, bits);
        frame.layout = Layout { samples: 3, columns: 1, colour: Colour::Rgb, ..frame.layout };
        assert_eq!(by_pixel(&frame).unwrap(), [0x1234, 0x5678, 0x9ABC]);
    }
}
