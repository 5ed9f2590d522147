//! Trying a model out in a process of its own before it is loaded into this one.
//!
//! A model is a program for its backend, and backends meet some of them with an allocation that ends the process, with
//! minutes of optimising, or with a crash. So a child that may use so much memory and time and no more loads the model
//! first, as this process would, and runs its golden vectors. What goes through there goes through here: it is the same
//! program with the same library, settings and inputs. That it went through is kept ([`Verdicts`]), so that only the first
//! start pays for it.

mod child;
mod turns;

use std::fmt::Debug;
use std::fs::File;
use std::io::{self, BufRead, Read, Seek, Write};
use std::num::NonZero;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use bytes::Bytes;
use martello_bundle::manifest::{Golden, Model};
use martello_vocab::{ByteCount, Digest, Hasher};
use rustix::fs::{MemfdFlags, SealFlags};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::backend::BackendKind;
use crate::config::Provider;
use crate::error::{ModelError, ModelLimit};
use crate::golden::GoldenCase;
use crate::inference::Inference;

pub use child::answer_check;
pub(crate) use turns::Turns;

/// The argument that makes a program call [`answer_check`] and nothing else.
pub const CHECK_COMMAND: &str = "check-model";

/// Environment variables that a child keeps: where libraries of a GPU are, and which GPU is meant.
const KEPT_VARIABLES: [&str; 4] = ["LD_LIBRARY_PATH", "CUDA_", "NVIDIA_", "OPENVINO_"];

/// How often is looked whether the child has ended.
const POLL: Duration = Duration::from_millis(1);

/// How much of a child's answer and of its last words is read.
const ANSWER_BYTES: u64 = 1 << 20;
const COMPLAINT_BYTES: u64 = 8 << 10;

/// Models that this process remembers to have tried out.
const MOST_REMEMBERED: usize = 256;

/// Where models are tried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelCheck {
    /// In a child: this very program, or another one that calls [`answer_check`] when its first argument is
    /// [`CHECK_COMMAND`].
    Child {
        /// The other program.
        program: Option<PathBuf>,
    },
    /// Nowhere: a model may end this process, or take all of the machine's memory. For tests and measurements of models
    /// that are known.
    DangerouslyInThisProcess,
}

/// Keeps which models went through, beyond the life of a process. Whoever implements it sees to it that nobody else
/// writes there.
pub trait Verdicts: Debug + Send + Sync {
    /// What was kept under this name.
    fn kept(&self, name: &Digest) -> Option<String>;
    /// Keeps a text of less than 4 KiB. Failing to costs a trial at the next start.
    fn keep(&self, name: &Digest, text: &str);
}

/// For how long it is kept that a model went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keep {
    /// As long as this process lives.
    Here,
    /// Beyond it.
    OnDevice,
}

/// A model that went through.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Verdict {
    /// Why the built-in backend must not be asked for its opinion of the golden vectors; none where it may.
    pub(crate) without_builtin: Option<String>,
}

/// What the child is told: this, one line of JSON, and behind it the bytes of the model and of the golden tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    model: Model,
    /// Outputs whose shapes the model file does not say.
    shapeless: Vec<String>,
    cases: Vec<Case>,
    /// ONNX Runtime's library with its digest; none where the built-in backend is meant.
    library: Option<(PathBuf, Digest)>,
    providers: Vec<Provider>,
    threads: NonZero<usize>,
    memory: ByteCount,
    seconds: u64,
}

/// A golden vector, with the names and lengths of its tensors.
#[derive(Debug, Serialize, Deserialize)]
struct Case {
    golden: Golden,
    inputs: Vec<(String, u64)>,
    outputs: Vec<(String, u64)>,
}

/// A line of the child's answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Answer {
    /// The chosen backend has loaded the model and agrees with the golden vectors; the built-in one comes next.
    Chosen,
    /// All of it went through.
    Passed,
    /// The model is refused.
    Refused(ModelError),
}

/// How a child ended.
struct Ended {
    status: ExitStatus,
    late: bool,
    answers: Vec<Answer>,
    complaint: String,
}

