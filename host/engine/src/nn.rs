//! How `wasi:nn` gets into the sandbox: the runtime's extension, made of the inference adapter.

use std::sync::Arc;

use martello_inference::{GoldenEvidence, Inference, LoadedModel, NnState, Ran, Record};
use martello_runtime::{Extension, Guest};
use martello_vocab::Name;

use crate::activation::{Active, ActiveStage};
use crate::report::{ModelLine, ModelRun};

/// A model of an active bundle.
#[derive(Debug, Clone)]
pub(crate) struct ActivatedModel {
    /// The name by which stages open it.
    pub(crate) name: Name,
    pub(crate) loaded: Arc<LoadedModel>,
    /// What its golden vectors showed when it was activated.
    pub(crate) golden: GoldenEvidence,
}

/// A model that ran in a pass.
#[derive(Debug, Clone)]
pub struct PassModel {
    /// What ran, on what, how often.
    pub ran: Ran,
    /// Whether the manifest's golden outputs decided alone that it may run, because the built-in backend could not run
    /// it.
    pub golden_decided_alone: bool,
}

/// The sandbox with `wasi:nn`, or without it. Both are one type, because each type of extension compiles every host
/// function of WASI anew: half a megabyte of code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NnExtension {
    /// Links `wasi:nn` into every component; what an instance may open stands in its state.
    Linked,
    /// A component that imports `wasi:nn` is refused.
    Absent,
}

impl Extension for NnExtension {
    type State = NnState;

    fn link(&self, linker: &mut wasmtime::component::Linker<Guest<NnState>>) -> wasmtime::Result<()> {
        match self {
            Self::Linked => martello_inference::add_to_linker(linker, Guest::extension),
            Self::Absent => Ok(()),
        }
    }

    fn interfaces(&self) -> &'static [&'static str] {
        match self {
            Self::Linked => &["wasi:nn/"],
            Self::Absent => &[],
        }
    }
}

impl ActiveStage {
    /// The state of a fresh instance, and the record of what it will run.
    pub(crate) fn nn_state(&self, inference: &Arc<Inference>) -> (NnState, Record) {
        let models = self.models.iter().map(|model| (model.name.clone(), Arc::clone(&model.loaded)));
        let mut state = NnState::new(models, self.component.limits());
        if self.guest_models {
            state = state.dangerously_load_guest_models(Arc::clone(inference));
        }
        let record = state.record();
        (state, record)
    }
}

/// What ran, with what is known of it since the activation.
pub(crate) fn known(ran: Vec<Ran>, models: &[ActivatedModel]) -> Vec<PassModel> {
    let alone = |ran: &Ran| {
        let model = models.iter().find(|model| Some(&model.name) == ran.model.as_ref());
        model.is_some_and(|model| model.golden.decided_alone.is_some())
    };
    ran.into_iter().map(|ran| PassModel { golden_decided_alone: alone(&ran), ran }).collect()
}

impl Active {
    /// What the report says of models that ran.
    pub(crate) fn model_lines(models: &[PassModel]) -> Vec<ModelLine> {
        let line = |PassModel { ran, golden_decided_alone }: &PassModel| ModelLine {
            run: ModelRun {
                model: ran.model.as_ref().map(ToString::to_string),
                digest: ran.digest,
                execution: ran.execution.clone(),
                runs: ran.runs,
                failures: ran.failures,
            },
            golden_decided_alone: *golden_decided_alone,
            ms: crate::report::milliseconds(ran.elapsed),
        };
        models.iter().map(line).collect()
    }
}
