//! One at a time, and nobody waits for longer than he has time.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A lock whose waiting has an end.
#[derive(Default)]
pub(crate) struct Turns {
    is_taken: Mutex<bool>,
    given_back: Condvar,
}

/// The right to work; dropping it gives it to whoever waits.
pub(super) struct Turn<'a>(&'a Turns);

impl Turns {
    /// Waits for a turn, for so long at most.
    pub(super) fn take(&self, within: Duration) -> Option<Turn<'_>> {
        // None is never: the time does not end within the life of a clock.
        let deadline = Instant::now().checked_add(within);
        let mut is_taken = self.lock();
        while *is_taken {
            is_taken = match deadline.map(|it| it.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return None,
                Some(left) => {
                    self.given_back.wait_timeout(is_taken, left).unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.given_back.wait(is_taken).unwrap_or_else(PoisonError::into_inner),
            };
        }
        *is_taken = true;
        Some(Turn(self))
    }

    fn lock(&self) -> MutexGuard<'_, bool> {
        self.is_taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        *self.0.lock() = false;
        self.0.given_back.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_waits_gets_its_turn_or_gives_up_in_time() {
        let turns = Turns::default();
        let turn = turns.take(Duration::MAX).unwrap();
        assert!(turns.take(Duration::from_millis(1)).is_none());
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| turns.take(Duration::MAX).is_some());
            drop(turn);
            assert!(waits.join().unwrap());
        });
        assert!(turns.take(Duration::ZERO).is_some());
    }
}
