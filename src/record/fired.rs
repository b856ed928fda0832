//! What triggers did while a recovery wrote: the rows they touched, beside those of the plan, and what these held before.
//!
//! Known only inside the transaction, when the safety snapshot is made already: their images go to a file beside the
//! action (docs/decisions/0026). Keys are in memory, as those of a plan are; rows one after another.

use std::collections::{BTreeSet, HashSet};
use std::io::Write;

use crate::base::error::Explained;
use crate::base::record::{Change, Key, Table, Touched, Value, exactly};
use crate::record::compare::{Seen, see};
use crate::record::error::RecordError;
use crate::record::inverse::{Image, put};

/// Rows that are looked at together, and how long they may be.
const BATCH: usize = 100;
const LONG: usize = 1 << 20;
/// More than so many rows are no recovery of a record any more.
const MOST: usize = 1_000_000;

/// Writes down the images of rows that triggers touched and that are not what they were. Returns these rows, what others
/// refer to first.
pub fn keep<'t>(
    live: &dyn Change,
    tables: &'t [Table],
    planned: &HashSet<(String, Key)>,
    out: &mut dyn Write,
) -> Result<Vec<(&'t Table, Key)>, RecordError> {
    let mut rows = Vec::new();
    for table in parents_first(tables) {
        let (mut waiting, mut length): (Vec<Touched>, usize) = (Vec::new(), 0);
        let mut sift = |waiting: &mut Vec<Touched>| -> Result<(), RecordError> {
            let keys: Vec<Key> = waiting.iter().map(|touched| touched.key.clone()).collect();
            let now = see(live, table, &keys)?;
            for Touched { key, row } in waiting.drain(..) {
                if row.as_deref().map(Seen::of).as_ref() == now.get(&key) {
                    continue;
                }
                if row.is_none() && is_keyless(table) && rows_of(live, table, &key)? != 1 {
                    // It cannot be told from its twin, which was there before: the plan says so.
                    continue;
                }
                let names = table.columns.iter().map(|column| column.name.clone());
                let row = row.map(|row| names.zip(row).collect());
                put(&Image { table: table.name.clone(), key: key.clone(), row }, out)?;
                rows.push((table, key));
            }
            match rows.len() > MOST {
                true => Err(RecordError::Fired { table: table.name.clone(), most: MOST as u64 }),
                false => Ok(()),
            }
        };
        live.touched(table, &mut |touched| {
            if planned.contains(&(table.name.clone(), touched.key.clone())) {
                return Ok(());
            }
            length += touched.row.iter().flatten().map(length_of).sum::<usize>();
            waiting.push(touched);
            if waiting.len() < BATCH && length < LONG {
                return Ok(());
            }
            length = 0;
            sift(&mut waiting).map_err(|error| Box::new(error) as Explained)
        })?;
        sift(&mut waiting)?;
    }
    out.flush().map_err(|error| RecordError::Image(error.to_string()))?;
    Ok(rows)
}

fn length_of(value: &Value) -> usize {
    match value {
        Value::Text(bytes) | Value::Blob(bytes) => bytes.len(),
        _ => 0,
    }
}

/// Are its rows told by all that they hold?
fn is_keyless(table: &Table) -> bool {
    !table.numbered && table.key.len() == table.columns.len()
}

fn rows_of(live: &dyn Change, table: &Table, key: &Key) -> Result<u64, RecordError> {
    let mut rows = 0;
    let mut take = |_| {
        rows += 1;
        Ok::<(), Explained>(())
    };
    live.find(table, &table.key, std::slice::from_ref(key), &[], &mut take)?;
    Ok(rows)
}

/// Tables in an order in which each comes behind those it refers to, but for circles.
fn parents_first(tables: &[Table]) -> Vec<&Table> {
    let (mut placed, mut begun) = (Vec::with_capacity(tables.len()), BTreeSet::new());
    // A table waits on the pile until those it refers to are placed.
    let mut pile: Vec<(usize, bool)> = (0..tables.len()).rev().map(|at| (at, false)).collect();
    while let Some((at, parents_are_placed)) = pile.pop() {
        if parents_are_placed {
            placed.push(&tables[at]);
        } else if begun.insert(at) {
            pile.push((at, true));
            for reference in &tables[at].references {
                let parent = exactly(tables, &reference.to).map(|(parent, _)| parent);
                pile.extend(parent.filter(|parent| !begun.contains(parent)).map(|parent| (parent, false)));
            }
        }
    }
    placed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::{OnDelete, Reference};

    #[test]
    fn what_others_refer_to_comes_first_and_a_circle_ends() {
        let table = |name: &str, parents: &[&str]| Table {
            name: name.to_owned(),
            references: parents
                .iter()
                .map(|to| Reference {
                    columns: Vec::new(),
                    to: (*to).to_owned(),
                    to_columns: Vec::new(),
                    on_delete: OnDelete::Restrict,
                    parts: BTreeSet::new(),
                    to_parts: BTreeSet::new(),
                })
                .collect(),
            ..Table::default()
        };
        let tables = [
            table("a", &["c"]),
            table("b", &["a", "gone"]),
            table("c", &[]),
            table("d", &["e"]),
            table("e", &["d", "b"]),
        ];
        let names: Vec<&str> = parents_first(&tables).into_iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["c", "a", "b", "e", "d"]);
    }
}
