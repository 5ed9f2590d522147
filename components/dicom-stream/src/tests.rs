//! Files made by hand and by the writer; the tests stand by subject.

mod files;
mod limits;
mod round_trip;
mod sequences;
mod sources;

use crate::fuzz::{DICTIONARY, Step, begun, copy, fuzz_round_trip};
use crate::*;

const IMPLICIT: &str = "1.2.840.10008.1.2";
const EXPLICIT: &str = "1.2.840.10008.1.2.1";
const BIG: &str = "1.2.840.10008.1.2.2";
const DEFLATED: &str = "1.2.840.10008.1.2.1.99";
const JPEG: &str = "1.2.840.10008.1.2.4.50";

const SYNTAXES: [(&str, Encoding); 4] = [
    (IMPLICIT, Encoding::ImplicitLittle),
    (EXPLICIT, Encoding::ExplicitLittle),
    (BIG, Encoding::ExplicitBig),
    (DEFLATED, Encoding::ExplicitLittle),
];

const NAME: Tag = Tag(0x0010_0010);
const ROWS: Tag = Tag(0x0028_0002);
const SEQUENCE: Tag = Tag(0x0008_1115);
const CONTENT: Tag = Tag(0x0040_A730);
const DOCUMENT: Tag = Tag(0x0042_0011);
const UNKNOWN: Tag = Tag(0x0009_1001);

/// Bytes as a file may hold them, made by hand: a writer would not write most of these.
#[derive(Default)]
struct Bytes(Vec<u8>);

impl Bytes {
    fn explicit(mut self, tag: Tag, vr: Vr, length: u32, value: &[u8]) -> Self {
        self.0.extend(Encoding::ExplicitLittle.tag_bytes(tag));
        self.0.extend(vr.0);
        if vr.has_short_length() {
            self.0.extend(u16::try_from(length).unwrap().to_le_bytes());
        } else {
            self.0.extend([0, 0]);
            self.0.extend(length.to_le_bytes());
        }
        self.0.extend(value);
        self
    }

    /// A tag and a 32-bit length: an implicit element, an item or a delimiter.
    fn implicit(mut self, tag: Tag, length: u32, value: &[u8]) -> Self {
        self.0.extend(Encoding::ImplicitLittle.tag_bytes(tag));
        self.0.extend(length.to_le_bytes());
        self.0.extend(value);
        self
    }
}

/// A preamble, a prefix, and the transfer syntax in group 2.
/// The length of a value as headers have it.
fn length(value: &[u8]) -> u32 {
    u32::try_from(value.len()).unwrap()
}

fn with_meta(transfer_syntax: &str, data_set: &[u8]) -> Vec<u8> {
    let mut file = begun(transfer_syntax, Encoding::ExplicitLittle, false).unwrap().finish().unwrap();
    file.extend(data_set);
    file
}

#[expect(clippy::needless_pass_by_value, reason = "callers build the data set in the call")]
fn explicit_file(data_set: Bytes) -> Vec<u8> {
    with_meta(EXPLICIT, &data_set.0)
}

/// All events of a file; values are skipped.
fn events(file: &[u8]) -> Result<Vec<Event>, ReadError> {
    events_of(SliceSource::new(file))
}

fn events_of(source: impl Source) -> Result<Vec<Event>, ReadError> {
    let (_, mut reader) = open(source, DICTIONARY)?;
    rest(&mut reader)
}

fn rest<S: Source>(reader: &mut Reader<S>) -> Result<Vec<Event>, ReadError> {
    let mut found = Vec::new();
    loop {
        match reader.next_event()? {
            Event::End => return Ok(found),
            event => found.push(event),
        }
    }
}

fn element(tag: Tag, vr: Vr, length: u32) -> Event {
    Event::Element(Header { tag, vr, length })
}

