//! Why a code stream gave no pixels.

/// What kept a code stream from being decoded. The text starts with a stable reason code and carries no value of the
/// stream, so that it may be logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// The code stream breaks its format, or is of another shape than the object says.
    #[error("{code}: {text}")]
    Malformed {
        /// Reason code, kebab-case: the codec's name.
        code: &'static str,
        /// What is wrong.
        text: &'static str,
    },
    /// The code stream is of a kind that is not decoded.
    #[error("{code}: {text}")]
    Unsupported {
        /// Reason code, kebab-case.
        code: &'static str,
        /// What is not decoded.
        text: &'static str,
    },
}

pub(crate) const fn malformed(code: &'static str, text: &'static str) -> CodecError {
    CodecError::Malformed { code, text }
}

/// A kind of a known syntax that is not decoded.
pub(crate) const fn unsupported(text: &'static str) -> CodecError {
    CodecError::Unsupported { code: "unsupported-syntax", text }
}
