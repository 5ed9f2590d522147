//! `martello run`: a bundle over a folder of files.

use std::io::IsTerminal;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use martello_bundle::{BundleError, VerifiedBundle};
use martello_engine::{
    ActivationError, Active, Deliveries, Delivering, Device, DeviceConfig, DiskPatience, Export, Exports,
    FolderRun, Ignored, Input, JournalError, MissingOutputs, NotTaken, Observer, Outgoing, ReportLine,
    ReportMode, RunError, Stop, Summary, WatchMode, explain,
};
use martello_trust::TrustRoot;
use martello_vocab::ByteCount;
use serde::Serialize;

use crate::bundle::refused;
use crate::deliver::{self, SendArgs};
use crate::output::{Advice, Format, Output, counted, exit, next_step};
use crate::receive::{Door, ReceiveArgs, Receiver, Receiving};
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
    send: SendArgs,
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

/// The summary object of `--format json`. The text has the same numbers; the README says what each counts.
#[derive(Debug, Serialize)]
struct SummaryObject {
    /// Complete inputs of the output folder, those of earlier runs included.
    done: u64,
    /// As `done`.
    quarantined: u64,
    /// How many of both were complete before this run.
    skipped: u64,
    restored: u64,
    missing: u64,
    left: u64,
    ignored: IgnoredObject,
    /// How often the run waited because a disk was full or failed.
    #[serde(skip_serializing_if = "is_none")]
    waits: u64,
    /// Originals that went to the bypass alone, because nothing worked the spool off.
    #[serde(skip_serializing_if = "is_none")]
    passed_by: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deliveries: Vec<Deliveries>,
    bundle: String,
    output: PathBuf,
    report: PathBuf,
    elapsed_ms: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands it so")]
fn is_none(count: &u64) -> bool {
    *count == 0
}

pub(crate) fn run(args: &RunArgs, output: &Output) -> anyhow::Result<ExitCode> {
    let begun = Instant::now();
    let config = args.device.config()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("starting the asynchronous runtime")?;
    let (stop, door) = (Stop::default(), Door::default());
    let on_a_signal = |outgoing: &Outgoing| {
        let (stop, door, close) = (stop.clone(), door.clone(), outgoing.closer());
        runtime.spawn(stop_on_signal(stop, door, close, *output));
    };
    if !args.send.is_bypassed() {
        let mut doors = None;
        let opened = open(args, &config, output, || {
            // Before the bundle is activated, which takes seconds: a port that is taken is told at once.
            doors = Some(Doors::open(args, &config.state, output)?);
            Ok(())
        });
        let active = match opened {
            Ok(active) => active,
            Err(NoRun::Failed(error)) => return Err(error),
            Err(NoRun::Ended(code)) => return Ok(code),
        };
        let Some(Doors { receiver, outgoing }) = doors else { return Ok(ExitCode::FAILURE) };
        on_a_signal(&outgoing);
        let run = Run { args, stop: &stop, runtime: &runtime, output, begun };
        let input = run.input(receiver.as_ref());
        let close = outgoing.closer();
        let receiving =
            receiver.map(|receiver| receiver.start(door, stop.clone(), close, output)).transpose()?;
        let exports = outgoing.exports();
        let delivering = outgoing.start().context(NO_SENDER)?;
        let summary = run.go(active, input, exports);
        return run.end(summary, receiving, delivering);
    }
    // Originals are received and forwarded first of all, and whatever becomes of the bundle.
    let Doors { receiver, outgoing } = Doors::open(args, &config.state, output)?;
    on_a_signal(&outgoing);
    let run = Run { args, stop: &stop, runtime: &runtime, output, begun };
    let input = run.input(receiver.as_ref());
    let (exports, close) = (outgoing.exports(), outgoing.closer());
    let delivering = outgoing.start().context(NO_SENDER)?;
    let receiving =
        receiver.map(|receiver| receiver.start(door.clone(), stop.clone(), close, output)).transpose()?;
    let mut pause = FIRST_PAUSE;
    let code = loop {
        let tried = Instant::now();
        let ran = open(args, &config, output, || Ok(()))
            .and_then(|active| Ok(run.go(active, input.clone(), exports.clone())?));
        let code = match ran {
            Ok(summary) => return run.end(Ok(summary), receiving, delivering),
            Err(NoRun::Ended(code)) => code,
            Err(NoRun::Failed(error)) => {
                output.failure(exit::FAILURE, &format!("{error:#}"), &next_step(&error))
            }
        };
        // Whatever ran for so long was well then.
        if tried.elapsed() > LONGEST_PAUSE {
            pause = FIRST_PAUSE;
        }
        if !door.is_closed() {
            output.note(&format!(
                "no component runs; objects are received and forwarded all the same, and the components are tried again in {} s",
                pause.as_secs()
            ));
            tracing::error!(again_in = ?pause, "no component runs, and originals are forwarded all the same");
        }
        let begun = Instant::now();
        while !door.is_closed() && begun.elapsed() < pause {
            std::thread::sleep(HELD_OPEN_TURN);
        }
        if door.is_closed() {
            break code;
        }
        pause = pause.saturating_mul(2).min(LONGEST_PAUSE);
    };
    let (passed_by, deliveries) = run.close(receiving, delivering)?;
    for line in &deliveries {
        output.note(&deliver::sentence(line));
    }
    if passed_by > 0 {
        let objects = counted(passed_by, "object");
        output.note(&format!("forwarded, and not to be worked on because the spool was full: {objects}"));
    }
    Ok(code)
}

/// After how long components that do not run are tried again for the first time, while originals are forwarded. The pause is
/// doubled until
const FIRST_PAUSE: Duration = Duration::from_secs(5);
/// it is this long: a bundle that is put right, or a disk that has room again, is then found within a few minutes.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
const NO_SENDER: &str = "starting a thread that sends";
/// How often a run whose components do not run looks at whether to end.
const HELD_OPEN_TURN: Duration = Duration::from_millis(100);

/// There is no run, or it has ended badly.
enum NoRun {
    /// This is still to be told.
    Failed(anyhow::Error),
    /// It was told.
    Ended(ExitCode),
}

impl From<anyhow::Error> for NoRun {
    fn from(error: anyhow::Error) -> Self {
        Self::Failed(error)
    }
}

/// Verifies the bundle, starts the device and activates the one on the other. `between` is called when the device stands.
fn open(
    args: &RunArgs,
    config: &DeviceConfig,
    output: &Output,
    between: impl FnOnce() -> anyhow::Result<()>,
) -> Result<Arc<Active>, NoRun> {
    let bundle = match verified(&args.bundle, &args.trust, config) {
        Ok(bundle) => bundle,
        Err(NotOpened::Failed(error)) => return Err(error.into()),
        Err(NotOpened::Refused(path, error)) => return Err(NoRun::Ended(refused(path, error, output)?)),
        Err(NotOpened::TooLarge(path, error)) => {
            return Err(NoRun::Ended(refusal::not_activated(path, error, output)));
        }
    };
    let device = Device::start(config).map_err(|error| NoRun::Ended(refusal::not_started(error, output)))?;
    between()?;
    let active = device
        .activate(&bundle)
        .map_err(|error| NoRun::Ended(refusal::not_activated(&args.bundle, error, output)))?;
    // The bundle's grant is for a folder of this device.
    if args.send.sends_exports() && active.exports_identified() {
        return Err(NoRun::Ended(output.failure(
            exit::REFUSED,
            "the bundle puts out what may identify a person, and that is not sent on",
            "leave --send-dicom out, or run a bundle without `dangerously-export-identified`",
        )));
    }
    Ok(Arc::new(active))
}

/// Ports that are taken, and the spool and the queues behind them.
struct Doors {
    receiver: Option<Receiver>,
    outgoing: Outgoing,
}

impl Doors {
    fn open(args: &RunArgs, state: &Path, output: &Output) -> anyhow::Result<Self> {
        let (title, identity) = (args.receive.title(), args.receive.identity());
        let outgoing = args.send.open(state, title, identity.as_ref(), output)?;
        let receiver = args.receive.open(state, outgoing.bypass())?;
        Ok(Self { receiver, outgoing })
    }
}

/// What a run needs from its beginning to its end.
struct Run<'a> {
    args: &'a RunArgs,
    stop: &'a Stop,
    runtime: &'a tokio::runtime::Runtime,
    output: &'a Output,
    begun: Instant,
}

