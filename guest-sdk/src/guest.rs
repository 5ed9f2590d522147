//! Inside the sandbox: what the host offers, through the bindings generated of the WIT.

use std::mem::ManuallyDrop;

use crate::bindings::exports::martello::pipeline::stage as exported;
use crate::bindings::martello::pipeline::{host, log, pseudonyms, types};
use crate::bindings::wasi::nn::{errors, graph, inference, tensor};
use crate::nn::{ErrorCode, NnError};
use crate::{ElementType, Evidence, Fault, Finding, Level, Outcome, Stage, TensorView};

/// Runs a stage; `export!` calls this.
#[doc(hidden)]
pub fn process<S: Stage>(input: &types::Payload) -> Result<exported::Outcome, types::Fault> {
    let payload = crate::Payload::new(Payload::borrowed(input));
    let context = crate::Context::new(Context(()));
    S::process(&payload, &context).map(Outcome::into).map_err(Fault::into)
}

pub(crate) struct Payload(ManuallyDrop<types::Payload>);

impl Payload {
    /// A payload that the caller owns. It must not outlive the call: `process` hands it out by reference only.
    #[expect(
        unsafe_code,
        reason = "the bindings offer a borrowed resource only as a reference to their own type"
    )]
    fn borrowed(payload: &types::Payload) -> Self {
        // SAFETY: the handle is live for the whole call of `process`, and `ManuallyDrop` keeps the second owner from
        // giving it back.
        Self(ManuallyDrop::new(unsafe { types::Payload::from_handle(payload.handle()) }))
    }

    pub(crate) fn media_type(&self) -> String {
        self.0.media_type()
    }

    pub(crate) fn length(&self) -> u64 {
        self.0.length()
    }

    pub(crate) fn attributes(&self) -> Vec<(String, String)> {
        self.0.attributes()
    }

    pub(crate) fn read(&self, offset: u64, length: u32) -> Result<Vec<u8>, Fault> {
        Ok(self.0.read(offset, length)?)
    }
}

pub(crate) struct Sink(types::Sink);

impl Sink {
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<(), Fault> {
        Ok(self.0.write(bytes)?)
    }

    pub(crate) fn finish(&self) -> Result<Vec<u8>, Fault> {
        Ok(self.0.finish()?)
    }
}

pub(crate) struct Context(());

impl Context {
    pub(crate) fn setting(&self, name: &str) -> Option<String> {
        host::setting(name)
    }

    pub(crate) fn asset(&self, name: &str) -> Result<Payload, Fault> {
        // An asset lives until the instance ends, with the call: leaving its handle behind costs nothing.
        Ok(Payload(ManuallyDrop::new(host::asset(name)?)))
    }

    pub(crate) fn open_output(
        &self,
        port: &str,
        media_type: &str,
        attributes: &[(&str, &str)],
    ) -> Result<Sink, Fault> {
        let attributes: Vec<_> =
            attributes.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect();
        Ok(Sink(host::open_output(port, media_type, &attributes)?))
    }

    pub(crate) fn log(&self, level: Level, message: &str) {
        let level = match level {
            Level::Trace => log::Level::Trace,
            Level::Debug => log::Level::Debug,
            Level::Info => log::Level::Info,
            Level::Warn => log::Level::Warn,
            Level::Error => log::Level::Error,
        };
        log::write(level, message);
    }

    pub(crate) fn uid(&self, value: &str) -> Result<String, Fault> {
        Ok(pseudonyms::uid(value)?)
    }

    pub(crate) fn uids(&self, values: &[String]) -> Result<Vec<String>, Fault> {
        Ok(pseudonyms::uids(values)?)
    }

    pub(crate) fn subject(&self, value: &str) -> Result<String, Fault> {
        Ok(pseudonyms::subject(value)?)
    }

    pub(crate) fn shift_days(&self, subject: &str) -> Result<u32, Fault> {
        Ok(pseudonyms::shift_days(subject)?)
    }

    pub(crate) fn key_id(&self) -> String {
        pseudonyms::key_id()
    }

    pub(crate) fn graph(&self, name: &str) -> Result<Graph, NnError> {
        let graph = graph::load_by_name(name)?;
        let execution = graph.init_execution_context()?;
        Ok(Graph { execution, _graph: graph })
    }
}

pub(crate) struct Graph {
    execution: inference::GraphExecutionContext,
    _graph: graph::Graph,
}

