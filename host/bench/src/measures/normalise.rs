//! Normalising a large image in the sandbox against the same code natively.

use std::sync::Arc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use dicom_render::{Recipe, Render};
use martello_guest_sdk::mock;
use martello_runtime::{NoExtension, Payload, StageCall, StageComponent};
use martello_vocab::{ByteCount, Limits};

use crate::bench::Bench;
use crate::dicom::ct_slice;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{Pair, cpu};

const ROUNDS: usize = 30;
const SIZE: u16 = 2048;
const DICOM: &str = "application/dicom";
/// As the shipped bundle has it, to a 224×224 tensor.
const RECIPE: &str = r#"{"schema":1,"window":{"percentiles":[0.5,99.5]},
    "resample":{"height":224,"width":224,"filter":"triangle","fit":"stretch"},
    "scale":"unit","invert_monochrome1":true,"layout":"nchw","dtype":"f32"}"#;

pub(crate) fn measure() -> Measure {
    Measure::new(vec![Line::new("normalise-against-native", "1", Target::AtMost(2.2))], take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let image = Bytes::from(ct_slice(SIZE, 1));
    let limits = Limits { memory_bytes: ByteCount::mebibytes(256), compute_ms: 20_000, ..Limits::default() };
    let stage = bench.stage("dicom-render", &limits)?;
    let pair = Pair::take(
        bench.rounds(ROUNDS),
        || timed(|| in_sandbox(bench, &stage, &image)),
        || timed(|| natively(&image)),
    )?;
    let how = format!(
        "CPU time of dicom-render on a {SIZE}×{SIZE} 16-bit image (read, window by percentiles, to 224×224, tensor; no \
         preview), fresh instance, by the same crate natively: {}",
        pair.medians()
    );
    Ok(vec![Taken::Value { value: pair.ratio(), how }])
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    let (result, time) = cpu(work);
    result.map(|()| vec![time])
}

fn in_sandbox(bench: &Bench, stage: &StageComponent<NoExtension>, image: &Bytes) -> anyhow::Result<()> {
    let mut contract = bench.contract("dicom-render")?;
    contract.evidence.editions.push(Recipe::read(RECIPE)?.hash().to_owned());
    let call = StageCall {
        contract: Arc::new(contract),
        settings: [("recipe".parse()?, RECIPE.to_owned()), ("outputs".parse()?, "tensor".to_owned())].into(),
        ports: vec!["tensor".parse()?],
        ..StageCall::new(Payload::memory(DICOM, image.clone()), (), "bench")
    };
    let report = bench.wait(stage.process(call))?;
    ensure!(report.outputs.len() == 1, "{} outputs", report.outputs.len());
    Ok(())
}

fn natively(image: &Bytes) -> anyhow::Result<()> {
    let host = mock::Host::new()
        .payload(image.as_ref(), DICOM)
        .setting("recipe", RECIPE)
        .setting("outputs", "tensor")
        .port("tensor");
    let (_, outputs) = host.run::<Render>().map_err(|fault| anyhow::anyhow!("{fault}"))?;
    ensure!(outputs.len() == 1, "{} outputs", outputs.len());
    Ok(())
}
