//! Whose an output folder is, and what may stand in it.

use std::os::unix::fs::symlink;

use super::*;

#[test]
fn an_output_folder_inside_the_input_folder_is_refused_before_it_is_made() {
    let bench = Bench::new();
    fs::create_dir(bench.path("beside")).unwrap();
    symlink(bench.path("in"), bench.path("beside/link")).unwrap();
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
            disk: PATIENCE,
        };
        let ended = on_threads(run.run(Arc::clone(&bench.active), Arc::new(Silent), Stop::default()));
        assert_eq!(matches!(ended, Err(RunError::OwnOutputs { .. })), !allowed, "{input}: {ended:?}");
        assert_eq!(ended.is_ok(), allowed, "{input}: {ended:?}");
    }
}

#[test]
fn a_run_that_is_refused_takes_nothing_from_the_one_that_is_at_work() {
    let bench = Bench::new();
    bench.input("a.dcm", "content");
    bench.run().unwrap();
    let at_work = bench.journal();
    let staged = bench.output("out").tree().stage("findings/1.json", 0o600).unwrap().written();
    let refused = bench.run();
    assert!(matches!(refused, Err(RunError::Journal(JournalError::Busy { .. }))), "{refused:?}");
    martello_store::place::settle(vec![staged]).unwrap();
    drop(at_work);
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
fn a_link_in_the_place_of_what_a_run_makes_is_refused_with_its_code_and_nothing_lands_behind_it() {
    for name in ["quarantine", "findings", ".martello", "report.jsonl"] {
        let bench = Bench::new();
        // Quarantined, so that a copy would land there.
        File::create(bench.path("in/a.dcm")).unwrap().set_len((4 << 30) + 1).unwrap();
        for folder in ["out", "elsewhere"] {
            fs::create_dir(bench.path(folder)).unwrap();
        }
        symlink(bench.path("elsewhere"), bench.path("out").join(name)).unwrap();
        let refused = bench.run().unwrap_err();
        assert_eq!(refused.code().unwrap().as_str(), code::OUTPUT_LINK, "{name}: {refused:?}");
        assert_eq!(fs::read_dir(bench.path("elsewhere")).unwrap().count(), 0, "{name}");
    }
    // Whoever names the output folder may mean a link.
    let bench = Bench::new();
    bench.input("a.dcm", "content");
    fs::create_dir(bench.path("elsewhere")).unwrap();
    symlink(bench.path("elsewhere"), bench.path("out")).unwrap();
    assert_eq!(bench.run().unwrap().this_run.done, 1);
    assert!(bench.path("elsewhere/report.jsonl").exists());
}

#[test]
fn a_run_over_a_damaged_journal_is_refused_with_its_code_and_harms_nothing() {
    let bench = Bench::new();
    bench.input("a.dcm", "content");
    bench.run().unwrap();
    let (report, journal) = (bench.path("out/report.jsonl"), bench.path("out/.martello/journal.sqlite"));
    let (lines, whole) = (fs::read(&report).unwrap(), fs::read(&journal).unwrap());
    fs::write(&journal, &whole[..whole.len() / 2]).unwrap();
    let refused = bench.run().unwrap_err();
    assert_eq!(refused.code().unwrap().as_str(), code::JOURNAL_DAMAGED, "{refused:?}");
    assert_eq!(fs::read(&report).unwrap(), lines);
    fs::write(&journal, whole).unwrap();
    assert_eq!(bench.run().unwrap().skipped, 1);
}
