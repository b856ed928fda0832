//! What a recovery leaves behind for whoever takes it back: the rows it wrote, and what referred to them by then.
//!
//! Owns the form in which this is kept beside the action. Everything is named as live data names it.

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::base::error::Explained;
use crate::base::record::name::Meant;
use crate::base::record::{Key, Records, Row, Table, exactly};
use crate::record::compare;
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::model::{Columns, Model, Relation, meant_table};

/// Rows that are looked at together.
const BATCH: usize = 200;

/// A row that was written, and what it holds since; nothing where it was removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub table: String,
    pub key: Key,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// Everything that an undo has to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub written: Vec<Written>,
    /// The references that only the configuration knew of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub relations: Vec<Relation>,
    /// Rows that were not written and yet referred to what came back, by table and key: they had outlived it. They are no
    /// newer work, and may be left as they were.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub referring: Vec<(String, Key)>,
}

/// Is told what was written before it lasts, and what the store can be asked by later whether it does.
pub type BeforeCommit<'b> = dyn FnMut(&Trace, Option<String>) -> Result<(), Explained> + 'b;

impl Trace {
    /// Looks which rows refer to those that were added, once all are written.
    pub fn new(
        live: &dyn Records,
        relations: Vec<Relation>,
        written: Vec<Written>,
        added: &BTreeMap<String, Vec<Key>>,
    ) -> Result<Self, RecordError> {
        let mut trace = Self { written, relations, referring: Vec::new() };
        let graph = trace.graph(live)?;
        let own: HashSet<(&str, &Key)> = trace.written.iter().map(|one| (one.table.as_str(), &one.key)).collect();
        let mut referring = Vec::new();
        for (name, keys) in added {
            let Some((parent, _)) = exactly(&graph.tables, name) else { continue };
            if !graph.links.iter().any(|link| link.parent == parent) {
                continue;
            }
            let (table, mut rows) = (&graph.tables[parent], Vec::new());
            let mut take = |ties: Row| {
                rows.push(ties);
                Ok::<(), Explained>(())
            };
            live.find(table, &table.key, keys, &graph.ties[parent], &mut take)?;
            children(&graph, live, parent, &rows, &mut |child, key| {
                if !own.contains(&(child.name.as_str(), &key)) {
                    referring.push((child.name.clone(), key));
                }
            })?;
        }
        drop(own);
        trace.referring = referring;
        Ok(trace)
    }

    /// Live data's tables and what ties them. Relations of tables and columns that are gone by now tie nothing.
    pub fn graph(&self, live: &dyn Records) -> Result<Graph, RecordError> {
        let tables = live.tables()?;
        let has = |table: &str, column: &String| {
            // One that may be several is refused where it is looked up.
            meant_table(&tables, table, "")
                .map_or(true, |at| at.is_some_and(|at| tables[at].columns_meant(column) != Meant::Nothing))
        };
        let there = |some: &Columns| some.columns.iter().all(|column| has(&some.table, column));
        let holds = |one: &&Relation| {
            there(&one.from) && there(&one.to) && one.when.iter().all(|(column, _)| has(&one.from.table, column))
        };
        let relations = self.relations.iter().filter(holds).cloned().collect();
        Graph::read(live, &Model { relations, ..Model::default() })
    }
}

/// Every row that refers to some of a table, by its table and key.
pub fn children(
    graph: &Graph,
    live: &dyn Records,
    parent: usize,
    rows: &[Row],
    each: &mut dyn FnMut(&Table, Key),
) -> Result<(), RecordError> {
    for link in graph.links.iter().filter(|link| link.parent == parent) {
        let child = &graph.tables[link.child];
        let mut take = |ties: Row| {
            each(child, graph.tied(link.child, &ties, &child.key));
            Ok::<(), Explained>(())
        };
        graph.referring(live, link, rows.iter(), &mut take)?;
    }
    Ok(())
}

/// Is one of these rows as it was written? All were, or none: one tells of the others. A table that is gone by now tells
/// nothing.
pub fn any_as_written<'w>(
    live: &dyn Records,
    written: impl IntoIterator<Item = &'w Written>,
) -> Result<bool, RecordError> {
    let tables = live.tables()?;
    for written in written {
        let Some(table) = tables.iter().find(|table| table.name == written.table) else { continue };
        if look(live, table, std::slice::from_ref(&written.key))?.first() == Some(written) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// What rows of several tables hold, in the order they are given in: whoever takes them back needs the order that they
/// were written in.
pub fn look_at(live: &dyn Records, rows: &[(&Table, Key)]) -> Result<Vec<Written>, RecordError> {
    let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, (table, _)) in rows.iter().enumerate() {
        of.entry(&table.name).or_default().push(at);
    }
    let mut written: Vec<Option<Written>> = vec![None; rows.len()];
    for places in of.into_values() {
        let keys: Vec<Key> = places.iter().map(|&at| rows[at].1.clone()).collect();
        for (at, one) in places.iter().zip(look(live, rows[places[0]].0, &keys)?) {
            written[*at] = Some(one);
        }
    }
    Ok(written.into_iter().flatten().collect())
}

/// What rows hold, each told by its digest.
pub fn look(live: &dyn Records, table: &Table, keys: &[Key]) -> Result<Vec<Written>, RecordError> {
    let mut written = Vec::with_capacity(keys.len());
    for some in keys.chunks(BATCH) {
        let seen = compare::see(live, table, some)?;
        written.extend(some.iter().map(|key| Written {
            table: table.name.clone(),
            key: key.clone(),
            digest: seen.get(key).map(compare::Seen::digest),
        }));
    }
    Ok(written)
}
