//! The functions of `wasi:nn`. Tensor bytes cross once each way: from the guest's memory into a pooled buffer, and
//! from where the backend left them into the guest's memory.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use martello_bundle::manifest::{
    Backend, ElementType, Model, ModelFormat, Placement, Strictness, TensorSchema,
};
use martello_vocab::{ByteCount, Digest};
use wasmtime::component::{HasSelf, Linker, Resource, WasmList};
use wasmtime::{AsContext, Result, StoreContextMut};

use super::bindings::Ml;
use super::bindings::wasi::nn::errors::ErrorCode;
use super::bindings::wasi::nn::graph::{ExecutionTarget, GraphBuilder, GraphEncoding};
use super::bindings::wasi::nn::tensor::TensorType;
use super::bindings::wasi::nn::{errors, graph, inference, tensor};
use super::state::{HeldContext, HeldError, HeldGraph, HeldTensor, NnState, Refusal};
use crate::error::{ModelError, ModelLimit, RunError};
use crate::tensor::{MOST_DIMENSIONS, Tensor, TensorError};

/// What a call may copy out of a guest beside tensors, for an instance that holds a model.
const OTHER_CALL_BYTES: u64 = 16 << 20;

/// Tensors of one call.
const MOST_INPUTS: usize = 64;

/// Links `wasi:nn@0.2.0-rc-2024-10-28`, whose state `get` finds in the store.
///
/// # Errors
/// When one of its functions is linked already.
pub fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    get: fn(&mut T) -> &mut NnState,
) -> Result<()> {
    Ml::add_to_linker::<T, HasSelf<NnState>>(linker, get)?;
    linker.allow_shadowing(true);
    let shadowed = shadow(linker, get);
    linker.allow_shadowing(false);
    shadowed
}

/// The two functions that carry tensor bytes, and the one that makes room for them.
fn shadow<T: Send + 'static>(linker: &mut Linker<T>, get: fn(&mut T) -> &mut NnState) -> Result<()> {
    let mut interface = linker.instance("wasi:nn/tensor@0.2.0-rc-2024-10-28")?;
    interface.func_wrap(
        "[constructor]tensor",
        move |mut store: StoreContextMut<'_, T>,
              (shape, ty, data): (WasmList<u32>, TensorType, WasmList<u8>)| {
            let element_type = element_type(ty);
            // Both lists are still the guest's own memory; of an endless shape no more than this is ever copied.
            let rank = shape.len();
            let shape = shape.iter(&mut store)?.take(MOST_DIMENSIONS).collect::<Result<Vec<u32>>>()?;
            let invalid = |error: TensorError| Refusal::new(ErrorCode::InvalidArgument, error.to_string());
            let content = if rank > MOST_DIMENSIONS {
                Err(invalid(TensorError::Rank { found: rank }))
            } else {
                get(store.data_mut()).admit(element_type, &shape, data.len()).and_then(|()| {
                    let bytes = data.as_le_slice(store.as_context());
                    Tensor::copied(element_type, shape.clone(), bytes).map_err(invalid)
                })
            };
            Ok((get(store.data_mut()).hold(element_type, &shape, content)?,))
        },
    )?;
    interface.func_wrap(
        "[method]tensor.data",
        move |mut store: StoreContextMut<'_, T>, (this,): (Resource<HeldTensor>,)| {
            let held = get(store.data_mut()).table.get(&this)?;
            // A handle on the bytes; lowering copies them into the guest.
            Ok((held.content.as_ref().map_or_else(|_| Bytes::new(), |tensor| tensor.bytes().clone()),))
        },
    )?;
    let mut interface = linker.instance("wasi:nn/graph@0.2.0-rc-2024-10-28")?;
    interface.func_wrap("load-by-name", move |mut store: StoreContextMut<'_, T>, (name,): (String,)| {
        let state = get(store.data_mut());
        let opened = graph::Host::load_by_name(state, name)?;
        if opened.is_ok() {
            // wasmtime counts what a call reads from the guest, also where it is not copied. An instance that holds a
            // model may hand over tensors up to its budget. There is one such number for all functions, taken before
            // any of them is entered, so that from here on every call of the instance may carry as much. What they
            // copy of it lives as long as the call; what outlives it is bounded or charged.
            let room = state.tensor_limit.saturating_add(OTHER_CALL_BYTES);
            store.set_hostcall_fuel(ByteCount(room).as_usize());
        }
        Ok((opened,))
    })
}

const fn element_type(ty: TensorType) -> ElementType {
    match ty {
        TensorType::Fp16 => ElementType::F16,
        TensorType::Fp32 => ElementType::F32,
        TensorType::Fp64 => ElementType::F64,
        TensorType::Bf16 => ElementType::Bf16,
        TensorType::U8 => ElementType::U8,
        TensorType::I32 => ElementType::I32,
        TensorType::I64 => ElementType::I64,
    }
}

