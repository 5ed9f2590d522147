//! The first pass: what decisions and pseudonyms need, over exactly the elements that the second pass keeps.

use std::collections::{BTreeMap, BTreeSet};

use dicom_stream::{Encoding, Event, Header, Reader, Source, Tag, Vr};

use crate::host::is_uid;
use crate::refusal::{Kind, Refusal};
use crate::rules::{Nest, Rules, Step, tags};

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
    pub(crate) frames: String,
    study: String,
    patient_id: String,
    patient_name: String,
    pub(crate) numbers: BTreeMap<u32, u16>,
    pub(crate) uids: BTreeSet<String>,
    pub(crate) subjects: BTreeSet<String>,
    pub(crate) has_pixels: bool,
    pub(crate) has_overlay: bool,
    pub(crate) has_document: bool,
    pub(crate) has_directory: bool,
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

/// Reads the data set to its end.
pub(crate) fn survey<S: Source>(reader: &mut Reader<S>, rules: &Rules<'_>) -> Result<Facts, Refusal> {
    let mut facts = Facts::default();
    // For each open sequence: whether its items are content items; for each such item its number.
    let (mut levels, mut items) = (Vec::new(), Vec::new());
    loop {
        match reader.next_event()? {
            Event::Element(header) => {
                let nested = !levels.is_empty();
                facts.any = true;
                if rules.hides_sequence(header) {
                    let nest = rules.nest(header);
                    if matches!(nest, Nest::Enter | Nest::EnterContent) && reader.enter()? {
                        levels.push(nest == Nest::EnterContent);
                    }
                    continue;
                }
                if !nested {
                    facts.top_level(header, reader)?;
                }
                if header.tag == tags::VALUE_TYPE
                    && levels.last() == Some(&true)
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
                    Nest::Enter => levels.push(false),
                    Nest::EnterContent => levels.push(true),
                    Nest::Remove | Nest::Empty => reader.skip_opened()?,
                }
            }
            Event::Item if levels.last() == Some(&true) => {
                items.push(facts.content.len());
                facts.content.push((false, 0));
            }
            Event::ItemEnd if levels.last() == Some(&true) => {
                let next = facts.content.len();
                if let Some((_, end)) = items.pop().and_then(|item| facts.content.get_mut(item)) {
                    *end = next;
                }
            }
            Event::SequenceEnd => {
                levels.pop();
            }
            Event::Fragments(header) => {
                facts.has_pixels |= header.tag.group() == 0x7FE0 && levels.is_empty();
                reader.skip_opened()?;
            }
            Event::Item | Event::ItemEnd | Event::Fragment(_) | Event::FragmentsEnd => {}
            Event::End => break,
        }
    }
    if !facts.any {
        return Err(Refusal::new(Kind::Malformed, "empty-data-set", "the file holds no element"));
    }
    Ok(facts)
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
            0x0028_0008 => &mut self.frames,
            0x0028_0301 => &mut self.burned_in,
            0x0028_0002..=0x0028_0103 if header.length == 2 => {
                if let Some(&[a, b]) = reader.value()? {
                    let number = match encoding {
                        Encoding::ExplicitBig => u16::from_be_bytes([a, b]),
                        _ => u16::from_le_bytes([a, b]),
                    };
                    self.numbers.insert(header.tag.0, number);
                }
                return Ok(());
            }
            0x0042_0011 => {
                self.has_document |= header.length > 0;
                return Ok(());
            }
            0x7FE0_0008..=0x7FE0_0010 => {
                self.has_pixels = true;
                return Ok(());
            }
            tag => {
                self.has_overlay |= tag >> 24 == 0x60;
                return Ok(());
            }
        };
        // The first one counts, as it does for those who read the file later.
        if place.is_empty()
            && let Some(value) = reader.value()?
        {
            *place = trimmed(value);
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
        match rules.step(header, nested, reader.encoding()) {
            (Step::MapUids, Vr::UI) => {
                let Some(value) = reader.value()? else { return Ok(()) };
                for uid in value.split(|byte| *byte == b'\\').map(trimmed) {
                    if !uid.is_empty() && !is_well_known(&uid) && !self.uids.contains(&uid) {
                        self.uids.insert(uid);
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
                    self.subjects.insert(value);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

/// A value without its padding.
pub(crate) fn trimmed(value: &[u8]) -> String {
    String::from_utf8_lossy(value).trim_matches(['\0', ' ', '\t', '\r', '\n']).to_owned()
}

/// UIDs that the standard itself assigns.
pub(crate) fn is_well_known(uid: &str) -> bool {
    uid.starts_with("1.2.840.10008.") && is_uid(uid)
}
