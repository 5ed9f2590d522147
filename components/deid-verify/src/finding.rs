//! What was found: a rule and a place, never a value.

use std::fmt;

use martello_guest_sdk::Fault;

/// Every code that this component gives; the bundle's manifest lists them.
pub const CODES: &[&str] = &[
    "address-in-value",
    "age-over-89",
    "attribute-not-emptied",
    "attribute-not-removed",
    "attribute-not-replaced",
    "attribute-unknown",
    "bad-rules",
    "bad-setting",
    "burned-in-annotation",
    "date-in-value",
    "dates-not-said",
    "file-meta",
    "frame-comment",
    "frame-data",
    "identifier-in-value",
    "identity-not-said",
    "method-not-said",
    "name-in-value",
    "padding-not-empty",
    "patient-not-replaced",
    "preamble-not-empty",
    "private-attribute",
    "read",
    "recognizable-features",
    "sequence-not-emptied",
    "telephone-in-value",
    "too-deep",
    "too-large",
    "trailing-bytes",
    "uid-not-replaced",
    "unreadable",
    "value-form",
];

/// Which of the host's kinds of fault a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Not what a de-identifier may write.
    Malformed,
    /// Over a limit.
    Limit,
    /// The profile forbids it.
    Policy,
    /// It looks like something that identifies; a person has to look.
    NeedsReview,
    /// The component, its rules or its settings are at fault.
    Internal,
}

/// The first thing that should not be there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Its kind.
    pub kind: Kind,
    /// The rule, one of [`CODES`].
    pub code: &'static str,
    /// The attribute, where it is one.
    pub tag: Option<u32>,
}

impl Finding {
    pub(crate) fn of(kind: Kind, code: &'static str) -> Self {
        debug_assert!(CODES.contains(&code), "{code} is not listed");
        Self { kind, code, tag: None }
    }

    /// A rule of the profile that this attribute breaks.
    pub(crate) fn policy(code: &'static str, tag: u32) -> Self {
        Self { tag: Some(tag), ..Self::of(Kind::Policy, code) }
    }

    /// What looks like an identity in the value of this attribute.
    pub(crate) fn review(code: &'static str, tag: u32) -> Self {
        Self { tag: Some(tag), ..Self::of(Kind::NeedsReview, code) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.tag {
            Some(tag) => write!(f, "{}: at ({:04X},{:04X})", self.code, tag >> 16, tag & 0xFFFF),
            None => write!(f, "{}: of the whole object", self.code),
        }
    }
}

impl std::error::Error for Finding {}

impl From<Finding> for Fault {
    fn from(finding: Finding) -> Self {
        let text = finding.to_string();
        match finding.kind {
            Kind::Malformed => Self::malformed(text),
            Kind::Limit => Self::limit(text),
            Kind::Policy => Self::policy(text),
            Kind::NeedsReview => Self::needs_review(text),
            Kind::Internal => Self::internal(text),
        }
    }
}
