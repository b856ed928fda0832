//! Which snapshots hold a record: when it was there first, when it changed, and since when it is gone.
//!
//! Reads a database only where its content differs from the snapshot before; of it, what one question touches.

mod called;
mod database;

use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::entry::Content;
use crate::base::error::{Class, Explain, Explained, one_line};
use crate::base::id::SnapshotId;
use crate::base::record::{Key, Records, Row, Table};
use crate::base::time::Instant;
use crate::format::manifest::Manifest;
use crate::ops::backup::Planned;
use crate::ops::damaged::Damaged;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::find::called::Called;
use crate::ops::places::Places;
use crate::ops::recover;
use crate::ops::show::Part;
use crate::ops::side::{self, Side};
use crate::record::compare::Seen;
use crate::record::error::RecordError;
use crate::record::model::{Entity, Model, meant_table};
use crate::vault::random::Desk;
use crate::vault::select::SAFETY;
use crate::vault::unlocked::UnlockedVault;

/// What is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// A record of an entity or table, by its key as a person types it.
    Key { name: String, key: String },
    /// Rows of a table that a condition holds for.
    Where { table: String, condition: String },
}

/// What the database of a snapshot is called on the command line, if one was named.
pub type Named<'n> = dyn Fn(&Manifest) -> Result<Option<Part>, OpError> + 'n;

pub struct Request<'r> {
    pub wanted: Wanted,
    pub part: Box<Named<'r>>,
    pub model: Model,
    pub configured: Vec<Planned>,
    pub places: Places,
    /// This host, whose snapshots go before those of others; nothing where a person names one.
    pub host: Option<String>,
    pub control: Arc<Control>,
}

/// What became of what was looked for, oldest first: only where something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub changes: Vec<Change>,
    /// The newest snapshot that holds it, and what its database is called there.
    pub last: Option<SnapshotId>,
    pub database: Option<String>,
    /// Hosts whose snapshots were passed over, as this one has its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub other_hosts: Vec<String>,
    /// Is it in live data? Unknown where that is not on this host.
    pub live: Option<bool>,
    /// Why live data could not be looked at, though it is known where it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub live_unseen: Option<String>,
    /// Snapshots whose database could not be looked into, or may lack what is not found in it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unread: Vec<Unread>,
    /// Snapshots that have such a database, and those whose database had to be read.
    pub snapshots: u64,
    pub read: u64,
    pub fetched: u64,
}

/// A snapshot of which nobody knows what it holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Unread {
    pub snapshot: SnapshotId,
    pub time: Instant,
    pub why: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    pub snapshot: SnapshotId,
    pub time: Instant,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "change")]
pub enum What {
    /// It is there, and was not in the snapshot before.
    There { rows: u64 },
    /// It is not what it was, in these columns if it is one row.
    Changed { rows: u64, columns: Vec<String> },
    /// It was in the snapshot before, and is not in this one.
    Gone,
}

/// Looks through snapshots, which come oldest first. What a recovery kept of single rows is passed over.
pub fn find(unlocked: &UnlockedVault, snapshots: &[&Manifest], request: &Request<'_>) -> Result<Report, OpError> {
    let desk = Desk::new(unlocked.library()?.owned());
    let whole: Vec<&Manifest> = snapshots.iter().copied().filter(|manifest| !manifest.is_partial()).collect();
    let mut states = database::states(&whole, request, &desk)?;
    let other_hosts = database::keep_own(&mut states, request.host.as_deref());
    let mut report = Report { other_hosts, ..Report::default() };
    let called = Called::of(&states, request, &desk)?;
    let (mut before, mut content): (Sight, Option<Vec<Content>>) = (Sight::default(), None);
    for (place, manifest) in &states {
        if request.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        report.snapshots += 1;
        let (held, now) = match state((place, manifest), content.as_ref(), &desk, (request, &called)) {
            Ok(seen) => seen,
            Err(error) if is_its_own(&error, place, manifest) => {
                report.unread(manifest, one_line(&error));
                content = None;
                continue;
            }
            Err(error) => return Err(error),
        };
        let damaged = Damaged::of(place, manifest);
        if let Some(now) = now {
            report.read += 1;
            // What is not found in a database that is damaged may be in what is lost of it.
            if let Some(damaged) = damaged.as_ref().filter(|_| before.rows > 0 && now.rows < before.rows) {
                report.unread(manifest, damaged.to_string());
                content = None;
                continue;
            }
            report.note(manifest, &before, &now);
            before = now;
        }
        content = Some(held);
        if let Some(damaged) = &damaged {
            report.unread(manifest, damaged.to_string());
        }
        // One that was made before a change is a way back, but seldom what people look for; nor is one that is damaged.
        let is_seldom = manifest.reason == SAFETY || damaged.is_some();
        if before.rows > 0 && (!is_seldom || report.last.is_none()) {
            (report.last, report.database) = (Some(manifest.id), Some(place.label()));
        }
    }
    if let Some((place, manifest)) = states.last() {
        match live(place, manifest, &desk, (request, &called))? {
            Live::Has(it) => report.live = Some(it),
            Live::Elsewhere => {}
            Live::Unseen(why) => report.live_unseen = Some(why),
        }
    }
    report.fetched = desk.library().fetched();
    Ok(report)
}

