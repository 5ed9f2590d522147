//! `cargo xtask fuzz`: builds the targets of `tests/fuzz` with coverage counters, on the stable toolchain, and runs
//! them for a while, bounded in memory and time.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use anyhow::{Context, bail};

use crate::build::{cargo, check, read, root, say, target};
use crate::{corpus, tools};

/// What libFuzzer wants of the compiler: counters of edges and of comparisons. None of it needs a nightly compiler;
/// sanitizers would, and in safe code they have nothing to find.
const INSTRUMENTED: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

/// The most that a target's process may have resident, in mebibytes. What the code under test may hold is capped
/// more tightly by each target, see `tests/fuzz/src/lib.rs`.
const RESIDENT_MIB: u32 = 1024;

/// Seconds after which an input counts as one that hangs. The slowest seed takes a tenth of one.
const HANGS_AFTER: u32 = 20;

/// A target: its name is that of its file in `tests/fuzz/src/bin`.
pub(crate) struct Target {
    pub(crate) name: &'static str,
    /// Folders of seeds in this repository; they are read in place.
    seeds: &'static [&'static str],
    /// Longer seeds are cut.
    longest: u32,
    dictionary: Option<&'static str>,
}

const DICOM: &[&str] = &["tests/fixtures/dicom"];

/// All of them. `every_target_is_listed` compares this with the folder.
pub(crate) const TARGETS: [Target; 14] = [
    json("canonical-json", &["host/trust/tests/golden", "host/bundle/tests/golden"]),
    json("envelope", &["host/trust/tests/golden", "host/bundle/tests/golden"]),
    json("signature", &["host/bundle/tests/golden"]),
    json("manifest", &[]),
    json("archive", &[]),
    Target {
        name: "component-model",
        seeds: &["host/inference/tests/models"],
        longest: 16 << 10,
        dictionary: None,
    },
    Target { name: "npy", seeds: &[], longest: 4 << 10, dictionary: None },
    dicom("dimse", 16 << 10),
    dicom("dicom-stream", 16 << 10),
    dicom("deidentify", 16 << 10),
    dicom("render", 64 << 10),
    codec("rle"),
    codec("jpeg"),
    codec("jpeg-ls"),
];

const fn json(name: &'static str, seeds: &'static [&'static str]) -> Target {
    Target { name, seeds, longest: 32 << 10, dictionary: Some("json.dict") }
}

const fn dicom(name: &'static str, longest: u32) -> Target {
    Target { name, seeds: DICOM, longest, dictionary: Some("dicom.dict") }
}

/// Small images suffice; the target makes its own seeds.
const fn codec(name: &'static str) -> Target {
    Target { name, seeds: &[], longest: 4 << 10, dictionary: None }
}

/// Arguments of `cargo xtask fuzz`.
#[derive(Debug, clap::Args)]
pub(crate) struct FuzzArgs {
    /// The target; without one, all of them one after the other.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 60, value_name = "N")]
    seconds: u64,
    /// Run one input, for example one that crashed, instead of looking for more.
    #[arg(long, value_name = "FILE", requires = "target")]
    input: Option<PathBuf>,
    /// See only whether the targets compile, as CI does, so that they do not fall behind what they call.
    #[arg(long, conflicts_with_all = ["target", "input", "seconds"])]
    check: bool,
}

pub(crate) fn run(args: &FuzzArgs) -> anyhow::Result<ExitCode> {
    if args.check {
        return compiles().map(|()| ExitCode::SUCCESS);
    }
    let chosen: Vec<_> =
        TARGETS.iter().filter(|it| args.target.as_deref().is_none_or(|name| name == it.name)).collect();
    if chosen.is_empty() {
        bail!("there is no such target; there are {}", TARGETS.map(|it| it.name).join(", "));
    }
    let programs = programs()?;
    let mut crashed = Vec::new();
    for target in chosen {
        if let Some(input) = &args.input {
            let mut replay = Command::new(programs.join(target.name));
            check(replay.arg(format!("-timeout={HANGS_AFTER}")).arg(input))?;
            continue;
        }
        let ran = target.run(&programs, Duration::from_secs(args.seconds))?;
        say(&format!("{}: {}", target.name, ran.told()));
        crashed.extend(ran.found);
    }
    if crashed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    for input in &crashed {
        let name = input.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        say(&format!("an input that must not do that: {}", input.display()));
        say(&format!("try: cargo xtask fuzz {name} --input {}", input.display()));
    }
    Ok(ExitCode::FAILURE)
}

/// How a target fared.
pub(crate) struct Ran {
    /// Inputs tried.
    pub(crate) executions: u64,
    /// Edges of the code that were met.
    pub(crate) edges: u64,
    /// Inputs that crashed, hung or held too much.
    pub(crate) found: Vec<PathBuf>,
}

impl Ran {
    fn told(&self) -> String {
        let Self { executions, edges, found } = self;
        format!("{executions} inputs, {edges} edges, {} findings", found.len())
    }
}

impl Target {
    /// Runs the target for this long, or until it finds something.
    pub(crate) fn run(&self, programs: &Path, time: Duration) -> anyhow::Result<Ran> {
        let (corpus, artifacts) = (self.folder("corpus")?, self.folder("artifacts")?);
        let before = files(&artifacts)?;
        say(&format!("fuzzing {} for {} s", self.name, time.as_secs()));
        let mut fuzzer = Command::new(programs.join(self.name));
        fuzzer
            .current_dir(root())
            .env("MARTELLO_FUZZ_SEEDS", &corpus)
            .arg(format!("-max_total_time={}", time.as_secs().max(1)))
            .arg(format!("-max_len={}", self.longest))
            .arg(format!("-rss_limit_mb={RESIDENT_MIB}"))
            .arg(format!("-timeout={HANGS_AFTER}"))
            .arg(format!("-artifact_prefix={}/", artifacts.display()))
            .args(["-print_final_stats=1", "-verbosity=1", "-detect_leaks=0"]);
        if let Some(dictionary) = self.dictionary {
            fuzzer.arg(format!("-dict=tests/fuzz/{dictionary}"));
        }
        // The first folder also takes what is found to be new.
        fuzzer.arg(&corpus).args(self.seeds);
        if self.seeds == DICOM && corpus::folder().is_dir() {
            fuzzer.arg(corpus::folder());
        }
        let output = fuzzer.output().with_context(|| format!("starting {}", self.name))?;
        let log = String::from_utf8_lossy(&output.stderr);
        let found: Vec<_> = files(&artifacts)?.into_iter().filter(|file| !before.contains(file)).collect();
        if !output.status.success() {
            say(&last_lines(&log, 40));
            if found.is_empty() {
                bail!("{} ended with {} and left no input", self.name, output.status);
            }
        }
        Ok(Ran {
            executions: number(&log, "stat::number_of_executed_units:"),
            edges: number(&log, " cov:"),
            found,
        })
    }

    /// A folder of this target under `tests/fuzz`, which git does not see.
    fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = root().join("tests/fuzz").join(name).join(self.name);
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        Ok(folder)
    }
}

