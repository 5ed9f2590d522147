//! What a well-behaved stage gets.

use std::sync::Arc;

use martello_runtime::{Contract, EvidenceRule, FindingRule, LogLevel, Payload, StageCall, StageReport};
use martello_vocab::{Digest, code};

use crate::harness::{Lines, Stage, call, fails, run, stage, with_settings};

pub(crate) fn contract() -> Arc<Contract> {
    let rule = FindingRule {
        kind: "size".parse().unwrap(),
        labels: vec!["empty".to_owned(), "full".to_owned()],
        measurements: Vec::new(),
    };
    let evidence = EvidenceRule {
        profiles: vec!["echo".to_owned()],
        editions: vec!["1".to_owned()],
        actions: vec!["copied".to_owned()],
        notes: Vec::new(),
    };
    Arc::new(Contract { codes: vec!["not-my-kind".to_owned()], findings: vec![rule], evidence })
}

pub(crate) fn echo_call(input: Payload) -> StageCall<()> {
    StageCall { contract: contract(), ..call(input) }
}

pub(crate) fn echoed(echo: &Stage, input: Payload) -> StageReport {
    run(echo, echo_call(input)).unwrap_or_else(|failure| panic!("{failure:?}"))
}

#[test]
fn a_payload_goes_through_whole() {
    let echo = stage("echo");
    let bytes: Vec<u8> = (0..9_000_000_u32).map(|index| u8::try_from(index % 251).unwrap()).collect();
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let attributes = vec![("rows".to_owned(), "512".to_owned())];
    let inputs = [
        Payload::memory("image/x", bytes.clone()).with_attributes(attributes.clone()),
        Payload::file("image/x", file).unwrap().with_attributes(attributes.clone()),
    ];
    for input in inputs {
        let report = echoed(&echo, input);
        let [output] = report.outputs.as_slice() else { panic!("{report:?}") };
        assert_eq!(output.port.as_str(), "copy");
        assert_eq!(output.payload.media_type(), "image/x");
        assert_eq!(output.payload.attributes(), attributes);
        assert_eq!(output.digest, Digest::of(&bytes));
        assert!(output.payload.read_all(u64::MAX).unwrap() == bytes);
        assert_eq!(report.findings[0].label.as_deref(), Some("full"));
        assert_eq!(report.evidence.unwrap().actions[0].count, 1);
        // The bytes, the media type, and the attribute's name and value.
        assert_eq!(report.usage.output.0, 9_000_000 + 7 + 4 + 3);
        assert!(report.usage.host_calls > 2 * 9_000_000 / 65_536);
    }
}

#[test]
fn small_steps_give_the_same_bytes() {
    let echo = stage("echo");
    let call = with_settings(echo_call(Payload::memory("text/plain", "0123456789")), &[("step", "3")]);
    let report = run(&echo, call).unwrap();
    assert_eq!(report.outputs[0].payload.read_all(100).unwrap(), "0123456789");
}

#[test]
fn only_granted_assets_open() {
    let echo = stage("echo");
    let asking = || with_settings(echo_call(Payload::memory("text/plain", "")), &[("asset", "yes")]);
    assert_eq!(fails(&echo, asking()).code.as_str(), code::POLICY);
    let mut granted = asking();
    granted.assets.insert("table".parse().unwrap(), Payload::memory("text/plain", "rows"));
    let report = run(&echo, granted).unwrap();
    assert_eq!(report.outputs[1].payload.read_all(100).unwrap(), "rows");
}

#[test]
fn a_fault_keeps_its_declared_code_and_loses_any_other() {
    let echo = stage("echo");
    for (text, expected) in [("not-my-kind: codec", "not-my-kind"), ("doe-john: codec", code::MALFORMED)] {
        let failure =
            fails(&echo, with_settings(echo_call(Payload::memory("text/plain", "")), &[("fault", text)]));
        assert_eq!(failure.code.as_str(), expected);
        assert_eq!(failure.detail, text);
    }
}

#[test]
fn an_undeclared_port_fails_the_call() {
    let echo = stage("echo");
    let failure =
        fails(&echo, with_settings(echo_call(Payload::memory("text/plain", "")), &[("port", "other")]));
    assert_eq!(failure.code.as_str(), code::GUEST_CONTRACT);
}

