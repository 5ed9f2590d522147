//! A folder of inputs, each sent through the pipeline once, whatever interrupts.
//!
//! Workers read, hash and process inputs, several at a time. One scribe owns the order of durability: it makes the
//! outputs of all inputs that wait durable together, commits them to the journal in one transaction, and then writes
//! their report lines. What is not in the journal did not happen and is done again.

mod disk;
mod dispatch;
mod earlier;
mod feeder;
mod input;
mod reading;
mod restoring;
mod scribe;
mod stopping;
mod worker;

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::thread::JoinHandle;

use martello_ingest::{Folder, Ignored, IngestError};
use martello_runtime::Pseudonyms;
use martello_store::place::{self, Link, Tree};
use martello_store::{Binding, Journal, JournalError, Tally};
use martello_vocab::{Code, code};
use tokio::sync::mpsc;

use crate::activation::Active;
use crate::outputs::Destination;
use crate::report::{OutputFile, ReportLine};
use disk::{Disk, Step};
use dispatch::dispatch;
use feeder::Feeder;
use scribe::Scribe;
pub use stopping::Stop;
use worker::Worker;

pub use disk::DiskPatience;
pub use input::Input;

/// Complete inputs that may wait for the scribe; beyond, workers wait.
const WAITING_FOR_SCRIBE: usize = 32;

/// What to run.
#[derive(Debug, Clone)]
pub struct FolderRun {
    /// Where inputs come from.
    pub input: Input,
    /// The folder for outputs.
    pub output: PathBuf,
    /// Whether to go on with what comes later.
    pub watch: WatchMode,
    /// Whether the report holds file names.
    pub report: ReportMode,
    /// How many inputs are worked on at once.
    pub concurrency: NonZero<usize>,
    /// What becomes of outputs that were taken away since an earlier run.
    pub missing: MissingOutputs,
    /// How long it waits for a disk that is full or fails.
    pub disk: DiskPatience,
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

/// What becomes of outputs that an earlier run wrote and that are gone, or of another size, when a run starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingOutputs {
    /// They are made again, where the input is still there.
    Restore,
    /// They are left alone and not looked at: something collects outputs. What an earlier run found to be missing stays
    /// written down, and is made again by the next run that restores.
    Leave,
}

/// What a run did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Summary {
    /// Inputs that this run completed.
    pub this_run: Tally,
    /// Inputs that were complete before.
    pub skipped: u64,
    /// Inputs that were done before, and whose outputs this run made again because they were gone.
    pub restored: u64,
    /// Inputs that were done before, whose outputs are gone and were not made again: the input is gone too, the
    /// pipeline did not give the same files, the device failed, or the run was stopped. None where they are left alone.
    pub missing: u64,
    /// Those of `missing` at which the device failed in this run.
    pub failed_again: u64,
    /// Inputs that were found and not completed, or not looked at, because the run was stopped.
    pub left: u64,
    /// How often the run waited because a disk was full or failed.
    pub waits: u64,
    /// What the last scan of the input folder left alone.
    pub ignored: Ignored,
    /// All complete inputs of the output folder.
    pub all: Tally,
}

/// Who is told how a run goes. Calls come from many threads.
pub trait Observer: Send + Sync {
    /// So many inputs are known.
    fn found(&self, total: u64);
    /// An input is complete, or was before.
    fn completed(&self, line: Option<&ReportLine>);
    /// These exports of one input or several stand durably under their names in the output folder, and their inputs are not
    /// recorded as done yet: whoever hands them on takes them over now, durably. Called once for each file, and once more
    /// where the process ended before the record, or the disk failed. May wait.
    ///
    /// # Errors
    /// They cannot be taken over.
    fn exported(&self, exports: &[Export<'_>]) -> Result<(), NotTaken> {
        let _ = exports;
        Ok(())
    }
}

/// A file that was put out by a port of the pipeline.
#[derive(Debug, Clone, Copy)]
pub struct Export<'a> {
    /// What the report says of it.
    pub file: &'a OutputFile,
    tree: &'a Tree,
}

impl Export<'_> {
    /// Opens it to read it. No link is followed.
    ///
    /// # Errors
    /// It is not there any more, or the disk refuses.
    pub fn open(&self) -> io::Result<File> {
        self.tree.read(&self.file.path)
    }
}

/// What leaves the pipeline was not taken over.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    /// Whoever takes it over is to end: the inputs are left to the next run, and that is no error.
    #[error("whoever takes over what leaves the pipeline is to end")]
    Ending,
    /// The run waits and asks again where a disk is full or fails, and else ends; the next one does the inputs again.
    #[error("what leaves the pipeline was not taken over")]
    Failed(#[from] io::Error),
}

/// A run cannot go on.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum RunError {
    #[error("preparing the output folder `{path}`")]
    Output { path: PathBuf, source: io::Error },
    #[error("the output folder `{output}` lies in the input folder `{input}`; choose one beside it")]
    Nested { input: PathBuf, output: PathBuf },
    #[error("the input folder `{input}` is one of those that the run itself writes; choose another")]
    OwnOutputs { input: PathBuf },
    #[error(transparent)]
    Ingest(#[from] IngestError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error("writing into the output folder `{path}`")]
    Write { path: PathBuf, source: io::Error },
    #[error("making outputs durable in `{path}`")]
    Settle { path: PathBuf, source: io::Error },
    #[error("handing on what stands in `{path}`")]
    HandOn { path: PathBuf, source: io::Error },
    #[error("writing the report `{path}`")]
    Report { path: PathBuf, source: io::Error },
    #[error("a worker ended in disorder")]
    Worker,
}

