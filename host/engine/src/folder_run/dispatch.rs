//! Who works on what: so many inputs at once, and no file by two workers.

use std::collections::{HashMap, VecDeque};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use martello_ingest::Found;
use martello_store::Journal;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, mpsc};
use tokio::task::{JoinError, JoinSet};

use super::disk::{Disk, Step};
use super::scribe::LARGEST_BATCH;
use super::worker::{Handled, Worker};
use super::{RunError, WAITING_FOR_SCRIBE};

/// What became of inputs that did not reach the scribe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Worked {
    /// Inputs that were complete before.
    pub(super) skipped: u64,
    /// Inputs that were not completed because the run is stopped.
    pub(super) left: u64,
    /// Inputs at which the device failed while their lost outputs were made again.
    pub(super) failed_again: u64,
}

/// Works on what the feeder finds, at most `concurrency` at a time. After an error nothing more is begun, and what is
/// at work is awaited; where the run is abandoned, it is broken off.
///
/// A file may be told of again while it is at work: its writer closed it twice, or the folder was scanned again. The
/// second look waits until the first has been committed, so that the journal knows what it is about.
pub(super) async fn dispatch(
    worker: Arc<Worker>,
    mut found: mpsc::Receiver<Found>,
    concurrency: NonZero<usize>,
    count: &AtomicUsize,
) -> Result<Worked, RunError> {
    let most = concurrency.get() + WAITING_FOR_SCRIBE + LARGEST_BATCH;
    // Each path at work sends its release once, so that the channel has room for all of them.
    let (release, mut released) = mpsc::channel::<Released>(most);
    let mut at_work = AtWork::default();
    let mut tasks: JoinSet<Result<Handled, RunError>> = JoinSet::new();
    let mut worked = Worked::default();
    let mut failed = None;
    let mut abandoned = false;
    loop {
        let room = tasks.len() < concurrency.get() && at_work.paths.len() < most && failed.is_none();
        if room && let Some(input) = at_work.next() {
            let ticket = Ticket::of(&input, release.clone());
            let worker = Arc::clone(&worker);
            tasks.spawn(async move { worker.handle(input, ticket).await });
            continue;
        }
        count.store(at_work.paths.len(), Ordering::Relaxed);
        let ended = found.is_closed() && found.is_empty() || failed.is_some();
        if ended && at_work.paths.is_empty() && tasks.is_empty() {
            break;
        }
        tokio::select! {
            Some(released) = released.recv() => at_work.release(released),
            Some(joined) = tasks.join_next() => match handled(joined) {
                Ok(Handled::Now | Handled::Left) => {}
                Ok(Handled::Before) => worked.skipped += 1,
                Ok(Handled::Stopped) => worked.left += 1,
                Ok(Handled::FailedAgain) => worked.failed_again += 1,
                Err(error) => drop(failed.get_or_insert(error)),
            },
            // Nothing is found in a quiet folder; the end of the scribe is not to wait for that.
            () = worker.to_scribe.closed(), if failed.is_none() => failed = Some(RunError::Worker),
            // Each ticket takes its start back. What is begun from now on sees by itself that the run is stopped.
            () = worker.stop.abandoned(), if !abandoned => {
                abandoned = true;
                tasks.abort_all();
            },
            // A channel that has ended is ready without end.
            input = found.recv(), if room && !ended => match input {
                Some(input) => if at_work.add(input).is_some() { worker.observer.completed(None) },
                None => found.close(),
            },
        }
        if failed.is_some() {
            // The feeder ends when it sees this, and so does whoever waits for the disk.
            found.close();
            worker.disk.give_up();
        }
    }
    failed.map_or(Ok(worked), Err)
}

fn handled(joined: Result<Result<Handled, RunError>, JoinError>) -> Result<Handled, RunError> {
    match joined {
        Err(error) if error.is_cancelled() => Ok(Handled::Stopped),
        joined => joined.map_err(|_panic| RunError::Worker)?,
    }
}

/// Files at work, and what waits for them.
#[derive(Default)]
struct AtWork {
    /// Beside each file, what was found of it since.
    paths: HashMap<PathBuf, Option<Found>>,
    ready: VecDeque<Found>,
}

impl AtWork {
    /// Takes a finding in, and returns an older one of the same file that is out of date by it.
    fn add(&mut self, found: Found) -> Option<Found> {
        match self.paths.get_mut(&found.path) {
            Some(waiting) => waiting.replace(found),
            None => {
                self.ready.push_back(found);
                None
            }
        }
    }

    /// The next input, which is at work from now on.
    fn next(&mut self) -> Option<Found> {
        while let Some(found) = self.ready.pop_front() {
            if let Some(waiting) = self.paths.get_mut(&found.path) {
                *waiting = Some(found);
                continue;
            }
            self.paths.insert(found.path.clone(), None);
            return Some(found);
        }
        None
    }

    fn release(&mut self, Released { path, again }: Released) {
        // What was found since is the same file or a later one.
        let found_since = self.paths.remove(&path).flatten();
        self.ready.extend(found_since.or(again));
    }
}

