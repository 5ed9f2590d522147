//! The table of misbehaving guests: each with the code that an operator sees.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use martello_runtime::{ImportGrants, LoadError, Payload};
use martello_vocab::{ByteCount, Limits, code};

use crate::harness::{assembled, built, call, fails, guests_folder, load, sandbox, trusted, with_settings};

struct Row {
    guest: &'static str,
    component: fn(&str) -> Bytes,
    settings: &'static [(&'static str, &'static str)],
    limits: fn() -> Limits,
    code: &'static str,
}

const fn row(
    guest: &'static str,
    component: fn(&str) -> Bytes,
    limits: fn() -> Limits,
    code: &'static str,
) -> Row {
    Row { guest, component, settings: &[], limits, code }
}

fn short() -> Limits {
    Limits { compute_ms: 100, wall_ms: 200, ..Limits::default() }
}

fn patient() -> Limits {
    Limits { compute_ms: 20, wall_ms: 60_000, ..Limits::default() }
}

const STOPPED: &[Row] = &[
    row("infinite-loop", built, patient, code::GUEST_COMPUTE),
    row("runs-while-starting", assembled, patient, code::GUEST_COMPUTE),
    row("endless-host-calls", built, Limits::default, code::GUEST_HOST_CALLS),
    row("memory-bomb", built, Limits::default, code::GUEST_MEMORY),
    row("memory-at-birth", assembled, Limits::default, code::GUEST_MEMORY),
    row("table-bomb", assembled, Limits::default, code::GUEST_TABLE),
    row("stack-overflow", built, Limits::default, code::GUEST_STACK),
    row("trap", built, Limits::default, code::GUEST_TRAP),
    row("output-flood", built, Limits::default, code::GUEST_OUTPUT),
    row("many-outputs", built, Limits::default, code::GUEST_OUTPUT),
    Row {
        settings: &[("what", "described")],
        ..row("many-outputs", built, Limits::default, code::GUEST_OUTPUT)
    },
    row("handle-flood", built, Limits::default, code::GUEST_HANDLES),
    row("sleeper", built, short, code::GUEST_DEADLINE),
    Row {
        settings: &[("what", "kind")],
        ..row("reports-nonsense", built, Limits::default, code::GUEST_CONTRACT)
    },
];

/// Guests whose tests are of another kind; each names its test.
const TESTED_HERE: &[(&str, &str)] = &[
    ("echo", "stage::a_payload_goes_through_whole"),
    ("log-flood", "limits::log_lines_are_cut_and_beyond_the_budget_dropped_and_counted"),
    ("sockets", "a_component_that_wants_the_network_is_refused_by_the_name_of_its_import"),
    ("command", "worlds::a_program_gives_its_exit_code"),
    (
        "standard-interfaces",
        "standard::a_stage_reads_its_settings_and_writes_its_log_by_the_standard_interfaces",
    ),
    ("standard-command", "standard::a_program_does_so_too"),
    ("standard-http", "standard::an_http_component_does_so_too"),
    ("http-hello", "worlds::an_http_component_answers_on_a_real_connection"),
    ("http-runaway", "worlds::an_http_guest_that_runs_away_is_stopped_and_others_are_served"),
];

/// Guests whose tests stand in another crate: the guest, the file, and the test there.
const TESTED_ELSEWHERE: &[(&str, &str, &str)] = &[
    (
        "own-model",
        "tests/e2e/guests.rs",
        "a_model_out_of_a_guests_own_bytes_is_refused_unless_the_manifest_grants_it",
    ),
    ("wrong-tensors", "tests/e2e/guests.rs", "tensors_that_a_model_does_not_take_harm_their_own_input_alone"),
    ("kernels", "tests/e2e/sameness.rs", "kernels_give_in_the_sandbox_the_bits_of_their_scalar_definitions"),
];

#[test]
fn every_misbehaving_guest_is_stopped_with_its_code() {
    for row in STOPPED {
        let stage = load((row.component)(row.guest), &(row.limits)());
        let failure = fails(&stage, with_settings(call(Payload::memory("text/plain", "x")), row.settings));
        assert_eq!(failure.code.as_str(), row.code, "{}: {failure:?}", row.guest);
    }
}

#[test]
fn every_guest_is_used_by_a_test() {
    let mut present = BTreeSet::new();
    for folder in ["stages", "wat", "worlds"] {
        for entry in std::fs::read_dir(guests_folder().join(folder)).unwrap() {
            present.insert(entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
    let here = STOPPED.iter().map(|row| row.guest).chain(TESTED_HERE.iter().map(|(guest, _)| *guest));
    let elsewhere = TESTED_ELSEWHERE.iter().map(|(guest, _, _)| *guest);
    let used: BTreeSet<String> = here.chain(elsewhere).map(str::to_owned).collect();
    assert_eq!(present, used);
    for (guest, file, test) in TESTED_ELSEWHERE {
        let text = std::fs::read_to_string(guests_folder().join("../..").join(file)).unwrap();
        assert!(text.contains(&format!("fn {test}(")), "{file} has no test `{test}`");
        assert!(text.contains(&format!("\"{guest}\"")), "{file} does not use `{guest}`");
    }
}

#[test]
fn a_component_that_wants_the_network_is_refused_by_the_name_of_its_import() {
    let refused = sandbox().load(&trusted(built("sockets")), &Limits::default(), &ImportGrants::default());
    match refused {
        Err(error @ LoadError::Imports { .. }) => {
            assert!(error.to_string().contains("`wasi:sockets/tcp@"), "{error}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_guest_that_was_stopped_leaves_its_place_clean_for_the_next() {
    let echo = crate::harness::stage("echo");
    let bomb =
        load(built("memory-bomb"), &Limits { memory_bytes: ByteCount::mebibytes(32), ..Limits::default() });
    for _ in 0..20 {
        fails(&bomb, call(Payload::memory("text/plain", "x")));
        let report = crate::stage::echoed(&echo, Payload::memory("text/plain", "x"));
        assert!(report.usage.memory < ByteCount::mebibytes(8));
        assert!(report.usage.wall < Duration::from_secs(5));
    }
}
