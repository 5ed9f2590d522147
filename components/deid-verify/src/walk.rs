//! The walk over an object, as strict as a de-identifier has to write.

use crate::bytes::{Bytes, Window, inflated};
use crate::finding::{Finding, Kind};
use crate::frames;
use crate::judge::{Dates, Judge, Options, Place, tags};
use crate::rules::Rules;
use crate::value;

/// Sequences nest this deep at most.
const DEPTH_MAXIMUM: usize = 64;

/// Values up to here are held whole: 1 MiB. A larger one is bytes, and judged in parts.
const HELD_MAXIMUM: u64 = 1 << 20;

/// Parts of a large value overlap by so much, so that nothing hides on an edge.
const OVERLAP: u64 = 128;

/// Fragments that are remembered: 1 Mi. Real objects have one or a few a frame.
const FRAGMENTS_MAXIMUM: usize = 1 << 20;

/// The length that means: until a delimiter.
const UNDEFINED: u32 = u32::MAX;

const ITEM: u32 = 0xFFFE_E000;
const ITEM_END: u32 = 0xFFFE_E00D;
const SEQUENCE_END: u32 = 0xFFFE_E0DD;

/// Representations with a 16-bit length, and those with a 32-bit one.
const SHORT: &[u8] = b"AEASATCSDADSDTFDFLISLOLTPNSHSLSSSTTMUIULUS";
const LONG: &[u8] = b"OBODOFOLOVOWSQSVUCUNURUTUV";

/// What was judged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Attributes, at any depth.
    pub attributes: u32,
    /// Items of sequences.
    pub items: u32,
    /// Fragments of compressed pixels.
    pub fragments: u32,
}

/// Judges the object in `bytes`.
///
/// # Errors
/// The first [`Finding`], whose code is one of [`crate::CODES`].
pub fn verify<B: Bytes + ?Sized>(bytes: &B, rules: &Rules<'_>, options: Options) -> Result<Summary, Finding> {
    let mut window = Window::new(bytes);
    let meta = Meta::read(&mut window)?;
    let judge = Judge { rules, options };
    let encoding = match meta.syntax.as_str() {
        "1.2.840.10008.1.2" => Encoding::Implicit,
        "1.2.840.10008.1.2.2" => Encoding::Big,
        _ => Encoding::Explicit,
    };
    if meta.syntax == "1.2.840.10008.1.2.1.99" {
        let data = inflated(bytes, meta.end)?;
        return Walk::new(Window::new(data.as_slice()), 0, encoding, judge, meta).all();
    }
    let start = meta.end;
    Walk::new(window, start, encoding, judge, meta).all()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Implicit,
    Explicit,
    Big,
}

impl Encoding {
    fn u16(self, bytes: [u8; 2]) -> u16 {
        if self == Self::Big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) }
    }

    fn u32(self, bytes: [u8; 4]) -> u32 {
        if self == Self::Big { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) }
    }

    fn tag(self, [a, b, c, d]: [u8; 4]) -> u32 {
        u32::from(self.u16([a, b])) << 16 | u32::from(self.u16([c, d]))
    }
}

fn unreadable() -> Finding {
    Finding::of(Kind::Malformed, "unreadable")
}

/// What stands ahead of the data set.
struct Meta {
    syntax: String,
    class: Vec<u8>,
    instance: Vec<u8>,
    /// Where the data set begins.
    end: u64,
}

impl Meta {
    /// Reads preamble, prefix and group 2: nothing but what a de-identifier has to write there.
    fn read<B: Bytes + ?Sized>(window: &mut Window<'_, B>) -> Result<Self, Finding> {
        let front = window.at(0, 132)?;
        if front.get(128..) != Some(b"DICM") {
            return Err(unreadable());
        }
        if front.iter().take(128).any(|byte| *byte != 0) {
            return Err(Finding::of(Kind::Policy, "preamble-not-empty"));
        }
        // The group's length comes first.
        let Some(&[2, 0, 0, 0, b'U', b'L', 4, 0, a, b, c, d]) = window.at(132, 12)?.first_chunk::<12>()
        else {
            return Err(unreadable());
        };
        let end = 144 + u64::from(u32::from_le_bytes([a, b, c, d]));
        let mut meta = Self { syntax: String::new(), class: Vec::new(), instance: Vec::new(), end };
        let (mut at, mut last) = (144, 0);
        while at < end {
            let header = element(window, at, Encoding::Explicit)?;
            if header.tag >> 16 != 2 || header.tag <= last || header.length > 256 {
                return Err(Finding::policy("file-meta", header.tag));
            }
            last = header.tag;
            let held = window.at(header.value, header.length as usize)?;
            let text = value::trimmed(held).to_vec();
            match header.tag & 0xFFFF {
                0x0001 => {}
                0x0002 => meta.class = text,
                0x0003 => meta.instance = text,
                0x0010 if value::is_standard_uid(&text) => {
                    meta.syntax = String::from_utf8(text).map_err(|_| unreadable())?;
                }
                // The tool that wrote it names itself.
                0x0012 if value::is_uid(&text) => {}
                0x0013 if text.len() <= 16 && text.starts_with(b"MARTELLO") => {}
                // Titles of applications, addresses and private information are of the house.
                _ => return Err(Finding::policy("file-meta", header.tag)),
            }
            at = header.value + u64::from(header.length);
        }
        let class = meta.class.is_empty() || value::is_uid(&meta.class);
        let instance = meta.instance.is_empty()
            || value::is_replaced_uid(&meta.instance)
            || value::is_standard_uid(&meta.instance);
        if at != end || meta.syntax.is_empty() || !class || !instance {
            return Err(Finding::of(Kind::Policy, "file-meta"));
        }
        Ok(meta)
    }
}

