//! Removes native code that nobody uses any more: of components and engines that an update has replaced.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::fs::{FlockOperation, flock};

/// How long an entry stays after its last use, and how large the cache may be.
pub(super) struct Sweep {
    pub(super) longest_rest: Duration,
    pub(super) most_bytes: u64,
}

impl Default for Sweep {
    /// A bundle that a device has gone back from stays ready for three months. The shipped bundle takes a few MiB.
    fn default() -> Self {
        Self { longest_rest: Duration::from_secs(90 * 24 * 3600), most_bytes: 1 << 30 }
    }
}

struct Entry {
    path: PathBuf,
    used: SystemTime,
    bytes: u64,
}

impl Sweep {
    /// Removes what has rested too long, and then what has rested longest until the rest fits. An entry that any
    /// process uses, ours among them, stays. The caller holds the lock of the folder.
    ///
    /// Whatever cannot be removed is left for the next time: the cache works with it.
    pub(super) fn run(&self, folder: &Path, now: SystemTime) {
        let mut entries = match entries(folder) {
            Ok(entries) => entries,
            Err(error) => {
                tracing::warn!(%error, folder = %folder.display(), "old native code cannot be listed");
                return;
            }
        };
        entries.sort_by_key(|entry| entry.used);
        let mut bytes = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.bytes));
        for entry in entries {
            let rested = now.duration_since(entry.used).is_ok_and(|rest| rest > self.longest_rest);
            if !rested && bytes <= self.most_bytes {
                continue;
            }
            match remove(&entry.path) {
                Ok(true) => bytes = bytes.saturating_sub(entry.bytes),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, path = %entry.path.display(), "old native code cannot be removed");
                }
            }
        }
    }
}

fn entries(folder: &Path) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "cwasm") {
            let metadata = std::fs::metadata(&path)?;
            entries.push(Entry { used: metadata.modified()?, bytes: metadata.len(), path });
        }
    }
    Ok(entries)
}

/// Removes an entry unless it is in use.
fn remove(path: &Path) -> io::Result<bool> {
    match flock(File::open(path)?, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(false),
        Err(error) => return Err(error.into()),
    }
    std::fs::remove_file(path)?;
    match std::fs::remove_file(path.with_extension("mac")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn entry(folder: &Path, name: &str, bytes: usize, used: SystemTime) -> PathBuf {
        let path = folder.join(name).with_extension("cwasm");
        std::fs::write(&path, vec![0; bytes]).unwrap();
        std::fs::write(path.with_extension("mac"), "mac").unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(used).unwrap();
        path
    }

    fn left(folder: &Path) -> Vec<String> {
        let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<String> = names.map(|name| name.into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn entries_go_after_their_rest_with_their_macs_and_those_in_use_stay() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        entry(folder.path(), "old", 1, now - 91 * DAY);
        entry(folder.path(), "recent", 1, now - 89 * DAY);
        let used = entry(folder.path(), "used", 1, now - 400 * DAY);
        let held = File::open(used).unwrap();
        flock(&held, FlockOperation::LockShared).unwrap();
        Sweep::default().run(folder.path(), now);
        assert_eq!(left(folder.path()), ["recent.cwasm", "recent.mac", "used.cwasm", "used.mac"]);
        drop(held);
        Sweep::default().run(folder.path(), now);
        assert_eq!(left(folder.path()), ["recent.cwasm", "recent.mac"]);
    }

    #[test]
    fn those_that_rested_longest_go_until_the_rest_fits() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (name, days) in [("a", 1), ("b", 4), ("c", 2), ("d", 3)] {
            entry(folder.path(), name, 100, now - days * DAY);
        }
        let sweep = Sweep { most_bytes: 250, ..Sweep::default() };
        sweep.run(folder.path(), now);
        assert_eq!(left(folder.path()), ["a.cwasm", "a.mac", "c.cwasm", "c.mac"]);
    }

    #[test]
    fn an_entry_of_a_clock_that_ran_ahead_stays() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        entry(folder.path(), "ahead", 1, now + 400 * DAY);
        Sweep::default().run(folder.path(), now);
        assert_eq!(left(folder.path()), ["ahead.cwasm", "ahead.mac"]);
    }
}
