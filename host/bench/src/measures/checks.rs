//! The checks ahead of and behind the de-identifier, in the sandbox against the same code natively, by CPU time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use deid_verify::Verifier;
use dicom_deid::Deidentifier;
use dicom_guard::Guard;
use martello_guest_sdk::{Stage, mock};
use martello_runtime::{Contract, NoExtension, Payload, StageCall, StageComponent};
use martello_vocab::Limits;

use crate::bench::Bench;
use crate::dicom::ct_slice;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{Pair, cpu};

const ROUNDS: usize = 40;
/// Slices of a round.
const SLICES: u32 = 10;
const DICOM: &str = "application/dicom";
const RULES: &str = "verify-rules";
const TABLE: &str = "deid-table";

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("guard-against-native-ct", "1", Target::AtMost(1.3)),
        Line::new("verify-against-native-ct", "1", Target::AtMost(1.3)),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let read = |path: &str| Bench::read(&bench.places.root.join("components").join(path));
    let rules = Bytes::from_owner(read("deid-verify/rules/rules.txt")?);
    let table = Bytes::from_owner(read("dicom-deid/table/table.txt")?);
    let originals: Vec<Bytes> = (0..SLICES).map(|number| ct_slice(512, number).into()).collect();
    let made =
        originals.iter().map(|file| deidentified(file, &table)).collect::<anyhow::Result<Vec<Bytes>>>()?;
    let guard = Check { assets: Vec::new(), ..Check::of(bench, "dicom-guard")? };
    let verify = Check { assets: vec![(RULES, rules)], ..Check::of(bench, "deid-verify")? };
    Ok(vec![guard.take::<Guard>(bench, &originals)?, verify.take::<Verifier>(bench, &made)?])
}

/// A stage that looks and writes nothing.
struct Check {
    stage: StageComponent<NoExtension>,
    contract: Arc<Contract>,
    assets: Vec<(&'static str, Bytes)>,
}

impl Check {
    fn of(bench: &Bench, component: &str) -> anyhow::Result<Self> {
        let stage = bench.stage_alone(component, &Limits::default())?;
        Ok(Self { stage, contract: Arc::new(bench.contract(component)?), assets: Vec::new() })
    }

    fn take<S: Stage>(&self, bench: &Bench, files: &[Bytes]) -> anyhow::Result<Taken> {
        let pair = Pair::take(
            bench.rounds(ROUNDS),
            || one_round(|| files.iter().try_for_each(|file| self.in_sandbox(bench, file))),
            || one_round(|| files.iter().try_for_each(|file| self.natively::<S>(file))),
        )?;
        let how = format!(
            "CPU time of all threads, a fresh instance a file, by the same crate natively over the SDK's mock host; {SLICES} CT \
             slices of 512×512; a round took {}",
            pair.medians()
        );
        Ok(Taken::Value { value: pair.ratio(), how })
    }

    fn in_sandbox(&self, bench: &Bench, file: &Bytes) -> anyhow::Result<()> {
        let mut assets = Vec::new();
        for (name, bytes) in &self.assets {
            assets.push((name.parse()?, Payload::memory("text/plain", bytes.clone())));
        }
        let call = StageCall {
            contract: Arc::clone(&self.contract),
            assets: assets.into_iter().collect(),
            ..StageCall::new(Payload::memory(DICOM, file.clone()), (), "bench")
        };
        let report = bench.wait(self.stage.process(call))?;
        anyhow::ensure!(report.outputs.is_empty(), "{} outputs", report.outputs.len());
        Ok(())
    }

    fn natively<S: Stage>(&self, file: &Bytes) -> anyhow::Result<()> {
        let mut host = mock::Host::new().payload(file.as_ref(), DICOM);
        for (name, bytes) in &self.assets {
            host = host.asset(name, bytes.as_ref());
        }
        host.run::<S>().map_err(|fault| anyhow::anyhow!("{fault}"))?;
        Ok(())
    }
}

fn deidentified(file: &Bytes, table: &Bytes) -> anyhow::Result<Bytes> {
    let host = mock::Host::new().payload(file.as_ref(), DICOM).asset(TABLE, table.as_ref()).port("image");
    let (_, mut outputs) = host.run::<Deidentifier>().map_err(|fault| anyhow::anyhow!("{fault}"))?;
    let output = outputs.pop().ok_or_else(|| anyhow::anyhow!("nothing was made"))?;
    Ok(output.bytes.into())
}

/// CPU time over all files.
fn one_round(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Vec<Duration>> {
    let (result, time) = cpu(work);
    result.map(|()| vec![time])
}
