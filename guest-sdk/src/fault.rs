//! Why a stage could not do its work.

use std::fmt;
use std::io;

/// Why a stage could not do its work.
///
/// The text goes to the local log of the device and must not carry values out of the payload. Its first word, where
/// a colon follows, is the reason code that an operator sees, for example `burned-in-risk: modality is always
/// checked`; the bundle's manifest declares which codes a component may give.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The payload is not what its media type says. Sending it again will not help.
    Malformed(String),
    /// The payload is well formed, but this stage does not handle its kind (a codec, a colour space, a shape).
    Unsupported(String),
    /// Working on the payload would go over a limit (size, depth, count).
    Limit(String),
    /// A rule forbids to go on.
    Policy(String),
    /// A person has to look at the payload before it may go on.
    NeedsReview(String),
    /// The stage itself, or its configuration, is at fault.
    Internal(String),
}

impl Fault {
    /// The payload is not what its media type says.
    pub fn malformed(text: impl Into<String>) -> Self {
        Self::Malformed(text.into())
    }

    /// This stage does not handle payloads of this kind.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::Unsupported(text.into())
    }

    /// Working on the payload would go over a limit.
    pub fn limit(text: impl Into<String>) -> Self {
        Self::Limit(text.into())
    }

    /// A rule forbids to go on.
    pub fn policy(text: impl Into<String>) -> Self {
        Self::Policy(text.into())
    }

    /// A person has to look.
    pub fn needs_review(text: impl Into<String>) -> Self {
        Self::NeedsReview(text.into())
    }

    /// The stage itself, or its configuration, is at fault.
    pub fn internal(text: impl Into<String>) -> Self {
        Self::Internal(text.into())
    }

    /// The whole text, code included.
    pub fn text(&self) -> &str {
        match self {
            Self::Malformed(text)
            | Self::Unsupported(text)
            | Self::Limit(text)
            | Self::Policy(text)
            | Self::NeedsReview(text)
            | Self::Internal(text) => text,
        }
    }

    /// The reason code at the start of the text, where there is one: a lower-case kebab-case word before a colon.
    pub fn code(&self) -> Option<&str> {
        let (word, _) = self.text().split_once(':')?;
        let lower = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let parts = || word.split('-');
        parts().all(|part| !part.is_empty() && part.bytes().all(lower)).then_some(word)
    }

    fn kind(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed payload",
            Self::Unsupported(_) => "unsupported payload",
            Self::Limit(_) => "over a limit",
            Self::Policy(_) => "forbidden",
            Self::NeedsReview(_) => "needs review",
            Self::Internal(_) => "internal fault",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind(), self.text())
    }
}

impl std::error::Error for Fault {}

/// A fault inside an I/O error comes out again as it went in. Other errors keep their kind only, because the text of
/// a decoder's error may quote the payload.
impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let kind = error.kind();
        match error.downcast::<Self>() {
            Ok(fault) => fault,
            Err(_) => match kind {
                io::ErrorKind::UnexpectedEof => Self::malformed("truncated: the payload ends too early"),
                io::ErrorKind::InvalidData => {
                    Self::malformed("invalid-data: the payload holds a forbidden value")
                }
                io::ErrorKind::OutOfMemory => Self::limit("memory: an allocation failed"),
                kind => Self::internal(format!("io: {kind}")),
            },
        }
    }
}

impl From<Fault> for io::Error {
    fn from(fault: Fault) -> Self {
        Self::other(fault)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_survives_its_way_through_an_io_error() {
        let fault = Fault::policy("not-granted: asset");
        assert_eq!(Fault::from(io::Error::from(fault.clone())), fault);
    }

    #[test]
    fn the_text_of_a_foreign_io_error_stays_out_of_the_fault() {
        let error = io::Error::new(io::ErrorKind::InvalidData, "Doe^John is no number");
        let fault = Fault::from(error);
        assert!(matches!(&fault, Fault::Malformed(text) if !text.contains("Doe")), "{fault}");
    }

    #[test]
    fn only_a_kebab_case_word_before_a_colon_is_a_code() {
        assert_eq!(Fault::malformed("bad-scores: NaN").code(), Some("bad-scores"));
        for text in ["no colon", ": x", "Upper: x", "two words: x", "a--b: x", "-a: x"] {
            assert_eq!(Fault::malformed(text).code(), None, "{text}");
        }
    }
}
