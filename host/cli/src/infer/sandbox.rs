//! The guest that runs the model: `components/tensor-probe`, through wasi:nn.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use martello_bundle::manifest::{ElementType, Model};
use martello_bundle::{EphemeralModel, ephemeral};
use martello_engine::npy::TENSOR_MEDIA_TYPE;
use martello_engine::{DeviceConfig, NnExtension};
use martello_inference::{InferenceError, ModelError, NnState, Ran, Tensor};
use martello_runtime::{Contract, ImportGrants, Output, Payload, Runtime, StageCall, StageFailure};
use martello_vocab::{ByteCount, Limits, Name};

/// The component, as the build script made it.
const GUEST: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/tensor-probe.wasm"));

/// The most that any guest may compute.
const LONGEST_COMPUTE_MS: u64 = 600_000;

/// What came out.
pub(super) struct Answer {
    pub(super) outputs: Vec<Named>,
    pub(super) ran: Ran,
    pub(super) model: Arc<martello_inference::LoadedModel>,
}

/// An output with its name; the elements are the payload's.
pub(super) struct Named {
    pub(super) name: String,
    pub(super) element_type: ElementType,
    pub(super) shape: Vec<u32>,
    pub(super) payload: Payload,
}

/// Why nothing came out.
#[derive(Debug)]
pub(super) enum Failure {
    /// A library is refused.
    Policy(InferenceError),
    /// The model is refused.
    Model(ModelError),
    /// The guest did not complete.
    Run(Box<StageFailure>),
    /// Anything else.
    Other(anyhow::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Policy(error) => error.fmt(f),
            Self::Model(error) => error.fmt(f),
            Self::Run(failure) => {
                write!(f, "the run was stopped with `{}`: {}", failure.code, failure.detail)
            }
            Self::Other(error) => write!(f, "{error:#}"),
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

/// Runs the model `repeat` times on these tensors.
pub(super) fn run(
    mut config: DeviceConfig,
    model: Model,
    shapeless: &[String],
    bytes: Bytes,
    inputs: &[(String, Tensor)],
    repeat: u32,
    wall_ms: u64,
) -> Result<Answer, Failure> {
    let limits = Limits {
        memory_bytes: config.runtime.memory_ceiling,
        compute_ms: wall_ms.min(LONGEST_COMPUTE_MS),
        wall_ms,
        output_bytes: ByteCount::mebibytes(2048),
        tensor_bytes: ByteCount::mebibytes(2048),
        ..Limits::default()
    };
    config.inference.longest_run = limits.wall();
    let inference = martello_engine::inference(&config).map_err(Failure::Policy)?;
    let name: Name = "tensor-probe".parse().context("naming the guest")?;
    let model_name = model.name.clone();
    let models = vec![EphemeralModel { model, bytes }];
    let bundle = ephemeral(name.clone(), Bytes::from_static(GUEST), limits.clone(), models)
        .context("wrapping the model")?;
    let manifest = bundle.manifest();
    let entry = manifest.models.first().context("the model is gone")?;
    let blob = bundle.model(&model_name).context("reading the model")?;
    let loaded = inference.load_shapeless(&blob, entry, &[], shapeless).map_err(Failure::Model)?;

    config.runtime.guest_threads = 1;
    let runtime = Runtime::start(&config.runtime, NnExtension::Linked).context("starting the sandbox")?;
    let component = bundle.component(&name).context("reading the guest")?;
    let imports = manifest.components.first().map(|component| component.imports.clone()).unwrap_or_default();
    let stage =
        runtime.load(&component, &limits, &ImportGrants::declared(&imports)).context("loading the guest")?;
    let state = NnState::new([(model_name.clone(), Arc::clone(&loaded))], &limits);
    let record = state.record();
    let mut call = StageCall::new(Payload::memory("application/octet-stream", Bytes::new()), state, "infer");
    call.ports = vec!["output".parse().context("naming the port")?];
    call.contract = Arc::new(Contract { codes: codes(), ..Contract::default() });
    call.settings = settings(&model_name, inputs.len(), repeat)?;
    for (index, (name, tensor)) in inputs.iter().enumerate() {
        let asset = format!("input-{index}").parse().context("naming an input")?;
        call.assets.insert(asset, payload(name, tensor));
    }
    let waiting =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting to wait")?;
    let report = waiting.block_on(stage.process(call)).map_err(Failure::Run)?;
    let outputs = report.outputs.into_iter().map(named).collect::<anyhow::Result<_>>()?;
    let ran = record.ran().pop().context("the model did not run")?;
    Ok(Answer { outputs, ran, model: loaded })
}

/// The reason codes that the guest SDK gives when wasi:nn refuses.
fn codes() -> Vec<String> {
    let codes = [
        "tensor-mismatch",
        "model-timeout",
        "model-too-large",
        "model-missing",
        "model-forbidden",
        "model-failed",
    ];
    codes.map(str::to_owned).to_vec()
}

fn settings(model: &Name, inputs: usize, repeat: u32) -> anyhow::Result<BTreeMap<Name, String>> {
    let all = [("model", model.to_string()), ("inputs", inputs.to_string()), ("repeat", repeat.to_string())];
    all.into_iter().map(|(name, value)| Ok((name.parse()?, value))).collect()
}

fn payload(name: &str, tensor: &Tensor) -> Payload {
    let shape: Vec<String> = tensor.shape().iter().map(ToString::to_string).collect();
    Payload::memory(TENSOR_MEDIA_TYPE, tensor.bytes().clone()).with_attributes(vec![
        ("name".to_owned(), name.to_owned()),
        ("dtype".to_owned(), word(tensor.element_type()).to_owned()),
        ("shape".to_owned(), shape.join(",")),
    ])
}

fn named(output: Output) -> anyhow::Result<Named> {
    let payload = output.payload;
    let attribute = |name: &str| payload.attribute(name).with_context(|| format!("an output has no {name}"));
    let shape = attribute("shape")?.split(',').filter(|word| !word.is_empty()).map(str::parse);
    let all = [
        ElementType::F16,
        ElementType::F32,
        ElementType::F64,
        ElementType::Bf16,
        ElementType::U8,
        ElementType::I32,
        ElementType::I64,
    ];
    let dtype = attribute("dtype")?;
    let element_type = all.into_iter().find(|&element_type| word(element_type) == dtype);
    Ok(Named {
        name: attribute("name")?.to_owned(),
        shape: shape.collect::<Result<_, _>>().context("an output has a shape that is none")?,
        element_type: element_type.with_context(|| format!("an output has elements `{dtype}`"))?,
        payload: payload.clone(),
    })
}

/// The word of the attribute `dtype`.
pub(super) const fn word(element_type: ElementType) -> &'static str {
    match element_type {
        ElementType::F16 => "f16",
        ElementType::F32 => "f32",
        ElementType::F64 => "f64",
        ElementType::Bf16 => "bf16",
        ElementType::U8 => "u8",
        ElementType::I32 => "i32",
        ElementType::I64 => "i64",
    }
}
