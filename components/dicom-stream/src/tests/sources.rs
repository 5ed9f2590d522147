//! Where bytes come from, and going back to them.

use super::*;

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
