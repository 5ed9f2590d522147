//! The one description of the engine, shared by the host and by `martello-compile`.

use wasmtime::{Config, WasmBacktraceDetails};

/// Stack of guest code. Host functions run on the rest of the fiber's stack.
const GUEST_STACK_BYTES: usize = 512 << 10;

/// A fiber's whole stack: the guest's part, and 1.5 MiB for host functions (inference may run inline).
const FIBER_STACK_BYTES: usize = 2 << 20;

/// The engine's configuration as far as native code depends on it.
///
/// INVARIANT: the host and `martello-compile` both start from here; any difference would make the host refuse every
/// file that the compiler makes (`a_component_is_compiled_once_and_then_taken_from_the_cache`). Where instances
/// live is not part of it: the compiler needs no pool.
pub fn engine_config() -> Config {
    let mut config = Config::new();
    config
        .epoch_interruption(true)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        .max_wasm_stack(GUEST_STACK_BYTES)
        .async_stack_size(FIBER_STACK_BYTES)
        .wasm_memory64(false)
        .relaxed_simd_deterministic(true);
    config
}

/// Version of [`engine_config`] and of the cache's layout. A change of either changes this number, and with it the
/// names of all cached files.
pub(crate) const ENGINE_GENERATION: u32 = 2;
