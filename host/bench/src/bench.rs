//! What every measure works with: programs, components, fixtures and a folder to write in.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, anyhow};
use martello_bundle::VerifiedBundle;
use martello_bundle::manifest::EvidenceWords;
use martello_runtime::{
    Contract, EvidenceRule, ImportGrants, NoExtension, Runtime, RuntimeConfig, StageComponent,
};
use martello_vocab::{Limits, Name};

use crate::sampling::Rounds;

/// Where things are, as `cargo xtask bench` built them.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Places {
    /// The repository.
    #[arg(long, value_name = "DIR")]
    pub(crate) root: PathBuf,
    /// `martello` and `martello-compile`.
    #[arg(long, value_name = "DIR")]
    pub(crate) programs: PathBuf,
    /// The components that ship.
    #[arg(long, value_name = "DIR")]
    pub(crate) components: PathBuf,
    /// The bench's own guests, and those of `tests/guests`.
    #[arg(long, value_name = "DIR")]
    pub(crate) guests: Vec<PathBuf>,
    /// A Python with ONNX Runtime.
    #[arg(long, value_name = "FILE")]
    pub(crate) python: Option<PathBuf>,
    /// The library of ONNX Runtime.
    #[arg(long, value_name = "FILE")]
    pub(crate) onnxruntime: Option<PathBuf>,
    /// The `wasmtime` program to serve against.
    #[arg(long, value_name = "FILE")]
    pub(crate) wasmtime: Option<PathBuf>,
    /// `martello` of the `dist` profile without a backend.
    #[arg(long, value_name = "FILE")]
    pub(crate) dist_bare: Option<PathBuf>,
    /// `martello` of the `dist` profile with tract.
    #[arg(long, value_name = "FILE")]
    pub(crate) dist_tract: Option<PathBuf>,
}

/// How long a measure may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// A tenth of the rounds: to see that everything works.
    Quick,
    /// Figures that may be published.
    Full,
}

/// What every measure works with.
pub(crate) struct Bench {
    pub(crate) places: Places,
    effort: Effort,
    scratch: tempfile::TempDir,
    asynchronous: tokio::runtime::Runtime,
}

impl Bench {
    pub(crate) fn new(places: Places, effort: Effort) -> anyhow::Result<Self> {
        Ok(Self {
            places,
            effort,
            scratch: tempfile::tempdir().context("making a folder to write in")?,
            // Without I/O, which costs system calls at each wake-up: nobody here waits for a socket.
            asynchronous: tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .build()
                .context("starting the asynchronous runtime")?,
        })
    }

    /// So many rounds, or a tenth where it must be quick, after a tenth of them to warm up.
    pub(crate) fn rounds(&self, full: usize) -> Rounds {
        let counted = match self.effort {
            Effort::Full => full,
            Effort::Quick => full.div_ceil(10),
        };
        Rounds { warm_up: counted.div_ceil(10), counted }
    }

