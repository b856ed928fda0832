//! The way back: what rows held before they were written, and making them hold that again.
//!
//! Owns the form of these images, one line of JSON each (docs/format.md), and the rule that nobody's newer work is lost
//! silently. Holds one row in memory at a time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::{BufRead, Seek, Write};

use serde::{Deserialize, Serialize};

use crate::base::error::Explained;
use crate::base::record::{Change, Key, Records, Reference, Row, Rules, Table, Value, exactly};
use crate::base::text::nearest;
use crate::record::apply::end;
use crate::record::compare;
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::loose::{is_loose, strays};
use crate::record::plan::shown;
use crate::record::trace::{BeforeCommit, Trace, Written, children, look_at};

/// Rows that are asked for together.
const BATCH: usize = 200;

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
    let there = there(live, &tables, rows)?;
    for (at, (name, key)) in rows.iter().enumerate() {
        let table = named(&tables, name)?;
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let mut row = None;
        let mut take = |found: Row| {
            let names = table.columns.iter().map(|column| column.name.clone());
            row = Some(names.zip(found).collect());
            Ok::<(), Explained>(())
        };
        if there[at] {
            live.find(table, &table.key, std::slice::from_ref(key), &all, &mut take)?;
        }
        put(&Image { table: table.name.clone(), key: key.clone(), row }, out)?;
    }
    Ok(())
}

/// Writes one image.
pub(in crate::record) fn put(image: &Image, out: &mut dyn Write) -> Result<(), RecordError> {
    serde_json::to_writer(&mut *out, image).map_err(|error| RecordError::Image(error.to_string()))?;
    out.write_all(b"\n").map_err(|error| RecordError::Image(error.to_string()))
}

/// Which rows there are: most of those that will be written are none yet, and are not asked for one by one.
fn there(live: &dyn Records, tables: &[Table], rows: &[(String, Key)]) -> Result<Vec<bool>, RecordError> {
    let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (name, _)) in rows.iter().enumerate() {
        of.entry(name).or_default().push(at);
    }
    let mut there = vec![false; rows.len()];
    for (name, places) in of {
        let table = named(tables, name)?;
        for some in places.chunks(BATCH) {
            let keys: Vec<Key> = some.iter().map(|&at| rows[at].1.clone()).collect();
            let found = compare::there(live, table, &table.key, &keys)?;
            some.iter().zip(found).for_each(|(&at, found)| there[at] = found);
        }
    }
    Ok(there)
}

fn named<'t>(tables: &'t [Table], name: &str) -> Result<&'t Table, RecordError> {
    exactly(tables, name).map(|(_, table)| table).ok_or_else(|| RecordError::NoTable {
        name: name.to_owned(),
        place: "live data".to_owned(),
        nearest: nearest(name, tables.iter().map(|table| table.name.as_str())).map(str::to_owned),
    })
}

/// Images that can be read more than once.
pub trait Images: BufRead + Seek {}

impl<I: BufRead + Seek> Images for I {}

/// Makes rows hold what their images say. What was written is compared with what is there first, unless `force` says that
/// whatever is there is replaced. Rows that others refer to since are never removed.
pub fn restore(
    images: &mut dyn Images,
    live: &mut dyn Change,
    was: &Trace,
    force: bool,
    told: &mut BeforeCommit<'_>,
) -> Result<Trace, RecordError> {
    made(&mut Kept { images, is_meant: &|_| true }, live, was, force, told)
}

/// The same of some tables only, and of nothing that is newer.
pub fn restore_some(
    images: &mut dyn Images,
    live: &mut dyn Change,
    was: &Trace,
    is_meant: &dyn Fn(&str) -> bool,
) -> Result<Trace, RecordError> {
    made(&mut Kept { images, is_meant }, live, was, false, &mut |_, _| Ok(()))
}

