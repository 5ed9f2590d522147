//! Execution providers: which of them serve a device, and making a session that really uses one.

use std::num::NonZero;

use martello_bundle::manifest::Strictness;
use ort::ep::{self, ExecutionProvider as _, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, PrepackedWeights, SessionBuilder};

use super::assignment;
use super::library::Library;
use crate::backend::{BackendKind, Wanted};
use crate::config::Provider;
use crate::error::ModelError;

/// Where the files of external weights would be looked for: beneath something that is no folder, so that a model
/// reaches no file but itself.
pub(super) const NO_FOLDER: (&str, &str) =
    ("session.model_external_initializers_file_folder_path", "/dev/null");

/// A choice of providers that worked once, so that further sessions are made the same way.
#[derive(Clone)]
pub(super) struct Placed {
    provider: Provider,
    number: u8,
    threads: NonZero<usize>,
    weights: PrepackedWeights,
    /// The providers that took part of the graph with the number of their nodes.
    pub(super) providers: Vec<(String, usize)>,
    pub(super) device: String,
    pub(super) instead: Option<String>,
}

impl Provider {
    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPUExecutionProvider",
            Self::Cuda => "CUDAExecutionProvider",
            Self::TensorRt => "TensorrtExecutionProvider",
            Self::OpenVino => "OpenVINOExecutionProvider",
        }
    }

    const fn serves_gpu(self) -> bool {
        matches!(self, Self::Cuda | Self::TensorRt)
    }

    fn is_in_library(self) -> bool {
        let asked = match self {
            Self::Cpu => return true,
            Self::Cuda => ep::CUDA::is_available(),
            Self::TensorRt => ep::TensorRT::is_available(),
            Self::OpenVino => ep::OpenVINO::is_available(),
        };
        asked.unwrap_or(false)
    }

    /// Full precision everywhere: what a model computes does not depend on the device beyond rounding.
    fn dispatch(self, number: u8) -> Option<ExecutionProviderDispatch> {
        let number = i32::from(number);
        let provider = match self {
            Self::Cpu => return None,
            Self::Cuda => ep::CUDA::default().with_device_id(number).with_tf32(false).build(),
            Self::TensorRt => ep::TensorRT::default().with_device_id(number).build(),
            Self::OpenVino => {
                ep::OpenVINO::default().with_device_type("CPU").with_precision("ACCURACY").build()
            }
        };
        Some(provider.error_on_failure())
    }
}

/// Makes the first session on the best provider that serves the device.
pub(super) fn place(
    library: &Library,
    providers: &[Provider],
    model: &[u8],
    wanted: &Wanted<'_>,
) -> Result<(Placed, Session), ModelError> {
    let gpu = wanted.device != "cpu";
    let number = wanted.device.strip_prefix("gpu:").and_then(|number| number.parse().ok()).unwrap_or(0);
    let mut reasons = Vec::new();
    for &provider in providers.iter().filter(|provider| provider.serves_gpu() == gpu) {
        let mut placed = Placed {
            provider,
            number,
            threads: wanted.threads,
            weights: PrepackedWeights::new(),
            providers: Vec::new(),
            device: if gpu { format!("gpu:{number}") } else { "cpu".to_owned() },
            instead: None,
        };
        match attempt(library, &mut placed, model) {
            Ok(session) => {
                placed.instead = (!reasons.is_empty()).then(|| reasons.join("; "));
                return Ok((placed, session));
            }
            // The last resort of a CPU: its refusal is the model's fault.
            Err(Attempt::Model(error)) => return Err(error),
            Err(Attempt::Provider(reason)) => reasons.push(format!("{}: {reason}", provider.name())),
        }
    }
    if reasons.is_empty() {
        reasons.push("no provider is configured for it".to_owned());
    }
    let reason = reasons.join("; ");
    if !gpu || wanted.strictness == Strictness::Require {
        return Err(ModelError::DeviceMissing { device: wanted.device.to_owned(), reason });
    }
    let instead = Some(format!("device `{}`: {reason}", wanted.device));
    let on_cpu = Wanted { device: "cpu", ..wanted.clone() };
    let (placed, session) = place(library, providers, model, &on_cpu)?;
    Ok((Placed { instead, ..placed }, session))
}

enum Attempt {
    /// The provider cannot be used here.
    Provider(String),
    /// The model cannot be used anywhere.
    Model(ModelError),
}

