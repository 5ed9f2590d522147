//! Bits of native pixels that no decoder looks at: they may hold an overlay, or anything.

use dicom_stream::{Encoding, Tag};

use crate::survey::Facts;

/// Clears the bits of 16-bit cells outside of the stored ones.
pub(crate) struct Mask {
    /// New value by old one, for the byte that comes first in a cell and for the other.
    bytes: [[u8; 256]; 2],
}

impl Mask {
    /// A mask, where the object has overlay attributes and its cells have bits to spare. Signed values keep their
    /// sign: the bits above are filled with it.
    pub(crate) fn of(facts: &Facts, encoding: Encoding) -> Option<Self> {
        let (allocated, stored) = (facts.number(0x0028_0100)?, facts.number(0x0028_0101)?);
        let high = facts.number(0x0028_0102).unwrap_or(stored.checked_sub(1)?);
        if !facts.has_overlay
            || allocated != 16
            || !(1..16).contains(&stored)
            || high > 15
            || high + 1 < stored
        {
            return None;
        }
        let mask = ((1_u32 << stored) - 1) << (high + 1 - stored);
        let signed = facts.number(0x0028_0103) == Some(1) && high >= 8;
        let [low_mask, high_mask, ..] = mask.to_le_bytes();
        let (mut low, mut upper) = ([0; 256], [0; 256]);
        for (byte, (low, upper)) in (0..=u8::MAX).zip(low.iter_mut().zip(&mut upper)) {
            *low = byte & low_mask;
            *upper = byte & high_mask;
            if signed && byte >> (high - 8) & 1 == 1 {
                // Every bit above the sign.
                *upper |= !(u8::MAX >> (15 - high));
            }
        }
        Some(Self { bytes: if encoding == Encoding::ExplicitBig { [upper, low] } else { [low, upper] } })
    }

    /// Masks bytes that begin at `offset` of the pixel data.
    pub(crate) fn apply(&self, bytes: &mut [u8], offset: u64) {
        let [first, second] = &self.bytes;
        let (first, second) = if offset.is_multiple_of(2) { (first, second) } else { (second, first) };
        for pair in bytes.chunks_mut(2) {
            if let Some(byte) = pair.first_mut() {
                *byte = first.get(usize::from(*byte)).copied().unwrap_or_default();
            }
            if let Some(byte) = pair.get_mut(1) {
                *byte = second.get(usize::from(*byte)).copied().unwrap_or_default();
            }
        }
    }
}

/// Bytes of the native pixels in element `tag` that the image has; behind them is padding. None where the object does
/// not say, or says that there are none.
pub(crate) fn native_length(facts: &Facts, tag: Tag, encoding: Encoding) -> Option<u64> {
    let number = |tag| facts.number(tag).map(u64::from);
    let frames = if facts.frames.is_empty() { 1 } else { facts.frames.parse::<u64>().ok()? };
    let samples = match number(0x0028_0002).unwrap_or(1) {
        // Two pixels share their colour.
        3 if is_halved(&facts.photometric) => 2,
        samples => samples,
    };
    let allocated = match tag.element() {
        0x0008 => 32,
        0x0009 => 64,
        _ => number(0x0028_0100)?,
    };
    let cells = number(0x0028_0010)?.checked_mul(number(0x0028_0011)?)?.checked_mul(samples)?;
    let bits = cells.checked_mul(frames)?.checked_mul(allocated)?;
    if bits == 0 {
        return None;
    }
    let bytes = bits.div_ceil(8);
    // Bytes in big-endian words: the last one stands behind the padding.
    Some(if encoding == Encoding::ExplicitBig { bytes.next_multiple_of(2) } else { bytes })
}

/// Whether a pixel has two samples where the object says three.
fn is_halved(photometric: &str) -> bool {
    photometric.starts_with("YBR_FULL_422") || photometric.starts_with("YBR_PARTIAL_422")
}
