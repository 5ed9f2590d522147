//! Objects that wait to be delivered to one destination: durable, in order, bounded, and never dropped unseen.
//!
//! An object is a link to the file that it stands in elsewhere (the spool, the outputs of a run), so that it costs a name and
//! outlives the other one. The names hold all that must outlast a crash:
//!
//! ```text
//! 000000000000002a-<digest>.dcm                          waits, in the order of the numbers
//! kept/000000000000002a-<digest>.<code>.dcm              was not delivered; the code says why (host/CODES.md)
//! kept/000000000000002a-<digest>.refused-by-peer.C000.dcm
//! ```
//!
//! When it has been delivered, its name is taken away. A crash in between delivers it once more, under the same SOP Instance
//! UID: at least once. How often something was tried is not kept: whoever starts anew tries at once. See
//! `host/decisions/0011`.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use martello_vocab::{ByteCount, Digest};

use crate::durable::{Names, held, make};

/// How names begin that do not count yet.
const TEMPORARY: &str = ".incoming-";
/// Held by the process that delivers.
const LOCK: &str = ".lock";
/// The folder of what was not delivered.
const KEPT: &str = "kept";
/// Behind the digest.
const EXTENSION: &str = "dcm";

/// How much a queue takes, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    /// Objects that wait, and as many again that are kept.
    pub objects: u64,
    /// Bytes of those that wait, and as many again of those that are kept. A single object may have more.
    pub bytes: ByteCount,
    /// How old an object may become that waits; then it is kept and not tried any more. Without it, objects are tried for
    /// ever.
    pub expiry: Option<Duration>,
}

impl Default for QueueLimits {
    /// As much as a spool takes by default, so that a destination that is down for a day holds up nobody.
    fn default() -> Self {
        Self { objects: 100_000, bytes: ByteCount::mebibytes(16 << 10), expiry: None }
    }
}

impl QueueLimits {
    /// Whether one more object of this length goes in where these are.
    fn hold(&self, objects: u64, bytes: u64, length: u64) -> bool {
        objects == 0 || (objects < self.objects && bytes.saturating_add(length) <= self.bytes.0)
    }
}

/// A queue cannot be used.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum QueueError {
    #[error("another process delivers from the queue `{path}`")]
    Busy { path: PathBuf },
    #[error("a link stands in the place of the queue `{path}`")]
    Link { path: PathBuf },
    #[error("preparing the queue `{path}`")]
    Unusable { path: PathBuf, source: io::Error },
}

/// An object is not taken into a queue.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum PutError {
    #[error("the queue is full")]
    Full,
    #[error("the queue is closed")]
    Closed,
    #[error("the disk fails")]
    Disk(#[source] io::Error),
}

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
    fn ending(self) -> String {
        match self {
            Self::Refused(status) => format!("{}.{status:04X}.{EXTENSION}", self.code()),
            other => format!("{}.{EXTENSION}", other.code()),
        }
    }
}

/// How full a queue is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct QueueState {
    /// Objects that wait to be delivered.
    pub waiting: u64,
    /// Objects that were not delivered and are not tried any more.
    pub kept: u64,
    /// Bytes of all of them.
    pub bytes: u64,
    /// Objects that were delivered since the queue was opened.
    pub delivered: u64,
}

/// A queue of objects for one destination.
#[derive(Debug)]
pub struct Queue {
    root: PathBuf,
    limits: QueueLimits,
    state: Mutex<State>,
    /// Something came, went or ended.
    changed: Condvar,
    names: Names,
    _lock: File,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeMap<u64, Waiting>,
    by_digest: HashMap<Digest, u64>,
    next: u64,
    bytes: u64,
    kept: u64,
    kept_bytes: u64,
    delivered: u64,
    is_closed: bool,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    digest: Digest,
    length: u64,
    /// When it was written, by the clock of the time.
    written: SystemTime,
    attempts: u32,
    not_before: Option<Instant>,
}

/// An object whose turn it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Item {
    /// Its place in the order; what logs call it.
    pub(crate) number: u64,
    pub(crate) digest: Digest,
    pub(crate) length: u64,
    /// How often it was tried.
    pub(crate) attempts: u32,
    pub(crate) path: PathBuf,
}

