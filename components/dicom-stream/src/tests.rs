use proptest::collection::vec;
use proptest::prelude::*;

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

/// Sequences within sequences, `depth` of them, with undefined lengths or (from the inside) with lengths.
fn deep(depth: usize, undefined: bool) -> Vec<u8> {
    if undefined {
        let open =
            Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &[]).implicit(Tag::ITEM, UNDEFINED, &[]);
        let close = Bytes::default().implicit(Tag::ITEM_END, 0, &[]).implicit(Tag::SEQUENCE_END, 0, &[]);
        return with_meta(EXPLICIT, &[open.0.repeat(depth), close.0.repeat(depth)].concat());
    }
    let mut inner = Vec::new();
    for _ in 0..depth {
        let item = Bytes::default().implicit(Tag::ITEM, length(&inner), &inner).0;
        inner = Bytes::default().explicit(SEQUENCE, Vr::SQ, length(&item), &item).0;
    }
    with_meta(EXPLICIT, &inner)
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

/// Puts vectors of its own, of a few bytes each, in the place of an empty buffer, as a guest's host does.
struct Handing<'a> {
    source: SliceSource<'a>,
    most: usize,
    handed: &'a std::cell::Cell<usize>,
}

impl Source for Handing<'_> {
    fn read(&mut self, _: &mut [u8]) -> Result<usize, ReadError> {
        unreachable!("a window asks for vectors");
    }

    fn append(&mut self, buffer: &mut Vec<u8>, most: usize) -> Result<usize, ReadError> {
        let mut bytes = Vec::new();
        let count = self.source.append(&mut bytes, most.min(self.most))?;
        if buffer.is_empty() {
            self.handed.set(self.handed.get() + 1);
            *buffer = bytes;
        } else {
            buffer.extend_from_slice(&bytes);
        }
        Ok(count)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        self.source.skip(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        self.source.rewind()
    }

    fn length(&self) -> Option<u64> {
        self.source.length()
    }
}

/// The same bytes for ever.
struct Endless(&'static [u8]);

impl Source for Endless {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        for chunk in buffer.chunks_exact_mut(self.0.len()) {
            chunk.copy_from_slice(self.0);
            filled += self.0.len();
        }
        Ok(filled)
    }

    fn skip(&mut self, count: u64) -> Result<u64, ReadError> {
        Ok(count)
    }

    fn rewind(&mut self) -> Result<(), ReadError> {
        Ok(())
    }

    fn length(&self) -> Option<u64> {
        None
    }
}

#[test]
fn one_of_everything_comes_back_in_every_transfer_syntax() {
    let expected = |pixels: &[Step]| {
        let mut steps = vec![
            Step::Element(Tag(0x0008_0005), b"ISO_IR 100".to_vec()),
            Step::Begin(SEQUENCE),
            Step::Item,
            Step::Element(NAME, b"A^B ".to_vec()),
            Step::Begin(Tag(0x0008_1140)),
            Step::End,
            Step::End,
            Step::Item,
            Step::End,
            Step::End,
            Step::Element(UNKNOWN, b"private!".to_vec()),
        ];
        steps.extend_from_slice(pixels);
        steps
    };
    for (syntax, encoding) in SYNTAXES {
        let file = everything(syntax, encoding);
        let (header, _) = open(SliceSource::new(&file), DICTIONARY).unwrap();
        assert_eq!((header.transfer_syntax.as_str(), header.encoding), (syntax, encoding));
        let rows = Step::Element(ROWS, encoding.u16_bytes(3).to_vec());
        let copied = copy(&file).unwrap().unwrap();
        assert_eq!(copied.steps, expected(&[rows, Step::Element(Tag::PIXEL_DATA, vec![7; 32])]), "{syntax}");
        fuzz_round_trip(&file);
    }
    let file = everything(JPEG, Encoding::ExplicitLittle);
    let fragment = Step::Fragment(vec![0xFF, 0xD8, 0xFF, 0xD9]);
    let pixels = [
        Step::Element(ROWS, vec![3, 0]),
        Step::Begin(Tag::PIXEL_DATA),
        Step::Fragment(Vec::new()),
        fragment,
        Step::End,
    ];
    assert_eq!(copy(&file).unwrap().unwrap().steps, expected(&pixels));
}

