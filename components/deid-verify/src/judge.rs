//! Whether an attribute may stand in the object as it does.

use crate::finding::Finding;
use crate::residual;
use crate::rules::{Action, Rule, Rules};
use crate::value;

/// What the manifest may set: the same words as those of the de-identifier's stage.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Setting `dates`.
    pub dates: Dates,
    /// Setting `structured-content`.
    pub structured_content: StructuredContent,
    /// Setting `patient-characteristics`.
    pub patient_characteristics: PatientCharacteristics,
    /// Setting `pixel-risk`.
    pub pixel_risk: PixelRisk,
}

/// What the object has to say of its dates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dates {
    /// `shift`: that they were modified.
    #[default]
    Shift,
    /// `keep`: that they were not.
    Keep,
}

/// Whether a report may have content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StructuredContent {
    /// `empty`: none.
    #[default]
    Empty,
    /// `clean`: items, whose texts and names are judged.
    Clean,
}

/// Whether age, sex, size, weight and their like may stand there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatientCharacteristics {
    /// `remove`: as the table says.
    #[default]
    Remove,
    /// `keep`: they may.
    Keep,
}

/// What happens where the object says that text is burned in or a face can be seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelRisk {
    /// `refuse`: a person has to look.
    #[default]
    Refuse,
    /// `dangerously-accept`: it passes. For tests with public images only.
    DangerouslyAccept,
}

/// Tags that are judged by themselves.
pub(crate) mod tags {
    pub(crate) const SOP_CLASS: u32 = 0x0008_0016;
    pub(crate) const SOP_INSTANCE: u32 = 0x0008_0018;
    pub(crate) const CODE_VALUE: u32 = 0x0008_0100;
    pub(crate) const PATIENT_NAME: u32 = 0x0010_0010;
    pub(crate) const PATIENT_ID: u32 = 0x0010_0020;
    pub(crate) const BIRTH_DATE: u32 = 0x0010_0030;
    pub(crate) const IDENTITY_REMOVED: u32 = 0x0012_0062;
    pub(crate) const METHOD: u32 = 0x0012_0063;
    pub(crate) const METHOD_CODES: u32 = 0x0012_0064;
    pub(crate) const BURNED_IN: u32 = 0x0028_0301;
    pub(crate) const RECOGNIZABLE: u32 = 0x0028_0302;
    pub(crate) const DATES_MODIFIED: u32 = 0x0028_0303;
    pub(crate) const CONTENT: u32 = 0x0040_A730;
    pub(crate) const PIXELS: u32 = 0x7FE0_0010;
}

/// Column K of *retain patient characteristics*: sex, age, size, weight, ethnic group, smoking, pregnancy, neutered.
const CHARACTERISTICS: [u32; 8] =
    [0x0010_0040, 0x0010_1010, 0x0010_1020, 0x0010_1030, 0x0010_2160, 0x0010_21A0, 0x0010_21C0, 0x0010_2203];

/// UIDs that name a class, a syntax, a scheme or a context: the same in every hospital.
const NAMING: [u32; 17] = [
    0x0008_0016,
    0x0008_001A,
    0x0008_001B,
    0x0008_0062,
    0x0008_010C,
    0x0008_010D,
    0x0008_0117,
    0x0008_0118,
    0x0008_040E,
    0x0008_1150,
    0x0008_115A,
    0x0008_3002,
    0x0034_0003,
    0x0400_0010,
    0x0400_0510,
    0x3010_0052,
    0x3010_0053,
];

/// What the table leaves alone although it holds what the table removes elsewhere: dates of birth and death in another
/// calendar, numbers of orders.
const BEYOND: [u32; 6] = [0x0010_0033, 0x0010_0034, 0x0040_1006, 0x0040_1007, 0x0040_2006, 0x0040_2007];

/// Software Versions: they are dated, by who made them.
const DATED_BY_THE_MAKER: u32 = 0x0018_1020;

/// Where an element stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Outermost,
    Nested,
}

/// Rules and options together.
#[derive(Clone, Copy)]
pub(crate) struct Judge<'a> {
    pub(crate) rules: &'a Rules<'a>,
    pub(crate) options: Options,
}

