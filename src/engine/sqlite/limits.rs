//! What a database of somebody else may cost: its schema is a program, which SQLite runs when it checks and counts.
//!
//! Owns the limits of connections that only read such a database or judge its pages.

use rusqlite::Connection;
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;

use crate::engine::sqlite::file::DatabaseFile;

/// No value is larger than its database. Expressions of an index may make of it what is a few times as large.
const TIMES: u64 = 4;
/// So large a value may be in any database.
const FLOOR: u64 = 32 << 20;
/// What SQLite can do at most.
const MOST: u64 = 1_000_000_000;
/// Steps that one statement may have.
const STEPS: i32 = 5_000_000;

/// Bounds what a connection to a database of so many bytes may be made to do.
pub(super) fn bound(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest(bytes))?;
    connection.set_limit(Limit::SQLITE_LIMIT_VDBE_OP, STEPS)?;
    Ok(())
}

/// Lets a connection read one more database, of so many bytes.
pub(super) fn widen(connection: &Connection, bytes: u64) -> rusqlite::Result<()> {
    let longest = longest(bytes).max(connection.limit(Limit::SQLITE_LIMIT_LENGTH)?);
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, longest).map(|_| ())
}

fn longest(bytes: u64) -> i32 {
    i32::try_from(bytes.saturating_mul(TIMES).clamp(FLOOR, MOST)).unwrap_or(i32::MAX)
}

/// Bounds a connection that only judges pages: what an app demands of its values is its own business, and no damage where it
/// does not hold.
pub(super) fn judge(connection: &Connection, file: &DatabaseFile) -> rusqlite::Result<()> {
    bound(connection, length(file))?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.execute_batch("PRAGMA ignore_check_constraints = ON")
}

/// The length of a database with its log.
pub(super) fn length(file: &DatabaseFile) -> u64 {
    let of = |file: &DatabaseFile| file.look().ok().flatten().and_then(|there| u64::try_from(there.st_size).ok());
    of(file).unwrap_or_default().saturating_add(of(&file.companion("-wal")).unwrap_or_default())
}
