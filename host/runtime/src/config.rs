//! What the device gives to the sandbox as a whole.

use std::path::PathBuf;
use std::time::Duration;

use martello_vocab::ByteCount;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::engine::engine_config;

/// Core instances, memories and tables that one component may be made of. A Rust component is made of three core
/// modules with one memory and two tables; the bounds leave room for composed ones.
const CORE_INSTANCES_EACH: u32 = 24;
const MEMORIES_EACH: u32 = 4;
const TABLES_EACH: u32 = 12;

/// Bytes of a slot that are cleared in place when an instance ends. Beyond, pages go back to the kernel.
const KEPT_MEMORY_BYTES: usize = 1 << 20;
const KEPT_TABLE_BYTES: usize = 4 << 10;

/// How the sandbox is set up on this device.
#[derive(Debug, Clone)]
pub struct RuntimeConfig {
    /// The folder for compiled code and the device's key, made where it is missing.
    pub state: PathBuf,
    /// `martello-compile`; none looks beside the running executable.
    pub compiler: Option<PathBuf>,
    /// How many guests may run at once, each on a thread of its own. At least 1.
    pub guest_threads: usize,
    /// How many instances may live at once in worlds that share the threads of an async runtime (HTTP). None by
    /// default: each place costs address space and a little memory.
    pub shared_instances: u32,
    /// The most linear memory that any component may be given. Address space is reserved for it, not memory.
    pub memory_ceiling: ByteCount,
    /// The most elements a single table may have.
    pub table_ceiling: u32,
    /// How often a running guest is looked at.
    pub tick: Duration,
    /// How long the compiler may take for one component.
    pub compile_deadline: Duration,
    /// How much address space the compiler may take.
    pub compile_memory: ByteCount,
}

impl RuntimeConfig {
    /// The defaults for a device, with its state kept under `state`.
    pub fn new(state: impl Into<PathBuf>) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self {
            state: state.into(),
            compiler: None,
            guest_threads: cores.min(8),
            shared_instances: 0,
            memory_ceiling: ByteCount::mebibytes(1024),
            table_ceiling: 100_000,
            tick: Duration::from_millis(1),
            compile_deadline: Duration::from_secs(120),
            compile_memory: ByteCount::mebibytes(4096),
        }
    }

    /// The engine with its pool of slots.
    pub(crate) fn engine(&self) -> Config {
        let threads = u32::try_from(self.guest_threads.max(1)).unwrap_or(u32::MAX);
        let instances = threads.saturating_add(self.shared_instances);
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(instances)
            .total_core_instances(instances.saturating_mul(CORE_INSTANCES_EACH))
            .total_memories(instances.saturating_mul(MEMORIES_EACH))
            .total_tables(instances.saturating_mul(TABLES_EACH))
            .total_stacks(instances)
            .max_core_instances_per_component(CORE_INSTANCES_EACH)
            .max_memories_per_component(MEMORIES_EACH)
            .max_tables_per_component(TABLES_EACH)
            .max_memory_size(self.memory_ceiling.as_usize())
            .table_elements(usize::try_from(self.table_ceiling).unwrap_or(usize::MAX))
            .linear_memory_keep_resident(KEPT_MEMORY_BYTES)
            .table_keep_resident(KEPT_TABLE_BYTES)
            .max_unused_warm_slots(threads)
            .pagemap_scan(Enabled::Auto);
        let mut config = engine_config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        config
    }
}
