//! Why a file was refused: a stable code for the operator, a sentence for the local log, never a value.

use std::fmt;

use dicom_stream::{Class, ReadError};

/// Every code that this component gives; the bundle's manifest lists them.
pub const CODES: &[&str] = &[
    "bad-setting",
    "bad-table",
    "burned-in-risk-class",
    "burned-in-risk-colour",
    "burned-in-risk-derived",
    "burned-in-risk-modality",
    "burned-in-risk-not-original",
    "burned-in-risk-overlay",
    "burned-in-risk-recognizable",
    "burned-in-risk-said",
    "burned-in-risk-screen",
    "deflate-bomb",
    "depth",
    "element-count",
    "empty-data-set",
    "encapsulated-document",
    "frame-data",
    "identifier-length",
    "media-directory",
    "not-dicom",
    "output",
    "pseudonyms",
    "read",
    "structure",
    "truncated",
    "uid-count",
    "unsupported-syntax",
    "video",
];

/// Which of the host's kinds of fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not what the media type says.
    Malformed,
    /// A kind of object that is not handled.
    Unsupported,
    /// Over a limit.
    Limit,
    /// A rule forbids it.
    Policy,
    /// A person has to look.
    NeedsReview,
    /// The component or its configuration is at fault.
    Internal,
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Its kind.
    pub kind: Kind,
    /// Its code, one of [`CODES`].
    pub code: &'static str,
    /// A sentence for the local log.
    pub detail: String,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, code: &'static str, detail: impl Into<String>) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        Self { kind, code, detail: detail.into() }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.detail)
    }
}

impl std::error::Error for Refusal {}

impl From<ReadError> for Refusal {
    fn from(error: ReadError) -> Self {
        let (class, code) = error.refusal();
        let kind = match class {
            Class::Malformed => Kind::Malformed,
            Class::Limit => Kind::Limit,
            Class::Source => Kind::Internal,
        };
        Self::new(kind, code, error.to_string())
    }
}
