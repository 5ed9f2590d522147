//! What happens to an element: the table's word, the options', and what has to be removed whatever they say.

use dicom_stream::{Dictionary, Encoding, Header, Tag, Vr};

use crate::dictionary::DICTIONARY;
use crate::table::{Basic, Table};

/// What the manifest may set.
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
    /// Setting `log-paths`.
    pub paths: Paths,
}

/// Whether the summary says where something was changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Paths {
    /// `no`: counts only.
    #[default]
    Forget,
    /// `yes`: a line for each changed element, path and action, never a value.
    Record,
}

/// What happens to dates that the profile does not remove.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dates {
    /// `shift`: they move back by the patient's own number of days.
    #[default]
    Shift,
    /// `keep`: they stay as they are.
    Keep,
}

/// What happens to the content of structured reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StructuredContent {
    /// `empty`: the content sequence stays without items.
    #[default]
    Empty,
    /// `clean`: numbers, codes, references and the containers around them stay.
    Clean,
}

/// What happens to age, sex, size, weight and their like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PatientCharacteristics {
    /// `remove`: as the table says.
    #[default]
    Remove,
    /// `keep`: they stay; an age above 89 years becomes 90.
    Keep,
}

/// What happens to objects whose pixels may hold text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PixelRisk {
    /// `refuse`: a person has to look.
    #[default]
    Refuse,
    /// `dangerously-accept`: they pass, text and all. For tests with public images only.
    DangerouslyAccept,
}

/// What to do with an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Remove,
    Empty,
    Dummy,
    MapUids,
    Shift,
    /// Patient ID and name: the pseudonym.
    Pseudonym,
    /// An age, cut at 90 years.
    Age,
    /// A time of day, kept where it is one.
    Time,
    Keep,
}

/// What to do with a sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nest {
    Remove,
    Empty,
    Enter,
    /// Content items of a structured report.
    EnterContent,
}

/// Attributes by which the rules act themselves.
pub(crate) mod tags {
    use dicom_stream::Tag;

    pub(crate) const SOP_CLASS: Tag = Tag(0x0008_0016);
    pub(crate) const MODALITY: Tag = Tag(0x0008_0060);
    pub(crate) const PATIENT_NAME: Tag = Tag(0x0010_0010);
    pub(crate) const PATIENT_ID: Tag = Tag(0x0010_0020);
    pub(crate) const BIRTH_DATE: Tag = Tag(0x0010_0030);
    pub(crate) const IDENTITY_REMOVED: Tag = Tag(0x0012_0062);
    pub(crate) const METHOD: Tag = Tag(0x0012_0063);
    pub(crate) const METHOD_CODES: Tag = Tag(0x0012_0064);
    pub(crate) const DATES_MODIFIED: Tag = Tag(0x0028_0303);
    pub(crate) const CHARACTER_SET: Tag = Tag(0x0008_0005);
    pub(crate) const VALUE_TYPE: Tag = Tag(0x0040_A040);
    pub(crate) const TEXT_VALUE: Tag = Tag(0x0040_A160);
    pub(crate) const CONTENT: Tag = Tag(0x0040_A730);
}

/// Kept by the option *retain patient characteristics* (column K of the table).
const CHARACTERISTICS: [u32; 8] = [
    0x0010_0040, // Patient's Sex
    0x0010_1010, // Patient's Age
    0x0010_1020, // Patient's Size
    0x0010_1030, // Patient's Weight
    0x0010_2160, // Ethnic Group
    0x0010_21A0, // Smoking Status
    0x0010_21C0, // Pregnancy Status
    0x0010_2203, // Patient's Sex Neutered
];

/// UIDs that name a class, a syntax or a scheme, not a thing of this patient's; they stay whoever registered them.
const NAMING_UIDS: [u32; 20] = [
    0x0008_0016, // SOP Class
    0x0008_001A, // Related General SOP Class
    0x0008_001B, // Original Specialized SOP Class
    0x0008_0062, // SOP Classes in Study
    0x0008_010C, // Coding Scheme
    0x0008_010D, // Context Group Extension Creator
    0x0008_0117, // Context
    0x0008_0118, // Mapping Resource
    0x0008_040E, // Stored Instance Transfer Syntax
    0x0008_1150, // Referenced SOP Class
    0x0008_115A, // SOP Classes Supported
    0x0008_3002, // Available Transfer Syntax
    0x0034_0003, // Flow Transfer Syntax
    0x0400_0010, // MAC Calculation Transfer Syntax
    0x0400_0510, // Encrypted Content Transfer Syntax
    0x3010_0052, // Pertinent SOP Classes in Study
    0x3010_0053, // Pertinent SOP Classes in Series
    0x0002_0002,
    0x0002_0010,
    0x0002_0012,
];

/// Table, dictionary and options together.
#[derive(Clone, Copy)]
pub(crate) struct Rules<'a> {
    pub(crate) table: &'a Table<'a>,
    pub(crate) options: Options,
    dictionary: Dictionary,
    /// The encoding of the file's outermost level.
    encoding: Encoding,
}

impl<'a> Rules<'a> {
    pub(crate) const fn new(table: &'a Table<'a>, options: Options, encoding: Encoding) -> Self {
        Self { table, options, dictionary: DICTIONARY, encoding }
    }

