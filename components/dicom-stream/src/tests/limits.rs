//! Declared lengths, counts and cut files: nothing is believed, nothing runs away.

use super::*;

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
