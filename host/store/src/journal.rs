//! The journal of a run: which inputs were started, which are complete, and the report line of each.
//!
//! INVARIANT: an input is `done` or `quarantined` in the journal only after its outputs are durable; the caller makes
//! them so with [`crate::place`] and commits afterwards. Kept by `a_run_that_is_killed_goes_on_where_it_was` in
//! the end-to-end tests.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use martello_vocab::{Code, Digest};
use rusqlite::{Connection, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};

/// The version of the tables below. Version 1 had no column `again`.
const SCHEMA: i64 = 2;

/// The journal of one run: one bundle, one output folder.
#[derive(Debug)]
pub struct Journal {
    /// `synchronous=FULL`: what it commits survives a power cut.
    durable: Mutex<Connection>,
    /// `synchronous=NORMAL`: what it commits survives the death of this process, which is all that counting starts
    /// needs, and costs no fsync for each input.
    marks: Mutex<Connection>,
    path: PathBuf,
    _lock: File,
}

/// An input whose work begins.
#[derive(Debug, Clone)]
pub struct Started<'a> {
    /// The id under which its outputs stand.
    pub id: &'a str,
    /// The file's name relative to the input folder.
    pub name: &'a str,
    /// Its content; none where it could not be read.
    pub digest: Option<Digest>,
    /// Length in bytes and time of last change in nanoseconds since 1970, to know it again without reading it.
    pub fingerprint: (u64, i64),
}

/// How an input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its outputs are there.
    Done,
    /// A copy stands in quarantine.
    Quarantined,
    /// It stands in quarantine because the device failed at it: the next run tries it again.
    DeviceFailed,
}

impl Outcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Quarantined | Self::DeviceFailed => "quarantine",
        }
    }

    const fn again(self) -> bool {
        matches!(self, Self::DeviceFailed)
    }
}

/// A start that was counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// How often the input was started, this start included.
    pub count: u32,
    /// Ids under which the device failed at this input before; what stands in quarantine under them is out of date.
    pub superseded: Vec<String>,
}

/// An input whose work is complete.
#[derive(Debug, Clone)]
pub struct Completed {
    /// Its id.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Its line of the report: JSON without a line break.
    pub line: String,
}

/// How many inputs ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Inputs whose outputs are there.
    pub done: u64,
    /// Inputs in quarantine.
    pub quarantined: u64,
}

/// What can be wrong with a journal.
#[derive(Debug, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say it")]
pub enum JournalError {
    #[error("another process is working in this output folder (lock `{path}`)")]
    Busy { path: PathBuf },
    #[error("this output folder was begun with bundle {found}, not {expected}; choose another output folder")]
    OtherBundle { found: String, expected: Digest },
    #[error("the journal `{path}` has format {found}, this program knows format {SCHEMA}")]
    OtherFormat { path: PathBuf, found: i64 },
    #[error("working on the journal `{path}`")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("opening the journal folder `{path}`")]
    Folder { path: PathBuf, source: std::io::Error },
}

