//! Watching a folder with inotify.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::folder::{Folder, Found, IngestError, Visit, is_hidden};

/// Bytes for events of one read: some hundreds of events with names of ordinary length.
const EVENT_BUFFER: usize = 32 << 10;

/// How often the tree is gone through for folders that are not watched: because they could not be read when they came,
/// or nested too deep before somebody moved them. Rare enough that listing some ten thousand folders is no load, and
/// often enough that nobody has to start the device again after mending a folder's rights.
const LOOK_FOR_FOLDERS_EVERY: Duration = Duration::from_secs(5 * 60);

/// A watched folder. Drop it to stop watching.
pub struct Watch {
    folder: Folder,
    inotify: Inotify,
    watched: HashMap<WatchDescriptor, PathBuf>,
    look_for_folders_at: Instant,
}

/// The folders in it may be named after patients.
impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("folders", &self.watched.len()).finish_non_exhaustive()
    }
}

/// What happened in a watched folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A file was closed after writing, or renamed into place.
    Arrived(Found),
    /// A file stands in a folder that has just come, and its writer may still be at work: look at it again until it
    /// is settled.
    Unsettled(Found),
    /// Events were lost: scan the folder again. Folders that came meanwhile are watched by now.
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
        let look_for_folders_at = after(LOOK_FOR_FOLDERS_EVERY);
        let mut watch =
            Self { folder: folder.clone(), inotify, watched: HashMap::new(), look_for_folders_at };
        // The root itself has to be watched; what is wrong with a folder in it is that folder's trouble.
        let root = folder.path().to_owned();
        let descriptor = watch.inotify.watches().add(&root, mask()).map_err(unwatchable)?;
        watch.watched.insert(descriptor, root.clone());
        watch.enter(&root)?;
        Ok(watch)
    }

    /// Waits for at most `timeout` and returns what happened; nothing where nothing did. From time to time the tree is
    /// gone through for folders that are not watched yet, and their files are told of.
    ///
    /// # Errors
    /// The kernel fails, or has no room for more watches.
    pub fn wait(&mut self, timeout: Duration) -> Result<Vec<Event>, IngestError> {
        let root = self.folder.path().to_owned();
        let unwatchable = |source| IngestError::Unwatchable { path: root.clone(), source };
        if Instant::now() >= self.look_for_folders_at {
            self.look_for_folders_at = after(LOOK_FOR_FOLDERS_EVERY);
            let found = self.enter(&root)?;
            if !found.is_empty() {
                return Ok(found.into_iter().map(Event::Unsettled).collect());
            }
        }
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
                // Before the caller scans, so that no file falls between: what came since is watched or found. The
                // files of new folders are not told of one by one, the scan finds them.
                tracing::warn!("events of the input folder were lost; it is scanned again");
                self.enter(&root)?;
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
                if !is_hidden(&path) {
                    events.extend(self.enter(&path)?.into_iter().map(Event::Unsettled));
                }
            } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO)
                && let Some(found) = self.folder.look_at(&path)
            {
                events.push(Event::Arrived(found));
            }
        }
        Ok(events)
    }

    /// Watches a folder and those in it, and returns the files in those that were not watched at this path before.
    /// A folder that cannot be watched is skipped, until the tree is gone through again.
    fn enter(&mut self, path: &Path) -> Result<Vec<Found>, IngestError> {
        let mut found = Vec::new();
        let mut refused = None;
        let folder = self.folder.clone();
        folder.descend(path, &mut found, &mut |entered| {
            if refused.is_some() {
                return Visit::Nothing;
            }
            match self.inotify.watches().add(entered, mask()) {
                // The kernel gives a folder that is watched already the same descriptor again.
                Ok(descriptor) => match self.watched.insert(descriptor, entered.to_owned()) {
                    Some(before) if before == entered => Visit::FoldersOnly,
                    _ => Visit::Whole,
                },
                Err(error) if is_of_the_device(&error) => {
                    refused = Some(error);
                    Visit::Nothing
                }
                // It is gone again, and needs no watch.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Visit::Nothing,
                Err(error) => {
                    // The path may name a patient: not at a level that is kept.
                    tracing::warn!(%error, "a folder of inputs cannot be watched and is skipped for now");
                    tracing::debug!(path = %entered.display(), "this is the folder");
                    Visit::Nothing
                }
            }
        });
        match refused {
            Some(source) => Err(IngestError::Unwatchable { path: folder.path().to_owned(), source }),
            None => Ok(found),
        }
    }
}

fn mask() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_TO
        | WatchMask::CREATE
        | WatchMask::ONLYDIR
        | WatchMask::DONT_FOLLOW
}