#[test]
fn a_missing_preamble_prefix_group_length_or_meta_group_is_made_up_for() {
    let data_set = Bytes::default().explicit(Tag(0x0008_0005), Vr::CS, 2, b"A ").0;
    let expected = vec![element(Tag(0x0008_0005), Vr::CS, 2)];
    let whole = with_meta(EXPLICIT, &data_set);
    let no_group_length = [&whole[..132], &whole[144..]].concat();
    for file in [&whole[..], &whole[128..], &whole[132..], &no_group_length, &data_set] {
        assert_eq!(events(file).unwrap(), expected);
    }
    let (header, _) = open(SliceSource::new(&data_set), DICTIONARY).unwrap();
    assert_eq!((header.transfer_syntax.as_str(), header.sop_class.as_str()), (EXPLICIT, ""));
    // The length of group 2 is not believed.
    let mut lying = whole;
    lying[140..144].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(events(&lying).unwrap(), expected);
}

#[test]
fn the_first_element_wins_over_what_the_file_says_of_its_encoding() {
    for (said, _) in &SYNTAXES[..3] {
        for (shown, encoding) in &SYNTAXES[..3] {
            let data_set = begun(said, *encoding, false).and_then(|mut writer| {
                writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100")?;
                writer.finish()
            });
            let (header, mut reader) =
                open(SliceSource::new(data_set.as_ref().unwrap()), DICTIONARY).unwrap();
            assert_eq!((header.transfer_syntax.as_str(), header.encoding), (*shown, *encoding), "{said}");
            assert_eq!(rest(&mut reader).unwrap(), [element(Tag(0x0008_0005), Vr::CS, 10)]);
        }
    }
}

#[test]
fn what_is_no_dicom_file_is_refused_as_such() {
    for bytes in [&b""[..], b"D", b"GIF89a", &[0; 200], b"{\"00080005\": {\"vr\": \"CS\"}}", &[0xFF; 512]] {
        assert_eq!(events(bytes), Err(ReadError::NotDicom), "{bytes:?}");
    }
}

#[test]
fn lengths_of_sequences_and_items_may_be_defined_or_not() {
    for lengths in [[false, false], [false, true], [true, false], [true, true]] {
        let found: Vec<_> = events(&nested_lengths(lengths))
            .unwrap()
            .into_iter()
            .map(|event| match event {
                Event::Sequence(header) => Event::Sequence(Header { length: 0, ..header }),
                other => other,
            })
            .collect();
        let sequence = Event::Sequence(Header { tag: SEQUENCE, vr: Vr::SQ, length: 0 });
        let expected = [
            sequence,
            Event::Item,
            element(NAME, Vr::PN, 4),
            Event::ItemEnd,
            Event::SequenceEnd,
            element(ROWS, Vr::US, 2),
        ];
        assert_eq!(found, expected, "{lengths:?}");
    }
}

#[test]
fn a_sequence_is_left_at_once_whatever_its_length() {
    for lengths in [[false, false], [false, true], [true, false], [true, true]] {
        let file = nested_lengths(lengths);
        let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
        assert!(matches!(reader.next_event(), Ok(Event::Sequence(_))));
        reader.skip_opened().unwrap();
        assert_eq!(reader.depth(), 0);
        assert_eq!(rest(&mut reader).unwrap(), [element(ROWS, Vr::US, 2)]);
    }
}

#[test]
fn the_content_of_un_without_a_length_is_implicit() {
    let name = Bytes::default().implicit(NAME, 4, b"A^B ").0;
    let data_set = Bytes::default()
        .explicit(UNKNOWN, Vr::UN, UNDEFINED, &[])
        .implicit(Tag::ITEM, 12, &name)
        .implicit(Tag::SEQUENCE_END, 0, &[])
        .explicit(ROWS, Vr::US, 2, &[1, 0]);
    let file = with_meta(EXPLICIT, &data_set.0);
    let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
    assert!(matches!(reader.next_event(), Ok(Event::Sequence(Header { vr: Vr::UN, .. }))));
    assert_eq!(reader.next_event(), Ok(Event::Item));
    assert_eq!(reader.next_event(), Ok(element(NAME, Vr::PN, 4)));
    assert_eq!(reader.encoding(), Encoding::ImplicitLittle);
    assert_eq!((reader.next_event(), reader.next_event()), (Ok(Event::ItemEnd), Ok(Event::SequenceEnd)));
    assert_eq!(reader.encoding(), Encoding::ExplicitLittle);
    assert_eq!(reader.next_event(), Ok(element(ROWS, Vr::US, 2)));
}

