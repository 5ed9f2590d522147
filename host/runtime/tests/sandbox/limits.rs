//! Limits: what counts, what does not, and how soon.

use std::sync::Arc;
use std::time::{Duration, Instant};

use martello_runtime::{LINE_OVERHEAD, LONGEST_LINE, Payload, StageCall};
use martello_vocab::{ByteCount, Limits, code};

use crate::harness::{Lines, assembled, built, call, fails, load, run, stage, with_settings};

fn input() -> Payload {
    Payload::memory("text/plain", "x")
}

#[test]
fn waiting_for_the_host_is_no_computing() {
    let limits = Limits { compute_ms: 20, wall_ms: 60_000, ..Limits::default() };
    let sleeper = load(built("sleeper"), &limits);
    let report = run(&sleeper, with_settings(call(input()), &[("ms", "300")])).unwrap();
    assert!(report.usage.wall >= Duration::from_millis(300));
    assert!(report.usage.compute < Duration::from_millis(20), "{:?}", report.usage);
}

#[test]
fn the_deadline_holds_while_the_guest_computes_and_while_it_sleeps() {
    let limits = Limits { compute_ms: 600_000, wall_ms: 100, ..Limits::default() };
    for name in ["infinite-loop", "sleeper"] {
        let stage = load(built(name), &limits);
        let failure = fails(&stage, call(input()));
        assert_eq!(failure.code.as_str(), code::GUEST_DEADLINE, "{name}");
        // Generous for a busy machine; `cargo xtask bench` measures it.
        assert!(failure.usage.wall < Duration::from_millis(400), "{name}: {:?}", failure.usage);
    }
}

#[test]
fn a_guest_that_computes_is_stopped_near_its_budget() {
    let limits = Limits { compute_ms: 50, wall_ms: 60_000, ..Limits::default() };
    let failure = fails(&load(built("infinite-loop"), &limits), call(input()));
    assert_eq!(failure.code.as_str(), code::GUEST_COMPUTE);
    assert!(failure.usage.compute >= Duration::from_millis(50));
}

#[test]
fn spinning_guests_hold_up_no_async_worker() {
    let limits = Limits { compute_ms: 2_000, wall_ms: 2_000, ..Limits::default() };
    let spins = load(built("infinite-loop"), &limits);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let spins = spins.clone();
                tokio::spawn(async move { spins.process(call(input())).await })
            })
            .collect();
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!calls.iter().any(tokio::task::JoinHandle::is_finished), "the timer came after the guests");
        for call in calls {
            assert!(call.await.unwrap().is_err());
        }
    });
}

#[test]
fn a_call_that_nobody_waits_for_is_stopped() {
    let limits = Limits { compute_ms: 60_000, wall_ms: 60_000, ..Limits::default() };
    let stages = [load(built("infinite-loop"), &limits), load(built("sleeper"), &limits)];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let start = Instant::now();
    runtime.block_on(async {
        // More than there are guest threads: they come to run only because the ones before are stopped.
        for index in 0..12 {
            let stage = &stages[index % 2];
            let given_up =
                tokio::time::timeout(Duration::from_millis(50), stage.process(call(input()))).await;
            assert!(given_up.is_err());
        }
    });
    assert!(run(&stage("echo"), crate::stage::echo_call(input())).is_ok());
    assert!(start.elapsed() < Duration::from_secs(30));
}

#[test]
fn log_lines_are_cut_and_beyond_the_budget_dropped_and_counted() {
    let budget = 10 * (4096 + LINE_OVERHEAD);
    let limits = Limits { log_bytes: ByteCount(budget), ..Limits::default() };
    let lines = Arc::new(Lines::default());
    let call = StageCall { log: Arc::clone(&lines) as _, ..call(input()) };
    let report = run(&load(built("log-flood"), &limits), call).unwrap();
    let lines = lines.0.lock().unwrap();
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|(_, line)| line.len() <= LONGEST_LINE));
    assert_eq!(report.usage.log.0, budget);
    assert_eq!(report.usage.log_lines_dropped, 140);
}

#[test]
fn nothing_comes_of_an_output_over_its_budget_even_if_the_guest_reports_success() {
    let limits = Limits { output_bytes: ByteCount::mebibytes(3), ..Limits::default() };
    let flood = load(built("output-flood"), &limits);
    let failure = fails(&flood, with_settings(call(input()), &[("sly", "yes")]));
    assert_eq!(failure.code.as_str(), code::GUEST_OUTPUT);
}

#[test]
fn what_describes_an_output_counts_against_the_output_budget() {
    let limits = Limits { output_bytes: ByteCount::mebibytes(2), ..Limits::default() };
    let described = with_settings(call(input()), &[("what", "described")]);
    let failure = fails(&load(built("many-outputs"), &limits), described);
    assert_eq!(failure.code.as_str(), code::GUEST_OUTPUT);
    // 64 attributes of 8 KiB are half a mebibyte: the fourth output with its media type is too much.
    assert!(failure.usage.output <= ByteCount(5 << 19), "{:?}", failure.usage);
    assert!(failure.usage.host_calls < 100, "{:?}", failure.usage);
}

#[test]
fn memory_is_capped_where_the_limit_says() {
    for mebibytes in [4, 32] {
        let limits = Limits { memory_bytes: ByteCount::mebibytes(mebibytes), ..Limits::default() };
        let failure = fails(&load(built("memory-bomb"), &limits), call(input()));
        assert_eq!(failure.code.as_str(), code::GUEST_MEMORY);
        assert!(failure.usage.memory <= limits.memory_bytes);
        assert!(failure.usage.memory.0 > limits.memory_bytes.0 / 2, "{:?}", failure.usage);
    }
}

#[test]
fn tables_are_capped_where_the_limit_says() {
    let limits = Limits { table_elements: 5_000, ..Limits::default() };
    let failure = fails(&load(assembled("table-bomb"), &limits), call(input()));
    assert_eq!(failure.code.as_str(), code::GUEST_TABLE);
}
