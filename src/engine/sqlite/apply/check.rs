//! SQLite's own check of a whole database.

use std::sync::Arc;

use rusqlite::{Connection, ErrorCode};

use crate::base::control::Control;
use crate::engine::sqlite::apply::Checked;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::limits;

/// So many findings are told.
const FINDINGS: usize = 5;

/// Between so many steps of SQLite somebody looks up.
const GLANCE: i32 = 4096;

/// Checks what this connection sees, its own transaction included. `None` when it is given up.
pub(super) fn connected(
    connection: &mut Connection,
    mut give_up: impl FnMut() -> bool + Send + 'static,
) -> rusqlite::Result<Option<Checked>> {
    if give_up() {
        return Ok(None);
    }
    // Whatever the connection knows of the schema is forgotten, and a schema that cannot be read is an error again.
    connection.execute_batch("PRAGMA writable_schema = RESET")?;
    connection.progress_handler(GLANCE, Some(give_up))?;
    let found = findings(connection);
    connection.progress_handler(0, None::<fn() -> bool>)?;
    let checked = match found {
        Ok(found) if found == ["ok"] => Checked::Sound,
        Ok(found) => Checked::Damaged { findings: found.join("; ").replace('\n', " ") },
        Err(error) => match error.sqlite_error_code() {
            Some(ErrorCode::OperationInterrupted) => return Ok(None),
            Some(ErrorCode::DatabaseCorrupt) => Checked::Damaged { findings: words(&error) },
            // An app may bring collations and functions of its own, which only it has.
            Some(ErrorCode::Unknown) if is_foreign(&words(&error)) => Checked::Impossible { why: words(&error) },
            _ => return Err(error),
        },
    };
    Ok(Some(checked))
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
pub(super) fn alone(file: &DatabaseFile, control: &Arc<Control>, told: &Told<'_>) -> Result<Checked, ApplyError> {
    let mut connection = file.connect_alone().map_err(told.sqlite("check"))?;
    limits::judge(&connection, file).map_err(told.sqlite("check"))?;
    let control = control.clone();
    let checked = connected(&mut connection, move || control.stopped()).map_err(told.sqlite("check"))?;
    checked.ok_or(ApplyError::Interrupted)
}
