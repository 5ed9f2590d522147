//! Objects that were received and wait for their turn: durable before the sender is told so, bounded in number and bytes,
//! and removed when their outcome is durable elsewhere.
//!
//! An object stands under the digest of its bytes. One that is sent again is therefore the same file: while it waits it
//! is there once, and when it has been worked on, the run finds it complete. No name tells a person.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use martello_vocab::{ByteCount, Hasher};
use rustix::fs::{FlockOperation, OFlags, flock};

use crate::folder::{Found, is_hidden};

/// How names begin that do not count yet. The dot keeps them out of a scan.
const TEMPORARY: &str = ".incoming-";
/// Held by the process that receives into the spool.
const LOCK: &str = ".lock";
/// Behind the digest.
const EXTENSION: &str = "dcm";

/// How much a spool takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpoolLimits {
    /// Objects that wait at once.
    pub objects: u64,
    /// Bytes of all that wait, and of what is being received.
    pub bytes: ByteCount,
    /// Bytes of one object.
    pub object_bytes: ByteCount,
}

impl Default for SpoolLimits {
    /// A study of 2,000 slices is 1 GB; a day's work of a scanner fits while the pipeline stands still. An object is at
    /// most as large as a run takes.
    fn default() -> Self {
        Self {
            objects: 100_000,
            bytes: ByteCount::mebibytes(16 << 10),
            object_bytes: ByteCount::mebibytes(4 << 10),
        }
    }
}

/// A folder of objects that were received. One process at a time receives into it.
#[derive(Debug)]
pub struct Spool {
    root: PathBuf,
    limits: SpoolLimits,
    ledger: Mutex<Ledger>,
    names: Names,
    next: AtomicU64,
    _lock: File,
}

/// What is in the spool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ledger {
    objects: u64,
    bytes: u64,
}

/// A spool cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum SpoolError {
    #[error("another process receives into the spool `{path}`")]
    Busy { path: PathBuf },
    #[error("a link stands in the place of the spool, and leads to `{path}`")]
    Link { path: PathBuf },
    #[error("preparing the spool `{path}`")]
    Unusable { path: PathBuf, source: io::Error },
}

/// An object is not taken into the spool.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the spool is full")]
    Full,
    #[error("the object is larger than any that is taken")]
    TooLarge,
    #[error("the disk fails")]
    Disk(#[source] io::Error),
}

impl Refused {
    /// Whether there may be room later.
    pub(crate) fn is_lack_of_room(&self) -> bool {
        match self {
            Self::Full | Self::TooLarge => true,
            Self::Disk(error) => matches!(
                error.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
            ),
        }
    }
}

