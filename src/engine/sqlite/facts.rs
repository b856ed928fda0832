//! What a database says of itself: kept beside the pages, so that nobody has to open it to know.

use std::collections::BTreeMap;

use rusqlite::{Connection, InterruptHandle};

use crate::base::database::{Database, UNCHECKED};
use crate::base::path::EntryPath;
use crate::engine::revision;
use crate::engine::sqlite::error::{SqliteError, words};
use crate::engine::sqlite::live::Reader;

/// Tables beyond this many are not counted.
const MOST_TABLES: usize = 10_000;
/// So many rows belong together at most, where a tool keeps its last migration in several.
const MOST_MIGRATIONS: usize = 1000;

impl Reader {
    /// Ends [`Reader::facts`] from another thread.
    pub fn interrupt(&self) -> InterruptHandle {
        self.connection.get_interrupt_handle()
    }

    /// Everything known of the database. What its own check complains about is a fact, not an error.
    pub fn facts(&self, path: EntryPath, check: bool) -> Result<Database, SqliteError> {
        let read = read(&self.connection, path, check).map_err(|error| SqliteError::of(self.path(), error));
        let mut database = read?;
        if self.at_rest {
            // Without the log, SQLite does not say that there would be one.
            database.facts.insert("journal mode".to_owned(), "wal".to_owned());
        }
        Ok(database)
    }
}

fn read(connection: &Connection, path: EntryPath, check: bool) -> rusqlite::Result<Database> {
    let mut database = Database {
        path,
        engine: "sqlite".to_owned(),
        rows: BTreeMap::new(),
        bytes: BTreeMap::new(),
        revision: None,
        damage: None,
        facts: settings(connection)?,
    };
    if check {
        match quick_check(connection) {
            // What an expression makes of a value is too large: that says nothing of the pages.
            Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::TooBig) => {
                database.facts.insert(UNCHECKED.0.to_owned(), UNCHECKED.1.to_owned());
            }
            found => database.damage = keep_going(found)?,
        }
    } else {
        database.facts.insert(UNCHECKED.0.to_owned(), UNCHECKED.1.to_owned());
    }
    // What a damaged database still tells is worth having; that it tells no more is its damage.
    match rows(connection) {
        Ok(rows) => database.rows = rows,
        Err(error) => database.damage = database.damage.or(keep_going(Err(error))?),
    }
    let place = |table: &str| (database.rows.contains_key(table) && is_plain(connection, table)).then(|| quoted(table));
    database.revision = revision::find(place, |sql| first_column(connection, sql).ok());
    Ok(database)
}

/// What SQLite says when it comes upon damage is what the check has found.
fn keep_going(found: rusqlite::Result<Option<String>>) -> rusqlite::Result<Option<String>> {
    match found {
        Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::OperationInterrupted) => Err(error),
        Err(error) => Ok(Some(words(&error))),
        Ok(found) => Ok(found),
    }
}

fn settings(connection: &Connection) -> rusqlite::Result<BTreeMap<String, String>> {
    let mut settings = BTreeMap::from([("sqlite".to_owned(), rusqlite::version().to_owned())]);
    let pragmas = [
        "page_size",
        "page_count",
        "freelist_count",
        "journal_mode",
        "encoding",
        "auto_vacuum",
        "user_version",
        "application_id",
    ];
    for pragma in pragmas {
        let value = connection.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            let value = row.get_ref(0)?;
            Ok(value.as_str().map(str::to_owned).or_else(|_| value.as_i64().map(|number| number.to_string())))
        })?;
        if let Ok(value) = value {
            settings.insert(pragma.replace('_', " "), value);
        }
    }
    Ok(settings)
}

/// The first thing the check complains about.
fn quick_check(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    // Complaints of several lines begin with whom they are about.
    let found = found.replace('\n', " ").replace("*** in database main *** ", "");
    Ok((found != "ok").then_some(found))
}

/// Rows per table; virtual tables stand for others that are counted.
pub(super) fn rows(connection: &Connection) -> rusqlite::Result<BTreeMap<String, u64>> {
    let sql = "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
               AND rootpage > 0 ORDER BY name LIMIT ?";
    let names: Vec<String> =
        connection.prepare(sql)?.query_map([MOST_TABLES as i64], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let count = |name: String| {
        let sql = format!("SELECT count(*) FROM {}", quoted(&name));
        connection.query_row(&sql, [], |row| row.get::<_, i64>(0)).map(|count| (name, count as u64))
    };
    names.into_iter().map(count).collect()
}

/// Does a table hold nothing but what was written to it? What is computed may cost whatever its database says.
fn is_plain(connection: &Connection, table: &str) -> bool {
    let sql = "SELECT count(*) FROM pragma_table_xinfo(?) WHERE hidden <> 0";
    connection.query_row(sql, [table], |row| row.get::<_, i64>(0)).is_ok_and(|computed| computed == 0)
}

/// What a query answers in its first column; numbers and texts only.
fn first_column(connection: &Connection, sql: &str) -> rusqlite::Result<Vec<String>> {
    let mut statement = connection.prepare(sql)?;
    let rows = statement.query_map([], |row| {
        let value = row.get_ref(0)?;
        Ok(value.as_str().map(str::to_owned).or_else(|_| value.as_i64().map(|number| number.to_string()))?)
    })?;
    rows.take(MOST_MIGRATIONS).collect()
}

/// A name as SQL takes it, whatever is in it.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
