//! Finding inputs: what is there, then what comes.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use martello_ingest::{Event, Folder, Found, Ignored, IngestError, Watch};
use tokio::sync::mpsc;

use super::{Observer, RunError, Stop, WatchMode};

/// How long a file that was found, not announced, must be quiet before it counts as written.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Turns without a file after which the watcher counts as idle.
const TURNS_UNTIL_IDLE: u32 = 4;

/// How long the watcher waits before it looks at unsettled files and at whether to stop.
const WATCH_TURN: Duration = Duration::from_millis(500);

/// Finds inputs.
pub(super) struct Feeder {
    pub(super) folder: Folder,
    pub(super) watch: WatchMode,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Stop,
    /// How many inputs are at work.
    pub(super) at_work: Arc<AtomicUsize>,
    /// After how long a folder in which nothing waits is scanned again, where what is left in it is to be tried again.
    pub(super) again: Option<Duration>,
}

/// What a feeder has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Fed {
    /// Inputs that were found and not sent because the run is stopped.
    pub(super) left: u64,
    /// What the last scan left alone.
    pub(super) ignored: Ignored,
}

impl Feeder {
    /// Sends what is found, until all of it is sent or the run is stopped.
    pub(super) fn work(&self, to_workers: &mpsc::Sender<Found>) -> Result<Fed, RunError> {
        // The watch begins before the scan, so that nothing falls between the two.
        let watch = match self.watch {
            WatchMode::Watch => Some(Watch::begin(&self.folder)?),
            WatchMode::Once => None,
        };
        let mut fed = Fed::default();
        let mut unsettled = Unsettled::default();
        let mut total = 0;
        let mut send = |found: Found| {
            total += 1;
            self.observer.found(total);
            // A closed channel means that the run ends; the loop sees it at its next turn.
            to_workers.blocking_send(found).is_ok()
        };
        let mut scanned = self.scan(&mut fed.ignored)?.into_iter();
        while !self.stop.is_asked()
            && let Some(found) = scanned.next()
        {
            if watch.is_some() && !found.is_settled(SystemTime::now(), SETTLED_AFTER) {
                unsettled.add(found);
            } else if !send(found) {
                return Ok(fed);
            }
        }
        fed.left = scanned.len() as u64;
        if let Some(watch) = watch {
            self.watch(watch, to_workers, unsettled, &mut send, &mut fed)?;
        }
        Ok(fed)
    }

    /// Sends what comes, until the run is stopped.
    fn watch(
        &self,
        mut watch: Watch,
        to_workers: &mpsc::Sender<Found>,
        mut unsettled: Unsettled,
        send: &mut dyn FnMut(Found) -> bool,
        fed: &mut Fed,
    ) -> Result<(), RunError> {
        let mut quiet = Quiet::default();
        let mut scanned = Instant::now();
        let mut scan_is_due = false;
        while !self.stop.is_asked() && !to_workers.is_closed() {
            let turn = if unsettled.0.is_empty() { WATCH_TURN } else { SETTLED_AFTER / 4 };
            let mut ready = Vec::new();
            for event in watch.wait(turn)? {
                match event {
                    Event::Arrived(found) => {
                        unsettled.0.remove(&found.path);
                        ready.push(found);
                    }
                    Event::Unsettled(found) => unsettled.add(found),
                    Event::Lost => scan_is_due = true,
                }
            }
            if scan_is_due {
                match self.scan(&mut fed.ignored) {
                    Ok(found) => {
                        scan_is_due = false;
                        found.into_iter().for_each(|found| unsettled.add(found));
                    }
                    // The folder is gone again; the watch tells when it is back.
                    Err(error) => tracing::debug!(%error, "the input folder cannot be scanned yet"),
                }
            }
            ready.extend(unsettled.settled(&self.folder, SystemTime::now()));
            let waiting = to_workers.max_capacity() - to_workers.capacity();
            let known = ready.len() + unsettled.0.len() + waiting + self.at_work.load(Ordering::Relaxed);
            if quiet.turn(known) {
                crate::footprint::release();
            }
            if known == 0 && self.again.is_some_and(|again| scanned.elapsed() >= again) {
                scanned = Instant::now();
                scan_is_due = true;
            }
            if !ready.into_iter().all(&mut *send) {
                return Ok(());
            }
        }
        fed.left += unsettled.0.len() as u64;
        Ok(())
    }

    /// Scans the folder, and tells of what is left alone in it where that is something else than before.
    fn scan(&self, ignored: &mut Ignored) -> Result<Vec<Found>, IngestError> {
        let scanned = self.folder.survey()?;
        // What the device keeps beside what it received is its own.
        if self.again.is_none() && scanned.ignored != *ignored {
            scanned.ignored.warn();
            *ignored = scanned.ignored;
        }
        Ok(scanned.found)
    }
}

