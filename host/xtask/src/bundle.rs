//! `cargo xtask bundle`: the shipped pipeline, packed and signed with development keys.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use crate::build;

/// Where the source of the shipped bundle stands.
pub(crate) fn source() -> PathBuf {
    build::root().join("components/imaging/bundle.toml")
}

/// Packs and signs the bundle and returns where it is; `trust.json` stands beside it.
pub(crate) fn imaging() -> anyhow::Result<PathBuf> {
    let martello = build::host()?.join("martello");
    build::components()?;
    let bundles = build::target().join("bundles");
    let keys = build::target().join("keys");
    std::fs::create_dir_all(&bundles).context("making target/bundles")?;
    std::fs::create_dir_all(&keys).context("making target/keys")?;
    let run = |args: &[&Path]| build::check(Command::new(&martello).arg("--quiet").args(args));
    let words = |text: &'static str| Path::new(text);
    // Development keys: made once on this machine, never committed, trusted by nobody else.
    let names = ["root", "engineering", "clinical"];
    for name in names {
        let key = keys.join(format!("{name}.pem"));
        if !key.exists() {
            run(&[words("keys"), words("generate"), words("--out"), &key])?;
        }
    }
    let [root, engineering, clinical] = names.map(|name| keys.join(format!("{name}.pem")));
    let trust = bundles.join("trust.json");
    run(&[
        words("keys"),
        words("trust"),
        words("--root-key"),
        &root,
        words("--release-key"),
        &engineering,
        words("--release-key"),
        &clinical,
        words("--threshold"),
        words("2"),
        words("--out"),
        &trust,
    ])?;
    let bundle = bundles.join("imaging.tar");
    run(&[words("bundle"), words("pack"), &source(), words("--out"), &bundle])?;
    run(&[words("bundle"), words("sign"), &bundle, words("--key"), &engineering, words("--key"), &clinical])?;
    run(&[words("bundle"), words("verify"), &bundle, words("--trust"), &trust])?;
    build::say(&format!("packed and signed {}", bundle.display()));
    Ok(bundle)
}