/// A writer's file of one of everything: text, numbers, nested sequences, fragments where the syntax has them.
fn everything(transfer_syntax: &str, encoding: Encoding) -> Vec<u8> {
    let mut w = begun(transfer_syntax, encoding, transfer_syntax == DEFLATED).unwrap();
    w.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
    w.sequence(SEQUENCE);
    w.item();
    w.element(NAME, Vr::PN, b"A^B").unwrap();
    w.sequence(Tag(0x0008_1140));
    w.sequence_end().unwrap();
    w.item_end().unwrap();
    w.item();
    w.item_end().unwrap();
    w.sequence_end().unwrap();
    w.element(UNKNOWN, Vr::UN, b"private!").unwrap();
    w.element(ROWS, Vr::US, &encoding.u16_bytes(3)).unwrap();
    if transfer_syntax == JPEG {
        w.header(Tag::PIXEL_DATA, Vr::OB, UNDEFINED);
        w.fragment(0);
        w.fragment(4);
        w.raw(&[0xFF, 0xD8, 0xFF, 0xD9]).unwrap();
        w.sequence_end().unwrap();
    } else {
        w.element(Tag::PIXEL_DATA, Vr::OW, &[7; 32]).unwrap();
    }
    w.finish().unwrap()
}

/// A file with elements, sequences and items in it, the lengths of the latter defined or not.
fn nested_lengths(defined: [bool; 2]) -> Vec<u8> {
    let name = Bytes::default().explicit(NAME, Vr::PN, 4, b"A^B ").0;
    let item = if defined[1] {
        Bytes::default().implicit(Tag::ITEM, 12, &name)
    } else {
        Bytes::default().implicit(Tag::ITEM, UNDEFINED, &name).implicit(Tag::ITEM_END, 0, &[])
    };
    let sequence = if defined[0] {
        Bytes::default().explicit(SEQUENCE, Vr::SQ, length(&item.0), &item.0)
    } else {
        Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &item.0).implicit(Tag::SEQUENCE_END, 0, &[])
    };
    explicit_file(sequence.explicit(ROWS, Vr::US, 2, &[1, 0]))
}

#[test]
fn ranges_are_read_in_order_and_a_host_that_gives_more_than_was_asked_for_is_not_believed() {
    let bytes: Vec<u8> = (0..100).collect();
    let range = |at: u64, most: usize| {
        let rest = bytes.get(usize::try_from(at).unwrap()..).unwrap_or_default();
        // A host may give less.
        Ok(rest.get(..most.min(7)).unwrap_or(rest).to_vec())
    };
    let mut source = RangeSource::new(100, range);
    let (mut held, mut buffer) = (Vec::new(), [0; 5]);
    assert_eq!(
        (source.append(&mut held, 20), source.skip(3), source.read(&mut buffer)),
        (Ok(7), Ok(3), Ok(5))
    );
    assert_eq!((held.as_slice(), buffer), (&bytes[..7], [10, 11, 12, 13, 14]));
    assert_eq!((source.append(&mut held, 2), source.length()), (Ok(2), Some(100)));
    assert_eq!(held, [&bytes[..7], &[15, 16]].concat());
    assert_eq!(
        (source.skip(1000), source.read(&mut buffer), source.append(&mut held, 9)),
        (Ok(83), Ok(0), Ok(0))
    );
    source.rewind().unwrap();
    assert_eq!((source.read(&mut buffer), buffer), (Ok(5), [0, 1, 2, 3, 4]));

    let mut generous = RangeSource::new(100, |_, most| Ok(vec![0; most + 1]));
    assert!(matches!(generous.append(&mut held, 9), Err(ReadError::Source(_))));
    assert!(matches!(generous.read(&mut buffer), Err(ReadError::Source(_))));
    let mut broken = RangeSource::new(100, |_, _| Err("gone".to_owned()));
    assert_eq!(broken.read(&mut buffer), Err(ReadError::Source("gone".to_owned())));
}

/// Hands out few bytes at a time, and notes the most that was asked for at once.
struct Slow<'a> {
    source: SliceSource<'a>,
    most: usize,
    asked: &'a std::cell::Cell<usize>,
    length: Option<u64>,
}

impl Source for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        self.asked.set(self.asked.get().max(buffer.len()));
        let most = self.most.min(buffer.len());
        self.source.read(&mut buffer[..most])
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        self.source.skip(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.source.rewind()
    }

    fn length(&self) -> Option<u64> {
        self.length
    }
}
