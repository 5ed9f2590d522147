//! Inputs at which the device fails or the host is ended, and errors that end a run.

use super::*;

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
    bench.output("out");
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
fn a_workers_own_error_is_what_a_run_ends_with() {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    bench.output("out");
    let id = bench.start(&found, None);
    let failed = martello_store::Completed {
        id: id.clone(),
        outcome: martello_store::Outcome::DeviceFailed,
        line: "{}".to_owned(),
        instead_of: Vec::new(),
    };
    bench.journal().complete(&[failed]).unwrap();
    // It cannot be taken out of quarantine: a folder stands there.
    fs::create_dir_all(bench.path("out/quarantine").join(format!("{id}.json"))).unwrap();
    let ended = bench.run();
    assert!(matches!(ended, Err(RunError::Write { .. })), "{ended:?}");
}

#[test]
fn an_input_that_was_started_three_times_is_quarantined_and_one_that_was_started_twice_is_done() {
    let bench = Bench::new();
    bench.output("out");
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
    bench.output("out");
    let id = bench.start(&found, None);
    bench
        .journal()
        .complete(&[martello_store::Completed {
            id: id.clone(),
            outcome: martello_store::Outcome::DeviceFailed,
            line: r#"{"code":"input-unreadable"}"#.to_owned(),
            instead_of: Vec::new(),
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
    bench.output("out");
    let suspect = bench.input("suspect.dcm", "content");
    bench.start(&suspect, Some(martello_vocab::Digest::of(b"content")));
    let fresh = ["1.dcm", "2.dcm"].map(|name| bench.input(name, "content"));
    let output = bench.output("out");
    output.prepare(std::iter::empty()).unwrap();
    let journal = Arc::new(bench.journal());
    let (tell, told) = std::sync::mpsc::channel();
    let observer = Arc::new(Telling(tell));
    let (to_scribe, from_workers) = mpsc::channel(WAITING_FOR_SCRIBE);
    let input = Input::Folder(bench.path("in"));
    let disk = bench.disk(WatchMode::Once);
    let scribe = bench.scribe(&disk, &journal, &output, &input, Arc::<Telling>::clone(&observer) as _);
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
        disk,
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
