//! Runs of a pipeline without stages, over folders that misbehave.

use std::fs::{self, File};
use std::path::Path;

use martello_ingest::{Found, Spool, SpoolLimits};
use martello_pipeline::Plan;
use martello_store::{Remains, Started};
use martello_vocab::code;
use serde_json::Value;

use super::dispatch::Worked;
use super::scribe::ForScribe;
use super::*;
use crate::activation::{Device, DeviceConfig, bundle_of_nothing};

struct Silent;

impl Observer for Silent {
    fn found(&self, _total: u64) {}
    fn completed(&self, _line: Option<&ReportLine>) {}
}

struct Bench {
    folder: tempfile::TempDir,
    active: Arc<Active>,
    missing: MissingOutputs,
    report: ReportMode,
    stop: Stop,
}

/// A bundle that is active under the key of this state folder.
fn active(state: &Path) -> Arc<Active> {
    let device = Device::start(&DeviceConfig::new(state.to_owned())).unwrap();
    let bundle = bundle_of_nothing();
    let plan = Plan::of(bundle.manifest()).unwrap();
    Arc::new(device.without_stages(plan, &bundle))
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("in")).unwrap();
        let active = active(&folder.path().join("state"));
        let (missing, report) = (MissingOutputs::Restore, ReportMode::Named);
        Self { folder, active, missing, report, stop: Stop::default() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn input(&self, name: &str, content: &str) -> Found {
        let path = self.path("in").join(name);
        fs::write(&path, content).unwrap();
        let folder = Folder::open(&self.path("in")).unwrap();
        folder.look_at(&folder.path().join(name)).unwrap()
    }

    fn run_to(&self, output: &Path) -> Result<Summary, RunError> {
        self.run_over(Input::Folder(self.path("in")), output)
    }

    fn run_over(&self, input: Input, output: &Path) -> Result<Summary, RunError> {
        let run = FolderRun {
            input,
            output: output.to_owned(),
            watch: WatchMode::Once,
            report: self.report,
            concurrency: NonZero::new(2).unwrap(),
            missing: self.missing,
        };
        on_threads(run.run(Arc::clone(&self.active), Arc::new(Silent), self.stop.clone()))
    }

    fn run(&self) -> Result<Summary, RunError> {
        self.run_to(&self.path("out"))
    }

    fn journal(&self) -> Journal {
        let key_id = self.active.site_key.key_id();
        let binding = Binding { bundle: self.active.bundle_digest, pseudonym_key: &key_id };
        Journal::open(&self.path("out/.martello"), &binding, Remains::Nothing).unwrap()
    }

    /// Starts an input as a process does that is ended then.
    fn start(&self, found: &Found, digest: Option<martello_vocab::Digest>) -> String {
        let key = &self.active.site_key;
        let (name, fingerprint) = (key.name_id(&found.name), (found.length, found.changed));
        let id = match &digest {
            Some(digest) => key.input_id(&found.name, digest),
            None => key.unread_id(&found.name, fingerprint),
        };
        let started = Started { id: &id, name: &name, digest, fingerprint };
        self.journal().start(&started).unwrap();
        id
    }

    fn lines(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("out/report.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// A worker of its own over these findings, as a feeder would send them.
    fn dispatch(&self, found: Vec<Found>, scribe_fails: bool) -> (Result<Worked, RunError>, Arc<Journal>) {
        let output = OutputFolder::at(&self.path("out")).unwrap();
        output.make().unwrap();
        self.dispatch_to(output, Input::Folder(self.path("in")), found, scribe_fails)
    }

    fn dispatch_to(
        &self,
        output: OutputFolder,
        input: Input,
        found: Vec<Found>,
        scribe_fails: bool,
    ) -> (Result<Worked, RunError>, Arc<Journal>) {
        output.prepare(std::iter::empty()).unwrap();
        let journal = Arc::new(self.journal());
        let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
        let scribe =
            Scribe::open(Arc::clone(&journal), &output, input.clone(), Arc::new(Silent), self.report)
                .unwrap();
        let worker = Worker {
            active: Arc::clone(&self.active),
            journal: Arc::clone(&journal),
            input,
            output,
            report: ReportMode::Named,
            to_scribe,
            observer: Arc::new(Silent),
            stop: Stop::default(),
            turns: Arc::default(),
        };
        let scribe = std::thread::spawn(move || {
            let mut from_workers = from_workers;
            if scribe_fails {
                return drop(from_workers.blocking_recv());
            }
            scribe.work(from_workers).unwrap();
        });
        let (send, receive) = mpsc::channel(found.len());
        found.into_iter().for_each(|found| send.try_send(found).unwrap());
        drop(send);
        let two = NonZero::new(2).unwrap();
        let worked = on_threads(dispatch(Arc::new(worker), receive, two, &AtomicUsize::new(0)));
        scribe.join().unwrap();
        (worked, journal)
    }
}

fn on_threads<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(work)
}

#[test]
fn a_file_that_is_found_again_while_it_is_at_work_is_done_once() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    let (worked, journal) = bench.dispatch(vec![found.clone(), found.clone(), found.clone(), found], false);
    // Those in between are out of date by the last one, and that one finds the first complete.
    let skipped = worked.unwrap().skipped;
    assert!((1..=3).contains(&skipped), "{skipped}");
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
    assert_eq!(bench.lines().len(), 1);
}