impl Graph {
    pub(crate) fn compute(
        &self,
        inputs: &[(&str, TensorView<'_>)],
    ) -> Result<Vec<(String, Tensor)>, NnError> {
        let to_host = |&(name, view): &(&str, TensorView<'_>)| {
            let tensor = tensor::Tensor::new(view.shape(), to_tensor_type(view.element_type()), view.bytes());
            (name.to_owned(), tensor)
        };
        let outputs = self.execution.compute(inputs.iter().map(to_host).collect())?;
        Ok(outputs.into_iter().map(|(name, tensor)| (name, Tensor(tensor))).collect())
    }
}

pub(crate) struct Tensor(tensor::Tensor);

impl Tensor {
    pub(crate) fn fetch(&self) -> (ElementType, Vec<u32>, Vec<u8>) {
        (from_tensor_type(self.0.ty()), self.0.dimensions(), self.0.data())
    }
}

fn to_tensor_type(element_type: ElementType) -> tensor::TensorType {
    match element_type {
        ElementType::F16 => tensor::TensorType::Fp16,
        ElementType::Bf16 => tensor::TensorType::Bf16,
        ElementType::F32 => tensor::TensorType::Fp32,
        ElementType::F64 => tensor::TensorType::Fp64,
        ElementType::U8 => tensor::TensorType::U8,
        ElementType::I32 => tensor::TensorType::I32,
        ElementType::I64 => tensor::TensorType::I64,
    }
}

fn from_tensor_type(tensor_type: tensor::TensorType) -> ElementType {
    match tensor_type {
        tensor::TensorType::Fp16 => ElementType::F16,
        tensor::TensorType::Bf16 => ElementType::Bf16,
        tensor::TensorType::Fp32 => ElementType::F32,
        tensor::TensorType::Fp64 => ElementType::F64,
        tensor::TensorType::U8 => ElementType::U8,
        tensor::TensorType::I32 => ElementType::I32,
        tensor::TensorType::I64 => ElementType::I64,
    }
}

impl From<errors::Error> for NnError {
    fn from(error: errors::Error) -> Self {
        let code = match error.code() {
            errors::ErrorCode::InvalidArgument => ErrorCode::InvalidArgument,
            errors::ErrorCode::InvalidEncoding => ErrorCode::InvalidEncoding,
            errors::ErrorCode::Timeout => ErrorCode::Timeout,
            errors::ErrorCode::RuntimeError => ErrorCode::RuntimeError,
            errors::ErrorCode::UnsupportedOperation => ErrorCode::UnsupportedOperation,
            errors::ErrorCode::TooLarge => ErrorCode::TooLarge,
            errors::ErrorCode::NotFound => ErrorCode::NotFound,
            errors::ErrorCode::Security => ErrorCode::Security,
            errors::ErrorCode::Unknown => ErrorCode::Unknown,
        };
        Self { code, text: error.data() }
    }
}

impl From<types::Fault> for Fault {
    fn from(fault: types::Fault) -> Self {
        match fault {
            types::Fault::Malformed(text) => Self::Malformed(text),
            types::Fault::Unsupported(text) => Self::Unsupported(text),
            types::Fault::Limit(text) => Self::Limit(text),
            types::Fault::Policy(text) => Self::Policy(text),
            types::Fault::NeedsReview(text) => Self::NeedsReview(text),
            types::Fault::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<Fault> for types::Fault {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Malformed(text) => Self::Malformed(text),
            Fault::Unsupported(text) => Self::Unsupported(text),
            Fault::Limit(text) => Self::Limit(text),
            Fault::Policy(text) => Self::Policy(text),
            Fault::NeedsReview(text) => Self::NeedsReview(text),
            Fault::Internal(text) => Self::Internal(text),
        }
    }
}

impl From<Outcome> for types::Outcome {
    fn from(outcome: Outcome) -> Self {
        Self {
            findings: outcome.findings.into_iter().map(Finding::into).collect(),
            evidence: outcome.evidence.map(Evidence::into),
        }
    }
}

impl From<Finding> for types::Finding {
    fn from(finding: Finding) -> Self {
        let Finding { kind, label, confidence, scores, measurements } = finding;
        let measurement = |crate::Measurement { name, value, unit }| types::Measurement { name, value, unit };
        Self {
            kind,
            label,
            confidence,
            scores,
            measurements: measurements.into_iter().map(measurement).collect(),
        }
    }
}

impl From<Evidence> for types::Evidence {
    fn from(evidence: Evidence) -> Self {
        let Evidence { profile, edition, actions, notes } = evidence;
        let action = |crate::ActionCount { action, count }| types::ActionCount { action, count };
        Self { profile, edition, actions: actions.into_iter().map(action).collect(), notes }
    }
}
