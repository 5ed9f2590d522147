//! Read, write, read again: what comes out must be the same, and must be written the same.

use crate::{
    Dictionary, Encoding, Event, FileHeader, Header, ReadError, Reader, Rows, SliceSource, Source, Tag,
    UNDEFINED, Vr, Writer, open,
};

/// A few attributes of every kind that decides how an element is read: sequences, choices, text, pixels.
const DICTIONARY_TEXT: &[u8] = b"martello-dicom-dictionary 1 rows=12 patterns=1
00080005 CS
00080016 UI
00081115 SQ
00081140 SQ
00100010 PN
00280002 US
00280106 xs
00283006 uw
0040A730 SQ
00420011 OB
7FE00008 OF
7FE00010 ox
60xx3000 ox
";

static ROWS: Rows<12, 1> = Rows::parse(DICTIONARY_TEXT);

/// The dictionary of the fuzz target and of the tests.
pub(crate) const DICTIONARY: Dictionary = ROWS.dictionary();

/// Any bytes are refused or read. What is read is written in a form that reads as the same, and is written the same
/// again.
///
/// # Panics
/// Where that does not hold.
pub fn fuzz_round_trip(data: &[u8]) {
    let Ok(Some(first)) = copy(data) else { return };
    let second = copy(&first.bytes);
    assert!(
        second.as_ref().is_ok_and(|second| second.as_ref() == Some(&first)),
        "{first:?} became {second:?}"
    );
}

/// A data set as it was read, and as a writer wrote it.
#[derive(PartialEq, Eq)]
pub(crate) struct Copied {
    pub(crate) steps: Vec<Step>,
    pub(crate) bytes: Vec<u8>,
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} in {} bytes", self.steps, self.bytes.len())
    }
}

/// What was read, without what a writer may choose: lengths of sequences, padding to an even length.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Step {
    Element(Tag, Vec<u8>),
    Fragment(Vec<u8>),
    Begin(Tag),
    Item,
    End,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Element(tag, value) => write!(f, "{tag}[{}]", value.len()),
            Self::Fragment(value) => write!(f, "fragment[{}]", value.len()),
            Self::Begin(tag) => write!(f, "{tag}<"),
            Self::Item => f.write_str("item<"),
            Self::End => f.write_str(">"),
        }
    }
}

/// Stands first in each copy, so that the encoding of the copy shows as that of the original did.
const FIRST: Tag = Tag(0x0008_0000);

/// Reads a file and writes it again in its own encoding; none where its transfer syntax is no UID, which no caller
/// writes.
pub(crate) fn copy(data: &[u8]) -> Result<Option<Copied>, ReadError> {
    let (header, mut reader) = open(SliceSource::new(data), DICTIONARY)?;
    let FileHeader { transfer_syntax, encoding, .. } = &header;
    if transfer_syntax.len() > 64
        || !transfer_syntax.bytes().all(|byte| byte == b'.' || byte.is_ascii_digit())
    {
        return Ok(None);
    }
    let Ok(writer) = begun(transfer_syntax, *encoding, header.is_deflated());
    let mut copier = Copier { writer, steps: Vec::new(), level: 0 };
    let Ok(()) = copier.writer.element(FIRST, Vr::UL, &[0; 4]);
    while copier.step(&mut reader)? {}
    let Ok(bytes) = copier.writer.finish();
    Ok(Some(Copied { steps: copier.steps, bytes }))
}

struct Copier {
    writer: Writer<Vec<u8>>,
    steps: Vec<Step>,
    level: usize,
}

