//! Is a live database still what a snapshot holds? Reads both, changes neither.

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::engine::sqlite::apply::Options;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header::{self, Header};
use crate::engine::sqlite::apply::live::{connect, has_log};
use crate::engine::sqlite::apply::pages::{Pages, Wanted};
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::live::AtRest;

/// Does the live database hold exactly this, counters aside?
pub fn holds(live: &DatabaseFile, wanted: Wanted<'_>, options: &Options<'_>) -> Result<bool, ApplyError> {
    let mut pages = Pages::new(wanted)?;
    let told = Told { path: live.shown(), wait: options.wait };
    let failed = told.sqlite("read");
    if live.look().map_err(told.io("look at"))?.is_none() {
        return Ok(false);
    }
    let at_rest = AtRest::look(live);
    let connection = match &at_rest {
        Some(_) => alone(live).map_err(&failed)?,
        None => joined(live, options)?,
    };
    connection.execute_batch("BEGIN").map_err(&failed)?;
    let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).map_err(&failed)?;
    if count != pages.count() {
        return Ok(false);
    }
    let locks = header::lock_page(pages.size() as u32);
    let mut scan = connection.prepare("SELECT data FROM sqlite_dbpage").map_err(&failed)?;
    let mut rows = scan.query([]).map_err(&failed)?;
    while let Some((number, wanted)) = pages.next()? {
        if options.control.stopped() {
            return Err(ApplyError::Interrupted);
        }
        let Some(row) = rows.next().map_err(&failed)? else { return Ok(false) };
        let data = row.get_ref(0).map_err(&failed)?.as_blob().unwrap_or_default();
        let same = match number {
            1 => data.len() == wanted.len() && Header::of(data).is_some() && header::same_content(data, wanted),
            _ => number == locks || data == wanted,
        };
        if !same {
            return Ok(false);
        }
    }
    // Whoever has written to it meanwhile has not left it as it was.
    Ok(at_rest.is_none_or(|rest| rest.is_undisturbed()))
}

/// A database that nobody has open is read without anything being made beside it.
fn alone(live: &DatabaseFile) -> rusqlite::Result<Connection> {
    let connection = live.connect_alone()?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_WRITABLE_SCHEMA, true)?;
    Ok(connection)
}

/// A log that others left is left to others.
fn joined(live: &DatabaseFile, options: &Options<'_>) -> Result<Connection, ApplyError> {
    let had_log = has_log(live);
    let connection = connect(live, options.wait)?;
    let told = Told { path: live.shown(), wait: options.wait };
    let kept = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, had_log);
    kept.map_err(told.sqlite("open"))?;
    Ok(connection)
}
