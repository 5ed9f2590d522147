//! The one that makes complete inputs durable and then says so.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use martello_ingest::Found;
use martello_store::place::{self, Staged, Tree};
use martello_store::{Completed, Journal, Outcome, Tally};
use martello_vocab::code;
use serde_json::Value;
use tokio::sync::mpsc;

use super::disk::{Disk, Spell, Step};
use super::dispatch::Ticket;
use super::restoring::Again;
use super::{Export, Input, NotTaken, Observer, ReportMode, RunError};
use crate::outputs::{OutputFolder, REPORT};
use crate::report::ReportLine;

/// Inputs that are made durable together at most.
pub(super) const LARGEST_BATCH: usize = 32;

/// What workers tell the scribe.
pub(super) enum ForScribe {
    /// An input is complete.
    Finished(Box<Finished>),
    /// The journal has forgotten inputs at which the device failed, and the report still holds their lines.
    LinesGone,
}

/// A complete input on its way to the scribe.
pub(super) struct Finished {
    pub(super) found: Found,
    pub(super) staged: Vec<Staged>,
    pub(super) line: Box<ReportLine>,
    pub(super) ticket: Ticket,
    pub(super) before: Before,
    /// Ids of inputs in quarantine whose place it takes.
    pub(super) instead_of: Vec<String>,
}

/// What the report says already of an input that is completed now.
pub(super) enum Before {
    /// Nothing.
    Nothing,
    /// That it is done, in this line; its outputs were lost.
    Lost { line: String, again: Again },
}

/// What a scribe has written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Written {
    /// Inputs that were completed.
    pub(super) completed: Tally,
    /// Inputs whose outputs were made again.
    pub(super) restored: u64,
    /// Inputs that were left because whoever takes their outputs over is to end.
    pub(super) left: u64,
}

/// Makes complete inputs durable, in batches.
pub(super) struct Scribe {
    disk: Arc<Disk>,
    journal: Arc<Journal>,
    report: File,
    output: OutputFolder,
    input: Input,
    observer: Arc<dyn Observer>,
    mode: ReportMode,
    /// Whether the report holds lines that are out of date.
    stale: bool,
}

impl Scribe {
    /// Opens the report, made new from the journal: the journal is the truth, the report its view.
    pub(super) fn open(
        disk: Arc<Disk>,
        journal: Arc<Journal>,
        output: OutputFolder,
        input: Input,
        observer: Arc<dyn Observer>,
        mode: ReportMode,
    ) -> Result<Self, RunError> {
        let report = disk.insist(Step::Report, || make_report(&journal, output.tree(), mode))?;
        Ok(Self { disk, journal, report, output, input, observer, mode, stale: false })
    }

    /// Commits what workers send until the last of them is gone, and returns how many inputs ended how.
    ///
    /// Where an input has a new line, the old one stands before it in the report until nothing waits to be committed:
    /// then the report is made new.
    pub(super) fn work(mut self, mut from_workers: mpsc::Receiver<ForScribe>) -> Result<Written, RunError> {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        let mut written = Written::default();
        let disk = Arc::clone(&self.disk);
        // Goes on from one batch to the next, until one is durable.
        let mut spell = None;
        while from_workers.blocking_recv_many(&mut batch, LARGEST_BATCH) > 0 {
            self.commit(batch.drain(..), &mut written, &disk, &mut spell)?;
            if self.stale && from_workers.is_empty() {
                let make = || make_report(&self.journal, self.output.tree(), self.mode);
                self.report = disk.insist(Step::Report, make)?;
                self.stale = false;
            }
        }
        Ok(written)
    }

