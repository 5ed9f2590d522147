//! `cargo xtask soak`: what takes too long for CI. The ignored tests, the fuzz targets, and the whole pipeline over all
//! of pydicom's files and all that the fuzzers made, again and again, killed in between.

mod pass;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Serialize;

use crate::build::{self, say, target};
use crate::{bundle, corpus, fuzz, test};
use pass::{Pass, Pipeline};

/// The most that `martello run` may have resident, in mebibytes. Two instances at once, each capped at 256 MiB by the
/// bundle, and 128 for the host with its model and the built-in backend.
const RESIDENT_MIB: u64 = 2 * 256 + 128;

/// Files at once: the bound above counts on it.
const CONCURRENCY: &str = "2";

/// Inputs of each fuzz target that go through the sandbox too.
const MOST_HOSTILE: usize = 1000;

/// Arguments of `cargo xtask soak`.
#[derive(Debug, clap::Args)]
pub(crate) struct SoakArgs {
    /// How long it takes, once everything is built.
    #[arg(long, default_value_t = 30, value_name = "N")]
    minutes: u64,
}

/// The last line of the output.
#[derive(Debug, Serialize)]
struct Report {
    ok: bool,
    elapsed_s: u64,
    slow_tests: &'static str,
    fuzz: BTreeMap<&'static str, Fuzzed>,
    inputs: usize,
    passes: u32,
    killed: u32,
    done: usize,
    quarantined: usize,
    codes: BTreeMap<String, usize>,
    peak_resident_mib: u64,
    resident_bound_mib: u64,
    problems: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Fuzzed {
    executions: u64,
    edges: u64,
    findings: usize,
}

pub(crate) fn run(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    let bundle = bundle::imaging()?;
    let corpus = corpus::fetch()?;
    let fuzzers = fuzz::programs()?;
    let begun = Instant::now();
    let end = begun + Duration::from_secs(args.minutes.max(1) * 60);
    let left = || end.saturating_duration_since(Instant::now());
    let mut problems = Vec::new();

    let slow_tests = slow_tests(left() / 2)?;
    if slow_tests == "failed" {
        problems.push("an ignored test failed".to_owned());
    }

    let mut fuzzed = BTreeMap::new();
    let share = left().mul_f64(0.6) / u32::try_from(fuzz::TARGETS.len())?;
    for target in &fuzz::TARGETS {
        let ran = target.run(&fuzzers, share)?;
        problems.extend(ran.found.iter().map(|input| format!("{}: {}", target.name, input.display())));
        let findings = ran.found.len();
        fuzzed.insert(target.name, Fuzzed { executions: ran.executions, edges: ran.edges, findings });
    }

    let folder = target().join("soak");
    let pipeline = Pipeline::new(bundle, inputs(&folder, &corpus)?, folder)?;
    let (mut passes, mut killed, mut peak) = (0_u32, 0_u32, 0);
    let mut first: Option<Pass> = None;
    // Two at least: one that is left alone, and one that is killed and goes on.
    while passes < 2 || !left().is_zero() {
        let kill = first.as_ref().filter(|_| passes % 2 == 1).map(|first| {
            killed += 1;
            // Another moment each time, from a tenth of the way to nine tenths.
            first.took.mul_f64(0.1 + 0.8 * f64::from(passes * 37 % 100) / 100.0)
        });
        let pass = pipeline.run(kill)?;
        passes += 1;
        peak = peak.max(pass.peak_resident_mib);
        problems.extend(pass.problems.iter().map(|problem| format!("pass {passes}: {problem}")));
        let Some(first) = &first else {
            first = Some(pass);
            continue;
        };
        for (input, outcome) in &pass.outcomes {
            if first.outcomes.get(input) != Some(outcome) {
                problems.push(format!("pass {passes}: {input} ended otherwise than in the first pass"));
            }
        }
    }
    if peak > RESIDENT_MIB {
        problems.push(format!("{peak} MiB were resident, {RESIDENT_MIB} are allowed"));
    }
    say(&format!(
        "{passes} passes, {killed} of them killed and taken up again; {peak} MiB resident at the most, {RESIDENT_MIB} allowed"
    ));
    problems.iter().for_each(|problem| say(problem));
    let outcomes = first.map(|first| first.outcomes).unwrap_or_default();
    let mut codes = BTreeMap::<String, usize>::new();
    for code in outcomes.values().filter_map(|outcome| outcome.code.clone()) {
        *codes.entry(code).or_default() += 1;
    }
    let quarantined = codes.values().sum();
    print(&Report {
        ok: problems.is_empty(),
        elapsed_s: begun.elapsed().as_secs(),
        slow_tests,
        fuzz: fuzzed,
        inputs: outcomes.len(),
        passes,
        killed,
        done: outcomes.len() - quarantined,
        quarantined,
        codes,
        peak_resident_mib: peak,
        resident_bound_mib: RESIDENT_MIB,
        problems,
    })
}

#[expect(clippy::print_stdout, reason = "the result goes to standard output")]
fn print(report: &Report) -> anyhow::Result<ExitCode> {
    println!("{}", serde_json::to_string(report)?);
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs the tests that are ignored because they are slow or measure; they are given up when their time is over.
fn slow_tests(most: Duration) -> anyhow::Result<&'static str> {
    say("running the ignored tests");
    let mut tests = build::cargo();
    tests.args(["test", "--locked", "--workspace", "--lib", "--bins", "--tests", "--", "--ignored"]);
    test::with_peers(&mut tests);
    // The result of this command stands alone on standard output.
    tests.stdout(std::io::stderr());
    // A group of its own, so that what cargo has started ends with it.
    tests.process_group(0);
    let mut child = tests.spawn().context("starting the ignored tests")?;
    let end = Instant::now() + most;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(if status.success() { "passed" } else { "failed" });
        }
        if Instant::now() >= end {
            say("the ignored tests were not through in half of the time: give it more `--minutes`");
            build::check(Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]))?;
            child.wait()?;
            return Ok("given up");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Gathers the inputs: the corpus, the samples, and what the fuzzers found interesting.
fn inputs(folder: &Path, corpus: &Path) -> anyhow::Result<PathBuf> {
    let inputs = folder.join("in");
    if inputs.exists() {
        std::fs::remove_dir_all(&inputs).context("clearing the inputs")?;
    }
    std::fs::create_dir_all(&inputs).context("making the folder of inputs")?;
    let add = |from: &Path, name: &str, most: usize| -> anyhow::Result<()> {
        let entries = std::fs::read_dir(from).with_context(|| format!("reading {}", from.display()))?;
        let mut files: Vec<_> = entries.flatten().map(|it| it.path()).filter(|it| it.is_file()).collect();
        files.sort_unstable();
        for file in files.iter().take(most) {
            let place =
                inputs.join(format!("{name}__{}", file.file_name().unwrap_or_default().to_string_lossy()));
            std::fs::copy(file, &place).with_context(|| format!("copying {}", file.display()))?;
        }
        Ok(())
    };
    add(corpus, "pydicom", usize::MAX)?;
    add(&build::root().join("tests/fixtures/dicom"), "sample", usize::MAX)?;
    add(&build::root().join("tests/fixtures/dicom/made"), "made", usize::MAX)?;
    for target in ["dicom-stream", "deidentify", "render"] {
        add(&build::root().join("tests/fuzz/corpus").join(target), target, MOST_HOSTILE)?;
    }
    Ok(inputs)
}
