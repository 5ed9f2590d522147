//! What can go wrong, by what a caller may do about it.

use std::path::PathBuf;

use martello_vocab::{ByteCount, Digest};

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

/// A model is refused. It does not run.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
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
        port: &'static str,
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
        absolute: f64,
        /// The greatest difference relative to the expected value.
        relative: f64,
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
