//! Decoding compressed images in the sandbox, a codec a line.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use martello_runtime::{NoExtension, Payload, StageCall, StageComponent};
use martello_vocab::{ByteCount, Limits};

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{Pair, cpu, median};

const ROUNDS: usize = 10;
/// `codec_check.py speed` makes each, and one of the same pixels without compression.
const STREAMS: [(&str, Target); 7] = [
    ("jpeg-ls-16", Target::AtLeast(60.0)),
    ("jpeg-ls-8", Target::AtLeast(50.0)),
    ("jpeg-lossless-16", Target::Shown),
    ("jpeg-12", Target::Shown),
    ("jpeg-8", Target::Shown),
    ("rle-16", Target::Shown),
    ("jpeg2000-16", Target::Shown),
];

pub(crate) fn measure() -> Measure {
    let line = |(name, target): (&str, Target)| Line::new(format!("decode-{name}"), "MB/s", target);
    Measure::new(STREAMS.map(line).to_vec(), take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let python = bench.places.python.as_deref().context("no Python (`cargo xtask tools` installs it)")?;
    let folder = bench.folder("decode")?;
    let script = bench.places.root.join("tests/oracle/codec_check.py");
    let made =
        Command::new(python).arg(script).arg("speed").arg(&folder).status().context("starting Python")?;
    ensure!(made.success(), "making the images failed");
    let limits = Limits { memory_bytes: ByteCount::mebibytes(512), compute_ms: 60_000, ..Limits::default() };
    let stage = bench.stage("dicom-render", &limits)?;
    STREAMS.iter().map(|(name, _)| of(bench, &stage, &folder, name)).collect()
}

fn of(
    bench: &Bench,
    stage: &StageComponent<NoExtension>,
    folder: &Path,
    name: &str,
) -> anyhow::Result<Taken> {
    let read = |name: &str| {
        std::fs::read(folder.join(format!("{name}.dcm"))).map(Bytes::from).context("reading an image")
    };
    let (stream, plain) = (read(name)?, read(&format!("{name}-plain"))?);
    let pair = Pair::take(
        bench.rounds(ROUNDS),
        || timed(|| in_sandbox(bench, stage, &stream)),
        || timed(|| in_sandbox(bench, stage, &plain)),
    )?;
    let decoding = median(&pair.ours).saturating_sub(median(&pair.theirs));
    let value = super::narrow(plain.len() as u64) / 1e6 / decoding.as_secs_f64();
    let how = format!(
        "decoded bytes by the CPU time that dicom-render takes more for a 2048×2048 image than for the same without \
         compression ({} times smaller): {}",
        plain.len() / stream.len().max(1),
        pair.medians()
    );
    Ok(Taken::Value { value, how })
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    let (result, time) = cpu(work);
    result.map(|()| vec![time])
}

fn in_sandbox(bench: &Bench, stage: &StageComponent<NoExtension>, image: &Bytes) -> anyhow::Result<()> {
    let call = StageCall {
        contract: Arc::new(bench.contract("dicom-render")?),
        settings: [("outputs".parse()?, "preview".to_owned()), ("preview-longest".parse()?, "16".to_owned())]
            .into(),
        ports: vec!["preview".parse()?],
        ..StageCall::new(Payload::memory("application/dicom", image.clone()), (), "bench")
    };
    let report = bench.wait(stage.process(call))?;
    ensure!(report.outputs.len() == 1, "{} outputs", report.outputs.len());
    Ok(())
}
