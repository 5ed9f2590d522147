//! How `wasi:nn` gets into the sandbox: the runtime's extension, made of the inference adapter.

use std::sync::Arc;

use martello_inference::{Inference, LoadedModel, NnState, Ran, Record};
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

impl Active {
    /// What the report says of models that ran.
    pub(crate) fn model_lines(ran: &[Ran]) -> Vec<ModelLine> {
        let line = |ran: &Ran| ModelLine {
            run: ModelRun {
                model: ran.model.as_ref().map(ToString::to_string),
                digest: ran.digest,
                execution: ran.execution.clone(),
                runs: ran.runs,
                failures: ran.failures,
            },
            ms: crate::report::milliseconds(ran.elapsed),
        };
        ran.iter().map(line).collect()
    }
}