#[test]
fn un_with_a_length_is_entered_only_where_items_fill_it() {
    let implicit = Bytes::default().implicit(NAME, 4, b"A^B ").0;
    let explicit = Bytes::default().explicit(NAME, Vr::PN, 4, b"A^B ").0;
    let items = |content: &[u8]| Bytes::default().implicit(Tag::ITEM, length(content), content).0;
    let open_item = Bytes::default().implicit(Tag::ITEM, UNDEFINED, &explicit).0;
    let closed_item = Bytes(open_item.clone()).implicit(Tag::ITEM_END, 0, &[]).0;
    let cases = [
        (items(&implicit), Some(Encoding::ImplicitLittle)),
        (items(&explicit), Some(Encoding::ExplicitLittle)),
        (closed_item, Some(Encoding::ExplicitLittle)),
        (items(&[]), Some(Encoding::ImplicitLittle)),
        (Vec::new(), None),
        (b"just text".to_vec(), None),
        (open_item, None),
        ([items(&implicit), vec![0, 0]].concat(), None),
        (items(&implicit)[..18].to_vec(), None),
        (Bytes::default().implicit(Tag::SEQUENCE_END, 0, &[]).0, None),
    ];
    for (value, entered) in cases {
        let data_set = Bytes::default().explicit(UNKNOWN, Vr::UN, length(&value), &value);
        let file = explicit_file(data_set.explicit(ROWS, Vr::US, 2, &[1, 0]));
        let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
        reader.next_event().unwrap();
        assert_eq!(reader.enter(), Ok(entered.is_some()), "{value:?}");
        if let Some(encoding) = entered {
            assert_eq!((reader.encoding(), reader.depth()), (encoding, 1));
        }
        let after = rest(&mut reader).unwrap();
        assert_eq!(after.last(), Some(&element(ROWS, Vr::US, 2)), "{value:?}");
        assert_eq!(after.len() > 1, entered.is_some());
    }
}

#[test]
fn sequences_nest_to_the_depth_that_is_stated_and_no_deeper() {
    for undefined in [true, false] {
        assert_eq!(events(&deep(DEPTH_MAXIMUM, undefined)).unwrap().len(), 4 * DEPTH_MAXIMUM, "{undefined}");
        assert_eq!(events(&deep(DEPTH_MAXIMUM + 1, undefined)), Err(ReadError::Depth), "{undefined}");
    }
    // Two megabytes of nothing but beginnings: what recursed would have no stack left.
    assert_eq!(events(&deep(100_000, true)), Err(ReadError::Depth));
}

#[test]
fn un_that_is_entered_counts_as_deep_as_any_sequence() {
    let mut inner = Vec::new();
    for _ in 0..=DEPTH_MAXIMUM {
        let item = Bytes::default().implicit(Tag::ITEM, length(&inner), &inner).0;
        inner = Bytes::default().explicit(UNKNOWN, Vr::UN, length(&item), &item).0;
    }
    assert_eq!(copy(&with_meta(EXPLICIT, &inner)), Err(ReadError::Depth));
}

#[test]
fn no_declared_length_is_believed_beyond_the_file_or_the_parent() {
    let at_end = |data_set: Bytes| events(&explicit_file(data_set));
    let huge = UNDEFINED - 1;
    for vr in [Vr::OB, Vr::UN, Vr::UT, Vr::SQ] {
        let found = at_end(Bytes::default().explicit(DOCUMENT, vr, huge, b"few"));
        assert!(matches!(found, Err(ReadError::Truncated { .. })), "{vr:?}: {found:?}");
    }
    let item = Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &[]).implicit(Tag::ITEM, huge, b"few");
    assert!(matches!(at_end(item), Err(ReadError::Truncated { .. })));
    let fragment =
        Bytes::default().explicit(Tag::PIXEL_DATA, Vr::OB, UNDEFINED, &[]).implicit(Tag::ITEM, huge, b"few");
    assert!(matches!(at_end(fragment), Err(ReadError::Truncated { .. })));
    // A child that reaches beyond its parent, but not beyond the file.
    let child = Bytes::default().explicit(NAME, Vr::PN, 100, &[b' '; 100]).0;
    for (sequence, item) in [(UNDEFINED, 20), (20, UNDEFINED), (28, 100)] {
        let data_set = Bytes::default().explicit(SEQUENCE, Vr::SQ, sequence, &[]);
        let found =
            at_end(data_set.implicit(Tag::ITEM, item, &child).explicit(DOCUMENT, Vr::OB, 100, &[0; 100]));
        assert!(matches!(found, Err(ReadError::Structure { .. })), "{sequence} {item}: {found:?}");
    }
}