impl Inference {
    /// Tries the model out, unless it is known to go through.
    pub(crate) fn clear(
        &self,
        bytes: &Bytes,
        model: &Model,
        cases: &[GoldenCase<'_>],
        shapeless: &[String],
        within: Duration,
        keep: Keep,
    ) -> Result<Verdict, ModelError> {
        let ModelCheck::Child { program } = &self.config.check else { return Ok(Verdict::default()) };
        // Where there is no backend for it, it is refused without a look at its bytes.
        let Some(backend) = self.chosen(model) else { return Ok(Verdict::default()) };
        let request = self.request(backend, model, cases, shapeless);
        let failed = |error: &dyn std::fmt::Display| ModelError::Check { detail: error.to_string() };
        let head = serde_json::to_string(&request).map_err(|error| failed(&error))?;
        let name = name(&head);
        if let Some(verdict) = self.known(&name, keep) {
            return Ok(verdict);
        }
        let begun = Instant::now();
        // One at a time: a device has few cores and little memory, and whoever waited may find it done.
        let too_late = || ModelError::Limit { backend, limit: ModelLimit::Wall(within) };
        let _turn = self.checking.take(within).ok_or_else(too_late)?;
        if let Some(verdict) = self.known(&name, keep) {
            return Ok(verdict);
        }
        // Waiting was a part of it.
        let left = within.saturating_sub(begun.elapsed());
        if left.is_zero() {
            return Err(too_late());
        }
        let deadline = self.config.check_deadline.min(left);
        let program = program.clone().unwrap_or_else(|| PathBuf::from("/proc/self/exe"));
        let input = sealed(&head, bytes, cases).map_err(|error| failed(&error))?;
        let ended = run(&program, input, deadline).map_err(|error| failed(&error))?;
        let verdict = judge(ended, backend, &request, deadline)?;
        tracing::info!(model = %model.name, elapsed = ?begun.elapsed(), "model went through in a process of its own");
        self.remember(name, &verdict);
        // That the built-in backend ended the process may be the moment's doing (other work, other memory): a second opinion
        // is asked for again at the next start.
        if keep == Keep::OnDevice
            && verdict.without_builtin.is_none()
            && let Some(verdicts) = &self.config.verdicts
            && let Ok(text) = serde_json::to_string(&verdict)
        {
            verdicts.keep(&name, &text);
        }
        Ok(verdict)
    }

    fn request(
        &self,
        backend: BackendKind,
        model: &Model,
        cases: &[GoldenCase<'_>],
        shapeless: &[String],
    ) -> Request {
        let lengths = |side: &std::collections::BTreeMap<String, Bytes>| {
            side.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64)).collect()
        };
        let case = |case: &GoldenCase<'_>| Case {
            golden: case.golden.clone(),
            inputs: lengths(&case.inputs),
            outputs: lengths(&case.outputs),
        };
        Request {
            model: model.clone(),
            shapeless: shapeless.to_vec(),
            cases: cases.iter().map(case).collect(),
            library: if backend == BackendKind::Onnxruntime { self.library() } else { None },
            providers: self.config.providers.clone(),
            threads: self.config.threads,
            memory: self.config.memory_of(model),
            seconds: self.config.check_deadline.as_secs().max(1),
        }
    }

    fn known(&self, name: &Digest, keep: Keep) -> Option<Verdict> {
        let remembered = self.cleared.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        if remembered.is_some() || keep == Keep::Here {
            return remembered;
        }
        let text = self.config.verdicts.as_ref()?.kept(name)?;
        let verdict: Verdict = serde_json::from_str(&text).ok()?;
        self.remember(*name, &verdict);
        Some(verdict)
    }

    fn remember(&self, name: Digest, verdict: &Verdict) {
        let mut cleared = self.cleared.lock().unwrap_or_else(PoisonError::into_inner);
        if cleared.len() >= MOST_REMEMBERED {
            cleared.clear();
        }
        cleared.insert(name, verdict.clone());
    }
}

/// What a verdict depends on: this version, and all that the child is told. The model and the golden tensors are in it by
/// their digests.
fn name(head: &str) -> Digest {
    let mut hasher = Hasher::new();
    for part in ["martello model verdict 1", env!("CARGO_PKG_VERSION"), std::env::consts::ARCH, head] {
        hasher.update(part.as_bytes());
        hasher.update(b"\0");
    }
    hasher.finish()
}

