//! The journal over a folder, opened as runs open it one after another.

use std::path::Path;

use martello_vocab::{Code, code};
use rustix::io::Errno;

use super::opening::not_locked;
use super::*;
use crate::place::Tree;

fn binding(bundle: &[u8], pseudonym_key: &'static str) -> Binding<'static> {
    Binding { bundle: Digest::of(bundle), pseudonym_key, key_of: &|_, _| None }
}

fn open_as(folder: &Path, binding: &Binding<'_>, remains: Remains) -> Result<Journal, JournalError> {
    Journal::open(&Tree::open(folder).unwrap(), binding, remains)
}

/// Opens a journal as the run does that began it.
fn open(folder: &Path) -> Result<Journal, JournalError> {
    open_as(folder, &binding(b"bundle", "0a0b0c0d"), Remains::Nothing)
}

fn started<'a>(id: &'a str, name: &'a str) -> Started<'a> {
    Started { id, name, digest: Some(Digest::of(name.as_bytes())), fingerprint: (3, 7) }
}

fn first(count: u32) -> Start {
    Start { superseded: Vec::new(), begun: Some(Begun { count, recorded: None }) }
}

/// An input that is complete already.
fn complete() -> Start {
    Start { superseded: Vec::new(), begun: None }
}

/// The first start of an input at which the device failed under this id.
fn instead_of(id: &str) -> Start {
    Start { superseded: vec![id.to_owned()], ..first(1) }
}

fn completed(id: &str, outcome: Outcome) -> Completed {
    Completed { id: id.to_owned(), outcome, line: format!("{{\"id\":\"{id}\"}}"), instead_of: Vec::new() }
}

fn lines(journal: &Journal) -> Vec<String> {
    let mut lines = Vec::new();
    let each = |line: &str| {
        lines.push(line.to_owned());
        Ok::<(), JournalError>(())
    };
    journal.lines(each).unwrap();
    lines
}

#[test]
fn what_was_completed_is_known_after_opening_again_and_not_done_twice() {
    let folder = tempfile::tempdir().unwrap();
    {
        let journal = open(folder.path()).unwrap();
        assert_eq!(journal.start(&started("1", "a")).unwrap(), first(1));
        assert_eq!(journal.start(&started("2", "b")).unwrap(), first(1));
        journal.complete(&[completed("2", Outcome::Quarantined)]).unwrap();
    }
    let journal = open(folder.path()).unwrap();
    assert!(journal.is_complete("b", (3, 7)).unwrap());
    assert!(!journal.is_complete("b", (3, 8)).unwrap());
    assert!(!journal.is_complete("b", (4, 7)).unwrap());
    assert!(!journal.is_complete("a", (3, 7)).unwrap());
    assert_eq!(journal.start(&started("2", "b")).unwrap(), complete());
    assert_eq!(journal.start(&started("1", "a")).unwrap(), first(2), "the first start was cut off");
    journal.complete(&[completed("1", Outcome::Done), completed("2", Outcome::Done)]).unwrap();
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 1 });
    journal.start(&started("3", "c")).unwrap();
    assert_eq!(lines(&journal), [r#"{"id":"2"}"#, r#"{"id":"1"}"#]);
}

#[test]
fn what_is_completed_outlives_a_power_cut_and_a_start_waits_for_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    // As SQLite numbers them: 2 is FULL, 1 is NORMAL.
    for (connection, expected) in [(&journal.durable, 2), (&journal.marks, 1)] {
        let asked = |name: &str| lock(connection).query_row(name, [], |row| row.get(0)).unwrap();
        let synchronous: rusqlite::types::Value = asked("PRAGMA synchronous");
        assert_eq!(synchronous, rusqlite::types::Value::Integer(expected));
        assert_eq!(asked("PRAGMA journal_mode"), rusqlite::types::Value::Text("wal".to_owned()));
    }
}

