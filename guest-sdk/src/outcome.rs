//! What a stage returns when its outputs are complete.

/// The result of a stage whose outputs are complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Outcome {
    /// What was concluded of the payload.
    pub findings: Vec<Finding>,
    /// What was done to the payload, for the record.
    pub evidence: Option<Evidence>,
}

impl Outcome {
    /// Nothing to tell beyond the outputs.
    pub fn empty() -> Self {
        Self::default()
    }

    /// Adds a finding.
    #[must_use]
    pub fn with_finding(mut self, finding: Finding) -> Self {
        self.findings.push(finding);
        self
    }

    /// Sets the evidence.
    #[must_use]
    pub fn with_evidence(mut self, evidence: Evidence) -> Self {
        self.evidence = Some(evidence);
        self
    }
}

/// What a stage concluded of a payload.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Finding {
    /// The kind, a word that the bundle's manifest declares, for example `acquisition-quality`.
    pub kind: String,
    /// The chosen label; none where the stage abstains.
    pub label: Option<String>,
    /// Calibrated probability of the chosen label, from 0 to 1.
    pub confidence: Option<f32>,
    /// Every label with its calibrated probability, from 0 to 1.
    pub scores: Vec<(String, f32)>,
    /// Further numbers.
    pub measurements: Vec<Measurement>,
}

impl Finding {
    /// A finding of this kind that says nothing yet.
    pub fn new(kind: impl Into<String>) -> Self {
        Self { kind: kind.into(), ..Self::default() }
    }

    /// Adds a number with its unit (UCUM).
    #[must_use]
    pub fn with_measurement(mut self, name: impl Into<String>, value: f64, unit: impl Into<String>) -> Self {
        self.measurements.push(Measurement { name: name.into(), value, unit: unit.into() });
        self
    }
}

/// A number with its unit (UCUM, for example `ms`, `1`, `mm`).
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// The number. The host refuses infinities and NaN.
    pub value: f64,
    /// Its unit.
    pub unit: String,
}

/// What a stage did, for the record. Counts and words that the bundle's manifest lists for the component (`evidence`),
/// never values out of the payload: the host refuses any other word with the code `guest-evidence`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Evidence {
    /// The profile or recipe followed, for example `ps3.15-basic`.
    pub profile: String,
    /// The edition of the data followed, for example `2026c`.
    pub edition: String,
    /// What was done, and how often.
    pub actions: Vec<ActionCount>,
    /// Remarks.
    pub notes: Vec<String>,
}

/// How often a stage did something to a payload, for example `removed` 17 times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionCount {
    /// What was done.
    pub action: String,
    /// How often.
    pub count: u32,
}
