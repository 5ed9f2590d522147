//! `cargo xtask demo`: builds what is needed and lets `martello demo` show it.

use std::process::{Command, ExitCode};

use anyhow::Context;

use crate::{build, bundle};

/// Arguments of `cargo xtask demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// The form of the result: `text` or `json`.
    #[arg(long, default_value = "text")]
    format: String,
    /// Where the results go.
    #[arg(long, default_value = "target/demo")]
    output: String,
}

pub(crate) fn run(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let programs = build::host()?;
    build::components()?;
    let runaway = build::guest("infinite-loop")?;
    let source = bundle::source();
    build::say("running martello demo");
    let status = Command::new(programs.join("martello"))
        .current_dir(build::root())
        .args(["--format", &args.format, "demo", "--output", &args.output])
        .arg("--source")
        .arg(source)
        .arg("--samples")
        .arg("tests/fixtures/dicom")
        .arg("--runaway")
        .arg(runaway)
        .status()
        .context("starting martello")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}
