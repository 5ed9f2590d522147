//! Opening a journal: whose it is, and whether it is one.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::{Binding, Journal, JournalError, Remains};
use crate::place::Tree;
use crate::tables::{self, SCHEMA};

const LOCK: &str = "lock";
const DATABASE: &str = "journal.sqlite";
/// What SQLite puts beside the database.
const BESIDE: [&str; 2] = ["journal.sqlite-wal", "journal.sqlite-shm"];

impl Journal {
    /// Opens the journal in `folder`, or begins one where nothing remains of an earlier run. A journal that is refused
    /// is left as it is.
    ///
    /// # Errors
    /// Another process holds it, it belongs to another bundle, key or format, it is damaged, it is gone while results
    /// of it are there, or the disk fails.
    pub fn open(folder: &Tree, binding: &Binding<'_>, remains: Remains) -> Result<Self, JournalError> {
        let in_folder = |source| JournalError::Folder { path: folder.path().to_owned(), source };
        let lock = folder.lock_file(LOCK).map_err(in_folder)?;
        flock(&lock, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| not_locked(errno, folder.path(), folder.path().join(LOCK)))?;
        let path = folder.path().join(DATABASE);
        // Before SQLite is asked: it makes a file that is missing, and throws away a log that seems to belong to none.
        let length = folder.length(DATABASE).map_err(in_folder)?;
        if length.unwrap_or(0) == 0 && remains != Remains::Nothing {
            return Err(JournalError::Missing { path });
        }
        BESIDE.iter().try_for_each(|name| folder.length(name).map(drop)).map_err(in_folder)?;
        let in_database = |source| JournalError::of(path.clone(), source);
        let mut durable = connect(&path).map_err(in_database)?;
        let version = tables::version(&durable).map_err(in_database)?;
        if !(0..=SCHEMA).contains(&version) {
            return Err(JournalError::OtherFormat { path, found: version });
        }
        match version {
            0 if remains != Remains::Nothing => return Err(JournalError::Missing { path }),
            0 => keep(&durable, "FULL")
                .and_then(|()| tables::begin(&mut durable, binding))
                .map_err(in_database)?,
            version => {
                let Some(begun) = tables::bundle(&durable).map_err(in_database)? else {
                    return Err(JournalError::Missing { path });
                };
                // Before anything is written: a run that is refused binds no journal to its key.
                if begun != binding.bundle.to_string() {
                    return Err(JournalError::OtherBundle { found: begun, expected: binding.bundle });
                }
                let other_key =
                    |found| JournalError::OtherKey { found, expected: binding.pseudonym_key.to_owned() };
                if version < tables::FIRST_WITH_KEY
                    && let Some(found) = tables::key_by_lines(&durable, binding).map_err(in_database)?
                    && found != binding.pseudonym_key
                {
                    return Err(other_key(found));
                }
                // Not before this is known for a journal: it changes the file of another program.
                keep(&durable, "FULL").map_err(in_database)?;
                tables::upgrade(&mut durable, version, binding).map_err(in_database)?;
                let found = tables::pseudonym_key(&durable).map_err(in_database)?;
                if found != binding.pseudonym_key {
                    return Err(other_key(found));
                }
                if remains == Remains::Report && tables::no_input(&durable).map_err(in_database)? {
                    return Err(JournalError::Missing { path });
                }
            }
        }
        let marks = connect(&path).map_err(in_database)?;
        keep(&marks, "NORMAL").map_err(in_database)?;
        Ok(Self {
            durable: Mutex::new(durable),
            marks: Mutex::new(marks),
            path,
            leaves_lost: AtomicBool::new(false),
            _lock: lock,
        })
    }
}

/// A link in the place of the database, or on the way to it, is refused.
fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX
        | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(Duration::from_secs(30))?;
    Ok(connection)
}

/// Says what outlives what.
fn keep(connection: &Connection, synchronous: &str) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", synchronous)
}

/// Why the lock of a journal's folder is not had.
pub(super) fn not_locked(errno: Errno, folder: &Path, lock: PathBuf) -> JournalError {
    match errno {
        Errno::WOULDBLOCK => JournalError::Busy { path: lock },
        // A file system without locks, for example: to wait for another process would be no advice.
        errno => JournalError::Folder { path: folder.to_owned(), source: io::Error::from(errno) },
    }
}
