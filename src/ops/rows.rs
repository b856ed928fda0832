//! Which rows of a captured database are otherwise in another snapshot, or in the live database.

use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::sqlite::ask::{self, AskError, Session};
use crate::engine::sqlite::rows::{Row, Table};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::side;
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// What is compared.
pub struct Request<'m> {
    pub before: &'m Manifest,
    pub source: &'m SourceRecord,
    /// The database's entry.
    pub path: &'m EntryPath,
    /// The later snapshot and its source; `None` for what is there now, which only SQLite databases are compared with.
    pub after: Option<(&'m Manifest, &'m SourceRecord)>,
    /// Only this table.
    pub table: Option<&'m str>,
    pub control: Arc<Control>,
}

const AFTER: &str = "later";

/// Compares a database with another, table by table. Hands over every row that differs.
pub fn differences(
    unlocked: &UnlockedVault,
    request: &Request<'_>,
    each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
) -> Result<Vec<Table>, OpError> {
    let Request { before, source, path, after, table, control } = request;
    let desk = Desk::new(unlocked.library()?.owned());
    let place = |source| Place { source, path: (*path).clone(), known: None };
    if Place::at(source, path).is_postgres() {
        let Some((manifest, later)) = after else { return Ok(Vec::new()) };
        let old = side::tables(&Place::at(source, path), before, &desk)?;
        let new = side::tables(&Place::at(later, path), manifest, &desk)?;
        let mut each = |name: &str, row: Row| each(name, row).map_err(|error| Box::new(error) as Explained);
        return Ok(old.differences(&new, *table, &mut each).map_err(Problem::Content)?);
    }
    let (own, label) = (place(source), place(source).label());
    let mut session = Session::open(own.read(before, &desk)?, &label, control.clone())?;
    let name = match after {
        Some((manifest, source)) => {
            session.attach(AFTER, place(source).read(manifest, &desk)?)?;
            AFTER
        }
        None => {
            session.attach_live(&own.live());
            session.must_have_live()?;
            ask::LIVE
        }
    };
    Ok(session.differences(name, *table, each)?)
}
