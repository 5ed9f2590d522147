//! Folders of this device's own: made and locked, and names in them made durable.

use std::collections::VecDeque;
use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Condvar, Mutex, PoisonError};

use rustix::fs::{FlockOperation, OFlags, flock};

/// Makes the folder, and those above it where they are missing, for its owner alone, durably: each new name is synced in
/// its parent, so that no file that is durable in the folder loses its way in a power cut.
pub(crate) fn make(root: &Path) -> io::Result<()> {
    let missing: Vec<&Path> = root.ancestors().take_while(|folder| !folder.exists()).collect();
    for folder in missing.into_iter().rev().filter(|folder| !folder.as_os_str().is_empty()) {
        match DirBuilder::new().mode(0o700).create(folder) {
            // Another process made it at the same moment.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => made?,
        }
        sync_parent(folder)?;
    }
    // Whoever made it just before a crash may not have come to that.
    sync_parent(root)
}

fn sync_parent(folder: &Path) -> io::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(parent.unwrap_or(Path::new(".")))?.sync_all()
}

/// Opens a file and locks it for this process; none where another one holds it.
pub(crate) fn held(path: &Path) -> io::Result<Option<File>> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    let mut lock = File::options();
    lock.write(true).create(true).truncate(false).mode(0o600).custom_flags(nofollow);
    let lock = lock.open(path)?;
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        locked => locked.map(|()| Some(lock)).map_err(io::Error::from),
    }
}

/// Opens a file to read it, unless it is a link.
pub(crate) fn open_unfollowed(path: &Path) -> io::Result<File> {
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or(0);
    File::options().read(true).custom_flags(nofollow).open(path)
}

/// Names in a folder, made durable for all who wait with one `fsync`.
#[derive(Debug)]
pub(crate) struct Names {
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
    /// How many have failed.
    failures: u64,
}

impl Names {
    pub(crate) fn of(folder: File) -> Self {
        Self { folder, rounds: Mutex::default(), over: Condvar::new() }
    }

    /// How many rounds have failed. Once one has, a name that was there before may be lost, whatever later rounds say:
    /// whoever relies on it writes it anew.
    pub(crate) fn failures(&self) -> u64 {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).failures
    }

    /// Takes note of a round that failed.
    #[cfg(test)]
    pub(crate) fn fail(&self) {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).failures += 1;
    }

    /// How many calls were served.
    #[cfg(test)]
    pub(crate) fn served(&self) -> u64 {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).served
    }

    /// Returns when every name that was in the folder at the call is durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
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
                rounds.failures = rounds.failures.saturating_add(1);
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
mod tests {
    use super::*;

    #[test]
    fn a_failed_round_is_told_to_those_whom_it_would_have_served_and_to_nobody_else() {
        // A pipe cannot be synced.
        let (_end, pipe) = std::io::pipe().unwrap();
        let names = Names::of(File::from(std::os::fd::OwnedFd::from(pipe)));
        assert!(names.sync().is_err());
        assert_eq!(names.rounds.lock().unwrap().failed, [(1, 1)]);
        assert!(names.sync().is_err());
        assert_eq!(names.rounds.lock().unwrap().failed, [(1, 1), (2, 2)]);
    }
}