#[test]
fn a_parent_still_bounds_its_children_after_one_of_them_has_ended() {
    let child = Bytes::default().explicit(SEQUENCE, Vr::SQ, 8, &[]).implicit(Tag::ITEM, 0, &[]);
    let sibling = child.explicit(NAME, Vr::PN, 100, &[b' '; 100]).0;
    // The item has room for the child sequence and a header, and the file for all of it.
    let item = Bytes::default().implicit(Tag::ITEM, 28, &sibling).0;
    let found = events(&explicit_file(Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &item)));
    assert!(matches!(found, Err(ReadError::Structure { .. })), "{found:?}");
}

#[test]
fn more_than_may_be_held_is_refused_by_the_window_too() {
    let bytes = vec![0; HELD_MAXIMUM + 1];
    let mut window = Window::new(SliceSource::new(&bytes));
    assert_eq!(window.peek(HELD_MAXIMUM).map(<[u8]>::len), Ok(HELD_MAXIMUM));
    let length = HELD_MAXIMUM as u64 + 1;
    assert_eq!(window.peek(HELD_MAXIMUM + 1), Err(ReadError::Held { length }));
}

/// The length of a deflated data set is not known ahead, so that a huge one cannot be refused at its header.
#[test]
fn a_huge_declared_length_in_a_deflated_file_asks_for_no_memory() {
    let data_set = Bytes::default().explicit(DOCUMENT, Vr::OB, UNDEFINED - 1, b"few").0;
    let mut deflated = Vec::new();
    Deflater::default().write(&data_set, true, &mut deflated);
    let file = with_meta(DEFLATED, &deflated);
    assert!(matches!(events(&file), Err(ReadError::Truncated { .. })));
    let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
    assert_eq!(reader.next_event(), Ok(element(DOCUMENT, Vr::OB, UNDEFINED - 1)));
    assert_eq!(reader.value(), Ok(None));
    assert_eq!(reader.enter(), Ok(false));
}

#[test]
fn a_file_cut_anywhere_reads_as_its_beginning_or_is_refused() {
    let mut files: Vec<_> = SYNTAXES.map(|(syntax, encoding)| everything(syntax, encoding)).to_vec();
    files.push(everything(JPEG, Encoding::ExplicitLittle));
    files.extend([nested_lengths([true, true]), nested_lengths([false, false])]);
    for file in files {
        let whole = copy(&file).unwrap().unwrap().steps;
        for end in 0..file.len() {
            match copy(&file[..end]) {
                // A cut between two elements of the data set's top level is no fault.
                Ok(Some(copied)) => assert!(whole.starts_with(&copied.steps), "{end}: {:?}", copied.steps),
                Ok(None) => panic!("{end}"),
                Err(_) => {}
            }
        }
    }
}

#[test]
fn a_value_cut_off_is_truncated_however_it_is_taken() {
    let file = explicit_file(Bytes::default().explicit(DOCUMENT, Vr::OB, 64, &[1; 10]));
    // Without a known length the cut shows only when the value is taken.
    let asked = std::cell::Cell::new(0);
    let cut = || Slow { source: SliceSource::new(&file), most: 7, asked: &asked, length: None };
    let reader = || {
        let (_, mut reader) = open(cut(), DICTIONARY).unwrap();
        assert_eq!(reader.next_event(), Ok(element(DOCUMENT, Vr::OB, 64)));
        reader
    };
    let truncated = |found: Result<(), ReadError>| assert!(matches!(found, Err(ReadError::Truncated { .. })));
    truncated(reader().value().map(drop));
    truncated(reader().next_event().map(drop));
    let mut parts = reader();
    let mut left = 64;
    truncated(loop {
        match parts.part().and_then(|mut part| {
            let count = part.bytes()?.len();
            part.take(count)?;
            Ok(count)
        }) {
            Ok(count) => left -= count,
            Err(error) => break Err(error),
        }
    });
    assert_eq!(left, 54);
}

#[test]
fn odd_lengths_are_read_as_they_stand_and_written_even() {
    let data_set = Bytes::default()
        .explicit(NAME, Vr::PN, 3, b"A^B")
        .explicit(DOCUMENT, Vr::OB, 1, &[9])
        .explicit(Tag(0x0008_0016), Vr::UI, 3, b"1.2");
    let copied = copy(&explicit_file(data_set)).unwrap().unwrap();
    let expected = [
        Step::Element(NAME, b"A^B ".to_vec()),
        Step::Element(DOCUMENT, vec![9, 0]),
        Step::Element(Tag(0x0008_0016), b"1.2\0".to_vec()),
    ];
    assert_eq!(copied.steps, expected);
}