    /// An empty folder of this name.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let path = self.scratch.path().join(name);
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("emptying {}", path.display()))?;
        }
        std::fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(path)
    }

    /// The state folder that all measures share, so that each component is compiled once.
    pub(crate) fn state(&self) -> PathBuf {
        self.scratch.path().join("state")
    }

    /// Waits for a future.
    pub(crate) fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.asynchronous.block_on(future)
    }

    /// A program that was built.
    pub(crate) fn program(&self, name: &str) -> anyhow::Result<PathBuf> {
        existing(self.places.programs.join(name))
    }

    /// The bytes of a shipped component or a guest.
    pub(crate) fn component(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.component_path(name)?;
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// The file of a shipped component or a guest.
    pub(crate) fn component_path(&self, name: &str) -> anyhow::Result<PathBuf> {
        let file = format!("{name}.wasm");
        let shipped = format!("{}.wasm", name.replace('-', "_"));
        std::iter::once(&self.places.components)
            .chain(&self.places.guests)
            .flat_map(|folder| [folder.join(&file), folder.join(&shipped)])
            .find(|path| path.is_file())
            .ok_or_else(|| anyhow!("component {name} is not built"))
    }

    /// How the sandbox is set up: everything as it ships, with the compiler beside the built programs.
    pub(crate) fn runtime_config(&self) -> anyhow::Result<RuntimeConfig> {
        let mut config = RuntimeConfig::new(self.state());
        config.compiler = Some(self.program("martello-compile")?);
        Ok(config)
    }

    /// A sandbox without extensions.
    pub(crate) fn runtime(&self) -> anyhow::Result<Runtime<NoExtension>> {
        Runtime::start(&self.runtime_config()?, NoExtension).context("starting the sandbox")
    }

    /// A component as a bundle of its own, signed with a key that is thrown away, and its name in there.
    pub(crate) fn ephemeral(&self, name: &str, limits: Limits) -> anyhow::Result<(VerifiedBundle, Name)> {
        let name_in_bundle: Name = name.parse()?;
        let bytes = self.component(name)?;
        let bundle = martello_bundle::ephemeral(name_in_bundle.clone(), bytes.into(), limits, Vec::new())?;
        Ok((bundle, name_in_bundle))
    }

    /// What a component may say, as the bundle that ships has it.
    pub(crate) fn contract(&self, component: &str) -> anyhow::Result<Contract> {
        let path = existing(self.places.root.join("components/imaging/bundle.toml"))?;
        let source: toml::Table = toml::from_str(&std::fs::read_to_string(&path)?)?;
        let mut components = source.get("components").and_then(toml::Value::as_array).into_iter().flatten();
        let words = components.find(|it| it.get("name").and_then(toml::Value::as_str) == Some(component));
        let words = words.and_then(|it| it.get("evidence")).context("the bundle lists no evidence")?;
        let EvidenceWords { profiles, editions, actions, notes } = words.clone().try_into()?;
        Ok(Contract { evidence: EvidenceRule { profiles, editions, actions, notes }, ..Contract::default() })
    }

    /// A component in a sandbox of its own.
    pub(crate) fn stage(&self, name: &str, limits: &Limits) -> anyhow::Result<StageComponent<NoExtension>> {
        Self::stage_in(&self.runtime()?, self.ephemeral(name, limits.clone())?, limits)
    }

    /// A component in a sandbox with one guest thread, for what is measured in CPU time: two threads on two cores of one
    /// machine slow each other down.
    pub(crate) fn stage_alone(
        &self,
        name: &str,
        limits: &Limits,
    ) -> anyhow::Result<StageComponent<NoExtension>> {
        let config = RuntimeConfig { guest_threads: 1, ..self.runtime_config()? };
        let runtime = Runtime::start(&config, NoExtension).context("starting the sandbox")?;
        Self::stage_in(&runtime, self.ephemeral(name, limits.clone())?, limits)
    }

    fn stage_in(
        runtime: &Runtime<NoExtension>,
        (bundle, name): (VerifiedBundle, Name),
        limits: &Limits,
    ) -> anyhow::Result<StageComponent<NoExtension>> {
        Ok(runtime.load(&bundle.component(&name)?, limits, &ImportGrants::default())?)
    }

    /// The DICOM files of the tests, or the whole corpus where `cargo xtask corpus` fetched it.
    pub(crate) fn fixture(&self, path: &str) -> PathBuf {
        self.places.root.join("tests/fixtures").join(path)
    }

    /// A file's bytes, shared.
    pub(crate) fn read(path: &Path) -> anyhow::Result<Arc<[u8]>> {
        Ok(std::fs::read(path).with_context(|| format!("reading {}", path.display()))?.into())
    }
}

/// The path, where something stands there.
pub(crate) fn existing(path: PathBuf) -> anyhow::Result<PathBuf> {
    if path.exists() { Ok(path) } else { Err(anyhow!("{} is missing", path.display())) }
}