#[test]
fn a_start_that_is_taken_back_does_not_count() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.start(&started("1", "a")).unwrap();
    journal.take_back("1").unwrap();
    assert_eq!(journal.start(&started("1", "a")).unwrap(), first(1));
}

#[test]
fn a_complete_input_that_was_touched_is_known_by_its_content_and_then_again_without_reading() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.start(&started("1", "a")).unwrap();
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    let touched = Started { fingerprint: (3, 9), ..started("1", "a") };
    assert!(!journal.is_complete("a", touched.fingerprint).unwrap());
    assert_eq!(journal.start(&touched).unwrap(), complete());
    assert!(journal.is_complete("a", touched.fingerprint).unwrap());
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
    // The same of one at which the device failed.
    journal.start(&started("2", "b")).unwrap();
    journal.complete(&[completed("2", Outcome::DeviceFailed)]).unwrap();
    let touched = Started { fingerprint: (3, 9), ..started("2", "b") };
    assert_eq!(journal.start(&touched).unwrap(), instead_of("2"));
}

#[test]
fn an_input_at_which_the_device_failed_is_started_anew_and_its_line_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    // It could not be read, and stood under an id without its content.
    let unread = Started { digest: None, ..started("unread", "a") };
    journal.start(&unread).unwrap();
    journal.complete(&[completed("unread", Outcome::DeviceFailed)]).unwrap();
    assert_eq!(journal.tally().unwrap(), Tally { done: 0, quarantined: 1 });
    assert!(!journal.is_complete("a", (3, 7)).unwrap());
    assert_eq!(journal.starts("unread").unwrap(), 0);
    // Read now, the host failed at it.
    assert_eq!(journal.start(&started("1", "a")).unwrap(), instead_of("unread"));
    journal.complete(&[completed("1", Outcome::DeviceFailed)]).unwrap();
    assert_eq!(journal.start(&started("1", "a")).unwrap(), instead_of("1"));
    assert_eq!(journal.starts("1").unwrap(), 1);
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    assert!(journal.is_complete("a", (3, 7)).unwrap());
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
}

#[test]
fn an_input_that_could_not_be_read_gives_way_to_the_next_of_its_name_whatever_its_times() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let unread = |id, changed| Started { digest: None, fingerprint: (3, changed), ..started(id, "a") };
    let fail = |id| journal.complete(&[completed(id, Outcome::DeviceFailed)]).unwrap();
    journal.start(&unread("unread", 7)).unwrap();
    fail("unread");
    // Its rights are mended, not enough, and then enough.
    assert_eq!(journal.start(&unread("still unread", 8)).unwrap(), instead_of("unread"));
    fail("still unread");
    let read = Started { fingerprint: (3, 9), ..started("1", "a") };
    assert_eq!(journal.start(&read).unwrap(), instead_of("still unread"));
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    assert_eq!(lines(&journal), [r#"{"id":"1"}"#]);
    // One that was done before it could not be read.
    journal.start(&unread("unread again", 10)).unwrap();
    fail("unread again");
    let mended = Started { fingerprint: (3, 11), ..started("1", "a") };
    assert_eq!(journal.start(&mended).unwrap(), Start { begun: None, ..instead_of("unread again") });
    // One that was read, and another content of its name since: both stay, each with what became of it.
    journal.start(&started("2", "b")).unwrap();
    fail("2");
    let other = Started { fingerprint: (4, 8), ..started("3", "b") };
    assert_eq!(journal.start(&other).unwrap(), first(1));
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 1 });
}

