//! What a queue knows of the objects in its folder.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use martello_vocab::Digest;

use super::names::{KEPT, LAST_NUMBER, LOCK, TEMPORARY, name, parsed};

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) waiting: BTreeMap<u64, Waiting>,
    pub(super) by_digest: HashMap<Digest, u64>,
    pub(super) next: u64,
    pub(super) bytes: u64,
    pub(super) kept: u64,
    pub(super) kept_bytes: u64,
    pub(super) delivered: u64,
    pub(super) is_closed: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Waiting {
    pub(super) digest: Digest,
    pub(super) length: u64,
    /// When it was written, by the clock of the time.
    pub(super) written: SystemTime,
    pub(super) attempts: u32,
    pub(super) not_before: Option<Instant>,
}

/// A file in the folder that bears the name of an object.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct FoundFile {
    number: u64,
    digest: Digest,
    path: PathBuf,
}

impl State {
    /// What an earlier process left in the folder.
    pub(super) fn found(root: &Path) -> io::Result<Self> {
        let mut state = Self::default();
        let mut files = Vec::new();
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
            files.push(FoundFile { number, digest, path: entry.path() });
        }
        for entry in fs::read_dir(root.join(KEPT))? {
            let entry = entry?;
            if let Some((number, _)) = parsed(&entry.file_name().to_string_lossy()) {
                state.count_on_from(number);
                state.kept = state.kept.saturating_add(1);
                state.kept_bytes = state.kept_bytes.saturating_add(entry.metadata()?.len());
            }
        }
        files.iter().for_each(|file| state.count_on_from(file.number));
        files.sort();
        for file in files {
            state.take_in(root, file)?;
        }
        Ok(state)
    }

    /// Takes a file in under its number; under another one, where that is taken or no other could follow it.
    fn take_in(&mut self, root: &Path, file: FoundFile) -> io::Result<()> {
        let FoundFile { number, digest, path } = file;
        let metadata = fs::metadata(&path)?;
        let place = root.join(name(number, &digest));
        let number = if number >= LAST_NUMBER || self.waiting.contains_key(&number) || path != place {
            let other = self.next;
            tracing::warn!(
                object = number,
                now = other,
                "an object that waits had a name that cannot stay, and waits under another one"
            );
            fs::rename(&path, root.join(name(other, &digest)))?;
            self.next = other.saturating_add(1);
            other
        } else {
            number
        };
        if self.by_digest.contains_key(&digest) {
            // Twice: both are delivered, which is no harm.
            tracing::debug!(object = number, "an object waits twice");
        }
        let (length, written) = (metadata.len(), metadata.modified()?);
        self.add(number, Waiting { digest, length, written, attempts: 0, not_before: None });
        Ok(())
    }

    fn count_on_from(&mut self, number: u64) {
        if number < LAST_NUMBER {
            self.next = self.next.max(number.saturating_add(1));
        }
    }

    pub(super) fn add(&mut self, number: u64, waiting: Waiting) {
        self.bytes = self.bytes.saturating_add(waiting.length);
        self.by_digest.insert(waiting.digest, number);
        self.waiting.insert(number, waiting);
    }

    pub(super) fn remove(&mut self, number: u64) {
        if let Some(waiting) = self.waiting.remove(&number) {
            self.bytes = self.bytes.saturating_sub(waiting.length);
            if self.by_digest.get(&waiting.digest) == Some(&number) {
                self.by_digest.remove(&waiting.digest);
            }
        }
    }
}
