//! The sandbox as a whole.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use martello_trust::{Blob, Trusted};
use martello_vocab::{ByteCount, Limits, LimitsError};
use wasmtime::Engine;
use wasmtime::component::{Component, Linker};

use crate::config::RuntimeConfig;
use crate::guest::Guest;
use crate::imports::{ImportGrants, ImportRefusal};
use crate::native::{NativeCode, NativeError};
use crate::stage::{self, StageComponent, StageHostPre};
use crate::threads::GuestThreads;
use crate::ticker::Ticker;

/// Interfaces that come from beside the runtime, for example `wasi:nn`.
pub trait Extension: Send + Sync + 'static {
    /// What it keeps for each instance.
    type State: Send + 'static;

    /// Links its functions.
    ///
    /// # Errors
    /// When a function is linked twice.
    fn link(&self, linker: &mut Linker<Guest<Self::State>>) -> wasmtime::Result<()>;

    /// Beginnings of the names of the interfaces that it links, for example `wasi:nn/`.
    fn interfaces(&self) -> &'static [&'static str];
}

/// No extension.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoExtension;

impl Extension for NoExtension {
    type State = ();

    fn link(&self, _: &mut Linker<Guest<()>>) -> wasmtime::Result<()> {
        Ok(())
    }

    fn interfaces(&self) -> &'static [&'static str] {
        &[]
    }
}

/// The sandbox: the engine with its pool of slots, the ticker, the guest threads and the native code.
pub struct Runtime<X: Extension> {
    pub(crate) shared: Arc<Shared<X>>,
}

pub(crate) struct Shared<X: Extension> {
    // The order is that of dropping: threads end before the ticker that watches them.
    pub(crate) threads: GuestThreads,
    pub(crate) ticker: Ticker,
    pub(crate) engine: Engine,
    pub(crate) native: NativeCode,
    pub(crate) spool_folder: Arc<Path>,
    pub(crate) memory_ceiling: ByteCount,
    pub(crate) shared_instances: usize,
    pub(crate) extension: X,
}