impl Queue {
    /// Opens the queue in a folder, which is made where it is missing, for its owner alone.
    ///
    /// # Errors
    /// Another process delivers from it, or the disk refuses.
    pub fn open(root: &Path, limits: QueueLimits) -> Result<Arc<Self>, QueueError> {
        let unusable = |source| QueueError::Unusable { path: root.to_owned(), source };
        make(root).map_err(unusable)?;
        make(&root.join(KEPT)).map_err(unusable)?;
        // Originals are identified data: where a link stands in the folder's place, they would land elsewhere.
        for folder in [root, &root.join(KEPT)] {
            if fs::symlink_metadata(folder).map_err(unusable)?.is_symlink() {
                return Err(QueueError::Link { path: folder.to_owned() });
            }
        }
        let root = root.canonicalize().map_err(unusable)?;
        let Some(lock) = held(&root.join(LOCK)).map_err(unusable)? else {
            return Err(QueueError::Busy { path: root });
        };
        let state = State::found(&root).map_err(unusable)?;
        let names = Names::of(File::open(&root).map_err(unusable)?);
        names.sync().map_err(unusable)?;
        let state = Mutex::new(state);
        Ok(Arc::new(Self { root, limits, state, changed: Condvar::new(), names, _lock: lock }))
    }

    /// Takes an object in that is durable under `file` and has this digest and length. When this returns without an error,
    /// no crash loses it, whatever becomes of `file`. An object that waits already waits once.
    ///
    /// # Errors
    /// There is no room, or the disk refuses.
    pub fn put(&self, file: &Path, digest: Digest, length: u64) -> Result<(), PutError> {
        self.enter(self.state(), file, digest, length)?;
        self.names.sync().map_err(PutError::Disk)
    }

