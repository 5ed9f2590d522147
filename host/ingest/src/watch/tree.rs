//! A tree of folders under inotify, for as long as its root stays where it is.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Event, Identity};
use crate::folder::{Folder, Scanned, Visit, is_hidden};

/// Bytes for events of one read: some hundreds of events with names of ordinary length.
const EVENT_BUFFER: usize = 32 << 10;

/// How often the tree is gone through for folders that are not watched: because they could not be read when they came,
/// or nested too deep before somebody moved them. Rare enough that listing some ten thousand folders is no load, and
/// often enough that nobody has to start the device again after mending a folder's rights.
const LOOK_FOR_FOLDERS_EVERY: Duration = Duration::from_secs(5 * 60);

/// How long a file that came may have no writer before it counts as linked into place. Whoever makes a file opens it at
/// once.
const LINKED_AFTER: Duration = Duration::from_millis(500);
/// Files that came and were not closed yet, at most. Beyond, the folder is scanned again: writers that hold more files
/// open at once are none that this is for.
const MOST_OPEN: usize = 1 << 16;

/// What is watched.
pub(super) struct Tree {
    folder: Folder,
    inotify: Inotify,
    pub(super) watched: HashMap<WatchDescriptor, PathBuf>,
    root: Identity,
    root_descriptor: WatchDescriptor,
    is_gone: bool,
    pub(super) look_for_folders_at: Instant,
    created: HashMap<PathBuf, Created>,
}

/// A file that came and was not closed by a writer since.
#[derive(Debug)]
struct Created {
    since: Instant,
    /// How often it is open, as far as the kernel tells: it takes equal events that follow one another as one.
    open: u32,
}

/// What the kernel tells.
struct Told {
    descriptor: WatchDescriptor,
    mask: EventMask,
    name: Option<OsString>,
}

impl Tree {
    /// Watches the folder and all folders in it.
    ///
    /// # Errors
    /// The root cannot be watched, or the device has no room for more watches.
    pub(super) fn watch(folder: &Folder) -> io::Result<Self> {
        let inotify = Inotify::init()?;
        let before = Identity::of(folder.path());
        // The root itself has to be watched; what is wrong with a folder in it is that folder's trouble.
        let root_descriptor = inotify.watches().add(folder.path(), mask())?;
        // Another may have been put in its place at the same moment.
        let root = Identity::of(folder.path()).filter(|root| Some(*root) == before);
        let root = root.ok_or(io::ErrorKind::NotFound)?;
        let mut tree = Self {
            folder: folder.clone(),
            inotify,
            watched: HashMap::from([(root_descriptor.clone(), folder.path().to_owned())]),
            root,
            root_descriptor,
            is_gone: false,
            look_for_folders_at: after(LOOK_FOR_FOLDERS_EVERY),
            created: HashMap::new(),
        };
        // What is left alone is told of by the scan.
        tree.enter(folder.path())?;
        Ok(tree)
    }

    pub(super) fn folders(&self) -> usize {
        self.watched.len()
    }

    /// The folder that was found at the root.
    pub(super) const fn root(&self) -> Identity {
        self.root
    }

    /// Whether the root was taken away, wherever its path leads now.
    pub(super) const fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// Waits for at most `timeout` and returns what happened.
    ///
    /// # Errors
    /// The kernel fails, or has no room for more watches.
    pub(super) fn wait(&mut self, timeout: Duration) -> io::Result<Vec<Event>> {
        if Instant::now() >= self.look_for_folders_at {
            self.look_for_folders_at = after(LOOK_FOR_FOLDERS_EVERY);
            let root = self.folder.path().to_owned();
            let found = self.enter(&root)?.found;
            if !found.is_empty() {
                return Ok(found.into_iter().map(Event::Unsettled).collect());
            }
        }
        let mut events = Vec::new();
        for told in self.told(timeout)? {
            self.take(told, &mut events)?;
        }
        self.linked(&mut events);
        Ok(events)
    }

