//! How a run ends.

use super::*;

#[test]
fn a_quiet_watch_ends_when_the_scribe_does() {
    let bench = Bench::new();
    let (worker, from_workers) = worker_alone(&bench, WAITING_FOR_SCRIBE);
    drop(from_workers);
    // Nothing is found, and the feeder goes on.
    let (feeder, found) = mpsc::channel(1);
    let ended = on_threads(async {
        let (one, count) = (NonZero::<usize>::MIN, AtomicUsize::new(0));
        let work = dispatch(worker, found, one, &count);
        tokio::time::timeout(std::time::Duration::from_secs(30), work).await
    });
    assert!(matches!(ended, Ok(Err(RunError::Worker))), "{ended:?}");
    assert!(feeder.is_closed());
}

/// A worker whose scribe takes `room` inputs and completes none, and what it would have told the scribe.
fn worker_alone(bench: &Bench, room: usize) -> (Arc<Worker>, mpsc::Receiver<ForScribe>) {
    let output = bench.output("out");
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
        disk: bench.disk(WatchMode::Once),
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
