//! `cargo xtask bundle`: the shipped pipeline, packed and signed with development keys.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::Context;

use crate::build;

/// The variable that says when a bundle was made (reproducible-builds.org).
const CREATED: &str = "SOURCE_DATE_EPOCH";

/// What the shipped bundle is made of.
const INPUTS: [&str; 5] = ["components", "guest-sdk", "wit", "Cargo.lock", "rust-toolchain.toml"];

/// When what the bundle is made of was last committed, in seconds since 1970; none outside of a git checkout, where
/// `martello bundle pack` takes the time of the newest file. Files get new times by a checkout, and the bundle would get another
/// digest, with which no output folder begun before could be gone on with.
fn last_change(root: &Path) -> Option<String> {
    let mut log = Command::new("git");
    log.current_dir(root).args(["log", "-1", "--format=%ct", "--"]).args(INPUTS);
    let output = log.stderr(Stdio::null()).output().ok().filter(|output| output.status.success())?;
    let time = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    time.parse::<u64>().is_ok().then_some(time)
}

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
    let mut pack = Command::new(&martello);
    pack.args(["--quiet", "bundle", "pack"]).arg(source()).arg("--out").arg(&bundle);
    if std::env::var_os(CREATED).is_none() {
        pack.envs(last_change(&build::root()).map(|time| (CREATED, time)));
    }
    build::check(&mut pack)?;
    run(&[words("bundle"), words("sign"), &bundle, words("--key"), &engineering, words("--key"), &clinical])?;
    run(&[words("bundle"), words("verify"), &bundle, words("--trust"), &trust])?;
    build::say(&format!("packed and signed {}", bundle.display()));
    Ok(bundle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(folder: &Path, time: &str, arguments: &[&str]) {
        let who = ["GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "GIT_COMMITTER_EMAIL"];
        let mut git = Command::new("git");
        git.current_dir(folder).args(arguments).envs(who.map(|name| (name, "test")));
        git.env("GIT_AUTHOR_DATE", time).env("GIT_COMMITTER_DATE", time);
        let output = git.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn the_time_of_the_bundle_is_that_of_the_last_commit_of_what_it_is_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        assert_eq!(last_change(here), None, "no checkout");
        git(here, "", &["init", "--quiet"]);
        for (file, time) in [("components/bundle.toml", 1_600_000_000), ("README.md", 1_700_000_000)] {
            let path = here.join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "text").unwrap();
            git(here, "", &["add", "."]);
            git(here, &format!("{time} +0000"), &["commit", "--quiet", "--message", file]);
        }
        assert_eq!(last_change(here).as_deref(), Some("1600000000"));
    }
}
