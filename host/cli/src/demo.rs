//! `martello demo`: the whole way once, on sample files, with what must be refused refused.

mod contact_sheet;
mod header;

use std::collections::BTreeMap;
use std::fs;
use std::io::BufReader;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::{Context, bail, ensure};
use martello_bundle::{VerifiedBundle, ephemeral_of, open_path, write_archive};
use martello_engine::{
    ActivationError, Active, Device, DeviceConfig, DeviceError, DiskPatience, FolderRun, Input,
    MissingOutputs, Observer, ReportLine, ReportMode, Stop, WatchMode,
};
use martello_runtime::Payload;
use martello_trust::{Role, RootDocument, SigningKey, Timestamp, TrustRoot};
use martello_vocab::{ByteCount, code};
use serde::Serialize;
use serde_json::{Value, json};

use crate::output::Output;
use crate::read::read;
use crate::refusal;
use crate::run::with_next_step;
use contact_sheet::{Pair, Side};

/// The largest sample or component.
const LARGEST_FILE: ByteCount = ByteCount::mebibytes(256);
/// Pictures on the contact sheet.
const PAIRS: usize = 9;
/// The demo's keys are thrown away; their root is good for this long.
const ROOT_DAYS: u32 = 1;

/// Arguments of `martello demo`.
#[derive(Debug, clap::Args)]
pub(crate) struct DemoArgs {
    /// Where the results go; made anew each time.
    #[arg(long, value_name = "DIR", default_value = "martello-demo")]
    output: PathBuf,
    /// The source of the bundle.
    #[arg(long, value_name = "FILE", default_value = "components/imaging/bundle.toml")]
    source: PathBuf,
    /// The sample files.
    #[arg(long, value_name = "DIR", default_value = "tests/fixtures/dicom")]
    samples: PathBuf,
    /// A component that never ends, to be stopped.
    #[arg(
        long,
        value_name = "FILE",
        default_value = "target/guests-build/wasm32-wasip2/release/examples/infinite_loop.wasm"
    )]
    runaway: PathBuf,
}

/// The last line of `--format json`.
#[derive(Debug, Serialize)]
struct DemoResult {
    images: usize,
    deidentified: usize,
    findings: usize,
    quarantined: usize,
    tampered_refused: bool,
    runaway_stopped: bool,
    elapsed_ms: u64,
    picture: PathBuf,
    output: PathBuf,
}

/// What ended the demo before its end.
enum Ended {
    Device(DeviceError),
    Activation(ActivationError),
    Other(anyhow::Error),
}

impl From<DeviceError> for Ended {
    fn from(error: DeviceError) -> Self {
        Self::Device(error)
    }
}

impl From<ActivationError> for Ended {
    fn from(error: ActivationError) -> Self {
        Self::Activation(error)
    }
}

impl From<anyhow::Error> for Ended {
    fn from(error: anyhow::Error) -> Self {
        Self::Other(error)
    }
}

pub(crate) fn run(args: &DemoArgs, output: &Output) -> anyhow::Result<ExitCode> {
    match play(args, output) {
        Ok(code) => Ok(code),
        Err(Ended::Device(error)) => Ok(refusal::not_started(error, output)),
        Err(Ended::Activation(error)) => Ok(refusal::not_activated(&args.source, error, output)),
        Err(Ended::Other(error)) => Err(error),
    }
}

