//! Why an object could not be rendered.

use dicom_codec::CodecError;
use dicom_stream::ReadError;

/// What kept an object from being rendered. The text starts with a stable reason code and carries no value of the
/// payload, so that it may be logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// The object breaks the format it claims to follow.
    #[error("{code}: {text}")]
    Malformed {
        /// Reason code, kebab-case.
        code: &'static str,
        /// What is wrong.
        text: &'static str,
    },
    /// The object is well formed, but of a kind that is not handled.
    #[error("{code}: {text}")]
    Unsupported {
        /// Reason code, kebab-case.
        code: &'static str,
        /// What is not handled.
        text: &'static str,
    },
    /// The object would need more than the limits allow.
    #[error("{code}: {text}")]
    Limit {
        /// Reason code, kebab-case.
        code: &'static str,
        /// Which limit.
        text: &'static str,
    },
    /// A setting of the stage cannot be used.
    #[error("bad-setting: `{setting}`: {text}")]
    Setting {
        /// The setting's name.
        setting: &'static str,
        /// What is wrong with it.
        text: String,
    },
    /// Our own fault, or the host's: reading a payload, writing an output, coding a preview.
    #[error("internal: {0}")]
    Internal(String),
}

pub(crate) const fn malformed(code: &'static str, text: &'static str) -> RenderError {
    RenderError::Malformed { code, text }
}

pub(crate) const fn unsupported(code: &'static str, text: &'static str) -> RenderError {
    RenderError::Unsupported { code, text }
}

pub(crate) const fn limit(code: &'static str, text: &'static str) -> RenderError {
    RenderError::Limit { code, text }
}

impl From<CodecError> for RenderError {
    fn from(error: CodecError) -> Self {
        match error {
            CodecError::Malformed { code, text } => malformed(code, text),
            CodecError::Unsupported { code, text } => unsupported(code, text),
        }
    }
}

impl From<ReadError> for RenderError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::NotDicom => malformed("not-dicom", "the payload is no DICOM object"),
            ReadError::Truncated { .. } => malformed("truncated", "the object ends inside an element"),
            ReadError::Structure { .. } => malformed("structure", "elements and their lengths contradict"),
            ReadError::Inflate => malformed("deflate", "the data set is no deflate stream"),
            ReadError::Depth => limit("too-deep", "sequences nest too deeply"),
            ReadError::Elements => limit("too-many-elements", "the object has too many elements"),
            ReadError::Held { .. } => limit("value-too-large", "a value is too large to be held"),
            ReadError::Inflated => limit("deflate-ratio", "the data set inflates beyond the limit"),
            ReadError::Source(text) => Self::Internal(text),
        }
    }
}