    /// The standard's representation of an attribute that may stay at all; none: it goes, default deny.
    fn standard(&self, tag: Tag) -> Option<Vr> {
        let never = match tag.group() {
            // Command, file meta and directory groups do not belong into a data set.
            ..=0x0007 => true,
            // Coefficients that are no image any reader knows.
            0x7FE0 => tag.element() > 0x0010,
            // Curves, overlays, further pixel data, and the code tables of retired compressions: any element number
            // and any bytes, which nobody reads.
            group
                if matches!(group & 0xFF00, 0x5000 | 0x6000 | 0x7F00) || matches!(group, 0x1000 | 0x1010) =>
            {
                true
            }
            // Signatures would not hold, padding may hide anything.
            0xFFFA | 0xFFFC => true,
            _ => tag.element() == 0,
        };
        let ours = matches!(
            tag,
            tags::IDENTITY_REMOVED
                | tags::METHOD
                | tags::METHOD_CODES
                | tags::DATES_MODIFIED
                | Tag(0x0008_0001)
        );
        if never || ours { None } else { self.dictionary.vr(tag) }
    }

    /// What to do with an element of known length, and the representation to write it with.
    /// `nested`: inside of a sequence. `encoding`: the one it was read in.
    pub(crate) fn step(&self, header: Header, nested: bool, encoding: Encoding) -> (Step, Vr) {
        let Some(standard) = self.standard(header.tag) else { return (Step::Remove, header.vr) };
        let Some(vr) = settle(header, standard, encoding) else { return (Step::Remove, header.vr) };
        // Nobody says what a standard attribute of representation UN holds.
        let unsaid = standard == Vr::UN && self.table.action(header.tag) != Some(Basic::Dummy);
        if standard == Vr::SQ || unsaid || nested && header.tag.group() == 0x7FE0 {
            return (Step::Remove, vr);
        }
        (self.value_step(header.tag, standard), vr)
    }

    fn value_step(&self, tag: Tag, standard: Vr) -> Step {
        let basic = self.table.action(tag);
        if self.options.patient_characteristics == PatientCharacteristics::Keep
            && CHARACTERISTICS.contains(&tag.0)
        {
            return if standard == Vr::AS { Step::Age } else { Step::Keep };
        }
        match (basic, standard) {
            (Some(Basic::Remove), _) => Step::Remove,
            _ if matches!(tag, tags::PATIENT_ID | tags::PATIENT_NAME) => Step::Pseudonym,
            _ if tag == tags::BIRTH_DATE => Step::Empty,
            (_, Vr::DA | Vr::DT) => Step::Shift,
            (_, Vr::TM) => Step::Time,
            (Some(_), Vr::UI) => Step::MapUids,
            (None, Vr::UI) if NAMING_UIDS.contains(&tag.0) => Step::Keep,
            (None, Vr::UI) => Step::MapUids,
            (Some(Basic::Empty), _) => Step::Empty,
            (Some(Basic::Dummy), _) | (None, Vr::PN) => Step::Dummy,
            // UIDs in something that is none: the table and the dictionary do not fit together.
            (Some(Basic::Uid), _) => Step::Remove,
            (None, Vr::AS) => Step::Age,
            // Addresses of where the object or its study lies: their hosts and their queries name both.
            (None, Vr::UR) => Step::Remove,
            (None, _) => Step::Keep,
        }
    }

    /// What to do with a sequence.
    pub(crate) fn nest(&self, header: Header) -> Nest {
        // The content of UN is little endian; a big-endian file would need its numbers turned round.
        let fits = header.vr == Vr::SQ || header.vr == Vr::UN && self.encoding != Encoding::ExplicitBig;
        if self.standard(header.tag) != Some(Vr::SQ) || !fits {
            return Nest::Remove;
        }
        if header.tag == tags::CONTENT {
            return match self.options.structured_content {
                StructuredContent::Empty => Nest::Empty,
                StructuredContent::Clean => Nest::EnterContent,
            };
        }
        match self.table.action(header.tag) {
            Some(Basic::Remove) => Nest::Remove,
            Some(Basic::Empty | Basic::Dummy) => Nest::Empty,
            Some(Basic::Uid) | None => Nest::Enter,
        }
    }

    /// Whether a `UN` value may be looked at as the items of a sequence.
    pub(crate) fn hides_sequence(&self, header: Header) -> bool {
        header.vr == Vr::UN && header.length > 0 && self.standard(header.tag) == Some(Vr::SQ)
    }
}

/// The representation to write an attribute with: the file's where it is of the same class as the standard's.
/// None where the two contradict each other, or no edition knows the file's.
fn settle(header: Header, standard: Vr, encoding: Encoding) -> Option<Vr> {
    let one = match &standard.0 {
        b"ox" => Vr::OW,
        b"xs" | b"xw" | b"uw" => Vr::US,
        _ => standard,
    };
    let written = header.vr;
    if written == standard {
        return Some(one);
    }
    if written == Vr::UN {
        // The value of UN is little endian; in a big-endian file numbers would have to be turned round.
        return (encoding != Encoding::ExplicitBig || one.is_text()).then_some(one);
    }
    // Text that the standard gives a form keeps that form, so that nothing else is read out of it later.
    let formed = matches!(&one.0, b"AS" | b"DA" | b"DT" | b"TM" | b"UI" | b"PN" | b"DS" | b"IS");
    match (written.is_text() && one.is_text(), written.is_binary() && one.is_binary()) {
        (true, _) if formed => Some(one),
        (true, _) | (_, true) => Some(written),
        _ => None,
    }
}