const fn tensor_type(element_type: ElementType) -> TensorType {
    match element_type {
        ElementType::F16 => TensorType::Fp16,
        ElementType::F32 => TensorType::Fp32,
        ElementType::F64 => TensorType::Fp64,
        ElementType::Bf16 => TensorType::Bf16,
        ElementType::U8 => TensorType::U8,
        ElementType::I32 => TensorType::I32,
        ElementType::I64 => TensorType::I64,
    }
}

impl tensor::Host for NnState {}

impl tensor::HostTensor for NnState {
    fn new(&mut self, shape: Vec<u32>, ty: TensorType, data: Vec<u8>) -> Result<Resource<HeldTensor>> {
        let element_type = element_type(ty);
        let content = self.admit(element_type, &shape, data.len()).and_then(|()| {
            Tensor::copied(element_type, shape.clone(), &data)
                .map_err(|error| Refusal::new(ErrorCode::InvalidArgument, error.to_string()))
        });
        self.hold(element_type, &shape, content)
    }

    fn dimensions(&mut self, this: Resource<HeldTensor>) -> Result<Vec<u32>> {
        Ok(self.table.get(&this)?.shape.clone())
    }

    fn ty(&mut self, this: Resource<HeldTensor>) -> Result<TensorType> {
        Ok(tensor_type(self.table.get(&this)?.element_type))
    }

    fn data(&mut self, this: Resource<HeldTensor>) -> Result<Vec<u8>> {
        Ok(self
            .table
            .get(&this)?
            .content
            .as_ref()
            .map_or_else(|_| Vec::new(), |tensor| tensor.bytes().to_vec()))
    }

    fn drop(&mut self, this: Resource<HeldTensor>) -> Result<()> {
        self.release(this).map(|_| ())
    }
}

impl errors::Host for NnState {}

impl errors::HostError for NnState {
    fn code(&mut self, this: Resource<HeldError>) -> Result<ErrorCode> {
        Ok(self.table.get(&this)?.0.code)
    }

    fn data(&mut self, this: Resource<HeldError>) -> Result<String> {
        Ok(self.table.get(&this)?.0.text.clone())
    }

