//! The journal of a run: which inputs were started, which are complete, and the report line of each.
//!
//! INVARIANT: an input is `done` or `quarantined` in the journal only after its outputs are durable; the caller makes
//! them so with [`crate::place`] and commits afterwards. Kept by `a_run_that_is_killed_goes_on_where_it_was` in
//! the end-to-end tests.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use martello_vocab::{Code, Digest, code};
use rusqlite::{Connection, OptionalExtension, params};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::tables::{self, SCHEMA};

/// The journal of one run: one bundle, one pseudonym key, one output folder.
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

/// What a journal is bound to. With another of either, every input would be done again, under other names beside the
/// old ones.
#[derive(Debug, Clone, Copy)]
pub struct Binding<'a> {
    /// The bundle.
    pub bundle: Digest,
    /// The id of the pseudonym key; never the key.
    pub pseudonym_key: &'a str,
}

/// What stands in an output folder when its journal is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remains {
    /// Nothing of an earlier run.
    Nothing,
    /// Outputs. A journal that was begun need not know of them: a power cut may come between them and its commit.
    Outputs,
    /// A report with lines. Each stood in the journal before it stood there.
    Report,
}

/// How to look whether the outputs of an input are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// That they are there, in their sizes.
    Glance,
    /// Every byte: they were lost, and may have been made again since without the journal hearing of it.
    Closely,
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

/// What the journal says of an input whose work is to begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Ids under which the device failed at this input before; what stands in quarantine under them is out of date, and
    /// the journal has forgotten it.
    pub superseded: Vec<String>,
    /// The start that was counted; none where the input is complete already.
    pub begun: Option<Begun>,
}

/// A start that was counted.
#[derive(Clone, PartialEq, Eq)]
pub struct Begun {
    /// How often the input was started, this start included.
    pub count: u32,
    /// The line of an input that was done before and whose outputs are lost.
    pub recorded: Option<String>,
}

/// A line may hold a file's name.
impl fmt::Debug for Begun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Begun").field("count", &self.count).finish_non_exhaustive()
    }
}

/// An input whose work is complete.
#[derive(Clone)]
pub struct Completed {
    /// Its id.
    pub id: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Its line of the report: JSON without a line break.
    pub line: String,
}

/// A line may hold a file's name.
impl fmt::Debug for Completed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Completed");
        shown.field("id", &self.id).field("outcome", &self.outcome).finish_non_exhaustive()
    }
}

/// How many inputs ended how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Inputs that are done, those among them whose outputs were lost since.
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
    #[error("this output folder was begun with bundle {found}, not {expected}")]
    OtherBundle { found: String, expected: Digest },
    #[error("this output folder was begun with pseudonym key {found}, not {expected}")]
    OtherKey { found: String, expected: String },
    #[error("the journal `{path}` is missing or empty, and results of an earlier run are there")]
    Missing { path: PathBuf },
    #[error("the journal `{path}` has format {found}, this program knows format {SCHEMA}")]
    OtherFormat { path: PathBuf, found: i64 },
    #[error("working on the journal `{path}`")]
    Database { path: PathBuf, source: rusqlite::Error },
    #[error("opening the journal folder `{path}`")]
    Folder { path: PathBuf, source: std::io::Error },
}

impl JournalError {
    /// The reason code of a run that is refused for what its output folder holds.
    pub const fn code(&self) -> Option<Code> {
        match self {
            Self::OtherBundle { .. } => Some(Code::of(code::OTHER_BUNDLE)),
            Self::OtherKey { .. } => Some(Code::of(code::OTHER_KEY)),
            Self::Missing { .. } => Some(Code::of(code::JOURNAL_MISSING)),
            Self::Busy { .. } | Self::OtherFormat { .. } | Self::Database { .. } | Self::Folder { .. } => {
                None
            }
        }
    }
}