#[test]
fn words_of_the_contract_are_kept_to() {
    let nonsense = stage("reports-nonsense");
    for what in ["kind", "label", "nan", "range", "many", "port"] {
        let call = with_settings(echo_call(Payload::memory("text/plain", "")), &[("what", what)]);
        assert_eq!(fails(&nonsense, call).code.as_str(), code::GUEST_CONTRACT, "{what}");
    }
    for field in ["profiles", "editions", "actions", "notes"] {
        let what = format!("evidence-{field}");
        let call = with_settings(echo_call(Payload::memory("text/plain", "")), &[("what", &what)]);
        let failure = fails(&nonsense, call);
        assert_eq!(failure.code.as_str(), code::GUEST_EVIDENCE);
        assert!(failure.detail.contains(&format!("`components.evidence.{field}`")), "{}", failure.detail);
    }
    assert!(run(&nonsense, echo_call(Payload::memory("text/plain", ""))).is_ok());
    let listed = with_settings(echo_call(Payload::memory("text/plain", "")), &[("what", "evidence-")]);
    assert!(run(&nonsense, listed).is_ok());
}

#[test]
fn the_log_carries_the_guests_lines_and_its_standard_output() {
    let echo = stage("echo");
    let lines = Arc::new(Lines::default());
    let call = StageCall { log: Arc::clone(&lines) as _, ..echo_call(Payload::memory("text/plain", "")) };
    run(&echo, call).unwrap();
    let lines: Vec<String> = lines.0.lock().unwrap().iter().map(|(_, line)| line.clone()).collect();
    assert_eq!(lines, ["echo begins", "echo on standard output"]);
}

#[test]
fn a_trap_names_the_guests_functions_in_the_local_log_alone() {
    let failure = fails(&stage("trap"), call(Payload::memory("text/plain", "")));
    let backtrace = failure.backtrace.as_deref().unwrap();
    assert!(backtrace.contains("reads_the_secret_header"), "{backtrace}");
    assert_eq!(failure.code.as_str(), code::GUEST_TRAP);
    assert!(!failure.to_string().contains("secret"));
}

#[test]
fn a_panics_text_which_may_hold_a_name_is_for_those_who_ask_for_detail() {
    let lines = Arc::new(Lines::default());
    let call = StageCall { log: Arc::clone(&lines) as _, ..call(Payload::memory("text/plain", "")) };
    fails(&stage("trap"), call);
    let lines = lines.0.lock().unwrap();
    assert!(lines.iter().any(|(_, line)| line.contains("Doe^John")), "the guest's panic says it: {lines:?}");
    let shown: Vec<_> = lines.iter().filter(|(level, _)| *level > LogLevel::Debug).collect();
    assert!(shown.is_empty(), "{shown:?}");
}

#[test]
fn a_payload_that_the_device_cannot_read_says_nothing_of_the_input() {
    let echo = stage("echo");
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &[7; 100_000]).unwrap();
    let input = Payload::file("text/plain", file.try_clone().unwrap()).unwrap();
    // As if the disk failed behind its middle.
    file.set_len(70_000).unwrap();
    let failure = fails(&echo, echo_call(input));
    assert_eq!(failure.code.as_str(), code::HOST_FAULT);
    assert!(failure.code.is_of_the_device());
}

#[test]
fn a_failure_does_not_show_the_guests_words() {
    let echo = stage("echo");
    let call = with_settings(echo_call(Payload::memory("text/plain", "")), &[("fault", "Doe^John")]);
    let failure = fails(&echo, call);
    assert_eq!(failure.detail, "Doe^John");
    let shown = format!("{failure:?}");
    assert!(!shown.contains("Doe") && shown.contains(code::MALFORMED), "{shown}");
}

#[test]
fn many_calls_at_once_all_come_through() {
    let echo = stage("echo");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let calls: Vec<_> = (0..200_u32)
            .map(|index| {
                let (echo, text) = (echo.clone(), index.to_string());
                tokio::spawn(async move {
                    let report =
                        echo.process(echo_call(Payload::memory("text/plain", text.clone()))).await.unwrap();
                    assert_eq!(report.outputs[0].payload.read_all(100).unwrap(), text);
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
    });
}
