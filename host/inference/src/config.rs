//! How inference is set up on this device.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use martello_bundle::manifest::Model;
use martello_vocab::{ByteCount, Digest};

use serde::{Deserialize, Serialize};

use crate::check::{ModelCheck, Verdicts};

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
    /// The most memory that loading a model or one run of it may take, whatever its manifest asks for; and the most that
    /// all models on ONNX Runtime hold together.
    pub largest_memory: ByteCount,
    /// Where a model is tried out before it is loaded into this process.
    pub check: ModelCheck,
    /// The most that trying a model out may take, its golden vectors included.
    pub check_deadline: Duration,
    /// Where it is kept that a model was tried out; none where each process does it anew.
    pub verdicts: Option<Arc<dyn Verdicts>>,
}

/// What a model may take that asks for nothing: so much, and so many times its size. Optimisers hold a few copies of the
/// weights at once (tract five, measured), and an image model's tensors are some hundreds of MiB at most.
const USUAL_MEMORY: ByteCount = ByteCount::mebibytes(768);
const USUAL_COPIES: u64 = 8;

/// The least that `largest_memory` is by default, on however small a device, and the most.
const LARGEST_MEMORY: std::ops::RangeInclusive<u64> = (768 << 20)..=(16 << 30);

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
            largest_memory: half_of_memory(),
            check: ModelCheck::Child { program: None },
            check_deadline: Duration::from_secs(120),
            verdicts: None,
        }
    }

    /// What loading this model, or one run of it, may take.
    pub(crate) fn memory_of(&self, model: &Model) -> ByteCount {
        let usual = USUAL_MEMORY.0.saturating_add(model.size.0.saturating_mul(USUAL_COPIES));
        let wanted = model.memory_bytes.map_or(usual, |asked| asked.0.max(usual));
        ByteCount(wanted.min(self.largest_memory.0))
    }
}

/// Half of the machine's memory (`proc_meminfo(5)`), within reason; the least where it is not known.
fn half_of_memory() -> ByteCount {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kibibytes = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    let half = kibibytes.unwrap_or(0).saturating_mul(1 << 10) / 2;
    ByteCount(half.clamp(*LARGEST_MEMORY.start(), *LARGEST_MEMORY.end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{config, entry, file};

    #[test]
    fn a_model_gets_what_its_size_lets_expect_or_what_it_asks_for_up_to_the_operators_most() {
        let mut model = entry(&file("affine"), martello_bundle::manifest::Backend::Builtin);
        let config = InferenceConfig { largest_memory: ByteCount::mebibytes(2000), ..config() };
        model.size = ByteCount::mebibytes(100);
        assert_eq!(config.memory_of(&model), ByteCount::mebibytes(1568));
        model.memory_bytes = Some(ByteCount::mebibytes(1));
        assert_eq!(config.memory_of(&model), ByteCount::mebibytes(1568));
        model.memory_bytes = Some(ByteCount::mebibytes(1900));
        assert_eq!(config.memory_of(&model), ByteCount::mebibytes(1900));
        model.memory_bytes = Some(ByteCount(u64::MAX));
        assert_eq!(config.memory_of(&model), ByteCount::mebibytes(2000));
        model.size = ByteCount(u64::MAX);
        assert_eq!(config.memory_of(&model), ByteCount::mebibytes(2000));
    }
}
