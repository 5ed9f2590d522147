//! What a stage returns, as reports and findings files show it. The fields are those of `martello:pipeline/types`.

use martello_vocab::code;
use serde::{Deserialize, Serialize};

/// What a stage concluded of a payload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// The kind, a word that the manifest declares.
    pub kind: String,
    /// The chosen label; none where the stage abstains.
    pub label: Option<String>,
    /// Calibrated probability of the chosen label, 0 to 1.
    pub confidence: Option<f32>,
    /// Every label with its calibrated probability.
    pub scores: Vec<Score>,
    /// Further numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub measurements: Vec<Measurement>,
}

/// A label with its calibrated probability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The label.
    pub label: String,
    /// 0 to 1.
    pub probability: f32,
}

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// What was measured.
    pub name: String,
    /// The number; finite.
    pub value: f64,
    /// The unit (UCUM).
    pub unit: String,
}

/// What a stage did to a payload: counts, never values.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// The profile or recipe followed.
    pub profile: String,
    /// The edition of the data followed.
    pub edition: String,
    /// What was done, and how often.
    pub actions: Vec<ActionCount>,
    /// Stable remarks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// How often a stage did something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActionCount {
    /// What was done.
    pub action: String,
    /// How often.
    pub count: u32,
}

/// Why a stage did not do its work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The case of the WIT variant.
    pub kind: FaultKind,
    /// The guest's text, for the local log only.
    pub text: String,
}

/// The cases of `martello:pipeline/types.fault`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FaultKind {
    /// The payload is not what its media type says.
    Malformed,
    /// The stage does not handle this kind of payload.
    Unsupported,
    /// Working on it would go over a limit.
    Limit,
    /// A rule forbids it.
    Policy,
    /// A person has to look.
    NeedsReview,
    /// The stage is at fault.
    Internal,
}

impl FaultKind {
    /// The general reason code of this case.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Malformed => code::MALFORMED,
            Self::Unsupported => code::UNSUPPORTED,
            Self::Limit => code::LIMIT,
            Self::Policy => code::POLICY,
            Self::NeedsReview => code::NEEDS_REVIEW,
            Self::Internal => code::INTERNAL,
        }
    }
}
