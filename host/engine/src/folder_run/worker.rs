//! One input's way from the folder to the scribe.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use martello_ingest::Found;
use martello_runtime::Payload;
use martello_store::place::Staged;
use martello_store::{Begun, Journal, Started};
use martello_vocab::{Code, Digest, code};
use tokio::sync::{RwLock, mpsc};
use tokio::task::block_in_place;
use tracing::Instrument;

use super::dispatch::{Ticket, Turn};
use super::reading::{ReadError, read_input};
use super::restoring::{Again, Recorded};
use super::scribe::{Before, Finished, ForScribe};
use super::{Input, Observer, ReportMode, RunError, Stop};
use crate::activation::Active;
use crate::outputs::OutputFolder;
use crate::pass::{Pass, Refusal};
use crate::report::{ModelLine, REPORT_SCHEMA, ReportLine, StageLine, Timings, milliseconds};

/// An input at which the host itself was ended this often is not tried again.
const MOST_STARTS: u32 = 3;

/// Whether an input was complete before this run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Handled {
    Now,
    Before,
    /// It was not completed: the file is gone, or what it gave before cannot be had again.
    Left,
    /// It was not completed: the run is stopped.
    Stopped,
    /// Its lost outputs were not made again: the device failed at it.
    FailedAgain,
}

pub(super) struct Worker {
    pub(super) active: Arc<Active>,
    pub(super) journal: Arc<Journal>,
    pub(super) input: Input,
    pub(super) output: OutputFolder,
    pub(super) report: ReportMode,
    pub(super) to_scribe: mpsc::Sender<ForScribe>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Stop,
    /// Inputs are worked on beside each other, but one that was at work when the host was ended is worked on alone.
    pub(super) turns: Arc<RwLock<()>>,
}

impl Worker {
    pub(super) async fn handle(&self, found: Found, mut ticket: Ticket) -> Result<Handled, RunError> {
        if self.stop.is_asked() {
            return Ok(Handled::Stopped);
        }
        let name_id = self.active.site_key.name_id(&found.name);
        let fingerprint = (found.length, found.changed);
        // The journal and files block; the runtime moves its other work to another thread meanwhile.
        if block_in_place(|| self.journal.is_complete(&name_id, fingerprint))? {
            return Ok(self.complete_before(&found));
        }
        let begun = Instant::now();
        let read = block_in_place(|| read_input(&found, &self.output.memory()));
        let read_time = begun.elapsed();
        let input = match read {
            Ok((payload, digest)) => Ok(Read { payload, digest }),
            // A file that vanished before it could be read is no input any more.
            Err(ReadError::Gone) => return Ok(Handled::Left),
            Err(error) => Err(error),
        };
        let digest = input.as_ref().ok().map(|input| input.digest);
        let id = match &digest {
            Some(digest) => self.active.site_key.input_id(&found.name, digest),
            None => self.active.site_key.unread_id(&found.name, fingerprint),
        };
        // The host was ended while this input and others were at work: it is not blamed before it was tried alone.
        let turn = match block_in_place(|| self.journal.starts(&id))? {
            0 => Turn::Beside { _guard: Arc::clone(&self.turns).read_owned().await },
            _ => Turn::Alone { _guard: Arc::clone(&self.turns).write_owned().await },
        };
        if self.stop.is_asked() {
            return Ok(Handled::Stopped);
        }
        let started = Started { id: &id, name: &name_id, digest, fingerprint };
        let start = block_in_place(|| self.journal.start(&started))?;
        if start.begun.is_some() {
            ticket.started(&self.journal, &id, turn);
        }
        for earlier in &start.superseded {
            block_in_place(|| self.output.take_out_of_quarantine(earlier))
                .map_err(|source| self.unwritable(source))?;
        }
        if !start.superseded.is_empty() {
            self.to_scribe.send(ForScribe::LinesGone).await.map_err(|_closed| RunError::Worker)?;
        }
        let Some(begun_again) = start.begun else {
            return Ok(self.complete_before(&found));
        };
        let trace_id = trace_id();
        let span = tracing::info_span!("input", id = %id, trace = %trace_id, bytes = found.length);
        let crashed = (begun_again.count > MOST_STARTS).then(|| Code::of(code::INPUT_CRASHES_HOST));
        let (input, refused) = match input {
            Ok(input) => (Some(input), crashed),
            Err(error) => (None, Some(span.in_scope(|| reason(&error)))),
        };
        let pass = match (&input, refused) {
            (Some(input), None) => {
                let pass = self.active.pass(input.payload.clone(), &trace_id);
                pass.instrument(span.clone()).await
            }
            (_, code) => {
                let code = code.unwrap_or(Code::of(code::INTERNAL));
                Pass::refused(Refusal { stage: None, code })
            }
        };
        let work = Work { found: found.clone(), id, input, pass, trace_id, begun, read_time };
        let (staged, line) = block_in_place(|| span.in_scope(|| self.write(work)))?;
        let before = match before(begun_again, &line) {
            Ok(before) => before,
            Err(handled) => {
                // The first result stands. What the device failed at may be restored another time, from this very input.
                if !line.code.as_ref().is_some_and(Code::is_of_the_device) {
                    self.input.release(&found);
                }
                self.observer.completed(None);
                return Ok(handled);
            }
        };
        let finished = ForScribe::Finished(Box::new(Finished { found, staged, line, ticket, before }));
        self.to_scribe.send(finished).await.map_err(|_closed| RunError::Worker)?;
        Ok(Handled::Now)
    }

