//! How inference is set up on this device.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use martello_vocab::{ByteCount, Digest};

/// How models run on this device. Made by whoever reads the configuration; nothing here reads the environment.
#[derive(Debug, Clone)]
pub struct InferenceConfig {
    /// The library of ONNX Runtime that was asked for by name. Where it is set, no other place is looked at, and a
    /// library that is not there or not allowed is an error.
    pub library: Option<PathBuf>,
    /// Folders that may hold `libonnxruntime.so*`, looked at in this order.
    pub library_folders: Vec<PathBuf>,
    /// SHA-256 of the libraries that may be loaded into this process: ONNX Runtime itself, and the provider libraries
    /// beside it.
    pub allowed_libraries: Vec<Digest>,
    /// Whether the list above is kept to.
    pub library_policy: LibraryPolicy,
    /// Execution providers of ONNX Runtime, the best first. A device is served by those of them that are for it.
    pub providers: Vec<Provider>,
    /// Threads of one model run.
    pub threads: NonZero<usize>,
    /// Models that run at once; so many sessions are kept of each model.
    pub workers: NonZero<usize>,
    /// Runs that may wait for a worker. One more is refused with `runtime-error`.
    pub queue: usize,
    /// The most that a run may take, waiting included, whatever the instance's own deadline.
    pub longest_run: Duration,
    /// The largest model file.
    pub largest_model: ByteCount,
}

/// Whether the allow-list of libraries is kept to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LibraryPolicy {
    /// Only libraries whose digest is listed are loaded.
    #[default]
    Listed,
    /// Any library that is found is loaded into this process: whoever can write the file owns the device.
    DangerouslyAnyLibrary,
}

/// An execution provider of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// The processor, by ONNX Runtime itself.
    Cpu,
    /// The processor, by OpenVINO.
    OpenVino,
    /// An NVIDIA GPU.
    Cuda,
    /// An NVIDIA GPU, by TensorRT, which takes minutes to prepare a model.
    TensorRt,
}

impl InferenceConfig {
    /// The defaults: one run at a time for each two cores, ONNX Runtime from `<state>/lib` or the system's folders,
    /// and no library allowed.
    pub fn new(state: &Path) -> Self {
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let workers = NonZero::new(cores.get().div_ceil(2)).unwrap_or(NonZero::<usize>::MIN);
        let system =
            ["/usr/local/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib"];
        Self {
            library: None,
            library_folders: std::iter::once(state.join("lib")).chain(system.map(PathBuf::from)).collect(),
            allowed_libraries: Vec::new(),
            library_policy: LibraryPolicy::Listed,
            providers: vec![Provider::Cuda, Provider::Cpu],
            threads: NonZero::<usize>::MIN,
            workers,
            queue: 256,
            longest_run: Duration::from_secs(600),
            largest_model: ByteCount::mebibytes(2048),
        }
    }
}
