//! The head of the file that an object becomes (PS3.10 section 7.1), and of a file that becomes an object again.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use martello_vocab::{Digest, Hasher};

use super::bytes::Bytes;
use super::names::Uid;
use super::settings::{IMPLEMENTATION_CLASS, IMPLEMENTATION_VERSION};
use crate::durable::open_unfollowed;

/// Preamble, prefix and file meta information of an object.
///
/// Nothing in it says who sent the object: the same object sent twice, by whomever, is the same file.
pub(crate) fn head(class: &Uid, instance: &Uid, transfer_syntax: &Uid) -> Vec<u8> {
    let mut meta = Vec::new();
    // Version 1. The value's length is written in four bytes after two reserved ones, as for all OB.
    put(&mut meta, 0x0001, b"OB", &[0, 1]);
    put(&mut meta, 0x0002, b"UI", class.as_str().as_bytes());
    put(&mut meta, 0x0003, b"UI", instance.as_str().as_bytes());
    put(&mut meta, 0x0010, b"UI", transfer_syntax.as_str().as_bytes());
    put(&mut meta, 0x0012, b"UI", IMPLEMENTATION_CLASS.as_bytes());
    put(&mut meta, 0x0013, b"SH", IMPLEMENTATION_VERSION.as_bytes());
    let mut head = vec![0; 128];
    head.extend(b"DICM");
    put(&mut head, 0x0000, b"UL", &u32::try_from(meta.len()).unwrap_or(u32::MAX).to_le_bytes());
    head.extend(meta);
    head
}

fn put(bytes: &mut Vec<u8>, element: u16, representation: &[u8; 2], value: &[u8]) {
    let mut value = value.to_vec();
    if value.len() % 2 == 1 {
        value.push(if representation == b"UI" { 0 } else { b' ' });
    }
    bytes.extend([2, 0]);
    bytes.extend(element.to_le_bytes());
    bytes.extend(representation);
    // All values are short.
    let length = u16::try_from(value.len()).unwrap_or(u16::MAX);
    match representation {
        b"OB" => {
            bytes.extend([0, 0]);
            bytes.extend(u32::from(length).to_le_bytes());
        }
        _ => bytes.extend(length.to_le_bytes()),
    }
    bytes.extend(value);
}

/// Whether an open file bears the prefix of DICOM files, from where it is read.
///
/// # Errors
/// It cannot be read.
pub fn is_part10(file: &File) -> io::Result<bool> {
    let mut begun = Vec::with_capacity(PREFIX_ENDS);
    file.take(PREFIX_ENDS as u64).read_to_end(&mut begun)?;
    Ok(begun.len() == PREFIX_ENDS && begun.ends_with(b"DICM"))
}

/// Bytes in which the file meta information must end.
const LONGEST_HEAD: usize = 64 << 10;
/// Bytes of the preamble and the prefix behind it.
const PREFIX_ENDS: usize = 132;

/// A DICOM file whose data set is about to be sent.
#[derive(Debug)]
pub(crate) struct Stored {
    pub(crate) class: Uid,
    pub(crate) instance: Uid,
    pub(crate) transfer_syntax: Uid,
    /// The beginning of the data set, which was read with the head.
    begun: Vec<u8>,
    /// How much of that was given out.
    given: usize,
    file: File,
    /// Bytes that are still to be given out, by the length that was promised.
    left: u64,
    hasher: Hasher,
}

/// A file cannot be sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unsendable {
    #[error("reading the file")]
    Disk(#[source] io::Error),
    #[error("the file is no DICOM file with class, instance and transfer syntax")]
    NotDicom,
    #[error("the file is another than it was")]
    Changed,
}

impl Stored {
    /// Opens a file of this length and reads its head.
    pub(crate) fn open(path: &Path, length: u64) -> Result<Self, Unsendable> {
        let mut file = open_unfollowed(path).map_err(Unsendable::Disk)?;
        if file.metadata().map_err(Unsendable::Disk)?.len() != length {
            return Err(Unsendable::Changed);
        }
        let mut begun = Vec::new();
        let head = u64::try_from(LONGEST_HEAD).unwrap_or(u64::MAX);
        (&mut file).take(head).read_to_end(&mut begun).map_err(Unsendable::Disk)?;
        let meta = meta(&begun).ok_or(Unsendable::NotDicom)?;
        let mut hasher = Hasher::new();
        hasher.update(&begun);
        let left = length.saturating_sub(meta.ends as u64);
        if left == 0 {
            return Err(Unsendable::NotDicom);
        }
        let (class, instance, transfer_syntax) = (meta.class, meta.instance, meta.transfer_syntax);
        Ok(Self { class, instance, transfer_syntax, begun, given: meta.ends, file, left, hasher })
    }

    /// Bytes of the data set that are still to be given out.
    pub(crate) fn left(&self) -> u64 {
        self.left
    }