/// The header of an element, and where its value begins.
#[derive(Clone, Copy, Debug)]
struct Header {
    tag: u32,
    /// Null bytes where the file names none.
    vr: [u8; 2],
    length: u32,
    value: u64,
}

fn element<B: Bytes + ?Sized>(
    window: &mut Window<'_, B>,
    at: u64,
    encoding: Encoding,
) -> Result<Header, Finding> {
    let Some(&[a, b, c, d, e, f, g, h]) = window.at(at, 8)?.first_chunk::<8>() else {
        return Err(unreadable());
    };
    let tag = encoding.tag([a, b, c, d]);
    if encoding == Encoding::Implicit || tag >> 16 == 0xFFFE {
        return Ok(Header { tag, vr: [0; 2], length: encoding.u32([e, f, g, h]), value: at + 8 });
    }
    let among = |list: &[u8]| list.as_chunks::<2>().0.contains(&[e, f]);
    if among(SHORT) {
        return Ok(Header { tag, vr: [e, f], length: u32::from(encoding.u16([g, h])), value: at + 8 });
    }
    let Some(&[i, j, k, l]) = window.at(at + 8, 4)?.first_chunk::<4>() else { return Err(unreadable()) };
    if !among(LONG) || [g, h] != [0, 0] {
        return Err(unreadable());
    }
    Ok(Header { tag, vr: [e, f], length: encoding.u32([i, j, k, l]), value: at + 12 })
}

/// What is open: a sequence or an item, and where it ends.
#[derive(Clone, Copy, Debug)]
enum Open {
    Sequence(Option<u64>),
    Item(Option<u64>),
}

/// What the object says of its de-identification, of its class and of its pixels.
#[derive(Default)]
struct Said {
    identity_removed: bool,
    method: bool,
    method_code: bool,
    dates: Vec<u8>,
    class: Vec<u8>,
    instance: Vec<u8>,
    samples: u64,
    frames: u64,
    rows: u64,
    columns: u64,
    allocated: u64,
}

struct Walk<'a, B: Bytes + ?Sized> {
    window: Window<'a, B>,
    at: u64,
    encoding: Encoding,
    judge: Judge<'a>,
    meta: Meta,
    open: Vec<Open>,
    /// The last tag of each data set that is open.
    last: Vec<Option<u32>>,
    /// The outermost sequence that is open.
    outer: u32,
    said: Said,
    summary: Summary,
}

impl<'a, B: Bytes + ?Sized> Walk<'a, B> {
    fn new(window: Window<'a, B>, at: u64, encoding: Encoding, judge: Judge<'a>, meta: Meta) -> Self {
        let said = Said { samples: 1, frames: 1, ..Said::default() };
        Self {
            window,
            at,
            encoding,
            judge,
            meta,
            open: Vec::with_capacity(8),
            last: vec![None],
            outer: 0,
            said,
            summary: Summary::default(),
        }
    }

    fn all(mut self) -> Result<Summary, Finding> {
        while self.step()? {}
        let missing = |code| Err(Finding::of(Kind::Policy, code));
        let said = &self.said;
        let dates: &[u8] = match self.judge.options.dates {
            Dates::Shift => b"MODIFIED",
            Dates::Keep => b"UNMODIFIED",
        };
        if !said.identity_removed {
            return missing("identity-not-said");
        }
        if !said.method || !said.method_code {
            return missing("method-not-said");
        }
        if said.dates != dates {
            return missing("dates-not-said");
        }
        if said.class != self.meta.class && !said.class.is_empty() && !self.meta.class.is_empty()
            || said.instance != self.meta.instance
                && !said.instance.is_empty()
                && !self.meta.instance.is_empty()
        {
            return missing("file-meta");
        }
        Ok(self.summary)
    }