fn play(args: &DemoArgs, output: &Output) -> Result<ExitCode, Ended> {
    let begun = Instant::now();
    prepare(&args.output)?;
    let stage = Stage { root: args.output.clone(), output: *output };

    output.note("1. keys: a root, an engineer and a clinician, in memory for this demo");
    let signed = stage.sign(&args.source)?;
    let bundle = open_path(&signed.bundle, &signed.root).context("verifying the bundle just signed")?;
    bundle.verify_blobs().context("verifying the bundle just signed")?;
    output.note(&format!("2. bundle: {} is signed by two of two and verifies", signed.bundle.display()));

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("starting the asynchronous runtime")?;
    output.note("3. activation: compiling components in a limited child process, running golden vectors");
    let device = Device::start(&DeviceConfig::new(args.output.join("state")))?;
    let active = Arc::new(device.activate(&bundle)?);
    output.note(&format!("4. run: every file of {} through the pipeline", args.samples.display()));
    let lines = runtime.block_on(stage.run(active, &args.samples))?;

    output.note("5. tampered bundle: the same with one byte of a component changed");
    let tampered_refused = stage.tampered(&signed)?;
    output.note("6. runaway component: one that never ends, over one file, with 200 ms to compute");
    let runaway_stopped = runtime.block_on(stage.runaway(&device, &args.runaway, &args.samples))?;

    let before = device.activate(&stage.before(&args.source)?)?;
    let picture = args.output.join("demo.png");
    let pairs = runtime.block_on(stage.pairs(&before, &args.samples, &lines))?;
    let done = lines.iter().filter(|line| line.code.is_none()).count();
    let result = DemoResult {
        images: lines.len(),
        deidentified: lines.iter().filter(|line| has_output(line, "images")).count(),
        findings: lines.iter().map(|line| line.findings).sum(),
        quarantined: lines.len() - done,
        tampered_refused,
        runaway_stopped,
        elapsed_ms: u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX),
        picture: picture.clone(),
        output: args.output.clone(),
    };
    contact_sheet::write(
        fs::File::create(&picture).context("creating demo.png")?,
        "Martello: what a viewer showed before, and what leaves",
        &format!(
            "{} files in, {} de-identified, {} kept back with a reason; sample files and drawn phantoms with made-up names",
            result.images, result.deidentified, result.quarantined
        ),
        &pairs,
    )?;
    let held = tampered_refused && runaway_stopped && result.deidentified > 0 && !pairs.is_empty();
    output.result(|| table(&result, &lines), &result)?;
    if held {
        return Ok(ExitCode::SUCCESS);
    }
    Ok(output.failure(
        crate::output::exit::FAILURE,
        "the demo did not show what it promises",
        "run it with `--log debug` and look at report.jsonl in its output folder",
    ))
}

/// Makes the output folder anew. Only a folder that an earlier demo made is taken away.
fn prepare(output: &Path) -> anyhow::Result<()> {
    const MARK: &str = ".martello-demo";
    if output.exists() {
        ensure!(
            output.join(MARK).exists() || fs::read_dir(output)?.next().is_none(),
            "{} exists and was not made by the demo; choose another --output",
            output.display()
        );
        fs::remove_dir_all(output)?;
    }
    fs::create_dir_all(output)?;
    fs::write(output.join(MARK), "made by `martello demo`, which makes it anew each time\n")?;
    Ok(())
}

/// Where the demo plays.
struct Stage {
    root: PathBuf,
    output: Output,
}

struct Signed {
    bundle: PathBuf,
    root: TrustRoot,
}

impl Stage {
    /// Packs the bundle and signs it with two keys, both of which are needed.
    fn sign(&self, source: &Path) -> anyhow::Result<Signed> {
        let [root_key, engineering, clinical] =
            [SigningKey::generate()?, SigningKey::generate()?, SigningKey::generate()?];
        let expires = Timestamp::try_from(std::time::SystemTime::now())?.plus_days(ROOT_DAYS);
        let release = [engineering.public(), clinical.public()];
        let document = RootDocument::new(1, expires)
            .with_role(Role::ROOT, &[root_key.public()], 1)
            .with_role(Role::RELEASE, &release, 2);
        let mut envelope = document.into_envelope()?;
        envelope.sign(&root_key);
        let trust = envelope.to_bytes();
        fs::write(self.root.join("trust.json"), &trust)?;
        let mut packed = crate::bundle::draft(source)?.pack()?;
        packed.sign(&engineering);
        packed.sign(&clinical);
        let bundle = self.root.join("imaging.tar");
        write_archive(&packed.layout()?, fs::File::create(&bundle)?)?;
        Ok(Signed { bundle, root: TrustRoot::open(&trust, None)? })
    }