/// Whether a watch was refused because the device has no room for more, which means that inputs would be missed without
/// end, and not because of one folder.
fn is_of_the_device(error: &io::Error) -> bool {
    use rustix::io::Errno;
    matches!(
        Errno::from_io_error(error),
        Some(Errno::NOSPC | Errno::NOMEM | Errno::MFILE | Errno::NFILE | Errno::BADF)
    )
}

fn after(time: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(time).unwrap_or(now)
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

    /// Makes folders in one another, each with the longest name there is, where no path reaches any more.
    fn nest(root: &Path, count: usize) {
        use rustix::fs::{Mode, OFlags, mkdirat, open, openat};
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
        let mut folder = open(root, flags, Mode::empty()).unwrap();
        let name = "n".repeat(255);
        for _ in 0..count {
            mkdirat(&folder, &name, Mode::RWXU).unwrap();
            folder = openat(&folder, &name, flags, Mode::empty()).unwrap();
        }
    }

    #[test]
    fn a_folder_that_cannot_be_watched_does_not_end_the_watch() {
        let root = tempfile::tempdir().unwrap();
        let aside = tempfile::tempdir().unwrap();
        for folder in [root.path(), aside.path()] {
            fs::create_dir(folder.join("long")).unwrap();
            // 20 of them are longer than a path may be, and fewer than may nest.
            nest(&folder.join("long"), 20);
        }
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        fs::rename(aside.path().join("long"), root.path().join("long-too")).unwrap();
        fs::write(root.path().join("after.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["after.dcm"]);
    }

    #[test]
    fn only_trouble_of_the_whole_device_ends_a_watch() {
        use rustix::io::Errno;
        for errno in [Errno::NOSPC, Errno::NOMEM, Errno::MFILE, Errno::NFILE] {
            assert!(is_of_the_device(&errno.into()), "{errno}");
        }
        for errno in [Errno::ACCESS, Errno::NAMETOOLONG, Errno::NOTDIR, Errno::LOOP, Errno::NOENT, Errno::IO]
        {
            assert!(!is_of_the_device(&errno.into()), "{errno}");
        }
    }

    #[test]
    fn folders_that_come_one_by_one_nest_no_deeper_than_those_that_were_there() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        let mut watch = Watch::begin(&folder).unwrap();
        let mut deepest = root.path().to_owned();
        for depth in 1..=40 {
            deepest.push("d");
            fs::create_dir(&deepest).unwrap();
            fs::write(deepest.join("a.dcm"), "1").unwrap();
            if depth <= 32 {
                arrivals(&mut watch, 1);
            }
        }
        fs::write(root.path().join("end.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["end.dcm"], "nothing from below came before");
        assert_eq!(watch.watched.len(), 33);
        assert_eq!(folder.scan().unwrap().len(), 33);
    }

    #[test]
    fn hidden_folders_are_left_alone_when_they_come_too() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        fs::create_dir(root.path().join(".hidden")).unwrap();
        assert_eq!(watch.wait(LONG).unwrap(), []);
        fs::write(root.path().join(".hidden/a.dcm"), "1").unwrap();
        fs::write(root.path().join("end.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["end.dcm"]);
    }

    #[test]
    fn folders_that_came_while_events_were_lost_are_watched_when_the_loss_is_told() {
        let root = tempfile::tempdir().unwrap();
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        let most = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        // Two in turn, for the kernel takes equal events that follow one another as one.
        for _ in 0..=most / 2 {
            for name in ["a.dcm", "b.dcm"] {
                drop(fs::File::create(root.path().join(name)).unwrap());
            }
        }
        fs::create_dir_all(root.path().join("new/inner")).unwrap();
        while !watch.wait(LONG).unwrap().contains(&Event::Lost) {}
        fs::write(root.path().join("new/inner/later.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["new/inner/later.dcm"]);
    }

    #[test]
    fn a_folder_that_could_not_be_watched_when_it_came_is_found_later_with_its_files() {
        let root = tempfile::tempdir().unwrap();
        for name in ["known", "missed"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("early.dcm"), "1").unwrap();
        }
        let mut watch = Watch::begin(&Folder::open(root.path()).unwrap()).unwrap();
        // As if it had not let itself be watched.
        let missed = root.path().join("missed").canonicalize().unwrap();
        let descriptor = watch.watched.iter().find(|(_, path)| **path == missed).unwrap().0.clone();
        watch.watched.remove(&descriptor);
        watch.inotify.watches().remove(descriptor).unwrap();
        assert_eq!(watch.wait(LONG).unwrap(), [], "the kernel tells that the watch is gone");
        watch.look_for_folders_at = Instant::now();
        let events = watch.wait(LONG).unwrap();
        assert!(
            matches!(&events[..], [Event::Unsettled(found)] if found.name == "missed/early.dcm"),
            "{events:?}"
        );
        fs::write(root.path().join("missed/later.dcm"), "1").unwrap();
        assert_eq!(arrivals(&mut watch, 1), ["missed/later.dcm"]);
    }
}