#[test]
fn a_file_that_was_changed_while_it_was_at_work_is_worked_on_again() {
    let bench = Bench::new();
    let first = bench.input("a.dcm", "half");
    let (worked, _) = bench.dispatch(vec![first.clone()], false);
    assert_eq!(worked.unwrap().skipped, 0);
    let (worked, journal) = bench.dispatch(vec![first, bench.input("a.dcm", "half and half")], false);
    assert_eq!(worked.unwrap().skipped, 1);
    assert_eq!(journal.tally().unwrap().done, 2);
}

#[test]
fn an_input_that_is_complete_is_not_read_again() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    bench.run().unwrap();
    // Whoever would read it would find it gone, and not count it.
    fs::remove_file(&found.path).unwrap();
    assert_eq!(bench.dispatch(vec![found], false).0.unwrap().skipped, 1);
}

#[test]
fn a_run_that_ends_on_an_error_blames_no_input() {
    let bench = Bench::new();
    let found: Vec<_> = (0..6).map(|number| bench.input(&format!("{number}.dcm"), "content")).collect();
    let (worked, journal) = bench.dispatch(found, true);
    assert!(matches!(worked, Err(RunError::Worker)), "{worked:?}");
    let key = &bench.active.site_key;
    for number in 0..6 {
        let id = key.input_id(&format!("{number}.dcm"), &martello_vocab::Digest::of(b"content"));
        assert_eq!(journal.starts(&id).unwrap(), 0, "input {number}");
    }
}

#[test]
fn the_scribes_own_error_is_what_a_run_ends_with() {
    let bench = Bench::new();
    bench.input("a.dcm", "content");
    // Its outputs cannot be put under their name: an input that crashes the host is quarantined, and there a folder
    // stands in the way.
    bench.run_to(&bench.path("elsewhere")).unwrap();
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let found = bench.input("a.dcm", "content");
    let digest = martello_vocab::Digest::of(b"content");
    let id = bench.start(&found, Some(digest));
    (1..3).for_each(|_| drop(bench.start(&found, Some(digest))));
    fs::create_dir_all(bench.path("out/quarantine").join(format!("{id}.dcm"))).unwrap();
    let ended = bench.run();
    assert!(matches!(ended, Err(RunError::Settle { .. })), "{ended:?}");
    // The next run blames the input no more than this one did.
    assert_eq!(bench.journal().starts(&id).unwrap(), 3);
}

#[test]
fn an_input_that_was_started_three_times_is_quarantined_and_one_that_was_started_twice_is_done() {
    let bench = Bench::new();
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let digest = martello_vocab::Digest::of(b"content");
    for (name, times) in [("twice.dcm", 2), ("thrice.dcm", 3)] {
        let found = bench.input(name, "content");
        (0..times).for_each(|_| drop(bench.start(&found, Some(digest))));
    }
    bench.input("fresh.dcm", "content");
    assert_eq!(bench.run().unwrap().this_run, Tally { done: 2, quarantined: 1 });
    let line = bench.lines().into_iter().find(|line| line["outcome"] == "quarantine").unwrap();
    assert_eq!((&line["input"], &line["code"]), (&"thrice.dcm".into(), &code::INPUT_CRASHES_HOST.into()));
}

