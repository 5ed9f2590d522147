//! The walk over a file, from the first byte to the last.

use dicom_stream::{Dictionary, Event, FileHeader, Header, Reader, Rows, Source, Tag, Vr, open};

use crate::pixels::Pixels;
use crate::preamble;
use crate::refusal::Refusal;

const TEXT: &[u8] = include_bytes!("../../dicom-deid/table/dictionary.txt");
const EXACT: usize = Rows::<0, 0>::count(TEXT, b"rows=");
const PATTERNS: usize = Rows::<0, 0>::count(TEXT, b"patterns=");
static ROWS: Rows<EXACT, PATTERNS> = Rows::parse(TEXT);
/// Implicit files name no representation: without the dictionary their sequences could not be looked into.
pub(crate) const DICTIONARY: Dictionary = ROWS.dictionary();

/// Syntaxes whose pixels stand as they are.
const PLAIN: [&str; 4] =
    ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"];

/// What was walked over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Elements with a value, at any depth.
    pub elements: u32,
    /// Items of sequences.
    pub items: u32,
    /// Fragments of encapsulated pixels, offset tables included.
    pub fragments: u32,
}

/// Walks over the file in `source`.
///
/// # Errors
/// A [`Refusal`], whose code is one of [`crate::CODES`].
pub fn check<S: Source>(mut source: S) -> Result<Summary, Refusal> {
    preamble::check(&mut source)?;
    let (header, mut reader) = open(source, DICTIONARY)?;
    check_syntax(&header)?;
    let mut walk = Walk {
        encapsulated: !PLAIN.contains(&header.transfer_syntax.as_str()),
        pixels: Pixels::default(),
        // The outermost data set.
        last: vec![None],
        fragments: 0,
        summary: Summary::default(),
    };
    while walk.step(&mut reader)? {}
    if !reader.only_padding_left()? {
        return Err(Refusal::malformed("trailing-bytes", "something stands behind the data set"));
    }
    Ok(walk.summary)
}

/// A transfer syntax is a UID (PS3.5 section 9.1) or missing, in which case the data set shows it.
fn check_syntax(header: &FileHeader) -> Result<(), Refusal> {
    let is_uid = |text: &str| {
        text.len() <= 64
            && text.split('.').all(|part| {
                !part.is_empty()
                    && part.bytes().all(|byte| byte.is_ascii_digit())
                    && (part == "0" || !part.starts_with('0'))
            })
    };
    if header.transfer_syntax.is_empty() || is_uid(&header.transfer_syntax) {
        return Ok(());
    }
    Err(Refusal::malformed("file-meta", "the transfer syntax is no uid"))
}

struct Walk {
    encapsulated: bool,
    pixels: Pixels,
    /// The last tag of each open data set: the outermost and those of items.
    last: Vec<Option<Tag>>,
    /// Of the encapsulated value at work.
    fragments: u64,
    summary: Summary,
}

impl Walk {
    /// One event; says whether there are more.
    fn step<S: Source>(&mut self, reader: &mut Reader<S>) -> Result<bool, Refusal> {
        match reader.next_event()? {
            Event::Element(header) => self.element(header, reader)?,
            Event::Sequence(header) => self.ascend(header.tag)?,
            Event::Item => {
                self.summary.items += 1;
                self.last.push(None);
            }
            Event::ItemEnd => drop(self.last.pop()),
            Event::Fragments(header) => {
                self.ascend(header.tag)?;
                self.fragments = 0;
                self.fragments(header, reader)?;
            }
            Event::SequenceEnd | Event::Fragment(_) | Event::FragmentsEnd => {}
            Event::End => return Ok(false),
        }
        Ok(true)
    }

    /// Tags ascend within a data set, each at most once (PS3.5 section 7.1).
    fn ascend(&mut self, tag: Tag) -> Result<(), Refusal> {
        let Some(last) = self.last.last_mut() else { return Ok(()) };
        if last.is_some_and(|last| tag <= last) {
            return Err(Refusal::malformed(
                "element-order",
                "an element stands behind a later one, or twice",
            ));
        }
        *last = Some(tag);
        Ok(())
    }

    fn is_outermost(&self) -> bool {
        self.last.len() == 1
    }

    fn element<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), Refusal> {
        let Header { tag, vr, length } = header;
        self.ascend(tag)?;
        self.summary.elements += 1;
        if vr == Vr::UN && length > 0 {
            // What reads as items is walked through too.
            reader.enter()?;
            return Ok(());
        }
        if !self.is_outermost() {
            return Ok(());
        }
        if Pixels::wants(tag) {
            let encoding = reader.encoding();
            self.pixels.take(tag, reader.value()?.unwrap_or_default(), encoding);
        }
        // Empty pixel data stand for pixels that are elsewhere.
        if matches!(tag.0, 0x7FE0_0008..=0x7FE0_0010) && length > 0 {
            if self.encapsulated {
                return Err(Refusal::malformed(
                    "fragments",
                    "pixels without fragments in a compressed syntax",
                ));
            }
            self.pixels.native(tag, length)?;
        }
        Ok(())
    }

    /// Walks over an encapsulated value: an offset table, then fragments.
    fn fragments<S: Source>(&mut self, header: Header, reader: &mut Reader<S>) -> Result<(), Refusal> {
        let wrong = |what| Err(Refusal::malformed("fragments", what));
        if !self.encapsulated {
            return wrong("fragments in an uncompressed transfer syntax");
        }
        while let Event::Fragment(length) = reader.next_event()? {
            if self.fragments == 0 && !length.is_multiple_of(4) {
                return wrong("an offset table that is no list of offsets");
            }
            self.fragments += 1;
            self.summary.fragments = self.summary.fragments.saturating_add(1);
        }
        if header.tag == Tag::PIXEL_DATA && self.is_outermost() {
            self.pixels.encapsulated(header.tag, self.fragments)?;
        }
        Ok(())
    }
}
