//! What every backend offers, and what it says of itself.

#[cfg(feature = "onnxruntime")]
pub(crate) mod onnxruntime;
#[cfg(feature = "tract")]
pub(crate) mod tract;

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use martello_bundle::manifest::{ElementType, Strictness, TensorSchema};
use martello_vocab::ByteCount;
use serde::{Deserialize, Serialize};

use crate::error::{ModelError, RunError};
use crate::tensor::Tensor;

/// A backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendKind {
    /// The built-in one, in pure Rust.
    Tract,
    /// ONNX Runtime, loaded at run time.
    Onnxruntime,
}

impl fmt::Display for BackendKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tract => "tract",
            Self::Onnxruntime => "onnxruntime",
        })
    }
}

/// On what a model really runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Execution {
    /// The backend.
    pub backend: BackendKind,
    /// The backend's version.
    pub version: String,
    /// The execution providers that took part of the graph, most nodes first, as the backend names them.
    pub providers: Vec<String>,
    /// `cpu` or `gpu:N`.
    pub device: String,
    /// The floating-point type in which it computes, as the model has it, for example `f32`.
    pub precision: String,
    /// Threads of one run.
    pub threads: usize,
    /// Why this is not what was wanted first; none where it is.
    pub instead: Option<String>,
}

/// What a model takes and gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Interface {
    /// Tensors it takes, in the model's order.
    pub inputs: Vec<Port>,
    /// Tensors it gives, in the model's order.
    pub outputs: Vec<Port>,
}

impl Interface {
    /// Whether every dimension of every tensor is known: the work of a run then is hardly another for another input.
    pub(crate) fn is_static(&self) -> bool {
        let known = |port: &Port| port.shape.as_ref().is_some_and(|shape| shape.iter().all(Option::is_some));
        self.inputs.iter().chain(&self.outputs).all(known)
    }
}

/// A tensor that a model takes or gives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Port {
    /// ONNX's name.
    pub name: String,
    /// The element type.
    pub element: Element,
    /// The dimensions, each none where it is open; none where not even their number is known.
    pub shape: Option<Vec<Option<u32>>>,
}

/// An element type, nameable in wasi:nn or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum Element {
    /// One that wasi:nn can name.
    Known(ElementType),
    /// Another, in the backend's words, for example `bool`.
    Foreign(String),
}

/// How a model is to be placed.
#[derive(Debug, Clone)]
#[cfg_attr(
    not(any(feature = "tract", feature = "onnxruntime")),
    expect(dead_code, reason = "read by backends, and none is built in")
)]
pub(crate) struct Wanted<'a> {
    /// `cpu`, `gpu` or `gpu:N`.
    pub(crate) device: &'a str,
    pub(crate) strictness: Strictness,
    pub(crate) threads: NonZero<usize>,
    /// What the manifest says of the inputs; a backend may fix open dimensions by it.
    pub(crate) inputs: &'a [TensorSchema],
    /// The most memory that one run may take.
    pub(crate) memory: ByteCount,
}

/// A backend, ready to load models.
pub(crate) trait Backend: Send + Sync {
    fn load(&self, model: &Bytes, wanted: &Wanted<'_>) -> Result<Box<dyn Graph>, ModelError>;
}

/// A model in a backend.
pub(crate) trait Graph: Send + Sync {
    fn interface(&self) -> &Interface;
    fn execution(&self) -> &Execution;
    /// A session of its own: sessions run at once, each for one caller at a time.
    fn session(&self) -> Result<Box<dyn Session>, ModelError>;
}

/// A model that one caller runs at a time.
pub(crate) trait Session: Send {
    /// Runs on tensors in the order of [`Interface::inputs`], which the caller has checked; gives tensors in the order
    /// of [`Interface::outputs`].
    fn run(&mut self, inputs: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError>;
}

/// The wish that a run ends early.
#[derive(Default)]
pub(crate) struct Stop {
    wanted: AtomicBool,
    hook: Mutex<Option<Box<dyn Fn() + Send>>>,
}

impl Stop {
    /// Asks the run to end. It ends as soon as the backend can.
    pub(crate) fn stop(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        if let Some(hook) = self.hook.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            hook();
        }
    }

    pub(crate) fn is_wanted(&self) -> bool {
        self.wanted.load(Ordering::SeqCst)
    }

    /// What carries the wish into the backend. It is called at once where the wish is there already.
    #[cfg_attr(not(feature = "onnxruntime"), expect(dead_code, reason = "tract asks between operators"))]
    pub(crate) fn on_stop(&self, hook: impl Fn() + Send + 'static) {
        let mut slot = self.hook.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_wanted() {
            hook();
        }
        *slot = Some(Box::new(hook));
    }
}

/// The widest floating-point type among the tensors of a model, else `integer`.
#[cfg_attr(
    not(any(feature = "tract", feature = "onnxruntime")),
    expect(dead_code, reason = "read by backends, and none is built in")
)]
pub(crate) fn precision(interface: &Interface) -> String {
    let has = |wanted: ElementType| {
        let mut ports = interface.inputs.iter().chain(&interface.outputs);
        ports.any(|port| port.element == Element::Known(wanted))
    };
    let all = [
        (ElementType::F64, "f64"),
        (ElementType::F32, "f32"),
        (ElementType::Bf16, "bf16"),
        (ElementType::F16, "f16"),
    ];
    all.into_iter().find(|&(element, _)| has(element)).map_or("integer", |(_, name)| name).to_owned()
}
