//! Delivering what waits in a [`Queue`] to its destination, for as long as it takes.
//!
//! One thread for each destination. What a peer does not take now is tried again after a while that grows, with chance in
//! it, so that devices that lost the same archive do not come back together; what it refuses for good is kept and told.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::dicom::{self, DicomPeer};
use crate::queue::Queue;

/// How often a wait looks at whether to stop.
const TURN: Duration = Duration::from_millis(200);

/// How long it is waited after a failure.
#[derive(Debug, Clone, Copy)]
pub struct Retry {
    /// After the first one.
    pub first: Duration,
    /// At most; the wait is doubled until then.
    pub longest: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

impl Retry {
    /// How long it is waited after so many failures in a row: between half of the step and the whole of it.
    pub(crate) fn wait(&self, failures: u32) -> Duration {
        let doubled = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let step = self.first.saturating_mul(doubled).min(self.longest);
        // The seed of a hash map is chance enough here.
        let chance = RandomState::new().build_hasher().finish() % 1024;
        let part = u32::try_from(chance).unwrap_or(0);
        step / 2 + (step / 2).saturating_mul(part) / 1024
    }
}

/// How one turn at a destination ended.
#[derive(Debug)]
pub(crate) struct Turn {
    /// Objects that the peer has stored.
    pub(crate) delivered: u64,
    /// Why it ended before nothing was left to be tried.
    pub(crate) trouble: Option<String>,
}

/// Delivers what waits in a queue.
#[derive(Debug)]
pub struct Sender {
    /// What waits.
    pub queue: Arc<Queue>,
    /// To whom it goes.
    pub peer: DicomPeer,
    /// How long it is waited after a failure.
    pub retry: Retry,
}

impl Sender {
    /// Delivers what is in the queue and what comes, until `stop` is set or the queue is closed. What is being sent then
    /// is given some time to be answered. A panic is told, and counts as a failure.
    pub fn deliver(&self, stop: &Arc<AtomicBool>) {
        self.deliver_by(stop, || dicom::deliver(&self.queue, &self.peer, &self.retry, stop));
    }

    fn deliver_by(&self, stop: &Arc<AtomicBool>, turn: impl Fn() -> Turn) {
        let Self { queue, peer, retry } = self;
        let mut failures = 0_u32;
        let is_over = || stop.load(Ordering::Relaxed) || queue.is_closed();
        while !is_over() {
            if !queue.wait(TURN) {
                continue;
            }
            // What is in the queue is whole after every step, and a connection is not used again.
            let turn = catch_unwind(AssertUnwindSafe(&turn)).unwrap_or_else(|_panic| {
                tracing::error!(to = %peer.address, "sending ended in disorder; report it with the lines before this one");
                Turn { delivered: 0, trouble: Some("sending ended in disorder".to_owned()) }
            });
            if turn.delivered > 0 {
                failures = 0;
                tracing::info!(to = %peer.address, delivered = turn.delivered, "objects were delivered");
            }
            let Some(why) = turn.trouble else { continue };
            if is_over() {
                break;
            }
            failures = failures.saturating_add(1);
            queue.count_failure();
            let wait = retry.wait(failures);
            let waiting = queue.state_now().waiting;
            tracing::warn!(to = %peer.address, why, waiting, ?wait, "a destination takes nothing now");
            queue.expire();
            pause(wait, is_over);
        }
    }
}

/// Waits, and looks now and then whether that is over.
fn pause(wait: Duration, is_over: impl Fn() -> bool) {
    let mut left = wait;
    while !left.is_zero() && !is_over() {
        let turn = left.min(TURN);
        std::thread::sleep(turn);
        left = left.saturating_sub(turn);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;
    use crate::QueueLimits;
    use crate::dicom::{DicomPeer, SendingPatience};

    #[test]
    fn a_panic_in_a_turn_is_a_failure_and_the_next_turn_comes() {
        let folder = tempfile::tempdir().unwrap();
        let queue = Queue::open(&folder.path().join("queue"), QueueLimits::default()).unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "object").unwrap();
        let digest = martello_vocab::Digest::of(b"object");
        queue.put(&std::fs::File::open(&file).unwrap(), digest, 6).unwrap();
        let peer = DicomPeer {
            address: "ARCHIVE@127.0.0.1:104".parse().unwrap(),
            calling: "SENDER".parse().unwrap(),
            tls: None,
            patience: SendingPatience::default(),
        };
        let retry = Retry { first: Duration::from_millis(1), longest: Duration::from_millis(2) };
        let sender = Sender { queue: Arc::clone(&queue), peer, retry };
        let (stop, is_first) = (Arc::default(), AtomicBool::new(true));
        let turn = || {
            assert!(!is_first.swap(false, Ordering::Relaxed), "on purpose");
            queue.due(1).iter().for_each(|item| queue.delivered(item));
            Turn { delivered: 1, trouble: None }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| sender.deliver_by(&stop, turn));
            let begun = Instant::now();
            while queue.state_now().delivered == 0 && begun.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(2));
            }
            queue.close();
        });
        assert_eq!((queue.state_now().delivered, queue.failures()), (1, 1));
    }

    #[test]
    fn waits_grow_to_the_longest_and_differ() {
        let retry = Retry { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        for (failures, step) in [(1, 1), (2, 2), (4, 8), (7, 60), (40, 60), (u32::MAX, 60)] {
            let step = Duration::from_secs(step);
            let waits: Vec<_> = (0..50).map(|_| retry.wait(failures)).collect();
            assert!(waits.iter().all(|wait| (step / 2..=step).contains(wait)), "{failures}: {waits:?}");
            assert!(waits.iter().any(|wait| *wait != waits[0]), "no chance in it");
        }
    }
}
