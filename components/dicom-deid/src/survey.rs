//! The first pass: what decisions and pseudonyms need, over exactly the elements that the second pass keeps.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use dicom_stream::{Encoding, Event, Header, Reader, SliceSource, Source, Tag, UNDEFINED, Vr};

use crate::charset::Charset;
use crate::dictionary::DICTIONARY;
use crate::offsets::Offsets;
use crate::pixels::Overlay;
use crate::refusal::{Kind, Refusal};
use crate::residual::Secrets;
use crate::rules::{Dates, Nest, Rules, Step, tags};

/// Distinct UIDs of one file. An enhanced object of ten thousand frames names each source image once.
const UIDS_MAXIMUM: usize = 1 << 16;

/// Distinct Patient IDs of one file: each costs a call of the host.
const SUBJECTS_MAXIMUM: usize = 64;

/// What the survey found. Values are trimmed.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) sop_class: String,
    pub(crate) sop_instance: String,
    pub(crate) modality: String,
    pub(crate) image_type: String,
    pub(crate) burned_in: String,
    pub(crate) recognizable: String,
    pub(crate) frames: String,
    pub(crate) photometric: String,
    study: String,
    patient_id: String,
    patient_name: String,
    pub(crate) numbers: BTreeMap<u32, u16>,
    pub(crate) uids: BTreeSet<String>,
    pub(crate) subjects: BTreeSet<String>,
    pub(crate) secrets: Secrets,
    /// The character set of the outermost data set.
    charset: Charset,
    /// Where the fragments of encapsulated pixels begin.
    pub(crate) offsets: Offsets,
    pub(crate) has_pixels: bool,
    /// Elements that hold pixels as they stand, one after another.
    pub(crate) native: Vec<Tag>,
    /// Whether an attribute that gives the size of the image has another representation or more than one value.
    pub(crate) has_odd_geometry: bool,
    pub(crate) has_overlay: bool,
    /// By group.
    pub(crate) overlays: BTreeMap<u16, Overlay>,
    /// Whether a document stays, at any depth.
    pub(crate) has_document: bool,
    /// Whether the type of an image or a frame, at any depth, says that it is a screen's.
    pub(crate) has_screen: bool,
    pub(crate) has_directory: bool,
    /// Whether a curve over time stays: of a heart, or of a voice.
    pub(crate) has_waveform: bool,
    any: bool,
    /// Content items of a report in order: whether one stays, and how many begin before its end.
    pub(crate) content: Vec<(bool, usize)>,
}

impl Facts {
    /// By whom to derive pseudonyms and the shift: the first of these that the file names.
    pub(crate) fn identity(&self) -> Option<&str> {
        [&self.patient_id, &self.patient_name, &self.study, &self.sop_instance]
            .into_iter()
            .map(String::as_str)
            .find(|value| !value.is_empty())
    }

    /// An attribute of the image pixel module.
    pub(crate) fn number(&self, tag: u32) -> Option<u16> {
        self.numbers.get(&tag).copied()
    }
}

/// A sequence that the survey is inside of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    /// It stays.
    Kept,
    /// It stays, and its items are content items.
    Content,
    /// It goes: only what may be repeated elsewhere is of interest.
    Gone,
}

