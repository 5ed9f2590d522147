//! De-identification in the sandbox against the same code natively, by CPU time.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use bytes::Bytes;
use dicom_deid::Deidentifier;
use martello_engine::SiteKey;
use martello_guest_sdk::mock;
use martello_runtime::{
    Contract, NoExtension, Payload, Pseudonyms, StageCall, StageComponent, StageFailure, StageReport,
};
use martello_vocab::Limits;
use tokio::task::{JoinError, JoinSet};

use crate::bench::Bench;
use crate::dicom::ct_slice;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{Pair, cpu, median};

/// What counts as a small file. Slices of old scanners, reports, structures.
const SMALL: std::ops::RangeInclusive<u64> = 1..=40_000;
/// Deflated Explicit VR Little Endian: a file of 5 KB that holds 260 KB, which are compressed anew, is no small one.
const DEFLATED: &[u8] = b"1.2.840.10008.1.2.1.99";
/// Where the file's meta information stands.
const META: usize = 1024;
const ROUNDS: usize = 40;
/// Slices of a round.
const SLICES: u32 = 10;
/// Files that are worked on at once.
const IN_FLIGHT: usize = 4;
const DICOM: &str = "application/dicom";
const TABLE: &str = "deid-table";

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("deidentify-against-native-ct", "1", Target::AtMost(1.3)),
        Line::new("deidentify-against-native-small", "1", Target::AtMost(1.3)),
        Line::new("deidentify-small-files", "1/s", Target::AtLeast(12_000.0)),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let table =
        Bytes::from_owner(Bench::read(&bench.places.root.join("components/dicom-deid/table/table.txt"))?);
    let stage = bench.stage_alone("dicom-deid", &Limits::default())?;
    let key = Arc::new(SiteKey::open_or_make(&bench.state().join("pseudonym.key"))?);
    let mut contract = bench.contract("dicom-deid")?;
    contract.evidence.notes.push(format!("pseudonym-key-{}", key.key_id()));
    let sandbox = Sandbox { bench, stage, table: table.clone(), key, contract: Arc::new(contract) };
    // Files that are refused end early and would flatter both sides.
    let files: Vec<Bytes> = small_files(bench)?
        .into_iter()
        .filter(|file| natively(file, &table).is_ok() && sandbox.run(std::slice::from_ref(file)).is_ok())
        .collect();
    if files.len() < 10 {
        bail!("only {} small files can be de-identified", files.len());
    }
    let pair = Pair::take(
        bench.rounds(ROUNDS),
        || one_round(|| sandbox.run(&files)),
        || one_round(|| files.iter().try_for_each(|file| natively(file, &table))),
    )?;
    let slices: Vec<Bytes> = (0..SLICES).map(|number| ct_slice(512, number).into()).collect();
    let slices = Pair::take(
        bench.rounds(ROUNDS),
        || one_round(|| sandbox.run(&slices)),
        || one_round(|| slices.iter().try_for_each(|file| natively(file, &table))),
    )?;
    let count = u32::try_from(files.len()).unwrap_or(u32::MAX);
    let bytes: usize = files.iter().map(Bytes::len).sum();
    let set = format!("{count} files of {} bytes on average", bytes.div_ceil(files.len()));
    let rate = |times: &[Duration]| f64::from(count) / median(times).as_secs_f64();
    Ok(vec![
        Taken::Value {
            value: slices.ratio(),
            how: format!(
                "CPU time of all threads, a fresh instance a file, {IN_FLIGHT} files in flight on one guest thread, by the same crate natively over the SDK's mock \
                 host; {SLICES} CT slices of 512×512; a round took {}",
                slices.medians()
            ),
        },
        Taken::Value {
            value: pair.ratio(),
            how: format!(
                "CPU time of all threads, a fresh instance a file, {IN_FLIGHT} files in flight on one guest thread, by the same crate natively over the SDK's mock \
                 host; {set}; a round took {}",
                pair.medians()
            ),
        },
        Taken::Value {
            value: rate(&pair.ours),
            how: format!(
                "files for a second of CPU in the sandbox, {set}; natively {:.0}",
                rate(&pair.theirs)
            ),
        },
    ])
}

/// CPU time over all files.
fn one_round(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    let (result, time) = cpu(work);
    result.map(|()| vec![time])
}

/// From the whole corpus where `cargo xtask corpus` fetched it, else from the tests' fixtures.
fn small_files(bench: &Bench) -> anyhow::Result<Vec<Bytes>> {
    let corpus = bench.places.root.join("target/corpus");
    let folder = if corpus.exists() { corpus } else { bench.fixture("dicom") };
    let entries = std::fs::read_dir(&folder).with_context(|| format!("reading {}", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<_>>()?;
    paths.sort();
    paths.retain(|path| std::fs::metadata(path).is_ok_and(|it| it.is_file() && SMALL.contains(&it.len())));
    let mut files = Vec::with_capacity(paths.len());
    for path in paths {
        let file = Bytes::from_owner(Bench::read(&path)?);
        let meta = file.get(..META).unwrap_or(&file);
        if !meta.windows(DEFLATED.len()).any(|window| window == DEFLATED) {
            files.push(file);
        }
    }
    Ok(files)
}

/// The component, with what the pipeline grants it.
struct Sandbox<'a> {
    bench: &'a Bench,
    stage: StageComponent<NoExtension>,
    table: Bytes,
    key: Arc<SiteKey>,
    contract: Arc<Contract>,
}

impl Sandbox<'_> {
    /// Several files at a time, as `martello run` does.
    fn run(&self, files: &[Bytes]) -> anyhow::Result<()> {
        self.bench.wait(async {
            let mut running = JoinSet::new();
            for file in files {
                while running.len() >= IN_FLIGHT {
                    joined(running.join_next().await)?;
                }
                let (stage, call) = (self.stage.clone(), self.call(file)?);
                running.spawn(async move { stage.process(call).await });
            }
            while let Some(next) = running.join_next().await {
                joined(Some(next))?;
            }
            Ok(())
        })
    }

    fn call(&self, file: &Bytes) -> anyhow::Result<StageCall<()>> {
        Ok(StageCall {
            contract: Arc::clone(&self.contract),
            assets: [(TABLE.parse()?, Payload::memory("text/plain", self.table.clone()))].into(),
            ports: vec!["image".parse()?],
            pseudonyms: Some(Arc::<SiteKey>::clone(&self.key) as Arc<dyn Pseudonyms>),
            ..StageCall::new(Payload::memory(DICOM, file.clone()), (), "bench")
        })
    }
}

type Joined = Result<Result<StageReport, Box<StageFailure>>, JoinError>;

fn joined(next: Option<Joined>) -> anyhow::Result<()> {
    let report = next.context("nothing was running")???;
    anyhow::ensure!(report.outputs.len() == 1, "{} outputs", report.outputs.len());
    Ok(())
}

fn natively(file: &Bytes, table: &Bytes) -> anyhow::Result<()> {
    let host = mock::Host::new().payload(file.as_ref(), DICOM).asset(TABLE, table.as_ref()).port("image");
    let (_, outputs) = host.run::<Deidentifier>().map_err(|fault| anyhow::anyhow!("{fault}"))?;
    anyhow::ensure!(outputs.len() == 1, "{} outputs", outputs.len());
    Ok(())
}
