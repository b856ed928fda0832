//! A snapshot's database, open for asking, whatever its engine.
//!
//! Owns which engine reads it, and how the files of a captured PostgreSQL database are found in its listing. Nothing is
//! fetched before it is asked for.

use std::borrow::Cow;
use std::sync::{Arc, OnceLock};

use crate::base::control::Control;
use crate::base::entry::{Content, Entry};
use crate::base::error::Explained;
use crate::base::name::Name;
use crate::base::path::{self, EntryPath};
use crate::base::random::RandomRead;
use crate::base::record::{Each, Key, Records, Table, Value};
use crate::engine::postgres::layout;
use crate::engine::postgres::records::kept::{Files, Kept, KeptDatabase, Start};
use crate::engine::sqlite::ask::Session;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::show;
use crate::record::error::RecordError;
use crate::record::several::Several;
use crate::vault::extents;
use crate::vault::random::{ContentReader, Desk};

/// A database of a snapshot, open.
pub enum Side {
    Sqlite(Session),
    Postgres(Kept),
    Several(Several<Side>),
}

impl Side {
    pub fn open(
        place: &Place<'_>,
        manifest: &Manifest,
        desk: &Arc<Desk>,
        control: &Arc<Control>,
    ) -> Result<Self, OpError> {
        if place.is_postgres() {
            let database = Arc::new(tables(place, manifest, desk)?);
            return Ok(Self::Postgres(Kept::new(database, &place.label(), control.clone())));
        }
        Ok(Self::Sqlite(Session::open(place.read(manifest, desk)?, &place.label(), control.clone())?))
    }

    /// As the engine of records takes it.
    pub fn records(&self) -> &dyn Records {
        match self {
            Self::Sqlite(session) => session,
            Self::Postgres(kept) => kept,
            Self::Several(several) => several,
        }
    }

    /// Where a table comes from: the other source, where there are several, its database, and the table as it is there.
    pub fn origin<'t>(&self, table: &'t Table) -> Result<(Option<&Name>, &Self, Cow<'t, Table>), RecordError> {
        match self {
            Self::Several(several) => Ok(several.origin(table)?),
            _ => Ok((None, self, Cow::Borrowed(table))),
        }
    }
}

/// One of several answers as whatever it is.
impl Records for Side {
    fn label(&self) -> String {
        self.records().label()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        self.records().tables()
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.records().find(table, by, keys, wanted, each)
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.records().matching(table, condition, wanted, each)
    }

    fn is_loose(&self, child: (&Table, &[usize]), parent: (&Table, &[usize])) -> bool {
        self.records().is_loose(child, parent)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        self.records().typed(table, column, text)
    }
}

/// The tables of a captured PostgreSQL database.
pub fn tables(place: &Place<'_>, manifest: &Manifest, desk: &Arc<Desk>) -> Result<KeptDatabase, OpError> {
    let source = Arc::new(place.source.clone());
    let list = entry(&source, layout::TABLES, desk)?.ok_or_else(|| Problem::NoPath {
        snapshot: manifest.id.short(),
        source_name: source.name.to_string(),
        path: layout::TABLES.to_owned(),
    })?;
    let list = desk.read(&list)?;
    let files = |table: &layout::Table| -> Arc<dyn Files> {
        let notes = table.path.strip_suffix(".copy").map(|path| format!("{path}.segments"));
        let (source, desk, path) = (source.clone(), desk.clone(), table.path.clone());
        Arc::new(TableFiles { source, desk, path, notes, found: OnceLock::new() })
    };
    KeptDatabase::read(&list, &files).map_err(|error| Problem::Content(error).into())
}

/// What was captured of how tables are made.
pub fn definitions(place: &Place<'_>, path: &str, desk: &Arc<Desk>) -> Result<ContentReader, OpError> {
    let absent = || Problem::NoRows { path: path.to_owned() };
    Ok(desk.read(&entry(place.source, path, desk)?.ok_or_else(absent)?)?)
}

/// What the rows of a table consist of: two that are equal hold the same rows.
pub fn contents(place: &Place<'_>, files: &[String], desk: &Desk) -> Result<Vec<Content>, OpError> {
    let content = |path: &String| Ok(entry(place.source, path, desk)?.map(|entry| entry.content).unwrap_or_default());
    files.iter().map(content).collect()
}

fn entry(source: &SourceRecord, path: &str, desk: &Desk) -> Result<Option<Entry>, OpError> {
    match EntryPath::from_bytes(path.as_bytes()) {
        Ok(path) => show::one(desk.library(), source, &path),
        Err(_) => Ok(None),
    }
}

/// The files of one table in a snapshot.
struct TableFiles {
    source: Arc<SourceRecord>,
    desk: Arc<Desk>,
    path: String,
    notes: Option<String>,
    found: OnceLock<Entry>,
}

impl TableFiles {
    fn entry(&self) -> Result<&Entry, OpError> {
        if let Some(entry) = self.found.get() {
            return Ok(entry);
        }
        let gone = || Problem::NoRows { path: self.path.clone() };
        let found = entry(&self.source, &self.path, &self.desk)?.ok_or_else(gone)?;
        Ok(self.found.get_or_init(|| found))
    }

    fn read_starts(&self) -> Result<Vec<Start>, OpError> {
        let (mut at, mut starts) = (0, Vec::new());
        for extent in extents::of_file(self.entry()?, self.desk.library()) {
            let extent = extent?;
            let chunk = extent.chunk.map(|chunk| chunk.to_string()).unwrap_or_default();
            let content = format!("{chunk} {} {}", extent.offset, extent.length);
            starts.push(Start { at, first: extent.first.as_deref().and_then(path::decode), content });
            at += extent.length;
        }
        Ok(starts)
    }
}

impl Files for TableFiles {
    fn rows(&self) -> Result<Arc<dyn RandomRead>, Explained> {
        let read = || Ok::<_, OpError>(Arc::new(self.desk.read(self.entry()?)?));
        read().map(|reader| reader as Arc<dyn RandomRead>).map_err(|error| Box::new(error) as Explained)
    }

    fn notes(&self) -> Result<Option<Arc<dyn RandomRead>>, Explained> {
        let read = || -> Result<_, OpError> {
            let Some(path) = &self.notes else { return Ok(None) };
            let Some(entry) = entry(&self.source, path, &self.desk)? else { return Ok(None) };
            Ok(Some(Arc::new(self.desk.read(&entry)?) as Arc<dyn RandomRead>))
        };
        read().map_err(|error| Box::new(error) as Explained)
    }

    fn starts(&self) -> Result<Vec<Start>, Explained> {
        self.read_starts().map_err(|error| Box::new(error) as Explained)
    }
}

/// The files of the rows of the table that is called exactly so in records.
pub fn files_of(database: &KeptDatabase, name: &str) -> Vec<String> {
    let table = database.tables.iter().find(|table| table.record.name == name);
    table.map(|table| table.paths.clone()).unwrap_or_default()
}
