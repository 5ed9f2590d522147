//! Bytes that flow between stages: held by the host, read in ranges, written into sinks.

use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use martello_vocab::{Digest, Hasher, Name};
use rustix::fs::{Mode, OFlags};

/// Outputs up to this size stay in memory; larger ones go to a file without a name.
const SPOOL_BYTES: usize = 4 << 20;

/// A payload. Cloning it is cheap; its bytes do not change.
#[derive(Clone)]
pub struct Payload {
    media_type: Arc<str>,
    attributes: Arc<[(String, String)]>,
    data: Data,
}

#[derive(Clone)]
enum Data {
    Memory(Bytes),
    File { file: Arc<File>, length: u64 },
}

impl Payload {
    /// A payload in memory.
    pub fn memory(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        Self { media_type: media_type.into(), attributes: Arc::from([]), data: Data::Memory(bytes.into()) }
    }

    /// A payload in a file, which must not change while the payload lives.
    ///
    /// # Errors
    /// When the file's length cannot be read.
    pub fn file(media_type: &str, file: File) -> io::Result<Self> {
        let length = file.metadata()?.len();
        Ok(Self {
            media_type: media_type.into(),
            attributes: Arc::from([]),
            data: Data::File { file: Arc::new(file), length },
        })
    }

    /// The same payload with other attributes.
    #[must_use]
    pub fn with_attributes(mut self, attributes: Vec<(String, String)>) -> Self {
        self.attributes = attributes.into();
        self
    }

    /// IANA media type.
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// All attributes.
    pub fn attributes(&self) -> &[(String, String)] {
        &self.attributes
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Length in bytes.
    pub fn len(&self) -> u64 {
        match &self.data {
            Data::Memory(bytes) => bytes.len() as u64,
            Data::File { length, .. } => *length,
        }
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Up to `length` bytes from `offset` on; fewer only at the end. What is in memory is shared, not copied.
    ///
    /// # Errors
    /// When the file cannot be read or has become shorter.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Bytes> {
        let length = usize::try_from(self.len().saturating_sub(offset)).unwrap_or(usize::MAX).min(length);
        if length == 0 {
            return Ok(Bytes::new());
        }
        match &self.data {
            Data::Memory(bytes) => {
                let start = usize::try_from(offset).unwrap_or(usize::MAX);
                Ok(bytes.slice(start..start.saturating_add(length)))
            }
            Data::File { file, .. } => {
                let mut buffer = BytesMut::zeroed(length);
                file.read_exact_at(&mut buffer, offset)?;
                Ok(buffer.freeze())
            }
        }
    }

    /// All bytes, where they are at most `most`.
    ///
    /// # Errors
    /// As [`Payload::read_at`]; [`io::ErrorKind::FileTooLarge`] where there are more.
    pub fn read_all(&self, most: u64) -> io::Result<Bytes> {
        if self.len() > most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.read_at(0, usize::try_from(self.len()).unwrap_or(usize::MAX))
    }

    /// Writes all bytes to `target`.
    ///
    /// # Errors
    /// When reading or writing fails.
    pub fn copy_to(&self, target: &mut impl io::Write) -> io::Result<()> {
        const STEP: usize = 1 << 20;
        let mut offset = 0;
        while offset < self.len() {
            let bytes = self.read_at(offset, STEP)?;
            target.write_all(&bytes)?;
            offset = offset.saturating_add(bytes.len() as u64);
        }
        Ok(())
    }
}

/// Bytes and attributes may identify a person: only their number is shown.
impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Payload")
            .field("media_type", &self.media_type)
            .field("length", &self.len())
            .finish_non_exhaustive()
    }
}

/// An output that a stage completed.
#[derive(Debug, Clone)]
pub struct Output {
    /// The port on which it was written.
    pub port: Name,
    /// The bytes with their media type and attributes.
    pub payload: Payload,
    /// SHA-256 of the bytes, taken while they were written.
    pub digest: Digest,
}

/// An output that is being written.
pub(crate) struct Spool {
    port: Name,
    media_type: String,
    attributes: Vec<(String, String)>,
    memory: Vec<u8>,
    file: Option<File>,
    length: u64,
    hasher: Hasher,
    folder: Arc<Path>,
    /// Set when an append failed: what is there is not what was written.
    torn: bool,
}

