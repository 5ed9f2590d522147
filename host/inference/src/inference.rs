//! The backends of this device, and which of them a model gets.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use martello_bundle::manifest::{self, Model, Strictness};
use martello_trust::{Blob, Trusted};
use martello_vocab::{ByteCount, Digest};

use crate::backend::{Backend, BackendKind, Execution, Graph, Wanted};
use crate::check::{Keep, Turns, Verdict};
use crate::config::InferenceConfig;
use crate::error::{InferenceError, ModelError};
use crate::golden::GoldenCase;
use crate::model::{LoadedModel, check_named, check_schema};
use crate::workers::Workers;

/// The backends of this device and the threads on which models run.
pub struct Inference {
    pub(crate) config: InferenceConfig,
    pub(crate) workers: Arc<Workers>,
    pub(crate) accelerated: Accelerated,
    /// Models that went through where they were tried out, by all that this depends on.
    pub(crate) cleared: Mutex<BTreeMap<Digest, Verdict>>,
    pub(crate) checking: Turns,
}

/// ONNX Runtime, or why it is not there.
pub(crate) enum Accelerated {
    #[cfg(feature = "onnxruntime")]
    There(Arc<crate::backend::onnxruntime::OnnxRuntime>),
    Missing(String),
}

impl Inference {
    /// Starts the threads, and loads ONNX Runtime where the device has it and it is allowed. This hashes the library:
    /// about 0.1 s.
    ///
    /// # Errors
    /// [`InferenceError`]: threads, or a library that was asked for by name.
    pub fn new(config: &InferenceConfig) -> Result<Self, InferenceError> {
        let workers = Workers::start(config.workers, config.queue).map_err(InferenceError::Threads)?;
        Ok(Self {
            accelerated: accelerated(config)?,
            workers: Arc::new(workers),
            config: config.clone(),
            cleared: Mutex::default(),
            checking: Turns::default(),
        })
    }

