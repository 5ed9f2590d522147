//! `martello run`: a bundle over a folder of files.

use std::io::IsTerminal;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use martello_bundle::{BundleError, VerifiedBundle};
use martello_engine::{
    ActivationError, Device, DeviceConfig, FolderRun, Ignored, Input, JournalError, MissingOutputs, Observer,
    ReportLine, ReportMode, RunError, Stop, Summary, WatchMode, explain,
};
use martello_trust::TrustRoot;
use martello_vocab::ByteCount;
use serde::Serialize;

use crate::bundle::refused;
use crate::output::{Advice, Format, Output, exit};
use crate::receive::{Door, ReceiveArgs, Receiving};
use crate::{places, refusal};

/// Trust roots are a few kilobytes.
const LARGEST_TRUST_FILE: ByteCount = ByteCount::mebibytes(1);

/// Arguments of `martello run`.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("source").required(true).args(["input", "dicom_listen"]))]
pub(crate) struct RunArgs {
    /// The bundle: an OCI image layout as a folder or a tar archive.
    bundle: PathBuf,
    /// The trust root that says who may sign.
    #[arg(long, value_name = "FILE")]
    trust: PathBuf,
    /// The folder of files to work on.
    #[arg(long, value_name = "DIR")]
    input: Option<PathBuf>,
    /// The folder for images, previews, findings, quarantine and the report.
    #[arg(long, value_name = "DIR")]
    output: PathBuf,
    /// Go on with files that arrive later, until stopped. A file counts as written when its writer closes it; one that
    /// is there at the start or linked into place, when it was not changed for two seconds. Whoever writes more slowly puts
    /// files in place by renaming them, or begins their names with a dot until then. A folder that is taken away is waited
    /// for.
    #[arg(long)]
    watch: bool,
    /// Leave file names out of the report, also those of earlier runs.
    #[arg(long)]
    private_report: bool,
    /// Leave outputs that were taken away since an earlier run as they are, where something collects them. Without
    /// this, outputs that are gone or cut are made again.
    #[arg(long)]
    leave_missing: bool,
    /// How many files are worked on at once. Default: the number of cores.
    #[arg(long, value_name = "N")]
    concurrency: Option<NonZero<usize>>,
    #[command(flatten)]
    receive: ReceiveArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

/// Where the device keeps things and what it runs models on.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DeviceArgs {
    /// The folder for keys and compiled code. Default: $XDG_STATE_HOME/martello or ~/.local/state/martello.
    #[arg(long, value_name = "DIR", env = "MARTELLO_STATE")]
    state: Option<PathBuf>,
    /// The library of ONNX Runtime. Without it, models run on the built-in backend.
    #[arg(long, value_name = "FILE", env = "MARTELLO_ONNXRUNTIME")]
    onnxruntime: Option<PathBuf>,
    /// SHA-256 of libraries of ONNX Runtime that may be loaded, as sha256:… (may be given more than once).
    #[arg(
        long = "allow-library",
        value_name = "DIGEST",
        env = "MARTELLO_ALLOW_LIBRARIES",
        value_delimiter = ','
    )]
    allow_libraries: Vec<martello_vocab::Digest>,
    /// The most memory that loading a model or one run of it may take, and all models on ONNX Runtime together, in MiB.
    /// Default: half of the machine's, at least 768 and at most 16384.
    #[arg(long, value_name = "MIB", env = "MARTELLO_MODEL_MEMORY")]
    model_memory: Option<NonZero<u64>>,
    /// How long loading a model for the first time may take, its golden vectors included, in seconds. Default: 120.
    #[arg(long, value_name = "SECONDS", env = "MARTELLO_MODEL_TIME", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    model_time: Option<u64>,
}

impl DeviceArgs {
    /// The device as these arguments have it.
    pub(crate) fn config(&self) -> anyhow::Result<DeviceConfig> {
        let mut config = DeviceConfig::new(places::state(self.state.clone())?);
        config.inference.library.clone_from(&self.onnxruntime);
        config.inference.allowed_libraries.extend(self.allow_libraries.iter().copied());
        if let Some(most) = self.model_memory {
            config.inference.largest_memory = ByteCount::mebibytes(most.get());
        }
        if let Some(seconds) = self.model_time {
            config.inference.check_deadline = std::time::Duration::from_secs(seconds);
        }
        Ok(config)
    }
}

/// What the input folder holds beside inputs, as its last scan found it.
#[derive(Debug, Serialize)]
struct IgnoredObject {
    hidden: u64,
    links: u64,
    special: u64,
    folders: u64,
}

