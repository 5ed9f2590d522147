//! A folder of inputs, each sent through the pipeline once, whatever interrupts.
//!
//! Workers read, hash and process inputs, several at a time. One scribe owns the order of durability: it makes the
//! outputs of all inputs that wait durable together, commits them to the journal in one transaction, and then writes
//! their report lines. What is not in the journal did not happen and is done again.

use std::fs::File;
use std::io::{self, Read, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand;
use bytes::Bytes;
use martello_ingest::{Event, Folder, Found, IngestError, Watch};
use martello_runtime::Payload;
use martello_store::place::{self, Staged};
use martello_store::{Completed, Journal, JournalError, Outcome, Started, Tally};
use martello_vocab::{Code, Digest, Hasher, code};
use tokio::sync::mpsc;
use tracing::Instrument;

use crate::activation::Active;
use crate::outputs::OutputFolder;
use crate::pass::{Pass, Refusal};
use crate::report::{ModelLine, REPORT_SCHEMA, ReportLine, StageLine, Timings, milliseconds};

/// Inputs up to this many bytes are held in memory while they are worked on; larger ones in an unnamed file.
const HELD_IN_MEMORY: u64 = 32 << 20;
/// The largest input that a device takes: a long multi-frame acquisition.
const LARGEST_INPUT: u64 = 4 << 30;
/// An input at which the host itself was ended this often is not tried again.
const MOST_STARTS: u32 = 3;
/// Complete inputs that may wait for the scribe; beyond, workers wait.
const WAITING_FOR_SCRIBE: usize = 32;
/// Inputs that are made durable together at most.
const LARGEST_BATCH: usize = 32;
/// How long a file that was found, not announced, must be quiet before it counts as written.
const SETTLED_AFTER: Duration = Duration::from_secs(2);
/// Turns without a file after which the watcher counts as idle.
const TURNS_UNTIL_IDLE: u32 = 4;

/// How long the watcher waits before it looks at unsettled files and at whether to stop.
const WATCH_TURN: Duration = Duration::from_millis(500);

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

/// A complete input on its way to the scribe.
struct Finished {
    staged: Vec<Staged>,
    line: Box<ReportLine>,
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

/// Finds inputs.
struct Feeder {
    folder: Folder,
    watch: WatchMode,
    observer: Arc<dyn Observer>,
    stop: Arc<AtomicBool>,
}

impl Feeder {
    fn work(&self, to_workers: &mpsc::Sender<Found>) -> Result<(), RunError> {
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

/// Whether an input was complete before this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Handled {
    Now,
    Before,
    Stopped,
}

struct Worker {
    active: Arc<Active>,
    journal: Arc<Journal>,
    output: OutputFolder,
    report: ReportMode,
    to_scribe: mpsc::Sender<Finished>,
    observer: Arc<dyn Observer>,
    stop: Arc<AtomicBool>,
}

impl Worker {
    async fn handle(&self, found: Found) -> Result<Handled, RunError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Handled::Stopped);
        }
        let name_id = self.active.site_key.name_id(&found.name);
        let fingerprint = (found.length, found.changed);
        if self.journal.is_complete(&name_id, fingerprint)? {
            self.observer.completed(None);
            return Ok(Handled::Before);
        }
        let begun = Instant::now();
        // Reading and writing files blocks; the runtime moves its other work to another thread meanwhile.
        let read = tokio::task::block_in_place(|| read_input(&found));
        let read_time = begun.elapsed();
        let (payload, digest, unreadable) = match read {
            Ok((payload, digest)) => (payload, digest, None),
            // A file that vanished before it could be read is no input any more.
            Err(ReadError::Gone) => return Ok(Handled::Stopped),
            Err(ReadError::TooLarge) => (nothing(), Digest::of(b""), Some(Code::of(code::INPUT_TOO_LARGE))),
            Err(ReadError::Unreadable(error)) => {
                tracing::warn!(%error, "an input cannot be read");
                (nothing(), Digest::of(b""), Some(Code::of(code::INPUT_UNREADABLE)))
            }
        };
        let id = self.active.site_key.input_id(&found.name, &digest);
        let started = Started { id: &id, name: &name_id, digest, fingerprint };
        let Some(starts) = self.journal.start(&started)? else {
            self.observer.completed(None);
            return Ok(Handled::Before);
        };
        let trace_id = trace_id();
        let span = tracing::info_span!("input", id = %id, trace = %trace_id, bytes = found.length);
        let crashed = (starts > MOST_STARTS).then(|| Code::of(code::INPUT_CRASHES_HOST));
        let pass = match unreadable.or(crashed) {
            Some(code) => Pass::refused(Refusal { stage: None, code }),
            None => {
                let pass = self.active.pass(payload.clone(), &trace_id);
                pass.instrument(span.clone()).await
            }
        };
        let work = Work { found, id, digest, payload, pass, trace_id, begun, read_time };
        let finished = tokio::task::block_in_place(|| span.in_scope(|| self.write(work)))?;
        self.to_scribe.send(finished).await.map_err(|_closed| RunError::Worker)?;
        Ok(Handled::Now)
    }

    /// Writes outputs, or the quarantine where the pass was refused or its outputs cannot be written.
    fn write(&self, work: Work) -> Result<Finished, RunError> {
        let bundle = self.active.bundle_digest;
        let models: Vec<ModelLine> = Active::model_lines(&work.pass.models);
        let mut refusal = work.pass.refusal.clone();
        let mut written = None;
        if refusal.is_none() {
            match self.output.write(&work.id, bundle, &work.pass, &models) {
                Ok(outputs) => written = Some(outputs),
                Err(error) => {
                    tracing::error!(%error, "outputs cannot be written");
                    refusal = Some(Refusal { stage: None, code: Code::of(code::OUTPUT_UNWRITABLE) });
                }
            }
        }
        let written = match (written, &refusal) {
            (Some(written), None) => written,
            (_, refusal) => {
                let internal = Refusal { stage: None, code: Code::of(code::INTERNAL) };
                let refusal = refusal.as_ref().unwrap_or(&internal);
                self.output
                    .write_quarantine(&work.id, bundle, &work.payload, work.digest, refusal)
                    .map_err(|source| RunError::Output { path: self.output.path().to_owned(), source })?
            }
        };
        let line = ReportLine {
            schema: REPORT_SCHEMA,
            id: work.id,
            input: (self.report == ReportMode::Named).then_some(work.found.name),
            input_digest: work.digest,
            input_bytes: work.found.length,
            outcome: if refusal.is_none() { "done" } else { "quarantine" },
            refused_by: refusal.as_ref().and_then(|refusal| refusal.stage.clone()),
            code: refusal.map(|refusal| refusal.code),
            outputs: written.files,
            bundle,
            stages: work.pass.stages.iter().map(StageLine::from).collect(),
            models,
            findings: work.pass.findings.len(),
            timings: Timings {
                read_ms: milliseconds(work.read_time),
                stages_ms: milliseconds(work.pass.elapsed),
                total_ms: milliseconds(work.begun.elapsed()),
            },
            trace_id: work.trace_id,
        };
        Ok(Finished { staged: written.staged, line: Box::new(line) })
    }
}