    fn drop(&mut self, this: Resource<HeldError>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl graph::Host for NnState {
    fn load(
        &mut self,
        builder: Vec<GraphBuilder>,
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> Result<std::result::Result<Resource<HeldGraph>, Resource<HeldError>>> {
        match self.load_guest_model(&builder, encoding, target) {
            Ok(graph) => Ok(Ok(self.table.push(graph)?)),
            Err(refusal) => self.refuse(refusal),
        }
    }

    fn load_by_name(
        &mut self,
        name: String,
    ) -> Result<std::result::Result<Resource<HeldGraph>, Resource<HeldError>>> {
        match self.model(&name) {
            Some((name, model)) => Ok(Ok(self.table.push(HeldGraph { name: Some(name), model })?)),
            None => self.refuse(Refusal::new(ErrorCode::NotFound, "no model of this name is granted")),
        }
    }
}

impl NnState {
    fn load_guest_model(
        &mut self,
        builder: &[GraphBuilder],
        encoding: GraphEncoding,
        target: ExecutionTarget,
    ) -> std::result::Result<HeldGraph, Refusal> {
        let Some(inference) = self.guest_models() else {
            return Err(Refusal::new(ErrorCode::Security, "models from a guest's own bytes are not granted"));
        };
        if !matches!(encoding, GraphEncoding::Onnx | GraphEncoding::Autodetect) {
            return Err(Refusal::new(ErrorCode::InvalidEncoding, "models are ONNX files"));
        }
        let [bytes] = builder else {
            return Err(Refusal::new(ErrorCode::InvalidArgument, "an ONNX model is one list of bytes"));
        };
        let device = match target {
            ExecutionTarget::Cpu => "cpu",
            ExecutionTarget::Gpu => "gpu",
            ExecutionTarget::Tpu => {
                return Err(Refusal::new(ErrorCode::UnsupportedOperation, "there is no TPU"));
            }
        };
        // What the backend makes of the bytes is not known: a model is charged with its file.
        self.room(bytes.len() as u64)?;
        let digest = Digest::of(bytes);
        let placement =
            Placement { backend: Backend::Auto, device: device.to_owned(), strictness: Strictness::Require };
        let (model, shapeless) = describe(bytes, digest, placement)?;
        let within = self.deadline().saturating_duration_since(Instant::now());
        let loaded = inference
            .load_guest_model(&Bytes::copy_from_slice(bytes), &model, &shapeless, within)
            .map_err(|error| {
            tracing::warn!(model = %digest, "model of a guest is refused");
            // Whoever makes a model names its parts.
            tracing::debug!(model = %digest, %error, "why it is refused");
            model_refusal(&error)
        })?;
        let model = Arc::new(loaded);
        self.charge_model(&model, bytes.len() as u64);
        Ok(HeldGraph { name: None, model })
    }
}

/// The manifest entry that a guest's model would have, and its outputs of which the bytes say no shape.
fn describe(
    bytes: &[u8],
    digest: Digest,
    placement: Placement,
) -> std::result::Result<(Model, Vec<String>), Refusal> {
    let unreadable =
        |_| Refusal::new(ErrorCode::InvalidEncoding, "the bytes are no ONNX model that wasi:nn can name");
    let tensors = martello_bundle::onnx::ModelTensors::read(bytes).map_err(unreadable)?;
    let (inputs, outputs): (Vec<TensorSchema>, Vec<TensorSchema>) = (tensors.inputs, tensors.outputs);
    let name =
        "guest-model".parse().map_err(|_| Refusal::new(ErrorCode::Unknown, "the model has no name"))?;
    let model = Model {
        name,
        digest,
        size: ByteCount(bytes.len() as u64),
        format: ModelFormat::Onnx,
        inputs,
        outputs,
        placement,
        recipe: None,
        labels: Vec::new(),
        calibration: None,
        threshold: None,
        memory_bytes: None,
        licence: None,
        golden: Vec::new(),
    };
    Ok((model, tensors.shapeless))
}

fn model_refusal(error: &ModelError) -> Refusal {
    let (code, text) = match error {
        ModelError::TooLarge { .. } => (ErrorCode::TooLarge, "the model is too large"),
        ModelError::Limit { limit: ModelLimit::Wall(_), .. } => {
            (ErrorCode::Timeout, "the model was not loaded in time")
        }
        ModelError::Limit { .. } | ModelError::Unbounded { .. } | ModelError::Texts { .. } => {
            (ErrorCode::TooLarge, "the model takes more than a model may")
        }
        ModelError::Malformed { .. } => (ErrorCode::InvalidEncoding, "the bytes are no ONNX model"),
        ModelError::UnsupportedOperator { .. } => {
            (ErrorCode::UnsupportedOperation, "the model uses an operator that the backend does not have")
        }
        ModelError::ElementType { .. } => {
            (ErrorCode::UnsupportedOperation, "the model has a tensor of a type that wasi:nn cannot name")
        }
        ModelError::DeviceMissing { .. } | ModelError::BackendMissing { .. } => {
            (ErrorCode::UnsupportedOperation, "the device does not have what the model asks for")
        }
        _ => (ErrorCode::RuntimeError, "the backend refuses the model"),
    };
    Refusal::new(code, text)
}

impl graph::HostGraph for NnState {
    fn init_execution_context(
        &mut self,
        this: Resource<HeldGraph>,
    ) -> Result<std::result::Result<Resource<HeldContext>, Resource<HeldError>>> {
        let HeldGraph { name, model } = self.table.get(&this)?;
        let context = HeldContext { name: name.clone(), model: Arc::clone(model) };
        Ok(Ok(self.table.push(context)?))
    }

    fn drop(&mut self, this: Resource<HeldGraph>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}

impl inference::Host for NnState {}

impl inference::HostGraphExecutionContext for NnState {
    async fn compute(
        &mut self,
        this: Resource<HeldContext>,
        inputs: Vec<(String, Resource<HeldTensor>)>,
    ) -> Result<std::result::Result<Vec<(String, Resource<HeldTensor>)>, Resource<HeldError>>> {
        let context = self.table.get(&this)?;
        let (name, model) = (context.name.clone(), Arc::clone(&context.model));
        // The guest gave its tensors away: each is released, whatever comes.
        let mut tensors = Vec::with_capacity(inputs.len().min(MOST_INPUTS));
        let mut refused = None;
        for (input, tensor) in inputs {
            match self.release(tensor)?.content {
                Ok(tensor) => tensors.push((input, tensor)),
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        if let Some(refusal) = refused {
            return self.refuse(refusal);
        }
        let deadline = self.deadline();
        let begun = Instant::now();
        let ran = model.run(tensors, deadline).await;
        self.record().note(name.as_ref(), &model, ran.is_ok(), begun.elapsed());
        let outputs = match ran {
            Ok(outputs) => outputs,
            Err(error) => {
                if let RunError::Backend { detail } | RunError::Panicked { detail } = &error {
                    tracing::warn!(model = %model.digest(), %error, "model run failed");
                    // A backend's own words may hold values of the tensors.
                    tracing::debug!(model = %model.digest(), detail, "words of the backend");
                }
                return self.refuse(error.into());
            }
        };
        let bytes: u64 = outputs.iter().map(|(_, tensor)| tensor.bytes().len() as u64).sum();
        if let Err(refusal) = self.room(bytes) {
            return self.refuse(refusal);
        }
        let mut held = Vec::with_capacity(outputs.len());
        for (name, tensor) in outputs {
            let shape = tensor.shape().to_vec();
            held.push((name, self.hold(tensor.element_type(), &shape, Ok(tensor))?));
        }
        Ok(Ok(held))
    }

    fn drop(&mut self, this: Resource<HeldContext>) -> Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
