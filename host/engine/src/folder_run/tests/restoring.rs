//! Outputs that were lost.

use super::*;

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
    bench.output("out");
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
        instead_of: Vec::new(),
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

#[test]
fn outputs_that_are_left_alone_stay_marked_as_lost_for_a_run_that_restores() {
    let mut bench = Bench::new();
    bench.input("a.dcm", "content");
    bench.run().unwrap();
    bench.journal().review(|_, _| false).unwrap();
    bench.missing = MissingOutputs::Leave;
    let summary = bench.run().unwrap();
    assert_eq!((summary.missing, summary.skipped, summary.this_run.done), (0, 1, 0));
    assert_eq!(bench.journal().lost().unwrap(), 1);
}