/// A file without a name that nobody can change any more.
fn sealed(head: &str, bytes: &Bytes, cases: &[GoldenCase<'_>]) -> io::Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file: File = rustix::fs::memfd_create("model", flags)?.into();
    file.write_all(head.as_bytes())?;
    file.write_all(b"\n")?;
    file.write_all(bytes)?;
    for tensor in cases.iter().flat_map(|case| case.inputs.values().chain(case.outputs.values())) {
        file.write_all(tensor)?;
    }
    file.rewind()?;
    let seals = SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&file, seals)?;
    Ok(file)
}

fn run(program: &std::path::Path, input: File, deadline: Duration) -> io::Result<Ended> {
    let nameless =
        |name: &str| -> io::Result<File> { Ok(rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC)?.into()) };
    let (mut answer, mut complaint) = (nameless("answer")?, nameless("complaint")?);
    let kept = |name: &str| KEPT_VARIABLES.iter().any(|kept| name.starts_with(kept));
    let variables = std::env::vars_os().filter(|(name, _)| name.to_str().is_some_and(kept));
    let mut child = Command::new(program)
        .arg(CHECK_COMMAND)
        .env_clear()
        .envs(variables)
        .current_dir("/")
        .stdin(Stdio::from(input))
        .stdout(answer.try_clone()?)
        .stderr(complaint.try_clone()?)
        .spawn()?;
    let start = Instant::now();
    let mut late = false;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > deadline {
            late = true;
            child.kill()?;
            break child.wait()?;
        }
        std::thread::sleep(POLL);
    };
    answer.rewind()?;
    let lines = io::BufReader::new(answer.take(ANSWER_BYTES)).lines();
    let answers = lines.map_while(|line| serde_json::from_str(&line.ok()?).ok()).collect();
    complaint.rewind()?;
    let mut words = Vec::new();
    complaint.take(COMPLAINT_BYTES).read_to_end(&mut words)?;
    let complaint = String::from_utf8_lossy(&words).trim().to_owned();
    Ok(Ended { status, late, answers, complaint })
}

/// What the end of a child says of the model.
fn judge(
    ended: Ended,
    backend: BackendKind,
    request: &Request,
    deadline: Duration,
) -> Result<Verdict, ModelError> {
    let Ended { status, late, answers, complaint } = ended;
    let mut chosen_passed = false;
    for answer in answers {
        match answer {
            Answer::Chosen => chosen_passed = true,
            Answer::Passed => return Ok(Verdict::default()),
            Answer::Refused(error) => return Err(error),
        }
    }
    tracing::debug!(%status, complaint, "the process that tried a model out has ended");
    let signal = status.signal().and_then(Signal::from_named_raw);
    let limit = if late {
        Some(ModelLimit::Wall(deadline))
    } else if signal == Some(Signal::XCPU) {
        Some(ModelLimit::Compute(Duration::from_secs(compute_seconds(request))))
    } else if signal == Some(Signal::KILL) || child::is_of_memory(&complaint) {
        // Whoever else kills it does so because the machine has no memory left.
        Some(ModelLimit::Memory(request.memory))
    } else {
        None
    };
    let backend = if chosen_passed { BackendKind::Tract } else { backend };
    let refused = match limit {
        Some(limit) => ModelError::Limit { backend, limit },
        None if status.code().is_some() => {
            ModelError::Check { detail: format!("it ended with {status} and no answer: {complaint}") }
        }
        None => ModelError::Crash { backend, how: status.to_string() },
    };
    // The chosen backend is sound with it. That the other one is not is no reason to refuse the model, as it is none where
    // it lacks an operator.
    if chosen_passed { Ok(Verdict { without_builtin: Some(refused.to_string()) }) } else { Err(refused) }
}

/// The most that a child may compute.
const fn compute_seconds(request: &Request) -> u64 {
    request.seconds.saturating_mul(request.threads.get() as u64)
}

#[cfg(test)]
mod tests;
