//! The one that makes complete inputs durable and then says so.

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use martello_ingest::Found;
use martello_store::place::{self, Staged, Tree};
use martello_store::{Completed, Journal, Outcome, Tally};
use serde_json::Value;
use tokio::sync::mpsc;

use super::dispatch::Ticket;
use super::restoring::Again;
use super::{Input, Observer, ReportMode, RunError};
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
}

/// Makes complete inputs durable, in batches.
pub(super) struct Scribe {
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
        journal: Arc<Journal>,
        output: OutputFolder,
        input: Input,
        observer: Arc<dyn Observer>,
        mode: ReportMode,
    ) -> Result<Self, RunError> {
        let report = make_report(&journal, output.tree(), mode)?;
        Ok(Self { journal, report, output, input, observer, mode, stale: false })
    }

    /// Commits what workers send until the last of them is gone, and returns how many inputs ended how.
    ///
    /// Where an input has a new line, the old one stands before it in the report until nothing waits to be committed:
    /// then the report is made new.
    pub(super) fn work(mut self, mut from_workers: mpsc::Receiver<ForScribe>) -> Result<Written, RunError> {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        let mut written = Written::default();
        while from_workers.blocking_recv_many(&mut batch, LARGEST_BATCH) > 0 {
            self.commit(batch.drain(..), &mut written)?;
            if self.stale && from_workers.is_empty() {
                self.report = make_report(&self.journal, self.output.tree(), self.mode)?;
                self.stale = false;
            }
        }
        Ok(written)
    }

    fn commit(
        &mut self,
        batch: impl Iterator<Item = ForScribe>,
        written: &mut Written,
    ) -> Result<(), RunError> {
        let mut text = String::new();
        let mut files = Vec::new();
        let mut completed = Vec::new();
        let mut ended = Vec::new();
        let mut gone = Vec::new();
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
            match (&finished.before, outcome) {
                (Before::Lost { .. }, _) => written.restored += 1,
                (_, Outcome::Done) => written.completed.done += 1,
                (_, Outcome::Quarantined | Outcome::DeviceFailed) => written.completed.quarantined += 1,
            }
            let is_new = outcome == Outcome::Done && matches!(finished.before, Before::Nothing);
            let line = match finished.before {
                Before::Lost { line, again: Again::Same } => line,
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
        place::settle(files).map_err(|source| RunError::Settle { path: self.output_path(), source })?;
        let new = ended.iter().filter(|(.., is_new)| *is_new).flat_map(|(line, ..)| &line.outputs);
        let exports: Vec<_> = new.filter(|file| OutputFolder::is_export(file)).collect();
        if !exports.is_empty() {
            let handed_on = self.observer.exported(self.output.tree().path(), &exports);
            handed_on.map_err(|source| RunError::HandOn { path: self.output_path(), source })?;
        }
        self.journal.complete(&completed)?;
        for id in &gone {
            let taken = self.output.take_out_of_quarantine(id);
            taken.map_err(|source| RunError::Write { path: self.output_path(), source })?;
        }
        let reported = self
            .report
            .write_all(text.as_bytes())
            .map_err(|source| RunError::Report { path: self.report_path(), source });
        for (line, found, outcome, ticket, _) in ended {
            ticket.committed();
            if outcome != Outcome::DeviceFailed {
                self.input.release(&found);
            }
            self.observer.completed(Some(&line));
        }
        reported
    }

    fn output_path(&self) -> PathBuf {
        self.output.tree().path().to_owned()
    }

    fn report_path(&self) -> PathBuf {
        self.output.tree().path().join(REPORT)
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
