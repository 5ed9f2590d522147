//! Whether pixels can be what the header says that they are.

use dicom_stream::{Encoding, Tag};

use crate::refusal::{Kind, Refusal};

/// Decoded bytes of one frame: 1 GiB. A mammogram has 50 MB, a whole slide comes in tiles.
const FRAME_MAXIMUM: u64 = 1 << 30;

/// Decoded bytes of all frames: 64 GiB.
const PIXELS_MAXIMUM: u64 = 64 << 30;

/// Fragments of one object. Real objects have one or a few a frame.
const FRAGMENTS_MAXIMUM: u64 = 1 << 20;

/// What the outermost data set says of its pixels.
#[derive(Debug, Default)]
pub(crate) struct Pixels {
    samples: Option<u16>,
    rows: Option<u16>,
    columns: Option<u16>,
    allocated: Option<u16>,
    stored: Option<u16>,
    high: Option<u16>,
    /// None: the text is no number.
    frames: Option<u64>,
    frames_said: bool,
    halved: bool,
}

impl Pixels {
    /// Whether the value of this attribute is wanted.
    pub(crate) const fn wants(tag: Tag) -> bool {
        matches!(
            tag.0,
            0x0028_0002 | 0x0028_0004 | 0x0028_0008 | 0x0028_0010 | 0x0028_0011 | 0x0028_0100..=0x0028_0102
        )
    }

    /// Takes the value of a wanted attribute.
    pub(crate) fn take(&mut self, tag: Tag, value: &[u8], encoding: Encoding) {
        let number = value.first_chunk::<2>().map(|bytes| match encoding {
            Encoding::ExplicitBig => u16::from_be_bytes(*bytes),
            _ => u16::from_le_bytes(*bytes),
        });
        match tag.0 {
            0x0028_0002 => self.samples = number,
            0x0028_0004 => {
                self.halved = value.starts_with(b"YBR_FULL_422") || value.starts_with(b"YBR_PARTIAL_422");
            }
            0x0028_0008 => {
                let text = std::str::from_utf8(value).unwrap_or_default().trim_matches(['\0', ' ']);
                self.frames_said = !text.is_empty();
                self.frames = text.parse().ok().filter(|frames| *frames > 0);
            }
            0x0028_0010 => self.rows = number,
            0x0028_0011 => self.columns = number,
            0x0028_0100 => self.allocated = number,
            0x0028_0101 => self.stored = number,
            _ => self.high = number,
        }
    }

    /// Bits of a frame and how many frames there are, where both can be.
    fn geometry(&self, tag: Tag) -> Result<(u64, u64), Refusal> {
        let impossible = |what: &str| Refusal::malformed("pixel-geometry", what);
        let need = |number: Option<u16>, what: &str| {
            number.filter(|number| *number > 0).map(u64::from).ok_or_else(|| impossible(what))
        };
        let rows = need(self.rows, "no rows")?;
        let columns = need(self.columns, "no columns")?;
        let samples = need(self.samples.or(Some(1)), "no samples in a pixel")?;
        let allocated = match tag.element() {
            0x0008 => 32,
            0x0009 => 64,
            _ => need(self.allocated, "no bits allocated")?,
        };
        if samples > 4 || !(allocated == 1 || allocated <= 64 && allocated.is_multiple_of(8)) {
            return Err(impossible("samples or bits allocated that no image has"));
        }
        let stored = self.stored.map_or(allocated, u64::from);
        if stored == 0 || stored > allocated || self.high.is_some_and(|high| u64::from(high) >= allocated) {
            return Err(impossible("bits that are outside of those allocated"));
        }
        let frames = match (self.frames, self.frames_said) {
            (Some(frames), _) => frames,
            (None, false) => 1,
            (None, true) => return Err(impossible("the number of frames is none")),
        };
        let frame = rows * columns * samples * allocated;
        // Two pixels share their colour.
        let frame = if self.halved && samples == 3 { frame / 3 * 2 } else { frame };
        let bytes = frame.div_ceil(8);
        if bytes > FRAME_MAXIMUM || bytes.saturating_mul(frames) > PIXELS_MAXIMUM {
            return Err(Refusal::new(Kind::Limit, "pixel-size", "more pixels than are worked on"));
        }
        Ok((frame, frames))
    }

    /// Judges pixels that stand as they are: neither fewer bytes than the header needs, nor a further frame.
    pub(crate) fn native(&self, tag: Tag, length: u32) -> Result<(), Refusal> {
        let (frame, frames) = self.geometry(tag)?;
        let needed = (frame * frames).div_ceil(8);
        let length = u64::from(length);
        if length < needed {
            return Err(Refusal::malformed("pixel-length", "fewer bytes than the pixels need"));
        }
        // Some writers fill up; a whole frame more is no filling.
        if length - needed >= frame.div_ceil(8).max(2) {
            return Err(Refusal::malformed("pixel-length", "more bytes than the pixels need"));
        }
        Ok(())
    }

    /// Judges pixels in fragments, the first of which is the offset table: each frame needs one at least.
    pub(crate) fn encapsulated(&self, tag: Tag, fragments: u64) -> Result<(), Refusal> {
        let (_, frames) = self.geometry(tag)?;
        if fragments > FRAGMENTS_MAXIMUM {
            return Err(Refusal::new(Kind::Limit, "fragment-count", "more fragments than are worked on"));
        }
        if fragments.saturating_sub(1) < frames {
            return Err(Refusal::malformed("fragments", "fewer fragments than frames"));
        }
        Ok(())
    }
}
