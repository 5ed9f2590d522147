//! A disk that is full or fails for a moment: the run waits and tries again, and nothing is blamed on an input.
//!
//! What is tried again is a step that may be: a transaction, a file under a temporary name. Outputs that could not be made
//! durable are not: after a failed `fsync` a second one says nothing, so that their inputs are worked on again.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use martello_vocab::code;

use super::{RunError, Stop, WatchMode};

/// How long a run waits for a disk that is full or fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskPatience {
    /// Before the first try; the wait is doubled until
    pub first: Duration,
    /// it is this long.
    pub longest: Duration,
    /// In all, where the run does not go on with what comes later: somebody waits for its end.
    pub once: Duration,
}

impl Default for DiskPatience {
    fn default() -> Self {
        Self {
            first: Duration::from_secs(1),
            longest: Duration::from_secs(30),
            once: Duration::from_secs(60),
        }
    }
}

/// How often a wait looks at whether to stop.
const TURN: Duration = Duration::from_millis(100);

/// The disk of a run.
pub(super) struct Disk {
    patience: DiskPatience,
    watch: WatchMode,
    stop: Stop,
    /// Steps that wait now. The run has told of the disk when the first of them began to wait.
    waiting: Mutex<usize>,
    /// How often the run has had to wait.
    waits: AtomicU64,
    /// The run ends on an error, and nobody waits any more.
    is_given_up: AtomicBool,
    #[cfg(test)]
    pub(super) faults: Faults,
}

/// A time in which a step waits for the disk.
pub(super) struct Spell<'a> {
    disk: &'a Disk,
    begun: Instant,
    wait: Duration,
    is_last: bool,
}

impl Disk {
    pub(super) fn new(patience: DiskPatience, watch: WatchMode, stop: Stop) -> Self {
        Self {
            patience,
            watch,
            stop,
            waiting: Mutex::default(),
            waits: AtomicU64::default(),
            is_given_up: AtomicBool::default(),
            #[cfg(test)]
            faults: Faults::default(),
        }
    }

    /// Does a step, and does it again while the disk is full or fails. May block for long.
    ///
    /// # Errors
    /// Those of the step that are not of the disk, at once; one of the disk where the run does not wait any longer.
    pub(super) fn insist<T>(
        &self,
        step: Step,
        mut work: impl FnMut() -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        let mut spell = None;
        loop {
            match self.attempt(step, &mut work) {
                Err(error) if error.is_of_the_disk() => {
                    spell.get_or_insert_with(|| self.suffer(&error)).pause(error)?;
                }
                done => return done,
            }
        }
    }

    /// Does a step once.
    pub(super) fn attempt<T>(
        &self,
        step: Step,
        work: impl FnOnce() -> Result<T, RunError>,
    ) -> Result<T, RunError> {
        #[cfg(test)]
        self.faults.before(step)?;
        let _ = step;
        work()
    }

    /// A step has failed for the disk and is to be tried again.
    pub(super) fn suffer(&self, error: &RunError) -> Spell<'_> {
        let mut waiting = self.waiting();
        if *waiting == 0 {
            self.waits.fetch_add(1, Ordering::Relaxed);
            let known = crate::explain::of(code::DISK_FULL);
            tracing::error!(
                code = code::DISK_FULL,
                why = %error,
                cause = std::error::Error::source(error).map(tracing::field::display),
                next = known.map(|known| known.next),
                "the disk takes nothing: the run waits, and tries again"
            );
        }
        *waiting += 1;
        Spell { disk: self, begun: Instant::now(), wait: self.patience.first, is_last: false }
    }

    /// Nobody waits any more.
    pub(super) fn give_up(&self) {
        self.is_given_up.store(true, Ordering::Relaxed);
    }

    /// How often the run has had to wait.
    pub(super) fn waits(&self) -> u64 {
        self.waits.load(Ordering::Relaxed)
    }

    fn is_over(&self) -> bool {
        self.stop.is_asked() || self.is_given_up.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, usize> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Spell<'_> {
    /// Waits until the step is to be tried again.
    ///
    /// # Errors
    /// The error that was handed in, where it is not: the run has waited for long enough, or is to end and has tried once
    /// more since it heard of that.
    pub(super) fn pause(&mut self, error: RunError) -> Result<(), RunError> {
        let DiskPatience { longest, once, .. } = self.disk.patience;
        let is_enough = self.disk.watch == WatchMode::Once && self.begun.elapsed() >= once;
        if self.is_last || is_enough {
            return Err(error);
        }
        let begun = Instant::now();
        while begun.elapsed() < self.wait && !self.disk.is_over() {
            std::thread::sleep(TURN.min(self.wait));
        }
        self.is_last = self.disk.is_over();
        self.wait = self.wait.saturating_mul(2).min(longest);
        Ok(())
    }
}

impl Drop for Spell<'_> {
    fn drop(&mut self) {
        let mut waiting = self.disk.waiting();
        *waiting = waiting.saturating_sub(1);
        if *waiting == 0 && !self.disk.is_over() {
            tracing::info!("the run no longer waits for the disk");
        }
    }
}

/// What is done on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The journal is read or written.
    Journal,
    /// A copy of an input, an output or a note in quarantine is written or removed.
    Write,
    /// Outputs are made durable.
    Settle,
    /// Outputs are handed on.
    HandOn,
    /// The report is written.
    Report,
}

/// Steps that are to fail, in tests.
#[cfg(test)]
#[derive(Default)]
pub(super) struct Faults(Mutex<Vec<(Step, u32)>>);

#[cfg(test)]
impl Faults {
    /// From now on this step fails so often.
    pub(super) fn fail(&self, step: Step, times: u32) {
        self.0.lock().unwrap().push((step, times));
    }

    fn before(&self, step: Step) -> Result<(), RunError> {
        let mut faults = self.0.lock().unwrap();
        let Some((_, left)) = faults.iter_mut().find(|(of, left)| *of == step && *left > 0) else {
            return Ok(());
        };
        *left -= 1;
        let source = std::io::Error::from(std::io::ErrorKind::StorageFull);
        Err(RunError::Write { path: "full".into(), source })
    }
}
