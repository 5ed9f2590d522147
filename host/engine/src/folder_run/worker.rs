//! One input's way from the folder to the scribe.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use martello_ingest::Found;
use martello_runtime::Payload;
use martello_store::{Journal, Started};
use martello_vocab::{Code, Digest, code};
use tokio::sync::mpsc;
use tracing::Instrument;

use super::reading::{ReadError, nothing, read_input};
use super::scribe::Finished;
use super::{Observer, ReportMode, RunError};
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
    Stopped,
}

pub(super) struct Worker {
    pub(super) active: Arc<Active>,
    pub(super) journal: Arc<Journal>,
    pub(super) output: OutputFolder,
    pub(super) report: ReportMode,
    pub(super) to_scribe: mpsc::Sender<Finished>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) stop: Arc<AtomicBool>,
}

impl Worker {
    pub(super) async fn handle(&self, found: Found) -> Result<Handled, RunError> {
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

fn trace_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random bytes the id is all zeros, which W3C trace context calls invalid: nothing is joined wrongly.
    let _ = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