    /// The end of what is innermost, or of the object.
    fn limit(&self) -> u64 {
        let inner = self.open.iter().rev().find_map(|open| match open {
            Open::Sequence(end) | Open::Item(end) => *end,
        });
        inner.unwrap_or(self.window.length())
    }

    fn end_of(&self, from: u64, length: u32) -> Result<u64, Finding> {
        let end = from.saturating_add(u64::from(length));
        if end > self.limit() { Err(unreadable()) } else { Ok(end) }
    }

    fn close(&mut self) {
        if let Some(Open::Item(_)) = self.open.pop() {
            self.last.pop();
        }
    }

    /// One element, item or delimiter; says whether there are more.
    fn step(&mut self) -> Result<bool, Finding> {
        match self.open.last().copied() {
            Some(Open::Sequence(Some(end)) | Open::Item(Some(end))) if end == self.at => self.close(),
            Some(Open::Sequence(end)) => {
                let header = element(&mut self.window, self.at, self.encoding)?;
                match header.tag {
                    ITEM => {
                        let end = match header.length {
                            UNDEFINED => None,
                            length => Some(self.end_of(header.value, length)?),
                        };
                        self.open.push(Open::Item(end));
                        self.last.push(None);
                        self.summary.items += 1;
                    }
                    SEQUENCE_END if end.is_none() && header.length == 0 => self.close(),
                    _ => return Err(unreadable()),
                }
                self.at = header.value;
            }
            None if self.at == self.window.length() => return Ok(false),
            item => {
                // Fewer bytes than a header are no element.
                if item.is_none()
                    && (self.window.length() - self.at < 8 || self.window.at(self.at, 4)? == [0; 4])
                {
                    return Err(Finding::of(Kind::Policy, "trailing-bytes"));
                }
                let header = element(&mut self.window, self.at, self.encoding)?;
                match (header.tag, item) {
                    (ITEM_END, Some(Open::Item(None))) if header.length == 0 => {
                        self.at = header.value;
                        self.close();
                    }
                    _ if header.tag >> 16 == 0xFFFE => return Err(unreadable()),
                    _ => self.element(header)?,
                }
            }
        }
        Ok(true)
    }

    fn place(&self) -> Place {
        if self.last.len() == 1 { Place::Outermost } else { Place::Nested }
    }

    fn element(&mut self, header: Header) -> Result<(), Finding> {
        let Header { tag, length, .. } = header;
        if let Some(last) = self.last.last_mut() {
            if last.is_some_and(|last| tag <= last) {
                return Err(unreadable());
            }
            *last = Some(tag);
        }
        self.summary.attributes += 1;
        let place = self.place();
        let rule = self.judge.rule(tag, place)?;
        let written = if header.vr == [0; 2] { chosen(rule.vr) } else { header.vr };
        if length == UNDEFINED && tag == tags::PIXELS && &written != b"SQ" {
            return self.fragments(header);
        }
        if &written == b"SQ" {
            let end = match length {
                UNDEFINED => None,
                length => Some(self.end_of(header.value, length)?),
            };
            if length != 0 {
                // Of undefined length: whether there are items shows behind it.
                let first = self.window.at(header.value, 4)?.first_chunk::<4>().copied().unwrap_or_default();
                if self.encoding.tag(first) == ITEM {
                    self.judge.items(tag, rule)?;
                }
            }
            if self.open.len() >= 2 * DEPTH_MAXIMUM {
                return Err(Finding { tag: Some(tag), ..Finding::of(Kind::Limit, "too-deep") });
            }
            if place == Place::Outermost {
                self.outer = tag;
            }
            self.open.push(Open::Sequence(end));
            self.at = header.value;
            return Ok(());
        }
        if length == UNDEFINED || length % 2 == 1 {
            return Err(unreadable());
        }
        let end = self.end_of(header.value, length)?;
        if matches!(tag, 0x7FE0_0008..=0x7FE0_0010) {
            self.padding(header)?;
        } else if u64::from(length) <= HELD_MAXIMUM {
            let held = self.window.at(header.value, length as usize)?.to_vec();
            self.judge.value(tag, rule, written, &held)?;
            self.note(tag, &held);
        } else {
            // Text is at most what is held; offset tables, tables of colours and waveforms are bytes.
            if !matches!(&written, b"OB" | b"OW" | b"OD" | b"OF" | b"OL" | b"OV" | b"UN") {
                return Err(Finding { tag: Some(tag), ..Finding::of(Kind::Limit, "too-large") });
            }
            let mut at = header.value;
            while at < end {
                let count = usize::try_from((end - at).min(HELD_MAXIMUM)).unwrap_or_default();
                Judge::part(tag, rule, self.window.at(at, count)?)?;
                let next = at + count as u64;
                at = if next < end { next - OVERLAP } else { end };
            }
        }
        self.at = end;
        Ok(())
    }

