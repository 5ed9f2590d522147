//! `martello infer`: any ONNX model on tensors from files, through the sandbox as a stage would run it.

mod capabilities;
mod npy;
mod sandbox;

use std::collections::BTreeSet;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use martello_bundle::manifest::{Backend, Model, ModelFormat, Placement, Strictness};
use martello_bundle::onnx::ModelTensors;
use martello_inference::{Execution, LibraryPolicy, ModelError, Tensor};
use martello_telemetry::{Layout, printable};
use martello_vocab::{ByteCount, Digest};
use serde::Serialize;

use crate::Output;
use crate::output::{counted, exit, known_step};
use crate::read::{Unreadable, read};
use crate::refusal;
use crate::run::DeviceArgs;
use sandbox::{Answer, Failure};

/// The backend cannot load the model.
const NOT_LOADED: u8 = 3;
/// A limit or a policy refused.
const REFUSED: u8 = exit::REFUSED;
/// It failed while it ran.
const FAILED: u8 = 5;

/// Arguments of `martello infer`.
#[derive(Debug, clap::Args)]
pub(crate) struct InferArgs {
    /// The model: an ONNX file.
    #[arg(required_unless_present = "capabilities")]
    model: Option<PathBuf>,
    /// A tensor as a .npy file, by the name of the model's input (once for each input).
    #[arg(long, value_name = "NAME=FILE", value_parser = pair)]
    input: Vec<(String, PathBuf)>,
    /// The folder for the outputs, each as NAME.npy.
    #[arg(long, value_name = "DIR", required_unless_present = "capabilities")]
    out: Option<PathBuf>,
    /// The backend.
    #[arg(long, value_enum, default_value = "auto")]
    backend: BackendArg,
    /// The device: `cpu`, `gpu` or `gpu:N`.
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Fail where the device is not there (the default).
    #[arg(long, conflicts_with = "prefer_device")]
    require_device: bool,
    /// Take another device where that one is not there, and say so.
    #[arg(long)]
    prefer_device: bool,
    /// Threads of one run.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZero<usize>,
    /// How often to run, for timing.
    #[arg(long, value_name = "N", default_value = "1", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    repeat: u32,
    /// Time from start to end, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..=3_600_000))]
    wall: u64,
    /// Load any library of ONNX Runtime, whatever its digest: code that nobody vouches for runs with all your rights.
    #[arg(long)]
    dangerously_any_library: bool,
    /// Measure instead which ONNX operators each backend gets right.
    #[arg(long, conflicts_with_all = ["model", "input", "out", "repeat"])]
    capabilities: bool,
    #[command(flatten)]
    device_config: DeviceArgs,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum BackendArg {
    /// ONNX Runtime where it is there and allowed, else the built-in one.
    Auto,
    /// The built-in one.
    Builtin,
    /// ONNX Runtime.
    Onnxruntime,
}

/// The object of `--format json`.
#[derive(Debug, Serialize)]
struct Summary {
    model: String,
    digest: Digest,
    execution: Execution,
    runs: u64,
    median_ms: f64,
    least_ms: f64,
    outputs: Vec<OutputLine>,
}

#[derive(Debug, Serialize)]
struct OutputLine {
    name: String,
    dtype: &'static str,
    shape: Vec<u32>,
    file: PathBuf,
}

/// Runs the command. Exit codes: 0 ran, 2 usage, 3 the backend cannot load the model, 4 refused by a limit or a policy,
/// 5 failed while it ran.
///
/// # Errors
/// When a file cannot be read or written.
#[expect(clippy::needless_pass_by_value, reason = "a command owns its arguments, as all commands do")]
pub(crate) fn run(args: InferArgs, out: &Output) -> anyhow::Result<ExitCode> {
    let mut config = args.device_config.config()?;
    config.inference.threads = args.threads;
    config.inference.workers = NonZero::<usize>::MIN;
    if args.dangerously_any_library {
        config.inference.library_policy = LibraryPolicy::DangerouslyAnyLibrary;
    }
    if args.capabilities {
        return capabilities::run(&config.inference, out);
    }
    let (Some(path), Some(folder)) = (&args.model, &args.out) else {
        return Ok(out.failure(exit::USAGE, "a model and --out are needed", "martello infer --help"));
    };
    let bytes = match read(path, config.inference.largest_model) {
        Ok(bytes) => Bytes::from(bytes),
        Err(Unreadable::TooLarge { found, most }) => {
            return fail(path, Failure::Model(ModelError::TooLarge { found, most }), out);
        }
        Err(error) => return Err(error).with_context(|| format!("reading model {}", path.display())),
    };
    let mut inputs = Vec::new();
    for (name, file) in &args.input {
        match npy::read(file) {
            Ok(tensor) => inputs.push((name.clone(), tensor)),
            Err(error) => {
                let happened = format!("input `{name}`: {error:#}");
                let saved = "a tensor is saved with numpy.save(\"FILE.npy\", array)";
                let next =
                    known_step(&error).map_or_else(|| saved.to_owned(), |step| format!("{step}; {saved}"));
                return Ok(out.failure(exit::USAGE, &happened, &next));
            }
        }
    }
    let (model, shapeless) = match describe(&args, &bytes, &inputs) {
        Ok(described) => described,
        Err(Refused { code, happened, next }) => return Ok(out.failure(code, &happened, next)),
    };
    let digest = model.digest;
    match sandbox::run(config, model, &shapeless, bytes, &inputs, args.repeat, args.wall) {
        Ok(answer) => {
            let summary = write(&answer, folder, path, digest)?;
            out.result(|| sentence(&summary), &summary)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => fail(path, failure, out),
    }
}

struct Refused {
    code: u8,
    happened: String,
    next: &'static str,
}

/// The manifest entry of the model, and its outputs of which the file says no shape. The inputs fix the dimensions that the model leaves open.
fn describe(
    args: &InferArgs,
    bytes: &Bytes,
    inputs: &[(String, Tensor)],
) -> Result<(Model, Vec<String>), Refused> {
    let refused =
        |code, happened: String| Refused { code, happened, next: "compare the inputs with the model" };
    let mut tensors = ModelTensors::read(bytes).map_err(|error| Refused {
        code: NOT_LOADED,
        happened: format!("model `{}`: {error}", args.model.as_deref().unwrap_or(Path::new("")).display()),
        next: refusal::onnx(&error),
    })?;
    for schema in &mut tensors.inputs {
        let Some((_, tensor)) = inputs.iter().find(|(name, _)| *name == schema.name) else {
            return Err(refused(exit::USAGE, format!("input `{}` of the model is not given", schema.name)));
        };
        if tensor.element_type() != schema.dtype {
            let (found, wanted) = (sandbox::word(tensor.element_type()), sandbox::word(schema.dtype));
            return Err(refused(
                exit::USAGE,
                format!("input `{}` is {found}, the model takes {wanted}", schema.name),
            ));
        }
        let fits = |(one, other): (&Option<u32>, &u32)| one.is_none_or(|one| one == *other);
        if schema.shape.len() != tensor.shape().len() || !schema.shape.iter().zip(tensor.shape()).all(fits) {
            let text = format!(
                "input `{}` has shape {:?}, the model takes {:?}",
                schema.name,
                tensor.shape(),
                schema.shape
            );
            return Err(refused(exit::USAGE, text));
        }
        schema.shape = tensor.shape().iter().copied().map(Some).collect();
    }
    if let Some((name, _)) = inputs.iter().find(|(name, _)| !tensors.inputs.iter().any(|it| it.name == *name))
    {
        return Err(refused(exit::USAGE, format!("the model takes no input `{name}`")));
    }
    let backend = match args.backend {
        BackendArg::Auto => Backend::Auto,
        BackendArg::Builtin => Backend::Builtin,
        BackendArg::Onnxruntime => Backend::Onnxruntime,
    };
    let strictness = if args.prefer_device { Strictness::Prefer } else { Strictness::Require };
    let model = Model {
        name: "model".parse().map_err(|_| refused(exit::FAILURE, "the model has no name".to_owned()))?,
        digest: Digest::of(bytes),
        size: ByteCount(bytes.len() as u64),
        format: ModelFormat::Onnx,
        inputs: tensors.inputs,
        outputs: tensors.outputs,
        placement: Placement { backend, device: args.device.clone(), strictness },
        recipe: None,
        labels: Vec::new(),
        calibration: None,
        threshold: None,
        memory_bytes: None,
        licence: None,
        golden: Vec::new(),
    };
    Ok((model, tensors.shapeless))
}

fn write(answer: &Answer, folder: &Path, model: &Path, digest: Digest) -> anyhow::Result<Summary> {
    std::fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    let mut taken = BTreeSet::new();
    let mut outputs = Vec::new();
    for output in &answer.outputs {
        let file = folder.join(file_name(&output.name, &mut taken));
        npy::write(&file, output.element_type, &output.shape, |target| output.payload.copy_to(target))?;
        let dtype = sandbox::word(output.element_type);
        outputs.push(OutputLine { name: output.name.clone(), dtype, shape: output.shape.clone(), file });
    }
    let mut times = answer.ran.times.clone();
    times.sort();
    let milliseconds = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1e3);
    Ok(Summary {
        model: model.display().to_string(),
        digest,
        execution: answer.model.execution().clone(),
        runs: answer.ran.runs,
        median_ms: milliseconds(times.get(times.len() / 2)),
        least_ms: milliseconds(times.first()),
        outputs,
    })
}

/// A file name for an output: what is no letter, digit, `.`, `_` or `-` becomes `_`; names that meet get a number.
fn file_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
    let mut stem: String =
        name.chars().take(100).map(|letter| if plain(letter) { letter } else { '_' }).collect();
    if stem.is_empty() || stem.starts_with('.') {
        stem.insert(0, '_');
    }
    let mut candidate = format!("{stem}.npy");
    let mut number = 2_u32;
    while !taken.insert(candidate.to_lowercase()) {
        candidate = format!("{stem}-{number}.npy");
        number = number.saturating_add(1);
    }
    candidate
}