impl Judge<'_> {
    /// What is known of an attribute that may stand in a data set at all.
    pub(crate) fn rule(&self, tag: u32, place: Place) -> Result<Rule, Finding> {
        let (group, element) = (tag >> 16, tag & 0xFFFF);
        if group % 2 == 1 {
            return Err(Finding::policy("private-attribute", tag));
        }
        let never = match group {
            // Commands, file meta, directories.
            ..=0x0007 => true,
            0x7FE0 => element > 0x0010 || place == Place::Nested,
            // Curves, overlays, variable pixels; code tables of retired compressions; signatures; padding.
            0x5000..=0x50FF | 0x6000..=0x60FF | 0x7F00..=0x7FFF | 0x1000 | 0x1010 | 0xFFFA | 0xFFFC => true,
            _ => element == 0,
        };
        if never || BEYOND.contains(&tag) {
            return Err(Finding::policy("attribute-not-removed", tag));
        }
        let rule = self.rules.of(tag).ok_or_else(|| Finding::policy("attribute-unknown", tag))?;
        if rule.action == Action::Remove && !self.is_kept(tag) {
            return Err(Finding::policy("attribute-not-removed", tag));
        }
        Ok(rule)
    }

    fn is_kept(&self, tag: u32) -> bool {
        self.options.patient_characteristics == PatientCharacteristics::Keep && CHARACTERISTICS.contains(&tag)
    }

    /// Whether a sequence that has items may have them.
    pub(crate) fn items(&self, tag: u32, rule: Rule) -> Result<(), Finding> {
        if rule.vr != *b"SQ" {
            return Err(Finding::policy("value-form", tag));
        }
        if tag == tags::CONTENT {
            return match self.options.structured_content {
                StructuredContent::Clean => Ok(()),
                StructuredContent::Empty => Err(Finding::policy("sequence-not-emptied", tag)),
            };
        }
        match rule.action {
            Action::Empty | Action::Replace => Err(Finding::policy("sequence-not-emptied", tag)),
            _ => Ok(()),
        }
    }

    /// Judges a value that is held whole. `written` is the representation in the file.
    pub(crate) fn value(&self, tag: u32, rule: Rule, written: [u8; 2], value: &[u8]) -> Result<(), Finding> {
        self.flags(tag, value)?;
        if value.is_empty() {
            return Ok(());
        }
        // What the standard gives a form is judged by that form, whatever the file calls it.
        let vr =
            if rule.vr.iter().all(u8::is_ascii_uppercase) && &rule.vr != b"UN" { rule.vr } else { written };
        let form = |holds: bool| if holds { Ok(()) } else { Err(Finding::policy("value-form", tag)) };
        match &vr {
            b"SQ" => return Err(Finding::policy("value-form", tag)),
            b"UI" => return Self::uids(tag, value),
            // Where the object or its study lies.
            b"UR" => return Err(Finding::policy("attribute-not-removed", tag)),
            b"AS" => {
                form(value::is_age(value))?;
                if value::is_over_ninety(value) {
                    return Err(Finding::policy("age-over-89", tag));
                }
            }
            b"DA" | b"DT" => form(value::is_date(value))?,
            b"TM" => form(value::is_time(value))?,
            b"DS" | b"IS" => form(value::is_number(value))?,
            _ => {}
        }
        if matches!(tag, tags::PATIENT_NAME | tags::PATIENT_ID) {
            let holds = value::is_pseudonym(value);
            return if holds { Ok(()) } else { Err(Finding::policy("patient-not-replaced", tag)) };
        }
        if self.is_kept(tag) {
            return Self::searched(tag, &vr, value);
        }
        // Dates and times stay, moved: the object says so (`dates-not-said`). A birth date does not.
        let moved = matches!(&vr, b"DA" | b"DT" | b"TM") && tag != tags::BIRTH_DATE;
        match rule.action {
            Action::Empty if !moved => Err(Finding::policy("attribute-not-emptied", tag)),
            Action::Replace | Action::Uid if !moved && !value::is_dummy(value) => {
                Err(Finding::policy("attribute-not-replaced", tag))
            }
            _ if &vr == b"PN" && !value::is_dummy(value) => {
                Err(Finding::policy("attribute-not-replaced", tag))
            }
            _ => Self::searched(tag, &vr, value),
        }
    }

    /// Judges a part of a value that is too large to be held: of bytes, not of text.
    pub(crate) fn part(tag: u32, rule: Rule, part: &[u8]) -> Result<(), Finding> {
        if rule.action != Action::Keep {
            return Err(Finding::policy("attribute-not-replaced", tag));
        }
        residual::in_binary(part).map_or(Ok(()), |code| Err(Finding::review(code, tag)))
    }

    /// What the object says of itself, at any depth.
    fn flags(&self, tag: u32, value: &[u8]) -> Result<(), Finding> {
        let (code, harmless) = match tag {
            tags::BURNED_IN => ("burned-in-annotation", true),
            tags::RECOGNIZABLE => ("recognizable-features", true),
            _ => ("", false),
        };
        let says = harmless && !matches!(value::trimmed(value), b"" | b"NO");
        if says && self.options.pixel_risk == PixelRisk::Refuse {
            return Err(Finding::review(code, tag));
        }
        Ok(())
    }

    fn uids(tag: u32, value: &[u8]) -> Result<(), Finding> {
        let naming = NAMING.contains(&tag);
        for uid in value::each(value).filter(|uid| !uid.is_empty()) {
            let holds = value::is_standard_uid(uid)
                || if naming { value::is_uid(uid) } else { value::is_replaced_uid(uid) };
            if !holds {
                return Err(Finding::policy("uid-not-replaced", tag));
            }
        }
        Ok(())
    }

    /// Searches a value that stays for what looks like an identity.
    fn searched(tag: u32, vr: &[u8; 2], value: &[u8]) -> Result<(), Finding> {
        let found = match vr {
            b"AE" | b"CS" | b"LO" | b"LT" | b"PN" | b"SH" | b"ST" | b"UC" | b"UR" | b"UT" => {
                residual::in_text(value)
            }
            b"OB" | b"OW" | b"OD" | b"OF" | b"OL" | b"OV" | b"UN" | b"FL" | b"FD" | b"UL" | b"SL" | b"US"
            | b"SS" | b"AT" | b"SV" | b"UV" => residual::in_binary(value),
            _ => None,
        };
        match found {
            Some("date-in-value") if tag == DATED_BY_THE_MAKER => Ok(()),
            Some(code) => Err(Finding::review(code, tag)),
            None => Ok(()),
        }
    }
}