    /// Remembers what the outermost data set says.
    fn note(&mut self, tag: u32, held: &[u8]) {
        let text = value::trimmed(held);
        if self.place() == Place::Nested {
            self.said.method_code |= self.outer == tags::METHOD_CODES
                && self.last.len() == 2
                && tag == tags::CODE_VALUE
                && text == b"113100";
            return;
        }
        let short = held.first_chunk::<2>().map_or(0, |bytes| u64::from(self.encoding.u16(*bytes)));
        let said = &mut self.said;
        match tag {
            tags::IDENTITY_REMOVED => said.identity_removed = text == b"YES",
            tags::METHOD => said.method = !text.is_empty(),
            tags::DATES_MODIFIED => said.dates = text.to_vec(),
            tags::SOP_CLASS => said.class = text.to_vec(),
            tags::SOP_INSTANCE => said.instance = text.to_vec(),
            0x0028_0002 => said.samples = short,
            0x0028_0008 => {
                // None where it is no number; one where the attribute is empty.
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<u32>().ok());
                said.frames = if text.is_empty() { 1 } else { number.map_or(0, u64::from) };
            }
            0x0028_0010 => said.rows = short,
            0x0028_0011 => said.columns = short,
            0x0028_0100 => said.allocated = short,
            _ => {}
        }
    }

    /// Behind the last pixel of native data nothing may stand.
    fn padding(&mut self, header: Header) -> Result<(), Finding> {
        let said = &self.said;
        let cells = [said.rows, said.columns, said.samples, said.frames]
            .iter()
            .try_fold(1_u64, |product, count| product.checked_mul(*count));
        let bits = match header.tag & 0xFFFF {
            0x0008 => 32,
            0x0009 => 64,
            _ => said.allocated,
        };
        // Where the header does not say how much there is, nothing can stand behind it: the guard refuses such a file.
        let bits = cells.and_then(|cells| cells.checked_mul(bits)).filter(|bits| *bits > 0);
        let Some(bytes) = bits.map(|bits| bits.div_ceil(8)) else { return Ok(()) };
        // Big-endian words turn the padding round.
        let bytes = if self.encoding == Encoding::Big { bytes.next_multiple_of(2) } else { bytes };
        let end = header.value + u64::from(header.length);
        let mut at = header.value.saturating_add(bytes);
        while at < end {
            let count = usize::try_from((end - at).min(HELD_MAXIMUM)).unwrap_or_default();
            if self.window.at(at, count)?.iter().any(|byte| *byte != 0) {
                return Err(Finding::policy("padding-not-empty", header.tag));
            }
            at += count as u64;
        }
        Ok(())
    }

    /// Compressed pixels: an offset table, then fragments, each byte of which has to be one of a frame.
    fn fragments(&mut self, header: Header) -> Result<(), Finding> {
        self.at = header.value;
        let mut spans = Vec::new();
        loop {
            let item = element(&mut self.window, self.at, self.encoding)?;
            match item.tag {
                SEQUENCE_END if item.length == 0 => {
                    self.at = item.value;
                    break;
                }
                ITEM if item.length != UNDEFINED => {}
                _ => return Err(unreadable()),
            }
            self.at = self.end_of(item.value, item.length)?;
            if self.summary.fragments > 0 {
                spans.push((item.value, item.length));
            }
            self.summary.fragments += 1;
            if spans.len() > FRAGMENTS_MAXIMUM {
                return Err(Finding { tag: Some(header.tag), ..Finding::of(Kind::Limit, "too-large") });
            }
        }
        let said = &self.said;
        let Some(pixels) = said.rows.checked_mul(said.columns) else { return Err(unreadable()) };
        let Said { frames, samples, allocated, .. } = *said;
        let image = frames::Image { frames, pixels, samples, allocated };
        frames::judge(&mut self.window, &spans, &self.meta.syntax, image)
    }
}

/// The representation of an implicit element where the standard leaves a choice.
const fn chosen(vr: [u8; 2]) -> [u8; 2] {
    match &vr {
        b"ox" | b"xw" | b"uw" => *b"OW",
        b"xs" => *b"US",
        _ => vr,
    }
}
