//! One input's way from the folder to the scribe.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use martello_ingest::Found;
use martello_runtime::Payload;
use martello_store::place::{self, Staged};
use martello_store::{Begun, Journal, JournalError, Started};
use martello_vocab::{Code, Digest, code};
use tokio::sync::{RwLock, mpsc};
use tokio::task::block_in_place;
use tracing::Instrument;

use super::disk::{Disk, Step};
use super::dispatch::{Ticket, Turn};
use super::earlier::Earlier;
use super::reading::{ReadError, read_input};
use super::restoring::{Again, Recorded};
use super::scribe::{Before, Finished, ForScribe};
use super::{Input, Observer, ReportMode, RunError, Stop};
use crate::activation::Active;
use crate::outputs::{OutputFolder, Written};
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
    pub(super) disk: Arc<Disk>,
}

impl Worker {
    /// Works on an input that was found, as far as the scribe.
    pub(super) async fn handle(&self, found: Found, mut ticket: Ticket) -> Result<Handled, RunError> {
        if self.stop.is_asked() {
            return Ok(Handled::Stopped);
        }
        let name = self.active.site_key.name_id(&found.name);
        if self.in_journal(|journal| journal.is_complete(&name, fingerprint(&found)))? {
            return Ok(self.complete_before(&found));
        }
        // A file that vanished before it could be read is no input any more.
        let Some(looked) = block_in_place(|| self.look(found, name))? else { return Ok(Handled::Left) };
        let turn = self.turn(&looked.id).await?;
        if self.stop.is_asked() {
            return Ok(Handled::Stopped);
        }
        let Some(begun) = self.start(&looked, &mut ticket, turn).await? else {
            return Ok(self.complete_before(&looked.found));
        };
        let trace_id = trace_id();
        let span =
            tracing::info_span!("input", id = %looked.id, trace = %trace_id, bytes = looked.found.length);
        let pass = self.pass(&looked, begun.count, &trace_id).instrument(span.clone()).await;
        let (staged, line) = block_in_place(|| span.in_scope(|| self.write(&looked, &pass, trace_id)))?;
        self.hand_over(looked, staged, line, begun, ticket).await
    }

    /// Reads and hashes an input, and gives it its id. None where it is gone.
    fn look(&self, found: Found, name: String) -> Result<Option<Looked>, RunError> {
        let begun = Instant::now();
        let read = self.disk.insist(Step::Write, || match read_input(&found, || self.output.unnamed()) {
            Err(ReadError::Spool(source)) if place::is_of_the_disk(&source) => Err(self.unwritable(source)),
            read => Ok(read),
        })?;
        let read_time = begun.elapsed();
        let input = match read {
            Ok((payload, digest)) => Ok(Read { payload, digest }),
            Err(ReadError::Gone) => return Ok(None),
            Err(error) => Err(error),
        };
        let key = &self.active.site_key;
        let (id, earlier) = match &input {
            Ok(Read { payload, digest }) => {
                let quarantined = self.in_journal(|journal| journal.quarantined(&name))?;
                (key.input_id(&found.name, digest), Earlier::of(quarantined, payload))
            }
            Err(_) => (key.unread_id(&found.name, fingerprint(&found)), Earlier::default()),
        };
        Ok(Some(Looked { found, name, id, input, earlier, begun, read_time }))
    }

    /// The host was ended while an input and others were at work: it is not blamed before it was tried alone.
    async fn turn(&self, id: &str) -> Result<Turn, RunError> {
        Ok(match self.in_journal(|journal| journal.starts(id))? {
            0 => Turn::Beside { _guard: Arc::clone(&self.turns).read_owned().await },
            _ => Turn::Alone { _guard: Arc::clone(&self.turns).write_owned().await },
        })
    }

    /// Counts a start of the input, and clears away what an earlier failure of the device has left of it. None where it
    /// is complete.
    async fn start(
        &self,
        looked: &Looked,
        ticket: &mut Ticket,
        turn: Turn,
    ) -> Result<Option<Begun>, RunError> {
        let started = Started {
            id: &looked.id,
            name: &looked.name,
            digest: looked.digest(),
            fingerprint: fingerprint(&looked.found),
        };
        let start = self.in_journal(|journal| journal.start(&started))?;
        if start.begun.is_some() {
            ticket.started(&self.journal, &looked.id, turn);
        }
        for earlier in &start.superseded {
            let take_out =
                || self.output.take_out_of_quarantine(earlier).map_err(|source| self.unwritable(source));
            block_in_place(|| self.disk.insist(Step::Write, take_out))?;
        }
        if !start.superseded.is_empty() {
            self.to_scribe.send(ForScribe::LinesGone).await.map_err(|_closed| RunError::Worker)?;
        }
        Ok(start.begun)
    }

    /// Sends the input through the pipeline, unless it could not be read or has ended the host too often.
    async fn pass(&self, looked: &Looked, starts: u32, trace_id: &str) -> Pass {
        match &looked.input {
            Err(error) => refused(reason(error)),
            Ok(_) if starts > MOST_STARTS => refused(Code::of(code::INPUT_CRASHES_HOST)),
            Ok(input) => self.active.pass(input.payload.clone(), trace_id).await,
        }
    }

