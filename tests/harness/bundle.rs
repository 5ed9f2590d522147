//! Bundles of the tests' own: packed, signed with a key made for them, and run, all by the programs as an operator
//! has them.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::bail;
use serde_json::Value;

use crate::{finish, json_lines, martello, root, target};

/// A signed bundle and the trust root that goes with it.
#[derive(Debug)]
pub struct Signed {
    /// The archive.
    pub bundle: PathBuf,
    /// The trust root.
    pub trust: PathBuf,
}

/// The state folder of tests that look at something else than state: components are compiled once and for all of them.
pub fn shared_state() -> PathBuf {
    target().join("e2e-state")
}

/// A misbehaving guest (`tests/guests`), built for this test run.
///
/// # Errors
/// It does not build.
pub fn guest(name: &str) -> anyhow::Result<PathBuf> {
    // As the sandbox's tests build them, into the same folder.
    let folder = target().join("guests-build");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(root().join("tests/guests"));
    cargo.args(["build", "--quiet", "--release", "--target", "wasm32-wasip2", "--examples", "--target-dir"]);
    succeeded(cargo.arg(&folder))?;
    Ok(folder.join("wasm32-wasip2/release/examples").join(name.replace('-', "_")).with_extension("wasm"))
}

/// A component that ships (`cargo xtask test` builds it).
///
/// # Errors
/// It was not built.
pub fn component(name: &str) -> anyhow::Result<PathBuf> {
    let path = root().join("target/components").join(name).with_extension("wasm");
    if !path.exists() {
        bail!("{} is missing: run the tests through `cargo xtask test`", path.display());
    }
    Ok(path)
}

/// Packs a bundle source (a manifest with `file` in place of digests) and signs it, in `folder`.
///
/// # Errors
/// A step fails; what the program said is in the error.
pub fn signed(folder: &Path, source: &Value) -> anyhow::Result<Signed> {
    let [key, written] = ["key.pem", "bundle.json"].map(|name| folder.join(name));
    let signed = Signed { bundle: folder.join("bundle.tar"), trust: folder.join("trust.json") };
    std::fs::write(&written, source.to_string())?;
    let program = || martello(&shared_state());
    succeeded(program().args(["keys", "generate", "--out"]).arg(&key))?;
    let mut trust = program();
    trust.args(["keys", "trust", "--threshold", "1", "--root-key"]).arg(&key).arg("--release-key").arg(&key);
    succeeded(trust.arg("--out").arg(&signed.trust))?;
    succeeded(program().args(["bundle", "pack"]).arg(&written).arg("--out").arg(&signed.bundle))?;
    succeeded(program().args(["bundle", "sign"]).arg(&signed.bundle).arg("--key").arg(&key))?;
    Ok(signed)
}

impl Signed {
    /// Runs the bundle over the files of `input` and returns the lines of the report.
    ///
    /// # Errors
    /// The run does not end in success.
    pub fn run(&self, input: &Path, output: &Path) -> anyhow::Result<Vec<Value>> {
        let mut command = martello(&shared_state());
        command.arg("run").arg(&self.bundle).arg("--trust").arg(&self.trust);
        succeeded(command.arg("--input").arg(input).arg("--output").arg(output))?;
        json_lines(&output.join("report.jsonl"))
    }
}

/// Runs a command that must end in success.
///
/// # Errors
/// It does not; the error holds what it said.
pub fn succeeded(command: &mut Command) -> anyhow::Result<Output> {
    let ended = finish(command)?;
    if !ended.status.success() {
        let said = [&ended.stdout, &ended.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        bail!("{command:?} ended with {}: {}", ended.status, said.concat());
    }
    Ok(ended)
}
