//! From starting `martello run` to its first result, with native code kept.

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::imaging_bundle::{ImagingBundle, ct_slices};
use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, percentile, shown};

const STARTS: usize = 20;
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn measure() -> Measure {
    Measure::new(vec![Line::new("start-to-first-result", "ms", Target::AtMost(150.0))], take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let imaging = ImagingBundle::make(bench)?;
    let input = bench.folder("one-slice")?;
    ct_slices(&input, 1)?;
    // Compiles, so that the starts that count find native code.
    imaging.run_to_end(&input, &bench.folder("first-output")?, &[])?;
    let mut times = Vec::new();
    for _ in 0..bench.rounds(STARTS).counted.max(5) {
        let output = bench.folder("start-output")?;
        let begun = Instant::now();
        let mut child = imaging.run(&input, &output).spawn().context("starting martello run")?;
        let first = first_line(&mut child, &output.join("report.jsonl"), begun);
        child.wait().context("waiting for martello run")?;
        times.push(first?);
    }
    let how = format!(
        "process start to the first line of report.jsonl for a 512×512 CT slice, native code kept; median of {}, \
         worst {}",
        times.len(),
        shown(percentile(&times, 100)),
    );
    Ok(vec![Taken::Value { value: median(&times).as_secs_f64() * 1e3, how }])
}

fn first_line(child: &mut Child, report: &Path, begun: Instant) -> anyhow::Result<Duration> {
    loop {
        let ended = child.try_wait()?.is_some();
        if std::fs::read(report).is_ok_and(|bytes| bytes.contains(&b'\n')) {
            return Ok(begun.elapsed());
        }
        if ended {
            bail!("martello run ended without a result");
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            bail!("no result within {PATIENCE:?}");
        }
        std::thread::sleep(Duration::from_micros(500));
    }
}
