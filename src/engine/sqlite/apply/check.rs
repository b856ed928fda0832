//! SQLite's own check of a whole database.

use std::path::Path;

use rusqlite::{Connection, ErrorCode};

use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::{Checked, read_alone};

/// So many findings are told.
const FINDINGS: usize = 5;

/// Checks what this connection sees, its own transaction included.
pub(super) fn connected(connection: &Connection) -> rusqlite::Result<Checked> {
    // Whatever the connection knows of the schema is forgotten, and a schema that cannot be read is an error again.
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    match findings(connection) {
        Ok(found) if found == ["ok"] => Ok(Checked::Sound),
        Ok(found) => Ok(Checked::Damaged { findings: found.join("; ").replace('\n', " ") }),
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseCorrupt) => Ok(Checked::Damaged { findings: words(&error) }),
            // An app may bring collations and functions of its own, which only it has.
            Some(ErrorCode::Unknown) if is_foreign(&words(&error)) => Ok(Checked::Impossible { why: words(&error) }),
            _ => Err(error),
        },
    }
}

fn findings(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut check = connection.prepare(&format!("PRAGMA integrity_check({FINDINGS})"))?;
    let found = check.query_map([], |row| row.get(0))?;
    found.collect()
}

fn is_foreign(message: &str) -> bool {
    [
        "no such collation",
        "no such function",
        "no such module",
        "unsafe use of",
        "unknown tokenizer",
        "no such tokenizer",
    ]
    .iter()
    .any(|words| message.contains(words))
}

fn words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        other => other.to_string(),
    }
}

/// Checks a file that nobody else has.
pub(super) fn alone(file: &Path, told: &Told<'_>) -> Result<Checked, ApplyError> {
    let connection = read_alone(file).map_err(told.sqlite("check"))?;
    connected(&connection).map_err(told.sqlite("check"))
}