/// An input whose pass has ended.
struct Work {
    found: Found,
    id: String,
    digest: Digest,
    payload: Payload,
    pass: Pass,
    trace_id: String,
    begun: Instant,
    read_time: Duration,
}

enum ReadError {
    Gone,
    TooLarge,
    Unreadable(io::Error),
}

/// Reads and hashes an input. What is worked on is what was hashed: the bytes are held, or copied into an unnamed
/// file, so that a file that changes meanwhile cannot be one thing to the digest and another to the pipeline.
fn read_input(found: &Found) -> Result<(Payload, Digest), ReadError> {
    let mut file = found.open().map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => ReadError::Gone,
        _ => ReadError::Unreadable(error),
    })?;
    let length = file.metadata().map_err(ReadError::Unreadable)?.len();
    if length > LARGEST_INPUT {
        return Err(ReadError::TooLarge);
    }
    if length <= HELD_IN_MEMORY {
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(1));
        file.take(HELD_IN_MEMORY + 1).read_to_end(&mut bytes).map_err(ReadError::Unreadable)?;
        if bytes.len() as u64 > HELD_IN_MEMORY {
            return Err(ReadError::Unreadable(io::Error::other("the file grew while it was read")));
        }
        let digest = Digest::of(&bytes);
        return Ok((Payload::memory(MEDIA_TYPE, Bytes::from(bytes)), digest));
    }
    let mut copy = tempfile::tempfile().map_err(ReadError::Unreadable)?;
    let mut hasher = Hasher::new();
    let mut buffer = vec![0_u8; 1 << 20];
    let mut copied = 0_u64;
    loop {
        let count = file.read(&mut buffer).map_err(ReadError::Unreadable)?;
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { break };
        copied += count as u64;
        if copied > LARGEST_INPUT {
            return Err(ReadError::TooLarge);
        }
        hasher.update(bytes);
        copy.write_all(bytes).map_err(ReadError::Unreadable)?;
    }
    let payload = Payload::file(MEDIA_TYPE, copy).map_err(ReadError::Unreadable)?;
    Ok((payload, hasher.finish()))
}