#[test]
fn what_holds_a_line_does_not_show_it() {
    let completed = Completed { line: r#"{"input":"zzmark"}"#.to_owned(), ..completed("1", Outcome::Done) };
    let begun = Begun { count: 1, recorded: Some(completed.line.clone()) };
    let shown = format!("{completed:?} {:?}", Start { begun: Some(begun), ..complete() });
    assert!(!shown.contains("zzmark") && shown.contains("Done"), "{shown}");
}

#[test]
fn a_journal_of_version_1_is_read_and_tries_again_what_the_device_failed_at() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Digest::of(b"bundle");
    Connection::open(folder.path().join("journal.sqlite"))
        .unwrap()
        .execute_batch(&format!(
            "CREATE TABLE run (bundle TEXT NOT NULL) STRICT;
             CREATE TABLE input (
               id TEXT PRIMARY KEY,
               name TEXT NOT NULL,
               digest TEXT NOT NULL,
               length INTEGER NOT NULL,
               changed INTEGER NOT NULL,
               starts INTEGER NOT NULL,
               outcome TEXT CHECK (outcome IN ('done', 'quarantine')),
               line TEXT,
               completed INTEGER
             ) STRICT, WITHOUT ROWID;
             CREATE INDEX input_name ON input (name);
             CREATE INDEX input_completed ON input (completed);
             INSERT INTO run VALUES ('{bundle}');
             INSERT INTO input VALUES
               ('1', 'done', '', 3, 7, 1, 'done', '{{}}', 1),
               ('2', 'malformed', '', 3, 7, 1, 'quarantine', '{{\"code\":\"malformed\"}}', 2),
               ('3', 'unwritable', '', 3, 7, 1, 'quarantine', '{{\"code\":\"output-unwritable\"}}', 3),
               ('4', 'begun', '', 3, 7, 1, NULL, NULL, NULL);
             PRAGMA user_version = 1;"
        ))
        .unwrap();
    let journal = open(folder.path()).unwrap();
    let complete =
        ["done", "malformed", "unwritable", "begun"].map(|name| journal.is_complete(name, (3, 7)).unwrap());
    assert_eq!(complete, [true, true, false, false]);
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 2 });
    drop(journal);
    drop(open(folder.path()).unwrap());
}

#[test]
fn a_journal_of_version_2_is_bound_to_the_key_that_is_there_unless_its_bundle_is_another() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Digest::of(b"bundle");
    Connection::open(folder.path().join("journal.sqlite"))
        .unwrap()
        .execute_batch(&format!(
            "CREATE TABLE run (bundle TEXT NOT NULL) STRICT;
             CREATE TABLE input (
               id TEXT PRIMARY KEY,
               name TEXT NOT NULL,
               digest TEXT NOT NULL,
               length INTEGER NOT NULL,
               changed INTEGER NOT NULL,
               starts INTEGER NOT NULL,
               outcome TEXT CHECK (outcome IN ('done', 'quarantine')),
               line TEXT,
               completed INTEGER,
               again INTEGER NOT NULL DEFAULT 0
             ) STRICT, WITHOUT ROWID;
             INSERT INTO run VALUES ('{bundle}');
             INSERT INTO input VALUES
               ('1', 'done', '', 3, 7, 1, 'done', '{{}}', 1, 0),
               ('2', 'unwritable', '', 3, 7, 1, 'quarantine', '{{}}', 2, 1);
             PRAGMA user_version = 2;"
        ))
        .unwrap();
    let with = |bundle, key| open_as(folder.path(), &binding(bundle, key), Remains::Report);
    assert!(matches!(with(b"another", "ffffffff"), Err(JournalError::OtherBundle { .. })));
    let journal = with(b"bundle", "0a0b0c0d").unwrap();
    let complete = ["done", "unwritable"].map(|name| journal.is_complete(name, (3, 7)).unwrap());
    assert_eq!(complete, [true, false]);
    assert_eq!(journal.lost().unwrap(), 0);
    drop(journal);
    assert!(matches!(with(b"bundle", "ffffffff"), Err(JournalError::OtherKey { .. })));
}

