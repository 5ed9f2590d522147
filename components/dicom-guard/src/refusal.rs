//! Why a file was refused: a stable code, a sentence for the local log, never a value.

use std::fmt;

use dicom_stream::{Class, ReadError};
use martello_guest_sdk::Fault;

/// Every code that this component gives; the bundle's manifest lists them.
pub const CODES: &[&str] = &[
    "deflate-bomb",
    "depth",
    "element-count",
    "element-order",
    "file-meta",
    "fragment-count",
    "fragments",
    "not-dicom",
    "pixel-geometry",
    "pixel-length",
    "pixel-size",
    "polyglot",
    "read",
    "structure",
    "trailing-bytes",
    "truncated",
];

/// Which of the host's kinds of fault a refusal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not what the media type says.
    Malformed,
    /// Over a limit.
    Limit,
    /// Another kind of file as well.
    Policy,
    /// The payload could not be read.
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
    pub(crate) fn malformed(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(Kind::Malformed, code, detail)
    }

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

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let text = refusal.to_string();
        match refusal.kind {
            Kind::Malformed => Self::malformed(text),
            Kind::Limit => Self::limit(text),
            Kind::Policy => Self::policy(text),
            Kind::Internal => Self::internal(text),
        }
    }
}
