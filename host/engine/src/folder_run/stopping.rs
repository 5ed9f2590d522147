//! How a run is told to end.

use tokio::sync::watch;

/// Tells a run to end, from any thread.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<Ending>);

/// How far the end of a run has come. Later ones outweigh earlier ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Ending {
    NotAsked,
    Completing,
    Abandoning,
}

impl Default for Stop {
    fn default() -> Self {
        Self(watch::Sender::new(Ending::NotAsked))
    }
}

impl Stop {
    /// Inputs at work are completed, and no other is begun.
    pub fn complete(&self) {
        self.at_least(Ending::Completing);
    }

    /// Inputs at work are given up too: their guests are stopped, and nothing is blamed on them.
    pub fn abandon(&self) {
        self.at_least(Ending::Abandoning);
    }

    /// Whether inputs at work are given up.
    pub fn is_abandoned(&self) -> bool {
        *self.0.borrow() == Ending::Abandoning
    }

    pub(super) fn is_asked(&self) -> bool {
        *self.0.borrow() != Ending::NotAsked
    }

    /// Returns when inputs at work are to be given up.
    pub(super) async fn abandoned(&self) {
        // The sender lives as long as this, so that waiting does not fail.
        let _ = self.0.subscribe().wait_for(|ending| *ending == Ending::Abandoning).await;
    }

    fn at_least(&self, asked: Ending) {
        self.0.send_if_modified(|ending| {
            let later = asked > *ending;
            *ending = asked.max(*ending);
            later
        });
    }
}