/// Checks that the targets compile and that their lock file holds. The check goes into the folder of all other builds,
/// where Clippy has left most of what it needs.
fn compiles() -> anyhow::Result<()> {
    let mut check_targets = cargo();
    check_targets.args(["check", "--locked", "--bins", "--manifest-path", "tests/fuzz/Cargo.toml"]);
    // Nothing is linked, so libFuzzer need not be there: no C++ compiler, and half a minute less.
    check_targets.env("CUSTOM_LIBFUZZER_PATH", root().join("tests/fuzz/libfuzzer.a"));
    check(check_targets.arg("--target-dir").arg(target()))
}

/// Builds the targets and returns the folder that they are in.
pub(crate) fn programs() -> anyhow::Result<PathBuf> {
    if tools::which("c++").is_none() {
        bail!("libFuzzer is C++: install a C++ compiler, for example Debian's g++");
    }
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = read(Command::new(rustc).current_dir(root()).arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
    let folder = target().join("fuzz");
    say("building the fuzz targets (the first time takes 5 to 10 minutes on two cores)");
    // With a named target, build scripts and macros are built without the counters.
    let mut build = cargo();
    build.env("RUSTFLAGS", INSTRUMENTED).env_remove("CARGO_ENCODED_RUSTFLAGS");
    build.args(["build", "--locked", "--release", "--bins", "--manifest-path", "tests/fuzz/Cargo.toml"]);
    check(build.args(["--target", host, "--target-dir"]).arg(&folder))?;
    Ok(folder.join(host).join("release"))
}

fn files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

/// The last number behind `name` in libFuzzer's log.
fn number(log: &str, name: &str) -> u64 {
    let word = log.rsplit_once(name).and_then(|(_, rest)| rest.split_whitespace().next());
    word.and_then(|word| word.parse().ok()).unwrap_or_default()
}

fn last_lines(log: &str, most: usize) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines.get(lines.len().saturating_sub(most)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_listed_and_its_seeds_are_there() {
        let mut found: Vec<_> = files(&root().join("tests/fuzz/src/bin"))
            .unwrap()
            .iter()
            .map(|file| file.file_stem().unwrap().to_string_lossy().into_owned())
            .collect();
        found.sort_unstable();
        let mut listed = TARGETS.map(|target| target.name);
        listed.sort_unstable();
        assert_eq!(found, listed);
        for target in TARGETS {
            for seeds in target.seeds {
                assert!(root().join(seeds).is_dir(), "{seeds}");
            }
            let dictionary = target.dictionary.map(|name| root().join("tests/fuzz").join(name));
            assert!(dictionary.is_none_or(|file| file.is_file()), "{}", target.name);
        }
    }

    #[test]
    fn numbers_are_read_from_the_end_of_a_log() {
        let log = "#2 INITED cov: 10 ft: 11\n#9 DONE   cov: 27 ft: 30\nstat::number_of_executed_units: 51\n";
        assert_eq!((number(log, " cov:"), number(log, "stat::number_of_executed_units:")), (27, 51));
        assert_eq!(number("", " cov:"), 0);
    }
}
