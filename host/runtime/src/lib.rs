//! The sandbox: runs signed WebAssembly components under limits, and lets nothing else run.
//!
//! [`Runtime::load`] takes a [`Trusted<Blob>`](martello_trust::Trusted), which only verification makes, and gives a
//! [`StageComponent`]. Each [`StageComponent::process`] makes a fresh instance on a guest thread, so that one
//! patient's bytes never meet another's. Every guest has a memory cap, a compute budget, a wall deadline, and budgets
//! of log lines, output bytes and host calls; what it runs into becomes a stable code.
//!
//! The crate deliberately knows nothing of bundles, stores and models: `wasi:nn` comes in through [`Extension`]. It
//! holds no compiler either: `martello-compile`, a process of its own, makes native code out of what was verified.
//!
//! Start with [`Runtime`], then [`StageCall`]. The limits are kept in `meter.rs`, the cache of native code in `native`.

mod command;
mod config;
mod engine;
mod guest;
mod http;
mod imports;
mod log;
mod logging;
mod meter;
mod native;
mod payload;
mod runtime;
mod stage;
mod threads;
mod ticker;
mod wasi;

pub use command::{CommandCall, CommandComponent, CommandFailure, CommandReport, FolderAccess, FolderGrant};
pub use config::RuntimeConfig;
pub use engine::engine_config;
pub use guest::Guest;
pub use http::{HttpComponent, HttpConfig, Patience, serve};
pub use imports::{ImportGrant, ImportGrants, ImportRefusal};
pub use log::{GuestLog, LINE_OVERHEAD, LONGEST_LINE, LogLevel, StageLog, TracingLog};
pub use meter::Usage;
pub use native::{CompileError, DeviceKey, NativeError};
pub use payload::{Output, Payload};
pub use runtime::{Extension, LoadError, NoExtension, Runtime, RuntimeError};
pub use stage::{
    Contract, EvidenceRule, FindingRule, PseudonymError, Pseudonyms, StageCall, StageComponent, StageFailure,
    StageReport,
};
