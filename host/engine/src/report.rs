//! The report: one line an input, and what stands in it.
//!
//! A line holds names, digests, counts and times, and no value out of a file.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use martello_inference::Execution;
use martello_pipeline::Finding;
use martello_vocab::{Code, Digest, Name};
use serde::{Deserialize, Serialize};

use crate::pass::StageRun;

/// The version of the report's lines.
pub const REPORT_SCHEMA: u32 = 1;

/// A line of `report.jsonl`.
#[derive(Clone, PartialEq, Serialize)]
pub struct ReportLine {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The id under which the outputs stand.
    pub id: String,
    /// The input's file name; left out of a private report.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    /// SHA-256 of the input; left out where it could not be read or is larger than the device reads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// How many bytes were read and hashed; without a digest, the length that the folder tells.
    pub input_bytes: u64,
    /// `done` or `quarantine`.
    pub outcome: &'static str,
    /// Why it is in quarantine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<Code>,
    /// The stage that refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused_by: Option<Name>,
    /// Output files, relative to the output folder.
    pub outputs: Vec<OutputFile>,
    /// Ids of other contents of the same file that stand in quarantine: they are out of date.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub supersedes: Vec<String>,
    /// What was quarantined before under the same name, and was the beginning of this content: it was judged while the file
    /// was being written, and has neither a line nor a copy any more. The latest [`MOST_PARTS`](Self::MOST_PARTS), in the order in which
    /// they were judged.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub instead_of: Vec<Part>,
    /// The bundle's digest.
    pub bundle: Digest,
    /// The stages that ran, in order.
    pub stages: Vec<StageLine>,
    /// The models that ran.
    pub models: Vec<ModelLine>,
    /// How many findings there are.
    pub findings: usize,
    /// Where the time went.
    pub timings: Timings,
    /// Joins this line to logs and traces (W3C trace context).
    pub trace_id: String,
}

impl ReportLine {
    /// Parts of a content that its line tells of: one that is judged again and again while it is written for days may not
    /// grow a line without end.
    pub const MOST_PARTS: usize = 64;
}

/// A decision whose line has given way to that of the whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The id under which it stood in quarantine.
    pub id: String,
    /// Why.
    pub code: Code,
}

/// The input's file name may be a patient's.
impl fmt::Debug for ReportLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("ReportLine");
        shown.field("id", &self.id).field("outcome", &self.outcome).field("code", &self.code);
        shown.finish_non_exhaustive()
    }
}

/// An output file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OutputFile {
    /// Its path relative to the output folder.
    pub path: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// How many they are.
    pub bytes: u64,
}

/// What a stage did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StageLine {
    /// The stage.
    pub stage: Name,
    /// The component's digest.
    pub component: Digest,
    /// The profile that it followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The edition of the data that it followed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub edition: Option<String>,
    /// How often it did what.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub actions: BTreeMap<String, u64>,
    /// Its remarks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Milliseconds in which guest code itself ran, as the limit `compute_ms` counts them: the host's work and waits, a
    /// model's runs among them, and waiting for a processor are left out.
    pub compute_ms: f64,
    /// Milliseconds from call to end, everything included.
    pub wall_ms: f64,
    /// The most memory that it held, in bytes.
    pub memory_bytes: u64,
    /// Lines of its log that were dropped because it wrote too many.
    #[serde(skip_serializing_if = "is_zero")]
    pub log_lines_dropped: u64,
}

impl From<&StageRun> for StageLine {
    fn from(run: &StageRun) -> Self {
        let evidence = run.evidence.as_ref();
        Self {
            stage: run.stage.clone(),
            component: run.component,
            profile: evidence.map(|evidence| evidence.profile.clone()),
            edition: evidence.map(|evidence| evidence.edition.clone()),
            actions: run.actions(),
            notes: evidence.map(|evidence| evidence.notes.clone()).unwrap_or_default(),
            compute_ms: milliseconds(run.usage.compute),
            wall_ms: milliseconds(run.usage.wall),
            memory_bytes: run.usage.memory.0,
            log_lines_dropped: run.usage.log_lines_dropped,
        }
    }
}

/// A model that ran, and how long it took.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelLine {
    /// What ran, on what.
    #[serde(flatten)]
    pub run: ModelRun,
    /// The manifest's golden outputs decided alone that it may run: the built-in backend could not run it beside the
    /// one that was chosen.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub golden_decided_alone: bool,
    /// From the component's calls to the answers, in milliseconds of wall time.
    pub ms: f64,
}

/// A model that ran. It holds no time: findings that are made again are the same, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelRun {
    /// Its name in the bundle; none where the component brought its bytes.
    pub model: Option<String>,
    /// Its digest.
    pub digest: Digest,
    /// On what it really ran.
    pub execution: Execution,
    /// How often it gave an answer.
    pub runs: u64,
    /// How often it gave none.
    pub failures: u64,
}

/// Where the time went, in milliseconds of wall time.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Timings {
    /// Reading and hashing the input.
    pub read_ms: f64,
    /// All stages.
    pub stages_ms: f64,
    /// From opening the input until its outputs were written; making them durable comes on top and is shared by
    /// inputs that end together.
    pub total_ms: f64,
}

/// The findings file of an input.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FindingsFile<'a> {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The id under which the outputs stand.
    pub id: &'a str,
    /// The bundle's digest.
    pub bundle: Digest,
    /// The models that ran.
    pub models: Vec<&'a ModelRun>,
    /// What was found, with the stage that found it.
    pub findings: Vec<FindingEntry<'a>>,
}

/// A finding and its stage.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FindingEntry<'a> {
    /// The stage.
    pub stage: &'a Name,
    /// What it found.
    #[serde(flatten)]
    pub finding: &'a Finding,
}

/// What stands beside a file in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct QuarantineNote<'a> {
    /// [`REPORT_SCHEMA`].
    pub schema: u32,
    /// The id.
    pub id: &'a str,
    /// The reason code; `martello explain CODE` tells what to do.
    pub code: &'a Code,
    /// The stage that refused it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stage: Option<&'a Name>,
    /// SHA-256 of the file beside it; left out where no copy could be made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_digest: Option<Digest>,
    /// The bundle that refused it.
    pub bundle: Digest,
}

/// A duration as milliseconds with three decimals.
pub(crate) fn milliseconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e3
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A line of an input that is done and has nothing.
    pub(crate) fn line() -> ReportLine {
        ReportLine {
            schema: REPORT_SCHEMA,
            id: "1".to_owned(),
            input: None,
            input_digest: None,
            input_bytes: 0,
            outcome: "done",
            code: None,
            refused_by: None,
            outputs: Vec::new(),
            supersedes: Vec::new(),
            instead_of: Vec::new(),
            bundle: Digest::of(b""),
            stages: Vec::new(),
            models: Vec::new(),
            findings: 0,
            timings: Timings { read_ms: 0.0, stages_ms: 0.0, total_ms: 0.0 },
            trace_id: String::new(),
        }
    }
}