    /// The same for many, and waits for each until there is room.
    ///
    /// # Errors
    /// The queue is closed meanwhile, or the disk refuses.
    pub fn put_when_there_is_room(&self, files: &[(PathBuf, Digest, u64)]) -> Result<(), PutError> {
        for (file, digest, length) in files {
            let mut is_told = false;
            let mut state = self.state();
            while !self.has_room(&state, *length) && !state.by_digest.contains_key(digest) {
                if state.is_closed {
                    return Err(PutError::Closed);
                }
                if !std::mem::replace(&mut is_told, true) {
                    tracing::warn!("what is to be sent on waits for room in the queue of its destination");
                }
                state = self.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner).0;
            }
            self.enter(state, file, *digest, *length)?;
        }
        self.names.sync().map_err(PutError::Disk)
    }

    fn enter(
        &self,
        mut state: MutexGuard<'_, State>,
        file: &Path,
        digest: Digest,
        length: u64,
    ) -> Result<(), PutError> {
        if state.by_digest.contains_key(&digest) {
            return Ok(());
        }
        if !self.has_room(&state, length) {
            return Err(PutError::Full);
        }
        let number = state.next;
        let place = self.place(number, &digest);
        link(file, &place, &self.root.join(format!("{TEMPORARY}{number:016x}"))).map_err(PutError::Disk)?;
        // The order of the queue, and what is in it, are known only here.
        state.next = number.saturating_add(1);
        state.add(
            number,
            Waiting { digest, length, written: SystemTime::now(), attempts: 0, not_before: None },
        );
        self.changed.notify_all();
        Ok(())
    }

    /// Whether an object of so many bytes would be taken now.
    pub(crate) fn takes(&self, length: u64) -> bool {
        self.has_room(&self.state(), length)
    }

    fn has_room(&self, state: &State, length: u64) -> bool {
        self.limits.hold(state.waiting.len() as u64, state.bytes, length)
    }

    /// How full it is.
    pub fn state_now(&self) -> QueueState {
        let state = self.state();
        QueueState {
            waiting: state.waiting.len() as u64,
            kept: state.kept,
            bytes: state.bytes.saturating_add(state.kept_bytes),
            delivered: state.delivered,
        }
    }

    /// Ends all waiting for something to come or for room. Nothing that is in the queue is touched.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.state().is_closed
    }

    /// Lets everything that is kept wait again, behind what waits already.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn take_up_again(&self) -> io::Result<u64> {
        let mut state = self.state();
        let mut kept = Vec::new();
        for entry in fs::read_dir(self.root.join(KEPT))? {
            let entry = entry?;
            kept.extend(parsed(&entry.file_name().to_string_lossy()).map(|name| (name, entry.path())));
        }
        kept.sort();
        let mut taken = 0;
        for ((_, digest), path) in kept {
            if state.by_digest.contains_key(&digest) {
                continue;
            }
            let metadata = fs::metadata(&path)?;
            let number = state.next;
            fs::rename(&path, self.place(number, &digest))?;
            state.next = number.saturating_add(1);
            state.kept = state.kept.saturating_sub(1);
            state.kept_bytes = state.kept_bytes.saturating_sub(metadata.len());
            // Its age begins anew.
            let written = SystemTime::now();
            state.add(
                number,
                Waiting { digest, length: metadata.len(), written, attempts: 0, not_before: None },
            );
            taken += 1;
        }
        self.changed.notify_all();
        Ok(taken)
    }

    /// The first objects that may be tried now, in order.
    pub(crate) fn due(&self, most: usize) -> Vec<Item> {
        let now = Instant::now();
        let state = self.state();
        let due =
            state.waiting.iter().filter(|(_, waiting)| waiting.not_before.is_none_or(|from| from <= now));
        due.take(most)
            .map(|(number, waiting)| Item {
                number: *number,
                digest: waiting.digest,
                length: waiting.length,
                attempts: waiting.attempts,
                path: self.place(*number, &waiting.digest),
            })
            .collect()
    }

    /// Waits until something may be tried, the queue is closed, or so much time has passed. Whether something may be.
    pub(crate) fn wait(&self, most: Duration) -> bool {
        let begun = Instant::now();
        let mut state = self.state();
        loop {
            let now = Instant::now();
            let (mut is_due, mut soonest) = (false, None);
            for waiting in state.waiting.values() {
                match waiting.not_before {
                    Some(from) if from > now => soonest = Some(soonest.map_or(from, |other| from.min(other))),
                    _ => {
                        is_due = true;
                        break;
                    }
                }
            }
            let left = most.saturating_sub(begun.elapsed());
            if is_due || left.is_zero() || state.is_closed {
                return is_due;
            }
            let turn = soonest.map_or(left, |from| from.saturating_duration_since(now).min(left));
            state = self.changed.wait_timeout(state, turn).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// An object was delivered.
    pub(crate) fn delivered(&self, item: &Item) {
        if let Err(error) = fs::remove_file(&item.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, object = item.number, "what was delivered cannot be removed; the next start delivers it once more");
        }
        let mut state = self.state();
        state.remove(item.number);
        state.delivered = state.delivered.saturating_add(1);
        self.changed.notify_all();
    }

    /// An object is tried again, not before so much time has passed.
    pub(crate) fn later(&self, item: &Item, wait: Duration) {
        if let Some(waiting) = self.state().waiting.get_mut(&item.number) {
            waiting.attempts = waiting.attempts.saturating_add(1);
            waiting.not_before = Instant::now().checked_add(wait);
        }
    }

    /// An object cannot be read, or is gone.
    pub(crate) fn unreadable(&self, item: &Item) {
        if item.path.exists() {
            self.later(item, UNDISTURBED);
        } else {
            tracing::error!(object = item.number, "an object that waited to be delivered is gone");
            self.state().remove(item.number);
        }
    }

    /// An object is kept and not tried any more. Where there is no room for that or the disk refuses, it goes on waiting:
    /// nothing is thrown away to make room.
    pub(crate) fn keep(&self, item: &Item, why: Kept) {
        {
            let state = self.state();
            if !self.limits.hold(state.kept, state.kept_bytes, item.length) {
                drop(state);
                tracing::error!(
                    object = item.number,
                    code = why.code(),
                    "there is no room to set aside what is not delivered"
                );
                self.later(item, UNDISTURBED);
                return;
            }
        }
        let name = format!("{}.{}", stem(item.number, &item.digest), why.ending());
        match fs::rename(&item.path, self.root.join(KEPT).join(name)) {
            Ok(()) => {}
            // Somebody took it away; it is not here any more.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                tracing::error!(object = item.number, "an object that waited to be delivered is gone");
                self.state().remove(item.number);
                return;
            }
            Err(error) => {
                tracing::error!(%error, object = item.number, "what is not delivered cannot be set aside");
                self.later(item, UNDISTURBED);
                return;
            }
        }
        tracing::error!(object = item.number, code = why.code(), "an object was not delivered and is kept");
        let mut state = self.state();
        state.remove(item.number);
        state.kept = state.kept.saturating_add(1);
        state.kept_bytes = state.kept_bytes.saturating_add(item.length);
        self.changed.notify_all();
    }

    /// Keeps what has waited too long.
    pub(crate) fn expire(&self) {
        let Some(expiry) = self.limits.expiry else { return };
        let now = SystemTime::now();
        let old: Vec<_> = {
            let state = self.state();
            // A clock that was set back makes nothing older.
            let is_old =
                |waiting: &Waiting| now.duration_since(waiting.written).is_ok_and(|age| age > expiry);
            let old = state.waiting.iter().filter(|(_, waiting)| is_old(waiting));
            old.map(|(number, waiting)| (*number, *waiting)).collect()
        };
        for (number, waiting) in old {
            let path = self.place(number, &waiting.digest);
            let Waiting { digest, length, attempts, .. } = waiting;
            self.keep(&Item { number, digest, length, attempts, path }, Kept::Expired);
        }
    }

    fn place(&self, number: u64, digest: &Digest) -> PathBuf {
        self.root.join(format!("{}.{EXTENSION}", stem(number, digest)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every step, so that a panic elsewhere leaves nothing in disorder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often whoever waits for room looks again, should nobody tell.
const TURN: Duration = Duration::from_secs(1);
/// How long an object is left alone that could not be set aside.
const UNDISTURBED: Duration = Duration::from_secs(300);

impl State {
    /// What an earlier process left in the folder.
    fn found(root: &Path) -> io::Result<Self> {
        let mut state = Self::default();
        for entry in fs::read_dir(root)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if !entry.file_type()?.is_file() || name == LOCK {
                continue;
            }
            if name.starts_with(TEMPORARY) {
                fs::remove_file(entry.path())?;
                continue;
            }
            let Some((number, digest)) = parsed(&name) else {
                tracing::warn!("a file in the queue bears no name of an object and is left alone");
                continue;
            };
            state.next = state.next.max(number.saturating_add(1));
            if state.by_digest.contains_key(&digest) {
                // Twice: both are delivered, which is no harm.
                tracing::debug!(object = number, "an object waits twice");
            }
            let metadata = entry.metadata()?;
            let (length, written) = (metadata.len(), metadata.modified()?);
            state.add(number, Waiting { digest, length, written, attempts: 0, not_before: None });
        }
        for entry in fs::read_dir(root.join(KEPT))? {
            let entry = entry?;
            if let Some((number, _)) = parsed(&entry.file_name().to_string_lossy()) {
                state.next = state.next.max(number.saturating_add(1));
                state.kept = state.kept.saturating_add(1);
                state.kept_bytes = state.kept_bytes.saturating_add(entry.metadata()?.len());
            }
        }
        Ok(state)
    }

    fn add(&mut self, number: u64, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.length);
        self.by_digest.insert(waiting.digest, number);
        self.waiting.insert(number, waiting);
    }

    fn remove(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.remove(&number) {
            self.bytes = self.bytes.saturating_sub(waiting.length);
            if self.by_digest.get(&waiting.digest) == Some(&number) {
                self.by_digest.remove(&waiting.digest);
            }
        }
    }
}

fn stem(number: u64, digest: &Digest) -> String {
    format!("{number:016x}-{}", digest.hex())
}

/// The number and the digest in a name.
fn parsed(name: &str) -> Option<(u64, Digest)> {
    let (stem, _) = name.strip_suffix(EXTENSION)?.split_once('.')?;
    let (number, digest) = stem.split_once('-')?;
    let is_number = number.len() == 16 && number.bytes().all(|byte| byte.is_ascii_hexdigit());
    let number = u64::from_str_radix(number, 16).ok().filter(|_| is_number)?;
    Some((number, format!("sha256:{digest}").parse().ok()?))
}

/// Gives a file another name; a copy of it, where the other name is on another file system.
fn link(file: &Path, place: &Path, temporary: &Path) -> io::Result<()> {
    match fs::hard_link(file, place) {
        Err(error) if error.kind() == io::ErrorKind::CrossesDevices => {
            let mut from = File::open(file)?;
            let mut copy =
                File::options().write(true).create(true).truncate(true).mode(0o600).open(temporary)?;
            io::copy(&mut from, &mut copy)?;
            copy.sync_all()?;
            fs::rename(temporary, place)
        }
        linked => linked,
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