impl Spool {
    /// Opens the spool in a folder, which is made where it is missing, for its owner alone. What another process had not
    /// received whole is taken away.
    ///
    /// # Errors
    /// Another process receives into it, or the disk refuses.
    pub fn open(root: &Path, limits: SpoolLimits) -> Result<Arc<Self>, SpoolError> {
        let unusable = |source| SpoolError::Unusable { path: root.to_owned(), source };
        make(root).map_err(unusable)?;
        // Objects are identified data: where a link stands in the folder's place, they would land elsewhere.
        let is_link = fs::symlink_metadata(root).map_err(unusable)?.is_symlink();
        let root = root.canonicalize().map_err(unusable)?;
        if is_link {
            return Err(SpoolError::Link { path: root });
        }
        let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
        let mut lock = File::options();
        lock.write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
        let lock = lock.open(root.join(LOCK)).map_err(unusable)?;
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Err(SpoolError::Busy { path: root }),
            locked => locked.map_err(|error| unusable(error.into()))?,
        }
        let ledger = swept(&root).map_err(unusable)?;
        let names = Names::of(File::open(&root).map_err(unusable)?);
        // The names of what is there may have been made just before a crash: they count as received from now on.
        names.sync().map_err(unusable)?;
        let ledger = Mutex::new(ledger);
        Ok(Arc::new(Self { root, limits, ledger, names, next: AtomicU64::new(0), _lock: lock }))
    }

    /// The folder, which a run reads its inputs from.
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// Takes an object away whose outcome is durable. Where that fails the object stays: the next run finds it complete
    /// and tries again.
    pub fn release(&self, found: &Found) {
        if found.path.parent() != Some(&*self.root) || is_hidden(&found.path) {
            return;
        }
        let mut ledger = self.ledger();
        match fs::remove_file(&found.path) {
            Ok(()) => {
                ledger.objects = ledger.objects.saturating_sub(1);
                ledger.bytes = ledger.bytes.saturating_sub(found.length);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::warn!(%error, "an object that is done cannot be removed from the spool"),
        }
    }

    /// Begins to receive an object.
    pub(crate) fn receive(self: &Arc<Self>) -> Result<Incoming, Refused> {
        let ledger = *self.ledger();
        if ledger.objects >= self.limits.objects || ledger.bytes >= self.limits.bytes.0 {
            return Err(Refused::Full);
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(format!("{TEMPORARY}{number}"));
        let file = File::options().write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(Refused::Disk)?;
        Ok(Incoming {
            spool: Arc::clone(self),
            file: Some(file),
            temporary,
            is_settled: false,
            length: 0,
            hasher: Hasher::new(),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Numbers are whole after every step, so that a panic elsewhere leaves nothing in disorder.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reserve(&self, bytes: u64) -> Result<(), Refused> {
        let mut ledger = self.ledger();
        let bytes = ledger.bytes.saturating_add(bytes);
        if bytes > self.limits.bytes.0 {
            return Err(Refused::Full);
        }
        ledger.bytes = bytes;
        Ok(())
    }
}

/// Makes the folder for its owner alone, and its name durable.
fn make(root: &Path) -> io::Result<()> {
    match DirBuilder::new().recursive(true).mode(0o700).create(root) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    let parent = root.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Takes away what was not received whole, and counts the rest.
fn swept(root: &Path) -> io::Result<Ledger> {
    let mut ledger = Ledger::default();
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if !entry.file_type()?.is_file() {
            continue;
        }
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            fs::remove_file(entry.path())?;
        } else if !is_hidden(&entry.path()) {
            ledger.objects = ledger.objects.saturating_add(1);
            ledger.bytes = ledger.bytes.saturating_add(entry.metadata()?.len());
        }
    }
    Ok(ledger)
}

/// An object that is being received. Dropped before it is [`kept`](Self::keep), it leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Incoming {
    spool: Arc<Spool>,
    /// None once it is durable.
    file: Option<File>,
    temporary: PathBuf,
    /// Whether the file stands under its name, or is the same as one that does.
    is_settled: bool,
    /// Bytes that were reserved.
    length: u64,
    hasher: Hasher,
}

impl Incoming {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let count = bytes.len() as u64;
        if self.length.saturating_add(count) > self.spool.limits.object_bytes.0 {
            return Err(Refused::TooLarge);
        }
        self.spool.reserve(count)?;
        self.length = self.length.saturating_add(count);
        self.hasher.update(bytes);
        let file = self.file.as_mut().ok_or_else(|| Refused::Disk(io::ErrorKind::InvalidInput.into()))?;
        file.write_all(bytes).map_err(Refused::Disk)
    }

    /// Makes the object durable under its name. When this returns without an error, no crash loses it.
    pub(crate) fn keep(mut self) -> Result<(), Refused> {
        // Closed before it gets its name, for whoever watches the folder would be told of it twice.
        if let Some(file) = self.file.take() {
            file.sync_all().map_err(Refused::Disk)?;
        }
        let digest = std::mem::take(&mut self.hasher).finish();
        let place = self.spool.root.join(format!("{}.{EXTENSION}", digest.hex()));
        {
            let mut ledger = self.spool.ledger();
            // The same object waits already, and whoever works on it works on this one. Its name is made durable below
            // all the same: its own sender may still be waiting for that.
            if fs::symlink_metadata(&place).is_err() {
                if ledger.objects >= self.spool.limits.objects {
                    return Err(Refused::Full);
                }
                fs::rename(&self.temporary, &place).map_err(Refused::Disk)?;
                ledger.objects = ledger.objects.saturating_add(1);
                self.is_settled = true;
            }
        }
        self.spool.names.sync().map_err(Refused::Disk)
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        if self.is_settled {
            return;
        }
        if let Err(error) = fs::remove_file(&self.temporary) {
            tracing::warn!(%error, "half an object cannot be removed from the spool; the next start does");
        }
        let mut ledger = self.spool.ledger();
        ledger.bytes = ledger.bytes.saturating_sub(self.length);
    }
}

/// Names in a folder, made durable for all who wait with one `fsync`.
#[derive(Debug)]
struct Names {
    folder: File,
    rounds: Mutex<Rounds>,
    over: Condvar,
}

/// Who waits has a number; a round serves all numbers that were given out before it began.
#[derive(Debug, Default)]
struct Rounds {
    given: u64,
    is_running: bool,
    served: u64,
    /// Rounds that failed, by the first and the last number that they would have served. Those who wait take note and
    /// leave; there are never more than there are waiting associations.
    failed: VecDeque<(u64, u64)>,
}

impl Names {
    fn of(folder: File) -> Self {
        Self { folder, rounds: Mutex::default(), over: Condvar::new() }
    }

    /// Returns when every name that was in the folder at the call is durable.
    fn sync(&self) -> io::Result<()> {
        let mut rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
        rounds.given += 1;
        let number = rounds.given;
        loop {
            // INVARIANT: a round that failed is not made good by a later one, for the kernel tells of a lost write once.
            if rounds.failed.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
                return Err(io::Error::other("the names in the spool could not be made durable"));
            }
            if number <= rounds.served {
                return Ok(());
            }
            if rounds.is_running {
                rounds = self.over.wait(rounds).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            rounds.is_running = true;
            let (first, last) = (rounds.served + 1, rounds.given);
            drop(rounds);
            let synced = self.folder.sync_all();
            rounds = self.rounds.lock().unwrap_or_else(PoisonError::into_inner);
            rounds.is_running = false;
            rounds.served = last;
            if synced.is_err() {
                rounds.failed.push_back((first, last));
                // Whoever was in a round so long ago has left.
                if rounds.failed.len() > FAILED_ROUNDS {
                    rounds.failed.pop_front();
                }
            }
            self.over.notify_all();
            synced?;
        }
    }
}

/// Failed rounds that are remembered.
const FAILED_ROUNDS: usize = 64;

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