#[test]
fn an_input_that_is_too_large_has_a_reason_in_quarantine_and_no_copy_and_no_digest() {
    let bench = Bench::new();
    let length = (4 << 30) + 1;
    for name in ["a.dcm", "b.dcm"] {
        File::create(bench.path("in").join(name)).unwrap().set_len(length).unwrap();
    }
    assert_eq!(bench.run().unwrap().this_run, Tally { done: 0, quarantined: 2 });
    let lines = bench.lines();
    assert_ne!(lines[0]["id"], lines[1]["id"]);
    for line in lines {
        assert_eq!((&line["code"], &line["input_bytes"]), (&code::INPUT_TOO_LARGE.into(), &length.into()));
        assert!(line.get("input_digest").is_none(), "{line}");
        let note = line["outputs"][0]["path"].as_str().unwrap();
        assert_eq!(note, format!("quarantine/{}.json", line["id"].as_str().unwrap()));
        let note: Value = serde_json::from_slice(&fs::read(bench.path("out").join(note)).unwrap()).unwrap();
        assert!(note.get("input_digest").is_none(), "{note}");
    }
    assert_eq!(fs::read_dir(bench.path("out/quarantine")).unwrap().count(), 2);
    assert_eq!(bench.run().unwrap().skipped, 2, "the size is the input's fault");
}

#[test]
fn what_the_device_failed_at_is_tried_again_and_leaves_quarantine() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let id = bench.start(&found, None);
    bench
        .journal()
        .complete(&[martello_store::Completed {
            id: id.clone(),
            outcome: martello_store::Outcome::DeviceFailed,
            line: r#"{"code":"input-unreadable"}"#.to_owned(),
        }])
        .unwrap();
    fs::create_dir_all(bench.path("out/quarantine")).unwrap();
    let note = bench.path("out/quarantine").join(format!("{id}.json"));
    fs::write(&note, "{}").unwrap();
    let summary = bench.run().unwrap();
    assert_eq!(summary.this_run, Tally { done: 1, quarantined: 0 });
    assert_eq!(summary.all, Tally { done: 1, quarantined: 0 });
    assert!(!note.exists());
    let outcomes: Vec<_> = bench.lines().iter().map(|line| line["outcome"].to_string()).collect();
    assert_eq!(outcomes, ["\"done\""], "the line that is out of date is gone");
}

#[test]
fn an_input_that_cannot_be_read_is_tried_again_by_the_next_run() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    fs::remove_file(&found.path).unwrap();
    fs::create_dir(&found.path).unwrap();
    let (worked, journal) = bench.dispatch(vec![found.clone()], false);
    assert_eq!(worked.unwrap().skipped, 0);
    assert_eq!(journal.tally().unwrap(), Tally { done: 0, quarantined: 1 });
    drop(journal);
    assert_eq!(bench.lines()[0]["code"], code::INPUT_UNREADABLE);
    fs::remove_dir(&found.path).unwrap();
    let mended = bench.input("a.dcm", "content");
    assert_ne!(mended.changed, found.changed);
    let done = |bench: &Bench| {
        let lines = bench.lines();
        let outcomes: Vec<_> = lines.iter().map(|line| line["outcome"].as_str().unwrap()).collect();
        assert_eq!(outcomes, ["done"]);
        assert_eq!(fs::read_dir(bench.path("out/quarantine")).unwrap().count(), 0);
    };
    let (worked, journal) = bench.dispatch(vec![mended.clone()], false);
    assert_eq!(worked.unwrap().skipped, 0);
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
    drop(journal);
    done(&bench);
    // It is done, cannot be read for a while, and is what it was.
    fs::remove_file(&mended.path).unwrap();
    fs::create_dir(&mended.path).unwrap();
    let (_, journal) = bench.dispatch(vec![Found { changed: mended.changed + 1, ..mended.clone() }], false);
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 1 });
    drop(journal);
    fs::remove_dir(&mended.path).unwrap();
    let (worked, journal) = bench.dispatch(vec![bench.input("a.dcm", "content")], false);
    assert_eq!(worked.unwrap().skipped, 1);
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
    drop(journal);
    done(&bench);
}

#[test]
fn a_file_whose_rights_are_mended_is_seen_as_changed() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    // Times of change are as fine as the kernel's tick.
    std::thread::sleep(std::time::Duration::from_millis(20));
    fs::set_permissions(&found.path, fs::Permissions::from_mode(0o600)).unwrap();
    let mended = Folder::open(&bench.path("in")).unwrap().look_at(&found.path).unwrap();
    assert_ne!(mended.changed, found.changed);
}