/// The tables of which some row is not as its image has it.
pub fn changed(images: &mut dyn Images, live: &dyn Records) -> Result<BTreeSet<String>, RecordError> {
    let tables = live.tables()?;
    let mut changed = BTreeSet::new();
    Kept { images, is_meant: &|_| true }.each(&mut |image| {
        let table = named(&tables, &image.table)?;
        let row = image.row.map(|row| split(table, row)).transpose()?;
        let now = compare::see(live, table, std::slice::from_ref(&image.key))?;
        let held = row.as_ref().map(|(columns, values)| (columns, compare::Seen::of(values).columns));
        let same = match (held, now.get(&image.key)) {
            (None, None) => true,
            (Some((at, held)), Some(now)) => at.iter().zip(&held).all(|(at, held)| now.columns[*at] == *held),
            _ => false,
        };
        if !same {
            changed.insert(image.table);
        }
        Ok(())
    })?;
    Ok(changed)
}

fn made(
    images: &mut Kept<'_>,
    live: &mut dyn Change,
    was: &Trace,
    force: bool,
    told: &mut BeforeCommit<'_>,
) -> Result<Trace, RecordError> {
    let mut names = BTreeSet::new();
    images.each(&mut |image| {
        names.insert(image.table);
        Ok(())
    })?;
    let tables = Vec::from_iter(names);
    let outlived = &was.referring;
    live.begin(Rules { triggers: false, references: false, circles: false, tables: &tables, outlived })?;
    let done = back(images, &tables, live, was, force);
    end(done, live, told)
}

/// Images, and those of them that are meant, by their tables.
struct Kept<'k> {
    images: &'k mut dyn Images,
    is_meant: &'k dyn Fn(&str) -> bool,
}

impl Kept<'_> {
    /// Reads every one that is meant, from the first.
    fn each(&mut self, take: &mut dyn FnMut(Image) -> Result<(), RecordError>) -> Result<(), RecordError> {
        let failed = |error: std::io::Error| RecordError::Image(error.to_string());
        self.images.rewind().map_err(failed)?;
        let mut line = String::new();
        while self.images.read_line(&mut line).map_err(failed)? > 0 {
            let image: Image = serde_json::from_str(&line).map_err(|error| RecordError::Image(error.to_string()))?;
            if (self.is_meant)(&image.table) {
                take(image)?;
            }
            line.clear();
        }
        Ok(())
    }
}

/// Rows that stay are changed first, since they may refer to what goes; then what goes, the last that came first; then
/// what comes back, in the order it was there. So it is the same whether the store looks after references or not. Where it
/// does not, what goes goes first: it may hold what only one row can, and another is to hold again.
fn back(
    images: &mut Kept<'_>,
    touched: &[String],
    live: &mut dyn Change,
    was: &Trace,
    force: bool,
) -> Result<Trace, RecordError> {
    let graph = was.graph(live)?;
    let tables = &graph.tables[..];
    if !force {
        unchanged(tables, live, &was.written)?;
    }
    let (rows, removed) = touched_by(images, tables)?;
    let going = Going::look(&graph, &removed, live)?;
    let first = !live.cascades();
    if first {
        remove(&removed, live)?;
    }
    let mut added: HashSet<usize> = HashSet::new();
    // What has to be written once more, when everything is there that it may refer to.
    let mut again: HashSet<usize> = HashSet::new();
    let names: BTreeSet<&str> = touched.iter().map(String::as_str).collect();
    let mut at = 0;
    images.each(&mut |image| {
        if let Some(row) = image.row {
            let table = rows[at].0;
            if first && !table.unique.is_empty() && table.columns.iter().all(|one| row.contains_key(&one.name)) {
                // What only one row can hold may be with another that stays, too: all of them go, and come back.
                live.delete(table, &image.key)?;
                added.insert(at);
                at += 1;
                return Ok(());
            }
            let (columns, mut values) = split(table, row)?;
            let emptied = empty(table, &names, &columns, &mut values, live);
            match live.update(table, &image.key, &columns, &values)? {
                true if emptied => _ = again.insert(at),
                true => {}
                false => _ = added.insert(at),
            }
        }
        at += 1;
        Ok(())
    })?;
    going.unreferred(&graph, (was, &rows), live)?;
    if !first {
        remove(&removed, live)?;
    }
    let mut at = 0;
    images.each(&mut |image| {
        if let (true, Some(row)) = (added.contains(&at), image.row) {
            let (columns, mut values) = split(rows[at].0, row)?;
            if empty(rows[at].0, &names, &columns, &mut values, live) {
                again.insert(at);
            }
            live.insert(rows[at].0, &columns, &values)?;
        }
        at += 1;
        Ok(())
    })?;
    let mut at = 0;
    images.each(&mut |image| {
        if let (true, Some(row)) = (again.contains(&at), image.row) {
            let (columns, values) = split(rows[at].0, row)?;
            live.update(rows[at].0, &image.key, &columns, &values)?;
        }
        at += 1;
        Ok(())
    })?;
    Ok(Trace { written: look_at(live, &rows)?, ..was.clone() })
}

