//! RLE Lossless (PS3.5 Annex G): a segment for each byte of each sample, the most significant first.

use crate::error::{CodecError, malformed, unsupported};
use crate::{Pixels, Shape, StreamColour};

const HEADER: usize = 64;
/// The header has room for so many.
const MOST_SEGMENTS: usize = 15;

pub(super) fn decode(stream: &[u8], shape: &Shape) -> Result<Pixels, CodecError> {
    let bad = malformed("rle", "the RLE header or a segment does not fit the image");
    // A code that is no whole number of bytes is padded to one: single bits stand in a byte each (G.2).
    let word = match shape.bits_allocated {
        1 => 1,
        bits if bits.is_multiple_of(8) && bits <= 64 => bits as usize / 8,
        _ => return Err(unsupported("RLE of bits that make no bytes")),
    };
    let count = word * shape.samples;
    if count > MOST_SEGMENTS {
        return Err(unsupported("RLE of more than fifteen bytes a pixel"));
    }
    let (heads, _) = stream.get(..HEADER).ok_or(bad)?.as_chunks::<4>();
    let mut heads = heads.iter().map(|head| u32::from_le_bytes(*head) as usize);
    if heads.next() != Some(count) {
        return Err(bad);
    }
    let offsets: Vec<usize> = heads.take(count).chain([stream.len()]).collect();
    let mut bytes = vec![0_u8; shape.pixels() * count];
    let mut plane = Vec::with_capacity(shape.pixels());
    for (segment, range) in offsets.windows(2).enumerate() {
        let &[start, end] = range else { return Err(bad) };
        let packed = stream.get(start..end).filter(|_| start >= HEADER).ok_or(bad)?;
        plane.clear();
        unpack(packed, shape.pixels(), &mut plane).ok_or(bad)?;
        if count == 1 {
            bytes.copy_from_slice(&plane);
            continue;
        }
        let (sample, byte) = (segment / word, word - 1 - segment % word);
        let into = bytes.get_mut(sample * word + byte..).unwrap_or_default();
        for (to, from) in into.iter_mut().step_by(count).zip(&plane) {
            *to = *from;
        }
    }
    Ok(Pixels { bytes, word, precision: shape.bits_allocated, colour: StreamColour::Unsaid })
}

/// PackBits up to exactly `wanted` bytes; None where there are fewer.
fn unpack(mut packed: &[u8], wanted: usize, into: &mut Vec<u8>) -> Option<()> {
    while into.len() < wanted {
        let (&control, rest) = packed.split_first()?;
        let left = wanted - into.len();
        packed = match control {
            0..=127 => {
                let (literal, rest) = rest.split_at_checked(usize::from(control) + 1)?;
                into.extend(literal.iter().take(left));
                rest
            }
            128 => rest,
            129.. => {
                let (&value, rest) = rest.split_first()?;
                let run = 257 - usize::from(control);
                into.resize(into.len() + run.min(left), value);
                rest
            }
        };
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_and_literals_unpack_and_a_short_segment_is_refused() {
        let packed = [0xFE, 0xAA, 0x02, 0x80, 0x00, 0x2A, 0x80, 0xFD, 0xBB];
        let mut bytes = Vec::new();
        assert_eq!(unpack(&packed, 10, &mut bytes), Some(()));
        assert_eq!(bytes, [0xAA, 0xAA, 0xAA, 0x80, 0x00, 0x2A, 0xBB, 0xBB, 0xBB, 0xBB]);
        assert_eq!(unpack(&packed, 11, &mut Vec::new()), None);
    }

    /// A frame of one pixel whose bytes are 1, 2, 3 and so on, by segment.
    fn one_pixel(segments: u8) -> Vec<u8> {
        let mut stream = vec![segments, 0, 0, 0];
        for segment in 0..u32::from(segments) {
            stream.extend((64 + 2 * segment).to_le_bytes());
        }
        stream.resize(64, 0);
        (1..=segments).for_each(|byte| stream.extend([0, byte]));
        stream
    }

    #[test]
    fn samples_of_any_width_have_their_most_significant_byte_first() {
        let decoded = |bits_allocated: u32, samples: usize| {
            let shape = Shape { rows: 1, columns: 1, samples, bits_allocated };
            let segments = samples * bits_allocated.div_ceil(8) as usize;
            decode(&one_pixel(u8::try_from(segments).unwrap()), &shape)
        };
        assert_eq!(decoded(1, 1).unwrap().bytes, [1]);
        assert_eq!(decoded(8, 3).unwrap().bytes, [1, 2, 3]);
        assert_eq!(decoded(24, 1).unwrap().bytes, [3, 2, 1]);
        assert_eq!(decoded(32, 3).unwrap().bytes, [4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9]);
        assert_eq!(decoded(64, 1).unwrap().bytes, [8, 7, 6, 5, 4, 3, 2, 1]);
        // 24 segments have no place in the header; 12 bits make no bytes.
        assert!(matches!(decoded(64, 3), Err(CodecError::Unsupported { .. })));
        assert!(matches!(decoded(12, 1), Err(CodecError::Unsupported { .. })));
    }

    #[test]
    fn headers_that_contradict_the_image_are_refused() {
        let shape = Shape { rows: 1, columns: 1, samples: 1, bits_allocated: 16 };
        assert!(decode(&one_pixel(2), &shape).is_ok());
        assert!(decode(&one_pixel(3), &shape).is_err());
        for (at, byte) in [(4, 63), (4, 67), (8, 200), (0, 1)] {
            let mut stream = one_pixel(2);
            stream[at] = byte;
            assert!(decode(&stream, &shape).is_err(), "{at}");
        }
    }
}
