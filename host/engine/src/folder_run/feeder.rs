//! Finding inputs: what is there, then what comes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use martello_ingest::{Event, Folder, Found, Watch};
use tokio::sync::mpsc;

use super::{Observer, RunError, WatchMode};

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
    pub(super) stop: Arc<AtomicBool>,
}

impl Feeder {
    pub(super) fn work(&self, to_workers: &mpsc::Sender<Found>) -> Result<(), RunError> {
        // The watch begins before the scan, so that nothing falls between the two.
        let mut watch = match self.watch {
            WatchMode::Watch => Some(Watch::begin(&self.folder)?),
            WatchMode::Once => None,
        };
        let mut total = 0;
        let mut unsettled = Vec::new();
        let mut send = |found: Found| {
            total += 1;
            self.observer.found(total);
            // A closed channel means that the run ends; the loop sees it at its next turn.
            to_workers.blocking_send(found).is_ok()
        };
        for found in self.folder.scan()? {
            if self.stopped() {
                return Ok(());
            }
            if watch.is_some() && !found.is_settled(SystemTime::now(), SETTLED_AFTER) {
                unsettled.push(found);
            } else if !send(found) {
                return Ok(());
            }
        }
        let Some(watch) = &mut watch else { return Ok(()) };
        let mut quiet_turns = 0_u32;
        while !self.stopped() && !to_workers.is_closed() {
            let turn = if unsettled.is_empty() { WATCH_TURN } else { SETTLED_AFTER / 4 };
            let mut ready = Vec::new();
            for event in watch.wait(turn)? {
                match event {
                    Event::Arrived(found) => {
                        unsettled.retain(|waiting: &Found| waiting.path != found.path);
                        ready.push(found);
                    }
                    Event::Unsettled(found) => unsettled.push(found),
                    Event::Lost => unsettled.extend(self.folder.scan()?),
                }
            }
            let now = SystemTime::now();
            unsettled = self.look_again(unsettled);
            ready.extend(unsettled.extract_if(.., |found| found.is_settled(now, SETTLED_AFTER)));
            quiet_turns =
                if ready.is_empty() && unsettled.is_empty() { quiet_turns.saturating_add(1) } else { 0 };
            if quiet_turns == TURNS_UNTIL_IDLE {
                crate::footprint::release_code();
            }
            if !ready.into_iter().all(&mut send) {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The unsettled files as they are now; those that are gone are dropped.
    fn look_again(&self, unsettled: Vec<Found>) -> Vec<Found> {
        unsettled.into_iter().filter_map(|found| self.folder.look_at(&found.path)).collect()
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}