impl From<Ignored> for IgnoredObject {
    fn from(Ignored { hidden, links, special, folders }: Ignored) -> Self {
        Self { hidden, links, special, folders }
    }
}

/// The summary object of `--format json`.
#[derive(Debug, Serialize)]
struct SummaryObject {
    done: u64,
    quarantined: u64,
    skipped: u64,
    restored: u64,
    missing: u64,
    left: u64,
    ignored: IgnoredObject,
    bundle: String,
    output: PathBuf,
    report: PathBuf,
    elapsed_ms: u64,
}

pub(crate) fn run(args: RunArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let begun = std::time::Instant::now();
    let config = args.device.config()?;
    let bundle = match verified(&args.bundle, &args.trust, &config) {
        Ok(bundle) => bundle,
        Err(NotOpened::Failed(error)) => return Err(error),
        Err(NotOpened::Refused(path, error)) => return refused(path, error, output),
        Err(NotOpened::TooLarge(path, error)) => return Ok(refusal::not_activated(path, error, output)),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let device = match Device::start(&config) {
        Ok(device) => device,
        Err(error) => return Ok(refusal::not_started(error, output)),
    };
    // Before the bundle is activated, which takes seconds: a port that is taken is told at once.
    let receiver = args.receive.open(&config.state)?;
    let active = match device.activate(&bundle) {
        Ok(active) => Arc::new(active),
        Err(error) => return Ok(refusal::not_activated(&args.bundle, error, output)),
    };
    drop(bundle);
    let stop = Stop::default();
    let door = Door::default();
    runtime.spawn(stop_on_signal(stop.clone(), door.clone(), *output));
    let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
    let is_watched = args.watch || receiver.is_some();
    let input = match (&receiver, &args.input) {
        (Some(receiver), _) => receiver.input(),
        // The parser has seen to it that there is one.
        (None, input) => Input::Folder(input.clone().unwrap_or_default()),
    };
    let receiving = receiver.map(|receiver| receiver.start(door, stop.clone(), output)).transpose()?;
    let folder_run = FolderRun {
        input,
        output: args.output.clone(),
        watch: if is_watched { WatchMode::Watch } else { WatchMode::Once },
        report: if args.private_report { ReportMode::Private } else { ReportMode::Named },
        concurrency: args.concurrency.unwrap_or(cores),
        missing: if args.leave_missing { MissingOutputs::Leave } else { MissingOutputs::Restore },
    };
    let progress = Arc::new(Progress::new(output));
    let observer: Arc<dyn Observer> = Arc::<Progress>::clone(&progress);
    let bundle_digest = active.bundle_digest().to_string();
    let summary = runtime.block_on(folder_run.run(active, observer, stop));
    let received = receiving.map_or(Ok(()), Receiving::end);
    let summary = summary.map_err(|error| with_next_step(error, folder_run.input.path()))?;
    received?;
    progress.bar.finish_and_clear();
    let object = SummaryObject {
        done: summary.all.done,
        quarantined: summary.all.quarantined,
        skipped: summary.skipped,
        restored: summary.restored,
        missing: summary.missing,
        left: summary.left,
        ignored: summary.ignored.into(),
        bundle: bundle_digest,
        report: args.output.join("report.jsonl"),
        output: args.output,
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
    };
    output.result(|| sentence(&summary, &object), &object)?;
    // A signal is how a watch ends.
    let stopped_early = summary.left > 0 && !is_watched;
    Ok(if stopped_early { ExitCode::from(exit::INTERRUPTED) } else { ExitCode::SUCCESS })
}

fn sentence(summary: &Summary, object: &SummaryObject) -> String {
    let mut text = format!(
        "{} done, {} in quarantine, {} were complete before\nreport: {}",
        summary.this_run.done,
        summary.this_run.quarantined,
        summary.skipped,
        object.report.display()
    );
    if summary.restored > 0 {
        text.push_str(&format!("\n{} had lost outputs, which were made again", summary.restored));
    }
    if summary.failed_again > 0 {
        text.push_str(&format!(
            "\n{} have lost outputs, which the device failed to make again (the log names them, with a code for `martello explain`)",
            summary.failed_again
        ));
    }
    let missing = summary.missing.saturating_sub(summary.failed_again);
    if missing > 0 {
        let why = if summary.left > 0 { "are gone, were not looked at" } else { "are gone" };
        text.push_str(&format!(
            "\n{missing} have lost outputs, which could not be made again: their inputs {why} or give something else now (--log info names them)"
        ));
    }
    if summary.ignored.total() > 0 {
        let Ignored { hidden, links, special, folders } = summary.ignored;
        text.push_str(&format!(
            "\nleft alone in the input folder: {hidden} hidden, {links} links, {special} special files, {folders} folders that nest too deep or cannot be read (--log debug names them)"
        ));
    }
    if summary.this_run.quarantined > 0 {
        text.push_str("\nwhy files are in quarantine: martello explain CODE, with the codes of the report");
    }
    if summary.left > 0 {
        text.push_str(&format!(
            "\nstopped before all was done: {} files were not looked at or not completed; the next run goes on there",
            summary.left
        ));
    }
    text
}

/// What to do about a run that ended on an error.
pub(crate) fn with_next_step(error: RunError, input: &Path) -> anyhow::Error {
    let mut happened = format!("running over `{}`", input.display());
    let known = error.code().and_then(|code| explain::of(code.as_str()));
    let next = match &error {
        _ if let Some(known) = known => {
            happened = format!("{happened}: {}", known.code);
            known.next
        }
        RunError::OwnOutputs { .. } => "choose an --input that the run does not write into",
        RunError::Nested { .. } => "choose an --output that is not inside --input",
        RunError::Journal(JournalError::Busy { .. }) => {
            "wait until the other process has ended, or choose another --output"
        }
        RunError::Ingest(_) => "check that --input is a folder and can be read",
        RunError::Output { .. }
        | RunError::Journal(_)
        | RunError::Write { .. }
        | RunError::Settle { .. }
        | RunError::Report { .. } => "see free space and permissions of the output folder, then run again",
        RunError::Worker => return error.into(),
    };
    anyhow::Error::from(error).context(Advice { happened, next: next.to_owned() })
}

/// A bundle that cannot be run.
#[derive(Debug)]
pub(crate) enum NotOpened<'a> {
    /// It could not be tried.
    Failed(anyhow::Error),
    /// What stands at this path did not hold, or could not be read.
    Refused(&'a Path, BundleError),
    /// A model of the bundle at this path is larger than this device takes.
    TooLarge(&'a Path, ActivationError),
}

/// Reads the trust root and opens the bundle with it.
pub(crate) fn verified<'a>(
    bundle: &'a Path,
    trust: &'a Path,
    config: &DeviceConfig,
) -> Result<VerifiedBundle, NotOpened<'a>> {
    let refused = |error| NotOpened::Refused(bundle, error);
    let root = trust_root(trust).map_err(NotOpened::Failed)?;
    // Expiry stops changes, never a running workload: what is on the device runs on under an expired root, so no time
    // is handed in.
    let root = TrustRoot::open(&root, None).map_err(|error| NotOpened::Refused(trust, error.into()))?;
    let opened = martello_bundle::open_path(bundle, &root).map_err(refused)?;
    // Before any blob is read: a bundle may hold a model larger than this machine's memory.
    config.admit(&opened).map_err(|error| NotOpened::TooLarge(bundle, error))?;
    // What is not read before it runs is hashed when it is read; here all of it, so that a torn bundle is refused now.
    opened.verify_blobs().map_err(refused)?;
    Ok(opened)
}