#[test]
fn delimiters_in_wrong_places_are_refused() {
    let begin = || Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &[]);
    let sized = |length| Bytes::default().explicit(SEQUENCE, Vr::SQ, length, &[]);
    let pixels = || Bytes::default().explicit(Tag::PIXEL_DATA, Vr::OB, UNDEFINED, &[]);
    let cases = [
        ("an item at the top", Bytes::default().implicit(Tag::ITEM, 0, &[])),
        ("the end of an item at the top", Bytes::default().implicit(Tag::ITEM_END, 0, &[])),
        ("the end of a sequence at the top", Bytes::default().implicit(Tag::SEQUENCE_END, 0, &[])),
        ("an item in an item", begin().implicit(Tag::ITEM, UNDEFINED, &[]).implicit(Tag::ITEM, 0, &[])),
        (
            "no end of an item",
            begin().implicit(Tag::ITEM, UNDEFINED, &[]).implicit(Tag::SEQUENCE_END, 0, &[]),
        ),
        (
            "the end of an item with a length",
            sized(16).implicit(Tag::ITEM, 8, &[]).implicit(Tag::ITEM_END, 0, &[]),
        ),
        ("the end of a sequence with a length", sized(8).implicit(Tag::SEQUENCE_END, 0, &[])),
        ("the end of an item in a sequence", begin().implicit(Tag::ITEM_END, 0, &[])),
        ("an element in a sequence", begin().explicit(NAME, Vr::PN, 4, b"A^B ")),
        (
            "a fragment without a length",
            pixels().implicit(Tag::ITEM, UNDEFINED, &[]).implicit(Tag::SEQUENCE_END, 0, &[]),
        ),
        ("the end of an item among fragments", pixels().implicit(Tag::ITEM_END, 0, &[])),
        ("an element among fragments", pixels().explicit(NAME, Vr::PN, 4, b"A^B ")),
        ("text without a length", Bytes::default().explicit(Tag(0x0008_0119), Vr::UC, UNDEFINED, &[])),
    ];
    for (what, data_set) in cases {
        // Bytes enough behind it that nothing is a matter of the file's end.
        let found = events(&explicit_file(Bytes([data_set.0, vec![0x20; 64]].concat())));
        assert!(matches!(found, Err(ReadError::Structure { .. })), "{what}: {found:?}");
    }
}

#[test]
fn a_sequence_or_item_that_does_not_end_is_truncated() {
    let begin = || Bytes::default().explicit(SEQUENCE, Vr::SQ, UNDEFINED, &[]);
    for data_set in [
        begin(),
        begin().implicit(Tag::ITEM, UNDEFINED, &[]),
        begin().implicit(Tag::ITEM, 0, &[]),
        Bytes::default().explicit(Tag::PIXEL_DATA, Vr::OB, UNDEFINED, &[]),
    ] {
        let found = events(&explicit_file(data_set));
        assert!(matches!(found, Err(ReadError::Truncated { .. })), "{found:?}");
    }
}

#[test]
fn what_stands_behind_the_data_set_is_not_looked_at() {
    let expected = [element(ROWS, Vr::US, 2)];
    for behind in [&[][..], &[0; 7], &[0; 4096], &[0xFF; 7]] {
        let data_set = Bytes::default().explicit(ROWS, Vr::US, 2, &[1, 0]);
        assert_eq!(events(&explicit_file(Bytes([&data_set.0, behind].concat()))).unwrap(), expected);
    }
}

#[test]
fn a_deflate_bomb_is_refused_long_before_it_is_inflated() {
    let mut bomb = Vec::new();
    let mut deflater = Deflater::default();
    deflater.write(&Bytes::default().explicit(DOCUMENT, Vr::OB, UNDEFINED - 1, &[]).0, false, &mut bomb);
    for _ in 0..64 {
        deflater.write(&vec![0; 1 << 20], false, &mut bomb);
    }
    deflater.write(&[], true, &mut bomb);
    assert!(bomb.len() < 128 << 10, "{}", bomb.len());
    let file = with_meta(DEFLATED, &bomb);
    assert_eq!(events(&file), Err(ReadError::Inflated));
    // Below the ratio, or small, it is read.
    let image = with_meta(DEFLATED, &[]);
    let mut writer = begun(DEFLATED, Encoding::ExplicitLittle, true).unwrap();
    writer.element(Tag::PIXEL_DATA, Vr::OW, &vec![0; 1 << 19]).unwrap();
    let empty = writer.finish().unwrap();
    assert!(
        empty.len() - image.len() < (1 << 19) / usize::try_from(INFLATE_RATIO_MAXIMUM).unwrap(),
        "{}",
        empty.len()
    );
    assert_eq!(events(&empty).unwrap(), [element(Tag::PIXEL_DATA, Vr::OW, 1 << 19)]);
}