#[test]
fn a_folder_begun_with_another_bundle_or_another_key_is_refused_with_its_code_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()).unwrap());
    for (other, code) in [
        (binding(b"other", "0a0b0c0d"), code::OTHER_BUNDLE),
        (binding(b"bundle", "ffffffff"), code::OTHER_KEY),
    ] {
        let refused = open_as(folder.path(), &other, Remains::Nothing).unwrap_err();
        assert_eq!(refused.code(), Some(Code::of(code)), "{refused:?}");
    }
    drop(open(folder.path()).unwrap());
}

#[test]
fn a_journal_that_is_gone_or_emptied_beside_results_is_not_begun_anew() {
    let gone = |folder: &Path, remains| {
        let opened = open_as(folder, &binding(b"bundle", "0a0b0c0d"), remains);
        let refused = opened.err().map(|error| error.code());
        assert!(matches!(&refused, None | Some(Some(_))), "{refused:?}");
        refused.flatten() == Some(Code::of(code::JOURNAL_MISSING))
    };
    for remains in [Remains::Outputs, Remains::Report] {
        let folder = tempfile::tempdir().unwrap();
        assert!(gone(folder.path(), remains), "{remains:?}");
        assert!(gone(folder.path(), remains), "{remains:?}, where the refusal left an empty file");
        std::fs::write(folder.path().join("journal.sqlite"), "").unwrap();
        assert!(gone(folder.path(), remains), "{remains:?}, of no length");
    }
    let folder = tempfile::tempdir().unwrap();
    assert!(!gone(folder.path(), Remains::Nothing));
    // The power failed after the first outputs and before the journal heard of them.
    assert!(!gone(folder.path(), Remains::Outputs));
    assert!(gone(folder.path(), Remains::Report), "without inputs");
    open(folder.path()).unwrap().start(&started("1", "a")).unwrap();
    assert!(!gone(folder.path(), Remains::Report));
    let database = Connection::open(folder.path().join("journal.sqlite")).unwrap();
    database.execute_batch("DELETE FROM run").unwrap();
    assert!(gone(folder.path(), Remains::Nothing), "without its bundle");
}

