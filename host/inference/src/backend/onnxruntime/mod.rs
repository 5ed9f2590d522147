//! ONNX Runtime, loaded at run time where the device has it and its digest is allowed.

mod arena;
mod assignment;
mod heap;
mod library;
mod placement;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use martello_bundle::manifest::ElementType;
use martello_vocab::Digest;
use ort::session::{RunOptions, Session as OrtSession, SessionInputValue, SessionInputs};
use ort::value::{DynValue, Outlet, Shape, TensorElementType, TensorRef};

pub(crate) use library::candidates;

use self::heap::Heap;
use self::library::Library;
use self::placement::Placed;
use super::{
    Backend, BackendKind, Element, Execution, Graph, Interface, Port, Session, Stop, Wanted, precision,
};
use crate::config::{InferenceConfig, Provider};
use crate::error::{ModelError, RunError};
use crate::tensor::Tensor;

/// The library in this process.
pub(crate) struct OnnxRuntime {
    library: Library,
    path: PathBuf,
    providers: Vec<Provider>,
}

struct OnnxGraph {
    library: Library,
    placed: Placed,
    /// Further sessions are made of it.
    model: Bytes,
    /// The first session, until it is asked for.
    first: std::sync::Mutex<Option<OrtSession>>,
    heap: Heap,
    interface: Interface,
    execution: Execution,
}

struct OnnxSession {
    session: OrtSession,
    heap: Heap,
    inputs: Vec<String>,
    outputs: Vec<(String, ElementType)>,
}

impl OnnxRuntime {
    /// Loads the library, where it is allowed. The error says why not, and what to do.
    pub(crate) fn open(path: &Path, config: &InferenceConfig) -> Result<Arc<Self>, String> {
        let library = Library::load(path, config)?;
        Ok(Arc::new(Self { library, path: path.to_owned(), providers: config.providers.clone() }))
    }

    /// Where the library was found.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What the library is known by.
    pub(crate) const fn digest(&self) -> &Digest {
        &self.library.digest
    }
}

impl Backend for OnnxRuntime {
    fn load(&self, model: &Bytes, wanted: &Wanted<'_>) -> Result<Box<dyn Graph>, ModelError> {
        let (placed, session) = placement::place(&self.library, &self.providers, model, wanted)?;
        let heap = Heap::of(&self.library, model, &session, wanted.memory)?;
        let interface = Interface { inputs: ports(session.inputs()), outputs: ports(session.outputs()) };
        let execution = Execution {
            backend: BackendKind::Onnxruntime,
            version: self.library.version.clone(),
            providers: placed
                .providers
                .iter()
                .map(|(name, nodes)| format!("{name} ({nodes} nodes)"))
                .collect(),
            device: placed.device.clone(),
            precision: precision(&interface),
            threads: wanted.threads.get(),
            instead: placed.instead.clone(),
        };
        Ok(Box::new(OnnxGraph {
            library: self.library.clone(),
            placed,
            model: model.clone(),
            first: std::sync::Mutex::new(Some(session)),
            heap,
            interface,
            execution,
        }))
    }
}

fn ports(outlets: &[Outlet]) -> Vec<Port> {
    let port = |outlet: &Outlet| {
        let element = match outlet.dtype().tensor_type() {
            Some(TensorElementType::Float16) => Element::Known(ElementType::F16),
            Some(TensorElementType::Float32) => Element::Known(ElementType::F32),
            Some(TensorElementType::Float64) => Element::Known(ElementType::F64),
            Some(TensorElementType::Bfloat16) => Element::Known(ElementType::Bf16),
            Some(TensorElementType::Uint8) => Element::Known(ElementType::U8),
            Some(TensorElementType::Int32) => Element::Known(ElementType::I32),
            Some(TensorElementType::Int64) => Element::Known(ElementType::I64),
            Some(other) => Element::Foreign(other.to_string()),
            None => Element::Foreign("no tensor".to_owned()),
        };
        // ONNX Runtime tells a scalar and a tensor of unknown rank apart by nothing: both have no dimensions.
        let shape = outlet.dtype().tensor_shape().filter(|shape| !shape.is_empty());
        let shape = shape.map(|shape| shape.iter().map(|&dimension| u32::try_from(dimension).ok()).collect());
        Port { name: outlet.name().to_owned(), element, shape }
    };
    outlets.iter().map(port).collect()
}

impl Graph for OnnxGraph {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn execution(&self) -> &Execution {
        &self.execution
    }