/// What a run came to.
struct Ran {
    summary: Summary,
    bundle: String,
    is_watched: bool,
}

impl Run<'_> {
    fn input(&self, receiver: Option<&Receiver>) -> Input {
        match (receiver, &self.args.input) {
            (Some(receiver), _) => receiver.input(),
            // The parser has seen to it that there is one.
            (None, input) => Input::Folder(input.clone().unwrap_or_default()),
        }
    }

    /// Works on inputs until all are done, or until told to stop.
    fn go(&self, active: Arc<Active>, input: Input, exports: Exports) -> anyhow::Result<Ran> {
        let Self { args, stop, runtime, output, .. } = self;
        let cores = std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN);
        let is_watched = args.watch || matches!(input, Input::Spool(_));
        let folder_run = FolderRun {
            input,
            output: args.output.clone(),
            watch: if is_watched { WatchMode::Watch } else { WatchMode::Once },
            report: if args.private_report { ReportMode::Private } else { ReportMode::Named },
            concurrency: args.concurrency.unwrap_or(cores),
            missing: if args.leave_missing { MissingOutputs::Leave } else { MissingOutputs::Restore },
            disk: DiskPatience::default(),
        };
        let progress = Arc::new(Progress::new(output, exports));
        let observer: Arc<dyn Observer> = Arc::<Progress>::clone(&progress);
        let bundle = active.bundle_digest().to_string();
        let summary = runtime.block_on(folder_run.run(active, observer, (*stop).clone()));
        progress.bar.finish_and_clear();
        let summary = summary.map_err(|error| with_next_step(error, folder_run.input.path()))?;
        Ok(Ran { summary, bundle, is_watched })
    }

    /// Ends what goes on beside the run.
    fn close(
        &self,
        receiving: Option<Receiving>,
        delivering: Delivering,
    ) -> anyhow::Result<(u64, Vec<Deliveries>)> {
        let received = receiving.map_or(Ok(0), Receiving::end);
        let delivered = delivering.end(self.stop);
        Ok((received?, delivered))
    }

    fn end(
        &self,
        ran: anyhow::Result<Ran>,
        receiving: Option<Receiving>,
        delivering: Delivering,
    ) -> anyhow::Result<ExitCode> {
        // A run that ends by itself gives what it made the time to be delivered.
        if ran.as_ref().is_ok_and(|ran| !ran.is_watched && ran.summary.left == 0) {
            delivering.drain();
        }
        let closed = self.close(receiving, delivering);
        let Ran { summary, bundle, is_watched } = ran?;
        let (passed_by, deliveries) = closed?;
        let output_folder = &self.args.output;
        let object = SummaryObject {
            done: summary.all.done,
            quarantined: summary.all.quarantined,
            skipped: summary.skipped,
            restored: summary.restored,
            missing: summary.missing,
            left: summary.left,
            ignored: summary.ignored.into(),
            waits: summary.waits,
            passed_by,
            deliveries,
            bundle,
            report: output_folder.join("report.jsonl"),
            output: output_folder.clone(),
            elapsed_ms: u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        };
        self.output.result(|| sentence(&summary, &object), &object)?;
        // A signal is how a watch ends.
        let stopped_early = summary.left > 0 && !is_watched;
        Ok(if stopped_early { ExitCode::from(exit::INTERRUPTED) } else { ExitCode::SUCCESS })
    }
}

