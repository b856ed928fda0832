//! Which rows of a captured database are otherwise in another snapshot, or in the live database.

use std::sync::Arc;

use crate::base::control::Control;
use crate::base::path::EntryPath;
use crate::base::random::RandomRead;
use crate::engine::sqlite::ask::{self, AskError, Session};
use crate::engine::sqlite::beside::{Beside, MOST_RUNS};
use crate::engine::sqlite::rows::{Row, Table};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::databases::Place;
use crate::ops::error::OpError;
use crate::vault::random::{ContentReader, Desk};
use crate::vault::unlocked::UnlockedVault;

/// What is compared.
pub struct Request<'m> {
    pub before: &'m Manifest,
    pub source: &'m SourceRecord,
    /// The database's entry.
    pub path: &'m EntryPath,
    /// The later snapshot and its source; `None` for what is there now.
    pub after: Option<(&'m Manifest, &'m SourceRecord)>,
    /// Only this table.
    pub table: Option<&'m str>,
    pub control: Arc<Control>,
}

const AFTER: &str = "later";

/// What a comparison found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub tables: Vec<Table>,
    /// Bytes of packs that were fetched.
    pub fetched: u64,
}

/// Compares a database with another, table by table. Hands over every row that differs.
pub fn differences(
    unlocked: &UnlockedVault,
    request: &Request<'_>,
    each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
) -> Result<Report, OpError> {
    let Request { before, source, path, after, table, control } = request;
    let desk = Desk::new(unlocked.library()?.owned());
    let place = |source| Place { source, path: (*path).clone(), known: None };
    let (own, label) = (place(source), place(source).label());
    let content = own.read(before, &desk)?;
    let mut session = Session::open(content.clone(), &label, control.clone())?;
    let (name, pages) = match after {
        Some((manifest, later)) => {
            let other = place(later).read(manifest, &desk)?;
            session.attach(AFTER, other.clone())?;
            let sound = is_sound(source, path) && is_sound(later, path);
            (AFTER, if sound { beside(&content, &other)? } else { None })
        }
        None => {
            session.attach_live(&own.live());
            session.must_have_live()?;
            (ask::LIVE, None)
        }
    };
    let tables = session.differences(name, *table, pages.as_ref(), each)?;
    Ok(Report { tables, fetched: desk.library().fetched() })
}

/// Was it captured page by page, and found sound? Only then do its pages tell what they are.
fn is_sound(source: &SourceRecord, path: &EntryPath) -> bool {
    let known = source.databases.iter().find(|database| database.path == *path && database.engine == "sqlite");
    known.is_some_and(|database| database.damage.is_none())
}

fn beside(before: &Arc<ContentReader>, after: &Arc<ContentReader>) -> Result<Option<Beside>, OpError> {
    let unlike = before.unlike(after, MOST_RUNS)?;
    let (before, after) = (before.clone() as Arc<dyn RandomRead>, after.clone() as Arc<dyn RandomRead>);
    Ok(unlike.map(|unlike| Beside { before, after, unlike }))
}
