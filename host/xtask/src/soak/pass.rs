//! One run of the pipeline over everything, and what must hold of it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::build::{read, say, target};

/// How often the resident set is looked at. The kernel keeps the peak, so that only the last moments can be missed.
const LOOK: Duration = Duration::from_millis(5);

/// A run of this length is stuck: a pass takes seconds.
const STUCK: Duration = Duration::from_secs(1800);

/// What is run, over what.
pub(super) struct Pipeline {
    bundle: PathBuf,
    inputs: PathBuf,
    folder: PathBuf,
    /// Names of the inputs.
    names: BTreeSet<String>,
    /// Codes that `martello explain` knows.
    codes: BTreeSet<String>,
}

/// How a pass ended.
pub(super) struct Pass {
    pub(super) took: Duration,
    pub(super) peak_resident_mib: u64,
    /// By input.
    pub(super) outcomes: BTreeMap<String, Outcome>,
    /// What did not hold.
    pub(super) problems: Vec<String>,
}

/// How an input ended: the same in each pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Why it is in quarantine; none where it is done.
    pub(super) code: Option<String>,
    /// Digests of its outputs; of findings, their text.
    digests: BTreeSet<String>,
}

impl Pipeline {
    pub(super) fn new(bundle: PathBuf, inputs: PathBuf, folder: PathBuf) -> anyhow::Result<Self> {
        let mut names = BTreeSet::new();
        for entry in std::fs::read_dir(&inputs).context("reading the inputs")? {
            names.insert(entry?.file_name().to_string_lossy().into_owned());
        }
        let explained = read(Command::new(martello()).args(["--format", "json", "explain"]))?;
        let explained: Vec<Value> = serde_json::from_str(&explained).context("reading the reason codes")?;
        let codes = explained.iter().filter_map(|code| code["code"].as_str().map(str::to_owned)).collect();
        Ok(Self { bundle, inputs, folder, names, codes })
    }

    /// Runs everything into an empty folder. With `kill`, the first run is killed after that long, and a second one
    /// goes on.
    pub(super) fn run(&self, kill: Option<Duration>) -> anyhow::Result<Pass> {
        let output = self.folder.join("out");
        if output.exists() {
            std::fs::remove_dir_all(&output).context("clearing the outputs")?;
        }
        let begun = Instant::now();
        let mut peak = 0;
        if kill.is_some() {
            peak = watch(self.start(&output)?, kill)?;
        }
        peak = peak.max(watch(self.start(&output)?, None)?);
        let took = begun.elapsed();
        let mut pass =
            Pass { took, peak_resident_mib: peak / 1024, outcomes: BTreeMap::new(), problems: Vec::new() };
        self.check(&output, &mut pass)?;
        let quarantined = pass.outcomes.values().filter(|outcome| outcome.code.is_some()).count();
        say(&format!(
            "{} done, {quarantined} in quarantine, {:.1} s, {} MiB{}",
            pass.outcomes.len() - quarantined,
            took.as_secs_f64(),
            pass.peak_resident_mib,
            if kill.is_some() { ", killed once" } else { "" }
        ));
        Ok(pass)
    }

    fn start(&self, output: &Path) -> anyhow::Result<Child> {
        let mut command = Command::new(martello());
        command.args(["--quiet", "--format", "json", "run"]).arg(&self.bundle);
        command.arg("--trust").arg(self.bundle.with_file_name("trust.json"));
        command.arg("--input").arg(&self.inputs).arg("--output").arg(output);
        command.arg("--state").arg(self.folder.join("state")).args(["--concurrency", super::CONCURRENCY]);
        command.stdout(Stdio::null()).stdin(Stdio::null());
        command.spawn().context("starting martello run")
    }

    /// Looks at the report and at what lies there.
    fn check(&self, output: &Path, pass: &mut Pass) -> anyhow::Result<()> {
        let report = std::fs::read_to_string(output.join("report.jsonl")).context("reading the report")?;
        let mut reported = BTreeSet::new();
        for line in report.lines() {
            let line: Value = serde_json::from_str(line).context("reading a line of the report")?;
            let input = text_of(&line, "input").unwrap_or_default().to_owned();
            let code = text_of(&line, "code").map(str::to_owned);
            let outputs = line.get("outputs").and_then(Value::as_array).cloned().unwrap_or_default();
            let texts = |name: &str| {
                outputs.iter().filter_map(|it| text_of(it, name).map(str::to_owned)).collect::<BTreeSet<_>>()
            };
            let paths = texts("path");
            let mut digests = texts("digest");
            if let Some(path) = paths.iter().find(|path| path.starts_with("findings/")) {
                // The file says too how long the model took, which is another time in each pass.
                digests.retain(|digest| digest_of(&outputs, path) != Some(digest.as_str()));
                let text = std::fs::read_to_string(output.join(path)).unwrap_or_default();
                let found: Value = serde_json::from_str(&text).unwrap_or_default();
                digests.insert(found.get("findings").unwrap_or(&Value::Null).to_string());
            }
            let outcome = Outcome { code: code.clone(), digests };
            reported.extend(paths);
            match (text_of(&line, "outcome"), code) {
                (Some("done"), None) => {}
                (Some("quarantine"), Some(code)) if self.codes.contains(&code) => {}
                (ended, code) => pass.problems.push(format!("{input} ended in {ended:?} with {code:?}")),
            }
            if pass.outcomes.insert(input.clone(), outcome).is_some() {
                pass.problems.push(format!("{input} was done twice"));
            }
        }
        let inputs: BTreeSet<_> = pass.outcomes.keys().cloned().collect();
        let lost = self.names.difference(&inputs).map(|name| format!("{name} was lost"));
        let foreign = inputs.difference(&self.names).map(|name| format!("{name} is no input"));
        pass.problems.extend(lost.chain(foreign));
        let found = files(output)?;
        let missing = reported.difference(&found).map(|path| format!("{path} is not there"));
        let left = found.difference(&reported).map(|path| format!("{path} was left over"));
        pass.problems.extend(missing.chain(left));
        Ok(())
    }
}

fn digest_of<'a>(outputs: &'a [Value], path: &str) -> Option<&'a str> {
    outputs.iter().find(|it| it["path"] == path).and_then(|it| it["digest"].as_str())
}

fn martello() -> PathBuf {
    target().join("debug/martello")
}

/// Waits for a run, or kills it after `kill`; says how much it had resident at the most, in kibibytes.
fn watch(mut child: Child, kill: Option<Duration>) -> anyhow::Result<u64> {
    let begun = Instant::now();
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let high = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.split_whitespace().next());
        peak = high.and_then(|high| high.parse().ok()).unwrap_or(0).max(peak);
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("martello run ended with {status}");
            }
            return Ok(peak);
        }
        if begun.elapsed() > kill.unwrap_or(STUCK) {
            child.kill()?;
            child.wait()?;
            if kill.is_none() {
                bail!("martello run was not through after {} s", STUCK.as_secs());
            }
            return Ok(peak);
        }
        std::thread::sleep(LOOK);
    }
}

/// The files that a run leaves for a person, relative to its folder.
fn files(output: &Path) -> anyhow::Result<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![output.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))? {
            let path = entry?.path();
            let name = path.strip_prefix(output)?.to_string_lossy().into_owned();
            // The journal, and the report itself.
            if matches!(name.as_str(), ".martello" | "report.jsonl") {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                found.insert(name);
            }
        }
    }
    Ok(found)
}

fn text_of<'a>(value: &'a Value, name: &str) -> Option<&'a str> {
    value.get(name).and_then(Value::as_str)
}