/// Files that may still be written to, each once.
#[derive(Default)]
struct Unsettled(BTreeMap<PathBuf, Found>);

impl Unsettled {
    fn add(&mut self, found: Found) {
        self.0.insert(found.path.clone(), found);
    }

    /// Looks at each as it is now, and takes out those that are settled; those that are gone are dropped.
    fn settled(&mut self, folder: &Folder, now: SystemTime) -> Vec<Found> {
        self.0 = self.0.keys().filter_map(|path| Some((path.clone(), folder.look_at(path)?))).collect();
        let settled = self.0.extract_if(.., |_, found| found.is_settled(now, SETTLED_AFTER));
        settled.map(|(_, found)| found).collect()
    }
}

/// Turns in which nothing was to do.
#[derive(Debug, Default)]
struct Quiet(u32);

impl Quiet {
    /// Counts a turn with so many inputs known that are not complete. Whether the watcher has just become idle.
    fn turn(&mut self, inputs: usize) -> bool {
        self.0 = if inputs == 0 { self.0.saturating_add(1) } else { 0 };
        self.0 == TURNS_UNTIL_IDLE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Silent;

    impl Observer for Silent {
        fn found(&self, _total: u64) {}
        fn completed(&self, _line: Option<&crate::ReportLine>) {}
    }

    /// A feeder that watches a folder until it is stopped.
    fn watching(root: &std::path::Path, stop: &Stop) -> Feeder {
        Feeder {
            folder: Folder::open(root).unwrap(),
            watch: WatchMode::Watch,
            observer: Arc::new(Silent),
            stop: stop.clone(),
            at_work: Arc::default(),
            again: None,
        }
    }

    /// The next input that is told of, if one is within a time.
    fn next(found: &mut mpsc::Receiver<Found>, within: Duration) -> Option<Found> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async { tokio::time::timeout(within, found.recv()).await.ok().flatten() })
    }

    #[test]
    fn what_changed_while_events_were_lost_is_told_of_as_it_is_in_the_end() {
        let root = tempfile::tempdir().unwrap();
        let most = std::fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
        let most: usize = most.trim().parse().unwrap();
        let stop = Stop::default();
        let (send, mut found) = mpsc::channel(1);
        let feeder = watching(root.path(), &stop);
        let feeder = std::thread::spawn(move || feeder.work(&send));
        // While nobody takes what is told, nobody reads what the kernel tells either.
        let names = ["a", "b", "c", "d"];
        for name in names {
            std::fs::write(root.path().join(name), "first").unwrap();
        }
        assert!(next(&mut found, Duration::from_secs(20)).is_some());
        for _ in 0..=most / 2 {
            for name in ["x", "y"] {
                drop(std::fs::File::create(root.path().join(name)).unwrap());
            }
        }
        std::fs::write(root.path().join("a"), "changed since").unwrap();
        std::fs::write(root.path().join("new"), "new").unwrap();
        let (mut told, begun) = (BTreeMap::new(), Instant::now());
        while told.get("a") != Some(&13) || told.get("new") != Some(&3) {
            assert!(begun.elapsed() < Duration::from_secs(60), "{told:?}");
            if let Some(found) = next(&mut found, Duration::from_secs(20)) {
                told.insert(found.name, found.length);
            }
        }
        stop.complete();
        drop(found);
        feeder.join().unwrap().unwrap();
    }

    #[test]
    fn files_of_a_folder_that_was_gone_for_a_while_are_told_of_when_it_is_back() {
        let above = tempfile::tempdir().unwrap();
        let root = above.path().join("in");
        std::fs::create_dir(&root).unwrap();
        let stop = Stop::default();
        let (send, mut found) = mpsc::channel(1);
        let feeder = watching(&root, &stop);
        std::fs::write(root.join("before"), "1").unwrap();
        let feeder = std::thread::spawn(move || feeder.work(&send));
        // It watches now.
        assert_eq!(next(&mut found, Duration::from_secs(20)).unwrap().name, "before");
        for name in ["first", "second"] {
            // Aside, and put in place whole.
            let aside = above.path().join("aside");
            std::fs::create_dir(&aside).unwrap();
            std::fs::write(aside.join(name), "1").unwrap();
            std::fs::remove_dir_all(&root).unwrap();
            std::fs::rename(&aside, &root).unwrap();
            let told = next(&mut found, Duration::from_secs(20)).unwrap();
            assert_eq!(told.name, name);
        }
        stop.complete();
        drop(found);
        feeder.join().unwrap().unwrap();
    }

    #[test]
    fn what_is_left_alone_is_counted_but_in_a_folder_of_the_devices_own() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join(".hidden"), "1").unwrap();
        let (send, found) = mpsc::channel(1);
        let feeder = Feeder { watch: WatchMode::Once, ..watching(root.path(), &Stop::default()) };
        let hidden = Ignored { hidden: 1, ..Ignored::default() };
        assert_eq!(feeder.work(&send).unwrap(), Fed { left: 0, ignored: hidden });
        let own = Feeder { again: Some(Duration::from_secs(1)), ..feeder };
        assert_eq!(own.work(&send).unwrap(), Fed::default());
        drop(found);
    }

    #[test]
    fn what_is_left_in_a_folder_where_nothing_waits_is_told_of_again_where_that_is_wanted() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("left"), "1").unwrap();
        let stop = Stop::default();
        let (to_workers, mut found) = mpsc::channel(1);
        let feeder = Feeder { again: Some(Duration::ZERO), ..watching(root.path(), &stop) };
        let feeder = std::thread::spawn(move || feeder.work(&to_workers).unwrap());
        // The first time because it is there, the others because it still is.
        let begun = Instant::now();
        let mut told = 0;
        while told < 3 {
            assert!(begun.elapsed() < Duration::from_secs(20), "told {told} times");
            match found.try_recv() {
                Ok(found) => {
                    assert_eq!(found.name, "left");
                    told += 1;
                }
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        stop.complete();
        drop(found);
        feeder.join().unwrap();
    }

    #[test]
    fn the_watcher_becomes_idle_once_after_turns_without_inputs_that_wait_or_are_at_work() {
        let mut quiet = Quiet::default();
        let turns = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 0].map(|inputs| quiet.turn(inputs));
        assert_eq!(turns.iter().position(|idle| *idle), Some(7));
        assert_eq!(turns.iter().filter(|idle| **idle).count(), 1);
    }

    #[test]
    fn a_file_that_is_being_written_when_the_watch_begins_is_told_of_once_and_when_it_is_whole() {
        let root = tempfile::tempdir().unwrap();
        let stop = Stop::default();
        let file = std::fs::File::create(root.path().join("a")).unwrap();
        let feeder = watching(root.path(), &stop);
        let (send, mut receive) = mpsc::channel(3);
        let feeder = std::thread::spawn(move || feeder.work(&send));
        // Written to again and again, it never settles; where this machine stood still for that long, it did.
        let (begun, mut written, mut stood_still) = (Instant::now(), Instant::now(), false);
        while begun.elapsed() < SETTLED_AFTER + Duration::from_millis(500) {
            std::io::Write::write_all(&mut &file, b"w").unwrap();
            stood_still |= written.elapsed() > SETTLED_AFTER / 2;
            written = Instant::now();
            let told = next(&mut receive, Duration::from_millis(20));
            stood_still |= written.elapsed() > SETTLED_AFTER / 2;
            assert!(told.is_none() || stood_still, "it was changed a moment ago");
        }
        let length = file.metadata().unwrap().len();
        drop(file);
        // What was told before, if anything, was the file at an earlier length.
        let whole = |found: &Found| (found.name.as_str(), found.length) == ("a", length);
        while !whole(&next(&mut receive, Duration::from_secs(30)).unwrap()) {}
        let quiet = SETTLED_AFTER + Duration::from_secs(1);
        assert!(next(&mut receive, quiet).is_none() || stood_still, "it was told of already");
        stop.complete();
        feeder.join().unwrap().unwrap();
    }

    #[test]
    fn a_file_that_is_told_of_twice_settles_once_and_one_that_is_gone_never() {
        let root = tempfile::tempdir().unwrap();
        let folder = Folder::open(root.path()).unwrap();
        for name in ["stays", "goes"] {
            std::fs::write(root.path().join(name), "1").unwrap();
        }
        let mut unsettled = Unsettled::default();
        for found in [folder.scan().unwrap(), folder.scan().unwrap()].concat() {
            unsettled.add(found);
        }
        std::fs::remove_file(root.path().join("goes")).unwrap();
        assert_eq!(unsettled.settled(&folder, SystemTime::now()), []);
        let later = SystemTime::now() + SETTLED_AFTER;
        let names: Vec<_> = unsettled.settled(&folder, later).into_iter().map(|found| found.name).collect();
        assert_eq!(names, ["stays"]);
        assert!(unsettled.0.is_empty());
    }
}
