//! What a device that waits for files holds in memory.

use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::imaging_bundle::{ImagingBundle, ct_slices};
use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};

/// Memory has settled when it has not changed for so long.
const SETTLED: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("idle-memory", "MB", Target::AtMost(14.0)),
        Line::new("idle-memory-after-work", "MB", Target::AtMost(14.0)),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let imaging = ImagingBundle::make(bench)?;
    let worked = bench.folder("watched-slices")?;
    ct_slices(&worked, 20)?;
    // Compiles, so that no compiler has run in the life of the process that is looked at.
    imaging.run_to_end(&worked, &bench.folder("watch-first")?, &[])?;
    let mut taken = Vec::new();
    let empty = bench.folder("watched-nothing")?;
    for (input, files, what) in [(&empty, 0, "before any work"), (&worked, 20, "after 20 CT slices")] {
        let output = bench.folder("watch-output")?;
        let mut child =
            imaging.run(input, &output).arg("--watch").spawn().context("starting martello run")?;
        let done = || {
            std::fs::read_to_string(output.join("report.jsonl")).map_or(0, |report| report.lines().count())
        };
        let memory = settled(&mut child, || done() >= files);
        child.kill().and_then(|()| child.wait()).context("ending martello run")?;
        let (pss, anonymous) = memory?;
        let how = format!(
            "PSS of `martello run --watch` {what}, three components and the model loaded, built-in backend, code pages given back when idle; \
             of it {:.1} MB anonymous",
            super::narrow(anonymous) / 1e6,
        );
        taken.push(Taken::Value { value: super::narrow(pss) / 1e6, how });
    }
    Ok(taken)
}

/// Proportional and anonymous bytes once nothing changes any more.
fn settled(child: &mut Child, is_done: impl Fn() -> bool) -> anyhow::Result<(u64, u64)> {
    let begun = Instant::now();
    let (mut last, mut since) = ((0, 0), Instant::now());
    loop {
        std::thread::sleep(Duration::from_millis(100));
        if let Some(status) = child.try_wait()? {
            bail!("martello run ended with {status}");
        }
        let now = memory(child.id())?;
        if now != last || !is_done() {
            (last, since) = (now, Instant::now());
        }
        if since.elapsed() > SETTLED {
            return Ok(now);
        }
        if begun.elapsed() > PATIENCE {
            bail!("memory did not settle within {PATIENCE:?}");
        }
    }
}

fn memory(process: u32) -> anyhow::Result<(u64, u64)> {
    let text =
        std::fs::read_to_string(format!("/proc/{process}/smaps_rollup")).context("reading smaps_rollup")?;
    let field = |name: &str| -> anyhow::Result<u64> {
        let line =
            text.lines().find_map(|line| line.strip_prefix(name)).with_context(|| format!("no {name}"))?;
        let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024)
    };
    Ok((field("Pss:")?, field("Pss_Anon:")?))
}
