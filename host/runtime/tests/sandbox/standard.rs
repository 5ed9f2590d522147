//! The standard interfaces `wasi:config` and `wasi:logging`, used by components that know nothing of this host.

use std::collections::BTreeMap;
use std::sync::Arc;

use martello_runtime::{
    CommandCall, CommandReport, HttpConfig, ImportGrant, ImportGrants, ImportRefusal, LINE_OVERHEAD,
    LONGEST_LINE, LoadError, LogLevel, Payload, StageCall,
};
use martello_vocab::{ByteCount, Limits, Name};

use crate::harness::{Lines, built, call, process_log, run, sandbox, trusted, with_settings};
use crate::worlds::Server;

const SETTINGS: &[(&str, &str)] = &[("greeting", "hello"), ("size", "3")];

fn granted() -> ImportGrants {
    ImportGrants::default().with(ImportGrant::Config).with(ImportGrant::Logging)
}

fn settings(settings: &[(&str, &str)]) -> BTreeMap<Name, String> {
    settings.iter().map(|(name, value)| (name.parse().unwrap(), (*value).to_owned())).collect()
}

/// Runs the stage and gives its report's log figures and its lines.
fn lines(
    grants: &ImportGrants,
    limits: &Limits,
    settings: &[(&str, &str)],
) -> (ByteCount, u64, Vec<(LogLevel, String)>) {
    let stage = sandbox().load(&trusted(built("standard-interfaces")), limits, grants).unwrap();
    let lines = Arc::new(Lines::default());
    let call = call(Payload::memory("text/plain", "x"));
    let report =
        run(&stage, with_settings(StageCall { log: Arc::clone(&lines) as _, ..call }, settings)).unwrap();
    let lines = lines.0.lock().unwrap().clone();
    (report.usage.log, report.usage.log_lines_dropped, lines)
}

#[test]
fn a_stage_reads_its_settings_and_writes_its_log_by_the_standard_interfaces() {
    let (log, dropped, lines) = lines(&granted(), &Limits::default(), SETTINGS);
    let expected = [
        (LogLevel::Info, "greeting=hello size=3"),
        (LogLevel::Trace, "standard: trace"),
        (LogLevel::Debug, "standard: debug"),
        (LogLevel::Info, "standard: info"),
        (LogLevel::Warn, "standard: warn"),
        (LogLevel::Error, "standard: error"),
        (LogLevel::Error, "standard: critical"),
    ];
    assert_eq!(lines, expected.map(|(level, line)| (level, line.to_owned())));
    let bytes: u64 = expected.iter().map(|(_, line)| line.len() as u64 + LINE_OVERHEAD).sum();
    assert_eq!((log, dropped), (ByteCount(bytes), 0));
}

#[test]
fn a_manifest_that_lists_them_grants_them() {
    let name: Name = "standard".parse().unwrap();
    let component = built("standard-interfaces");
    let bundle = martello_bundle::ephemeral(name.clone(), component, Limits::default(), Vec::new()).unwrap();
    let imports = &bundle.manifest().component(&name).unwrap().imports;
    let (_, _, lines) = lines(&ImportGrants::declared(imports), &Limits::default(), SETTINGS);
    assert_eq!(lines.len(), 7);
}

#[test]
fn a_flood_through_wasi_logging_is_cut_at_the_one_budget_of_all_lines() {
    let limits =
        Limits { log_bytes: ByteCount(10 * (LONGEST_LINE as u64 + LINE_OVERHEAD)), ..Limits::default() };
    let (log, dropped, lines) = lines(&granted(), &limits, &[("flood", "50")]);
    assert!(lines.iter().all(|(_, line)| !line.is_empty() && line.len() <= LONGEST_LINE));
    // What came before leaves room for nine more.
    assert_eq!((lines.len(), dropped), (7 + 9, 41));
    assert_eq!(log.0, lines.iter().map(|(_, line)| line.len() as u64 + LINE_OVERHEAD).sum::<u64>());
    assert!(log <= limits.log_bytes);
}

#[test]
fn without_a_grant_they_are_refused_by_name_in_every_world() {
    let limits = Limits::default();
    let load = |guest: &str| trusted(built(guest));
    let refusals = [
        sandbox().load(&load("standard-interfaces"), &limits, &ImportGrants::default()).map(drop),
        sandbox().load_command(&load("standard-command"), &limits, ImportGrants::default()).map(drop),
        sandbox().load_http(&load("standard-http"), &limits, ImportGrants::default()).map(drop),
    ];
    let expected = [
        ("wasi:config/store@0.2.0-rc.1".to_owned(), ImportRefusal::NotGranted(ImportGrant::Config)),
        ("wasi:logging/logging@0.1.0-draft".to_owned(), ImportRefusal::NotGranted(ImportGrant::Logging)),
    ];
    for refusal in refusals {
        match refusal {
            Err(LoadError::Imports { mut refused }) => {
                refused.sort_by(|one, other| one.0.cmp(&other.0));
                assert_eq!(refused, expected);
            }
            other => panic!("{other:?}"),
        }
    }
}

fn execute(limits: &Limits, given: &[(&str, &str)]) -> CommandReport {
    let program = sandbox().load_command(&trusted(built("standard-command")), limits, granted()).unwrap();
    let call = CommandCall { settings: settings(given), ..CommandCall::default() };
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(program.run(call)).unwrap()
}

#[test]
fn a_program_does_so_too() {
    let report = execute(&Limits::default(), SETTINGS);
    assert_eq!(report.exit, 0, "the greeting was not read");
    assert_eq!(
        report.usage.log.0,
        6 * (LINE_OVERHEAD + "standard: ".len() as u64) + "tracedebuginfowarnerrorcritical".len() as u64
    );
    assert_eq!(execute(&Limits::default(), &[]).exit, 1, "a greeting came from somewhere else");
    let limits = Limits { log_bytes: ByteCount(2 * LONGEST_LINE as u64), ..Limits::default() };
    let report = execute(&limits, &[("flood", "50")]);
    assert!(report.usage.log <= limits.log_bytes && report.usage.log_lines_dropped == 49, "{report:?}");
}

#[test]
fn an_http_component_does_so_too() {
    let before = process_log();
    let limits = Limits { log_bytes: ByteCount(2 * LONGEST_LINE as u64), ..Limits::default() };
    let component = sandbox().load_http(&trusted(built("standard-http")), &limits, granted()).unwrap();
    let given = settings(&[("flood", "50"), ("greeting", "hello")]);
    let server = Server::of(component.with_settings(given), HttpConfig::default());
    let answers = [server.get("/"), server.get("/")];
    drop(server);
    assert!(answers.iter().all(|answer| answer.contains("flood=50 greeting=hello")), "{answers:?}");
    let log = process_log().split_off(before.len());
    // Each request has the budget of a fresh instance: its six lines and a single long one.
    let count = |what: &str| {
        log.lines().filter(|line| line.contains("trace=\"http\"") && line.contains(what)).count()
    };
    assert_eq!((count("standard: critical"), count("xxxx")), (2, 2));
}