/// What a state of the database consists of; and what is in it, where that is something else than `before`.
fn state(
    (place, manifest): (&Place<'_>, &Manifest),
    before: Option<&Vec<Content>>,
    desk: &Arc<Desk>,
    (request, called): (&Request<'_>, &Called),
) -> Result<(Vec<Content>, Option<Sight>), OpError> {
    let (held, open) = content_of(place, manifest, desk, (request, called))?;
    if before == Some(&held) {
        return Ok((held, None));
    }
    let side = open.map_or_else(|| Side::open(place, manifest, desk, &request.control), Ok)?;
    let now = look(side.records(), request, &|tables| called.among(tables))?;
    Ok((held, Some(now)))
}

/// Is what keeps a database from being looked into a matter of this one snapshot? Others tell what they hold all the same.
fn is_its_own(error: &OpError, place: &Place<'_>, manifest: &Manifest) -> bool {
    let is_unsound = || Damaged::of(place, manifest).is_some() || Damaged::behind(error, &[manifest]).is_some();
    match error.class() {
        Class::Damaged => true,
        Class::Failed => is_unsound(),
        _ => false,
    }
}

/// What has to be the same for a record to be: the whole database where it is one file, and the rows of the table where
/// it is many. A database that is open by then is handed back.
fn content_of(
    place: &Place<'_>,
    manifest: &Manifest,
    desk: &Arc<Desk>,
    (request, called): (&Request<'_>, &Called),
) -> Result<(Vec<Content>, Option<Side>), OpError> {
    if !place.is_postgres() {
        return Ok((vec![place.entry(manifest, desk)?.content], None));
    }
    let side = Side::open(place, manifest, desk, &request.control)?;
    let Side::Postgres(kept) = &side else { return Ok((Vec::new(), Some(side))) };
    let files = match &request.wanted {
        // A condition may look into other tables.
        Wanted::Where { condition, .. } if condition.to_ascii_lowercase().contains("select") => {
            kept.database.tables.iter().flat_map(|table| table.paths.clone()).collect()
        }
        _ => side::files_of(&kept.database, called.name()),
    };
    let contents = side::contents(place, &files, desk)?;
    Ok((contents, Some(side)))
}

impl Report {
    fn unread(&mut self, manifest: &Manifest, why: String) {
        self.unread.push(Unread { snapshot: manifest.id, time: manifest.time, why });
    }

    fn note(&mut self, manifest: &Manifest, before: &Sight, now: &Sight) {
        let what = match (before.rows, now.rows) {
            (0, 0) => return,
            (0, rows) => What::There { rows },
            (_, 0) => What::Gone,
            (_, rows) if before.digests != now.digests => What::Changed { rows, columns: before.differ(now) },
            _ => return,
        };
        self.changes.push(Change { snapshot: manifest.id, time: manifest.time, what });
    }
}

fn entity<'r>(request: &'r Request<'_>) -> Option<&'r Entity> {
    request.model.entities.get(request.wanted.name())
}

impl Wanted {
    /// The entity or table, as it was named.
    pub fn name(&self) -> &str {
        match self {
            Self::Key { name, .. } => name,
            Self::Where { table, .. } => table,
        }
    }
}

impl Request<'_> {
    fn table(&self) -> &str {
        entity(self).map_or(self.wanted.name(), |entity| &entity.table)
    }
}

/// What one state of a database holds of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Sight {
    rows: u64,
    /// One for each row, in the order of keys; of many, one for all.
    digests: Vec<String>,
    /// The columns of the only row.
    only: Option<(Vec<String>, Seen)>,
}

/// Rows beyond this many are told by one digest.
const MANY: usize = 1000;

impl Sight {
    fn add(&mut self, table: &Table, row: &Row) {
        let seen = Seen::of(row);
        self.rows += 1;
        match self.digests.len() {
            length if length < MANY => self.digests.push(seen.digest()),
            _ => {
                use sha2::{Digest, Sha256};
                let last = self.digests.last_mut().expect("BUG: there are many");
                *last = hex::encode(Sha256::digest(format!("{last}{}", seen.digest())));
            }
        }
        let names = || table.columns.iter().map(|column| column.name.clone()).collect();
        self.only = (self.rows == 1).then(|| (names(), seen));
    }

    /// The columns in which one row is another than it was.
    fn differ(&self, now: &Self) -> Vec<String> {
        let (Some((names, was)), Some((names_now, is))) = (&self.only, &now.only) else { return Vec::new() };
        let value = |name: &String| names.iter().position(|one| one == name).map(|at| &was.columns[at]);
        let mut columns: Vec<String> = names_now
            .iter()
            .zip(&is.columns)
            .filter(|(name, now)| value(name) != Some(now))
            .map(|(name, _)| name.clone())
            .collect();
        columns.extend(names.iter().filter(|name| !names_now.contains(name)).cloned());
        columns
    }
}

/// Says which of the tables of a state is meant.
type Choose<'c> = dyn Fn(&[Table]) -> Result<Option<usize>, RecordError> + 'c;

fn look(records: &dyn Records, request: &Request<'_>, choose: &Choose<'_>) -> Result<Sight, OpError> {
    let tables = records.tables().map_err(RecordError::store)?;
    let Some(table) = choose(&tables)?.map(|at| &tables[at]) else { return Ok(Sight::default()) };
    let mut sight = Sight::default();
    let done = match &request.wanted {
        Wanted::Key { key, .. } => {
            let columns = key_columns(table, entity(request))?;
            let key = typed(records, table, &columns, key)?;
            let mut take = |row: Row| {
                sight.add(table, &row);
                Ok::<(), Explained>(())
            };
            records.find(table, &columns, &[key], &all(table), &mut take)
        }
        Wanted::Where { condition, .. } => {
            let mut take = |row: Row| {
                sight.add(table, &row);
                Ok::<(), Explained>(())
            };
            records.matching(table, Some(condition), &all(table), &mut take)
        }
    };
    done.map_err(RecordError::store)?;
    Ok(sight)
}

fn all(table: &Table) -> Vec<usize> {
    (0..table.columns.len()).collect()
}

fn key_columns(table: &Table, entity: Option<&Entity>) -> Result<Vec<usize>, RecordError> {
    let Some(entity) = entity.filter(|entity| !entity.key.is_empty()) else { return Ok(table.key.clone()) };
    let column = |name: &String| table.column(name).ok_or_else(|| RecordError::no_column(table, name));
    entity.key.iter().map(column).collect()
}

/// A key as a person types it: its values with commas between them.
pub(in crate::ops) fn typed(
    records: &dyn Records,
    table: &Table,
    columns: &[usize],
    text: &str,
) -> Result<Key, RecordError> {
    let parts: Vec<&str> = if columns.len() == 1 { vec![text] } else { text.split(',').map(str::trim).collect() };
    if parts.len() != columns.len() {
        let wanted = table.names(columns).join(", ");
        return Err(RecordError::KeyLength { table: table.name.clone(), wanted, given: text.to_owned() });
    }
    let one = |(column, text): (&usize, &&str)| records.typed(table, *column, text);
    Ok(columns.iter().zip(&parts).map(one).collect::<Result<_, Explained>>()?)
}

/// What is known of live data.
enum Live {
    Has(bool),
    /// It is not on this host, or not there any more.
    Elsewhere,
    /// It is there, and could not be looked at.
    Unseen(String),
}

/// Is it in live data?
fn live(
    place: &Place<'_>,
    manifest: &Manifest,
    desk: &Arc<Desk>,
    (request, called): (&Request<'_>, &Called),
) -> Result<Live, OpError> {
    let renamed = called.renamed((place, manifest), &request.model, desk, &request.control)?;
    let place = recover::live_place(manifest, place, &request.configured, &request.places);
    let Ok(database) = place else { return Ok(Live::Elsewhere) };
    if database.path().is_some_and(|path| !path.exists()) {
        return Ok(Live::Elsewhere);
    }
    let why = |error: &dyn Explain| format!("{database}: {}", one_line(error));
    let live = match database.open(std::time::Duration::from_secs(5), &request.control) {
        Ok(live) => live,
        Err(error) if error.class() == Class::Interrupted => return Err(Problem::Content(error).into()),
        Err(error) => return Ok(Live::Unseen(why(&*error))),
    };
    let choose = |tables: &[Table]| match &renamed {
        Some(now) => meant_table(tables, now, "live data"),
        None => called.among(tables),
    };
    match look(&*live, request, &choose) {
        Ok(sight) => Ok(Live::Has(sight.rows > 0)),
        // Somebody holds it, or the server is gone: what snapshots hold is known all the same.
        Err(error) if matches!(error.class(), Class::Busy | Class::Failed) => Ok(Live::Unseen(why(&error))),
        Err(error) => Err(error),
    }
}