fn sentence(summary: &Summary) -> String {
    let execution = &summary.execution;
    let mut text = format!(
        "ran on {} {} ({}), {}, {}, {}\n",
        execution.backend,
        execution.version,
        execution.providers.join(", "),
        execution.device,
        execution.precision,
        counted(execution.threads as u64, "thread")
    );
    if let Some(instead) = &execution.instead {
        text.push_str(&format!("not on what was wanted first: {instead}\n"));
    }
    let Summary { runs, median_ms, least_ms, .. } = summary;
    text.push_str(&format!("{}: median {median_ms:.3} ms, least {least_ms:.3} ms\n", counted(*runs, "run")));
    for OutputLine { name, dtype, shape, file } in &summary.outputs {
        // A name that holds the end of a line must not make another one.
        let name = printable(name, Layout::Line);
        text.push_str(&format!("{name}: {dtype} {shape:?} in {}\n", file.display()));
    }
    text
}

fn fail(model: &Path, failure: Failure, out: &Output) -> anyhow::Result<ExitCode> {
    let (code, next) = match &failure {
        Failure::Other(_) => {
            let Failure::Other(error) = failure else { return Ok(ExitCode::from(exit::FAILURE)) };
            return Err(error);
        }
        Failure::Policy(_) => (REFUSED, "--allow-library with the library's digest, once you trust it"),
        Failure::Model(ModelError::TooLarge { .. }) => (REFUSED, "use a smaller model"),
        Failure::Model(ModelError::Limit { .. }) => (REFUSED, refusal::RAISE_MODEL_LIMIT),
        Failure::Model(ModelError::Crash { .. }) => (REFUSED, refusal::REPORT_MODEL),
        Failure::Model(ModelError::Unbounded { .. } | ModelError::Texts { .. }) => {
            (REFUSED, refusal::BOUND_MODEL)
        }
        Failure::Model(ModelError::Check { .. }) => (exit::FAILURE, refusal::TRY_OUT),
        Failure::Model(ModelError::Malformed { .. }) => (NOT_LOADED, refusal::NOT_ONNX),
        Failure::Model(ModelError::UnsupportedOperator { .. }) => {
            (NOT_LOADED, "another --backend; `martello infer --capabilities` tells what each one has")
        }
        Failure::Model(ModelError::DeviceMissing { .. }) => {
            (NOT_LOADED, "--prefer-device, or another --device")
        }
        Failure::Model(_) => (NOT_LOADED, "another --backend"),
        Failure::Run(stopped) => {
            let limit = stopped.code.as_str().starts_with("guest-") && stopped.code.as_str() != "guest-trap";
            let late = matches!(stopped.code.as_str(), "model-timeout" | "guest-deadline" | "guest-compute");
            let refused =
                matches!(stopped.code.as_str(), "model-too-large" | "model-forbidden" | "limit" | "policy");
            let code = if limit || refused || late { REFUSED } else { FAILED };
            let next = match stopped.code.as_str() {
                _ if late => "--wall with more milliseconds",
                "model-too-large" => "--model-memory with more MiB, if you trust whoever made the model",
                _ => "run the command with `--log debug` to see more",
            };
            (code, next)
        }
    };
    let happened = match &failure {
        Failure::Model(error) => match error.code() {
            Some(code) => format!("{code}: model `{}`: {failure}", model.display()),
            None => failure.to_string(),
        },
        _ => failure.to_string(),
    };
    Ok(out.failure(code, &happened, next))
}

fn pair(text: &str) -> Result<(String, PathBuf), String> {
    match text.split_once('=') {
        Some((name, file)) if !name.is_empty() && !file.is_empty() => Ok((name.to_owned(), file.into())),
        _ => Err("an input is given as NAME=FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_outputs_stay_inside_the_folder_and_apart() {
        let mut taken = BTreeSet::new();
        let mut name = |text: &str| file_name(text, &mut taken);
        assert_eq!(name("scores"), "scores.npy");
        assert_eq!(name("a/b:0"), "a_b_0.npy");
        assert_eq!(name("a_b_0"), "a_b_0-2.npy");
        assert_eq!(name("SCORES"), "SCORES-2.npy");
        assert_eq!(name("../../x"), "_.._.._x.npy");
        assert_eq!(name(""), "_.npy");
        assert!(name(&"n".repeat(5000)).len() < 120);
    }
}