impl RunError {
    /// Whether a disk is full or fails, so that the same may go well later.
    fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Journal(error) => error.is_of_the_disk(),
            Self::Output { source, .. }
            | Self::Write { source, .. }
            | Self::Settle { source, .. }
            | Self::HandOn { source, .. }
            | Self::Report { source, .. } => place::is_of_the_disk(source),
            _ => false,
        }
    }
}

impl RunError {
    /// The reason code of a run that is refused or ended for what its output folder holds, or for its disk.
    pub fn code(&self) -> Option<Code> {
        match self {
            _ if self.is_of_the_disk() => Some(Code::of(code::DISK_FULL)),
            Self::Journal(error) => error.code(),
            Self::Output { source, .. }
            | Self::Write { source, .. }
            | Self::Settle { source, .. }
            | Self::Report { source, .. }
                if Link::is_cause_of(source) =>
            {
                Some(Code::of(code::OUTPUT_LINK))
            }
            _ => None,
        }
    }
}

impl FolderRun {
    /// Runs until everything is done or until `stop` says so.
    /// Wants a multi-threaded tokio runtime.
    ///
    /// # Errors
    /// The folders, the journal or the disk fail. An input that fails never is an error: it is quarantined.
    pub async fn run(
        &self,
        active: Arc<Active>,
        observer: Arc<dyn Observer>,
        stop: Stop,
    ) -> Result<Summary, RunError> {
        let folder = Folder::open(self.input.path())?;
        let in_output = |source| RunError::Output { path: self.output.clone(), source };
        let destination = Destination::at(&self.output).map_err(in_output)?;
        if destination.path().starts_with(folder.path()) {
            return Err(RunError::Nested {
                input: folder.path().to_owned(),
                output: destination.path().to_owned(),
            });
        }
        let exports = || active.plan.exports.iter().map(|export| &export.folder);
        if destination.makes(folder.path(), exports()) {
            return Err(RunError::OwnOutputs { input: folder.path().to_owned() });
        }
        let disk = Arc::new(Disk::new(self.disk, self.watch, stop.clone()));
        let output = disk.insist(Step::Write, || destination.make().map_err(in_output))?;
        // INVARIANT: nothing in the folder is touched before the journal is held: another process may be at work
        // there. Kept by `a_second_process_on_one_output_folder_is_refused_and_harms_nothing`.
        let remains = output.remains(exports()).map_err(in_output)?;
        let key_id = active.site_key.key_id();
        let key_of = |name: &str, line: &str| restoring::key_of(&active.site_key, name, line);
        let binding = Binding { bundle: active.bundle_digest, pseudonym_key: &key_id, key_of: &key_of };
        let open = || Ok(Journal::open(output.memory(), &binding, remains)?);
        let journal = Arc::new(disk.insist(Step::Journal, open)?);
        disk.insist(Step::Write, || output.prepare(exports()).map_err(in_output))?;
        let review = || Ok(restoring::review(&journal, output.tree(), self.missing)?);
        disk.insist(Step::Journal, review)?;
        let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
        let scribe = Scribe::open(
            Arc::clone(&disk),
            Arc::clone(&journal),
            output.clone(),
            self.input.clone(),
            Arc::clone(&observer),
            self.report,
        )?;
        let scribe = std::thread::Builder::new()
            .name("scribe".to_owned())
            .spawn(move || scribe.work(from_workers))
            .map_err(in_output)?;
        let at_work = Arc::new(AtomicUsize::new(0));
        let (to_workers, found) = mpsc::channel(self.concurrency.get());
        let feeder = Feeder {
            folder,
            watch: self.watch,
            observer: Arc::clone(&observer),
            stop: stop.clone(),
            at_work: Arc::clone(&at_work),
            again: self.input.again(),
        };
        let feeder = std::thread::Builder::new()
            .name("feeder".to_owned())
            .spawn(move || feeder.work(&to_workers))
            .map_err(in_output)?;

        let worker = Worker {
            active,
            journal: Arc::clone(&journal),
            input: self.input.clone(),
            output,
            report: self.report,
            to_scribe,
            observer,
            stop,
            turns: Arc::default(),
            disk: Arc::clone(&disk),
        };
        let worked = dispatch(Arc::new(worker), found, self.concurrency, &at_work).await;
        // Joining does not wait long: the feeder ended, or its channel did; the scribe ends with the last sender.
        let fed = join(feeder).await;
        let scribed = join(scribe).await;
        // Where the scribe or the feeder fails, workers see only that a channel is closed.
        let written = scribed?;
        let fed = fed?;
        let worked = worked?;
        Ok(Summary {
            this_run: written.completed,
            skipped: worked.skipped,
            restored: written.restored,
            missing: match self.missing {
                MissingOutputs::Restore => journal.lost()?,
                MissingOutputs::Leave => 0,
            },
            failed_again: worked.failed_again,
            left: fed.left + worked.left + written.left,
            waits: disk.waits(),
            ignored: fed.ignored,
            all: journal.tally()?,
        })
    }
}

async fn join<T: Send + 'static>(thread: JoinHandle<Result<T, RunError>>) -> Result<T, RunError> {
    let joined = tokio::task::spawn_blocking(move || thread.join()).await;
    joined.ok().and_then(Result::ok).unwrap_or(Err(RunError::Worker))
}

#[cfg(test)]
mod tests;
