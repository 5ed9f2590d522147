//! A folder of inputs, each sent through the pipeline once, whatever interrupts.
//!
//! Workers read, hash and process inputs, several at a time. One scribe owns the order of durability: it makes the
//! outputs of all inputs that wait durable together, commits them to the journal in one transaction, and then writes
//! their report lines. What is not in the journal did not happen and is done again.

mod feeder;
mod reading;
mod scribe;
mod worker;

use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use martello_ingest::{Folder, Found, IngestError};
use martello_store::{Journal, JournalError, Tally};
use tokio::sync::mpsc;

use crate::activation::Active;
use crate::outputs::OutputFolder;
use crate::report::ReportLine;
use feeder::Feeder;
use scribe::Scribe;
use worker::{Handled, Worker};

/// Complete inputs that may wait for the scribe; beyond, workers wait.
const WAITING_FOR_SCRIBE: usize = 32;

/// What to run.
#[derive(Debug, Clone)]
pub struct FolderRun {
    /// The folder of inputs.
    pub input: PathBuf,
    /// The folder for outputs.
    pub output: PathBuf,
    /// Whether to go on with what comes later.
    pub watch: WatchMode,
    /// Whether the report holds file names.
    pub report: ReportMode,
    /// How many inputs are worked on at once.
    pub concurrency: NonZero<usize>,
}

/// Whether to go on with what comes later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WatchMode {
    /// End when what is there is done.
    Once,
    /// Go on until told to stop.
    Watch,
}

/// Whether the report holds file names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReportMode {
    /// File names stand in the report.
    Named,
    /// They do not.
    Private,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Inputs that this run completed.
    pub this_run: Tally,
    /// Inputs that were complete before.
    pub skipped: u64,
    /// All complete inputs of the output folder.
    pub all: Tally,
}

/// Who is told how a run goes. Calls come from many threads.
pub trait Observer: Send + Sync {
    /// So many inputs are known.
    fn found(&self, total: u64);
    /// An input is complete, or was before.
    fn completed(&self, line: Option<&ReportLine>);
}

/// A run cannot go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error("preparing the output folder `{path}`")]
    Output { path: PathBuf, source: io::Error },
    #[error("the output folder `{output}` lies in the input folder `{input}`; choose one beside it")]
    Nested { input: PathBuf, output: PathBuf },
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("making outputs durable in `{path}`")]
    Settle { path: PathBuf, source: io::Error },
    #[error("writing the report `{path}`")]
    Report { path: PathBuf, source: io::Error },
    #[error("a worker ended in disorder")]
    Worker,
}

impl FolderRun {
    /// Runs until everything is done or, when watching, until `stop` is set. Inputs at work are then completed.
    /// Wants a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// The folders, the journal or the disk fail. An input that fails never is an error: it is quarantined.
    pub async fn run(
        &self,
        active: Arc<Active>,
        observer: Arc<dyn Observer>,
        stop: Arc<AtomicBool>,
    ) -> Result<Summary, RunError> {
        let folder = Folder::open(&self.input)?;
        let in_output = |source| RunError::Output { path: self.output.clone(), source };
        let exports = active.plan.exports.iter().map(|export| export.folder.clone());
        let output = OutputFolder::open(&self.output, exports).map_err(in_output)?;
        if output.path().starts_with(folder.path()) {
            return Err(RunError::Nested {
                input: folder.path().to_owned(),
                output: output.path().to_owned(),
            });
        }
        let journal = Arc::new(Journal::open(&output.memory(), &active.bundle_digest)?);
        let before = journal.tally()?;
        let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
        let scribe = Scribe::open(Arc::clone(&journal), &output, Arc::clone(&observer))?;
        let scribe = std::thread::Builder::new()
            .name("scribe".to_owned())
            .spawn(move || scribe.work(from_workers))
            .map_err(in_output)?;
        let (to_workers, found) = mpsc::channel(self.concurrency.get());
        let feeder =
            Feeder { folder, watch: self.watch, observer: Arc::clone(&observer), stop: Arc::clone(&stop) };
        let feeder = std::thread::Builder::new()
            .name("feeder".to_owned())
            .spawn(move || feeder.work(&to_workers))
            .map_err(in_output)?;

        let worker = Worker {
            active,
            journal: Arc::clone(&journal),
            output,
            report: self.report,
            to_scribe,
            observer,
            stop,
        };
        let skipped = work(Arc::new(worker), found, self.concurrency).await?;

        // Joining does not wait long: the feeder ended, or its channel did; the scribe ends with the last sender.
        let fed = tokio::task::spawn_blocking(move || feeder.join());
        fed.await.ok().and_then(Result::ok).ok_or(RunError::Worker)??;
        let scribed = tokio::task::spawn_blocking(move || scribe.join());
        scribed.await.ok().and_then(Result::ok).ok_or(RunError::Worker)??;
        let all = journal.tally()?;
        let this_run = Tally {
            done: all.done.saturating_sub(before.done),
            quarantined: all.quarantined.saturating_sub(before.quarantined),
        };
        Ok(Summary { this_run, skipped, all })
    }
}

/// Works on what the feeder finds, at most `concurrency` at a time, and returns how many were complete before.
async fn work(
    worker: Arc<Worker>,
    mut found: mpsc::Receiver<Found>,
    concurrency: NonZero<usize>,
) -> Result<u64, RunError> {
    let mut at_work = tokio::task::JoinSet::new();
    let mut skipped = 0;
    let mut take = |ended: Result<Result<Handled, RunError>, tokio::task::JoinError>| {
        let handled = ended.map_err(|_panic| RunError::Worker)??;
        skipped += u64::from(handled == Handled::Before);
        Ok::<(), RunError>(())
    };
    while let Some(input) = found.recv().await {
        while at_work.len() >= concurrency.get() {
            if let Some(ended) = at_work.join_next().await {
                take(ended)?;
            }
        }
        while let Some(ended) = at_work.try_join_next() {
            take(ended)?;
        }
        let worker = Arc::clone(&worker);
        at_work.spawn(async move { worker.handle(input).await });
    }
    while let Some(ended) = at_work.join_next().await {
        take(ended)?;
    }
    Ok(skipped)
}