/// A file that is no longer at work.
pub(super) struct Released {
    path: PathBuf,
    /// It is to be worked on again.
    again: Option<Found>,
}

/// Goes with an input from when it is taken until it is committed. What is dropped before was not completed: its
/// start is taken back then, so that an end in good order is not taken for a crash.
pub(super) struct Ticket {
    path: PathBuf,
    release: mpsc::Sender<Released>,
    again: Option<Found>,
    started: Option<StartedInput>,
}

struct StartedInput {
    journal: Arc<Journal>,
    id: String,
    _turn: Turn,
}

/// Whether others are worked on beside an input.
pub(super) enum Turn {
    Beside { _guard: OwnedRwLockReadGuard<()> },
    Alone { _guard: OwnedRwLockWriteGuard<()> },
}

impl Ticket {
    pub(super) fn of(found: &Found, release: mpsc::Sender<Released>) -> Self {
        Self { path: found.path.clone(), release, again: None, started: None }
    }

    /// The input is to be worked on again: it could not be completed, through no fault of its own.
    pub(super) fn again(mut self, found: Found, disk: &Disk) -> Result<(), RunError> {
        if let Some(started) = &self.started {
            disk.insist(Step::Journal, || Ok(started.journal.take_back(&started.id)?))?;
            self.started = None;
        }
        self.again = Some(found);
        Ok(())
    }

    /// The journal has counted a start.
    pub(super) fn started(&mut self, journal: &Arc<Journal>, id: &str, turn: Turn) {
        let journal = Arc::clone(journal);
        self.started = Some(StartedInput { journal, id: id.to_owned(), _turn: turn });
    }

    /// The journal holds the outcome.
    pub(super) fn committed(mut self) {
        self.started = None;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        // A panic at this input counts as a crash: it would come again, and no run would get past it.
        if let Some(started) = self.started.take().filter(|_| !std::thread::panicking())
            && let Err(error) = started.journal.take_back(&started.id)
        {
            tracing::warn!(%error, "the start of an input that was broken off stays counted");
        }
        // There is room, or nobody who listens any more.
        let (path, again) = (std::mem::take(&mut self.path), self.again.take());
        let _ = self.release.try_send(Released { path, again });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, length: u64) -> Found {
        Found { path: path.into(), name: path.to_owned(), length, changed: 0 }
    }

    #[test]
    fn an_input_that_is_broken_off_in_good_order_is_not_blamed_and_one_that_panics_is() {
        let folder = tempfile::tempdir().unwrap();
        let binding = martello_store::Binding {
            bundle: martello_vocab::Digest::of(b""),
            pseudonym_key: "0a0b0c0d",
            key_of: &|_, _| None,
        };
        let memory = martello_store::place::Tree::open(folder.path()).unwrap();
        let journal = Arc::new(Journal::open(&memory, &binding, martello_store::Remains::Nothing).unwrap());
        let (release, mut released) = mpsc::channel(3);
        let ticket = |id: &str| {
            let input = martello_store::Started { id, name: id, digest: None, fingerprint: (0, 0) };
            journal.start(&input).unwrap();
            let mut ticket = Ticket::of(&found(id, 0), release.clone());
            let guard = Arc::new(tokio::sync::RwLock::new(())).try_read_owned().unwrap();
            ticket.started(&journal, id, Turn::Beside { _guard: guard });
            ticket
        };
        drop(ticket("broken off"));
        let panics = ticket("panics");
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _ticket = panics;
            panic!("on purpose");
        }));
        assert!(ended.is_err());
        ticket("committed").committed();
        let starts = ["broken off", "panics"].map(|id| journal.starts(id).unwrap());
        assert_eq!(starts, [0, 1]);
        // Each is released, however it ended.
        let paths: Vec<_> =
            std::iter::from_fn(|| released.try_recv().ok()).map(|released| released.path).collect();
        assert_eq!(paths, ["broken off", "panics", "committed"].map(PathBuf::from));
    }

    #[test]
    fn a_file_is_at_work_once_and_what_is_found_of_it_since_waits_for_its_release() {
        let mut at_work = AtWork::default();
        // Twice before it is taken, twice while it is at work; a neighbour goes on meanwhile.
        for input in [found("a", 1), found("a", 2), found("b", 1)] {
            assert_eq!(at_work.add(input), None);
        }
        assert_eq!(at_work.next(), Some(found("a", 1)));
        assert_eq!(at_work.next(), Some(found("b", 1)));
        assert_eq!(at_work.add(found("a", 3)), Some(found("a", 2)), "the older finding is out of date");
        assert_eq!(at_work.next(), None);
        let release = |path: &str, again| Released { path: path.into(), again };
        at_work.release(release("b", Some(found("b", 1))));
        assert_eq!(at_work.next(), Some(found("b", 1)), "it is worked on again");
        at_work.release(release("b", None));
        assert_eq!(at_work.next(), None);
        at_work.release(release("a", Some(found("a", 1))));
        assert_eq!(at_work.next(), Some(found("a", 3)), "what was found since is later");
        at_work.release(release("a", None));
        assert!(at_work.paths.is_empty() && at_work.ready.is_empty());
    }
}
