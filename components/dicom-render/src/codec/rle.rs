//! RLE Lossless, PS3.5 Annex G: a segment for each byte of each sample, the most significant first.

use super::Decoded;
use crate::error::{RenderError, malformed, unsupported};
use crate::layout::Layout;

const HEADER: usize = 64;

pub(super) fn decode(stream: &[u8], layout: &Layout) -> Result<Decoded, RenderError> {
    let bad = malformed("rle", "the RLE header or a segment does not fit the image");
    if layout.bits_allocated < 8 {
        return Err(unsupported("unsupported-syntax", "RLE of single bits"));
    }
    let word = layout.bits_allocated as usize / 8;
    let count = word * layout.samples;
    let (heads, _) = stream.get(..HEADER).ok_or_else(|| bad.clone())?.as_chunks::<4>();
    let mut heads = heads.iter().map(|head| u32::from_le_bytes(*head) as usize);
    if heads.next() != Some(count) {
        return Err(bad);
    }
    let offsets: Vec<usize> = heads.take(count).chain([stream.len()]).collect();
    let step = count;
    let mut bytes = vec![0_u8; layout.pixels() * step];
    let mut plane = Vec::with_capacity(layout.pixels());
    for (segment, range) in offsets.windows(2).enumerate() {
        let &[start, end] = range else { return Err(bad) };
        let packed = stream.get(start..end).filter(|_| start >= HEADER).ok_or_else(|| bad.clone())?;
        plane.clear();
        unpack(packed, layout.pixels(), &mut plane).ok_or_else(|| bad.clone())?;
        let (sample, byte) = (segment / word, word - 1 - segment % word);
        let into = bytes.get_mut(sample * word + byte..).unwrap_or_default();
        for (to, from) in into.iter_mut().step_by(step).zip(&plane) {
            *to = *from;
        }
    }
    // Interleaved by pixel, whatever Planar Configuration says of it.
    Ok(Decoded { bytes, big_endian: false, layout: Layout { planar: false, ..*layout } })
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
}