impl Journal {
    /// Opens the journal in `folder`, or begins one where nothing remains of an earlier run.
    ///
    /// # Errors
    /// Another process holds it, it belongs to another bundle, key or format, it is gone while results of it are there,
    /// or the disk fails.
    pub fn open(folder: &Path, binding: &Binding<'_>, remains: Remains) -> Result<Self, JournalError> {
        let in_folder = |source| JournalError::Folder { path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(in_folder)?;
        let lock_path = folder.join("lock");
        let lock =
            File::options().create(true).truncate(false).write(true).open(&lock_path).map_err(in_folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| not_locked(errno, folder, lock_path))?;
        let path = folder.join("journal.sqlite");
        let open = |synchronous: &str| -> rusqlite::Result<Connection> {
            let connection = Connection::open(&path)?;
            connection.busy_timeout(std::time::Duration::from_secs(30))?;
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", synchronous)?;
            Ok(connection)
        };
        let in_database = |source| JournalError::Database { path: path.clone(), source };
        let mut durable = open("FULL").map_err(in_database)?;
        match tables::version(&durable).map_err(in_database)? {
            0 if remains != Remains::Nothing => return Err(JournalError::Missing { path }),
            0 => tables::begin(&mut durable, binding).map_err(in_database)?,
            version @ 1..=SCHEMA => {
                let Some(begun) = tables::bundle(&durable).map_err(in_database)? else {
                    return Err(JournalError::Missing { path });
                };
                // Before anything is written: a run that is refused binds no journal to its key.
                if begun != binding.bundle.to_string() {
                    return Err(JournalError::OtherBundle { found: begun, expected: binding.bundle });
                }
                tables::upgrade(&mut durable, version, binding).map_err(in_database)?;
                let found = tables::pseudonym_key(&durable).map_err(in_database)?;
                if found != binding.pseudonym_key {
                    return Err(JournalError::OtherKey { found, expected: binding.pseudonym_key.to_owned() });
                }
                if remains == Remains::Report && tables::no_input(&durable).map_err(in_database)? {
                    return Err(JournalError::Missing { path });
                }
            }
            found => return Err(JournalError::OtherFormat { path, found }),
        }
        let marks = open("NORMAL").map_err(in_database)?;
        Ok(Self { durable: Mutex::new(durable), marks: Mutex::new(marks), path, _lock: lock })
    }

    /// Asks of each input that is done whether its outputs are still there, and remembers where they are not: such an
    /// input is not complete until it was done again. Returns how many there are.
    ///
    /// # Errors
    /// The database fails; nothing is remembered then.
    pub fn review(&self, mut are_there: impl FnMut(&str, Look) -> bool) -> Result<u64, JournalError> {
        let mut durable = lock(&self.durable);
        let mut work = || -> rusqlite::Result<u64> {
            let transaction = durable.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let (mut count, mut changed) = (0, Vec::new());
            {
                let mut select =
                    transaction.prepare("SELECT id, line, lost FROM input WHERE outcome = 'done'")?;
                let mut rows = select.query([])?;
                while let Some(row) = rows.next()? {
                    let was_lost = row.get(2)?;
                    // What was made again may stand there in its size and not be what the line says. Starts do not tell:
                    // one is taken back where files came to stand there and the journal then failed.
                    let look = if was_lost { Look::Closely } else { Look::Glance };
                    let lost = !are_there(row.get_ref(1)?.as_str()?, look);
                    count += u64::from(lost);
                    if lost != was_lost {
                        changed.push((row.get::<_, String>(0)?, lost));
                    }
                }
                // Starts of what was lost before go on being counted: it may be what ends the host.
                let mut update =
                    transaction.prepare("UPDATE input SET lost = ?2, starts = 0 WHERE id = ?1")?;
                for (id, lost) in changed {
                    update.execute(params![id, lost])?;
                }
            }
            transaction.commit()?;
            Ok(count)
        };
        work().map_err(|source| self.failed(source))
    }

    /// How many inputs are done and have lost their outputs.
    ///
    /// # Errors
    /// The database fails.
    pub fn lost(&self) -> Result<u64, JournalError> {
        lock(&self.durable)
            .query_row("SELECT count(*) FROM input WHERE lost", [], |row| row.get::<_, i64>(0))
            .map(i64::unsigned_abs)
            .map_err(|source| self.failed(source))
    }

    /// Whether an input of this name, length and time of change is complete, so that it need not be read again. One
    /// at which the device failed, or whose outputs are lost, is not.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_complete(&self, name: &str, fingerprint: (u64, i64)) -> Result<bool, JournalError> {
        lock(&self.marks)
            .prepare_cached(
                "SELECT 1 FROM input WHERE name = ?1 AND length = ?2 AND changed = ?3
                   AND outcome IS NOT NULL AND NOT again AND NOT lost",
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
            .prepare_cached("SELECT starts FROM input WHERE id = ?1 AND (outcome IS NULL OR lost)")
            .and_then(|mut starts| starts.query_row([id], |row| row.get(0)).optional())
            .map(Option::unwrap_or_default)
            .map_err(|source| self.failed(source))
    }

    /// Counts a start of this input, unless it is complete already. Where the device failed at it before, that is
    /// forgotten, and its starts are counted anew.
    ///
    /// Where the device did not even learn its content, its name alone says that it is the same: mending a file's rights
    /// changes its time of change.
    ///
    /// # Errors
    /// The database fails.
    pub fn start(&self, input: &Started<'_>) -> Result<Start, JournalError> {
        let mut marks = lock(&self.marks);
        let digest = input.digest.map(|digest| digest.to_string()).unwrap_or_default();
        let (length, changed) = (signed(input.fingerprint.0), input.fingerprint.1);
        let mut work = || -> rusqlite::Result<Start> {
            // Immediate: a transaction that begins by reading may not wait for the scribe's when it comes to write.
            let transaction = marks.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
            let superseded = transaction
                .prepare_cached(
                    "DELETE FROM input WHERE again
                       AND (id = ?1 OR (name = ?2 AND (digest = '' OR (length = ?3 AND changed = ?4))))
                     RETURNING id",
                )?
                .query_map(params![input.id, input.name, length, changed], |row| row.get(0))?
                .collect::<rusqlite::Result<_>>()?;
            let (count, complete, recorded) = transaction
                .prepare_cached(
                    "INSERT INTO input (id, name, digest, length, changed, starts) VALUES (?1, ?2, ?3, ?4, ?5, 1)
                     ON CONFLICT (id) DO UPDATE SET length = ?4, changed = ?5,
                       starts = starts + (outcome IS NULL OR lost)
                     RETURNING starts, outcome IS NOT NULL AND NOT lost, line",
                )?
                .query_row(params![input.id, input.name, digest, length, changed], |row| {
                    Ok((row.get::<_, u32>(0)?, row.get::<_, bool>(1)?, row.get(2)?))
                })?;
            transaction.commit()?;
            Ok(Start { superseded, begun: (!complete).then_some(Begun { count, recorded }) })
        };
        work().map_err(|source| self.failed(source))
    }

    /// Takes back the start of an input whose work was ended in good order before it was complete.
    ///
    /// # Errors
    /// The database fails.
    pub fn take_back(&self, id: &str) -> Result<(), JournalError> {
        lock(&self.marks)
            .execute(
                "UPDATE input SET starts = max(starts - 1, 0) WHERE id = ?1 AND (outcome IS NULL OR lost)",
                [id],
            )
            .map(|_| ())
            .map_err(|source| self.failed(source))
    }

    /// Commits complete inputs, all or none, durably. An input that is complete already keeps its first line; one whose
    /// outputs were lost has them again, and its place in the order.
    ///
    /// # Errors
    /// The database fails; nothing is committed then.
    pub fn complete(&self, inputs: &[Completed]) -> Result<(), JournalError> {
        let mut durable = lock(&self.durable);
        let mut work = || -> rusqlite::Result<()> {
            let transaction = durable.transaction()?;
            {
                let mut update = transaction.prepare_cached(
                    "UPDATE input SET outcome = ?2, line = ?3, again = ?4, lost = 0,
                       completed = coalesce(completed, (SELECT coalesce(max(completed), 0) + 1 FROM input))
                     WHERE id = ?1 AND (outcome IS NULL OR lost)",
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

/// Why the lock of a journal's folder is not had.
fn not_locked(errno: Errno, folder: &Path, lock: PathBuf) -> JournalError {
    match errno {
        Errno::WOULDBLOCK => JournalError::Busy { path: lock },
        // A file system without locks, for example: to wait for another process would be no advice.
        errno => JournalError::Folder { path: folder.to_owned(), source: errno.into() },
    }
}

/// A panic of another thread in the middle of a statement leaves the connection usable: SQLite rolls back.
fn lock(connection: &Mutex<Connection>) -> MutexGuard<'_, Connection> {
    connection.lock().unwrap_or_else(PoisonError::into_inner)
}

/// SQLite's integers are signed; a file that long does not exist.
fn signed(length: u64) -> i64 {
    i64::try_from(length).unwrap_or(i64::MAX)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