#[test]
fn a_private_report_leaves_out_names_that_an_earlier_run_recorded() {
    let mut bench = Bench::new();
    bench.input("zzmark.dcm", "content");
    bench.run().unwrap();
    let named = bench.lines();
    assert_eq!(named[0]["input"], "zzmark.dcm");
    bench.report = ReportMode::Private;
    bench.input("zzmark-too.dcm", "content");
    bench.run().unwrap();
    let text = fs::read_to_string(bench.path("out/report.jsonl")).unwrap();
    assert!(!text.contains("zzmark"), "{text}");
    let mut expected = named[0].clone();
    expected.as_object_mut().unwrap().remove("input");
    assert_eq!(bench.lines()[0], expected);
    // Which names a run recorded, it may show again.
    bench.report = ReportMode::Named;
    bench.run().unwrap();
    assert_eq!(bench.lines()[0], named[0]);
    assert!(bench.lines()[1].get("input").is_none());
}

#[test]
fn a_workers_own_error_is_what_a_run_ends_with() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let id = bench.start(&found, None);
    let failed = martello_store::Completed {
        id: id.clone(),
        outcome: martello_store::Outcome::DeviceFailed,
        line: "{}".to_owned(),
    };
    bench.journal().complete(&[failed]).unwrap();
    // It cannot be taken out of quarantine: a folder stands there.
    fs::create_dir_all(bench.path("out/quarantine").join(format!("{id}.json"))).unwrap();
    let ended = bench.run();
    assert!(matches!(ended, Err(RunError::Write { .. })), "{ended:?}");
}

#[test]
fn a_quiet_watch_ends_when_the_scribe_does() {
    let bench = Bench::new();
    let output = OutputFolder::at(&bench.path("out")).unwrap();
    output.make().unwrap();
    let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
    let worker = Worker {
        active: Arc::clone(&bench.active),
        journal: Arc::new(bench.journal()),
        input: Input::Folder(bench.path("in")),
        output,
        report: ReportMode::Named,
        to_scribe,
        observer: Arc::new(Silent),
        stop: Stop::default(),
        turns: Arc::default(),
    };
    drop(from_workers);
    // Nothing is found, and the feeder goes on.
    let (feeder, found) = mpsc::channel(1);
    let ended = on_threads(async {
        let (one, count) = (NonZero::<usize>::MIN, AtomicUsize::new(0));
        let work = dispatch(Arc::new(worker), found, one, &count);
        tokio::time::timeout(std::time::Duration::from_secs(30), work).await
    });
    assert!(matches!(ended, Ok(Err(RunError::Worker))), "{ended:?}");
    assert!(feeder.is_closed());
}

/// A worker whose scribe takes `room` inputs and completes none, and what it would have told the scribe.
fn worker_alone(bench: &Bench, room: usize) -> (Arc<Worker>, mpsc::Receiver<ForScribe>) {
    let output = OutputFolder::at(&bench.path("out")).unwrap();
    output.make().unwrap();
    output.prepare(std::iter::empty()).unwrap();
    let (to_scribe, from_workers) = mpsc::channel(room);
    let worker = Worker {
        active: Arc::clone(&bench.active),
        journal: Arc::new(bench.journal()),
        input: Input::Folder(bench.path("in")),
        output,
        report: ReportMode::Named,
        to_scribe,
        observer: Arc::new(Silent),
        stop: bench.stop.clone(),
        turns: Arc::default(),
    };
    (Arc::new(worker), from_workers)
}

#[test]
fn the_last_input_is_waited_for_and_not_asked_for_again_and_again() {
    let bench = Bench::new();
    let (worker, mut from_workers) = worker_alone(&bench, 1);
    let (send, found) = mpsc::channel(1);
    send.try_send(bench.input("a.dcm", "content")).unwrap();
    // The feeder has ended, and the input is at work until the scribe has it.
    drop(send);
    let turns = Arc::clone(&worker.turns);
    let turn = turns.try_write_owned().unwrap();
    let mut polls = 0;
    on_threads(async {
        let (two, count) = (NonZero::new(2).unwrap(), AtomicUsize::new(0));
        let mut work = std::pin::pin!(dispatch(worker, found, two, &count));
        let counted = std::future::poll_fn(|context| {
            polls += 1;
            work.as_mut().poll(context)
        });
        let early = tokio::time::timeout(std::time::Duration::from_millis(300), counted).await;
        assert!(early.is_err(), "it was not waited for");
        drop(turn);
        let release = async { drop(from_workers.recv().await) };
        let (worked, ()) = tokio::join!(work, release);
        assert_eq!(worked.unwrap(), Worked::default());
    });
    assert!(polls < 20, "{polls} turns without anything to do");
}