    async fn run(&self, active: Arc<Active>, samples: &Path) -> anyhow::Result<Vec<ReportLine>> {
        let run = FolderRun {
            disk: DiskPatience::default(),
            input: Input::Folder(samples.to_owned()),
            output: self.root.join("out"),
            watch: WatchMode::Once,
            report: ReportMode::Named,
            concurrency: std::thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN),
            missing: MissingOutputs::Restore,
        };
        let collector = Arc::new(Collector::default());
        let observer: Arc<dyn Observer> = Arc::<Collector>::clone(&collector);
        let ran = run.run(active, observer, Stop::default()).await;
        ran.map_err(|error| with_next_step(error, samples))?;
        let mut lines = std::mem::take(&mut *collector.lines.lock().unwrap_or_else(PoisonError::into_inner));
        lines.sort_by(|a, b| a.input.cmp(&b.input));
        Ok(lines)
    }

    /// Changes one byte in the middle of a component and tries to open the bundle. What lies between the files of an archive
    /// is nobody's: a byte there changes nothing.
    fn tampered(&self, signed: &Signed) -> anyhow::Result<bool> {
        let mut bytes = fs::read(&signed.bundle)?;
        let component =
            bytes.windows(4).position(|word| word == b"\0asm").context("the bundle holds no component")?;
        *bytes.get_mut(component + 1024).context("the component has no middle")? ^= 1;
        let path = self.root.join("tampered.tar");
        fs::write(&path, bytes)?;
        let refused = open_path(&path, &signed.root).and_then(|bundle| bundle.verify_blobs());
        self.output.note(&match &refused {
            Err(error) => format!("   refused: {}", chain(error)),
            Ok(()) => "   NOT REFUSED".to_owned(),
        });
        Ok(refused.is_err())
    }

    /// Runs a component that never ends and sees how it is stopped.
    async fn runaway(&self, device: &Device, runaway: &Path, samples: &Path) -> Result<bool, Ended> {
        let component = read(runaway, LARGEST_FILE).with_context(|| {
            format!("reading the runaway component {}; `cargo xtask demo` builds it", runaway.display())
        })?;
        let limits = martello_vocab::Limits { compute_ms: 200, wall_ms: 1_000, ..Default::default() };
        let name = "runaway".parse().context("naming the runaway component")?;
        let bundle = martello_bundle::ephemeral(name, component.into(), limits, Vec::new())
            .context("packing the runaway component")?;
        let active = device.activate(&bundle)?;
        let sample = first_file(samples)?;
        let begun = Instant::now();
        let sample = read(&sample, LARGEST_FILE).context("reading a sample")?;
        let pass = active.pass(Payload::memory("application/dicom", sample), "demo").await;
        let code = pass.refusal.map(|refusal| refusal.code.to_string()).unwrap_or_default();
        let stopped = code == code::GUEST_COMPUTE || code == code::GUEST_DEADLINE;
        let outcome = if stopped { "stopped" } else { "NOT STOPPED" };
        self.output.note(&format!("   {outcome} after {} ms, code `{code}`", begun.elapsed().as_millis()));
        Ok(stopped)
    }

    /// A pipeline that renders originals, for the left half of the picture. It is granted what no shipped bundle is.
    fn before(&self, source: &Path) -> anyhow::Result<VerifiedBundle> {
        let draft = crate::bundle::draft_with(source, |document| {
            let Some(top) = document.as_object_mut() else { bail!("the bundle's source is not a table") };
            let stages =
                top.get("pipeline").and_then(|pipeline| pipeline.get("stages")).and_then(Value::as_array);
            let is_render = |stage: &&Value| stage.get("component").is_some_and(|it| it == "dicom-render");
            let render = stages.and_then(|stages| stages.iter().find(is_render)).and_then(Value::as_object);
            let mut render = render.context("the bundle has no stage of the component dicom-render")?.clone();
            render.insert("from".to_owned(), json!("input"));
            let name = render.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
            let pipeline = json!({
                "accepts": ["application/dicom"],
                "stages": [render],
                "exports": [{ "from": format!("{name}.preview"),
                              "folder": "previews", "extension": "png" }],
            });
            top.insert("pipeline".to_owned(), pipeline);
            top.insert("name".to_owned(), json!("before"));
            top.insert("capabilities".to_owned(), json!(["dangerously-export-identified"]));
            Ok(())
        })?;
        Ok(ephemeral_of(draft)?)
    }

    /// Pictures of files that came through, before and after.
    async fn pairs(
        &self,
        before: &Active,
        samples: &Path,
        lines: &[ReportLine],
    ) -> anyhow::Result<Vec<Pair>> {
        let out = self.root.join("out");
        let mut chosen: Vec<&ReportLine> =
            lines.iter().filter(|line| has_output(line, "previews") && has_output(line, "images")).collect();
        // Large pictures are the ones to look at.
        chosen.sort_by_key(|line| std::cmp::Reverse(line.input_bytes));
        let mut pairs = Vec::new();
        for line in chosen.into_iter().take(PAIRS) {
            let name = line.input.as_deref().context("the demo's report holds names")?;
            let original = read(&samples.join(name), LARGEST_FILE)?;
            let pass = before.pass(Payload::memory("application/dicom", original.clone()), "demo").await;
            let picture = match pass.exports.first() {
                Some(export) => {
                    let bytes = export.output.payload.read_all(64 << 20)?;
                    Some(contact_sheet::read(std::io::Cursor::new(bytes))?)
                }
                None => None,
            };
            let preview = output_path(line, "previews").context("the preview is missing")?;
            let after = contact_sheet::read(BufReader::new(fs::File::open(out.join(preview))?))?;
            let image = output_path(line, "images").context("the image is missing")?;
            pairs.push(Pair {
                title: name.to_owned(),
                before: Side { picture, lines: header::lines(&original) },
                after: Side { picture: Some(after), lines: header::lines(&fs::read(out.join(image))?) },
            });
        }
        Ok(pairs)
    }
}

