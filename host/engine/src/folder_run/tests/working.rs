//! Each input is done once, whole, as it is in the end.

use super::*;

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
fn what_is_worked_on_is_what_was_hashed_and_a_file_that_is_gone_is_no_input() {
    let bench = Bench::new();
    // Held in memory, and in a file.
    for length in [7, (32 << 20) + 7] {
        let path = bench.path("in/a.dcm");
        let content: Vec<u8> = (0..length).map(|place: u32| place.to_le_bytes()[0]).collect();
        fs::write(&path, &content).unwrap();
        let found = Folder::open(&bench.path("in")).unwrap().scan().unwrap().remove(0);
        let (payload, digest) =
            reading::read_input(&found, || tempfile::tempfile_in(bench.folder.path())).ok().unwrap();
        assert_eq!(digest, martello_vocab::Digest::of(&content));
        let mut copied = Vec::new();
        payload.copy_to(&mut copied).unwrap();
        assert!(copied == content, "{length} bytes");
        fs::remove_file(&path).unwrap();
        let gone = reading::read_input(&found, || tempfile::tempfile_in(bench.folder.path()));
        assert!(matches!(gone, Err(reading::ReadError::Gone)));
    }
}

#[test]
fn a_large_input_is_copied_into_the_given_folder_and_nowhere_else() {
    let bench = Bench::new();
    let path = bench.path("in/large.dcm");
    File::create(&path).unwrap().set_len(33 << 20).unwrap();
    let found = Folder::open(&bench.path("in")).unwrap().scan().unwrap().remove(0);
    let missing = reading::read_input(&found, || tempfile::tempfile_in(bench.path("missing")));
    let Err(error @ reading::ReadError::Spool(_)) = missing else { panic!("{missing:?}") };
    assert_eq!(error.code().as_str(), code::OUTPUT_UNWRITABLE, "the input folder is in order");
    let (payload, _) =
        reading::read_input(&found, || tempfile::tempfile_in(bench.folder.path())).ok().unwrap();
    assert_eq!(payload.len(), 33 << 20);
}

#[test]
fn what_was_judged_while_it_was_being_written_gives_way_to_the_whole_and_another_content_does_not() {
    let bench = Bench::new();
    bench.output("out");
    // The host was ended at it too often, so that it stands in quarantine.
    let quarantined = |name: &str, content: &str| {
        let found = bench.input(name, content);
        let digest = martello_vocab::Digest::of(content.as_bytes());
        (0..3).for_each(|_| drop(bench.start(&found, Some(digest))));
        assert_eq!(bench.run().unwrap().this_run, Tally { done: 0, quarantined: 1 });
        bench.start(&found, Some(digest))
    };
    let in_quarantine = || fs::read_dir(bench.path("out/quarantine")).unwrap().count();
    let half = quarantined("a.dcm", "half");
    assert_eq!(in_quarantine(), 2);
    bench.input("a.dcm", "half and half");
    let summary = bench.run().unwrap();
    assert_eq!((summary.this_run.done, summary.all), (1, Tally { done: 1, quarantined: 0 }));
    assert_eq!(in_quarantine(), 0);
    let lines = bench.lines();
    assert_eq!((lines.len(), &lines[0]["outcome"]), (1, &"done".into()));
    assert!(lines[0].get("supersedes").is_none(), "{lines:?}");
    // The decision is not gone without a trace.
    let part = serde_json::json!({ "id": half, "code": code::INPUT_CRASHES_HOST });
    assert_eq!(lines[0]["instead_of"], Value::from(vec![part]));
    // A file that is another one: what was the matter with the first may have to be looked into.
    let first = quarantined("b.dcm", "an attack");
    bench.input("b.dcm", "an image");
    assert_eq!(bench.run().unwrap().all, Tally { done: 2, quarantined: 1 });
    assert_eq!(in_quarantine(), 2);
    assert_eq!(bench.lines()[2]["supersedes"], Value::from(vec![first]));
}
