//! How late a guest that never returns is stopped.

use std::time::Duration;

use anyhow::bail;
use martello_runtime::{Payload, StageCall};
use martello_vocab::{Limits, code};

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, shown, wall};

const RUNS: usize = 50;
const DEADLINE: u64 = 50;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("runaway-stop-deadline", "ms", Target::AtMost(10.0)),
        Line::new("runaway-stop-compute", "ms", Target::AtMost(10.0)),
    ];
    Measure::new(lines, |bench| {
        let limits = Limits { wall_ms: DEADLINE, compute_ms: 10 * DEADLINE, ..Limits::default() };
        let deadline = overrun(bench, &limits, code::GUEST_DEADLINE, "wall deadline")?;
        let limits = Limits { wall_ms: 10 * DEADLINE, compute_ms: DEADLINE, ..Limits::default() };
        Ok(vec![deadline, overrun(bench, &limits, code::GUEST_COMPUTE, "compute budget")?])
    })
}

fn overrun(bench: &Bench, limits: &Limits, expected: &str, what: &str) -> anyhow::Result<Taken> {
    let stage = bench.stage("infinite-loop", limits)?;
    let mut times = Vec::new();
    for _ in 0..bench.rounds(RUNS).counted {
        let call = StageCall::new(Payload::memory("application/octet-stream", ""), (), "bench");
        let (result, time) = wall(|| bench.wait(stage.process(call)));
        match result {
            Err(failure) if failure.code.as_str() == expected => {}
            Err(failure) => bail!("it was stopped with `{}`, not `{expected}`", failure.code),
            Ok(_) => bail!("it returned"),
        }
        times.push(time.saturating_sub(Duration::from_millis(DEADLINE)));
    }
    let worst = times.iter().max().copied().unwrap_or_default();
    let how = format!(
        "latest of {} runs of an endless loop, from the call to its failure, beyond its {what} of {DEADLINE} ms; \
         median {}",
        times.len(),
        shown(median(&times)),
    );
    Ok(Taken::Value { value: worst.as_secs_f64() * 1e3, how })
}