impl Copier {
    /// One event; says whether there are more.
    fn step<S: Source>(&mut self, reader: &mut Reader<S>) -> Result<bool, ReadError> {
        match reader.next_event()? {
            Event::Element(header) => self.element(header, reader)?,
            Event::Sequence(Header { tag, vr, .. }) => {
                // Where no representation is written, the dictionary has to say that it is a sequence.
                if matches!(self.shown(tag, vr), Vr::SQ | Vr::UN) && self.may_stand(tag) {
                    self.writer.sequence(tag);
                    self.begin(Step::Begin(tag));
                } else {
                    reader.skip_opened()?;
                }
            }
            Event::Fragments(Header { tag, vr, .. }) => {
                let vr = self.shown(tag, vr);
                if (tag == Tag::PIXEL_DATA || matches!(vr, Vr::OB | Vr::OW)) && self.may_stand(tag) {
                    self.writer.header(tag, vr, UNDEFINED);
                    self.begin(Step::Begin(tag));
                } else {
                    reader.skip_opened()?;
                }
            }
            Event::Fragment(length) => {
                self.writer.fragment(length);
                let value = value(reader)?;
                let Ok(()) = self.writer.raw(&value);
                self.steps.push(Step::Fragment(value));
            }
            Event::Item => {
                self.writer.item();
                self.begin(Step::Item);
            }
            Event::ItemEnd => {
                let Ok(()) = self.writer.item_end();
                self.end();
            }
            Event::SequenceEnd | Event::FragmentsEnd => {
                let Ok(()) = self.writer.sequence_end();
                self.end();
            }
            Event::End => return Ok(false),
        }
        Ok(true)
    }

    fn element<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), ReadError> {
        let Header { tag, vr, length } = header;
        let vr = self.shown(tag, vr);
        if vr == Vr::SQ || !self.may_stand(tag) {
            return Ok(());
        }
        // A value too long for its representation is written as UN.
        let long = length > u32::from(u16::MAX - 1) && self.writer.encoding() != Encoding::ImplicitLittle;
        if vr == Vr::UN || vr.has_short_length() && long {
            if reader.enter()? {
                self.writer.sequence(tag);
                self.begin(Step::Begin(tag));
                return Ok(());
            }
            // The byte that fills it up might make items of it.
            if length % 2 == 1 {
                return Ok(());
            }
        }
        let mut value = value(reader)?;
        let Ok(()) = self.writer.element(tag, vr, &value);
        if value.len() % 2 == 1 {
            value.push(vr.padding());
        }
        self.steps.push(Step::Element(tag, value));
        Ok(())
    }

    fn begin(&mut self, step: Step) {
        self.steps.push(step);
        self.level += 1;
    }

    fn end(&mut self) {
        self.steps.push(Step::End);
        self.level -= 1;
    }

    /// The representation that a reader of the copy will see.
    fn shown(&self, tag: Tag, vr: Vr) -> Vr {
        let implicit = self.writer.encoding() == Encoding::ImplicitLittle;
        let vr = if implicit { DICTIONARY.vr(tag).unwrap_or(Vr::UN) } else { vr };
        match &vr.0 {
            b"ox" => Vr::OW,
            b"xs" | b"xw" | b"uw" => Vr::US,
            _ => vr,
        }
    }

    /// Whether an element is copied: not the mark of the copy, nor what would be taken for the file meta group.
    fn may_stand(&self, tag: Tag) -> bool {
        self.level > 0 || tag != FIRST && !self.writer.encoding().tag_bytes(tag).starts_with(&[2, 0])
    }
}

/// A writer behind its file meta group.
pub(crate) fn begun(
    transfer_syntax: &str,
    encoding: Encoding,
    deflate: bool,
) -> Result<Writer<Vec<u8>>, std::convert::Infallible> {
    let mut writer = Writer::new(Vec::new(), 0);
    let meta: &[(Tag, Vr, &[u8])] = &[(Tag(0x0002_0010), Vr::UI, transfer_syntax.as_bytes())];
    writer.begin(meta, encoding, deflate)?;
    Ok(writer)
}

fn value<S: Source>(reader: &mut Reader<S>) -> Result<Vec<u8>, ReadError> {
    let mut value = Vec::new();
    while reader.left() > 0 {
        let mut part = reader.part()?;
        let bytes = part.bytes()?;
        value.extend_from_slice(bytes);
        let count = bytes.len();
        part.take(count)?;
    }
    Ok(value)
}
