//! Definitions in, over the connection: statement by statement, each of a kind that is permitted.
//!
//! Owns that what a server is given is one statement, and never a command to a shell: psql is not used. Knows nothing of
//! what may run beside what.

use crate::base::text::printable;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout;
use crate::engine::postgres::restore::dump::{Blocks, Dump};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::permitted;
use crate::engine::postgres::restore::statements::Splitter;

/// Of a statement so much is shown.
const SHOWN: usize = 120;

/// One statement, as it is to be run.
pub struct Statement(Vec<u8>);

impl Statement {
    /// The text, for looking at it.
    pub fn sql(&self) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }

    /// The text itself, where it is text.
    pub fn into_text(self) -> Result<String, LoadError> {
        String::from_utf8(self.0).map_err(|_| LoadError::NotText)
    }

    /// Runs it. A server takes a second statement behind it for an error, whatever was taken for its end here.
    pub fn run(&self, session: &mut Session) -> Result<(), LoadError> {
        match std::str::from_utf8(&self.0) {
            Ok(sql) => run(session, sql),
            Err(_) => run_bytes(session, &self.0),
        }
    }
}

/// Runs a statement.
pub fn run(session: &mut Session, sql: &str) -> Result<(), LoadError> {
    session.execute(sql, &[]).map(|_| ()).map_err(|error| failed(sql, error))
}

/// A database that does not know what its texts are written in may have names that no connection of ours can say.
fn run_bytes(session: &mut Session, statement: &[u8]) -> Result<(), LoadError> {
    let shown = String::from_utf8_lossy(statement);
    // What is no letter of ours is part of a word or a text in either spelling, so this is one statement if that is.
    session.check(&shown).map_err(|error| failed(&shown, error))?;
    let spelled =
        format!("pg_catalog.convert_from(pg_catalog.decode('{}', 'hex'), 'SQL_ASCII')", hex::encode(statement));
    let sql = format!("DO $strongroom$ BEGIN EXECUTE {spelled}; END $strongroom$");
    session.execute(&sql, &[]).map(|_| ()).map_err(|error| failed(&shown, error))
}

/// The statements of a file of definitions, each of which is permitted.
pub fn each(
    dump: &dyn Dump,
    path: &str,
    mut take: impl FnMut(Statement) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    split(dump, path, |statement| {
        if !permitted::is_definition(&statement.sql()) {
            return Err(foreign(path, &statement.sql()));
        }
        take(statement)
    })
}

/// Fails unless everything that is going to be run is permitted. Nothing is run.
pub fn vet(dump: &dyn Dump) -> Result<(), LoadError> {
    each(dump, layout::PRE_DATA, |_| Ok(()))?;
    each(dump, layout::POST_DATA, |_| Ok(()))?;
    split(dump, layout::DATABASE, |statement| for_database(&statement, "any").map(|_| ()))
}

/// Runs all statements of a file of definitions.
pub fn run_all(dump: &dyn Dump, path: &str, session: &mut Session) -> Result<(), LoadError> {
    each(dump, path, |statement| {
        // The session speaks UTF-8, which is what this text was read as.
        if statement.0.starts_with(b"SET client_encoding") { Ok(()) } else { statement.run(session) }
    })
}

/// Gives a database what it is said to have itself, whatever it is called now.
pub fn run_for_database(dump: &dyn Dump, session: &mut Session, name: &str) -> Result<(), LoadError> {
    split(dump, layout::DATABASE, |statement| run(session, &for_database(&statement, name)?))
}

fn for_database(statement: &Statement, name: &str) -> Result<String, LoadError> {
    let sql = statement.sql();
    permitted::of_database(&sql, name).ok_or_else(|| foreign(layout::DATABASE, &sql))
}

/// Splits a file of definitions, whatever its statements are.
pub fn split(
    dump: &dyn Dump,
    path: &str,
    mut take: impl FnMut(Statement) -> Result<(), LoadError>,
) -> Result<(), LoadError> {
    let refused = |why| LoadError::NoDefinitions { path: path.to_owned(), why };
    let (mut blocks, mut splitter) = (Blocks::of(dump, path)?, Splitter::default());
    while let Some(block) = blocks.block()? {
        for &byte in &block {
            if let Some(statement) = splitter.push(byte).map_err(refused)? {
                take(Statement(statement))?;
            }
        }
    }
    splitter.finish().map_err(refused)
}

fn foreign(path: &str, sql: &str) -> LoadError {
    LoadError::Foreign { path: path.to_owned(), statement: shortened(sql) }
}

pub fn failed(sql: &str, source: PostgresError) -> LoadError {
    match source {
        PostgresError::Interrupted | PostgresError::Lost { .. } => source.into(),
        source => LoadError::Statement { statement: shortened(sql), source },
    }
}

/// The beginning, on one line.
pub fn shortened(sql: &str) -> String {
    let line = printable(&sql.split_whitespace().collect::<Vec<_>>().join(" "));
    match line.char_indices().nth(SHOWN) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line.trim_end_matches(';').to_owned(),
    }
}
