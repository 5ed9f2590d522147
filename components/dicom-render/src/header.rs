//! The attributes that decide how pixels are read and shown, collected in one pass up to the pixels.

use std::collections::BTreeMap;

use dicom_stream::{Dictionary, Encoding, Event, Reader, Rows, Source, Vr};

use crate::error::{RenderError, malformed, unsupported};
use crate::lut::LutParts;

/// In implicit VR only the dictionary knows a sequence of defined length. Sequences that rendering needs, and the
/// tags that a bare data set usually starts with; what is not here is left unread.
const TEXT: &[u8] = b"martello-dicom-dictionary 1 rows=15 patterns=0
00080000 UL
00080001 UL
00080005 CS
00080008 CS
00080012 DA
00080016 UI
00080018 UI
00080020 DA
00080060 CS
00283000 SQ
00283010 SQ
00289132 SQ
00289145 SQ
52009229 SQ
52009230 SQ
";
static ROWS: Rows<15, 0> = Rows::parse(TEXT);
pub(crate) const DICTIONARY: Dictionary = ROWS.dictionary();

const MODALITY_LUTS: u32 = 0x0028_3000;
const VOI_LUTS: u32 = 0x0028_3010;
const FRAME_VOI: u32 = 0x0028_9132;
const PIXEL_VALUE_TRANSFORMATION: u32 = 0x0028_9145;
const SHARED_GROUPS: u32 = 0x5200_9229;
const FRAME_GROUPS: u32 = 0x5200_9230;

/// How values become what is shown, at the top of the object or in a functional group of an enhanced one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transform {
    pub(crate) slope: Option<f64>,
    pub(crate) intercept: Option<f64>,
    pub(crate) centers: Vec<f64>,
    pub(crate) widths: Vec<f64>,
    pub(crate) function: Option<String>,
}

/// Where the pixels are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// One value of so many bytes, in 16-bit words if the flag is set.
    Native { length: u32, words: bool },
    /// Fragments.
    Encapsulated,
}

/// What a file says about its pixels, not yet checked.
#[derive(Debug, Clone, Default)]
pub(crate) struct Header {
    pub(crate) samples: Option<u16>,
    pub(crate) photometric: String,
    pub(crate) planar: u16,
    pub(crate) frames: Option<u32>,
    pub(crate) rows: u16,
    pub(crate) columns: u16,
    pub(crate) bits_allocated: u16,
    pub(crate) bits_stored: u16,
    pub(crate) high_bit: Option<u16>,
    pub(crate) signed: bool,
    pub(crate) padding: Option<u16>,
    pub(crate) padding_limit: Option<u16>,
    pub(crate) top: Transform,
    pub(crate) shared: Transform,
    pub(crate) by_frame: BTreeMap<u32, Transform>,
    pub(crate) modality_lut: Option<LutParts>,
    pub(crate) voi_lut: Option<LutParts>,
    /// Red, green, blue.
    pub(crate) palette: [LutParts; 3],
    pub(crate) place: Option<Place>,
}

impl Header {
    /// Reads up to the pixels; the reader then stands at their value, or at the end where there are none.
    ///
    /// # Errors
    /// Those of reading, and `float-pixels`.
    pub(crate) fn read<S: Source>(reader: &mut Reader<S>) -> Result<Self, RenderError> {
        let mut header = Self::default();
        // The open sequences, each with the number of its current item from 1 on.
        let mut path: Vec<(u32, u32)> = Vec::with_capacity(4);
        loop {
            match reader.next_event()? {
                Event::Sequence(opened) if is_wanted(opened.tag.0) => path.push((opened.tag.0, 0)),
                Event::Sequence(_) => reader.skip_opened()?,
                Event::SequenceEnd => drop(path.pop()),
                Event::Item => path.iter_mut().next_back().into_iter().for_each(|(_, item)| *item += 1),
                Event::Fragments(opened) if path.is_empty() && opened.tag.0 == 0x7FE0_0010 => {
                    header.place = Some(Place::Encapsulated);
                    return Ok(header);
                }
                Event::Fragments(_) => reader.skip_opened()?,
                Event::Element(element) => match element.tag.0 {
                    0x7FE0_0010 if path.is_empty() => {
                        let words = !matches!(element.vr, Vr::OB | Vr::UN);
                        header.place = Some(Place::Native { length: element.length, words });
                        return Ok(header);
                    }
                    0x7FE0_0008 | 0x7FE0_0009 if path.is_empty() => {
                        return Err(unsupported("float-pixels", "pixels are floating-point numbers"));
                    }
                    tag if tag >> 16 == 0x0028 => {
                        let big_endian = reader.encoding() == Encoding::ExplicitBig;
                        if let Some(bytes) = reader.value()? {
                            header.take(&path, tag, &Value { bytes, big_endian, vr: element.vr })?;
                        }
                    }
                    _ => {}
                },
                Event::ItemEnd | Event::Fragment(_) | Event::FragmentsEnd => {}
                Event::End => return Ok(header),
            }
        }
    }

