//! The whole pipeline on CT slices: de-identify, render, classify, write.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;

use super::imaging_bundle::{ImagingBundle, ct_slices};
use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::percentile;

const SLICES: usize = 300;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("pipeline-ct-median", "ms", Target::AtMost(25.0)),
        Line::new("pipeline-ct-p99", "ms", Target::AtMost(60.0)),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let imaging = ImagingBundle::make(bench)?;
    let (input, output) = (bench.folder("slices")?, bench.folder("pipeline-output")?);
    let rounds = bench.rounds(SLICES);
    ct_slices(&input, rounds.warm_up.saturating_add(rounds.counted))?;
    imaging.run_to_end(&input, &output, &["--concurrency", "1"])?;
    let report = std::fs::read_to_string(output.join("report.jsonl")).context("reading the report")?;
    let lines: Vec<Value> = report.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    if let Some(refused) = lines.iter().find(|line| line["outcome"] != "done") {
        bail!("a slice was refused with {}", refused["code"]);
    }
    let time = |line: &Value, field: &str| -> anyhow::Result<Duration> {
        let milliseconds = line
            .get("timings")
            .and_then(|timings| timings.get(field)?.as_f64())
            .with_context(|| format!("the report has no {field}"))?;
        Ok(Duration::from_secs_f64(milliseconds / 1e3))
    };
    let counted = lines.get(rounds.warm_up..).unwrap_or_default();
    let totals: Vec<Duration> =
        counted.iter().map(|line| time(line, "total_ms")).collect::<Result<_, _>>()?;
    let stages: Vec<Duration> =
        counted.iter().map(|line| time(line, "stages_ms")).collect::<Result<_, _>>()?;
    let taken = |percent: usize| {
        let how = format!(
            "`martello run --concurrency 1` over {} made 512×512 CT slices, built-in backend; total_ms of the report: \
             reading, hashing, dicom-deid, dicom-render, classify, writing; not the fsync; stages alone {:.1} ms",
            totals.len(),
            percentile(&stages, percent).as_secs_f64() * 1e3,
        );
        Taken::Value { value: percentile(&totals, percent).as_secs_f64() * 1e3, how }
    };
    Ok(vec![taken(50), taken(99)])
}
