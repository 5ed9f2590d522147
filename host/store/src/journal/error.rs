//! What can be wrong with a journal, and the reason code of a run that is refused for it.

use std::io;
use std::path::PathBuf;

use martello_vocab::{Code, Digest, code};
use rusqlite::{Error as SqliteError, ErrorCode, ffi};

use crate::place::{Link, is_of_the_disk};
use crate::tables::SCHEMA;

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
    #[error("the journal `{path}` has format {found}, this program knows formats 1 to {SCHEMA}")]
    OtherFormat { path: PathBuf, found: i64 },
    #[error("the journal `{path}` is damaged, or is no journal")]
    Damaged { path: PathBuf, source: SqliteError },
    #[error("working on the journal `{path}`")]
    Database { path: PathBuf, source: SqliteError },
    #[error("opening the journal folder `{path}`")]
    Folder { path: PathBuf, source: io::Error },
}

impl JournalError {
    /// The reason code of a run that is refused for what its output folder holds.
    pub fn code(&self) -> Option<Code> {
        let code = match self {
            Self::OtherBundle { .. } => code::OTHER_BUNDLE,
            Self::OtherKey { .. } => code::OTHER_KEY,
            Self::Missing { .. } => code::JOURNAL_MISSING,
            Self::OtherFormat { .. } => code::JOURNAL_FORMAT,
            Self::Damaged { .. } => code::JOURNAL_DAMAGED,
            Self::Folder { source, .. } if Link::is_cause_of(source) => code::OUTPUT_LINK,
            Self::Busy { .. } | Self::Database { .. } | Self::Folder { .. } => return None,
        };
        Some(Code::of(code))
    }

    /// Whether the disk is full, over its quota or fails, so that the same may go well when there is room again.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Database { source: SqliteError::SqliteFailure(error, _), .. } => {
                matches!(error.code, ErrorCode::DiskFull | ErrorCode::SystemIoFailure)
            }
            Self::Folder { source, .. } => is_of_the_disk(source),
            _ => false,
        }
    }

    /// The error for what the database at `path` answered.
    pub(crate) fn of(path: PathBuf, source: SqliteError) -> Self {
        match &source {
            SqliteError::SqliteFailure(error, _) if error.extended_code == ffi::SQLITE_CANTOPEN_SYMLINK => {
                let link = Link { path: path.clone() };
                Self::Folder { path, source: io::Error::other(link) }
            }
            _ if is_damage(&source) => Self::Damaged { path, source },
            _ => Self::Database { path, source },
        }
    }
}

/// Whether the fault lies in what the file holds, not in the disk or in who else uses it. What this program asks of its
/// own tables is always answered: a table that is missing or a value of another type was not written by it.
fn is_damage(error: &SqliteError) -> bool {
    match error {
        SqliteError::SqliteFailure(error, _) => {
            matches!(error.code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown)
        }
        SqliteError::SqlInputError { .. }
        | SqliteError::FromSqlConversionFailure(..)
        | SqliteError::IntegralValueOutOfRange(..)
        | SqliteError::Utf8Error(..)
        | SqliteError::InvalidColumnType(..)
        | SqliteError::InvalidColumnIndex(_)
        | SqliteError::QueryReturnedNoRows => true,
        _ => false,
    }
}