    fn commit<'disk>(
        &mut self,
        batch: impl Iterator<Item = ForScribe>,
        written: &mut Written,
        disk: &'disk Disk,
        spell: &mut Option<Spell<'disk>>,
    ) -> Result<(), RunError> {
        let mut text = String::new();
        let mut files = Vec::new();
        let mut completed = Vec::new();
        let mut ended = Vec::new();
        let mut gone = Vec::new();
        let mut counted = *written;
        for told in batch {
            let ForScribe::Finished(finished) = told else {
                self.stale = true;
                continue;
            };
            let finished = *finished;
            files.extend(finished.staged);
            let new_line = serde_json::to_string(&finished.line)
                .map_err(|error| RunError::Report { path: self.report_path(), source: error.into() })?;
            let outcome = match &finished.line.code {
                None => Outcome::Done,
                Some(code) if code.is_of_the_device() => Outcome::DeviceFailed,
                Some(_) => Outcome::Quarantined,
            };
            let is_lost = matches!(finished.before, Before::Lost { .. });
            count(&mut counted, is_lost, outcome);
            let is_new = outcome == Outcome::Done && matches!(finished.before, Before::Nothing);
            let line = match finished.before {
                Before::Lost { line, again: Again::Same } if finished.instead_of.is_empty() => line,
                before => {
                    self.stale |= matches!(before, Before::Lost { .. });
                    text.push_str(&new_line);
                    text.push('\n');
                    new_line
                }
            };
            self.stale |= !finished.instead_of.is_empty();
            gone.extend(finished.instead_of.iter().cloned());
            let (id, instead_of) = (finished.line.id.clone(), finished.instead_of);
            completed.push(Completed { id, outcome, line, instead_of });
            ended.push((finished.line, finished.found, outcome, finished.ticket, is_new));
        }
        let in_output = |source| RunError::Settle { path: self.output_path(), source };
        match disk.attempt(Step::Settle, || place::settle(files).map_err(in_output)) {
            Err(error) if error.is_of_the_disk() => {
                spell.get_or_insert_with(|| disk.suffer(&error)).pause(error)?;
                // What was written may be gone, whatever a second `fsync` says: it is made anew.
                return ended.into_iter().try_for_each(|(_, found, _, ticket, _)| ticket.again(found, disk));
            }
            settled => settled?,
        }
        *spell = None;
        let new = ended.iter().filter(|(.., is_new)| *is_new).flat_map(|(line, ..)| &line.outputs);
        let tree = self.output.tree();
        let exports: Vec<_> =
            new.filter(|file| OutputFolder::is_export(file)).map(|file| Export { file, tree }).collect();
        if !exports.is_empty() {
            let is_taken = disk.insist(Step::HandOn, || match self.observer.exported(&exports) {
                Ok(()) => Ok(true),
                Err(NotTaken::Ending) => Ok(false),
                Err(NotTaken::Failed(source)) => Err(RunError::HandOn { path: self.output_path(), source }),
            })?;
            if !is_taken {
                // Their tickets take the starts back.
                written.left += ended.len() as u64;
                return Ok(());
            }
        }
        disk.insist(Step::Journal, || Ok(self.journal.complete(&completed)?))?;
        *written = counted;
        for id in &gone {
            disk.insist(Step::Write, || {
                let taken = self.output.take_out_of_quarantine(id);
                taken.map_err(|source| RunError::Write { path: self.output_path(), source })
            })?;
        }
        let reported = self.report(&text);
        for (line, found, outcome, ticket, _) in ended {
            ticket.committed();
            if outcome != Outcome::DeviceFailed {
                self.input.release(&found);
            }
            self.observer.completed(Some(&line));
        }
        reported
    }

    /// Writes lines on. Where the disk takes them not at all or in part, the report is made new from the journal.
    fn report(&mut self, text: &str) -> Result<(), RunError> {
        let path = self.report_path();
        let write =
            || self.report.write_all(text.as_bytes()).map_err(|source| RunError::Report { path, source });
        match self.disk.attempt(Step::Report, write) {
            Err(error) if error.is_of_the_disk() => {
                tracing::warn!(why = %error, code = code::DISK_FULL, "the report is behind the journal, and is made new");
                self.stale = true;
                Ok(())
            }
            reported => reported,
        }
    }

    fn output_path(&self) -> PathBuf {
        self.output.tree().path().to_owned()
    }

    fn report_path(&self) -> PathBuf {
        self.output.tree().path().join(REPORT)
    }
}

fn count(written: &mut Written, is_lost: bool, outcome: Outcome) {
    match outcome {
        _ if is_lost => written.restored += 1,
        Outcome::Done => written.completed.done += 1,
        Outcome::Quarantined | Outcome::DeviceFailed => written.completed.quarantined += 1,
    }
}

/// Makes the report new from the journal, and opens it to be written on.
fn make_report(journal: &Journal, output: &Tree, mode: ReportMode) -> Result<File, RunError> {
    let in_report = |source| RunError::Report { path: output.path().join(REPORT), source };
    let mut fresh = BufWriter::new(output.stage(REPORT, 0o640).map_err(in_report)?);
    journal.lines(|line| {
        match mode {
            ReportMode::Named => writeln!(fresh, "{line}"),
            ReportMode::Private => without_name(line).and_then(|line| writeln!(fresh, "{line}")),
        }
        .map_err(in_report)
    })?;
    let fresh = fresh.into_inner().map_err(|error| in_report(error.into_error()))?;
    place::settle(vec![fresh.written()]).map_err(in_report)?;
    output.append(REPORT).map_err(in_report)
}

/// A line of the report without the input's file name, which a run with names has recorded.
fn without_name(line: &str) -> io::Result<Cow<'_, str>> {
    let mut fields: serde_json::Map<String, Value> = serde_json::from_str(line)?;
    // The order of the others changes, which is no matter in JSON.
    Ok(if fields.remove("input").is_some() { serde_json::to_string(&fields)?.into() } else { line.into() })
}
