//! Sequences, items and their delimiters.

use super::*;

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
