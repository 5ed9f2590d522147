//! `cargo xtask test`: builds everything and runs all tests.

use std::process::{Command, ExitCode};

use crate::{build, bundle, tools};

/// Arguments of `cargo xtask test`.
#[derive(Debug, clap::Args)]
pub(crate) struct TestArgs {
    /// Further arguments for the test runner, for example a filter.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

pub(crate) fn run(args: &TestArgs) -> anyhow::Result<ExitCode> {
    build::host()?;
    build::components()?;
    bundle::imaging()?;
    // cargo-nextest is faster and isolates tests; plain `cargo test` runs the same ones.
    let nextest = tools::which("cargo-nextest").is_some();
    let mut test = build::cargo();
    if nextest {
        test.args(["nextest", "run"]);
    } else {
        test.arg("test");
    }
    test.args(["--locked", "--workspace"]).args(&args.rest);
    with_peers(&mut test);
    build::say("running the tests");
    build::check(&mut test)?;
    if nextest {
        // Slow: it begins a component, tests and builds it. The measurements that are ignored too are no tests.
        let slow = ["--run-ignored", "only", "-E", "package(martello-cli)"];
        build::check(build::cargo().args(["nextest", "run", "--locked", "--workspace"]).args(slow))?;
        // nextest runs no documentation tests.
        build::check(build::cargo().args(["test", "--locked", "--workspace", "--doc", "--quiet"]))?;
    } else if args.rest.is_empty() {
        let slow = ["--test", "new", "--", "--ignored"];
        build::check(build::cargo().args(["test", "--locked", "--workspace"]).args(slow))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Tells tests where that is which they compare with.
pub(crate) fn with_peers(test: &mut Command) {
    if let Some(library) = tools::onnxruntime() {
        test.env("MARTELLO_ONNXRUNTIME", library);
    }
    if let Some(python) = tools::python() {
        test.env("MARTELLO_TEST_PYTHON", python);
    }
}
