//! Figures, printed: `cargo test -p martello-runtime --test sandbox figures -- --ignored --nocapture --test-threads=1`.

use std::time::{Duration, Instant};

use martello_runtime::{ImportGrants, NoExtension, Payload, Runtime};
use martello_vocab::Limits;

use crate::harness::{built, call, config, fails, load, stage, trusted};
use crate::stage::echo_call;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

#[test]
#[ignore = "a measurement, not a check"]
fn whole_life_of_an_instance() {
    let nothing = load(crate::harness::stage_of_core(crate::harness::DOES_NOTHING), &Limits::default());
    let echo = stage("echo");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        for (name, stage) in [("does nothing", &nothing), ("echo 1 byte", &echo)] {
            let (mut whole, mut inside) = (Vec::new(), Vec::new());
            for _ in 0..20_000 {
                let start = Instant::now();
                let report = stage.process(echo_call(Payload::memory("text/plain", "x"))).await.unwrap();
                whole.push(start.elapsed());
                inside.push(report.usage.wall);
            }
            println!(
                "{name}: process() {:?}, of it with the instance alive {:?}",
                median(whole),
                median(inside)
            );
        }
    });
}

#[test]
#[ignore = "a measurement, not a check"]
fn delay_of_stopping_a_runaway_guest() {
    let limits = Limits { compute_ms: 60_000, wall_ms: 50, ..Limits::default() };
    for name in ["infinite-loop", "sleeper"] {
        let stage = load(built(name), &limits);
        let mut late: Vec<Duration> = (0..100)
            .map(|_| {
                let start = Instant::now();
                fails(&stage, call(Payload::memory("text/plain", "x")));
                start.elapsed().saturating_sub(Duration::from_millis(50))
            })
            .collect();
        late.sort_unstable();
        println!("{name}: stopped after the deadline: median {:?}, worst {:?}", late[50], late[99]);
    }
}

#[test]
#[ignore = "a measurement, not a check"]
fn loading_from_the_cache() {
    let state = tempfile::tempdir().unwrap();
    let sandbox = Runtime::start(&config(state.path()), NoExtension).unwrap();
    let component = match std::env::var_os("MARTELLO_COMPONENT") {
        Some(path) => trusted(std::fs::read(path).unwrap().into()),
        None => trusted(built("echo")),
    };
    let load = || sandbox.load(&component, &Limits::default(), &ImportGrants::default()).unwrap();
    let start = Instant::now();
    load();
    println!("compiled: {:?}", start.elapsed());
    let native = std::fs::read_dir(state.path().join("native")).unwrap();
    let size = native.map(|entry| entry.unwrap().metadata().unwrap().len()).max().unwrap();
    let times = (0..200)
        .map(|_| {
            let start = Instant::now();
            drop(load());
            start.elapsed()
        })
        .collect();
    println!("kept, {size} bytes of native code: {:?}", median(times));
}

#[test]
#[ignore = "a measurement, not a check; run it alone"]
fn idle_memory_of_the_sandbox() {
    let proportional = || {
        let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").unwrap();
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<i64>().unwrap()
    };
    let names = ["echo", "memory-bomb", "log-flood"];
    let components: Vec<_> = names.into_iter().map(|name| trusted(built(name))).collect();
    let state = tempfile::tempdir().unwrap();
    let before = proportional();
    let sandbox = Runtime::start(&config(state.path()), NoExtension).unwrap();
    let started = proportional();
    let load = |component| sandbox.load(component, &Limits::default(), &ImportGrants::default()).unwrap();
    let stages: Vec<_> = components.iter().map(load).collect();
    let loaded = proportional();
    crate::stage::echoed(&stages[0], Payload::memory("text/plain", "x"));
    let used = proportional();
    println!(
        "KiB of PSS: sandbox {}, three components {}, after a call {}",
        started - before,
        loaded - started,
        used - loaded
    );
}