    fn session(&self) -> Result<Box<dyn Session>, ModelError> {
        let refused = |detail: String| ModelError::Backend { backend: BackendKind::Onnxruntime, detail };
        let first = self.first.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        let session = match first {
            Some(session) => session,
            None => self.placed.session(&self.library, &self.model).map_err(refused)?,
        };
        let output = |port: &Port| match port.element {
            Element::Known(element) => Some((port.name.clone(), element)),
            Element::Foreign(_) => None,
        };
        let outputs = self.interface.outputs.iter().map(output).collect::<Option<Vec<_>>>();
        let outputs =
            outputs.ok_or_else(|| refused("an output has a type that wasi:nn cannot name".to_owned()))?;
        let inputs = self.interface.inputs.iter().map(|port| port.name.clone()).collect();
        Ok(Box::new(OnnxSession { session, heap: self.heap.clone(), inputs, outputs }))
    }
}

impl Session for OnnxSession {
    fn run(&mut self, inputs: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        self.heap.admit(inputs)?;
        let options = Arc::new(RunOptions::new().map_err(failed)?);
        let hook = Arc::clone(&options);
        stop.on_stop(move || {
            if let Err(error) = hook.terminate() {
                tracing::warn!(error = error.message(), "a run cannot be stopped");
            }
        });
        let aligned: Vec<Tensor> = inputs.iter().map(Tensor::aligned).collect();
        let mut values = Vec::with_capacity(aligned.len());
        for (name, tensor) in self.inputs.iter().zip(&aligned) {
            values.push((name.as_str().into(), view(tensor)?));
        }
        let ran = self.session.run_with_options(SessionInputs::<0>::ValueMap(values), &options);
        let mut found = ran.map_err(|error| match error {
            _ if stop.is_wanted() => RunError::Timeout,
            error if arena::is_full(error.message()) => RunError::TooLarge,
            error => failed(error),
        })?;
        let mut outputs = Vec::with_capacity(self.outputs.len());
        for (name, element) in &self.outputs {
            let value =
                found.remove(name).ok_or_else(|| failed_words(&format!("output `{name}` is missing")))?;
            outputs.push(held(value, *element)?);
        }
        Ok(outputs)
    }
}

#[expect(clippy::needless_pass_by_value, reason = "it stands in `map_err`")]
fn failed(error: ort::Error) -> RunError {
    failed_words(error.message())
}

fn failed_words(detail: &str) -> RunError {
    RunError::Backend { detail: detail.to_owned() }
}

/// Calls `$body` with `$t` as the Rust type of the element.
macro_rules! with_type {
    ($element:expr, $t:ident => $body:expr) => {
        match $element {
            ElementType::F16 => {
                type $t = half::f16;
                $body
            }
            ElementType::Bf16 => {
                type $t = half::bf16;
                $body
            }
            ElementType::F32 => {
                type $t = f32;
                $body
            }
            ElementType::F64 => {
                type $t = f64;
                $body
            }
            ElementType::U8 => {
                type $t = u8;
                $body
            }
            ElementType::I32 => {
                type $t = i32;
                $body
            }
            ElementType::I64 => {
                type $t = i64;
                $body
            }
        }
    };
}

/// The tensor as ONNX Runtime sees it, over the same bytes.
fn view(tensor: &Tensor) -> Result<SessionInputValue<'_>, RunError> {
    let shape: Vec<i64> = tensor.shape().iter().map(|&dimension| i64::from(dimension)).collect();
    with_type!(tensor.element_type(), T => {
        let values: &[T] = bytemuck::try_cast_slice(tensor.bytes())
            .map_err(|_| failed_words("a tensor is not aligned"))?;
        Ok(TensorRef::from_array_view((shape, values)).map_err(failed)?.into())
    })
}

/// An output that stays where ONNX Runtime made it.
struct Held {
    value: DynValue,
    element: ElementType,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        // That the value is of this type was checked when it came out of the run.
        with_type!(self.element, T => {
            self.value.try_extract_tensor::<T>().map_or(&[][..], |(_, values)| bytemuck::cast_slice(values))
        })
    }
}

fn held(value: DynValue, element: ElementType) -> Result<Tensor, RunError> {
    let shape: &Shape = with_type!(element, T => value.try_extract_tensor::<T>().map_err(failed)?.0);
    let shape = shape.iter().map(|&dimension| u32::try_from(dimension)).collect::<Result<Vec<_>, _>>();
    let shape = shape.map_err(|_| failed_words("an output has a dimension beyond 32 bits"))?;
    let bytes = Bytes::from_owner(Held { value, element });
    Tensor::new(element, shape, bytes).map_err(|error| failed_words(&error.to_string()))
}
