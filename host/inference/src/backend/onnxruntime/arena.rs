//! The memory of ONNX Runtime: one arena for all sessions of this process, with a most. A run that asks for more ends with
//! an error, where it would take the machine's memory or end the process.

#![expect(unsafe_code, reason = "allocators of an environment have no safe wrapper")]

use std::ptr;

use martello_vocab::ByteCount;
use ort::AsPointer;
use ort::environment::Environment;
use ort::memory::{AllocationDevice, AllocatorType, MemoryInfo, MemoryType};

/// ONNX Runtime's own choice: how regions grow, how large the first is, how much of a chunk may lie unused.
const DEFAULT: i32 = -1;

/// Gives the environment its arena. Sessions use it that are made with `session.use_env_allocators`.
pub(super) fn register(environment: &Environment, most: ByteCount) -> ort::Result<()> {
    let memory = MemoryInfo::new(AllocationDevice::CPU, 0, AllocatorType::Arena, MemoryType::Default)?;
    let api = ort::api();
    let mut config = ptr::null_mut();
    // SAFETY: on success the call leaves a configuration that is ours to release.
    unsafe {
        let status = (api.CreateArenaCfg)(most.as_usize(), DEFAULT, DEFAULT, DEFAULT, &raw mut config);
        ort::Error::result_from_status(status)?;
    }
    // SAFETY: environment and description of the memory are alive, and so is the configuration, which the call copies.
    unsafe {
        let status = (api.CreateAndRegisterAllocator)(environment.ptr().cast_mut(), memory.ptr(), config);
        (api.ReleaseArenaCfg)(config);
        ort::Error::result_from_status(status)
    }
}

/// Whether ONNX Runtime says that its memory is used up: that of the arena, or what the system gives.
pub(super) fn is_full(words: &str) -> bool {
    ["is smaller than requested bytes", "bad_alloc", "Failed to allocate memory"]
        .iter()
        .any(|mark| words.contains(mark))
}
