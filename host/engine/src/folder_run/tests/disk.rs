//! A disk that is full for a moment, and one that stays so.

use std::time::Duration;

use super::*;

fn inputs(bench: &Bench) -> Vec<Found> {
    (0..4).map(|number| bench.input(&format!("{number}.dcm"), "content")).collect()
}

fn starts(bench: &Bench, journal: &Journal) -> u32 {
    let digest = martello_vocab::Digest::of(b"content");
    let id = |number| bench.active.site_key.input_id(&format!("{number}.dcm"), &digest);
    (0..4).map(|number| journal.starts(&id(number)).unwrap()).sum()
}

#[test]
fn a_disk_that_is_full_for_a_moment_costs_no_input_and_is_counted() {
    for step in [Step::Journal, Step::Write, Step::Settle, Step::Report] {
        let bench = Bench::new();
        let found = inputs(&bench);
        let output = bench.output("out");
        let disk = bench.disk(WatchMode::Watch);
        disk.faults.fail(step, 5);
        let input = Input::Folder(bench.path("in"));
        let (worked, journal) = bench.dispatch_on(&disk, output, input, found, false);
        assert_eq!(worked.unwrap(), Worked::default(), "{step:?}");
        assert_eq!(journal.tally().unwrap(), Tally { done: 4, quarantined: 0 }, "{step:?}");
        assert_eq!(starts(&bench, &journal), 0, "{step:?}");
        drop(journal);
        let mut names: Vec<_> = bench.lines().iter().map(|line| line["input"].to_string()).collect();
        names.sort();
        let expected: Vec<_> = (0..4).map(|number| format!("\"{number}.dcm\"")).collect();
        assert_eq!(names, expected, "{step:?}: each has one line");
        assert!(disk.waits() >= 1, "{step:?}");
        assert_eq!(fs::read_dir(bench.path("out/quarantine")).unwrap().count(), 0, "{step:?}");
    }
}

#[test]
fn a_run_that_does_not_watch_ends_after_a_while_with_a_code_and_has_judged_nothing() {
    for step in [Step::Journal, Step::Write] {
        let bench = Bench::new();
        let found = inputs(&bench);
        let output = bench.output("out");
        let once = Duration::from_millis(20);
        let patience = DiskPatience { once, ..PATIENCE };
        let disk = Arc::new(Disk::new(patience, WatchMode::Once, bench.stop.clone()));
        disk.faults.fail(step, u32::MAX);
        let input = Input::Folder(bench.path("in"));
        let (worked, journal) = bench.dispatch_on(&disk, output, input, found, false);
        let ended = worked.unwrap_err();
        assert_eq!(ended.code().unwrap().as_str(), code::DISK_FULL, "{ended:?}");
        assert_eq!(journal.tally().unwrap(), Tally::default());
        assert_eq!(starts(&bench, &journal), 0);
        drop(journal);
        assert_eq!(bench.run().unwrap().this_run.done, 4);
    }
}

#[test]
fn a_run_that_watches_waits_for_the_disk_until_it_is_told_to_end() {
    let bench = Bench::new();
    let found = inputs(&bench);
    let output = bench.output("out");
    let disk = bench.disk(WatchMode::Watch);
    disk.faults.fail(Step::Write, u32::MAX);
    let input = Input::Folder(bench.path("in"));
    let worked = std::thread::scope(|scope| {
        let work = scope.spawn(|| bench.dispatch_on(&disk, output, input, found, false).0);
        let begun = std::time::Instant::now();
        while disk.waits() == 0 {
            assert!(begun.elapsed() < Duration::from_secs(30), "it does not wait");
            std::thread::sleep(Duration::from_millis(2));
        }
        bench.stop.complete();
        work.join().unwrap()
    });
    assert_eq!(worked.unwrap_err().code().unwrap().as_str(), code::DISK_FULL);
}

#[test]
fn an_error_that_is_not_of_the_disk_ends_the_waiting_of_others() {
    let bench = Bench::new();
    let disk = bench.disk(WatchMode::Watch);
    disk.faults.fail(Step::Write, u32::MAX);
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| disk.insist(Step::Write, || Ok(())));
        disk.give_up();
        assert!(waits.join().unwrap().is_err());
    });
}

/// Takes over what leaves the pipeline when it has given these answers.
struct Taking {
    answers: std::sync::Mutex<Vec<NotTaken>>,
    completed: AtomicUsize,
}

impl Observer for Taking {
    fn found(&self, _total: u64) {}

    fn completed(&self, _line: Option<&ReportLine>) {
        self.completed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }

    fn exported(&self, exports: &[Export<'_>]) -> Result<(), NotTaken> {
        assert_eq!(exports.len(), 1);
        self.answers.lock().unwrap().pop().map_or(Ok(()), Err)
    }
}

/// What a scribe writes of one input with an export, where whoever takes exports over answers with these errors first.
fn written(answers: Vec<NotTaken>) -> (scribe::Written, Tally, usize) {
    let bench = Bench::new();
    let found = bench.input("a.dcm", "content");
    let output = bench.output("out");
    output.prepare(std::iter::empty()).unwrap();
    let id = bench.start(&found, Some(martello_vocab::Digest::of(b"content")));
    let journal = Arc::new(bench.journal());
    let answers = std::sync::Mutex::new(answers);
    let observer = Arc::new(Taking { answers, completed: AtomicUsize::new(0) });
    let input = Input::Folder(bench.path("in"));
    let disk = bench.disk(WatchMode::Once);
    let scribe = bench.scribe(&disk, &journal, &output, &input, Arc::<Taking>::clone(&observer) as _);
    let (to_scribe, from_workers) = mpsc::channel(1);
    let (release, _released) = mpsc::channel(1);
    let outputs = vec![OutputFile {
        path: format!("images/{id}.dcm"),
        digest: martello_vocab::Digest::of(b"output"),
        bytes: 6,
    }];
    let finished = scribe::Finished {
        ticket: dispatch::Ticket::of(&found, release),
        found,
        staged: Vec::new(),
        line: Box::new(ReportLine { id, outputs, ..crate::report::tests::line() }),
        before: scribe::Before::Nothing,
        instead_of: Vec::new(),
    };
    to_scribe.try_send(ForScribe::Finished(Box::new(finished))).ok().unwrap();
    drop(to_scribe);
    let written = scribe.work(from_workers).unwrap();
    let completed = observer.completed.load(std::sync::atomic::Ordering::Relaxed);
    (written, journal.tally().unwrap(), completed)
}

#[test]
fn what_cannot_be_handed_on_for_lack_of_room_is_handed_on_when_there_is_room() {
    let full = || NotTaken::Failed(io::ErrorKind::StorageFull.into());
    let done = Tally { done: 1, quarantined: 0 };
    let (written, tally, completed) = written(vec![full(), full()]);
    assert_eq!((written.completed, written.left, tally, completed), (done, 0, done, 1));
}

#[test]
fn what_nobody_takes_over_any_more_is_left_to_the_next_run_and_that_is_no_error() {
    let (written, tally, completed) = written(vec![NotTaken::Ending]);
    assert_eq!((written.completed, written.left), (Tally::default(), 1));
    assert_eq!((tally, completed), (Tally::default(), 0));
}
