//! Models: loading them, running them, and handing them to guests as the standard `wasi:nn@0.2.0-rc-2024-10-28`.
//!
//! [`Inference::load`] takes a [`Trusted<Blob>`](martello_trust::Trusted), which only verification makes, and gives a
//! [`LoadedModel`]. A guest reaches the models that its [`NnState`] grants, and no other; [`add_to_linker`] links the
//! host functions. Nothing that a guest says can panic them: shapes, lengths and names are checked before anything is
//! allocated, tensors are charged to the instance's budget, and a backend that panics costs one session.
//!
//! Two backends stand behind one small trait: **tract**, built in, which fails loudly where it cannot do a thing; and
//! **ONNX Runtime**, a library that the device may have and that is loaded only where its digest is allowed. What
//! really ran (backend, version, provider, device, precision, threads) is recorded; no other one takes its place
//! without that being said. [`Inference::check_golden`] runs the bundle's known inputs through both.
//!
//! Instances share sessions and buffers, one after the other: what the one before left is overwritten before the next
//! one gets it.
//!
//! The crate deliberately knows nothing of bundles' files, stages and sandboxes. Start with [`Inference`], then
//! [`NnState`]; buffers stand in `memory.rs`, the threads on which models run in `workers.rs`.

mod backend;
mod capabilities;
mod check;
mod config;
mod error;
mod golden;
mod host;
mod inference;
mod memory;
mod model;
mod tensor;
mod workers;

pub use backend::{BackendKind, Element, Execution, Interface, Port};
pub use capabilities::{Capability, Verdict};
pub use check::{CHECK_COMMAND, ModelCheck, Verdicts, answer_check};
pub use config::{InferenceConfig, LibraryPolicy, Provider};
pub use error::{InferenceError, ModelError, ModelLimit, RunError};
pub use golden::{GoldenCase, GoldenEvidence, GoldenRun};
pub use host::{NnState, Ran, Record, add_to_linker};
pub use inference::Inference;
pub use model::LoadedModel;
pub use tensor::{MOST_DIMENSIONS, Tensor, TensorError};

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod testing;
