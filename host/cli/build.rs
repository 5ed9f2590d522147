//! Builds the guest of `martello infer` and hands it to the program as a file to embed.
//!
//! `MARTELLO_TENSOR_PROBE` names a finished component instead, for builds without the WebAssembly target. Otherwise a
//! nested cargo builds `components/tensor-probe`, in a target folder of its own: the outer one is locked.

#![expect(clippy::print_stderr, reason = "a build script talks to cargo by printing")]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

const TARGET: &str = "wasm32-wasip2";
const PACKAGE: &str = "tensor-probe";

fn main() -> ExitCode {
    match embed() {
        Ok(()) => ExitCode::SUCCESS,
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

fn embed() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed=MARTELLO_TENSOR_PROBE");
    // Relocations in the packed form (DT_RELR), which glibc reads since 2.36 and musl since 1.2.4: 0.7 MB less.
    if env::var("CARGO_CFG_TARGET_OS").is_ok_and(|system| system == "linux")
        && env::var("PROFILE").is_ok_and(|profile| profile == "release")
    {
        println!("cargo::rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }
    let output = folder("OUT_DIR")?.join("tensor-probe.wasm");
    let finished = match env::var_os("MARTELLO_TENSOR_PROBE") {
        Some(path) => PathBuf::from(path),
        None => build()?,
    };
    println!("cargo::rerun-if-changed={}", finished.display());
    fs::copy(&finished, &output).map_err(|error| format!("copying {}: {error}", finished.display()))?;
    Ok(())
}

fn build() -> Result<PathBuf, String> {
    let manifest = folder("CARGO_MANIFEST_DIR")?;
    let root = manifest.ancestors().nth(2).ok_or("the workspace has no root")?;
    for watched in
        ["components/tensor-probe", "guest-sdk/src", "guest-sdk/Cargo.toml", "wit", ".cargo/config.toml"]
    {
        println!("cargo::rerun-if-changed={}", root.join(watched).display());
    }
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let libraries = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .output()
        .map_err(|error| format!("asking rustc for its targets: {error}"))?;
    if !Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Err(format!(
            "the guest of `martello infer` is built for {TARGET}, which this toolchain does not have\n  \
             try: rustup target add {TARGET}, or name a finished component in MARTELLO_TENSOR_PROBE"
        ));
    }
    let target = folder("OUT_DIR")?.join("guest");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .current_dir(root)
        .args([
            "build",
            "--quiet",
            "--locked",
            "--profile",
            "component",
            "--target",
            TARGET,
            "--package",
            PACKAGE,
        ])
        .arg("--target-dir")
        .arg(&target);
    // Flags and wrappers of the outer build are not for another target.
    for name in ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    let status = cargo.status().map_err(|error| format!("starting cargo for {PACKAGE}: {error}"))?;
    if !status.success() {
        return Err(format!("building {PACKAGE} for {TARGET} ended with {status}"));
    }
    Ok(target.join(TARGET).join("component").join("tensor_probe.wasm"))
}

fn folder(name: &str) -> Result<PathBuf, String> {
    env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("cargo does not set {name}"))
}