#[derive(Default)]
struct Collector {
    lines: Mutex<Vec<ReportLine>>,
}

impl Observer for Collector {
    fn found(&self, _total: u64) {}

    fn completed(&self, line: Option<&ReportLine>) {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.extend(line.cloned());
    }
}

fn output_path<'a>(line: &'a ReportLine, folder: &str) -> Option<&'a str> {
    let within = |path: &&str| path.split('/').next() == Some(folder);
    line.outputs.iter().map(|file| file.path.as_str()).find(within)
}

fn has_output(line: &ReportLine, folder: &str) -> bool {
    output_path(line, folder).is_some()
}

fn first_file(folder: &Path) -> anyhow::Result<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)?.flatten().map(|entry| entry.path()).collect();
    files.sort();
    files
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{} holds no file", folder.display()))
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn table(result: &DemoResult, lines: &[ReportLine]) -> String {
    let mut codes = BTreeMap::<&str, usize>::new();
    for line in lines {
        *codes.entry(line.code.as_ref().map_or("done", |code| code.as_str())).or_default() += 1;
    }
    let mut outcomes = comfy_table::Table::new();
    outcomes.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    outcomes.set_header(["what became of the files", "how many"]);
    for (code, count) in &codes {
        outcomes.add_row([(*code).to_owned(), count.to_string()]);
    }
    outcomes.add_row(["all".to_owned(), result.images.to_string()]);
    let answer = |held: bool, yes: &str| if held { yes.to_owned() } else { "NO".to_owned() };
    let mut held = comfy_table::Table::new();
    held.load_style(comfy_table::presets::UTF8_HORIZONTAL_ONLY);
    held.set_header(["what was shown", ""]);
    held.add_row(["a bundle with one byte changed".to_owned(), answer(result.tampered_refused, "refused")]);
    held.add_row(["a component that never ends".to_owned(), answer(result.runaway_stopped, "stopped")]);
    held.add_row(["findings".to_owned(), result.findings.to_string()]);
    format!(
        "{outcomes}\n{held}\n\nresults: {}\npicture: {}\nwhy files were kept back: martello explain CODE\n",
        result.output.join("out").display(),
        result.picture.display()
    )
}
