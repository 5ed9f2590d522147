//! The life of an instance: what it costs that each payload gets a fresh one.

use martello_runtime::{Payload, StageCall};
use martello_vocab::Limits;

use crate::bench::Bench;
use crate::measure::{Line, Measure, Taken, Target};
use crate::sampling::{median, percentile, shown, wall};

const CALLS: usize = 20_000;

pub(crate) fn measure() -> Measure {
    let lines = vec![
        Line::new("instance-life", "µs", Target::AtMost(15.0)),
        Line::new("instance-round-trip", "µs", Target::Shown),
    ];
    Measure::new(lines, take)
}

fn take(bench: &Bench) -> anyhow::Result<Vec<Taken>> {
    let stage = bench.stage("noop", &Limits::default())?;
    let rounds = bench.rounds(CALLS);
    let (mut lives, mut trips) = (Vec::new(), Vec::new());
    for round in 0..rounds.warm_up.saturating_add(rounds.counted) {
        let call = StageCall::new(Payload::memory("application/octet-stream", ""), (), "bench");
        let (report, trip) = wall(|| bench.wait(stage.process(call)));
        let life = report?.usage.wall;
        if round >= rounds.warm_up {
            lives.push(life);
            trips.push(trip);
        }
    }
    let taken = |times: &[std::time::Duration], what: &str| Taken::Value {
        value: median(times).as_secs_f64() * 1e6,
        how: format!("{what}; median of {}, p99 {}", times.len(), shown(percentile(times, 99))),
    };
    Ok(vec![
        taken(
            &lives,
            "store, instance, call of a stage that does nothing, drop; pooled, on its guest thread",
        ),
        taken(&trips, "the same with the way to a guest thread and back"),
    ])
}
