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

mod limits;
mod names;
mod state;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use martello_vocab::Digest;

use crate::durable::{Names, held, make, open_unfollowed};
pub use limits::{PutError, QueueError, QueueLimits, QueueState};
pub(crate) use names::Kept;
use names::{KEPT, LOCK, TEMPORARY, parsed, stem};
use state::{State, Waiting};

/// A queue of objects for one destination.
#[derive(Debug)]
pub struct Queue {
    root: PathBuf,
    limits: QueueLimits,
    state: Mutex<State>,
    /// Something came, went or ended.
    changed: Condvar,
    folder: File,
    names: Names,
    /// How often the destination took nothing, since the queue was opened.
    failures: AtomicU64,
    _lock: File,
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
        let folder = File::open(&root).map_err(unusable)?;
        let names = Names::of(folder.try_clone().map_err(unusable)?);
        names.sync().map_err(unusable)?;
        let state = Mutex::new(state);
        Ok(Arc::new(Self {
            root,
            limits,
            state,
            changed: Condvar::new(),
            folder,
            names,
            failures: AtomicU64::new(0),
            _lock: lock,
        }))
    }

    /// Takes an object in that is durable in an open file and has this digest and length. When this returns without an
    /// error, no crash loses it, whatever becomes of the file's other names. An object that waits already waits once.
    ///
    /// # Errors
    /// There is no room, or the disk refuses.
    pub fn put(&self, file: &File, digest: Digest, length: u64) -> Result<(), PutError> {
        let handing_over = self.hand_over();
        self.enter(self.state(), file, digest, length)?;
        handing_over.settle()
    }

    /// Begins to take several objects in, which become durable together.
    pub fn hand_over(&self) -> HandingOver<'_> {
        HandingOver { queue: self, failures: self.names.failures() }
    }

    fn enter(
        &self,
        mut state: MutexGuard<'_, State>,
        file: &File,
        digest: Digest,
        length: u64,
    ) -> Result<(), PutError> {
        let link = |number, link: Link| {
            let (name, temporary) = (names::name(number, &digest), format!("{TEMPORARY}{number:016x}"));
            link(file, &self.folder, &name, &temporary).map_err(PutError::Disk)
        };
        if let Some(number) = state.by_digest.get(&digest) {
            // INVARIANT: a name of which it is not known whether it is durable is written anew, for the kernel tells of a lost
            // write once, and whoever syncs again hears nothing of it. Kept by
            // `what_was_perhaps_lost_is_written_anew_and_not_only_synced_again`.
            return if self.names.failures() == 0 { Ok(()) } else { link(*number, names::renew) };
        }
        if !self.has_room(&state, length) {
            return Err(PutError::Full);
        }
        let number = state.next;
        link(number, names::link)?;
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

    /// A turn at the destination ended in trouble.
    pub(crate) fn count_failure(&self) {
        self.failures.fetch_add(1, Ordering::Relaxed);
    }

    /// How many turns have.
    #[cfg(test)]
    pub(crate) fn failures(&self) -> u64 {
        self.failures.load(Ordering::Relaxed)
    }

    /// Ends all waiting for something to come or for room. Nothing that is in the queue is touched.
    pub fn close(&self) {
        self.state().is_closed = true;
        self.changed.notify_all();
    }

    /// Whether it was closed.
    pub fn is_closed(&self) -> bool {
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
            // Its age begins anew, also for the next process.
            let written = SystemTime::now();
            if let Err(error) = open_unfollowed(&path).and_then(|file| file.set_modified(written)) {
                tracing::warn!(%error, object = number, "an object that is tried again keeps its age for the next start");
            }
            fs::rename(&path, self.place(number, &digest))?;
            state.next = number.saturating_add(1);
            state.kept = state.kept.saturating_sub(1);
            state.kept_bytes = state.kept_bytes.saturating_sub(metadata.len());
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
        let mut state = self.state();
        if let Err(error) = fs::remove_file(&item.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(%error, object = item.number, "what was delivered cannot be removed; the next start delivers it once more");
        }
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
        self.root.join(names::name(number, digest))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after every step, so that a panic elsewhere leaves nothing in disorder.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Objects on their way into a queue.
#[must_use = "what was put is durable only after `settle`"]
#[derive(Debug)]
pub struct HandingOver<'a> {
    queue: &'a Queue,
    /// How often names could not be made durable before it began.
    failures: u64,
}

impl HandingOver<'_> {
    /// Takes an object in as [`Queue::put`] does, and waits until there is room. It is not durable yet.
    ///
    /// # Errors
    /// The queue is closed meanwhile, or the disk refuses.
    pub fn put_when_there_is_room(&self, file: &File, digest: Digest, length: u64) -> Result<(), PutError> {
        let queue = self.queue;
        let mut is_told = false;
        let mut state = queue.state();
        while !queue.has_room(&state, length) && !state.by_digest.contains_key(&digest) {
            if state.is_closed {
                return Err(PutError::Closed);
            }
            if !std::mem::replace(&mut is_told, true) {
                tracing::warn!("what is to be sent on waits for room in the queue of its destination");
            }
            state = queue.changed.wait_timeout(state, TURN).unwrap_or_else(PoisonError::into_inner).0;
        }
        queue.enter(state, file, digest, length)
    }

    /// Returns when all that was put is durable.
    ///
    /// # Errors
    /// The disk refuses. Whoever puts the same objects again may rely on what that says.
    pub fn settle(self) -> Result<(), PutError> {
        self.queue.names.sync().map_err(PutError::Disk)?;
        if self.queue.names.failures() == self.failures {
            return Ok(());
        }
        // Perhaps a name that stood there before was to become durable then.
        Err(PutError::Disk(io::Error::other("a name in the queue may not be durable")))
    }
}

/// A way to give an open file a name in a folder, by way of a temporary one where that has to be.
type Link = fn(&File, &File, &str, &str) -> io::Result<()>;

/// How often whoever waits for room looks again, should nobody tell.
const TURN: Duration = Duration::from_secs(1);
/// How long an object is left alone that could not be set aside.
const UNDISTURBED: Duration = Duration::from_secs(300);

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
