//! What the end-to-end tests share: the built programs, the signed bundle, folders, and waiting for an event.
//!
//! `cargo xtask test` builds the programs and the bundle before it runs the tests; a test that does not find them
//! fails and says so.

pub mod bundle;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

/// The longest that any single step of a test may take.
pub const DEADLINE: Duration = Duration::from_secs(120);

/// The root of the repository.
pub fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

/// The folder for everything that is built.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |folder| root().join(folder))
}

/// The built `martello`, with a state folder of its own so that tests do not share keys and caches.
pub fn martello(state: &Path) -> Command {
    let mut command = Command::new(target().join("debug/martello"));
    command.env_clear().env("MARTELLO_STATE", state).env("PATH", "/usr/bin:/bin");
    command
}

/// The shipped bundle and the trust root that goes with it.
///
/// # Errors
/// They were not packed.
pub fn imaging_bundle() -> anyhow::Result<(PathBuf, PathBuf)> {
    let folder = target().join("bundles");
    let pair = (folder.join("imaging.tar"), folder.join("trust.json"));
    if !pair.0.exists() || !pair.1.exists() {
        bail!(
            "the shipped bundle is missing: run `cargo xtask bundle`, or the tests through `cargo xtask test`"
        );
    }
    Ok(pair)
}

/// The sample files.
pub fn samples() -> PathBuf {
    root().join("tests/fixtures/dicom")
}

/// The Python with pydicom that `cargo xtask tools` installs. Where it is missing the caller leaves its test out,
/// except in CI, where that is an error.
///
/// # Errors
/// It is missing in CI.
pub fn python() -> anyhow::Result<Option<PathBuf>> {
    peer("pydicom", std::env::var_os("MARTELLO_TEST_PYTHON").map(PathBuf::from))
}

/// A program of Debian that the test compares with.
///
/// # Errors
/// It is missing in CI.
pub fn program(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Servers stand where only root looks.
    let mut folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    peer(name, folders.find_map(|folder| Some(folder.join(name)).filter(|file| file.is_file())))
}

/// A component that somebody else published, as `cargo xtask tools` builds it.
///
/// # Errors
/// It is missing in CI.
pub fn upstream(name: &str) -> anyhow::Result<Option<PathBuf>> {
    let file = target().join("tools/upstream/bin").join(name).with_extension("wasm");
    peer(name, Some(file).filter(|file| file.is_file()))
}

#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
fn peer(name: &str, found: Option<PathBuf>) -> anyhow::Result<Option<PathBuf>> {
    if found.is_none() {
        if std::env::var_os("CI").is_some() {
            bail!("{name} is missing; in CI that is a failure (`cargo xtask tools` installs it)");
        }
        eprintln!("ignored: {name} is missing; `cargo xtask tools` installs it");
    }
    Ok(found)
}

/// Runs a command to its end, within the deadline.
///
/// # Errors
/// It cannot be started, or does not end in time (it is ended then).
pub fn finish(command: &mut Command) -> anyhow::Result<Output> {
    let folder = tempfile::tempdir()?;
    let (out, err) = (folder.path().join("out"), folder.path().join("err"));
    let mut child = command
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&out)?)
        .stderr(std::fs::File::create(&err)?)
        .spawn()
        .with_context(|| format!("starting {command:?}"))?;
    let status = wait(&mut child, DEADLINE).with_context(|| format!("waiting for {command:?}"))?;
    Ok(Output { status, stdout: std::fs::read(out)?, stderr: std::fs::read(err)? })
}

/// A program that goes on.
pub struct Started {
    /// The process. Whoever started it ends it.
    pub child: Child,
    /// What followed the prefix in the line that was waited for.
    pub rest: String,
    /// What it has said on standard error since.
    pub said: Arc<Mutex<String>>,
}

/// Starts a program that goes on, and waits until a line of its standard error begins with `prefix`.
///
/// # Errors
/// It cannot be started, or ends before it says so.
pub fn start(command: &mut Command, prefix: &str) -> anyhow::Result<Started> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stderr.take().context("standard error is piped")?);
    let mut line = String::new();
    let rest = loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 {
            bail!("{command:?} ended before it said `{prefix}`: {}", child.wait()?);
        }
        if let Some(rest) = line.trim_end().strip_prefix(prefix) {
            break rest.to_owned();
        }
    };
    let said = Arc::<Mutex<String>>::default();
    let to = Arc::clone(&said);
    // A process whose pipe is full waits.
    std::thread::spawn(move || {
        for line in lines.lines().map_while(Result::ok) {
            if let Ok(mut said) = to.lock() {
                said.extend([line.as_str(), "\n"]);
            }
        }
    });
    Ok(Started { child, rest, said })
}

/// Waits for a process, and ends it where it outstays the deadline.
///
/// # Errors
/// It outstays the deadline.
pub fn wait(child: &mut Child, deadline: Duration) -> anyhow::Result<std::process::ExitStatus> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if begun.elapsed() > deadline {
            child.kill()?;
            child.wait()?;
            bail!("the process did not end within {deadline:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until `happened` gives a value.
///
/// # Errors
/// It does not within the deadline.
pub fn until<T>(what: &str, mut happened: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
    let begun = Instant::now();
    loop {
        if let Some(value) = happened() {
            return Ok(value);
        }
        if begun.elapsed() > DEADLINE {
            bail!("did not happen within {DEADLINE:?}: {what}");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The lines of a JSON-lines file.
///
/// # Errors
/// It cannot be read or a line is no JSON.
pub fn json_lines(path: &Path) -> anyhow::Result<Vec<serde_json::Value>> {
    let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
