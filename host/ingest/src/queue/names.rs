//! What names in a queue's folder say, and how a file gets one.

use std::fs::File;
use std::io::{self, Seek, SeekFrom};
use std::os::fd::{AsFd, AsRawFd};

use martello_vocab::Digest;
use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, openat, renameat, unlinkat};
use rustix::io::Errno;

/// How names begin that do not count yet.
pub(super) const TEMPORARY: &str = ".incoming-";
/// Held by the process that delivers.
pub(super) const LOCK: &str = ".lock";
/// The folder of what was not delivered.
pub(super) const KEPT: &str = "kept";
/// Behind the digest.
const EXTENSION: &str = "dcm";
/// Numbers from here on are not counted on from: there has to be a next one.
pub(super) const LAST_NUMBER: u64 = u64::MAX / 2;

/// Why an object is kept and not tried any more. The words stand in file names and in `host/CODES.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept {
    /// The peer takes neither its class nor its encoding.
    NotAccepted,
    /// The peer refused it for good, with this status.
    Refused(u16),
    /// It has waited too long.
    Expired,
    /// It is no longer the object that was queued.
    Changed,
    /// It is no DICOM file that could be sent.
    NotSendable,
}

impl Kept {
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::NotAccepted => "not-accepted",
            Self::Refused(_) => "refused-by-peer",
            Self::Expired => "expired",
            Self::Changed => "changed",
            Self::NotSendable => "not-sendable",
        }
    }

    /// The end of the name of what is kept.
    pub(super) fn ending(self) -> String {
        match self {
            Self::Refused(status) => format!("{}.{status:04X}.{EXTENSION}", self.code()),
            other => format!("{}.{EXTENSION}", other.code()),
        }
    }
}

/// The name of what waits.
pub(super) fn name(number: u64, digest: &Digest) -> String {
    format!("{}.{EXTENSION}", stem(number, digest))
}

pub(super) fn stem(number: u64, digest: &Digest) -> String {
    format!("{number:016x}-{}", digest.hex())
}

/// The number and the digest in a name.
pub(super) fn parsed(name: &str) -> Option<(u64, Digest)> {
    let (stem, _) = name.strip_suffix(EXTENSION)?.split_once('.')?;
    let (number, digest) = stem.split_once('-')?;
    let is_number = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(number, 16).ok().filter(|_| is_number)?;
    Some((number, format!("sha256:{digest}").parse().ok()?))
}

/// Gives an open file a name in a folder; a copy of it, where that cannot be. Nothing is looked for by its path: what stands
/// under the name is what was opened, and no link is followed.
pub(super) fn link(file: &File, folder: &File, name: &str, temporary: &str) -> io::Result<()> {
    let opened = format!("/proc/self/fd/{}", file.as_raw_fd());
    match linkat(CWD, opened, folder, name, AtFlags::SYMLINK_FOLLOW) {
        // On another file system, or one without such links; without /proc; without a name that it could be another of.
        Err(Errno::XDEV | Errno::NOENT | Errno::PERM | Errno::MLINK | Errno::OPNOTSUPP) => {
            copy(file, folder, name, temporary)
        }
        linked => Ok(linked?),
    }
}

fn copy(mut file: &File, folder: &File, name: &str, temporary: &str) -> io::Result<()> {
    forget(folder, temporary)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy = File::from(openat(folder, temporary, flags, Mode::RUSR | Mode::WUSR)?);
    file.seek(SeekFrom::Start(0))?;
    let copied = io::copy(&mut file, &mut copy).and_then(|_| copy.sync_all());
    if let Err(error) = copied {
        // The next start takes away what cannot be removed now.
        let _ = forget(folder, temporary);
        return Err(error);
    }
    Ok(renameat(folder, temporary, folder, name)?)
}

/// Writes a name anew that stands there and of which it is not known whether it is durable.
pub(super) fn renew(file: &File, folder: &File, name: &str, temporary: &str) -> io::Result<()> {
    forget(folder, temporary)?;
    // Two names of one file are not renamed onto each other: the old one goes first, and should we be ended in between, its
    // object was not said to be taken.
    forget(folder, name)?;
    link(file, folder, name, temporary)
}

fn forget(folder: &File, name: &str) -> io::Result<()> {
    match unlinkat(folder.as_fd(), name, AtFlags::empty()) {
        Err(Errno::NOENT) => Ok(()),
        removed => Ok(removed?),
    }
}
