//! Watching a folder with inotify.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::folder::{Folder, Found, IngestError};

/// Bytes for events of one read: some hundreds of events with names of ordinary length.
const EVENT_BUFFER: usize = 32 << 10;

/// A watched folder. Drop it to stop watching.
#[derive(Debug)]
pub struct Watch {
    folder: Folder,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, PathBuf>,
}

/// What happened in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was closed after writing, or renamed into place.
    Arrived(Found),
    /// A file stands in a folder that has just come, and its writer may still be at work: look at it again until it
    /// is settled.
    Unsettled(Found),
    /// Events were lost: scan the folder again.
    Lost,
}

impl Watch {
    /// Begins to watch the folder and all folders in it.
    ///
    /// # Errors
    /// The kernel refuses, for example because too many folders are watched already.
    pub fn begin(folder: &Folder) -> Result<Self, IngestError> {
        let unwatchable = |source| IngestError::Unwatchable { path: folder.path().to_owned(), source };
        let inotify = Inotify::init().map_err(unwatchable)?;
        let mut watch = Self { folder: folder.clone(), inotify, watched: HashMap::new() };
        let root = folder.path().to_owned();
        watch.enter(&root)?;
        if watch.watched.is_empty() {
            return Err(unwatchable(std::io::ErrorKind::Other.into()));
        }
        Ok(watch)
    }

    /// Waits for at most `timeout` and returns what happened; nothing where nothing did.
    ///
    /// # Errors
    /// The kernel fails.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Event>, IngestError> {
        let root = self.folder.path().to_owned();
        let unwatchable = |source| IngestError::Unwatchable { path: root.clone(), source };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        let ready = poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout));
        match ready {
            Ok(0) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Err(errno) => return Err(unwatchable(errno.into())),
        }
        let mut buffer = vec![0; EVENT_BUFFER];
        let raw: Vec<_> = match self.inotify.read_events(&mut buffer) {
            Ok(events) => events
                .map(|event| (event.wd.clone(), event.mask, event.name.map(ToOwned::to_owned)))
                .collect(),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Vec::new(),
            Err(error) => return Err(unwatchable(error)),
        };
        let mut events = Vec::new();
        for (descriptor, mask, name) in raw {
            if mask.contains(EventMask::Q_OVERFLOW) {
                events.push(Event::Lost);
                continue;
            }
            if mask.contains(EventMask::IGNORED) {
                self.watched.remove(&descriptor);
                continue;
            }
            let (Some(folder), Some(name)) = (self.watched.get(&descriptor), name) else { continue };
            let path = folder.join(name);
            if mask.contains(EventMask::ISDIR) {
                // Files may have come into the new folder before it was watched.
                events.extend(self.enter(&path)?.into_iter().map(Event::Unsettled));
            } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO)
                && let Some(found) = self.folder.look_at(&path)
            {
                events.push(Event::Arrived(found));
            }
        }
        Ok(events)
    }

    /// Watches a folder and those in it, and returns the files that are there already.
    fn enter(&mut self, path: &Path) -> Result<Vec<Found>, IngestError> {
        let mask = WatchMask::CLOSE_WRITE
            | WatchMask::MOVED_TO
            | WatchMask::CREATE
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW;
        let mut found = Vec::new();
        let mut refused = None;
        let folder = self.folder.clone();
        folder.descend(path, 0, &mut found, &mut |entered| match self.inotify.watches().add(entered, mask) {
            Ok(descriptor) => {
                self.watched.insert(descriptor, entered.to_owned());
            }
            // A folder that is gone again needs no watch; a full table means that inputs would be missed.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => refused = Some(error),
        });
        match refused {
            Some(source) => Err(IngestError::Unwatchable { path: path.to_owned(), source }),
            None => Ok(found),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;

    const LONG: Duration = Duration::from_secs(10);

    fn arrivals(watch: &mut Watch, wanted: usize) -> Vec<String> {
        let mut names = Vec::new();
        while names.len() < wanted {
            let events = watch.wait(LONG).unwrap();
            assert!(!events.is_empty(), "nothing came in time, only {names:?}");
            for event in events {
                match event {
                    Event::Arrived(found) | Event::Unsettled(found) if !names.contains(&found.name) => {
                        names.push(found.name);
                    }
                    _ => {}
                }
            }
        }
        names.sort();
        names
    }

    #[test]
    fn a_file_arrives_when_its_writer_closes_it_and_not_before() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        let mut file = fs::File::create(root.path().join("a.dcm")).unwrap();
        file.write_all(b"half").unwrap();
        file.flush().unwrap();
        // Creating it is an event of its own for the kernel, and none for us.
        assert_eq!(watch.wait(LONG).unwrap(), []);
        file.write_all(b"half").unwrap();
        drop(file);
        let events = watch.wait(LONG).unwrap();
        assert!(
            matches!(events.last(), Some(Event::Arrived(found)) if found.name == "a.dcm" && found.length == 8),
            "{events:?}"
        );
    }

    #[test]
    fn renamed_files_and_files_in_new_folders_arrive() {
        let root = tempfile::tempdir().unwrap();
        let aside = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("old")).unwrap();
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        fs::write(root.path().join(".part"), "1").unwrap();
        fs::rename(root.path().join(".part"), root.path().join("old/renamed.dcm")).unwrap();
        fs::create_dir(aside.path().join("study")).unwrap();
        fs::write(aside.path().join("study/inside.dcm"), "1").unwrap();
        fs::rename(aside.path().join("study"), root.path().join("study")).unwrap();
        assert_eq!(arrivals(&mut watch, 2), ["old/renamed.dcm", "study/inside.dcm"]);
        fs::write(root.path().join("study/later.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["study/later.dcm"]);
    }
}