/// What stands in for an input that could not be read.
fn nothing() -> Payload {
    Payload::memory(MEDIA_TYPE, Bytes::new())
}

/// Inputs of a folder are taken as DICOM; a stage refuses what is not.
const MEDIA_TYPE: &str = "application/dicom";

fn trace_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random bytes the id is all zeros, which W3C trace context calls invalid: nothing is joined wrongly.
    let _ = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Makes complete inputs durable, in batches.
struct Scribe {
    journal: Arc<Journal>,
    report: File,
    report_path: PathBuf,
    output: PathBuf,
    observer: Arc<dyn Observer>,
}

impl Scribe {
    /// Opens the report, made new from the journal: the journal is the truth, the report its view.
    fn open(
        journal: Arc<Journal>,
        output: &OutputFolder,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, RunError> {
        let report_path = output.report();
        let in_report = |source| RunError::Report { path: report_path.clone(), source };
        let mut fresh = place::stage(&report_path, 0o640).map_err(in_report)?;
        journal.lines(|line| writeln!(fresh, "{line}").map_err(in_report))?;
        place::settle(vec![fresh]).map_err(in_report)?;
        let report = File::options().append(true).open(&report_path).map_err(in_report)?;
        Ok(Self { journal, report, report_path, output: output.path().to_owned(), observer })
    }

    fn work(mut self, mut from_workers: mpsc::Receiver<Finished>) -> Result<(), RunError> {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        while from_workers.blocking_recv_many(&mut batch, LARGEST_BATCH) > 0 {
            self.commit(batch.drain(..))?;
        }
        Ok(())
    }

    fn commit(&mut self, batch: impl Iterator<Item = Finished>) -> Result<(), RunError> {
        let mut files = Vec::new();
        let mut completed = Vec::new();
        let mut lines = Vec::new();
        for finished in batch {
            files.extend(finished.staged);
            let text = serde_json::to_string(&finished.line)
                .map_err(|error| RunError::Report { path: self.report_path.clone(), source: error.into() })?;
            let outcome = if finished.line.code.is_none() { Outcome::Done } else { Outcome::Quarantined };
            completed.push(Completed { id: finished.line.id.clone(), outcome, line: text });
            lines.push(finished.line);
        }
        place::settle(files).map_err(|source| RunError::Settle { path: self.output.clone(), source })?;
        self.journal.complete(&completed)?;
        let text: String = completed.iter().map(|input| format!("{}\n", input.line)).collect();
        self.report
            .write_all(text.as_bytes())
            .map_err(|source| RunError::Report { path: self.report_path.clone(), source })?;
        lines.iter().for_each(|line| self.observer.completed(Some(line)));
        Ok(())
    }
}
