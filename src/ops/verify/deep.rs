//! Do the databases of a snapshot work? Asked of SQLite, without restoring them; of a PostgreSQL database, every row is read.
//!
//! What is read here has the digest it was stored under: a database that is not sound was captured like that, or what
//! was captured is not what the manifest says of it. What the manifest itself calls damaged is told, and is no damage of
//! the vault.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::error::{Class, Explain, Explained};
use crate::base::id::SnapshotId;
use crate::base::random::RandomRead;
use crate::base::text::{count, counted};
use crate::engine::sqlite::ask::{AskError, Session};
use crate::engine::sqlite::check::Health;
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::side;
use crate::ops::verify::Checked;
use crate::vault::check::Census;
use crate::vault::random::Desk;
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

/// What became of the databases.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Deep {
    pub databases: Checked,
    pub findings: Vec<Finding>,
}

/// Something to know of one database.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    pub snapshot: SnapshotId,
    /// As the command line names it.
    pub database: String,
    pub what: String,
    pub weight: Weight,
}

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The database is not what was captured, or cannot be relied on.
    Damage,
    /// It could not be checked.
    Unchecked,
    /// It was damaged when it was captured, and that is known: the vault is sound, and the database is not.
    Known,
    /// It was like that when it was captured, and is its owner's business.
    Remark,
}

impl Deep {
    pub fn any(&self, weight: Weight) -> bool {
        self.findings.iter().any(|finding| finding.weight == weight)
    }
}

/// Checks every database of these snapshots. Reads by catalogs that are in the vault, not by this host's cache.
pub fn verify(vault: &UnlockedVault, snapshots: &[Snapshot], control: &Arc<Control>) -> Result<Deep, OpError> {
    let census = Census::take(vault)?;
    let desk = Desk::new(census.library(vault).owned());
    let places: Vec<(&Manifest, Place<'_>)> = snapshots
        .iter()
        .flat_map(|snapshot| Place::all(&snapshot.manifest).into_iter().map(|place| (&snapshot.manifest, place)))
        .collect();
    let mut deep = Deep::default();
    deep.databases.total = places.len() as u64;
    [&control.bytes, &control.items, &control.bytes_expected].into_iter().for_each(|count| count.set(0));
    control.items_expected.set(places.len() as u64);
    for (manifest, place) in &places {
        let found = check(manifest, place, &desk, control, &mut deep.databases.bytes)?;
        let finding = |(weight, what)| Finding { snapshot: manifest.id, database: place.label(), what, weight };
        deep.findings.extend(found.into_iter().map(finding));
        deep.databases.checked += 1;
        control.items.add(1);
    }
    Ok(deep)
}

type Found = Vec<(Weight, String)>;

fn check(
    manifest: &Manifest,
    place: &Place<'_>,
    desk: &Arc<Desk>,
    control: &Arc<Control>,
    bytes: &mut u64,
) -> Result<Found, OpError> {
    if place.is_postgres() {
        return rows(manifest, place, desk, control, bytes);
    }
    let opened = place.read(manifest, desk).and_then(|content| {
        *bytes += content.length();
        let watched = Arc::new(Watched { content, control: control.clone() });
        Ok(Session::open(watched, &place.label(), control.clone())?.check()?)
    });
    let known = place.known.and_then(|known| known.damage.as_ref());
    match opened {
        Ok(health) => Ok(told(&health, place)),
        Err(error) if error.class() == Class::Interrupted => Err(Problem::Interrupted.into()),
        Err(error) if error.class() == Class::Damaged => Ok(vec![(Weight::Damage, error.to_string())]),
        Err(OpError::Ask(AskError::Unsound { reason, .. })) => {
            Ok(vec![(if known.is_some() { Weight::Known } else { Weight::Damage }, reason)])
        }
        Err(OpError::Ask(error @ (AskError::Sql { .. } | AskError::Full { .. }))) => {
            Ok(vec![(Weight::Unchecked, error.to_string())])
        }
        Err(error) => Err(error),
    }
}

/// Reads every row of a captured PostgreSQL database.
fn rows(
    manifest: &Manifest,
    place: &Place<'_>,
    desk: &Arc<Desk>,
    control: &Arc<Control>,
    bytes: &mut u64,
) -> Result<Found, OpError> {
    let checked = side::tables(place, manifest, desk)
        .and_then(|database| database.check(control).map_err(|error| Problem::Content(error).into()));
    let checked = match checked {
        Ok(checked) if checked.stopped => return Err(Problem::Interrupted.into()),
        Ok(checked) => checked,
        Err(error) if error.class() == Class::Damaged => return Ok(vec![(Weight::Damage, error.to_string())]),
        Err(error) => return Err(error),
    };
    *bytes += checked.bytes;
    let mut found: Found = checked.complaints.into_iter().map(|what| (Weight::Damage, what)).collect();
    // Tables without columns are counted in the manifest and read by nobody; of very many, some are not counted.
    let expected = place.known.map(|known| known.rows.clone()).unwrap_or_default();
    let both = expected.iter().filter_map(|(table, rows)| Some((table, *rows, *checked.rows.get(table)?)));
    let wrong = both.filter(|(_, rows, is)| rows != is).map(|(table, rows, is)| {
        let (is, was) = (counted(is, "row"), counted(rows, "row"));
        (Weight::Damage, format!("{table}: {is}, and {was} in the manifest"))
    });
    found.extend(wrong);
    Ok(found)
}

fn told(health: &Health, place: &Place<'_>) -> Found {
    let known = place.known.is_some_and(|known| known.damage.is_some());
    let mut found = Found::new();
    if let [first, more @ ..] = &health.complaints[..] {
        let weight = if known { Weight::Known } else { Weight::Damage };
        let more = if more.is_empty() { String::new() } else { format!(", and {} more", count(more.len() as u64)) };
        found.push((weight, format!("{first}{more}")));
        return found;
    }
    // What the manifest knows is told, whatever this check makes of it.
    found.extend(place.known.and_then(|known| Some((Weight::Known, known.damage.clone()?))));
    for (table, rows) in &health.dangling {
        let rows = counted(*rows, "reference");
        found.push((Weight::Remark, format!("{rows} of {table} to rows that are not there")));
    }
    let expected = place.known.map(|known| &known.rows).filter(|rows| !rows.is_empty());
    found.extend(expected.into_iter().flat_map(|expected| differences(expected, &health.rows)));
    found
}

/// Tables that do not hold as many rows as the manifest says.
fn differences(expected: &BTreeMap<String, u64>, found: &BTreeMap<String, u64>) -> Found {
    let tables = expected.keys().chain(found.keys().filter(|table| !expected.contains_key(*table)));
    let rows = |rows: Option<&u64>| rows.map_or("no table".to_owned(), |rows| counted(*rows, "row"));
    tables
        .filter(|table| expected.get(*table) != found.get(*table))
        .map(|table| {
            let (is, was) = (rows(found.get(table)), rows(expected.get(table)));
            (Weight::Damage, format!("{table}: {is}, and {was} when it was captured"))
        })
        .collect()
}

/// Content whose reading is counted.
struct Watched<R> {
    content: Arc<R>,
    control: Arc<Control>,
}

impl<R: RandomRead> RandomRead for Watched<R> {
    fn length(&self) -> u64 {
        self.content.length()
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        self.control.bytes.add(buffer.len() as u64);
        self.content.read_at(offset, buffer)
    }
}
