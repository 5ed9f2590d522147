//! `cargo xtask`: what a developer does with this repository, each a command that does its own set-up.
//!
//! `demo` and `test` need a stable Rust toolchain and a C compiler and nothing else.

mod bench;
mod build;
mod bundle;
mod corpus;
mod demo;
mod fuzz;
mod soak;
mod test;
mod tools;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, tests, measures and shows Martello.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Build everything and show it once: sign, verify, run, refuse, stop.
    Demo(demo::DemoArgs),
    /// Build everything and run all tests.
    Test(test::TestArgs),
    /// Build the components that ship for wasm32-wasip2.
    Components,
    /// Pack and sign the shipped pipeline with development keys into target/bundles.
    Bundle,
    /// Install what the interoperability tests compare with: dcmtk, dicom3tools, pydicom, ONNX Runtime.
    Tools,
    /// Measure against native code and peers, as the published figures are taken.
    Bench(bench::BenchArgs),
    /// Fetch the whole set of DICOM test files that ship with pydicom into target/corpus.
    Corpus,
    /// Fuzz everything that reads what strangers send, on the stable toolchain, bounded in memory and time.
    Fuzz(fuzz::FuzzArgs),
    /// What takes too long for CI: ignored tests, fuzzing, and the pipeline over the whole set, again and again.
    Soak(soak::SoakArgs),
}

fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(&args),
        Command::Test(args) => test::run(&args),
        Command::Components => build::components().map(|()| ExitCode::SUCCESS),
        Command::Bundle => bundle::imaging().map(|_bundle| ExitCode::SUCCESS),
        Command::Tools => tools::install().map(|()| ExitCode::SUCCESS),
        Command::Bench(args) => bench::run(&args),
        Command::Corpus => corpus::fetch().map(|_folder| ExitCode::SUCCESS),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Soak(args) => soak::run(&args),
    }
}
