//! The child that tries a model out: it gives up what it does not need, and does what the host would do.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::Path;
use std::process::ExitCode;

use bytes::Bytes;
use martello_vocab::Digest;
use rustix::process::{Resource, Rlimit, Signal};

use super::{Answer, Case, ModelCheck, Request, compute_seconds};
use crate::backend::BackendKind;
use crate::config::{InferenceConfig, LibraryPolicy};
use crate::error::{ModelError, ModelLimit};
use crate::golden::GoldenCase;
use crate::inference::Inference;

/// The largest answer.
const OUTPUT_BYTES: u64 = 1 << 20;

/// What a thread takes before it does anything: its stack and its part of the allocator.
const THREAD_BYTES: u64 = 16 << 20;

/// What the driver of a GPU takes of the host's memory.
const GPU_BYTES: u64 = 4 << 30;

/// How much is left to others: nobody waits for a model's first trial.
const NICENESS: i32 = 5;

/// Tries a model out: standard input says which, standard output gets the answer. The process is of no use afterwards.
pub fn answer_check() -> ExitCode {
    match answer() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error}");
            ExitCode::FAILURE
        }
    }
}

fn answer() -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::thread::set_no_new_privs(true)?;
    limit(Resource::Core, 0, 0)?;
    limit(Resource::Fsize, OUTPUT_BYTES, OUTPUT_BYTES)?;
    rustix::process::nice(NICENESS)?;
    let (request, bytes) = request()?;
    let seconds = compute_seconds(&request);
    // One more until the limit that cannot be caught.
    limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
    let answer = match examine(&request, &bytes) {
        Ok(()) => Answer::Passed,
        Err(Examined::Refused(error)) => Answer::Refused(of_memory(error, &request)),
        Err(Examined::Failed(error)) => return Err(error),
    };
    say(&answer)
}

enum Examined {
    Refused(ModelError),
    Failed(io::Error),
}

impl From<io::Error> for Examined {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<ModelError> for Examined {
    fn from(error: ModelError) -> Self {
        Self::Refused(error)
    }
}

fn examine(request: &Request, bytes: &Bytes) -> Result<(), Examined> {
    let too_short = || io::Error::from(io::ErrorKind::UnexpectedEof);
    let mut rest = bytes.clone();
    let mut taken = |length: u64| {
        let length = usize::try_from(length).map_err(io::Error::other)?;
        if length > rest.len() { Err(too_short()) } else { Ok(rest.split_to(length)) }
    };
    let model = taken(request.model.size.0)?;
    let mut cases = Vec::new();
    for Case { golden, inputs, outputs } in &request.cases {
        let mut side = |lengths: &[(String, u64)]| -> io::Result<BTreeMap<String, Bytes>> {
            lengths.iter().map(|(name, length)| Ok((name.clone(), taken(*length)?))).collect()
        };
        cases.push(GoldenCase { golden, inputs: side(inputs)?, outputs: side(outputs)? });
    }
    let mut config = InferenceConfig::new(Path::new("/nonexistent"));
    config.library_folders.clear();
    config.check = ModelCheck::DangerouslyInThisProcess;
    config.providers.clone_from(&request.providers);
    config.threads = request.threads;
    config.largest_memory = request.memory;
    config.library_policy = LibraryPolicy::Listed;
    if let Some((path, digest)) = &request.library {
        config.library = Some(path.clone());
        config.allowed_libraries = vec![*digest];
    }
    let inference = Inference::new(&config).map_err(io::Error::other)?;

    let threads = (request.threads.get() as u64).saturating_mul(THREAD_BYTES);
    let gpu = if request.model.placement.device == "cpu" { 0 } else { GPU_BYTES };
    let room = request.memory.0.saturating_add(threads).saturating_add(gpu);
    let base = data_bytes()?;
    let (once, twice) = (base.saturating_add(room), base.saturating_add(room.saturating_mul(2)));
    limit(Resource::Data, once, twice)?;
    let digest: Digest = request.model.digest;
    let loaded = inference.load_bytes(&model, digest, &request.model, &request.shapeless)?;
    let mut evidence = inference.golden_of_chosen(&loaded, &request.model, &cases)?;
    if loaded.execution().backend != BackendKind::Tract && !cases.is_empty() {
        say(&Answer::Chosen)?;
        // What the chosen backend holds stays, and the built-in one may take as much.
        limit(Resource::Data, twice, twice)?;
        inference.golden_of_builtin(&loaded, &model, &request.model, &cases, &mut evidence)?;
    }
    Ok(())
}

/// The request and the bytes behind it.
fn request() -> io::Result<(Request, Bytes)> {
    let mut all = Vec::new();
    io::stdin().lock().read_to_end(&mut all)?;
    let end = all.iter().position(|&byte| byte == b'\n').ok_or(io::ErrorKind::UnexpectedEof)?;
    let request = serde_json::from_slice(all.get(..end).unwrap_or_default())?;
    Ok((request, Bytes::from(all).slice(end.saturating_add(1)..)))
}

fn say(answer: &Answer) -> io::Result<()> {
    let mut output = io::stdout().lock();
    serde_json::to_writer(&mut output, answer)?;
    output.write_all(b"\n")?;
    output.flush()
}

/// Sets a limit, or what was inherited where that is less.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let inherited = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
    let limit = Rlimit { current: Some(soft.min(inherited)), maximum: Some(hard.min(inherited)) };
    Ok(rustix::process::setrlimit(resource, limit)?)
}

/// What counts against the limit of data already (`proc_pid_status(5)`, `VmData`).
fn data_bytes() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/status")?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmData:"));
    let kibibytes = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
    Ok(kibibytes.ok_or(io::ErrorKind::InvalidData)?.saturating_mul(1 << 10))
}

/// Names the limit where a backend's words tell that it had no memory left.
fn of_memory(error: ModelError, request: &Request) -> ModelError {
    let limit = ModelLimit::Memory(request.memory);
    match error {
        ModelError::Backend { backend, detail } if is_of_memory(&detail) => {
            ModelError::Limit { backend, limit }
        }
        other => other,
    }
}

/// Whether these are words about memory: of Rust's allocator, of tract's tensors, of C++, of ONNX Runtime's arena.
pub(super) fn is_of_memory(words: &str) -> bool {
    let marks = [
        "memory allocation of",
        "failed to allocate",
        "Failed to allocate",
        "bad_alloc",
        "is smaller than requested",
    ];
    marks.iter().any(|mark| words.contains(mark))
}