#[test]
fn inputs_at_work_when_a_run_is_abandoned_are_left_and_not_blamed() {
    let bench = Bench::new();
    let (worker, mut from_workers) = worker_alone(&bench, 1);
    let journal = Arc::clone(&worker.journal);
    let found: Vec<_> = (0..4).map(|number| bench.input(&format!("{number}.dcm"), "content")).collect();
    let (send, receive) = mpsc::channel(found.len());
    found.into_iter().for_each(|found| send.try_send(found).unwrap());
    let key = &bench.active.site_key;
    let starts = || {
        let id = |number| key.input_id(&format!("{number}.dcm"), &martello_vocab::Digest::of(b"content"));
        (0..4).map(|number| journal.starts(&id(number)).unwrap()).sum::<u32>()
    };
    let waited = |wanted| async move {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
        while starts() != wanted {
            assert!(std::time::Instant::now() < deadline, "{} starts", starts());
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    on_threads(async {
        let (two, count) = (NonZero::new(2).unwrap(), AtomicUsize::new(0));
        let work = dispatch(worker, receive, two, &count);
        let steps = async {
            // One waits for the scribe to take it up, two for room beside it; the run has not heard of more.
            waited(3).await;
            bench.stop.complete();
            bench.stop.abandon();
            waited(1).await;
            // What the scribe holds is its own to complete.
            assert!(matches!(from_workers.recv().await, Some(ForScribe::Finished(_))));
            drop(send);
        };
        let worked = async { tokio::join!(work, steps).0 };
        let worked = tokio::time::timeout(std::time::Duration::from_secs(60), worked).await;
        assert_eq!(worked.unwrap().unwrap(), Worked { left: 3, ..Worked::default() });
    });
    assert_eq!(starts(), 0);
}

#[test]
fn a_run_that_is_stopped_says_how_many_inputs_it_left_and_the_next_one_does_them() {
    let mut bench = Bench::new();
    for number in 0..5 {
        bench.input(&format!("{number}.dcm"), "content");
    }
    bench.stop.complete();
    let summary = bench.run().unwrap();
    assert_eq!((summary.left, summary.this_run, summary.all), (5, Tally::default(), Tally::default()));
    bench.stop = Stop::default();
    let summary = bench.run().unwrap();
    assert_eq!((summary.left, summary.this_run.done), (0, 5));
}

#[test]
fn an_output_folder_inside_the_input_folder_is_refused_before_it_is_made() {
    let bench = Bench::new();
    fs::create_dir(bench.path("beside")).unwrap();
    std::os::unix::fs::symlink(bench.path("in"), bench.path("beside/link")).unwrap();
    for output in ["in/out", "in/deep/../out", "missing/../in/out", "beside/link/out", "in"] {
        let refused = bench.run_to(&bench.path(output));
        assert!(matches!(refused, Err(RunError::Nested { .. })), "{output}: {refused:?}");
    }
    assert_eq!(fs::read_dir(bench.path("in")).unwrap().count(), 0);
    assert!(!bench.path("missing").exists());
}

#[test]
fn what_a_run_writes_is_no_input_of_it_but_a_folder_beside_is() {
    let bench = Bench::new();
    bench.run().unwrap();
    fs::create_dir_all(bench.path("out/inbox")).unwrap();
    for (input, allowed) in [("out/quarantine", false), ("out/findings", false), ("out/inbox", true)] {
        let run = FolderRun {
            input: Input::Folder(bench.path(input)),
            output: bench.path("out"),
            watch: WatchMode::Once,
            report: ReportMode::Named,
            concurrency: NonZero::new(2).unwrap(),
            missing: MissingOutputs::Restore,
        };
        let ended = on_threads(run.run(Arc::clone(&bench.active), Arc::new(Silent), Stop::default()));
        assert_eq!(matches!(ended, Err(RunError::OwnOutputs { .. })), !allowed, "{input}: {ended:?}");
        assert_eq!(ended.is_ok(), allowed, "{input}: {ended:?}");
    }
}

/// A spool with these objects in it.
fn spool(bench: &Bench, objects: &[(&str, &[u8])]) -> Arc<Spool> {
    let root = bench.path("state/spool");
    fs::create_dir_all(&root).unwrap();
    for (name, content) in objects {
        fs::write(root.join(name), content).unwrap();
    }
    Spool::open(&root, SpoolLimits::default()).unwrap()
}

fn names(spool: &Spool) -> Vec<String> {
    Folder::open(spool.path()).unwrap().scan().unwrap().into_iter().map(|found| found.name).collect()
}

#[test]
fn what_was_received_is_removed_when_its_outcome_is_durable_and_is_not_done_twice() {
    let bench = Bench::new();
    let received = spool(&bench, &[("a.dcm", b"content"), ("b.dcm", b"other")]);
    let summary = bench.run_over(Input::Spool(Arc::clone(&received)), &bench.path("out")).unwrap();
    assert_eq!(summary.this_run.done, 2);
    assert!(names(&received).is_empty());
    // Sent again: the same bytes have the same name.
    drop(received);
    let received = spool(&bench, &[("a.dcm", b"content")]);
    let summary = bench.run_over(Input::Spool(Arc::clone(&received)), &bench.path("out")).unwrap();
    assert_eq!((summary.this_run.done, summary.skipped, summary.all.done), (0, 1, 2));
    assert!(names(&received).is_empty());
}

#[test]
fn what_was_received_stays_where_the_device_failed_or_quarantine_has_no_copy() {
    let bench = Bench::new();
    bench.run().unwrap();
    let received = spool(&bench, &[]);
    for (name, length) in [("copied.dcm", 33 << 20), ("giant.dcm", (4 << 30) + 1)] {
        File::create(received.path().join(name)).unwrap().set_len(length).unwrap();
    }
    let found = Folder::open(received.path()).unwrap().scan().unwrap();
    // The device has no place to which it could copy a large input.
    let output = OutputFolder::at(&bench.path("elsewhere")).unwrap();
    output.make().unwrap();
    fs::remove_dir(output.memory()).unwrap();
    for _ in 0..2 {
        let input = Input::Spool(Arc::clone(&received));
        let (worked, _) = bench.dispatch_to(output.clone(), input, found.clone(), false);
        worked.unwrap();
        assert_eq!(names(&received), ["copied.dcm", "giant.dcm"]);
    }
    // The device is mended.
    let output = OutputFolder::at(&bench.path("out")).unwrap();
    bench.dispatch_to(output, Input::Spool(Arc::clone(&received)), found, false).0.unwrap();
    assert_eq!(names(&received), ["giant.dcm"]);
}

#[test]
fn a_run_that_is_refused_takes_nothing_from_the_one_that_is_at_work() {
    let bench = Bench::new();
    bench.input("a.dcm", "content");
    bench.run().unwrap();
    let at_work = bench.journal();
    let staged = martello_store::place::stage(&bench.path("out/findings/1.json"), 0o600).unwrap().written();
    let refused = bench.run();
    assert!(matches!(refused, Err(RunError::Journal(JournalError::Busy { .. }))), "{refused:?}");
    martello_store::place::settle(vec![staged]).unwrap();
    drop(at_work);
}

#[test]
fn what_is_worked_on_is_what_was_hashed_and_a_file_that_is_gone_is_no_input() {
    let bench = Bench::new();
    // Held in memory, and in a file.
    for length in [7, (32 << 20) + 7] {
        let path = bench.path("in/a.dcm");
        let content: Vec<u8> = (0..length).map(|place: u32| place.to_le_bytes()[0]).collect();
        fs::write(&path, &content).unwrap();
        let found = Folder::open(&bench.path("in")).unwrap().scan().unwrap().remove(0);
        let (payload, digest) = reading::read_input(&found, bench.folder.path()).ok().unwrap();
        assert_eq!(digest, martello_vocab::Digest::of(&content));
        let mut copied = Vec::new();
        payload.copy_to(&mut copied).unwrap();
        assert!(copied == content, "{length} bytes");
        fs::remove_file(&path).unwrap();
        let gone = reading::read_input(&found, bench.folder.path());
        assert!(matches!(gone, Err(reading::ReadError::Gone)));
    }
}

#[test]
fn a_large_input_is_copied_into_the_given_folder_and_nowhere_else() {
    let bench = Bench::new();
    let path = bench.path("in/large.dcm");
    File::create(&path).unwrap().set_len(33 << 20).unwrap();
    let found = Folder::open(&bench.path("in")).unwrap().scan().unwrap().remove(0);
    let missing = reading::read_input(&found, &bench.path("missing"));
    let Err(error @ reading::ReadError::Spool(_)) = missing else { panic!("{missing:?}") };
    assert_eq!(error.code().as_str(), code::OUTPUT_UNWRITABLE, "the input folder is in order");
    let (payload, _) = reading::read_input(&found, bench.folder.path()).ok().unwrap();
    assert_eq!(payload.len(), 33 << 20);
}

#[test]
fn a_run_with_another_key_is_refused_and_harms_nothing() {
    let mut bench = Bench::new();
    bench.input("a.dcm", "content");
    bench.run().unwrap();
    let report = fs::read(bench.path("out/report.jsonl")).unwrap();
    let other = active(&bench.path("other"));
    let first = std::mem::replace(&mut bench.active, other);
    let refused = bench.run();
    let Err(RunError::Journal(error @ JournalError::OtherKey { .. })) = &refused else {
        panic!("{refused:?}")
    };
    assert_eq!(error.code().unwrap().as_str(), code::OTHER_KEY);
    assert_eq!(fs::read(bench.path("out/report.jsonl")).unwrap(), report);
    bench.active = first;
    assert_eq!(bench.run().unwrap().skipped, 1);
}

#[test]
fn results_without_their_journal_are_not_taken_for_a_fresh_folder() {
    let bench = Bench::new();
    // Quarantined, so that it has outputs.
    File::create(bench.path("in/a.dcm")).unwrap().set_len((4 << 30) + 1).unwrap();
    bench.run().unwrap();
    let (report, journal) = (bench.path("out/report.jsonl"), bench.path("out/.martello"));
    let lines = fs::read(&report).unwrap();
    let refused = |bench: &Bench| matches!(bench.run(), Err(RunError::Journal(JournalError::Missing { .. })));
    for name in ["journal.sqlite", "journal.sqlite-wal"] {
        fs::write(journal.join(name), "").unwrap();
    }
    assert!(refused(&bench), "an empty journal");
    fs::remove_dir_all(&journal).unwrap();
    assert!(refused(&bench), "no journal");
    assert_eq!(fs::read(&report).unwrap(), lines);
    let (quarantine, aside) = (bench.path("out/quarantine"), bench.path("aside"));
    fs::rename(&quarantine, &aside).unwrap();
    assert!(refused(&bench), "no journal and no outputs");
    fs::rename(&aside, &quarantine).unwrap();
    fs::remove_file(&report).unwrap();
    assert!(refused(&bench), "no journal and no report");
    fs::remove_dir_all(&quarantine).unwrap();
    // What is not named as outputs are may be anything.
    for name in ["readme.txt", "cafe.json", "a-name-of-twenty-chars.json", "abcdefghijklmnopqrst"] {
        fs::write(bench.path("out/findings").join(name), "").unwrap();
    }
    assert_eq!(bench.run().unwrap().this_run, Tally { done: 0, quarantined: 1 });
}

#[test]
fn an_input_whose_outputs_are_lost_is_done_again_and_the_report_says_so_once() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    bench.run().unwrap();
    let before = bench.lines();
    bench.journal().review(|_, _| false).unwrap();
    let (worked, journal) = bench.dispatch(vec![found.clone()], false);
    assert_eq!(worked.unwrap().skipped, 0, "it was not complete before");
    assert_eq!((journal.lost().unwrap(), journal.tally().unwrap().done), (0, 1));
    drop(journal);
    assert_eq!(bench.lines(), before);
    assert_eq!(bench.dispatch(vec![found], false).0.unwrap().skipped, 1);
}

#[test]
fn an_input_that_does_not_give_its_lost_outputs_again_keeps_its_line_and_is_told_of() {
    let mut bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let id = bench.start(&found, Some(martello_vocab::Digest::of(b"content")));
    let file = bench.path("out/findings").join(format!("{id}.json"));
    let digest = martello_vocab::Digest::of(b"outputs");
    let line = format!(
        r#"{{"id":"{id}","outputs":[{{"path":"findings/{id}.json","digest":"{digest}","bytes":7}}]}}"#
    );
    let completed = martello_store::Completed {
        id: id.clone(),
        outcome: martello_store::Outcome::Done,
        line: line.clone(),
    };
    bench.journal().complete(&[completed]).unwrap();
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    for (content, lost) in [("outputs", 0), ("cut", 1)] {
        fs::write(&file, content).unwrap();
        let summary = bench.run().unwrap();
        assert_eq!((summary.missing, summary.restored, summary.skipped), (lost, 0, 1 - lost), "{content}");
    }
    // Nothing is blamed on it, and it may be tried for ever.
    assert_eq!(bench.journal().starts(&id).unwrap(), 0);
    let summary = bench.run().unwrap();
    assert_eq!((summary.missing, summary.failed_again), (1, 0));
    assert_eq!(summary.all, Tally { done: 1, quarantined: 0 });
    assert_eq!(bench.lines(), [serde_json::from_str::<Value>(&line).unwrap()]);
    // Where the host was ended at it again and again, it is not tried, and does not end in quarantine either.
    (0..4).for_each(|_| drop(bench.start(&found, Some(martello_vocab::Digest::of(b"content")))));
    let summary = bench.run().unwrap();
    assert_eq!((summary.missing, summary.failed_again), (1, 1));
    assert_eq!(summary.all, Tally { done: 1, quarantined: 0 });
    // Something collects outputs.
    bench.missing = MissingOutputs::Leave;
    fs::remove_file(&file).unwrap();
    let summary = bench.run().unwrap();
    assert_eq!((summary.missing, summary.skipped), (0, 1));
    // And the input is gone.
    bench.missing = MissingOutputs::Restore;
    fs::remove_file(&found.path).unwrap();
    let summary = bench.run().unwrap();
    assert_eq!((summary.missing, summary.skipped), (1, 0));
}

/// Tells a channel of what is complete.
struct Telling(std::sync::mpsc::Sender<Option<String>>);

impl Observer for Telling {
    fn found(&self, _total: u64) {}
    fn completed(&self, line: Option<&ReportLine>) {
        let _ = self.0.send(line.and_then(|line| line.input.clone()));
    }
}

#[test]
fn an_input_at_which_the_host_was_ended_is_worked_on_alone() {
    let bench = Bench::new();
    OutputFolder::at(&bench.path("out")).unwrap().make().unwrap();
    let suspect = bench.input("suspect.dcm", "content");
    bench.start(&suspect, Some(martello_vocab::Digest::of(b"content")));
    let fresh = ["1.dcm", "2.dcm"].map(|name| bench.input(name, "content"));
    let output = OutputFolder::at(&bench.path("out")).unwrap();
    output.prepare(std::iter::empty()).unwrap();
    let journal = Arc::new(bench.journal());
    let (tell, told) = std::sync::mpsc::channel();
    let observer = Arc::new(Telling(tell));
    let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
    let input = Input::Folder(bench.path("in"));
    let scribe =
        Scribe::open(Arc::clone(&journal), &output, input, Arc::<Telling>::clone(&observer), bench.report)
            .unwrap();
    let scribe = std::thread::spawn(move || scribe.work(from_workers).unwrap());
    let turns: Arc<tokio::sync::RwLock<()>> = Arc::default();
    let worker = Worker {
        active: Arc::clone(&bench.active),
        journal,
        input: Input::Folder(bench.path("in")),
        output,
        report: ReportMode::Named,
        to_scribe,
        observer,
        stop: Stop::default(),
        turns: Arc::clone(&turns),
    };
    let (send, receive) = mpsc::channel(3);
    let steps = std::thread::spawn(move || {
        let next = || told.recv_timeout(std::time::Duration::from_secs(30)).ok().flatten();
        let quiet = || told.recv_timeout(std::time::Duration::from_millis(300)).is_err();
        // A neighbour is at work: a fresh input goes on beside it, the suspect waits for it.
        let neighbour = Arc::clone(&turns).try_read_owned().unwrap();
        send.blocking_send(fresh[0].clone()).unwrap();
        assert_eq!(next().as_deref(), Some("1.dcm"));
        send.blocking_send(suspect).unwrap();
        assert!(quiet(), "the suspect was worked on beside another");
        drop(neighbour);
        assert_eq!(next().as_deref(), Some("suspect.dcm"));
        // A suspect is at work: a fresh input waits for it.
        let alone = Arc::clone(&turns).try_write_owned().unwrap();
        send.blocking_send(fresh[1].clone()).unwrap();
        assert!(quiet(), "an input was worked on beside a suspect");
        drop(alone);
        assert_eq!(next().as_deref(), Some("2.dcm"));
    });
    let two = NonZero::new(2).unwrap();
    let worked = on_threads(dispatch(Arc::new(worker), receive, two, &AtomicUsize::new(0)));
    assert_eq!(worked.unwrap().skipped, 0);
    steps.join().unwrap();
    scribe.join().unwrap();
}