impl Journal {
    /// Opens the journal in `folder`, or begins one for `bundle`.
    ///
    /// # Errors
    /// Another process holds it, it belongs to another bundle or format, or the disk fails.
    pub fn open(folder: &Path, bundle: &Digest) -> Result<Self, JournalError> {
        let in_folder = |source| JournalError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(in_folder)?;
        let lock_path = folder.join("lock");
        let lock =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(in_folder)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(JournalError::Busy { path: lock_path });
        }
        let path = folder.join("journal.sqlite");
        let open = |synchronous: &str| -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(std::time::Duration::from_secs(30))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            Ok(connection)
        };
        let in_database = |source| JournalError::Database { path: path.clone(), source };
        let durable = open("FULL").map_err(in_database)?;
        let found: i64 =
            durable.query_row("PRAGMA user_version", [], |row| row.get(0)).map_err(in_database)?;
        match found {
            0 => begin(&durable, bundle).map_err(in_database)?,
            1 => add_again(&durable).map_err(in_database)?,
            SCHEMA => {}
            found => return Err(JournalError::OtherFormat { path, found }),
        }
        let begun: String =
            durable.query_row("SELECT bundle FROM run", [], |row| row.get(0)).map_err(in_database)?;
        if begun != bundle.to_string() {
            return Err(JournalError::OtherBundle { found: begun, expected: *bundle });
        }
        let marks = open("NORMAL").map_err(in_database)?;
        Ok(Self { durable: Mutex::new(durable), marks: Mutex::new(marks), path, _lock: lock })
    }

    /// Whether an input of this name, length and time of change is complete, so that it need not be read again. One
    /// at which the device failed is not.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_complete(&self, name: &str, fingerprint: (u64, i64)) -> Result<bool, JournalError> {
        lock(&self.marks)
            .prepare_cached(
                "SELECT 1 FROM input WHERE name = ?1 AND length = ?2 AND changed = ?3
                   AND outcome IS NOT NULL AND NOT again",
            )
            .and_then(|mut found| {
                found.query_row(params![name, signed(fingerprint.0), fingerprint.1], |_| Ok(())).optional()
            })
            .map(|row| row.is_some())
            .map_err(|source| self.failed(source))
    }

    /// How often an input that is not complete was started so far.
    ///
    /// # Errors
    /// The database fails.
    pub fn starts(&self, id: &str) -> Result<u32, JournalError> {
        lock(&self.marks)
            .prepare_cached("SELECT starts FROM input WHERE id = ?1 AND outcome IS NULL")
            .and_then(|mut starts| starts.query_row([id], |row| row.get(0)).optional())
            .map(Option::unwrap_or_default)
            .map_err(|source| self.failed(source))
    }

    /// Counts a start of this input; none where it is complete already. Where the device failed at it before, that is
    /// forgotten, and its starts are counted anew.
    ///
    /// # Errors
    /// The database fails.
    pub fn start(&self, input: &Started<'_>) -> Result<Option<Start>, JournalError> {
        let mut marks = lock(&self.marks);
        let digest = input.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let (length, changed) = (signed(input.fingerprint.0), input.fingerprint.1);
        let mut work = || -> rusqlite::Result<Option<Start>> {
            // Immediate: a transaction that begins by reading may not wait for the scribe's when it comes to write.
            let transaction = marks.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let superseded = transaction
                .prepare_cached(
                    "DELETE FROM input WHERE again AND (id = ?1 OR (name = ?2 AND length = ?3 AND changed = ?4))
                     RETURNING id",
                )?
                .query_map(params![input.id, input.name, length, changed], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let (count, complete) = transaction
                .prepare_cached(
                    "INSERT INTO input (id, name, digest, length, changed, starts) VALUES (?1, ?2, ?3, ?4, ?5, 1)
                     ON CONFLICT (id) DO UPDATE SET length = ?4, changed = ?5,
                       starts = starts + (outcome IS NULL)
                     RETURNING starts, outcome IS NOT NULL",
                )?
                .query_row(params![input.id, input.name, digest, length, changed], |row| {
                    Ok((row.get::<_, u32>(0)?, row.get::<_, bool>(1)?))
                })?;
            transaction.commit()?;
            Ok((!complete).then_some(Start { count, superseded }))
        };
        work().map_err(|source| self.failed(source))
    }

    /// Takes back the start of an input whose work was ended in good order before it was complete.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_back(&self, id: &str) -> Result<(), JournalError> {
        lock(&self.marks)
            .execute("UPDATE input SET starts = max(starts - 1, 0) WHERE id = ?1 AND outcome IS NULL", [id])
            .map(|_| ())
            .map_err(|source| self.failed(source))
    }

    /// Commits complete inputs, all or none, durably. An input that is complete already keeps its first line.
    ///
    /// # Errors
    /// The database fails; nothing is committed then.
    pub fn complete(&self, inputs: &[Completed]) -> Result<(), JournalError> {
        let mut durable = lock(&self.durable);
        let mut work = || -> rusqlite::Result<()> {
            let transaction = durable.transaction()?;
            {
                let mut update = transaction.prepare_cached(
                    "UPDATE input SET outcome = ?2, line = ?3, again = ?4,
                       completed = (SELECT coalesce(max(completed), 0) + 1 FROM input)
                     WHERE id = ?1 AND outcome IS NULL",
                )?;
                for input in inputs {
                    update.execute(params![
                        input.id,
                        input.outcome.as_str(),
                        input.line,
                        input.outcome.again()
                    ])?;
                }
            }
            transaction.commit()
        };
        work().map_err(|source| self.failed(source))
    }

    /// Calls `each` with the report line of every complete input, in the order of completion.
    ///
    /// # Errors
    /// The database fails, or `each` does.
    pub fn lines<E: From<JournalError>>(&self, mut each: impl FnMut(&str) -> Result<(), E>) -> Result<(), E> {
        let failed = |source| E::from(self.failed(source));
        let durable = lock(&self.durable);
        let mut select = durable
            .prepare("SELECT line FROM input WHERE outcome IS NOT NULL ORDER BY completed")
            .map_err(failed)?;
        let mut rows = select.query([]).map_err(failed)?;
        while let Some(row) = rows.next().map_err(failed)? {
            let line: String = row.get(0).map_err(failed)?;
            each(&line)?;
        }
        Ok(())
    }

    /// How many inputs ended how.
    ///
    /// # Errors
    /// The database fails.
    pub fn tally(&self) -> Result<Tally, JournalError> {
        lock(&self.durable)
            .query_row(
                "SELECT count(*) FILTER (WHERE outcome = 'done'), count(*) FILTER (WHERE outcome = 'quarantine')
                 FROM input",
                [],
                |row| Ok(Tally { done: row.get::<_, i64>(0)?.unsigned_abs(), quarantined: row.get::<_, i64>(1)?.unsigned_abs() }),
            )
            .map_err(|source| self.failed(source))
    }

    fn failed(&self, source: rusqlite::Error) -> JournalError {
        JournalError::Database { path: self.path.clone(), source }
    }
}

