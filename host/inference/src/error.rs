//! What can go wrong, by what a caller may do about it.

use std::path::PathBuf;
use std::time::Duration;

use martello_vocab::{ByteCount, Code, Digest, code};
use serde::{Deserialize, Serialize};

use crate::backend::BackendKind;

/// Inference does not start as it was configured.
#[derive(Debug, thiserror::Error)]
pub enum InferenceError {
    /// The library of ONNX Runtime that was asked for cannot be used.
    #[error("using ONNX Runtime from `{path}`: {reason}")]
    Library {
        /// The file.
        path: PathBuf,
        /// Why not, and what to do.
        reason: String,
    },
    /// No thread for running models.
    #[error("starting the inference threads")]
    Threads(#[source] std::io::Error),
}

/// A limit that a model passed while it was loaded, or while its golden vectors ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ModelLimit {
    /// The memory that it may take.
    Memory(ByteCount),
    /// The time that it may compute.
    Compute(Duration),
    /// The time that it may take from start to end.
    Wall(Duration),
}

impl std::fmt::Display for ModelLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Memory(most) => write!(f, "{most} of memory"),
            Self::Compute(most) => write!(f, "{most:?} of computing"),
            Self::Wall(most) => write!(f, "{most:?} from start to end"),
        }
    }
}

/// A model is refused. It does not run.
#[derive(Debug, Clone, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum ModelError {
    /// The file is too large.
    #[error("loading a model: it has {found}, at most {most} are taken")]
    TooLarge {
        /// Its size.
        found: ByteCount,
        /// The most.
        most: ByteCount,
    },
    /// The bytes are no model.
    #[error("loading a model: it is no ONNX file: {detail}")]
    Malformed {
        /// What is wrong.
        detail: String,
    },
    /// The backend that it needs is not there.
    #[error("loading a model: backend {backend} is not there: {reason}")]
    BackendMissing {
        /// The backend.
        backend: BackendKind,
        /// Why.
        reason: String,
    },
    /// The device that it requires is not there.
    #[error("loading a model: device `{device}` is required and not there: {reason}")]
    DeviceMissing {
        /// The device.
        device: String,
        /// Why.
        reason: String,
    },
    /// The backend does not have an operator that the model uses.
    #[error("loading a model: backend {backend} does not support operator {}", .operators.join(", "))]
    UnsupportedOperator {
        /// The backend.
        backend: BackendKind,
        /// The operators, as ONNX names them.
        operators: Vec<String>,
    },
    /// A tensor is of a type that does not get through.
    #[error("loading a model: {port} `{name}` has element type {element}: {reason}")]
    ElementType {
        /// `input` or `output`.
        port: Box<str>,
        /// The tensor.
        name: String,
        /// Its element type.
        element: String,
        /// Why it does not get through.
        reason: String,
    },
    /// The manifest describes another model.
    #[error("loading a model: the manifest does not describe it: {0}")]
    Schema(String),
    /// The backend refuses it for another reason.
    #[error("loading a model: backend {backend} refuses it: {detail}")]
    Backend {
        /// The backend.
        backend: BackendKind,
        /// Its words.
        detail: String,
    },
    /// A golden vector is not what the manifest says.
    #[error("checking golden vector {index}: {detail}")]
    Golden {
        /// Which one, counted from 0.
        index: usize,
        /// What is wrong.
        detail: String,
    },
    /// A backend disagrees with the golden vector, so it computes another model.
    #[error(
        "checking golden vector {index}: backend {backend} gives another `{output}`: greatest absolute difference \
         {absolute:e}, relative {relative:e}"
    )]
    Disagreement {
        /// Which one, counted from 0.
        index: usize,
        /// The backend.
        backend: BackendKind,
        /// The output.
        output: String,
        /// The greatest absolute difference.
        #[serde(with = "bits")]
        absolute: f64,
        /// The greatest difference relative to the expected value.
        #[serde(with = "bits")]
        relative: f64,
    },
    /// It takes more than a model may.
    #[error("loading a model: backend {backend} takes more than {limit} for it")]
    Limit {
        /// The backend.
        backend: BackendKind,
        /// What it may take.
        limit: ModelLimit,
    },
    /// The process that tried it out ended in a way that no model may end a host.
    #[error("loading a model: backend {backend} ends the process that tries it out ({how})")]
    Crash {
        /// The backend.
        backend: BackendKind,
        /// How it ended.
        how: String,
    },
    /// How large a tensor gets depends on the values of others, and the backend has no bound for that.
    #[error(
        "loading a model: how much backend {backend} takes for operator {operator} depends on values of tensors"
    )]
    Unbounded {
        /// The backend.
        backend: BackendKind,
        /// The operator.
        operator: String,
    },
    /// It makes or holds texts, whose memory no backend counts.
    #[error("loading a model: {what} makes or holds texts, and nothing bounds their memory")]
    Texts {
        /// What does.
        what: String,
    },
    /// It cannot be tried out.
    #[error("trying a model out in a process of its own: {detail}")]
    Check {
        /// Why not.
        detail: String,
    },
    /// The digest is not that of the manifest.
    #[error("loading a model: the manifest names {expected}, this is {found}")]
    WrongDigest {
        /// The manifest's.
        expected: Digest,
        /// The blob's.
        found: Digest,
    },
}

impl From<martello_bundle::onnx::OnnxError> for ModelError {
    fn from(error: martello_bundle::onnx::OnnxError) -> Self {
        use martello_bundle::onnx::OnnxError::{NotAModel, Unfit};
        let (NotAModel(detail) | Unfit(detail)) = error;
        Self::Malformed { detail }
    }
}

impl ModelError {
    /// The stable code of a refusal that is a limit's, for `martello explain`.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::TooLarge { .. } | Self::Limit { .. } => Some(Code::of(code::MODEL_LIMIT)),
            Self::Crash { .. } => Some(Code::of(code::MODEL_CRASHES_HOST)),
            Self::Unbounded { .. } | Self::Texts { .. } => Some(Code::of(code::MODEL_UNBOUNDED)),
            _ => None,
        }
    }
}

/// A run gave no result. The texts are stable; a backend's own words stand in the local log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RunError {
    /// The tensors are not those that the model takes.
    #[error("{0}")]
    Argument(String),
    /// It took too long, or nobody was free in time.
    #[error("the model did not answer in time")]
    Timeout,
    /// Too many runs are waiting.
    #[error("too many model runs are waiting")]
    Busy,
    /// The outputs are larger than allowed.
    #[error("the tensors are larger than this instance may hold")]
    TooLarge,
    /// The backend failed. Its words are for the local log.
    #[error("the backend failed")]
    Backend {
        /// Its words.
        detail: String,
    },
    /// The backend panicked; its session was thrown away.
    #[error("the backend failed and its session was thrown away")]
    Panicked {
        /// The panic's message.
        detail: String,
    },
}

/// A number as its bits (IEEE 754): JSON has none that is not finite.
mod bits {
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
    pub(super) fn serialize<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(number.to_bits())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