fn attempt(library: &Library, placed: &mut Placed, model: &[u8]) -> Result<Session, Attempt> {
    let provider = placed.provider;
    if !provider.is_in_library() {
        return Err(Attempt::Provider("the library was built without it".to_owned()));
    }
    let left_out = || match library.left_out.as_slice() {
        [] => String::new(),
        names => format!(" (left out because their digest is not allowed: {})", names.join(", ")),
    };
    let session = placed.session(library, model).map_err(|error| match provider {
        Provider::Cpu => Attempt::Model(refusal(&error)),
        _ => Attempt::Provider(format!("{error}{}", left_out())),
    })?;
    let found = assignment::assignments(&session)
        .map_err(|error| Attempt::Provider(format!("what it really uses is unknown: {}", error.message())))?;
    // INVARIANT: a session that was asked for a provider and does not use it is no session on that provider.
    let uses = found.iter().any(|(name, nodes)| name == provider.name() && *nodes > 0);
    if !uses && provider != Provider::Cpu {
        return Err(Attempt::Provider("it took no node of the graph".to_owned()));
    }
    placed.providers = found;
    Ok(session)
}

impl Placed {
    /// A session like the first one, sharing its prepared weights.
    #[expect(clippy::result_large_err, reason = "the builder gives itself back in its errors")]
    pub(super) fn session(&self, library: &Library, model: &[u8]) -> Result<Session, String> {
        let words = |error: ort::Error<SessionBuilder>| error.message().to_owned();
        let plain = |error: ort::Error| error.message().to_owned();
        let mut builder = Session::builder(&library.environment).map_err(plain)?;
        if let Some(provider) = self.provider.dispatch(self.number) {
            builder = builder.with_execution_providers([provider]).map_err(words)?;
        }
        builder = builder
            .with_optimization_level(GraphOptimizationLevel::All)
            .and_then(|builder| builder.with_intra_threads(self.threads.get()))
            .and_then(|builder| builder.with_inter_threads(1))
            .and_then(SessionBuilder::with_env_allocators)
            .and_then(|builder| builder.with_intra_op_spinning(false))
            .and_then(|builder| builder.with_config_entry(NO_FOLDER.0, NO_FOLDER.1))
            .and_then(|builder| builder.with_config_entry(assignment::RECORD.0, assignment::RECORD.1))
            .and_then(|builder| builder.with_prepacked_weights(&self.weights))
            .map_err(words)?;
        builder.commit_from_memory(model).map_err(plain)
    }
}

/// Names the operator where ONNX Runtime's words tell it.
fn refusal(detail: &str) -> ModelError {
    let backend = BackendKind::Onnxruntime;
    let after = |mark: &str| detail.split_once(mark).map(|(_, rest)| rest);
    let word = |rest: &str| {
        let end = rest.find(|letter: char| !letter.is_alphanumeric() && !matches!(letter, '_' | '.' | ':'));
        rest.get(..end.unwrap_or(rest.len())).map(|word| word.trim_end_matches('.').to_owned())
    };
    let operator = after("Could not find an implementation for ")
        .or_else(|| after("No Op registered for "))
        .and_then(word)
        .or_else(|| {
            after("Fatal error: ").filter(|rest| rest.contains("is not a registered")).and_then(word)
        });
    if let Some(operator) = operator.filter(|operator| !operator.is_empty()) {
        return ModelError::UnsupportedOperator { backend, operators: vec![operator] };
    }
    if detail.contains("Protobuf parsing failed") || detail.contains("ModelProto does not have a graph") {
        return ModelError::Malformed { detail: detail.to_owned() };
    }
    ModelError::Backend { backend, detail: detail.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operator_is_read_out_of_what_onnx_runtime_says() {
        let cases = [
            ("Could not find an implementation for Foo(14) node with name 'x'", "Foo"),
            ("Load model failed: No Op registered for Bar with domain_version of 9", "Bar"),
            (
                "Fatal error: example.invalid:Nonesuch(-1) is not a registered function/op",
                "example.invalid:Nonesuch",
            ),
        ];
        for (words, operator) in cases {
            let ModelError::UnsupportedOperator { operators, .. } = refusal(words) else { panic!("{words}") };
            assert_eq!(operators, [operator]);
        }
        assert!(matches!(refusal("out of memory"), ModelError::Backend { .. }));
    }
}
