//! The journal of a run: which inputs were started, which are complete, and the report line of each.
//!
//! INVARIANT: an input is `done` or `quarantined` in the journal only after its outputs are durable; the caller makes
//! them so with [`crate::place`] and commits afterwards. Kept by `a_run_that_is_killed_goes_on_where_it_was` in
//! the end-to-end tests.

mod error;
mod opening;

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use martello_vocab::Digest;
use rusqlite::{Connection, OptionalExtension, params};

pub use error::JournalError;

/// Inputs in quarantine of one name that are told of. What was judged while it was being written is the latest, for each
/// later look takes the place of the one before.
const MOST_OF_ONE_NAME: u32 = 8;

/// The journal of one run: one bundle, one pseudonym key, one output folder.
#[derive(Debug)]
pub struct Journal {
    /// `synchronous=FULL`: what it commits survives a power cut.
    durable: Mutex<Connection>,
    /// `synchronous=NORMAL`: what it commits survives the death of this process, which is all that counting starts
    /// needs, and costs no fsync for each input.
    marks: Mutex<Connection>,
    path: PathBuf,
    /// Whether inputs whose outputs are lost count as complete.
    leaves_lost: AtomicBool,
    _lock: File,
}

/// What a journal is bound to. With another of either, every input would be done again, under other names beside the
/// old ones.
#[derive(Clone, Copy)]
pub struct Binding<'a> {
    /// The bundle.
    pub bundle: Digest,
    /// The id of the pseudonym key; never the key.
    pub pseudonym_key: &'a str,
    /// Tells the id of the key under which an input was worked on, or another word where it was another key, from the
    /// [`name`](Started::name) and the line of the input; none where these do not tell. Asked of journals of versions
    /// that did not write the key down.
    pub key_of: &'a dyn Fn(&str, &str) -> Option<String>,
}

impl fmt::Debug for Binding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Binding");
        shown
            .field("bundle", &self.bundle)
            .field("pseudonym_key", &self.pseudonym_key)
            .finish_non_exhaustive()
    }
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
    /// Ids of inputs in quarantine whose place it takes: the journal forgets them.
    pub instead_of: Vec<String>,
}

/// An input in quarantine.
#[derive(Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Its id.
    pub id: String,
    /// What was read.
    pub digest: Digest,
    /// How many bytes that was.
    pub length: u64,
    /// Its line of the report.
    pub line: String,
}

/// A line may hold a file's name.
impl fmt::Debug for Quarantined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Quarantined");
        shown.field("id", &self.id).field("length", &self.length).finish_non_exhaustive()
    }
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

impl Journal {
    /// From now on, inputs whose outputs are lost count as complete and are not begun again. That they are lost stays
    /// written down.
    pub fn leave_lost(&self) {
        self.leaves_lost.store(true, Ordering::Relaxed);
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
    /// at which the device failed, or whose outputs are lost and not [left](Self::leave_lost), is not.
    ///
    /// # Errors
    /// The database fails.
    pub fn is_complete(&self, name: &str, fingerprint: (u64, i64)) -> Result<bool, JournalError> {
        lock(&self.marks)
            .prepare_cached(
                "SELECT 1 FROM input WHERE name = ?1 AND length = ?2 AND changed = ?3
                   AND outcome IS NOT NULL AND NOT again AND (NOT lost OR ?4)",
            )
            .and_then(|mut found| {
                let asked = params![name, signed(fingerprint.0), fingerprint.1, self.leaves_lost()];
                found.query_row(asked, |_| Ok(())).optional()
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
            .prepare_cached(
                "SELECT starts FROM input WHERE id = ?1 AND (outcome IS NULL OR (lost AND NOT ?2))",
            )
            .and_then(|mut starts| {
                starts.query_row(params![id, self.leaves_lost()], |row| row.get(0)).optional()
            })
            .map(Option::unwrap_or_default)
            .map_err(|source| self.failed(source))
    }

    /// What stands in quarantine under this name and was read, the latest first, so many at most. Inputs at which the
    /// device failed are not among it: [`start`](Self::start) forgets those.
    ///
    /// # Errors
    /// The database fails.
    pub fn quarantined(&self, name: &str) -> Result<Vec<Quarantined>, JournalError> {
        let marks = lock(&self.marks);
        let work = || -> rusqlite::Result<Vec<Quarantined>> {
            // A file may grow between being found and being read: the line says how much of it the digest is of.
            let mut select = marks.prepare_cached(
                "SELECT id, digest, coalesce(json_extract(line, '$.input_bytes'), length), line FROM input
                 WHERE name = ?1 AND outcome = 'quarantine' AND NOT again AND digest <> ''
                 ORDER BY completed DESC LIMIT ?2",
            )?;
            let mut rows = select.query(params![name, MOST_OF_ONE_NAME])?;
            let mut found = Vec::new();
            while let Some(row) = rows.next()? {
                let Ok(digest) = row.get_ref(1)?.as_str()?.parse() else { continue };
                let length = row.get::<_, i64>(2)?.unsigned_abs();
                found.push(Quarantined { id: row.get(0)?, digest, length, line: row.get(3)? });
            }
            Ok(found)
        };
        work().map_err(|source| self.failed(source))
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
                       starts = starts + (outcome IS NULL OR (lost AND NOT ?6))
                     RETURNING starts, outcome IS NOT NULL AND (NOT lost OR ?6), line",
                )?
                .query_row(
                    params![input.id, input.name, digest, length, changed, self.leaves_lost()],
                    |row| Ok((row.get::<_, u32>(0)?, row.get::<_, bool>(1)?, row.get(2)?)),
                )?;
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
    /// outputs were lost has them again, and its place in the order. What an input stands instead of is forgotten.
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
                let mut forget = transaction
                    .prepare_cached("DELETE FROM input WHERE id = ?1 AND outcome = 'quarantine'")?;
                for input in inputs {
                    for id in &input.instead_of {
                        forget.execute([id])?;
                    }
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

    fn leaves_lost(&self) -> bool {
        self.leaves_lost.load(Ordering::Relaxed)
    }

    fn failed(&self, source: rusqlite::Error) -> JournalError {
        JournalError::of(self.path.clone(), source)
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