/// Would they be refused? Looks, and changes nothing.
pub fn refusal(images: &mut dyn Images, live: &dyn Change, was: &Trace, force: bool) -> Result<(), RecordError> {
    let graph = was.graph(live)?;
    if !force {
        unchanged(&graph.tables, live, &was.written)?;
    }
    let (rows, removed) = touched_by(&mut Kept { images, is_meant: &|_| true }, &graph.tables)?;
    Going::look(&graph, &removed, live)?.unreferred(&graph, (was, &rows), live)
}

/// Rows that have images, and those of them that go.
type Touched<'t> = (Vec<(&'t Table, Key)>, Vec<(&'t Table, Key)>);

fn touched_by<'t>(images: &mut Kept<'_>, tables: &'t [Table]) -> Result<Touched<'t>, RecordError> {
    let (mut rows, mut removed) = (Vec::new(), Vec::new());
    images.each(&mut |image| {
        let table = named(tables, &image.table)?;
        if image.row.is_none() {
            removed.push((table, image.key.clone()));
        }
        rows.push((table, image.key));
        Ok(())
    })?;
    Ok((rows, removed))
}

/// Is every row as it was left?
fn unchanged(tables: &[Table], live: &dyn Change, expected: &[Written]) -> Result<(), RecordError> {
    let row = |written: &Written| Ok((named(tables, &written.table)?, written.key.clone()));
    let rows: Vec<(&Table, Key)> = expected.iter().map(row).collect::<Result<_, RecordError>>()?;
    let now = look_at(live, &rows)?;
    match expected.iter().zip(&now).find(|(was, now)| was != now) {
        Some((was, _)) => Err(RecordError::Newer { table: was.table.clone(), key: shown(&was.key) }),
        None => Ok(()),
    }
}

fn split(table: &Table, row: BTreeMap<String, Value>) -> Result<(Vec<usize>, Row), RecordError> {
    let (mut columns, mut values) = (Vec::new(), Row::new());
    for (name, value) in row {
        columns.push(table.column(&name).ok_or_else(|| RecordError::no_column(table, &name))?);
        values.push(value);
    }
    Ok((columns, values))
}

/// Removes rows.
fn remove(rows: &[(&Table, Key)], live: &mut dyn Change) -> Result<(), RecordError> {
    let names: BTreeSet<&str> = rows.iter().map(|(table, _)| table.name.as_str()).collect();
    for (table, key) in rows {
        let columns = put_off(table, &names, live);
        if !columns.is_empty() {
            live.update(table, key, &columns, &vec![Value::Null; columns.len()])?;
        }
    }
    for (table, key) in rows.iter().rev() {
        live.delete(table, key)?;
    }
    Ok(())
}

/// Where the store checks each row at once: the columns that may be empty and refer to rows of these tables, among which
/// there may be a circle.
fn put_off(table: &Table, to: &BTreeSet<&str>, live: &dyn Change) -> Vec<usize> {
    if live.defers() {
        return Vec::new();
    }
    let is_it = |name: &str, to: &str| name == to || (!table.tells_case && name.eq_ignore_ascii_case(to));
    let meant = |one: &&Reference| to.iter().any(|name| is_it(name, &one.to));
    let columns = table.references.iter().filter(meant).flat_map(|one| &one.columns).copied();
    let columns: BTreeSet<usize> =
        columns.filter(|at| !table.columns[*at].required && !table.key.contains(at)).collect();
    columns.into_iter().collect()
}

/// Empties what is put off. Says whether there was something.
fn empty(table: &Table, to: &BTreeSet<&str>, columns: &[usize], values: &mut [Value], live: &dyn Change) -> bool {
    let off = put_off(table, to, live);
    let mut emptied = false;
    for (at, value) in columns.iter().zip(values) {
        if off.contains(at) && !value.is_null() {
            *value = Value::Null;
            emptied = true;
        }
    }
    emptied
}

/// Rows that go, by the place of their table: their keys, and what others can refer to of them.
struct Going<'t>(BTreeMap<usize, (Vec<&'t Key>, Vec<Row>)>);