    /// Gives out the next bytes of the data set, as many as the buffer has room for or are left. The last ones are given
    /// out only where the whole file has this digest: whoever does not send them has not sent the object.
    pub(crate) fn next(&mut self, buffer: &mut [u8], digest: &Digest) -> Result<usize, Unsendable> {
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        let buffer = buffer.get_mut(..wanted).unwrap_or_default();
        let begun = self.begun.get(self.given..).unwrap_or_default();
        let count = begun.len().min(buffer.len());
        if let (Some(to), Some(from)) = (buffer.get_mut(..count), begun.get(..count)) {
            to.copy_from_slice(from);
        }
        self.given = self.given.saturating_add(count);
        let rest = buffer.get_mut(count..).unwrap_or_default();
        self.file.read_exact(rest).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Unsendable::Changed,
            _ => Unsendable::Disk(error),
        })?;
        self.hasher.update(rest);
        self.left = self.left.saturating_sub(wanted as u64);
        if self.left == 0 && self.hasher.clone().finish() != *digest {
            return Err(Unsendable::Changed);
        }
        Ok(wanted)
    }
}

/// What the file meta information says, and where it ends.
#[derive(Debug, PartialEq, Eq)]
struct Meta {
    class: Uid,
    instance: Uid,
    transfer_syntax: Uid,
    ends: usize,
}

/// Reads the file meta information (explicit little-endian, group 0002). Its group length is not relied on.
fn meta(head: &[u8]) -> Option<Meta> {
    let mut rest = Bytes(head);
    rest.take(PREFIX_ENDS)?.ends_with(b"DICM").then_some(())?;
    let (mut class, mut instance, mut syntax) = (None, None, None);
    loop {
        let ends = head.len().saturating_sub(rest.0.len());
        // Behind the group stands the data set, or nothing; it may be big-endian, in which no group reads as 0002 here.
        if rest.little_u16() != Some(2) {
            return Some(Meta { class: class?, instance: instance?, transfer_syntax: syntax?, ends });
        }
        let element = rest.little_u16()?;
        let length = match &rest.array::<2>()? {
            b"OB" | b"OW" | b"UN" | b"SQ" | b"UT" => {
                rest.take(2)?;
                rest.little_u32()?
            }
            _ => rest.little_u16()?.into(),
        };
        let value = rest.take(usize::try_from(length).ok()?)?;
        match element {
            0x0002 => class = Uid::from_wire(value),
            0x0003 => instance = Uid::from_wire(value),
            0x0010 => syntax = Uid::from_wire(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use proptest::prelude::*;

    use super::*;

    fn uid(text: &str) -> Uid {
        Uid::from_wire(text.as_bytes()).unwrap()
    }

    fn file(data_set: &[u8]) -> (tempfile::NamedTempFile, Vec<u8>) {
        let mut bytes = head(&uid("1.2.840.10008.5.1.4.1.1.2"), &uid("1.2.3"), &uid("1.2.840.10008.1.2.1"));
        bytes.extend(data_set);
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    fn sent(stored: &mut Stored, digest: &Digest, piece: usize) -> Result<Vec<u8>, Unsendable> {
        let mut all = Vec::new();
        let mut buffer = vec![0; piece];
        while stored.left() > 0 {
            let count = stored.next(&mut buffer, digest)?;
            all.extend(buffer.get(..count).unwrap());
        }
        Ok(all)
    }

    #[test]
    fn a_file_that_was_received_gives_the_data_set_that_came() {
        for (length, piece) in [(1, 7), (300_000, 16_378), (65_536, 65_536)] {
            let data_set: Vec<u8> = (0..length).map(|at: u32| at.to_le_bytes()[0]).collect();
            let (file, bytes) = file(&data_set);
            let mut stored = Stored::open(file.path(), bytes.len() as u64).unwrap();
            assert_eq!(stored.instance, uid("1.2.3"));
            assert_eq!(stored.transfer_syntax, uid("1.2.840.10008.1.2.1"));
            assert_eq!(sent(&mut stored, &Digest::of(&bytes), piece).unwrap(), data_set);
        }
    }

    #[test]
    fn the_end_of_a_file_that_was_changed_is_not_given_out() {
        let (file, bytes) = file(&[7; 100_000]);
        let length = bytes.len() as u64;
        let mut stored = Stored::open(file.path(), length).unwrap();
        assert!(matches!(sent(&mut stored, &Digest::of(b"other"), 1000), Err(Unsendable::Changed)));
        assert!(matches!(Stored::open(file.path(), length + 1), Err(Unsendable::Changed)));
        let mut cut = Stored::open(file.path(), length).unwrap();
        file.as_file().set_len(90_000).unwrap();
        assert!(matches!(sent(&mut cut, &Digest::of(&bytes), 1000), Err(Unsendable::Changed)));
    }

    #[test]
    fn what_is_no_dicom_file_is_told() {
        for bytes in [&b""[..], &[0; 200], b"%PDF", &file(b"").1, &file(b"x").1[..200]] {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(bytes).unwrap();
            let opened = Stored::open(file.path(), bytes.len() as u64);
            assert!(matches!(opened, Err(Unsendable::NotDicom)), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_stands_in_a_head_does_not_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..400),
            at in 128_usize..300,
        ) {
            let (_, mut changed) = file(b"data set");
            let at = at.min(changed.len());
            changed.splice(at..at, bytes.iter().copied().take(5));
            let _ = meta(&bytes);
            let _ = meta(&changed);
        }
    }
}