impl Spool {
    pub(crate) fn new(
        port: Name,
        media_type: String,
        attributes: Vec<(String, String)>,
        folder: Arc<Path>,
    ) -> Self {
        Self {
            port,
            media_type,
            attributes,
            memory: Vec::new(),
            file: None,
            length: 0,
            hasher: Hasher::new(),
            folder,
            torn: false,
        }
    }

    pub(crate) fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.torn {
            return Err(io::ErrorKind::InvalidData.into());
        }
        self.torn = true;
        if self.file.is_none() && self.memory.len().saturating_add(bytes.len()) > SPOOL_BYTES {
            let file = nameless(&self.folder)?;
            file.write_all_at(&self.memory, 0)?;
            self.memory = Vec::new();
            self.file = Some(file);
        }
        match &self.file {
            Some(file) => file.write_all_at(bytes, self.length)?,
            None => self.memory.extend_from_slice(bytes),
        }
        self.hasher.update(bytes);
        self.length = self.length.saturating_add(bytes.len() as u64);
        self.torn = false;
        Ok(())
    }

    /// Whether something of the output is missing already.
    pub(crate) const fn is_torn(&self) -> bool {
        self.torn
    }

    /// Marks the output as not to be completed.
    pub(crate) fn tear(&mut self) {
        self.torn = true;
    }

    pub(crate) fn complete(self) -> io::Result<Output> {
        if self.torn {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let data = match self.file {
            Some(file) => Data::File { file: Arc::new(file), length: self.length },
            None => Data::Memory(self.memory.into()),
        };
        Ok(Output {
            port: self.port,
            payload: Payload { media_type: self.media_type.into(), attributes: self.attributes.into(), data },
            digest: self.hasher.finish(),
        })
    }
}

/// A file that no name leads to: it is gone when it is closed, also after a power cut.
fn nameless(folder: &Path) -> io::Result<File> {
    let mode = Mode::RUSR | Mode::WUSR;
    match rustix::fs::open(folder, OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, mode) {
        Ok(file) => Ok(file.into()),
        // Some file systems have no nameless files: make one with a name and take the name away.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::ISDIR | rustix::io::Errno::INVAL) => {
            static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
            let next = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let path: PathBuf = folder.join(format!(".spool-{}-{next}", std::process::id()));
            let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::CLOEXEC;
            let file = rustix::fs::open(&path, flags, mode)?;
            std::fs::remove_file(&path)?;
            Ok(file.into())
        }
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(folder: &Path) -> Spool {
        Spool::new("image".parse().unwrap(), "application/dicom".to_owned(), Vec::new(), folder.into())
    }

    #[test]
    fn a_large_output_is_the_same_from_its_file_as_a_small_one_from_memory() {
        let folder = tempfile::tempdir().unwrap();
        for pieces in [3_usize, 40] {
            let mut spool = spool(folder.path());
            let mut expected = Vec::new();
            for piece in 0..pieces {
                let bytes = vec![u8::try_from(piece).unwrap(); 150_000];
                spool.append(&bytes).unwrap();
                expected.extend_from_slice(&bytes);
            }
            let output = spool.complete().unwrap();
            assert_eq!(matches!(output.payload.data, Data::File { .. }), pieces == 40);
            assert_eq!(output.payload.read_all(u64::MAX).unwrap(), expected);
            assert_eq!(output.digest, Digest::of(&expected));
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_torn_output_is_never_completed() {
        let folder = tempfile::tempdir().unwrap();
        let mut spool = spool(&folder.path().join("missing"));
        spool.append(b"whole").unwrap();
        assert!(spool.append(&vec![0; SPOOL_BYTES]).is_err());
        assert!(spool.append(b"more").is_err());
        assert!(spool.complete().is_err());
    }

    #[test]
    fn reading_stops_at_the_end_and_nothing_comes_from_behind_it() {
        let payload = Payload::memory("text/plain", "0123456789");
        for (offset, length, expected) in
            [(0, 4, "0123"), (8, 4, "89"), (10, 1, ""), (u64::MAX, usize::MAX, "")]
        {
            assert_eq!(payload.read_at(offset, length).unwrap(), expected);
        }
    }

    #[test]
    fn a_payload_shows_neither_bytes_nor_attributes() {
        let payload = Payload::memory("text/plain", "Doe^John")
            .with_attributes(vec![("patient".to_owned(), "Doe^John".to_owned())]);
        assert!(!format!("{payload:?}").contains("Doe"));
    }
}