#[test]
fn what_is_no_deflate_stream_is_refused_as_such() {
    for rubbish in [&[0xFF; 64][..], b"", &[0x00]] {
        assert_eq!(events(&with_meta(DEFLATED, rubbish)), Err(ReadError::Inflate), "{rubbish:?}");
    }
}

/// A guest that is told of more elements than anything real has stops there.
#[test]
fn elements_are_counted_and_an_endless_file_ends() {
    let mut bytes = Encoding::ExplicitLittle.tag_bytes(Tag(0x0008_0005)).to_vec();
    bytes.extend(*b"CS\0\0");
    let (_, mut reader) = open(Endless(bytes.leak()), DICTIONARY).unwrap();
    let mut read = 0_u32;
    let error = loop {
        match reader.next_event() {
            Ok(_) => read += 1,
            Err(error) => break error,
        }
    };
    assert_eq!((error, read), (ReadError::Elements, ELEMENTS_MAXIMUM));
}

#[test]
fn a_source_is_asked_for_a_megabyte_at_most_whatever_is_declared() {
    let mut writer = begun(EXPLICIT, Encoding::ExplicitLittle, false).unwrap();
    writer.element(NAME, Vr::PN, b"A^B").unwrap();
    writer.element(DOCUMENT, Vr::OB, &vec![5; 3 << 20]).unwrap();
    writer.element(Tag(0x7FE0_0008), Vr::OF, &vec![6; HELD_MAXIMUM]).unwrap();
    let file = writer.finish().unwrap();
    let asked = std::cell::Cell::new(0);
    for length in [None, Some(file.len() as u64), Some(u64::MAX)] {
        let source = Slow { source: SliceSource::new(&file), most: 300_000, asked: &asked, length };
        let (_, mut reader) = open(source, DICTIONARY).unwrap();
        reader.next_event().unwrap();
        assert_eq!(reader.value(), Ok(Some(&b"A^B "[..])));
        reader.next_event().unwrap();
        assert_eq!(reader.value(), Ok(None));
        let mut taken = 0;
        while reader.left() > 0 {
            let mut part = reader.part().unwrap();
            let count = part.bytes().unwrap().len();
            assert!(part.bytes().unwrap().iter().all(|byte| *byte == 5));
            part.take(count).unwrap();
            taken += count;
        }
        assert_eq!(taken, 3 << 20);
        reader.next_event().unwrap();
        assert!(reader.value().unwrap().unwrap().iter().all(|byte| *byte == 6));
        assert_eq!(reader.next_event(), Ok(Event::End));
    }
    assert!(asked.get() <= 1 << 20, "{}", asked.get());
}

#[test]
fn a_small_file_is_read_and_inflated_once_for_both_passes() {
    /// Begins once.
    struct Once<'a>(SliceSource<'a>);
    impl Source for Once<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReadError> {
            let most = buffer.len().min(100);
            self.0.read(&mut buffer[..most])
        }
        fn skip(&mut self, _: u64) -> Result<u64, ReadError> {
            unreachable!("all of it is held");
        }
        fn rewind(&mut self) -> Result<(), ReadError> {
            unreachable!("all of it is held");
        }
        fn length(&self) -> Option<u64> {
            self.0.length()
        }
    }
    for syntax in ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"] {
        let file = everything(syntax, Encoding::ExplicitLittle);
        let (_, mut reader) = open(Once(SliceSource::new(&file)), DICTIONARY).unwrap();
        let first = rest(&mut reader).unwrap();
        reader.rewind().unwrap();
        assert_eq!(rest(&mut reader).unwrap(), first, "{syntax}");
    }
}