    /// Whether this device has the backend, or why not.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn availability(&self, backend: BackendKind) -> Result<(), String> {
        self.backend(backend).map(|_| ())
    }

    /// Whether a model file of this size is taken. [`Self::load`] asks the same; a caller asks before it reads the file.
    ///
    /// # Errors
    /// [`ModelError::TooLarge`].
    pub fn admit_size(&self, found: ByteCount) -> Result<(), ModelError> {
        let most = self.config.largest_model;
        if found > most { Err(ModelError::TooLarge { found, most }) } else { Ok(()) }
    }

    /// Loads a model as its manifest entry places it, and compares the entry with the model's real tensors. Before that it
    /// is tried out with its golden vectors in a process of its own, unless it is known to go through. This blocks: for
    /// seconds where the model is large.
    ///
    /// # Errors
    /// Why the model is refused.
    pub fn load(
        &self,
        blob: &Trusted<Blob>,
        model: &Model,
        cases: &[GoldenCase<'_>],
    ) -> Result<Arc<LoadedModel>, ModelError> {
        self.load_shapeless(blob, model, cases, &[])
    }

    /// As [`Self::load`], but the manifest entry was made of the model file, which says no shape of these outputs: theirs
    /// are what the backend finds.
    ///
    /// # Errors
    /// Why the model is refused.
    pub fn load_shapeless(
        &self,
        blob: &Trusted<Blob>,
        model: &Model,
        cases: &[GoldenCase<'_>],
        shapeless: &[String],
    ) -> Result<Arc<LoadedModel>, ModelError> {
        let (bytes, found) = (blob.bytes(), *blob.digest());
        if found != model.digest {
            return Err(ModelError::WrongDigest { expected: model.digest, found });
        }
        self.admit_size(ByteCount(bytes.len() as u64))?;
        let verdict = self.clear(bytes, model, cases, shapeless, Duration::MAX, Keep::OnDevice)?;
        Ok(Arc::new(self.load_bytes(bytes, found, model, shapeless)?.with_verdict(verdict.without_builtin)))
    }

    /// Loads bytes that nobody signed, as an instance may be permitted to ask for, when it has so much time left.
    pub(crate) fn load_guest_model(
        &self,
        bytes: &Bytes,
        model: &Model,
        shapeless: &[String],
        within: Duration,
    ) -> Result<LoadedModel, ModelError> {
        self.admit_size(ByteCount(bytes.len() as u64))?;
        // The verdict is of no use to another process: whoever sends a request chooses the model.
        self.clear(bytes, model, &[], shapeless, within, Keep::Here)?;
        self.load_bytes(bytes, model.digest, model, shapeless)
    }

    /// Loads bytes into this process, whatever comes of it.
    pub(crate) fn load_bytes(
        &self,
        bytes: &Bytes,
        digest: Digest,
        model: &Model,
        shapeless: &[String],
    ) -> Result<LoadedModel, ModelError> {
        self.admit_size(ByteCount(bytes.len() as u64))?;
        match martello_bundle::onnx::texts(bytes) {
            Ok(Some(what)) => return Err(ModelError::Texts { what }),
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        let graph = self.place(bytes, model)?;
        check_named(graph.interface())?;
        check_schema(model, graph.interface(), shapeless)?;
        let execution: &Execution = graph.execution();
        tracing::info!(model = %model.name, %digest, ?execution, "model is loaded");
        if let Some(instead) = &execution.instead {
            tracing::warn!(model = %model.name, instead, "model does not run on what was wanted first");
        }
        let sessions = self.config.workers.get();
        LoadedModel::new(graph, digest, sessions, Arc::clone(&self.workers), self.config.longest_run)
    }

    /// The backend that the manifest asks for. `auto` is ONNX Runtime where it is there, else the built-in one; a
    /// model that ONNX Runtime refuses is refused.
    fn place(&self, bytes: &Bytes, model: &Model) -> Result<Box<dyn Graph>, ModelError> {
        let wanted = Wanted {
            device: &model.placement.device,
            strictness: model.placement.strictness,
            threads: self.config.threads,
            inputs: &model.inputs,
            memory: self.config.memory_of(model),
        };
        check_device(wanted.device)?;
        let load = |backend: BackendKind, wanted: &Wanted<'_>| match self.backend(backend) {
            Ok(there) => there.load(bytes, wanted),
            Err(reason) => Err(ModelError::BackendMissing { backend, reason }),
        };
        match model.placement.backend {
            manifest::Backend::Builtin => load(BackendKind::Tract, &wanted),
            manifest::Backend::Onnxruntime => load(BackendKind::Onnxruntime, &wanted),
            manifest::Backend::Auto => match self.backend(BackendKind::Onnxruntime) {
                Ok(there) => there.load(bytes, &wanted),
                // A required GPU is refused by the built-in backend; the better reason is why there is no other.
                Err(reason) if wanted.device != "cpu" && wanted.strictness == Strictness::Require => {
                    Err(ModelError::DeviceMissing { device: wanted.device.to_owned(), reason })
                }
                Err(_) => load(BackendKind::Tract, &wanted),
            },
        }
    }

    /// The backend that a model will be handed to; none where it is refused before.
    pub(crate) fn chosen(&self, model: &Model) -> Option<BackendKind> {
        let kind = match model.placement.backend {
            manifest::Backend::Builtin => BackendKind::Tract,
            manifest::Backend::Onnxruntime => BackendKind::Onnxruntime,
            manifest::Backend::Auto if self.backend(BackendKind::Onnxruntime).is_ok() => {
                BackendKind::Onnxruntime
            }
            manifest::Backend::Auto => BackendKind::Tract,
        };
        let device = model.placement.device.as_str();
        check_device(device).ok()?;
        let required = device != "cpu" && model.placement.strictness == Strictness::Require;
        let there = self.backend(kind).is_ok() && !(required && kind == BackendKind::Tract);
        there.then_some(kind)
    }

    /// The library of ONNX Runtime in this process, with its digest.
    pub(crate) fn library(&self) -> Option<(PathBuf, Digest)> {
        match &self.accelerated {
            #[cfg(feature = "onnxruntime")]
            Accelerated::There(runtime) => Some((runtime.path().to_owned(), *runtime.digest())),
            Accelerated::Missing(_) => None,
        }
    }

    pub(crate) fn backend(&self, backend: BackendKind) -> Result<Arc<dyn Backend>, String> {
        match backend {
            #[cfg(feature = "tract")]
            BackendKind::Tract => Ok(Arc::new(crate::backend::tract::Tract)),
            #[cfg(not(feature = "tract"))]
            BackendKind::Tract => Err("this build does not have it".to_owned()),
            BackendKind::Onnxruntime => match &self.accelerated {
                #[cfg(feature = "onnxruntime")]
                Accelerated::There(runtime) => {
                    Ok(Arc::<crate::backend::onnxruntime::OnnxRuntime>::clone(runtime))
                }
                Accelerated::Missing(reason) => Err(reason.clone()),
            },
        }
    }
}

#[cfg(feature = "onnxruntime")]
fn accelerated(config: &InferenceConfig) -> Result<Accelerated, InferenceError> {
    use crate::backend::onnxruntime::OnnxRuntime;
    if let Some(path) = &config.library {
        let failed = |reason| InferenceError::Library { path: path.clone(), reason };
        return OnnxRuntime::open(path, config).map(Accelerated::There).map_err(failed);
    }
    let mut reasons = Vec::new();
    for path in crate::backend::onnxruntime::candidates(&config.library_folders) {
        match OnnxRuntime::open(&path, config) {
            Ok(runtime) => return Ok(Accelerated::There(runtime)),
            Err(reason) => {
                tracing::warn!(path = %path.display(), reason, "ONNX Runtime is there and is not used");
                reasons.push(format!("`{}`: {reason}", path.display()));
            }
        }
    }
    if reasons.is_empty() {
        reasons.push("no libonnxruntime.so in the state folder's lib or the system's folders".to_owned());
    }
    Ok(Accelerated::Missing(reasons.join("; ")))
}

#[cfg(not(feature = "onnxruntime"))]
fn accelerated(config: &InferenceConfig) -> Result<Accelerated, InferenceError> {
    let reason = "this build does not have it".to_owned();
    match &config.library {
        Some(path) => Err(InferenceError::Library { path: path.clone(), reason }),
        None => Ok(Accelerated::Missing(reason)),
    }
}

/// A device is `cpu`, `gpu` or `gpu:N`.
fn check_device(device: &str) -> Result<(), ModelError> {
    let numbered = device.strip_prefix("gpu:").is_some_and(|number| number.parse::<u8>().is_ok());
    if device == "cpu" || device == "gpu" || numbered {
        return Ok(());
    }
    let reason = "a device is `cpu`, `gpu` or `gpu:N`".to_owned();
    Err(ModelError::DeviceMissing { device: device.to_owned(), reason })
}

impl std::fmt::Debug for Inference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inference").field("config", &self.config).finish_non_exhaustive()
    }
}
