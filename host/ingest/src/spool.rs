//! Objects that were received and wait for their turn: durable before the sender is told so, bounded in number and bytes,
//! and removed when their outcome is durable elsewhere.
//!
//! An object stands under the digest of its bytes. One that is sent again is therefore the same file: while it waits it
//! is there once, and when it has been worked on, the run finds it complete. No name tells a person.
//!
//! Where there is a *bypass*, each object is durable in the queues of its destinations before it waits here: care does not
//! wait for us, whatever becomes of the object afterwards. And where the spool is full because nothing works it off, objects
//! go to the bypass alone.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use martello_vocab::{ByteCount, Hasher};

use crate::durable::{Names, held, make};
use crate::folder::{Found, is_hidden};
use crate::queue::{PutError, Queue};

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
    /// Queues into which each object goes first.
    bypass: Vec<Arc<Queue>>,
    /// Objects that went there alone.
    passed_by: AtomicU64,
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

impl From<PutError> for Refused {
    fn from(error: PutError) -> Self {
        match error {
            PutError::Disk(error) => Self::Disk(error),
            PutError::Full | PutError::Closed => Self::Full,
        }
    }
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
        Self::open_with_bypass(root, limits, Vec::new())
    }

    /// The same, and each object that is received from now on goes into these queues first.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_bypass(
        root: &Path,
        limits: SpoolLimits,
        bypass: Vec<Arc<Queue>>,
    ) -> Result<Arc<Self>, SpoolError> {
        let unusable = |source| SpoolError::Unusable { path: root.to_owned(), source };
        make(root).map_err(unusable)?;
        // Objects are identified data: where a link stands in the folder's place, they would land elsewhere.
        let is_link = fs::symlink_metadata(root).map_err(unusable)?.is_symlink();
        let root = root.canonicalize().map_err(unusable)?;
        if is_link {
            return Err(SpoolError::Link { path: root });
        }
        let Some(lock) = held(&root.join(LOCK)).map_err(unusable)? else {
            return Err(SpoolError::Busy { path: root });
        };
        let ledger = swept(&root).map_err(unusable)?;
        let names = Names::of(File::open(&root).map_err(unusable)?);
        // The names of what is there may have been made just before a crash: they count as received from now on.
        names.sync().map_err(unusable)?;
        let ledger = Mutex::new(ledger);
        let (next, passed_by) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Arc::new(Self { root, limits, ledger, names, next, bypass, passed_by, _lock: lock }))
    }

    /// How many objects went to the bypass alone, because there was no room here. No run will see them.
    pub fn passed_by(&self) -> u64 {
        self.passed_by.load(Ordering::Relaxed)
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
        let is_full = ledger.objects >= self.limits.objects || ledger.bytes >= self.limits.bytes.0;
        let way = match is_full {
            false => Way::Usual,
            true => self.without_the_spool()?,
        };
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let temporary = self.root.join(format!("{TEMPORARY}{number}"));
        let file = File::options().read(true).write(true).create_new(true).mode(0o600).open(&temporary);
        let file = file.map_err(Refused::Disk)?;
        Ok(Incoming {
            spool: Arc::clone(self),
            file: Some(file),
            temporary,
            is_settled: false,
            way,
            length: 0,
            hasher: Hasher::new(),
        })
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // Numbers are whole after every step, so that a panic elsewhere leaves nothing in disorder.
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where an object goes for which there is no room here.
    fn without_the_spool(&self) -> Result<Way, Refused> {
        if self.bypass.is_empty() { Err(Refused::Full) } else { Ok(Way::BypassAlone) }
    }

    fn reserve_on(&self, way: Way, bytes: u64) -> Result<(), Refused> {
        match way {
            Way::Usual => self.reserve(bytes),
            Way::BypassAlone => Ok(()),
        }
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

/// Where an object goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// Into the bypass, where there is one, and the spool.
    Usual,
    /// Into the bypass: the spool has no room, and is not charged.
    BypassAlone,
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
    way: Way,
    /// Bytes that came; on the usual way they are reserved.
    length: u64,
    hasher: Hasher,
}

impl Incoming {
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let count = bytes.len() as u64;
        if self.length.saturating_add(count) > self.spool.limits.object_bytes.0 {
            return Err(Refused::TooLarge);
        }
        match (self.way, self.spool.reserve_on(self.way, count)) {
            (_, Ok(())) => {}
            (Way::Usual, Err(Refused::Full)) => self.leave_the_spool()?,
            (_, Err(refused)) => return Err(refused),
        }
        let length = self.length.saturating_add(count);
        // What several associations receive at once is counted when it is whole.
        if self.way == Way::BypassAlone && !self.spool.bypass.iter().all(|queue| queue.takes(length)) {
            return Err(Refused::Full);
        }
        self.length = length;
        self.hasher.update(bytes);
        let file = self.file.as_mut().ok_or_else(|| Refused::Disk(io::ErrorKind::InvalidInput.into()))?;
        file.write_all(bytes).map_err(Refused::Disk)
    }

    /// Makes the object durable under its name. When this returns without an error, no crash loses it.
    pub(crate) fn keep(mut self) -> Result<(), Refused> {
        let file = self.file.take().ok_or_else(|| Refused::Disk(io::ErrorKind::InvalidInput.into()))?;
        file.sync_all().map_err(Refused::Disk)?;
        let digest = std::mem::take(&mut self.hasher).finish();
        // INVARIANT: what stands in the spool is durable in every queue of the bypass. Kept by
        // `an_object_is_in_the_bypass_before_it_is_in_the_spool`.
        for queue in &self.spool.bypass {
            queue.put(&file, digest, self.length)?;
        }
        // Closed before it gets its name, for whoever watches the folder would be told of it twice.
        drop(file);
        let failures = self.spool.names.failures();
        let place = self.spool.root.join(format!("{}.{EXTENSION}", digest.hex()));
        if self.way == Way::Usual {
            let mut ledger = self.spool.ledger();
            let stands = fs::symlink_metadata(&place).is_ok();
            // The same object waits already, and whoever works on it works on this one. Its name is made durable below
            // all the same: its own sender may still be waiting for that. Where it is not known whether a name that
            // stands here is durable, this one takes its place.
            if stands && failures > 0 {
                fs::rename(&self.temporary, &place).map_err(Refused::Disk)?;
                ledger.bytes = ledger.bytes.saturating_sub(self.length);
                self.is_settled = true;
            } else if !stands {
                if ledger.objects < self.spool.limits.objects {
                    fs::rename(&self.temporary, &place).map_err(Refused::Disk)?;
                    ledger.objects = ledger.objects.saturating_add(1);
                    self.is_settled = true;
                } else {
                    drop(ledger);
                    self.leave_the_spool()?;
                }
            }
        }
        if self.way == Way::BypassAlone {
            tracing::error!("the spool is full: an object went to the bypass alone, and no run will see it");
            self.spool.passed_by.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        }
        self.spool.names.sync().map_err(Refused::Disk)?;
        if self.spool.names.failures() == failures {
            return Ok(());
        }
        // Perhaps the name that stood there was to become durable then: sent again, the object takes its place.
        Err(Refused::Disk(io::Error::other("a name in the spool may not be durable")))
    }

    /// Gives back what was reserved, for there is no room in the spool.
    fn leave_the_spool(&mut self) -> Result<(), Refused> {
        self.way = self.spool.without_the_spool()?;
        let mut ledger = self.spool.ledger();
        ledger.bytes = ledger.bytes.saturating_sub(self.length);
        Ok(())
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
        if self.way == Way::Usual {
            let mut ledger = self.spool.ledger();
            ledger.bytes = ledger.bytes.saturating_sub(self.length);
        }
    }
}

#[cfg(test)]
#[path = "spool_tests.rs"]
mod tests;