#[test]
fn vectors_that_a_source_hands_over_read_as_the_bytes_would() {
    let file = everything("1.2.840.10008.1.2.1", Encoding::ExplicitLittle);
    for most in [1, 2, 7, 64, 200, 1 << 20] {
        let handed = std::cell::Cell::new(0);
        let source = Handing { source: SliceSource::new(&file), most, handed: &handed };
        assert_eq!(events_of(source), events(&file), "{most}");
        assert!(handed.get() > 0, "{most}");
    }
}

#[test]
fn a_reader_that_goes_back_reads_the_same_again() {
    let mut large = begun(EXPLICIT, Encoding::ExplicitLittle, false).unwrap();
    large.element(DOCUMENT, Vr::OB, &vec![5; 3 << 20]).unwrap();
    large.element(Tag::PIXEL_DATA, Vr::OW, &[1; 8]).unwrap();
    let mut files: Vec<_> = SYNTAXES.map(|(syntax, encoding)| everything(syntax, encoding)).to_vec();
    files.push(large.finish().unwrap());
    for file in files {
        let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
        // From the middle, from inside of a sequence, and from the end.
        for steps in [1, 5, usize::MAX] {
            for _ in 0..steps.min(9) {
                reader.next_event().unwrap();
            }
            reader.rewind().unwrap();
            assert_eq!(rest(&mut reader).unwrap(), events(&file).unwrap());
            reader.rewind().unwrap();
        }
    }
}

#[test]
fn a_reader_that_goes_back_from_an_implicit_sequence_is_explicit_again() {
    let data_set = Bytes::default()
        .explicit(ROWS, Vr::US, 2, &[1, 0])
        .explicit(UNKNOWN, Vr::UN, UNDEFINED, &[])
        .implicit(Tag::ITEM, 0, &[])
        .implicit(Tag::SEQUENCE_END, 0, &[]);
    let file = explicit_file(data_set);
    let (_, mut reader) = open(SliceSource::new(&file), DICTIONARY).unwrap();
    for _ in 0..3 {
        reader.next_event().unwrap();
    }
    assert_eq!(reader.encoding(), Encoding::ImplicitLittle);
    reader.rewind().unwrap();
    assert_eq!(reader.encoding(), Encoding::ExplicitLittle);
    assert_eq!(rest(&mut reader).unwrap(), events(&file).unwrap());
}

#[test]
fn a_fault_of_the_source_is_handed_on() {
    struct Broken;
    impl Source for Broken {
        fn read(&mut self, _: &mut [u8]) -> Result<usize, ReadError> {
            Err(ReadError::Source("gone".to_owned()))
        }
        fn skip(&mut self, _: u64) -> Result<u64, ReadError> {
            Err(ReadError::Source("gone".to_owned()))
        }
        fn rewind(&mut self) -> Result<(), ReadError> {
            Ok(())
        }
        fn length(&self) -> Option<u64> {
            Some(1 << 20)
        }
    }
    assert_eq!(events_of(Broken), Err(ReadError::Source("gone".to_owned())));
}

#[test]
fn text_too_long_for_its_representation_is_written_as_un() {
    let mut writer = begun(EXPLICIT, Encoding::ExplicitLittle, false).unwrap();
    writer.element(NAME, Vr::PN, &[b'A'; 65_535]).unwrap();
    writer.element(ROWS, Vr::US, &[1; 65_534]).unwrap();
    let file = writer.finish().unwrap();
    assert_eq!(events(&file).unwrap(), [element(NAME, Vr::UN, 65_536), element(ROWS, Vr::US, 65_534)]);
}

#[test]
fn private_attributes_have_no_representation_and_patterns_have_theirs() {
    for (tag, vr) in [
        (0x0008_0005, Some(Vr::CS)),
        (0x6002_3000, Some(Vr(*b"ox"))),
        (0x60FE_3000, Some(Vr(*b"ox"))),
        (0x6001_3000, None),
        (0x0009_1001, None),
        (0x0008_0000, None),
        (0x0008_0006, None),
    ] {
        assert_eq!(DICTIONARY.vr(Tag(tag)), vr, "{tag:08X}");
        assert_eq!(Dictionary::EMPTY.vr(Tag(tag)), None);
    }
}

/// A data set as a tree.
#[derive(Clone, Debug)]
enum Node {
    Element(Tag, Vr, Vec<u8>),
    Sequence(Tag, Vec<Vec<Node>>),
}

/// Bytes that look random and are the same each time.
fn noise(count: u32) -> Vec<u8> {
    (0..count).map(|number| number.wrapping_mul(0x9E37_79B1).to_be_bytes()[0]).collect()
}

