//! The journal's tables, and how those of earlier versions become the present ones.

use martello_vocab::Code;
use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use crate::journal::Binding;

/// The version of the tables below. Version 1 had no column `again`; version 2 had no `pseudonym_key` and no `lost`.
pub(crate) const SCHEMA: i64 = 3;
/// The first version that has written down the key with which it was begun.
pub(crate) const FIRST_WITH_KEY: i64 = 3;

/// The version of the tables that are there; 0 where there are none.
pub(crate) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("PRAGMA user_version", [], |row| row.get(0))
}

/// The bundle with which the run was begun.
pub(crate) fn bundle(connection: &Connection) -> rusqlite::Result<Option<String>> {
    connection.query_row("SELECT bundle FROM run", [], |row| row.get(0)).optional()
}

/// The id of the key with which the run was begun.
pub(crate) fn pseudonym_key(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT pseudonym_key FROM run", [], |row| row.get(0))
}

/// The id of the key, or another word for another key, as the inputs tell that were completed; the last one that tells
/// decides, for earlier programs let the key change on the way.
pub(crate) fn key_by_lines(
    connection: &Connection,
    binding: &Binding<'_>,
) -> rusqlite::Result<Option<String>> {
    let mut select =
        connection.prepare("SELECT name, line FROM input WHERE line IS NOT NULL ORDER BY completed DESC")?;
    let mut rows = select.query([])?;
    while let Some(row) = rows.next()? {
        let told = (binding.key_of)(row.get_ref(0)?.as_str()?, row.get_ref(1)?.as_str()?);
        if told.is_some() {
            return Ok(told);
        }
    }
    Ok(None)
}

/// Whether no input was ever started.
pub(crate) fn no_input(connection: &Connection) -> rusqlite::Result<bool> {
    connection.query_row("SELECT NOT EXISTS (SELECT 1 FROM input)", [], |row| row.get(0))
}

pub(crate) fn begin(connection: &mut Connection, binding: &Binding<'_>) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(&format!(
        "CREATE TABLE run (bundle TEXT NOT NULL, pseudonym_key TEXT) STRICT;
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
           again INTEGER NOT NULL DEFAULT 0,
           lost INTEGER NOT NULL DEFAULT 0
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX input_name ON input (name);
         CREATE INDEX input_completed ON input (completed);
         PRAGMA user_version = {SCHEMA};"
    ))?;
    transaction.execute(
        "INSERT INTO run (bundle, pseudonym_key) VALUES (?1, ?2)",
        params![binding.bundle.to_string(), binding.pseudonym_key],
    )?;
    transaction.commit()
}

/// Makes the tables of an earlier version the present ones.
pub(crate) fn upgrade(connection: &mut Connection, from: i64, binding: &Binding<'_>) -> rusqlite::Result<()> {
    if from == SCHEMA {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if from < 2 {
        // Inputs at which the device failed were complete for good; now they are tried again.
        let codes = Code::OF_THE_DEVICE.map(|code| format!("'{code}'")).join(", ");
        transaction.execute_batch(&format!(
            "ALTER TABLE input ADD COLUMN again INTEGER NOT NULL DEFAULT 0;
             UPDATE input SET again = 1 WHERE outcome = 'quarantine' AND json_extract(line, '$.code') IN ({codes});"
        ))?;
    }
    // The key was not written down; where no line tells of another, it is taken to be the one that is there now.
    transaction.execute_batch(&format!(
        "ALTER TABLE run ADD COLUMN pseudonym_key TEXT;
         ALTER TABLE input ADD COLUMN lost INTEGER NOT NULL DEFAULT 0;
         PRAGMA user_version = {SCHEMA};"
    ))?;
    transaction.execute("UPDATE run SET pseudonym_key = ?1", [binding.pseudonym_key])?;
    transaction.commit()
}
