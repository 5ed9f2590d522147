//! `cargo xtask bench`: builds what is measured, as it ships, and runs `martello-bench`.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::build::{self, GUEST_TARGET, cargo, check, root, say, target};
use crate::tools;

/// Guests of `tests/guests` that the bench runs.
const TEST_GUESTS: [&str; 2] = ["infinite-loop", "http-hello"];

/// The peer of `martello serve`, of the same wasmtime as ours.
const WASMTIME: &str = "48.0.8";

/// Arguments of `cargo xtask bench`.
#[derive(Debug, clap::Args)]
pub(crate) struct BenchArgs {
    /// The form of the result: `text` or `json` (one line a measure).
    #[arg(long, default_value = "text")]
    format: String,
    /// Only measures whose names begin with one of these.
    #[arg(long, value_name = "NAME", num_args = 1..)]
    only: Vec<String>,
    /// A tenth of the rounds: to see that everything works, not to publish.
    #[arg(long)]
    quick: bool,
    /// Install the peers that take long to build (the `wasmtime` program) and measure against them.
    #[arg(long)]
    peers: bool,
    /// Build the programs as they ship and measure their size. This takes long.
    #[arg(long)]
    dist: bool,
}

pub(crate) fn run(args: &BenchArgs) -> anyhow::Result<ExitCode> {
    build::components()?;
    let mut guests = Vec::new();
    for name in TEST_GUESTS {
        guests.extend(build::guest(name)?.parent().map(Path::to_owned));
    }
    guests.dedup();
    guests.push(bench_guests()?);
    let programs = programs()?;
    if args.peers {
        install_wasmtime()?;
    }
    let mut bench = Command::new(programs.join("martello-bench"));
    bench.current_dir(root()).args(["--format", &args.format]);
    let mut place = |name: &str, path: Option<PathBuf>| {
        if let Some(path) = path {
            bench.arg(name).arg(path);
        }
    };
    place("--root", Some(root()));
    place("--programs", Some(programs));
    place("--components", Some(root().join("target/components")));
    guests.into_iter().for_each(|folder| place("--guests", Some(folder)));
    place("--python", tools::python());
    place("--onnxruntime", tools::onnxruntime());
    place("--wasmtime", Some(wasmtime()).filter(|program| program.exists()));
    if args.dist {
        place("--dist-bare", Some(dist("bare", &[])?));
        place("--dist-tract", Some(dist("tract", &["tract"])?));
    }
    if args.quick {
        bench.arg("--quick");
    }
    if !args.only.is_empty() {
        bench.arg("--only").args(&args.only);
    }
    say("measuring; leave the machine alone meanwhile");
    let status = bench.status().context("starting martello-bench")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Builds what is measured in the release profile and returns the folder that it is in.
fn programs() -> anyhow::Result<PathBuf> {
    say("building the host in the release profile (the first time takes 15 to 30 minutes on two cores)");
    // Apart: cargo joins the features of all packages of one build, and the compiler would get into every program.
    for packages in [&["martello-compile"][..], &["martello-bench", "martello-cli"]] {
        let mut build = cargo();
        build.args(["build", "--locked", "--release"]);
        for package in packages {
            build.args(["--package", package]);
        }
        check(&mut build)?;
    }
    Ok(target().join("release"))
}

/// Builds the bench's own guests.
fn bench_guests() -> anyhow::Result<PathBuf> {
    let folder = target().join("bench-guests");
    let mut build = cargo();
    build.args(["build", "--release", "--target", GUEST_TARGET, "--examples"]);
    check(build.args(["--manifest-path", "host/bench/guests/Cargo.toml", "--target-dir"]).arg(&folder))?;
    Ok(folder.join(GUEST_TARGET).join("release/examples"))
}

/// Builds `martello` as it ships with these features, and keeps it under a name of its own.
fn dist(name: &str, features: &[&str]) -> anyhow::Result<PathBuf> {
    say(&format!("building martello as it ships ({name})"));
    let mut build = cargo();
    build.args([
        "build",
        "--locked",
        "--profile",
        "dist",
        "--package",
        "martello-cli",
        "--no-default-features",
    ]);
    check(build.arg("--features").arg(features.join(",")))?;
    let (built, kept) = (target().join("dist/martello"), target().join(format!("dist/martello-{name}")));
    std::fs::copy(&built, &kept).with_context(|| format!("copying {}", built.display()))?;
    Ok(kept)
}

fn wasmtime() -> PathBuf {
    target().join("tools/bin/wasmtime")
}

/// Installs the `wasmtime` program with what `wasmtime serve` needs.
fn install_wasmtime() -> anyhow::Result<()> {
    if wasmtime().exists() {
        return Ok(());
    }
    say("installing wasmtime (10 to 20 minutes on two cores)");
    let features =
        "serve,run,cranelift,parallel-compilation,pooling-allocator,component-model,component-model-async";
    check(
        cargo()
            .args(["install", "wasmtime-cli", "--version", WASMTIME, "--locked", "--no-default-features"])
            .args(["--features", features, "--root"])
            .arg(target().join("tools"))
            .arg("--target-dir")
            .arg(target().join("tools/build")),
    )
}
