//! The one that makes complete inputs durable and then says so.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use martello_ingest::Found;
use martello_store::place::{self, Staged};
use martello_store::{Completed, Journal, Outcome, Tally};
use tokio::sync::mpsc;

use super::dispatch::Ticket;
use super::{Input, Observer, RunError};
use crate::outputs::OutputFolder;
use crate::report::ReportLine;

/// Inputs that are made durable together at most.
pub(super) const LARGEST_BATCH: usize = 32;

/// A complete input on its way to the scribe.
pub(super) struct Finished {
    pub(super) found: Found,
    pub(super) staged: Vec<Staged>,
    pub(super) line: Box<ReportLine>,
    pub(super) ticket: Ticket,
}

/// Makes complete inputs durable, in batches.
pub(super) struct Scribe {
    journal: Arc<Journal>,
    report: File,
    report_path: PathBuf,
    output: PathBuf,
    input: Input,
    observer: Arc<dyn Observer>,
}

impl Scribe {
    /// Opens the report, made new from the journal: the journal is the truth, the report its view.
    pub(super) fn open(
        journal: Arc<Journal>,
        output: &OutputFolder,
        input: Input,
        observer: Arc<dyn Observer>,
    ) -> Result<Self, RunError> {
        let report_path = output.report();
        let in_report = |source| RunError::Report { path: report_path.clone(), source };
        let mut fresh = place::stage(&report_path, 0o640).map_err(in_report)?;
        journal.lines(|line| writeln!(fresh, "{line}").map_err(in_report))?;
        place::settle(vec![fresh.written()]).map_err(in_report)?;
        let report = File::options().append(true).open(&report_path).map_err(in_report)?;
        Ok(Self { journal, report, report_path, output: output.path().to_owned(), input, observer })
    }

    /// Commits what workers send until the last of them is gone, and returns how many inputs ended how.
    pub(super) fn work(mut self, mut from_workers: mpsc::Receiver<Finished>) -> Result<Tally, RunError> {
        let mut batch = Vec::with_capacity(LARGEST_BATCH);
        let mut tally = Tally::default();
        while from_workers.blocking_recv_many(&mut batch, LARGEST_BATCH) > 0 {
            self.commit(batch.drain(..), &mut tally)?;
        }
        Ok(tally)
    }

    fn commit(&mut self, batch: impl Iterator<Item = Finished>, tally: &mut Tally) -> Result<(), RunError> {
        let mut files = Vec::new();
        let mut completed = Vec::new();
        let mut ended = Vec::new();
        for finished in batch {
            files.extend(finished.staged);
            let text = serde_json::to_string(&finished.line)
                .map_err(|error| RunError::Report { path: self.report_path.clone(), source: error.into() })?;
            let outcome = match &finished.line.code {
                None => Outcome::Done,
                Some(code) if code.is_of_the_device() => Outcome::DeviceFailed,
                Some(_) => Outcome::Quarantined,
            };
            match outcome {
                Outcome::Done => tally.done += 1,
                Outcome::Quarantined | Outcome::DeviceFailed => tally.quarantined += 1,
            }
            completed.push(Completed { id: finished.line.id.clone(), outcome, line: text });
            ended.push((finished.line, finished.found, outcome, finished.ticket));
        }
        place::settle(files).map_err(|source| RunError::Settle { path: self.output.clone(), source })?;
        self.journal.complete(&completed)?;
        let text: String = completed.iter().map(|input| format!("{}\n", input.line)).collect();
        let reported = self
            .report
            .write_all(text.as_bytes())
            .map_err(|source| RunError::Report { path: self.report_path.clone(), source });
        for (line, found, outcome, ticket) in ended {
            ticket.committed();
            if outcome != Outcome::DeviceFailed {
                self.input.release(&found);
            }
            self.observer.completed(Some(&line));
        }
        reported
    }
}