/// Reads the data set to its end.
pub(crate) fn survey<S: Source>(reader: &mut Reader<S>, rules: &Rules<'_>) -> Result<Facts, Refusal> {
    let mut facts = Facts::default();
    // Open sequences; for each open content item its number.
    let (mut levels, mut items) = (Vec::new(), Vec::new());
    // The last tag of each data set that is open: the file's and the items'.
    let mut last = vec![None];
    loop {
        let level = levels.last().copied();
        let event = reader.next_event()?;
        if level != Some(Level::Gone) {
            ascend(event, &mut last)?;
            if let Event::Element(header) | Event::Sequence(header) | Event::Fragments(header) = event {
                facts.has_waveform |= WAVEFORMS.contains(&header.tag);
            }
        }
        match event {
            Event::Element(header) if level == Some(Level::Gone) => {
                facts.secret(header, header.vr, reader)?;
            }
            Event::Element(header) => {
                let nested = level.is_some();
                facts.any = true;
                if rules.hides_sequence(header) {
                    match rules.nest(header) {
                        Nest::Enter if reader.enter()? => levels.push(Level::Kept),
                        Nest::EnterContent if reader.enter()? => levels.push(Level::Content),
                        Nest::Enter | Nest::EnterContent => {}
                        Nest::Remove | Nest::Empty => {
                            if let Some(bytes) = reader.value()? {
                                facts.removed(bytes, Encoding::ImplicitLittle);
                            }
                        }
                    }
                    continue;
                }
                if !nested {
                    facts.top_level(header, reader)?;
                }
                if header.tag == tags::CHARACTER_SET
                    && let Some(value) = reader.value()?
                {
                    facts.secrets.charset = Charset::of(value);
                    if !nested {
                        facts.charset = facts.secrets.charset;
                    }
                }
                facts.risks(header, reader)?;
                if header.tag == tags::VALUE_TYPE
                    && level == Some(Level::Content)
                    && let Some(value) = reader.value()?
                    && let Some((keep, _)) =
                        items.last().and_then(|item: &usize| facts.content.get_mut(*item))
                {
                    *keep = stays(value);
                }
                facts.names(header, reader, rules, nested)?;
            }
            Event::Sequence(header) => {
                facts.any = true;
                facts.has_directory |= header.tag == Tag(0x0004_1220);
                match rules.nest(header) {
                    _ if level == Some(Level::Gone) => levels.push(Level::Gone),
                    Nest::Enter => levels.push(Level::Kept),
                    Nest::EnterContent => levels.push(Level::Content),
                    Nest::Remove | Nest::Empty if header.length == UNDEFINED => levels.push(Level::Gone),
                    // Of a known length: damage inside of what goes does not matter.
                    Nest::Remove | Nest::Empty => {
                        let encoding = reader.encoding();
                        if !header.tag.is_private()
                            && let Some(items) = reader.opened_bytes()?
                        {
                            facts.removed(items, encoding);
                        }
                        reader.skip_opened()?;
                    }
                }
            }
            Event::Item if level == Some(Level::Content) => {
                items.push(facts.content.len());
                facts.content.push((false, 0));
            }
            Event::ItemEnd if level == Some(Level::Content) => {
                let next = facts.content.len();
                if let Some((_, end)) = items.pop().and_then(|item| facts.content.get_mut(item)) {
                    *end = next;
                }
            }
            Event::SequenceEnd => {
                // An item may have a character set of its own.
                facts.secrets.charset = facts.charset;
                levels.pop();
            }
            Event::Fragments(header) if header.tag == Tag::PIXEL_DATA && level.is_none() => {
                facts.has_pixels = true;
                facts.offsets.check(reader)?;
            }
            Event::Fragments(_) => reader.skip_opened()?,
            Event::Item | Event::ItemEnd | Event::Fragment(_) | Event::FragmentsEnd => {}
            Event::End => break,
        }
    }
    if !facts.any {
        return Err(Refusal::new(Kind::Malformed, "empty-data-set", "the file holds no element"));
    }
    Ok(facts)
}

/// Refuses an element that stands behind a later one, or twice: of two values this reader and the next would take
/// different ones. Tags ascend within a data set (PS3.5 section 7.1).
fn ascend(event: Event, last: &mut Vec<Option<Tag>>) -> Result<(), Refusal> {
    match event {
        Event::Element(Header { tag, .. })
        | Event::Sequence(Header { tag, .. })
        | Event::Fragments(Header { tag, .. }) => {
            let Some(last) = last.last_mut() else { return Ok(()) };
            if last.is_some_and(|last| tag <= last) {
                let why = "an element stands behind a later one, or twice";
                return Err(Refusal::new(Kind::Malformed, "structure", why));
            }
            *last = Some(tag);
        }
        Event::Item => last.push(None),
        Event::ItemEnd => drop(last.pop()),
        _ => {}
    }
    Ok(())
}

/// Whether a content item of this value type can be kept: it holds a number, a code, a reference or other items.
fn stays(value_type: &[u8]) -> bool {
    matches!(
        value_type.trim_ascii(),
        b"NUM"
            | b"CODE"
            | b"UIDREF"
            | b"CONTAINER"
            | b"IMAGE"
            | b"COMPOSITE"
            | b"WAVEFORM"
            | b"SCOORD"
            | b"SCOORD3D"
            | b"TCOORD"
    )
}

