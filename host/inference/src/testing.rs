//! What the tests of this crate share: models, tensors, and a backend that misbehaves.

use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use martello_bundle::manifest::{Backend as Choice, ElementType, Model, ModelFormat, Placement, Strictness};
use martello_bundle::onnx::ModelTensors;
use martello_vocab::{ByteCount, Digest};

use crate::backend::{BackendKind, Element, Execution, Graph, Interface, Port, Session, Stop};
use crate::error::{ModelError, RunError};
use crate::{Inference, InferenceConfig, LibraryPolicy, LoadedModel, ModelCheck, Tensor};

pub(crate) fn file(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(format!("{name}.onnx"));
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// A manifest entry for the file, as packing would write it.
pub(crate) fn entry(bytes: &[u8], backend: Choice) -> Model {
    let tensors = ModelTensors::read(bytes).unwrap();
    Model {
        name: "model".parse().unwrap(),
        digest: Digest::of(bytes),
        size: ByteCount(bytes.len() as u64),
        format: ModelFormat::Onnx,
        inputs: tensors.inputs,
        outputs: tensors.outputs,
        placement: Placement { backend, device: "cpu".to_owned(), strictness: Strictness::Require },
        recipe: None,
        labels: Vec::new(),
        calibration: None,
        threshold: None,
        memory_bytes: None,
        licence: None,
        golden: Vec::new(),
    }
}

pub(crate) fn config() -> InferenceConfig {
    let mut config = InferenceConfig::new(Path::new("/nonexistent"));
    config.library_folders.clear();
    config.workers = NonZero::new(2).unwrap();
    // The models are this crate's own; `martello infer` and `run` are tested with others.
    config.check = ModelCheck::DangerouslyInThisProcess;
    config
}

/// Inference with the built-in backend alone.
pub(crate) fn builtin() -> Arc<Inference> {
    Arc::new(Inference::new(&config()).unwrap())
}

/// Inference with ONNX Runtime, where `MARTELLO_ONNXRUNTIME` names its library. Missing is a failure in CI.
pub(crate) fn accelerated() -> Option<Arc<Inference>> {
    let Some(path) = std::env::var_os("MARTELLO_ONNXRUNTIME") else {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "CI must set MARTELLO_ONNXRUNTIME");
        eprintln!("ignored: MARTELLO_ONNXRUNTIME does not name a library of ONNX Runtime");
        return None;
    };
    let mut config = config();
    config.library = Some(path.into());
    config.library_policy = LibraryPolicy::DangerouslyAnyLibrary;
    Some(Arc::new(Inference::new(&config).unwrap()))
}

pub(crate) fn load(
    inference: &Inference,
    name: &str,
    backend: Choice,
) -> Result<Arc<LoadedModel>, ModelError> {
    let bytes = file(name);
    let shapeless = ModelTensors::read(&bytes).unwrap().shapeless;
    let entry = entry(&bytes, backend);
    inference.load_bytes(&bytes.clone().into(), Digest::of(&bytes), &entry, &shapeless).map(Arc::new)
}

pub(crate) fn floats(shape: &[u32], values: &[f32]) -> Tensor {
    Tensor::copied(ElementType::F32, shape.to_vec(), bytemuck::cast_slice(values)).unwrap()
}

/// What a scripted model does when it runs.
type Act = Arc<dyn Fn(&Stop) -> Result<Vec<Tensor>, RunError> + Send + Sync>;

/// What it does when it is asked for a session.
type Prepare = Box<dyn Fn() + Send + Sync>;

/// A model that does what the test wants of it.
pub(crate) struct Scripted {
    interface: Interface,
    execution: Execution,
    prepare: Prepare,
    act: Act,
}

/// A model with one f32 input `x` of one element, no outputs, and this behaviour.
pub(crate) fn scripted(
    inference: &Inference,
    act: impl Fn(&Stop) -> Result<Vec<Tensor>, RunError> + Send + Sync + 'static,
) -> Arc<LoadedModel> {
    scripted_with(inference, Some(1), || (), act)
}

/// The same with this one dimension, open where it is none, and with something to do before each session.
pub(crate) fn scripted_with(
    inference: &Inference,
    dimension: Option<u32>,
    prepare: impl Fn() + Send + Sync + 'static,
    act: impl Fn(&Stop) -> Result<Vec<Tensor>, RunError> + Send + Sync + 'static,
) -> Arc<LoadedModel> {
    let element = Element::Known(ElementType::F32);
    let port = Port { name: "x".to_owned(), element, shape: Some(vec![dimension]) };
    let execution = Execution {
        backend: BackendKind::Tract,
        version: "scripted".to_owned(),
        providers: Vec::new(),
        device: "cpu".to_owned(),
        precision: "f32".to_owned(),
        threads: 1,
        instead: None,
    };
    let interface = Interface { inputs: vec![port], outputs: Vec::new() };
    let graph = Scripted { interface, execution, prepare: Box::new(prepare), act: Arc::new(act) };
    let workers = Arc::clone(&inference.workers);
    Arc::new(
        LoadedModel::new(Box::new(graph), Digest::of(b"scripted"), 2, workers, Duration::from_secs(60))
            .unwrap(),
    )
}

struct ScriptedSession(Act);

impl Graph for Scripted {
    fn interface(&self) -> &Interface {
        &self.interface
    }

    fn execution(&self) -> &Execution {
        &self.execution
    }

    fn session(&self) -> Result<Box<dyn Session>, ModelError> {
        (self.prepare)();
        Ok(Box::new(ScriptedSession(Arc::clone(&self.act))))
    }
}

impl Session for ScriptedSession {
    fn run(&mut self, _: &[Tensor], stop: &Stop) -> Result<Vec<Tensor>, RunError> {
        (self.0)(stop)
    }
}
