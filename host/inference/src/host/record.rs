//! What an instance ran, and on what.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use martello_vocab::{Digest, Name};

use crate::backend::Execution;
use crate::model::LoadedModel;

/// Models that one record tells apart; guests may hold so many at most.
const MOST_MODELS: usize = 256;

/// Single times that are kept.
const MOST_TIMES: usize = 4096;

/// What an instance ran. It outlives the instance; cloning gives a second handle on it.
#[derive(Debug, Clone, Default)]
pub struct Record(Arc<Mutex<Vec<Ran>>>);

/// The runs of one model on one backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ran {
    /// The model's name; none where the guest brought its bytes.
    pub model: Option<Name>,
    /// The digest of the model file.
    pub digest: Digest,
    /// On what it ran.
    pub execution: Execution,
    /// Runs that gave outputs.
    pub runs: u64,
    /// Runs that did not.
    pub failures: u64,
    /// Time from the guest's call to the answer, of all runs together.
    pub elapsed: Duration,
    /// The same for each of the first runs that gave outputs, at most 4096 of them.
    pub times: Vec<Duration>,
}

impl Record {
    /// What ran until now, in the order of the first runs.
    pub fn ran(&self) -> Vec<Ran> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note(&self, name: Option<&Name>, model: &LoadedModel, succeeded: bool, elapsed: Duration) {
        let mut ran = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = |line: &&mut Ran| {
            line.digest == *model.digest()
                && line.model.as_ref() == name
                && line.execution == *model.execution()
        };
        let (runs, failures) = if succeeded { (1, 0) } else { (0, 1) };
        if let Some(line) = ran.iter_mut().find(known) {
            line.runs = line.runs.saturating_add(runs);
            line.failures = line.failures.saturating_add(failures);
            line.elapsed = line.elapsed.saturating_add(elapsed);
            if succeeded && line.times.len() < MOST_TIMES {
                line.times.push(elapsed);
            }
        } else if ran.len() < MOST_MODELS {
            let (digest, execution) = (*model.digest(), model.execution().clone());
            let times = if succeeded { vec![elapsed] } else { Vec::new() };
            ran.push(Ran { model: name.cloned(), digest, execution, runs, failures, elapsed, times });
        }
    }
}
