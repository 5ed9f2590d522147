//! One input's way from the folder to the scribe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use martello_ingest::Found;
use martello_runtime::Payload;
use martello_store::place::Staged;
use martello_store::{Journal, Start, Started};
use martello_vocab::{Code, Digest, code};
use tokio::sync::{RwLock, mpsc};
use tracing::Instrument;

use super::dispatch::{Ticket, Turn};
use super::reading::{ReadError, read_input};
use super::restoring::{Again, Recorded};
use super::scribe::{Before, Finished};
use super::{Input, Observer, ReportMode, RunError};
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
    /// It was not completed: the run ends, the file is gone, or what it gave before cannot be had again.
    Left,
}

pub(super) struct Worker {
    pub(super) active: Arc<Active>,
    pub(super) journal: Arc<Journal>,
    pub(super) input: Input,
    pub(super) output: OutputFolder,
    pub(super) report: ReportMode,
    pub(super) to_scribe: mpsc::Sender<Finished>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Arc<AtomicBool>,
    /// Inputs are worked on beside each other, but one that was at work when the host was ended is worked on alone.
    pub(super) turns: Arc<RwLock<()>>,
}

impl Worker {
    pub(super) async fn handle(&self, found: Found, mut ticket: Ticket) -> Result<Handled, RunError> {
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Handled::Left);
        }
        let name_id = self.active.site_key.name_id(&found.name);
        let fingerprint = (found.length, found.changed);
        if self.journal.is_complete(&name_id, fingerprint)? {
            return Ok(self.complete_before(&found));
        }
        let begun = Instant::now();
        // Reading and writing files blocks; the runtime moves its other work to another thread meanwhile.
        let read = tokio::task::block_in_place(|| read_input(&found, &self.output.memory()));
        let read_time = begun.elapsed();
        let input = match read {
            Ok((payload, digest)) => Ok(Read { payload, digest }),
            // A file that vanished before it could be read is no input any more.
            Err(ReadError::Gone) => return Ok(Handled::Left),
            Err(ReadError::TooLarge) => Err(Code::of(code::INPUT_TOO_LARGE)),
            Err(ReadError::Unreadable(error)) => {
                tracing::warn!(%error, "an input cannot be read");
                Err(Code::of(code::INPUT_UNREADABLE))
            }
        };
        let digest = input.as_ref().ok().map(|input| input.digest);
        let id = match &digest {
            Some(digest) => self.active.site_key.input_id(&found.name, digest),
            None => self.active.site_key.unread_id(&found.name, fingerprint),
        };
        // The host was ended while this input and others were at work: it is not blamed before it was tried alone.
        let turn = match self.journal.starts(&id)? {
            0 => Turn::Beside { _guard: Arc::clone(&self.turns).read_owned().await },
            _ => Turn::Alone { _guard: Arc::clone(&self.turns).write_owned().await },
        };
        if self.stop.load(Ordering::Relaxed) {
            return Ok(Handled::Left);
        }
        let started = Started { id: &id, name: &name_id, digest, fingerprint };
        let Some(start) = self.journal.start(&started)? else {
            return Ok(self.complete_before(&found));
        };
        ticket.started(&self.journal, &id, turn);
        for earlier in &start.superseded {
            self.output.take_out_of_quarantine(earlier).map_err(|source| self.unwritable(source))?;
        }
        let trace_id = trace_id();
        let span = tracing::info_span!("input", id = %id, trace = %trace_id, bytes = found.length);
        let crashed = (start.count > MOST_STARTS).then(|| Code::of(code::INPUT_CRASHES_HOST));
        let (input, refused) = match input {
            Ok(input) => (Some(input), crashed),
            Err(code) => (None, Some(code)),
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
        let (staged, line) = tokio::task::block_in_place(|| span.in_scope(|| self.write(work)))?;
        let Some(before) = before(start, &line) else {
            // The first result stands. What the device failed at may be restored another time, from this very input.
            if !line.code.as_ref().is_some_and(Code::is_of_the_device) {
                self.input.release(&found);
            }
            self.observer.completed(None);
            return Ok(Handled::Left);
        };
        let finished = Finished { found, staged, line, ticket, before };
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

/// What the report says already of an input; none where its lost outputs are not what it gives now, so that the first
/// result stands.
fn before(start: Start, line: &ReportLine) -> Option<Before> {
    let Some(recorded) = start.recorded else {
        let fresh = start.superseded.is_empty();
        return Some(if fresh { Before::Nothing } else { Before::DeviceFailed });
    };
    let again = Recorded::of(&recorded).map_or(Again::Otherwise, |before| before.compare(line));
    match again {
        Again::Same => {}
        Again::Changed => {
            tracing::warn!(id = %line.id, "outputs that were made again are not those of before");
        }
        Again::Otherwise => {
            let code = line.code.as_ref().map(ToString::to_string);
            tracing::warn!(id = %line.id, code, "outputs that are gone could not be made again");
            return None;
        }
    }
    Some(Before::Lost { line: recorded, again })
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
