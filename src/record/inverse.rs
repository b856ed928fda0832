//! The way back: what rows held before they were written, and making them hold that again.
//!
//! Owns the form of these images, one line of JSON each (docs/format.md), and the rule that nobody's newer work is lost
//! silently. Holds one row in memory at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::base::error::Explained;
use crate::base::record::{Change, Key, Records, Row, Rules, Table, Value, pick};
use crate::record::apply::{BeforeCommit, Written, look};
use crate::record::error::RecordError;
use crate::record::plan::shown;

/// What a row held; nothing where there was none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    pub table: String,
    pub key: Key,
    pub row: Option<BTreeMap<String, Value>>,
}

/// Writes the images of rows, as live data has them now.
pub fn keep(live: &dyn Records, rows: &[(String, Key)], out: &mut dyn Write) -> Result<(), RecordError> {
    let tables = live.tables()?;
    for (name, key) in rows {
        let table = named(&tables, name)?;
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let mut row = None;
        let mut take = |found: Row| {
            let names = table.columns.iter().map(|column| column.name.clone());
            row = Some(names.zip(found).collect());
            Ok::<(), Explained>(())
        };
        live.find(table, &table.key, std::slice::from_ref(key), &all, &mut take)?;
        let image = Image { table: table.name.clone(), key: key.clone(), row };
        serde_json::to_writer(&mut *out, &image).map_err(|error| RecordError::Image(error.to_string()))?;
        out.write_all(b"\n").map_err(|error| RecordError::Image(error.to_string()))?;
    }
    Ok(())
}

fn named<'t>(tables: &'t [Table], name: &str) -> Result<&'t Table, RecordError> {
    tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)).ok_or_else(|| RecordError::NoTable {
        name: name.to_owned(),
        place: "live data".to_owned(),
        nearest: None,
    })
}

/// Makes rows hold what their images say. What is `expected` is compared with what is there first; without it, whatever
/// is there is replaced. Rows that others refer to since are never removed.
pub fn restore(
    images: &mut dyn BufRead,
    live: &mut dyn Change,
    expected: Option<&[Written]>,
    told: &mut BeforeCommit<'_>,
) -> Result<Vec<Written>, RecordError> {
    live.begin(Rules { triggers: false, references: false })?;
    let done = back(images, live, expected).and_then(|written| {
        told(&written)?;
        live.commit()?;
        Ok(written)
    });
    if done.is_err() {
        live.roll_back();
    }
    done
}

fn back(
    images: &mut dyn BufRead,
    live: &mut dyn Change,
    expected: Option<&[Written]>,
) -> Result<Vec<Written>, RecordError> {
    let tables = live.tables()?;
    if let Some(expected) = expected {
        unchanged(&tables, live, expected)?;
    }
    let mut keys: BTreeMap<String, Vec<Key>> = BTreeMap::new();
    let mut removed: BTreeMap<&str, Vec<Row>> = BTreeMap::new();
    for line in images.lines() {
        let line = line.map_err(|error| RecordError::Image(error.to_string()))?;
        let image: Image = serde_json::from_str(&line).map_err(|error| RecordError::Image(error.to_string()))?;
        let table = named(&tables, &image.table)?;
        keys.entry(table.name.clone()).or_default().push(image.key.clone());
        match image.row {
            None => removed.entry(&table.name).or_default().extend(remove(table, &image.key, live)?),
            Some(row) => put(table, &image.key, row, live)?,
        }
    }
    for (name, rows) in &removed {
        unreferred(&tables, named(&tables, name)?, rows, live)?;
    }
    let mut written = Vec::new();
    for (name, keys) in keys {
        written.extend(look(live, named(&tables, &name)?, &keys)?);
    }
    Ok(written)
}

/// Is every row as it was left?
fn unchanged(tables: &[Table], live: &dyn Change, expected: &[Written]) -> Result<(), RecordError> {
    for some in expected.chunk_by(|one, other| one.table == other.table) {
        let table = named(tables, &some[0].table)?;
        let keys: Vec<Key> = some.iter().map(|written| written.key.clone()).collect();
        let now = look(live, table, &keys)?;
        if let Some((was, _)) = some.iter().zip(&now).find(|(was, now)| was != now) {
            return Err(RecordError::Newer { table: table.name.clone(), key: shown(&was.key) });
        }
    }
    Ok(())
}

/// Removes a row; returns the values that others may refer to it by.
fn remove(table: &Table, key: &Key, live: &mut dyn Change) -> Result<Option<Row>, RecordError> {
    let all: Vec<usize> = (0..table.columns.len()).collect();
    let ties: BTreeSet<usize> = table.key.iter().chain(table.unique.iter().flatten()).copied().collect();
    let mut row = None;
    let mut take = |mut found: Row| {
        // What is long is no reference.
        found.iter_mut().enumerate().filter(|(at, _)| !ties.contains(at)).for_each(|(_, value)| *value = Value::Null);
        row = Some(found);
        Ok::<(), Explained>(())
    };
    live.find(table, &table.key, std::slice::from_ref(key), &all, &mut take)?;
    live.delete(table, key)?;
    Ok(row)
}

fn put(table: &Table, key: &Key, row: BTreeMap<String, Value>, live: &mut dyn Change) -> Result<(), RecordError> {
    let (mut columns, mut values) = (Vec::new(), Row::new());
    for (name, value) in row {
        let missing = || RecordError::NoColumn { table: table.name.clone(), column: name.clone() };
        columns.push(table.column(&name).ok_or_else(missing)?);
        values.push(value);
    }
    if !live.update(table, key, &columns, &values)? {
        live.insert(table, &columns, &values)?;
    }
    Ok(())
}

/// Does nothing that stays refer to rows that were removed? One search for all: there may be no index that helps.
fn unreferred(tables: &[Table], table: &Table, rows: &[Row], live: &mut dyn Change) -> Result<(), RecordError> {
    for child in tables {
        for reference in child.references.iter().filter(|one| one.to.eq_ignore_ascii_case(&table.name)) {
            let to: Option<Vec<usize>> = reference.to_columns.iter().map(|name| table.column(name)).collect();
            let Some(to) = to else { continue };
            let values = rows.iter().map(|row| pick(row, &to)).filter(|row| !row.iter().any(Value::is_null));
            let values: BTreeSet<Row> = values.collect();
            if values.is_empty() {
                continue;
            }
            let mut found = None;
            let mut take = |key: Row| {
                found = Some(key);
                Ok::<(), Explained>(())
            };
            live.find(child, &reference.columns, &Vec::from_iter(values), &child.key, &mut take)?;
            if let Some(key) = found {
                let (table, key) = (child.name.clone(), shown(&key));
                return Err(RecordError::Refers { table, key, to: reference.to.clone() });
            }
        }
    }
    Ok(())
}
