//! Is a live database still what a snapshot holds? Reads both, changes neither.

use crate::engine::sqlite::apply::Options;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header::{self, Header};
use crate::engine::sqlite::apply::live::connect;
use crate::engine::sqlite::apply::pages::{Pages, Wanted};
use crate::engine::sqlite::file::DatabaseFile;

/// Does the live database hold exactly this, counters aside?
pub fn holds(live: &DatabaseFile, wanted: Wanted<'_>, options: &Options<'_>) -> Result<bool, ApplyError> {
    let mut pages = Pages::new(wanted)?;
    let told = Told { path: live.shown(), wait: options.wait };
    let failed = told.sqlite("read");
    if live.look().map_err(told.io("look at"))?.is_none() {
        return Ok(false);
    }
    let connection = connect(live, options.wait)?;
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
    Ok(true)
}