impl Facts {
    fn top_level<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), Refusal> {
        let encoding = reader.encoding();
        let place = match header.tag.0 {
            0x0008_0008 => &mut self.image_type,
            0x0008_0016 => &mut self.sop_class,
            0x0008_0018 => &mut self.sop_instance,
            0x0008_0060 => &mut self.modality,
            0x0010_0010 => &mut self.patient_name,
            0x0010_0020 => &mut self.patient_id,
            0x0020_000D => &mut self.study,
            0x0028_0004 => &mut self.photometric,
            0x0028_0008 => {
                self.has_odd_geometry |= !matches!(header.vr, Vr::IS | Vr::UN);
                &mut self.frames
            }
            0x0028_0301 => &mut self.burned_in,
            0x0028_0302 => &mut self.recognizable,
            0x0028_0002 | 0x0028_0010 | 0x0028_0011 | 0x0028_0100..=0x0028_0103 => {
                let is_one = matches!(header.vr, Vr::US | Vr::UN) && matches!(header.length, 0 | 2);
                self.has_odd_geometry |= !is_one;
                if let Some(number) = reader.value()?.and_then(|value| number(value, encoding)) {
                    self.numbers.insert(header.tag.0, number);
                }
                return Ok(());
            }
            0x7FE0_0001 | 0x7FE0_0002 => return Ok(self.offsets.extended(header, reader)?),
            0x7FE0_0008..=0x7FE0_0010 => {
                self.has_pixels = true;
                self.native.push(header.tag);
                return Ok(());
            }
            0x6000_0000..=0x60FF_FFFF => return self.overlay(header, reader),
            _ => return Ok(()),
        };
        // The first one counts, as it does for those who read the file later.
        if place.is_empty()
            && let Some(value) = reader.value()?
        {
            *place = trimmed(value).into_owned();
        }
        Ok(())
    }

    /// What makes an object one for a person wherever it stands: a document, a picture of a screen.
    fn risks<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), Refusal> {
        match header.tag.0 {
            0x0042_0011 => self.has_document |= header.length > 0,
            // Image Type, Frame Type. `SCREEN`, `SCREEN SAVE`, and what makers make of it.
            0x0008_0008 | 0x0008_9007 => {
                let value = reader.value()?.unwrap_or_default();
                self.has_screen |= value.windows(6).any(|word| word.eq_ignore_ascii_case(b"SCREEN"));
            }
            _ => {}
        }
        Ok(())
    }

    fn overlay<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), Refusal> {
        let encoding = reader.encoding();
        self.has_overlay = true;
        if header.tag.is_private() {
            return Ok(());
        }
        let overlay = self.overlays.entry(header.tag.group()).or_default();
        match header.tag.element() {
            0x0010 | 0x0011 => overlay.is_there = true,
            element @ (0x0100 | 0x0102) => {
                overlay.is_there = true;
                let value = reader.value()?.and_then(|value| number(value, encoding));
                overlay.is_odd |= header.length > 0 && value.is_none();
                let place = if element == 0x0100 { &mut overlay.allocated } else { &mut overlay.position };
                *place = value;
            }
            0x3000 => overlay.has_data |= header.length > 0,
            _ => {}
        }
        Ok(())
    }

    fn names<S: Source>(
        &mut self,
        header: Header,
        reader: &mut Reader<S>,
        rules: &Rules<'_>,
        nested: bool,
    ) -> Result<(), Refusal> {
        let (step, vr) = rules.step(header, nested, reader.encoding());
        let stays = step == Step::Keep || step == Step::Shift && rules.options.dates == Dates::Keep;
        if !stays {
            self.secret(header, vr, reader)?;
        }
        match (step, vr) {
            (Step::MapUids, Vr::UI) => {
                let Some(value) = reader.value()? else { return Ok(()) };
                for uid in value.split(|byte| *byte == b'\\').map(trimmed) {
                    let stays = is_well_known(&uid) && !INSTANCES.contains(&header.tag);
                    if !uid.is_empty() && !stays && !self.uids.contains(&*uid) {
                        self.uids.insert(uid.into_owned());
                    }
                }
                if self.uids.len() > UIDS_MAXIMUM {
                    return Err(Refusal::new(Kind::Limit, "uid-count", "the file names too many uids"));
                }
            }
            (Step::Pseudonym, _)
                if header.tag == tags::PATIENT_ID && self.subjects.len() < SUBJECTS_MAXIMUM =>
            {
                if let Some(value) = reader.value()?.map(trimmed).filter(|value| !value.is_empty()) {
                    self.subjects.insert(value.into_owned());
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes a value that goes, where it may be repeated in one that stays.
    fn secret<S: Source>(&mut self, header: Header, vr: Vr, reader: &mut Reader<S>) -> Result<(), Refusal> {
        // A name is one in whatever representation it is written.
        let vr = match DICTIONARY.vr(header.tag) {
            Some(standard @ (Vr::PN | Vr::DA | Vr::DT)) => standard,
            _ => vr,
        };
        if !matches!(vr, Vr::PN | Vr::DA | Vr::DT) && !Secrets::names(header.tag) {
            return Ok(());
        }
        // What is larger is no name.
        let Some(value) = reader.value()? else { return Ok(()) };
        match vr {
            Vr::PN => self.secrets.add_name(value),
            Vr::DA | Vr::DT => self.secrets.add_dates(header.tag, value),
            _ => self.secrets.add(header.tag, value),
        }
        Ok(())
    }

    /// The same for all items of a sequence that goes; where it does not read, as far as it does.
    fn removed(&mut self, items: &[u8], encoding: Encoding) {
        let mut reader = Reader::<SliceSource<'_>>::of_items(items, DICTIONARY, encoding);
        loop {
            match reader.next_event() {
                Ok(Event::Element(header)) => {
                    if self.secret(header, header.vr, &mut reader).is_err() {
                        return;
                    }
                }
                Ok(Event::End) | Err(_) => return,
                Ok(_) => {}
            }
        }
    }
}

/// One number of 16 bits.
fn number(value: &[u8], encoding: Encoding) -> Option<u16> {
    let bytes = value.try_into().ok()?;
    Some(match encoding {
        Encoding::ExplicitBig => u16::from_be_bytes(bytes),
        _ => u16::from_le_bytes(bytes),
    })
}

/// A value without its padding. Bytes that are no UTF-8 (other character sets) are spelled in hexadecimal digits: a
/// replacement character would make two patients one.
pub(crate) fn trimmed(value: &[u8]) -> Cow<'_, str> {
    let is_padding = |byte: &u8| matches!(byte, 0 | b' ' | b'\t' | b'\r' | b'\n');
    let end = value.iter().rposition(|byte| !is_padding(byte)).map_or(0, |last| last + 1);
    let start = value.iter().position(|byte| !is_padding(byte)).unwrap_or(end);
    let bytes = value.get(start..end).unwrap_or_default();
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => {
            let mut text = "hex:".to_owned();
            for byte in bytes {
                let _ = write!(text, "{byte:02x}");
            }
            Cow::Owned(text)
        }
    }
}

/// Waveform Sequence and Waveform Data.
const WAVEFORMS: [Tag; 2] = [Tag(0x5400_0100), Tag(0x5400_1010)];

/// UIDs that name a thing of this patient's whatever they are: instance, study and series. A frame of reference may be
/// one that the standard assigns.
const INSTANCES: [Tag; 3] = [Tag(0x0008_0018), Tag(0x0020_000D), Tag(0x0020_000E)];

/// The standard's UIDs without their common begin, one a line, ascending by their bytes.
const WELL_KNOWN: &str = include_str!("../table/uids.txt");

/// Whether the standard itself assigns this UID. That it begins as those do says nothing: anything may stand behind.
pub(crate) fn is_well_known(uid: &str) -> bool {
    let Some(uid) = uid.strip_prefix("1.2.840.10008.") else { return false };
    let (mut from, mut to) = (0, WELL_KNOWN.len());
    while let Some(rows) = WELL_KNOWN.get(from..to).filter(|rows| !rows.is_empty()) {
        let middle = rows.len() / 2;
        let begin = rows.get(..middle).and_then(|before| before.rfind('\n')).map_or(0, |at| at + 1);
        let row = rows.get(begin..).and_then(|rows| rows.lines().next()).unwrap_or_default();
        match row.cmp(uid) {
            Ordering::Equal => return true,
            Ordering::Less => from += begin + row.len() + 1,
            Ordering::Greater => to = from + begin,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exactly_the_uids_of_the_standard_are_well_known() {
        let mut count = 0;
        for row in WELL_KNOWN.lines() {
            count += 1;
            let uid = format!("1.2.840.10008.{row}");
            assert!(is_well_known(&uid), "{uid}");
            for other in
                [format!("{uid}.77341902"), format!("{uid}9999"), format!("{uid} "), format!("2.{uid}")]
            {
                assert!(!is_well_known(&other), "{other}");
            }
        }
        assert_eq!(count, 496);
        assert!(WELL_KNOWN.lines().is_sorted_by(|one, next| one < next));
        for other in
            ["", "1.2.840.10008", "1.2.840.10008.", "1.2.840.10008.0", "1.2.840.10008.77341902.19430527"]
        {
            assert!(!is_well_known(other), "{other}");
        }
    }

    #[test]
    fn names_in_other_character_sets_stay_different_names() {
        // "Müller" and "Möller" in Latin-1, with padding.
        let (first, second) = (trimmed(b" M\xFCller\0"), trimmed(b"M\xF6ller "));
        assert_ne!(first, second);
        assert_eq!(first, trimmed(b"M\xFCller"));
        assert_eq!(trimmed(b" Doe^John \0"), "Doe^John");
        assert_eq!(trimmed("Müller ".as_bytes()), "Müller");
    }
}