fn sentence(summary: &Summary, object: &SummaryObject) -> String {
    let totals = totals(object.done, object.quarantined, object.skipped);
    let mut text = format!("{totals}\nreport: {}", object.report.display());
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
            "\nleft alone in the input folder: {hidden} hidden, {}, {}, {} too deep or unreadable (--log debug names them)",
            counted(links, "link"),
            counted(special, "special file"),
            counted(folders, "folder")
        ));
    }
    if summary.waits > 0 {
        text.push_str(&format!(
            "\nwaited {} because a disk was full or failed (martello explain disk-full)",
            counted(summary.waits, "time")
        ));
    }
    if summary.this_run.quarantined > 0 {
        text.push_str("\nwhy files are in quarantine: martello explain CODE, with the codes of the report");
    }
    for deliveries in &object.deliveries {
        text.push_str(&format!("\n{}", deliver::sentence(deliveries)));
    }
    if object.passed_by > 0 {
        text.push_str(&format!(
            "\nforwarded and not worked on, because the spool was full: {}",
            counted(object.passed_by, "object")
        ));
    }
    if summary.left > 0 {
        text.push_str(&format!(
            "\nstopped before all was done: not looked at or not completed are {}; the next run goes on there",
            counted(summary.left, "file")
        ));
    }
    text
}

/// As the summary object has them.
fn totals(done: u64, quarantined: u64, skipped: u64) -> String {
    let before = match skipped {
        0 => String::new(),
        1 => "; 1 of them was complete before".to_owned(),
        more => format!("; {more} of them were complete before"),
    };
    format!("{done} done, {quarantined} in quarantine{before}")
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
        RunError::HandOn { .. } => {
            "see why the destination takes nothing, and free space of the state folder, then run again"
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
async fn stop_on_signal(stop: Stop, door: Door, close: impl Fn() + Send + 'static, output: Output) {
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
    close();
    stop.complete();
    next().await;
    output.note("breaking off the files at work; the next run does them");
    stop.abandon();
}

/// A bar on a terminal; nothing elsewhere.
struct Progress {
    bar: ProgressBar,
    exports: Exports,
}

impl Progress {
    fn new(output: &Output, exports: Exports) -> Self {
        let shown = std::io::stderr().is_terminal() && !output.quiet && output.format == Format::Text;
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template("{bar:32} {pos}/{len} files, {per_sec}, {msg}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self { bar, exports }
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

    fn exported(&self, exports: &[Export<'_>]) -> Result<(), NotTaken> {
        self.exports.take(exports)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sentence_has_the_totals_of_the_summary_object() {
        for ([done, quarantined, skipped], text) in [
            ([48, 38, 0], "48 done, 38 in quarantine"),
            ([48, 38, 86], "48 done, 38 in quarantine; 86 of them were complete before"),
            ([1, 0, 1], "1 done, 0 in quarantine; 1 of them was complete before"),
        ] {
            assert_eq!(totals(done, quarantined, skipped), text);
        }
    }
}
