//! Which rows of a captured database are otherwise in another snapshot, or in the live database.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::chunk::Chunk;
use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::base::random::RandomRead;
use crate::base::record::name::{Meant, meant_of_parts};
use crate::engine::postgres::records::kept::Arrivals;
use crate::engine::sqlite::ask::{self, AskError, Session};
use crate::engine::sqlite::beside::{Beside, MOST_RUNS};
use crate::engine::sqlite::rows::{Row, Table};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::holders::{Has, Holders};
use crate::ops::restore::live::live_path;
use crate::ops::safety;
use crate::ops::side;
use crate::record::error::RecordError;
use crate::source::files::root::trusted;
use crate::vault::random::{ContentReader, Desk};
use crate::vault::unlocked::UnlockedVault;

/// What is compared.
pub struct Request<'m> {
    pub before: &'m Manifest,
    pub source: &'m SourceRecord,
    /// The database's entry.
    pub path: &'m EntryPath,
    /// The later snapshot and its source; `None` for what is there now: a SQLite database. The rows of a server's are
    /// compared while they are read, see [`ServerRows`].
    pub after: Option<(&'m Manifest, &'m SourceRecord)>,
    /// Where the source lives on this host, written as in manifests: asked only where there is no later snapshot.
    pub root: &'m str,
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
    let desk = Desk::new(unlocked.library()?.owned());
    let tables = match Place::at(request.source, request.path).is_postgres() {
        true => of_postgres(request, &desk, each)?,
        false => of_sqlite(request, &desk, each)?,
    };
    Ok(Report { tables, fetched: desk.library().fetched() })
}

/// Has a database of these snapshots such a table, as far as is known? `source` is the only one that is looked at.
pub fn is_there(
    unlocked: &UnlockedVault,
    snapshots: &[&Manifest],
    source: Option<&str>,
    table: &str,
    control: &Arc<Control>,
) -> Result<bool, OpError> {
    let mut holders = Holders::new(Desk::new(unlocked.library()?.owned()), control.clone());
    let mut has = |manifest: &Manifest| {
        let places = Place::all(manifest).into_iter();
        let mut wanted = places.filter(|place| source.is_none_or(|name| place.source.name.as_str() == name));
        wanted.any(|place| holders.has(&place, manifest, table) != Has::No)
    };
    Ok(snapshots.iter().any(|manifest| has(manifest)))
}

fn of_postgres(
    request: &Request<'_>,
    desk: &Arc<Desk>,
    each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
) -> Result<Vec<Table>, OpError> {
    let Some((manifest, later)) = request.after else { return Ok(Vec::new()) };
    let old = side::tables(&Place::at(request.source, request.path), request.before, desk)?;
    let new = side::tables(&Place::at(later, request.path), manifest, desk)?;
    let mut each = |name: &str, row: Row| each(name, row).map_err(|error| Box::new(error) as Explained);
    let known = old.tables.iter().chain(&new.tables).map(|table| table.record.name.clone()).collect();
    let only = request.table.map(|table| meant(table, known)).transpose()?;
    Ok(old.differences(&new, only.as_deref(), &mut each).map_err(Problem::Content)?)
}

/// The one of these tables that is meant by a name; the name itself where there is none.
fn meant(name: &str, known: BTreeSet<String>) -> Result<String, OpError> {
    let known = Vec::from_iter(known);
    match meant_of_parts(name, known.iter().map(String::as_str)) {
        Meant::One(at) => Ok(known[at].clone()),
        Meant::Nothing => Ok(name.to_owned()),
        Meant::Several(places) => {
            let fitting = places.into_iter().map(|at| known[at].clone()).collect();
            let (name, place) = (name.to_owned(), "the database".to_owned());
            Err(RecordError::Several { what: "tables", name, place, fitting }.into())
        }
    }
}

/// The rows of a captured PostgreSQL database, compared with those of a live one as they come, table by table.
pub struct ServerRows<'e> {
    arrivals: Arrivals,
    each: &'e mut dyn FnMut(&str, Row),
}

impl<'e> ServerRows<'e> {
    /// Of one table, if only that is asked for. Hands over every row that differs.
    pub fn new(
        unlocked: &UnlockedVault,
        manifest: &Manifest,
        source: &SourceRecord,
        table: Option<&str>,
        each: &'e mut dyn FnMut(&str, Row),
    ) -> Result<Self, OpError> {
        let desk = Desk::new(unlocked.library()?.owned());
        let kept = side::tables(&Place::at(source, &EntryPath::root()), manifest, &desk)?;
        if let Some(table) = table {
            meant(table, kept.tables.iter().map(|table| table.record.name.clone()).collect())?;
        }
        Ok(Self { arrivals: Arrivals::new(kept, table), each })
    }

    /// Takes the rows of a file, whose line in the list of tables this would be.
    pub(in crate::ops) fn file(
        &mut self,
        line: &[u8],
        chunks: &mut dyn Iterator<Item = Result<Chunk, Explained>>,
    ) -> Result<(), Explained> {
        let line = serde_json::from_slice(line).expect("BUG: a capture tells of a table before its rows");
        let Self { arrivals, each } = self;
        arrivals.file(&line, chunks, &mut |name: &str, row: Row| {
            each(name, row);
            Ok(())
        })
    }

    /// Every table that is not the same.
    pub fn finish(self) -> Vec<Table> {
        self.arrivals.finish()
    }
}

fn of_sqlite(
    request: &Request<'_>,
    desk: &Arc<Desk>,
    each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
) -> Result<Vec<Table>, OpError> {
    let Request { before, source, path, after, root, table, control } = request;
    let place = |source| Place { source, path: (*path).clone(), known: None };
    let (own, label) = (place(source), place(source).label());
    let content = own.read(before, desk)?;
    let mut session = Session::open(content.clone(), &label, control.clone())?;
    let (name, pages) = match after {
        Some((manifest, later)) => {
            let other = place(later).read(manifest, desk)?;
            session.attach(AFTER, other.clone())?;
            let sound = is_sound(source, path) && is_sound(later, path);
            (AFTER, if sound { beside(&content, &other)? } else { None })
        }
        None => {
            let failed = |source| Problem::Unreadable { path: (*root).to_owned(), source };
            let root = trusted(&safety::place(root)).map_err(failed)?.path;
            session.attach_live(&live_path(&root, path));
            session.must_have_live()?;
            (ask::LIVE, None)
        }
    };
    Ok(session.differences(name, *table, pages.as_ref(), each)?)
}

/// Was it captured page by page, and found sound? Only then do its pages tell what they are.
fn is_sound(source: &SourceRecord, path: &EntryPath) -> bool {
    let known = source.databases.iter().find(|database| database.path == *path && database.engine == "sqlite");
    known.is_some_and(|database| database.is_sound())
}

fn beside(before: &Arc<ContentReader>, after: &Arc<ContentReader>) -> Result<Option<Beside>, OpError> {
    let unlike = before.unlike(after, MOST_RUNS)?;
    let (before, after) = (before.clone() as Arc<dyn RandomRead>, after.clone() as Arc<dyn RandomRead>);
    Ok(unlike.map(|unlike| Beside { before, after, unlike }))
}