impl<'t> Going<'t> {
    /// Looks at them while they are there.
    fn look(graph: &Graph, rows: &'t [(&Table, Key)], live: &dyn Change) -> Result<Self, RecordError> {
        let mut going: BTreeMap<usize, (Vec<&Key>, Vec<Row>)> = BTreeMap::new();
        for (table, key) in rows {
            going.entry(graph.named(&table.name, "live data")?).or_default().0.push(key);
        }
        for (parent, (keys, ties)) in &mut going {
            let table = &graph.tables[*parent];
            let mut take = |row: Row| {
                ties.push(row);
                Ok::<(), Explained>(())
            };
            for some in keys.chunks(BATCH) {
                let some: Vec<Key> = some.iter().map(|key| (*key).clone()).collect();
                live.find(table, &table.key, &some, &graph.ties[*parent], &mut take)?;
            }
        }
        Ok(Self(going))
    }

    /// Does nothing that is newer refer to them? What had outlived them may, and rows that have images: what goes with them,
    /// and what holds again what it held.
    fn unreferred(
        &self,
        graph: &Graph,
        (was, known): (&Trace, &[(&Table, Key)]),
        live: &dyn Change,
    ) -> Result<(), RecordError> {
        let older = was.referring.iter().map(|(table, key)| (table.as_str(), key));
        let known = known.iter().map(|(table, key)| (table.name.as_str(), key));
        let allowed: HashSet<(&str, &Key)> = older.chain(known).collect();
        for (parent, (_, rows)) in &self.0 {
            let mut newer = None;
            children(graph, live, *parent, rows, &mut |child, key| {
                if newer.is_none() && !allowed.contains(&(child.name.as_str(), &key)) {
                    newer = Some((child.name.clone(), shown(&key)));
                }
            })?;
            if let Some((table, key)) = newer {
                return Err(RecordError::Refers { table, key, to: graph.tables[*parent].name.clone() });
            }
            not_loosely(graph, live, *parent, &|table, key| allowed.contains(&(table, key)))?;
        }
        Ok(())
    }
}

/// Does nothing that is newer refer to rows of a table by values that this store does not compare itself?
fn not_loosely(
    graph: &Graph,
    live: &dyn Change,
    parent: usize,
    is_older: &dyn Fn(&str, &Key) -> bool,
) -> Result<(), RecordError> {
    for link in graph.links.iter().filter(|link| link.parent == parent && is_loose(live, graph, link)) {
        let (child, mut newer) = (&graph.tables[link.child], None);
        strays(live, graph, link, &mut |key| {
            if newer.is_none() && !is_older(&child.name, &key) {
                newer = Some(shown(&key));
            }
        })?;
        if let Some(key) = newer {
            let (table, to) = (child.name.clone(), graph.tables[parent].name.clone());
            return Err(RecordError::MayRefer { table, key, to, columns: child.names(&link.columns).join(", ") });
        }
    }
    Ok(())
}
