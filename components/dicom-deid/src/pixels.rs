//! Bits of native pixels that no decoder looks at: they may hold an overlay, or anything.

use dicom_stream::{Encoding, Tag};

use crate::survey::Facts;

/// Clears the bits of cells outside of the stored ones.
pub(crate) struct Mask {
    /// The bits that stay.
    stored: u64,
    /// Bytes of a cell.
    width: usize,
    /// Whether the byte that counts most comes first.
    big: bool,
    /// The sign's bit, where there is one.
    sign: Option<u32>,
    /// Whether the cell at work is below zero.
    negative: bool,
}

impl Mask {
    /// A mask, where the object has overlay attributes and its cells have bits to spare. Signed values keep their
    /// sign: the bits above are filled with it. None also where that cannot be done byte by byte.
    pub(crate) fn of(facts: &Facts, encoding: Encoding) -> Option<Self> {
        let (allocated, stored) = (facts.number(0x0028_0100)?, facts.number(0x0028_0101)?);
        let high = facts.number(0x0028_0102).unwrap_or(stored.checked_sub(1)?);
        let spare = matches!(allocated, 8 | 16 | 32 | 64) && (1..allocated).contains(&stored);
        if !facts.has_overlay || !spare || high >= allocated || high + 1 < stored {
            return None;
        }
        let big = encoding == Encoding::ExplicitBig;
        let width = usize::from(allocated / 8);
        let sign = (facts.number(0x0028_0103) == Some(1)).then_some(u32::from(high));
        // Where the byte with the sign comes behind those to be filled; and nobody says in which order OW has the
        // words of wider cells.
        if big && (width > 2 || sign.is_some_and(|sign| sign < 8 && width > 1)) {
            return None;
        }
        let stored = ((1_u64 << stored) - 1) << (high + 1 - stored);
        Some(Self { stored, width, big, sign, negative: false })
    }

    /// Whether a bit is one of those that stay.
    pub(crate) fn keeps(&self, bit: u16) -> bool {
        self.stored.checked_shr(u32::from(bit)).is_some_and(|bits| bits & 1 == 1)
    }

    /// Masks bytes that begin at `offset` of the pixel data, each part behind the one before.
    pub(crate) fn apply(&mut self, bytes: &mut [u8], offset: u64) {
        let width = self.width as u64;
        let mut place = usize::try_from(offset % width).unwrap_or_default();
        for byte in bytes {
            let weight = if self.big { self.width - 1 - place } else { place };
            let [mask, ..] = (self.stored >> (8 * weight)).to_le_bytes();
            let lowest = u32::try_from(8 * weight).unwrap_or_default();
            if let Some(sign) = self.sign.and_then(|sign| sign.checked_sub(lowest)).filter(|sign| *sign < 8) {
                self.negative = *byte >> sign & 1 == 1;
            }
            *byte &= mask;
            if let Some(sign) = self.sign.filter(|_| self.negative) {
                // Every bit above the sign.
                let above = u64::MAX.checked_shl(sign + 1).unwrap_or_default() >> lowest;
                *byte |= above.to_le_bytes()[0];
            }
            place = (place + 1) % self.width;
        }
    }
}

/// What an object says of one overlay (group 60xx).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overlay {
    /// Overlay Bits Allocated.
    pub(crate) allocated: Option<u16>,
    /// Overlay Bit Position.
    pub(crate) position: Option<u16>,
    /// Whether it says how large it is, or one of the two above.
    pub(crate) is_there: bool,
    /// Whether it has data of its own.
    pub(crate) has_data: bool,
    /// Whether one of its numbers is none.
    pub(crate) is_odd: bool,
}

impl Overlay {
    /// Whether it stands in bits of the pixels' cells.
    fn is_embedded(&self) -> bool {
        self.is_odd
            || self.allocated.is_some_and(|allocated| allocated > 1)
            || self.position.is_some_and(|position| position > 0)
            || self.is_there && !self.has_data
    }
}

/// Whether an overlay stands in the pixels' cells and stays there: they are compressed, or its bit is not cleared.
pub(crate) fn overlay_stays(facts: &Facts, encoding: Encoding) -> bool {
    let mask = Mask::of(facts, encoding).filter(|_| facts.native == [Tag::PIXEL_DATA]);
    let cleared = |overlay: &Overlay| {
        !overlay.is_odd && mask.as_ref().is_some_and(|mask| !mask.keeps(overlay.position.unwrap_or(0)))
    };
    facts.overlays.values().any(|overlay| overlay.is_embedded() && !cleared(overlay))
}

/// How many frames the image has: one where the object does not say, none where it says what is no number of them.
pub(crate) fn frames_of(facts: &Facts) -> Option<u64> {
    if facts.frames.is_empty() {
        return Some(1);
    }
    // By the standard a number of up to twelve characters (IS), which readers hold in 32 bits.
    facts.frames.parse::<u32>().ok().filter(|frames| *frames > 0).map(u64::from)
}

/// Bits of a frame whose cells have `allocated` of them.
fn frame_bits(facts: &Facts, allocated: u64) -> Option<u64> {
    let number = |tag| facts.number(tag).map(u64::from);
    let samples = match number(0x0028_0002).unwrap_or(1) {
        // Two pixels share their colour.
        3 if is_halved(&facts.photometric) => 2,
        samples => samples,
    };
    number(0x0028_0010)?.checked_mul(number(0x0028_0011)?)?.checked_mul(samples)?.checked_mul(allocated)
}

/// Bytes of a frame of (7FE0,0010).
pub(crate) fn frame_length(facts: &Facts) -> Option<u64> {
    let bits = frame_bits(facts, u64::from(facts.number(0x0028_0100)?))?;
    (bits > 0).then(|| bits.div_ceil(8))
}

/// Bytes of the native pixels in element `tag` that the image has; behind them is padding. None where the object does
/// not say, or says that there are none.
pub(crate) fn native_length(facts: &Facts, tag: Tag, encoding: Encoding) -> Option<u64> {
    let allocated = match tag.element() {
        0x0008 => 32,
        0x0009 => 64,
        _ => u64::from(facts.number(0x0028_0100)?),
    };
    let bits = frame_bits(facts, allocated)?.checked_mul(frames_of(facts)?)?;
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
