//! Inputs that were received.

use super::*;

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
    let output = bench.output("elsewhere");
    fs::remove_dir(output.memory().path()).unwrap();
    for _ in 0..2 {
        let input = Input::Spool(Arc::clone(&received));
        let (worked, _) = bench.dispatch_to(output.clone(), input, found.clone(), false);
        worked.unwrap();
        assert_eq!(names(&received), ["copied.dcm", "giant.dcm"]);
    }
    // The device is mended.
    let output = bench.output("out");
    bench.dispatch_to(output, Input::Spool(Arc::clone(&received)), found, false).0.unwrap();
    assert_eq!(names(&received), ["giant.dcm"]);
}