    fn take(&mut self, path: &[(u32, u32)], tag: u32, value: &Value<'_>) -> Result<(), RenderError> {
        match path {
            [] => self.take_top(tag, value)?,
            [(MODALITY_LUTS, 1)] => take_lut(self.modality_lut.get_or_insert_default(), tag, value),
            [(VOI_LUTS, 1)] => take_lut(self.voi_lut.get_or_insert_default(), tag, value),
            [(SHARED_GROUPS, 1), (PIXEL_VALUE_TRANSFORMATION | FRAME_VOI, 1)] => {
                take_transform(&mut self.shared, tag, value)?;
            }
            [(FRAME_GROUPS, frame), (PIXEL_VALUE_TRANSFORMATION | FRAME_VOI, 1)] => {
                take_transform(self.by_frame.entry(frame.saturating_sub(1)).or_default(), tag, value)?;
            }
            _ => {}
        }
        Ok(())
    }

    fn take_top(&mut self, tag: u32, value: &Value<'_>) -> Result<(), RenderError> {
        match tag & 0xFFFF {
            0x0002 => self.samples = value.number(),
            0x0004 => self.photometric = value.text(),
            0x0006 => self.planar = value.number().unwrap_or(0),
            0x0008 => self.frames = Some(value.count()?),
            0x0010 => self.rows = value.number().unwrap_or(0),
            0x0011 => self.columns = value.number().unwrap_or(0),
            0x0100 => self.bits_allocated = value.number().unwrap_or(0),
            0x0101 => self.bits_stored = value.number().unwrap_or(0),
            0x0102 => self.high_bit = value.number(),
            0x0103 => self.signed = value.number() == Some(1),
            0x0120 => self.padding = value.number(),
            0x0121 => self.padding_limit = value.number(),
            low @ (0x1101..=0x1103 | 0x1201..=0x1203 | 0x1221..=0x1223) => {
                if let Some(lut) = self.palette.get_mut(usize::from((low & 0xF) as u16).wrapping_sub(1)) {
                    match low >> 4 {
                        0x110 => take_lut(lut, 0x0028_3002, value),
                        0x120 => take_lut(lut, 0x0028_3006, value),
                        _ => lut.segmented = true,
                    }
                }
            }
            _ => take_transform(&mut self.top, tag, value)?,
        }
        Ok(())
    }
}

fn is_wanted(tag: u32) -> bool {
    matches!(
        tag,
        MODALITY_LUTS | VOI_LUTS | FRAME_VOI | PIXEL_VALUE_TRANSFORMATION | SHARED_GROUPS | FRAME_GROUPS
    )
}

fn take_transform(into: &mut Transform, tag: u32, value: &Value<'_>) -> Result<(), RenderError> {
    match tag {
        0x0028_1050 => into.centers = value.decimals()?,
        0x0028_1051 => into.widths = value.decimals()?,
        0x0028_1052 => into.intercept = value.decimals()?.first().copied(),
        0x0028_1053 => into.slope = value.decimals()?.first().copied(),
        0x0028_1056 => into.function = Some(value.text()).filter(|text| !text.is_empty()),
        _ => {}
    }
    Ok(())
}

fn take_lut(into: &mut LutParts, tag: u32, value: &Value<'_>) {
    match tag {
        0x0028_3002 => {
            into.descriptor = value.three();
            into.first_signed = match value.vr {
                Vr::SS => Some(true),
                Vr::US => Some(false),
                _ => None,
            };
        }
        0x0028_3006 => {
            into.data = value.bytes.to_vec();
            into.big_endian = value.big_endian;
        }
        _ => {}
    }
}

struct Value<'a> {
    bytes: &'a [u8],
    big_endian: bool,
    vr: Vr,
}

impl Value<'_> {
    fn numbers(&self) -> impl Iterator<Item = u16> {
        let word = |pair: &[u8; 2]| {
            if self.big_endian { u16::from_be_bytes(*pair) } else { u16::from_le_bytes(*pair) }
        };
        self.bytes.as_chunks::<2>().0.iter().map(word)
    }

    fn number(&self) -> Option<u16> {
        self.numbers().next()
    }

    fn three(&self) -> Option<[u16; 3]> {
        let mut numbers = self.numbers();
        Some([numbers.next()?, numbers.next()?, numbers.next()?])
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.bytes).trim_matches(['\0', ' ']).to_ascii_uppercase()
    }

    fn count(&self) -> Result<u32, RenderError> {
        match self.text().as_str() {
            "" => Ok(1),
            text => text.parse().map_err(|_| malformed("number", "the number of frames is no number")),
        }
    }

    /// Decimal strings, all finite.
    fn decimals(&self) -> Result<Vec<f64>, RenderError> {
        let bad = malformed("number", "a rescale or window value is no number");
        let text = self.text();
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let parse = |part: &str| part.trim().parse::<f64>().ok().filter(|value| value.is_finite());
        text.split('\\').map(|part| parse(part).ok_or_else(|| bad.clone())).collect()
    }
}