    /// Gives what was made to the scribe, unless the first result of the input stands.
    async fn hand_over(
        &self,
        looked: Looked,
        staged: Vec<Staged>,
        line: Box<ReportLine>,
        begun: Begun,
        ticket: Ticket,
    ) -> Result<Handled, RunError> {
        let before = match before(begun, &line) {
            Ok(before) => before,
            Err(handled) => {
                // What the device failed at may be restored another time, from this very input.
                if !line.code.as_ref().is_some_and(Code::is_of_the_device) {
                    self.input.release(&looked.found);
                }
                self.observer.completed(None);
                return Ok(handled);
            }
        };
        let Looked { found, earlier, .. } = looked;
        let finished = Finished { found, staged, line, ticket, before, instead_of: earlier.ids_of_parts() };
        let told = self.to_scribe.send(ForScribe::Finished(Box::new(finished))).await;
        told.map_err(|_closed| RunError::Worker)?;
        Ok(Handled::Now)
    }

    fn complete_before(&self, found: &Found) -> Handled {
        self.input.release(found);
        self.observer.completed(None);
        Handled::Before
    }

    /// Writes outputs, or the quarantine where the pass was refused or its outputs cannot be written.
    fn write(
        &self,
        looked: &Looked,
        pass: &Pass,
        trace_id: String,
    ) -> Result<(Vec<Staged>, Box<ReportLine>), RunError> {
        let models: Vec<ModelLine> = Active::model_lines(&pass.models);
        let write = || self.write_files(looked, pass, &models);
        let (written, refusal) = self.disk.insist(Step::Write, write)?;
        let line = ReportLine {
            schema: REPORT_SCHEMA,
            id: looked.id.clone(),
            input: (self.report == ReportMode::Named).then(|| looked.found.name.clone()),
            input_digest: looked.digest(),
            input_bytes: looked.input.as_ref().map_or(looked.found.length, |input| input.payload.len()),
            outcome: if refusal.is_none() { "done" } else { "quarantine" },
            refused_by: refusal.as_ref().and_then(|refusal| refusal.stage.clone()),
            code: refusal.map(|refusal| refusal.code),
            outputs: written.files,
            supersedes: looked.earlier.others.clone(),
            instead_of: looked.earlier.parts.clone(),
            bundle: self.active.bundle_digest,
            stages: pass.stages.iter().map(StageLine::from).collect(),
            models,
            findings: pass.findings.len(),
            timings: Timings {
                read_ms: milliseconds(looked.read_time),
                stages_ms: milliseconds(pass.elapsed),
                total_ms: milliseconds(looked.begun.elapsed()),
            },
            trace_id,
        };
        Ok((written.staged, Box::new(line)))
    }

    fn write_files(
        &self,
        looked: &Looked,
        pass: &Pass,
        models: &[ModelLine],
    ) -> Result<(Written, Option<Refusal>), RunError> {
        let bundle = self.active.bundle_digest;
        let refusal = match &pass.refusal {
            Some(refusal) => refusal.clone(),
            None => match self.output.write(&looked.id, bundle, pass, models) {
                Ok(written) => return Ok((written, None)),
                Err(source) if place::is_of_the_disk(&source) => return Err(self.unwritable(source)),
                Err(error) => {
                    tracing::error!(%error, "outputs cannot be written");
                    Refusal { stage: None, code: Code::of(code::OUTPUT_UNWRITABLE) }
                }
            },
        };
        let input = looked.input.as_ref().ok().map(|input| (&input.payload, input.digest));
        let written = self.output.write_quarantine(&looked.id, bundle, input, &refusal);
        Ok((written.map_err(|source| self.unwritable(source))?, Some(refusal)))
    }

    /// Asks the journal, which blocks; the runtime moves its other work to another thread meanwhile.
    fn in_journal<T>(&self, mut ask: impl FnMut(&Journal) -> Result<T, JournalError>) -> Result<T, RunError> {
        block_in_place(|| self.disk.insist(Step::Journal, || Ok(ask(&self.journal)?)))
    }

    fn unwritable(&self, source: io::Error) -> RunError {
        RunError::Write { path: self.output.tree().path().to_owned(), source }
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

/// What the journal knows a file again by, without reading it.
fn fingerprint(found: &Found) -> (u64, i64) {
    (found.length, found.changed)
}

fn refused(code: Code) -> Pass {
    Pass::refused(Refusal { stage: None, code })
}

/// An input that was looked at.
struct Looked {
    found: Found,
    /// What the journal knows its name by.
    name: String,
    id: String,
    input: Result<Read, ReadError>,
    earlier: Earlier,
    begun: Instant,
    read_time: Duration,
}

impl Looked {
    fn digest(&self) -> Option<Digest> {
        self.input.as_ref().ok().map(|input| input.digest)
    }
}

/// An input that was read.
struct Read {
    payload: Payload,
    digest: Digest,
}

fn trace_id() -> String {
    let mut bytes = [0_u8; 16];
    // Without random bytes the id is all zeros, which W3C trace context calls invalid: nothing is joined wrongly.
    let _ = rand::fill(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