#[test]
fn an_input_whose_outputs_are_lost_is_begun_again_and_keeps_its_place_in_the_report() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    for (id, name, outcome) in
        [("1", "a", Outcome::Done), ("2", "b", Outcome::Done), ("3", "c", Outcome::Quarantined)]
    {
        journal.start(&started(id, name)).unwrap();
        journal.complete(&[completed(id, outcome)]).unwrap();
    }
    let mut asked = Vec::new();
    let lost = journal.review(|line, look| {
        asked.push((line.to_owned(), look));
        !line.contains('1')
    });
    assert_eq!((lost.unwrap(), journal.lost().unwrap()), (1, 1));
    // What stands in quarantine is for a person to take away.
    assert_eq!(asked, [(r#"{"id":"1"}"#.into(), Look::Glance), (r#"{"id":"2"}"#.into(), Look::Glance)]);
    assert!(!journal.is_complete("a", (3, 7)).unwrap());
    assert!(journal.is_complete("b", (3, 7)).unwrap());
    assert_eq!(journal.tally().unwrap(), Tally { done: 2, quarantined: 1 });
    assert_eq!(journal.starts("1").unwrap(), 0);
    let start = journal.start(&started("1", "a")).unwrap().begun.unwrap();
    assert_eq!((start.count, start.recorded.as_deref()), (1, Some(r#"{"id":"1"}"#)));
    let line = r#"{"id":"1","again":true}"#.to_owned();
    journal.complete(&[Completed { line: line.clone(), ..completed("1", Outcome::Done) }]).unwrap();
    assert!(journal.is_complete("a", (3, 7)).unwrap());
    assert_eq!((journal.lost().unwrap(), journal.start(&started("1", "a")).unwrap()), (0, complete()));
    assert_eq!(lines(&journal), [&line, r#"{"id":"2"}"#, r#"{"id":"3"}"#]);
}

#[test]
fn starts_of_an_input_whose_outputs_are_lost_are_counted_over_reviews_and_it_is_looked_at_closely_then() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.start(&started("1", "a")).unwrap();
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    for count in 1..=2 {
        assert_eq!(journal.review(|_, _| false).unwrap(), 1);
        assert_eq!(journal.start(&started("1", "a")).unwrap().begun.unwrap().count, count);
        assert_eq!(journal.starts("1").unwrap(), count);
    }
    journal.take_back("1").unwrap();
    assert_eq!(journal.starts("1").unwrap(), 1);
    let mut looks = Vec::new();
    let mut there = |_: &str, look| {
        looks.push(look);
        true
    };
    assert_eq!(journal.review(&mut there).unwrap(), 0);
    assert_eq!(journal.review(&mut there).unwrap(), 0);
    assert_eq!(looks, [Look::Closely, Look::Glance]);
    assert!(journal.is_complete("a", (3, 7)).unwrap());
}

#[test]
fn what_was_lost_is_looked_at_closely_also_where_its_start_was_taken_back() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.start(&started("1", "a")).unwrap();
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    journal.review(|_, _| false).unwrap();
    // Its outputs came to stand there, and the journal could not be told.
    journal.start(&started("1", "a")).unwrap();
    journal.take_back("1").unwrap();
    let lost = journal.review(|_, look| look == Look::Glance);
    assert_eq!(lost.unwrap(), 1);
}

#[test]
fn a_lock_that_the_file_system_refuses_is_no_other_process() {
    let folder = Path::new("folder");
    let refused = |errno| not_locked(errno, folder, folder.join("lock"));
    assert!(matches!(refused(Errno::WOULDBLOCK), JournalError::Busy { .. }));
    let JournalError::Folder { path, source } = refused(Errno::NOLCK) else { panic!("it is told as busy") };
    assert_eq!((path.as_path(), source.raw_os_error()), (folder, Some(Errno::NOLCK.raw_os_error())));
}

#[test]
fn two_journals_of_one_folder_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _first = open(folder.path()).unwrap();
    let second = open(folder.path());
    assert!(matches!(second, Err(JournalError::Busy { .. })), "{second:?}");
}

#[test]
fn inputs_whose_outputs_are_lost_count_as_complete_where_they_are_left_and_stay_lost() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    for (id, name) in [("1", "a"), ("2", "b")] {
        journal.start(&started(id, name)).unwrap();
    }
    journal.complete(&[completed("1", Outcome::Done)]).unwrap();
    assert_eq!(journal.review(|_, _| false).unwrap(), 1);
    drop(journal);
    let journal = open(folder.path()).unwrap();
    journal.leave_lost();
    assert!(journal.is_complete("a", (3, 7)).unwrap());
    assert_eq!((journal.starts("1").unwrap(), journal.starts("2").unwrap()), (0, 1));
    assert_eq!(journal.start(&started("1", "a")).unwrap(), complete());
    assert_eq!(journal.start(&started("2", "b")).unwrap(), first(2), "it was never complete");
    drop(journal);
    let journal = open(folder.path()).unwrap();
    assert_eq!(journal.lost().unwrap(), 1);
    let mut looks = Vec::new();
    journal
        .review(|_, look| {
            looks.push(look);
            false
        })
        .unwrap();
    assert_eq!(looks, [Look::Closely]);
    assert!(!journal.is_complete("a", (3, 7)).unwrap());
}

#[test]
fn an_input_takes_the_place_of_those_in_quarantine_that_it_names_and_of_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    let content = Digest::of(b"half");
    for (changed, (id, name, digest, outcome)) in (10..).zip([
        ("half", "a", Some(content), Outcome::Quarantined),
        ("done", "a", Some(Digest::of(b"done")), Outcome::Done),
        ("failed", "a", Some(Digest::of(b"failed")), Outcome::DeviceFailed),
        ("unread", "a", None, Outcome::Quarantined),
        ("other", "b", Some(content), Outcome::Quarantined),
    ]) {
        journal.start(&Started { digest, fingerprint: (3, changed), ..started(id, name) }).unwrap();
        let line = r#"{"input_bytes":4}"#.to_owned();
        journal.complete(&[Completed { line, ..completed(id, outcome) }]).unwrap();
    }
    let line = r#"{"input_bytes":4}"#.to_owned();
    let half = Quarantined { id: "half".to_owned(), digest: content, length: 4, line };
    assert_eq!(journal.quarantined("a").unwrap(), [half]);
    assert_eq!(journal.quarantined("c").unwrap(), []);
    journal.start(&Started { fingerprint: (8, 9), ..started("whole", "a") }).unwrap();
    let instead_of = vec!["half".to_owned(), "done".to_owned()];
    journal.complete(&[Completed { instead_of, ..completed("whole", Outcome::Done) }]).unwrap();
    assert_eq!(journal.quarantined("a").unwrap(), []);
    // What is done has outputs, and keeps its line.
    assert_eq!(journal.tally().unwrap(), Tally { done: 2, quarantined: 3 });
    assert_eq!(lines(&journal).last().unwrap(), r#"{"id":"whole"}"#);
}

#[test]
fn a_journal_that_is_damaged_or_of_a_later_format_is_refused_with_its_code_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = open(folder.path()).unwrap();
    for number in 0..200 {
        let id = number.to_string();
        journal.start(&started(&id, &id)).unwrap();
        journal.complete(&[completed(&id, Outcome::Done)]).unwrap();
    }
    drop(journal);
    let whole = std::fs::read(&path).unwrap();
    let later = |format: u32| {
        let mut bytes = whole.clone();
        // Where SQLite keeps the user version (file format, 1.3).
        bytes[60..64].copy_from_slice(&format.to_be_bytes());
        bytes
    };
    let without_table = {
        let other = tempfile::NamedTempFile::new().unwrap();
        let database = Connection::open(other.path()).unwrap();
        database.execute_batch("CREATE TABLE other (a); PRAGMA user_version = 3;").unwrap();
        drop(database);
        std::fs::read(other.path()).unwrap()
    };
    let flipped = {
        let mut bytes = whole.clone();
        bytes[4096..].fill(0x5a);
        bytes
    };
    for (what, bytes, code) in [
        ("no database", b"not SQLite, and longer than a header".repeat(100), code::JOURNAL_DAMAGED),
        ("cut", whole[..whole.len() / 2].to_vec(), code::JOURNAL_DAMAGED),
        ("overwritten", flipped, code::JOURNAL_DAMAGED),
        ("another program's", without_table, code::JOURNAL_DAMAGED),
        ("of a later format", later(99), code::JOURNAL_FORMAT),
        ("of no format", later(u32::MAX), code::JOURNAL_FORMAT),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        let opened = open_as(folder.path(), &binding(b"bundle", "0a0b0c0d"), Remains::Report);
        // As a run does first of all.
        let refused = opened.and_then(|journal| journal.review(|_, _| true)).unwrap_err();
        assert_eq!(refused.code(), Some(Code::of(code)), "{what}: {refused:?}");
        assert!(std::fs::read(&path).unwrap() == bytes, "{what}: it was changed");
    }
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(open(folder.path()).unwrap().tally().unwrap().done, 200);
}

#[test]
fn what_the_disk_or_another_process_does_is_no_damage() {
    use rusqlite::ffi;
    for code in [ffi::SQLITE_BUSY, ffi::SQLITE_FULL, ffi::SQLITE_IOERR, ffi::SQLITE_READONLY] {
        let failure = rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let error = JournalError::of("journal".into(), failure);
        assert!(matches!(error, JournalError::Database { .. }) && error.code().is_none(), "{error:?}");
    }
}

#[test]
fn a_log_whose_journal_is_gone_is_not_thrown_away() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("journal.sqlite-wal");
    std::fs::write(&log, "inputs").unwrap();
    let refused = open_as(folder.path(), &binding(b"bundle", "0a0b0c0d"), Remains::Report);
    assert!(matches!(refused, Err(JournalError::Missing { .. })), "{refused:?}");
    assert_eq!(std::fs::read(&log).unwrap(), b"inputs");
    assert!(!folder.path().join("journal.sqlite").exists());
}

#[test]
fn a_link_in_the_place_of_any_file_of_the_journal_is_refused_and_not_followed() {
    for name in ["lock", "journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"] {
        let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        std::os::unix::fs::symlink(elsewhere.path().join("made"), folder.path().join(name)).unwrap();
        let refused = open(folder.path()).unwrap_err();
        assert_eq!(refused.code(), Some(Code::of(code::OUTPUT_LINK)), "{name}: {refused:?}");
        assert!(!elsewhere.path().join("made").exists(), "{name}");
    }
}

#[test]
fn a_journal_that_wrote_no_key_down_is_refused_where_its_last_lines_tell_of_another() {
    let folder = tempfile::tempdir().unwrap();
    let bundle = Digest::of(b"bundle");
    let path = folder.path().join("journal.sqlite");
    open(folder.path()).unwrap();
    let begin = |rows: &str| {
        Connection::open(&path)
            .unwrap()
            .execute_batch(&format!(
                "DROP TABLE run; DROP TABLE input;
                 CREATE TABLE run (bundle TEXT NOT NULL) STRICT;
                 CREATE TABLE input (
                   id TEXT PRIMARY KEY, name TEXT NOT NULL, digest TEXT NOT NULL, length INTEGER NOT NULL,
                   changed INTEGER NOT NULL, starts INTEGER NOT NULL, outcome TEXT, line TEXT, completed INTEGER,
                   again INTEGER NOT NULL DEFAULT 0
                 ) STRICT, WITHOUT ROWID;
                 CREATE INDEX input_name ON input (name);
                 CREATE INDEX input_completed ON input (completed);
                 INSERT INTO run VALUES ('{bundle}');
                 INSERT INTO input VALUES {rows};
                 PRAGMA user_version = 2;"
            ))
            .unwrap();
    };
    let row = |id: u32, line: &str| format!("({id}, 'n{id}', '', 3, 7, 1, 'done', '{line}', {id}, 0)");
    let told = |name: &str, line: &str| line.strip_prefix("key ").map(|key| format!("{key}{}", &name[..1]));
    let open = || {
        let binding = Binding { bundle, pseudonym_key: "heren", key_of: &told };
        open_as(folder.path(), &binding, Remains::Report)
    };
    begin(&[row(1, "key here"), row(2, "key there"), row(3, "says nothing")].join(","));
    for _ in 0..2 {
        let Err(JournalError::OtherKey { found, .. }) = open() else { panic!("it was bound to the key") };
        assert_eq!(found, "theren");
    }
    begin(&[row(1, "key there"), row(2, "key here")].join(","));
    drop(open().unwrap());
    begin(&row(1, "says nothing"));
    drop(open().unwrap());
}

#[test]
fn a_full_disk_is_told_from_damage_and_the_same_commit_goes_well_when_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let journal = open(folder.path()).unwrap();
    journal.start(&started("1", "a")).unwrap();
    // SQLite answers a bound of its own as it does a full disk.
    let bound = |pages: u32| {
        let sql = format!("PRAGMA max_page_count = {pages}");
        lock(&journal.durable).query_row(&sql, [], |_| Ok(())).unwrap();
    };
    bound(1);
    let line = format!("{{\"note\":\"{}\"}}", "x".repeat(1 << 20));
    let large = [Completed { line, ..completed("1", Outcome::Done) }];
    let full = journal.complete(&large).unwrap_err();
    assert!(full.is_of_the_disk() && full.code().is_none(), "{full:?}");
    assert_eq!(journal.tally().unwrap(), Tally::default());
    bound(1 << 20);
    journal.complete(&large).unwrap();
    assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
}
