//! A bare component file on this machine, with the limits given on the command line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::Context;
use martello_engine::NnExtension;
use martello_runtime::{ImportGrant, ImportGrants, Runtime, RuntimeConfig};
use martello_trust::{Blob, Trusted};
use martello_vocab::{ByteCount, Limits, Name};

use crate::mistaken::{self, Wanted};
use crate::output::Advice;
use crate::places;
use crate::read::read;

/// Exit code of a component that was refused, or stopped at a limit.
pub(crate) const REFUSED: u8 = 4;

/// The largest component file taken.
const LARGEST_COMPONENT: ByteCount = ByteCount::mebibytes(256);

/// Where compiled code is kept, and with what it is made.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SandboxArgs {
    /// The folder for compiled code. Default: $XDG_STATE_HOME/martello or ~/.local/state/martello.
    #[arg(long, value_name = "DIR", env = "MARTELLO_STATE")]
    state: Option<PathBuf>,
    /// The program `martello-compile`. Default: beside this one.
    #[arg(long, value_name = "FILE", env = "MARTELLO_COMPILER")]
    compiler: Option<PathBuf>,
}

impl SandboxArgs {
    pub(crate) fn config(&self) -> anyhow::Result<RuntimeConfig> {
        let state = places::state(self.state.clone())?;
        Ok(RuntimeConfig { compiler: self.compiler.clone(), ..RuntimeConfig::new(state) })
    }
}

/// What an instance may use. What is not given has the strict default of every guest.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct LimitArgs {
    /// Linear memory, in MiB. Default: 64.
    #[arg(long, value_name = "MIB")]
    memory: Option<u64>,
    /// Time in which guest code itself may run, in milliseconds. Default: 2000.
    #[arg(long, value_name = "MS")]
    compute: Option<u64>,
    /// Time from start to end, in milliseconds. Default: 10000.
    #[arg(long, value_name = "MS")]
    wall: Option<u64>,
    /// Calls of host functions. Default: 1000000.
    #[arg(long, value_name = "N")]
    host_calls: Option<u64>,
}

impl LimitArgs {
    pub(crate) fn limits(&self) -> anyhow::Result<Limits> {
        let strict = Limits::default();
        let limits = Limits {
            memory_bytes: self.memory.map_or(strict.memory_bytes, ByteCount::mebibytes),
            compute_ms: self.compute.unwrap_or(strict.compute_ms),
            wall_ms: self.wall.unwrap_or(strict.wall_ms),
            host_calls: self.host_calls.unwrap_or(strict.host_calls),
            ..strict
        };
        limits.checked().context("reading the limits")
    }
}

/// What the component reads through `wasi:config`.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct SettingArgs {
    /// A setting, which the component reads through `wasi:config` (may be given more than once).
    #[arg(long = "setting", value_name = "NAME=VALUE", value_parser = setting)]
    settings: Vec<(Name, String)>,
}

impl SettingArgs {
    pub(crate) fn settings(&self) -> BTreeMap<Name, String> {
        self.settings.iter().cloned().collect()
    }
}

fn setting(text: &str) -> Result<(Name, String), String> {
    let (name, value) = text.split_once('=').ok_or("a setting is given as NAME=VALUE")?;
    Ok((name.parse().map_err(|error: martello_vocab::NameError| error.to_string())?, value.to_owned()))
}

/// What any component on this machine may import: its settings, which are those of the command line, and the log.
pub(crate) fn grants() -> ImportGrants {
    ImportGrants::default().with(ImportGrant::Config).with(ImportGrant::Logging)
}

/// Reads a component and signs it with a key that is thrown away: who made it is the caller's say-so.
pub(crate) fn component(file: &Path, limits: &Limits) -> anyhow::Result<Trusted<Blob>> {
    let bytes =
        read(file, LARGEST_COMPONENT).with_context(|| format!("reading component {}", file.display()))?;
    let name: Name = "component".parse()?;
    let bundle = martello_bundle::ephemeral(name.clone(), bytes.into(), limits.clone(), Vec::new())
        .with_context(|| mistaken::advice(file, Wanted::Component).unwrap_or_else(|| unusable(file)))?;
    Ok(bundle.component(&name)?)
}

fn unusable(file: &Path) -> Advice {
    Advice {
        happened: format!("taking {} as a component", file.display()),
        next: "build it again: `cargo build --target wasm32-wasip2`".to_owned(),
    }
}

/// The sandbox for one program.
pub(crate) fn sandbox(config: &RuntimeConfig) -> anyhow::Result<Runtime<NnExtension>> {
    std::fs::create_dir_all(&config.state).with_context(|| format!("making {}", config.state.display()))?;
    Runtime::start(config, NnExtension::Absent).context("starting the sandbox")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_has_a_name_and_a_value_which_may_hold_anything() {
        let (name, value) = setting("greeting=a=b, c").unwrap();
        assert_eq!((name.as_str(), value.as_str()), ("greeting", "a=b, c"));
        assert_eq!(setting("empty=").unwrap().1, "");
        for text in ["greeting", "=value", "Not A Name=value"] {
            assert!(setting(text).is_err(), "{text}");
        }
    }
}
