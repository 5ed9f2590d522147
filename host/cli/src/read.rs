//! Files that the command line names: regular ones alone, with a bound, and never waited for.
//!
//! Whoever types `/dev/zero` or a pipe by mistake gets a sentence instead of a program that eats memory or hangs. A
//! passphrase is the exception and not read here: it comes from pipes by right, and one line is all that is taken.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use martello_vocab::ByteCount;
use rustix::fs::{Mode, OFlags};

/// The largest file that goes into a bundle or comes as a model: a message of protobuf, which ONNX is, cannot be larger.
pub(crate) const LARGEST_BLOB: ByteCount = ByteCount::mebibytes(2048);

/// Why a file cannot be read. Which file it is says the context.
#[derive(Debug)]
pub(crate) enum Unreadable {
    /// A folder, pipe, socket or device.
    NotAFile,
    /// It is longer than it may be.
    TooLarge { found: ByteCount, most: ByteCount },
    /// The system refuses.
    Io(io::Error),
}

/// Opens a regular file for reading.
pub(crate) fn open(path: &Path) -> Result<File, Unreadable> {
    // Opening a pipe waits for its writer, without NONBLOCK; regular files know no such thing.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = rustix::fs::open(path, flags, Mode::empty()).map_err(io::Error::from)?;
    let file = File::from(file);
    if file.metadata()?.is_file() { Ok(file) } else { Err(Unreadable::NotAFile) }
}

/// Reads a regular file of at most `most` bytes.
pub(crate) fn read(path: &Path, most: ByteCount) -> Result<Vec<u8>, Unreadable> {
    let file = open(path)?;
    let bounded = |found: u64| {
        let found = ByteCount(found);
        if found <= most { Ok(()) } else { Err(Unreadable::TooLarge { found, most }) }
    };
    let length = ByteCount(file.metadata()?.len());
    bounded(length.0)?;
    let mut bytes = Vec::new();
    // Asked for, not taken: a length may be a lie of the file system, or more than this machine has.
    bytes.try_reserve_exact(length.as_usize()).map_err(io::Error::from)?;
    // The file may grow meanwhile: one byte more than allowed shows it, and no more is read.
    file.take(most.0.saturating_add(1)).read_to_end(&mut bytes)?;
    bounded(bytes.len() as u64)?;
    Ok(bytes)
}

impl Unreadable {
    /// What a person can do about it.
    pub(crate) fn next(&self) -> Option<&'static str> {
        match self {
            Self::NotAFile => Some("give the path of a regular file; save what comes through a pipe first"),
            Self::TooLarge { .. } => Some("check that this is the file you mean: none so large can be used"),
            Self::Io(error) => next_after(error),
        }
    }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAFile => f.write_str("it is no regular file"),
            Self::TooLarge { found, most } => write!(f, "it has {found}, allowed are {most}"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Unreadable {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => error.source(),
            Self::NotAFile | Self::TooLarge { .. } => None,
        }
    }
}

impl From<io::Error> for Unreadable {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<Unreadable> for io::Error {
    fn from(error: Unreadable) -> Self {
        match error {
            Unreadable::Io(error) => error,
            other => Self::new(io::ErrorKind::InvalidInput, other),
        }
    }
}

/// What a person can do about an error of the system, where that is more than to look closer.
pub(crate) fn next_after(error: &io::Error) -> Option<&'static str> {
    Some(match error.kind() {
        io::ErrorKind::NotFound => "check the path: nothing is there",
        io::ErrorKind::PermissionDenied => "check the rights of the path and of the folders above it",
        io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory | io::ErrorKind::InvalidFilename => {
            "check the path"
        }
        io::ErrorKind::AlreadyExists => "choose a path where nothing is yet",
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "make room on the disk, or write elsewhere"
        }
        io::ErrorKind::FileTooLarge => "raise the limit on the size of files (`ulimit -f`)",
        io::ErrorKind::ReadOnlyFilesystem => "choose a path that can be written",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: ByteCount = ByteCount(4);

    #[test]
    fn a_regular_file_is_read_up_to_the_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "four").unwrap();
        assert_eq!(read(&path, MOST).unwrap(), b"four");
        std::fs::write(&path, "fives").unwrap();
        assert!(matches!(read(&path, MOST), Err(Unreadable::TooLarge { found: ByteCount(5), .. })));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert_eq!(read(&link, ByteCount(5)).unwrap(), b"fives", "a person may name a link");
    }

    #[test]
    fn devices_folders_and_pipes_are_refused_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RWXU, 0).unwrap();
        for path in [Path::new("/dev/zero"), folder.path(), &pipe] {
            assert!(matches!(read(path, MOST), Err(Unreadable::NotAFile)), "{}", path.display());
        }
        assert!(matches!(read(&folder.path().join("none"), MOST), Err(Unreadable::Io(_))));
    }
}