fn node() -> impl Strategy<Value = Node> {
    let text = vec(prop_oneof![Just(b'A'), Just(b'^'), Just(b' ')], 0..9);
    let leaf = prop_oneof![
        text.prop_map(|value| Node::Element(NAME, Vr::PN, value)),
        any::<[u8; 2]>().prop_map(|value| Node::Element(ROWS, Vr::US, value.to_vec())),
        vec(any::<u8>(), 0..40).prop_map(|value| Node::Element(DOCUMENT, Vr::OB, value)),
        Just(Node::Element(Tag(0x0008_0016), Vr::UI, b"1.2.3".to_vec())),
        // Too long for a 16-bit length; not so even that many of them, deflated, are taken for a bomb.
        Just(Node::Element(DOCUMENT, Vr::OB, noise(70_000))),
        // Even lengths: an odd one is filled up, and the filler may make items of it.
        vec(any::<u16>(), 0..12).prop_map(|value| Node::Element(
            UNKNOWN,
            Vr::UN,
            value.into_iter().flat_map(u16::to_le_bytes).collect()
        )),
    ];
    leaf.prop_recursive(6, 64, 4, |inner| {
        let tag = prop_oneof![Just(SEQUENCE), Just(CONTENT)];
        (tag, vec(vec(inner, 0..4), 0..4)).prop_map(|(tag, items)| Node::Sequence(tag, items))
    })
}

fn write(nodes: &[Node], writer: &mut Writer<Vec<u8>>, steps: &mut Vec<Step>) {
    for node in nodes {
        match node {
            Node::Element(tag, vr, value) => {
                writer.element(*tag, *vr, value).unwrap();
                let mut value = value.clone();
                if value.len() % 2 == 1 {
                    value.push(vr.padding());
                }
                steps.push(Step::Element(*tag, value));
            }
            Node::Sequence(tag, items) => {
                writer.sequence(*tag);
                steps.push(Step::Begin(*tag));
                for item in items {
                    writer.item();
                    steps.push(Step::Item);
                    write(item, writer, steps);
                    writer.item_end().unwrap();
                    steps.push(Step::End);
                }
                writer.sequence_end().unwrap();
                steps.push(Step::End);
            }
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_reads_as_the_same_in_every_encoding(nodes in vec(node(), 0..6), syntax in 0_usize..4) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        let mut steps = Vec::new();
        // The first element shows the encoding; an empty data set shows none.
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        steps.push(Step::Element(Tag(0x0008_0005), b"ISO_IR 100".to_vec()));
        write(&nodes, &mut writer, &mut steps);
        let file = writer.finish().unwrap();
        prop_assert_eq!(copy(&file).unwrap().unwrap().steps, steps);
        fuzz_round_trip(&file);
    }

    #[test]
    fn however_few_bytes_a_source_gives_the_events_are_the_same(
        nodes in vec(node(), 0..4), syntax in 0_usize..4, most in 1_usize..100, known in any::<bool>()
    ) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        write(&nodes, &mut writer, &mut Vec::new());
        let file = writer.finish().unwrap();
        let asked = std::cell::Cell::new(0);
        let length = known.then_some(file.len() as u64);
        let slow = Slow { source: SliceSource::new(&file), most, asked: &asked, length };
        prop_assert_eq!(events_of(slow), events(&file));
    }

    #[test]
    fn a_file_with_bytes_changed_is_refused_or_makes_the_round_trip(
        nodes in vec(node(), 0..4), syntax in 0_usize..4,
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in any::<prop::sample::Index>()
    ) {
        let (syntax, encoding) = SYNTAXES[syntax];
        let mut writer = begun(syntax, encoding, syntax == DEFLATED).unwrap();
        writer.element(Tag(0x0008_0005), Vr::CS, b"ISO_IR 100").unwrap();
        write(&nodes, &mut writer, &mut Vec::new());
        let mut file = writer.finish().unwrap();
        for (at, with) in changes {
            let at = at.index(file.len());
            file[at] = with;
        }
        file.truncate(cut.index(file.len() * 2).max(160));
        fuzz_round_trip(&file);
    }

    #[test]
    fn any_data_set_is_refused_or_makes_the_round_trip(
        bytes in vec(any::<u8>(), 0..200), syntax in 0_usize..4, bare in any::<bool>()
    ) {
        fuzz_round_trip(&if bare { bytes } else { with_meta(SYNTAXES[syntax].0, &bytes) });
    }
}