/// Why the sandbox does not start.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The engine refused its configuration, or there is too little address space for its pool.
    #[error("starting the engine")]
    Engine(#[source] wasmtime::Error),
    /// The thread that stops runaway guests does not work.
    #[error("starting the ticker that stops runaway guests")]
    Ticker(#[source] std::io::Error),
    /// No threads for guests.
    #[error("starting the guest threads")]
    Threads(#[source] std::io::Error),
    /// The folder for native code or for large outputs cannot be used.
    #[error(transparent)]
    Native(#[from] NativeError),
}

/// Why a component is refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It asks for more than any component may have.
    #[error(transparent)]
    Limits(#[from] LimitsError),
    /// It asks for more memory than this device gives.
    #[error("memory of {wanted} is wanted, this device gives at most {ceiling}")]
    TooMuchMemory {
        /// The component's limit.
        wanted: ByteCount,
        /// The device's.
        ceiling: ByteCount,
    },
    /// It imports what it may not.
    #[error("refused imports: {}", list(&refused.iter().map(|(import, why)| format!("`{import}` ({why})")).collect::<Vec<_>>()))]
    Imports {
        /// Each import that is refused, and why. Never empty.
        refused: Vec<(String, ImportRefusal)>,
    },
    /// It is of another world.
    #[error("component does not export `{expected}`; it exports {}", list(.exports))]
    WrongWorld {
        /// The export that makes a component one of this world.
        expected: &'static str,
        /// What it exports.
        exports: Vec<String>,
    },
    /// Its native code is not to be had.
    #[error(transparent)]
    Native(#[from] NativeError),
    /// Its imports or exports have other types than their names promise.
    #[error("linking the component")]
    Link(#[source] wasmtime::Error),
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

impl<X: Extension> Runtime<X> {
    /// Starts the sandbox, and proves that runaway guests will be stopped. This blocks for a few milliseconds.
    ///
    /// # Errors
    /// Whatever of it does not work; no guest may run then.
    pub fn start(config: &RuntimeConfig, extension: X) -> Result<Self, RuntimeError> {
        let native = NativeCode::open(config)?;
        let spool = config.state.join("spool");
        std::fs::create_dir_all(&spool)
            .map_err(|source| NativeError::Cache { path: spool.clone(), source })?;
        let engine = Engine::new(&config.engine()).map_err(RuntimeError::Engine)?;
        let ticker = Ticker::start(&engine, config.tick).map_err(RuntimeError::Ticker)?;
        let threads = GuestThreads::start(config.guest_threads).map_err(RuntimeError::Threads)?;
        let memory_ceiling = config.memory_ceiling;
        let shared_instances = usize::try_from(config.shared_instances).unwrap_or(usize::MAX);
        let spool_folder = spool.into();
        let shared = Shared {
            threads,
            ticker,
            engine,
            native,
            spool_folder,
            memory_ceiling,
            shared_instances,
            extension,
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// Makes a stage of a component: native code is taken from the cache or compiled, imports are checked.
    /// This blocks, for seconds where it compiles.
    ///
    /// # Errors
    /// Why the component is refused.
    pub fn load(
        &self,
        component: &Trusted<Blob>,
        limits: &Limits,
        grants: &ImportGrants,
    ) -> Result<StageComponent<X>, LoadError> {
        let extension = self.shared.extension.interfaces();
        let world: Vec<&str> = extension.iter().copied().chain([stage::link::PACKAGE]).collect();
        let pre = self.prepare(component, limits, grants, &world, stage::EXPORT, stage::link::link)?;
        let pre = StageHostPre::new(pre).map_err(LoadError::Link)?;
        Ok(StageComponent {
            shared: Arc::clone(&self.shared),
            pre,
            digest: *component.digest(),
            limits: limits.clone(),
        })
    }

    /// What all worlds have in common: limits, native code, world, imports, linking.
    pub(crate) fn prepare(
        &self,
        wasm: &Trusted<Blob>,
        limits: &Limits,
        grants: &ImportGrants,
        world: &[&str],
        export: &'static str,
        link: impl FnOnce(&mut Linker<Guest<X::State>>) -> wasmtime::Result<()>,
    ) -> Result<wasmtime::component::InstancePre<Guest<X::State>>, LoadError> {
        let limits = limits.clone().checked()?;
        let ceiling = self.shared.memory_ceiling;
        if limits.memory_bytes > ceiling {
            return Err(LoadError::TooMuchMemory { wanted: limits.memory_bytes, ceiling });
        }
        let (component, origin) = self.shared.native.component(&self.shared.engine, wasm)?;
        tracing::debug!(component = %wasm.digest(), ?origin, "native code is there");
        self.check(&component, grants, world, export)?;
        let mut linker = Linker::new(&self.shared.engine);
        crate::wasi::link(&mut linker, grants).map_err(LoadError::Link)?;
        link(&mut linker).map_err(LoadError::Link)?;
        self.shared.extension.link(&mut linker).map_err(LoadError::Link)?;
        linker.instantiate_pre(&component).map_err(LoadError::Link)
    }

    fn check(
        &self,
        component: &Component,
        grants: &ImportGrants,
        world: &[&str],
        expected: &'static str,
    ) -> Result<(), LoadError> {
        let types = component.component_type();
        let engine = &self.shared.engine;
        let exports: Vec<String> = types.exports(engine).map(|(name, _)| name.to_owned()).collect();
        if !exports.iter().any(|export| matches_version(export, expected)) {
            return Err(LoadError::WrongWorld { expected, exports });
        }
        let refused: Vec<_> = types
            .imports(engine)
            .filter_map(|(import, _)| Some((import.to_owned(), grants.check(import, world).err()?)))
            .collect();
        if refused.is_empty() { Ok(()) } else { Err(LoadError::Imports { refused }) }
    }
}

/// Whether an export is the one expected: by its whole name, or, where `expected` has no version, by the rest of it.
fn matches_version(export: &str, expected: &str) -> bool {
    export == expected || export.split_once('@').is_some_and(|(name, _)| name == expected)
}

impl<X: Extension> Clone for Runtime<X> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<X: Extension> fmt::Debug for Runtime<X> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").finish_non_exhaustive()
    }
}