    /// What the kernel tells within a time.
    fn told(&mut self, timeout: Duration) -> io::Result<Vec<Told>> {
        let timeout = if self.created.is_empty() { timeout } else { timeout.min(LINKED_AFTER) };
        let timeout = Timespec {
            tv_sec: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: timeout.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&self.inotify, PollFlags::IN)], Some(&timeout)) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(Vec::new()),
            Ok(_) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut buffer = vec![0; EVENT_BUFFER];
        match self.inotify.read_events(&mut buffer) {
            Ok(events) => Ok(events
                .map(|event| Told {
                    descriptor: event.wd.clone(),
                    mask: event.mask,
                    name: event.name.map(ToOwned::to_owned),
                })
                .collect()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }

    /// Takes in what the kernel tells.
    fn take(&mut self, told: Told, events: &mut Vec<Event>) -> io::Result<()> {
        let Told { descriptor, mask, name } = told;
        if mask.contains(EventMask::Q_OVERFLOW) {
            tracing::warn!("events of the input folder were lost; it is scanned again");
            return self.lose(events);
        }
        if mask.contains(EventMask::IGNORED) {
            self.is_gone |= descriptor == self.root_descriptor;
            if let Some(folder) = self.watched.remove(&descriptor) {
                self.created.retain(|path, _| path.parent() != Some(&*folder));
            }
            return Ok(());
        }
        let (Some(folder), Some(name)) = (self.watched.get(&descriptor), name) else { return Ok(()) };
        let path = folder.join(name);
        if mask.contains(EventMask::ISDIR) {
            // Listing a folder is told of too.
            if mask.intersects(EventMask::CREATE | EventMask::MOVED_TO) && !is_hidden(&path) {
                // Files may have come into the new folder before it was watched.
                let Scanned { found, ignored } = self.enter(&path)?;
                ignored.warn();
                events.extend(found.into_iter().map(Event::Unsettled));
            }
        } else if mask.intersects(EventMask::CLOSE_WRITE | EventMask::MOVED_TO) {
            self.created.remove(&path);
            events.extend(self.folder.look_at(&path).map(Event::Arrived));
        } else if mask.contains(EventMask::CREATE) {
            if self.created.len() >= MOST_OPEN {
                tracing::warn!("too many files of the input folder are open at once; it is scanned again");
                return self.lose(events);
            }
            self.created.insert(path, Created { since: Instant::now(), open: 0 });
        } else if let Some(created) = self.created.get_mut(&path) {
            if mask.contains(EventMask::OPEN) {
                created.open = created.open.saturating_add(1);
            } else if mask.contains(EventMask::CLOSE_NOWRITE) {
                created.open = created.open.saturating_sub(1);
            }
        }
        Ok(())
    }

    /// Lets the caller scan. Folders that came are watched before, so that no file falls between: what came since is
    /// watched or found. The files of new folders are not told of one by one, the scan finds them.
    fn lose(&mut self, events: &mut Vec<Event>) -> io::Result<()> {
        self.created.clear();
        let root = self.folder.path().to_owned();
        self.enter(&root)?;
        events.push(Event::Lost);
        Ok(())
    }

    /// Files that came without a writer: linked into place under a second name, or the first one. No other event tells
    /// of them.
    fn linked(&mut self, events: &mut Vec<Event>) {
        let is_linked = |created: &Created| created.open == 0 && created.since.elapsed() >= LINKED_AFTER;
        for (path, _) in self.created.extract_if(|_, created| is_linked(created)) {
            events.extend(self.folder.look_at(&path).map(Event::Unsettled));
        }
    }

    /// Watches a folder and those in it, and returns the files in those that were not watched at this path before.
    /// A folder that cannot be watched is skipped, until the tree is gone through again.
    fn enter(&mut self, path: &Path) -> io::Result<Scanned> {
        let mut scanned = Scanned::default();
        let mut refused = None;
        let folder = self.folder.clone();
        folder.descend(path, &mut scanned, &mut |entered| {
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
            Some(error) => Err(error),
            None => Ok(scanned),
        }
    }

    /// Ends the watch of one folder, as if it had not let itself be watched.
    #[cfg(test)]
    pub(super) fn forget(&mut self, path: &Path) {
        let descriptor = self.watched.iter().find(|(_, watched)| *watched == path).unwrap().0.clone();
        self.watched.remove(&descriptor);
        self.inotify.watches().remove(descriptor).unwrap();
    }
}

/// A file that is linked into place is created and neither opened nor closed; one that is written is all three.
fn mask() -> WatchMask {
    WatchMask::CLOSE_WRITE
        | WatchMask::MOVED_TO
        | WatchMask::CREATE
        | WatchMask::OPEN
        | WatchMask::CLOSE_NOWRITE
        | WatchMask::ONLYDIR
        | WatchMask::DONT_FOLLOW
}

/// Whether a watch was refused because the device has no room for more, which means that inputs would be missed without
/// end, and not because of one folder.
pub(super) fn is_of_the_device(error: &io::Error) -> bool {
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