    fn complete_before(&self, found: &Found) -> Handled {
        self.input.release(found);
        self.observer.completed(None);
        Handled::Before
    }

    /// Writes outputs, or the quarantine where the pass was refused or its outputs cannot be written.
    fn write(&self, work: Work) -> Result<(Vec<Staged>, Box<ReportLine>), RunError> {
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
                let input = work.input.as_ref().map(|input| (&input.payload, input.digest));
                self.output
                    .write_quarantine(&work.id, bundle, input, refusal)
                    .map_err(|source| self.unwritable(source))?
            }
        };
        let line = ReportLine {
            schema: REPORT_SCHEMA,
            id: work.id,
            input: (self.report == ReportMode::Named).then_some(work.found.name),
            input_digest: work.input.as_ref().map(|input| input.digest),
            input_bytes: work.input.as_ref().map_or(work.found.length, |input| input.payload.len()),
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
        Ok((written.staged, Box::new(line)))
    }

    fn unwritable(&self, source: io::Error) -> RunError {
        RunError::Write { path: self.output.path().to_owned(), source }
    }
}

/// Why an input that could not be read is in quarantine.
fn reason(error: &ReadError) -> Code {
    match error {
        ReadError::Unreadable(error) => tracing::warn!(%error, "an input cannot be read"),
        ReadError::Spool(error) => tracing::error!(%error, "an input cannot be copied to be worked on"),
        ReadError::Gone | ReadError::TooLarge => {}
    }
    error.code()
}

/// What the report says already of an input. An error where its lost outputs are not what it gives now: the first result
/// stands.
fn before(begun: Begun, line: &ReportLine) -> Result<Before, Handled> {
    let Some(recorded) = begun.recorded else { return Ok(Before::Nothing) };
    let again = Recorded::of(&recorded).map_or(Again::Otherwise, |before| before.compare(line));
    match again {
        Again::Same => {}
        Again::Changed => {
            tracing::warn!(id = %line.id, "outputs that were made again are not those of before");
        }
        Again::Otherwise => {
            let code = line.code.as_ref().map(ToString::to_string);
            tracing::warn!(id = %line.id, code, "outputs that are gone could not be made again");
            return Err(Handled::Left);
        }
        Again::Failed => {
            let code = line.code.as_ref().map(ToString::to_string);
            tracing::warn!(id = %line.id, code, "the device failed to make outputs again that are gone");
            return Err(Handled::FailedAgain);
        }
    }
    Ok(Before::Lost { line: recorded, again })
}

/// An input that was read.
struct Read {
    payload: Payload,
    digest: Digest,
}

/// An input whose pass has ended.
struct Work {
    found: Found,
    id: String,
    /// None where it could not be read.
    input: Option<Read>,
    pass: Pass,
    trace_id: String,
    begun: Instant,
    read_time: Duration,
}

fn trace_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random bytes the id is all zeros, which W3C trace context calls invalid: nothing is joined wrongly.
    let _ = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