/// A panic of another thread in the middle of a statement leaves the connection usable: SQLite rolls back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

fn begin(connection: &Connection, bundle: &Digest) -> rusqlite::Result<()> {
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         CREATE TABLE run (bundle TEXT NOT NULL) STRICT;
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
         CREATE INDEX input_name ON input (name);
         CREATE INDEX input_completed ON input (completed);
         INSERT INTO run VALUES ('{bundle}');
         PRAGMA user_version = {SCHEMA};
         COMMIT;"
    ))
}

/// From version 1 to 2. Inputs at which the device failed were complete for good; now they are tried again.
fn add_again(connection: &Connection) -> rusqlite::Result<()> {
    let codes = Code::OF_THE_DEVICE.map(|code| format!("'{code}'")).join(", ");
    connection.execute_batch(&format!(
        "BEGIN IMMEDIATE;
         ALTER TABLE input ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
         UPDATE input SET again = 1 WHERE outcome = 'quarantine' AND json_extract(line, '$.code') IN ({codes});
         PRAGMA user_version = 2;
         COMMIT;"
    ))
}

/// SQLite's integers are signed; a file that long does not exist.
fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started<'a>(id: &'a str, name: &'a str) -> Started<'a> {
        Started { id, name, digest: Some(Digest::of(name.as_bytes())), fingerprint: (3, 7) }
    }

    fn first(count: u32) -> Option<Start> {
        Some(Start { count, superseded: Vec::new() })
    }

    fn completed(id: &str, outcome: Outcome) -> Completed {
        Completed { id: id.to_owned(), outcome, line: format!("{{\"id\":\"{id}\"}}") }
    }

    #[test]
    fn what_was_completed_is_known_after_opening_again_and_not_done_twice() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = Digest::of(b"bundle");
        {
            let journal = Journal::open(folder.path(), &bundle).unwrap();
            assert_eq!(journal.start(&started("1", "a")).unwrap(), first(1));
            assert_eq!(journal.start(&started("2", "b")).unwrap(), first(1));
            journal.complete(&[completed("2", Outcome::Quarantined)]).unwrap();
        }
        let journal = Journal::open(folder.path(), &bundle).unwrap();
        assert!(journal.is_complete("b", (3, 7)).unwrap());
        assert!(!journal.is_complete("b", (3, 8)).unwrap());
        assert!(!journal.is_complete("a", (3, 7)).unwrap());
        assert_eq!(journal.start(&started("2", "b")).unwrap(), None);
        assert_eq!(journal.start(&started("1", "a")).unwrap(), first(2), "the first start was cut off");
        journal.complete(&[completed("1", Outcome::Done), completed("2", Outcome::Done)]).unwrap();
        assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 1 });
        let mut lines = Vec::new();
        journal
            .lines(|line| {
                lines.push(line.to_owned());
                Ok::<(), JournalError>(())
            })
            .unwrap();
        assert_eq!(lines, [r#"{"id":"2"}"#, r#"{"id":"1"}"#]);
    }

    #[test]
    fn a_start_that_is_taken_back_does_not_count() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &Digest::of(b"bundle")).unwrap();
        journal.start(&started("1", "a")).unwrap();
        journal.take_back("1").unwrap();
        assert_eq!(journal.start(&started("1", "a")).unwrap(), first(1));
    }

    #[test]
    fn an_input_at_which_the_device_failed_is_started_anew_and_its_line_gives_way() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(folder.path(), &Digest::of(b"bundle")).unwrap();
        // It could not be read, and stood under an id without its content.
        let unread = Started { digest: None, ..started("unread", "a") };
        journal.start(&unread).unwrap();
        journal.complete(&[completed("unread", Outcome::DeviceFailed)]).unwrap();
        assert_eq!(journal.tally().unwrap(), Tally { done: 0, quarantined: 1 });
        assert!(!journal.is_complete("a", (3, 7)).unwrap());
        assert_eq!(journal.starts("unread").unwrap(), 0);
        // Read now, the host failed at it.
        let superseded = vec!["unread".to_owned()];
        assert_eq!(journal.start(&started("1", "a")).unwrap(), Some(Start { count: 1, superseded }));
        journal.complete(&[completed("1", Outcome::DeviceFailed)]).unwrap();
        let superseded = vec!["1".to_owned()];
        assert_eq!(journal.start(&started("1", "a")).unwrap(), Some(Start { count: 1, superseded }));
        assert_eq!(journal.starts("1").unwrap(), 1);
        journal.complete(&[completed("1", Outcome::Done)]).unwrap();
        assert!(journal.is_complete("a", (3, 7)).unwrap());
        assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 0 });
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
        let journal = Journal::open(folder.path(), &bundle).unwrap();
        let complete = ["done", "malformed", "unwritable", "begun"]
            .map(|name| journal.is_complete(name, (3, 7)).unwrap());
        assert_eq!(complete, [true, true, false, false]);
        assert_eq!(journal.tally().unwrap(), Tally { done: 1, quarantined: 2 });
        drop(journal);
        drop(Journal::open(folder.path(), &bundle).unwrap());
    }

    #[test]
    fn a_folder_begun_with_another_bundle_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(Journal::open(folder.path(), &Digest::of(b"one")).unwrap());
        let refused = Journal::open(folder.path(), &Digest::of(b"two"));
        assert!(matches!(refused, Err(JournalError::OtherBundle { .. })), "{refused:?}");
    }

    #[test]
    fn two_journals_of_one_folder_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _first = Journal::open(folder.path(), &Digest::of(b"one")).unwrap();
        let second = Journal::open(folder.path(), &Digest::of(b"one"));
        assert!(matches!(second, Err(JournalError::Busy { .. })), "{second:?}");
    }
}