fn trust_root(path: &Path) -> anyhow::Result<Vec<u8>> {
    crate::read::read(path, LARGEST_TRUST_FILE).map_err(|error| {
        let next = error.next().unwrap_or("give a trust root made by `martello keys trust`").to_owned();
        anyhow::Error::from(error)
            .context(Advice { happened: format!("reading trust root `{}`", path.display()), next })
    })
}

/// The first signal lets files at work be completed; the second breaks them off.
async fn stop_on_signal(stop: Stop, door: Door, output: Output) {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        tracing::error!("signals cannot be received; the run ends only when it is done");
        return;
    };
    let mut next = async || {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    next().await;
    output.note("stopping when the files at work are complete; a second signal breaks them off");
    door.close();
    stop.complete();
    next().await;
    output.note("breaking off the files at work; the next run does them");
    stop.abandon();
}

/// A bar on a terminal; nothing elsewhere.
struct Progress {
    bar: ProgressBar,
}

impl Progress {
    fn new(output: &Output) -> Self {
        let shown = std::io::stderr().is_terminal() && !output.quiet && output.format == Format::Text;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files, {per_sec}, {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar }
    }
}

impl Observer for Progress {
    fn found(&self, total: u64) {
        self.bar.set_length(total);
    }

    fn completed(&self, line: Option<&ReportLine>) {
        if let Some(code) = line.and_then(|line| line.code.as_ref()) {
            self.bar.set_message(format!("last refused: {code}"));
        }
        self.bar.inc(1);
    }
}
