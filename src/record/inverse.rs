//! The way back: what rows held before they were written, and making them hold that again.
//!
//! Owns the form of these images, one line of JSON each (docs/format.md), and the rule that nobody's newer work is lost
//! silently. Holds one row in memory at a time.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, Write};

use serde::{Deserialize, Serialize};

use crate::base::error::Explained;
use crate::base::record::{Change, Key, Records, Row, Rules, Table, Value};
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::plan::shown;
use crate::record::trace::{BeforeCommit, Trace, Written, children, look};

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
        let missing = || RecordError::NoTable { name: name.clone(), place: "live data".to_owned(), nearest: None };
        let table = tables.iter().find(|table| table.name.eq_ignore_ascii_case(name)).ok_or_else(missing)?;
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

/// Makes rows hold what their images say. What was written is compared with what is there first, unless `force` says that
/// whatever is there is replaced. Rows that others refer to since are never removed.
pub fn restore(
    images: &mut dyn BufRead,
    live: &mut dyn Change,
    was: &Trace,
    force: bool,
    told: &mut BeforeCommit<'_>,
) -> Result<Trace, RecordError> {
    live.begin(Rules { triggers: false, references: false })?;
    let done = back(images, live, was, force).and_then(|trace| {
        told(&trace)?;
        live.commit()?;
        Ok(trace)
    });
    if done.is_err() {
        live.roll_back();
    }
    done
}

fn back(images: &mut dyn BufRead, live: &mut dyn Change, was: &Trace, force: bool) -> Result<Trace, RecordError> {
    let graph = was.graph(live)?;
    if !force {
        unchanged(&graph, live, &was.written)?;
    }
    let mut keys: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
    let mut removed: BTreeMap<usize, Vec<Row>> = BTreeMap::new();
    for line in images.lines() {
        let line = line.map_err(|error| RecordError::Image(error.to_string()))?;
        let image: Image = serde_json::from_str(&line).map_err(|error| RecordError::Image(error.to_string()))?;
        let at = named(&graph, &image.table)?;
        keys.entry(at).or_default().push(image.key.clone());
        match image.row {
            None => removed.entry(at).or_default().extend(remove(&graph, at, &image.key, live)?),
            Some(row) => put(&graph.tables[at], &image.key, row, live)?,
        }
    }
    unreferred(&graph, &removed, was, live)?;
    let mut written = Vec::new();
    for (at, keys) in keys {
        written.extend(look(live, &graph.tables[at], &keys)?);
    }
    Ok(Trace { written, ..was.clone() })
}

fn named(graph: &Graph, table: &str) -> Result<usize, RecordError> {
    graph.named(table, "live data")
}

/// Is every row as it was left?
fn unchanged(graph: &Graph, live: &dyn Change, expected: &[Written]) -> Result<(), RecordError> {
    for some in expected.chunk_by(|one, other| one.table == other.table) {
        let table = &graph.tables[named(graph, &some[0].table)?];
        let keys: Vec<Key> = some.iter().map(|written| written.key.clone()).collect();
        let now = look(live, table, &keys)?;
        if let Some((was, _)) = some.iter().zip(&now).find(|(was, now)| was != now) {
            return Err(RecordError::Newer { table: table.name.clone(), key: shown(&was.key) });
        }
    }
    Ok(())
}

/// Removes a row; returns the values that others may refer to it by.
fn remove(graph: &Graph, at: usize, key: &Key, live: &mut dyn Change) -> Result<Option<Row>, RecordError> {
    let (table, mut ties) = (&graph.tables[at], None);
    let mut take = |found: Row| {
        ties = Some(found);
        Ok::<(), Explained>(())
    };
    live.find(table, &table.key, std::slice::from_ref(key), &graph.ties[at], &mut take)?;
    live.delete(table, key)?;
    Ok(ties)
}

fn put(table: &Table, key: &Key, row: BTreeMap<String, Value>, live: &mut dyn Change) -> Result<(), RecordError> {
    let (mut columns, mut values) = (Vec::new(), Row::new());
    for (name, value) in row {
        columns.push(table.column(&name).ok_or_else(|| RecordError::no_column(table, &name))?);
        values.push(value);
    }
    if !live.update(table, key, &columns, &values)? {
        live.insert(table, &columns, &values)?;
    }
    Ok(())
}

/// Does nothing that is newer refer to rows that were removed?
fn unreferred(
    graph: &Graph,
    removed: &BTreeMap<usize, Vec<Row>>,
    was: &Trace,
    live: &dyn Change,
) -> Result<(), RecordError> {
    let older: HashSet<(&str, &Key)> = was.referring.iter().map(|(table, key)| (table.as_str(), key)).collect();
    for (&parent, rows) in removed {
        let mut newer = None;
        children(graph, live, parent, rows, &mut |child, key| {
            if newer.is_none() && !older.contains(&(child.name.as_str(), &key)) {
                newer = Some((child.name.clone(), shown(&key)));
            }
        })?;
        if let Some((table, key)) = newer {
            return Err(RecordError::Refers { table, key, to: graph.tables[parent].name.clone() });
        }
    }
    Ok(())
}
