//! What belongs to a record: down along references, up only to what is required, never down again from there.
//!
//! Reads a snapshot. Live data is asked for parents only: one that is there is not looked at further, and what does nothing
//! but tie rows together comes back only where all of them are there or come back too.

mod up;

use std::collections::{BTreeMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::base::error::Explained;
use crate::base::record::{Key, Records, Row, Value};
use crate::record::error::RecordError;
use crate::record::graph::{Graph, Link};
use crate::record::identity::Standing;
use crate::record::plan::shown;

use up::Target;

/// Why a row comes back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Why {
    /// It was asked for.
    Asked,
    /// It belongs to a row of this table.
    Belongs(String),
    /// A row of this table needs it.
    Needed(String),
}

/// A row that comes back, as far as it is known before it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub why: Why,
    /// Its columns that tie it to others, in the order of the graph's ties.
    pub ties: Row,
}

/// Rows of one table, by their keys.
pub type Members = BTreeMap<Key, Member>;

/// Everything that belongs together.
#[derive(Clone, Debug, Default)]
pub struct Closure {
    /// For each table of the graph.
    pub members: Vec<Members>,
    /// Rows that outlived what they referred to: by their link, their keys and ties.
    pub relinks: Vec<(usize, Key, Row)>,
    /// References to rows that the snapshot itself does not have: table, key, and the link.
    pub dangling: Vec<(usize, Key, usize)>,
    /// References that are left empty, since what they refer to is gone from live data and may be: table, key, link.
    pub emptied: Vec<(usize, Key, usize)>,
    /// Those of them whose row may be there: it is not certain that it is the same record.
    pub unsure: Vec<(usize, Key, usize)>,
    /// References to rows that the snapshot itself does not have, under whose keys live data has some: table, key, link.
    pub astray: Vec<(usize, Key, usize)>,
    /// Rows between two others of which one is there and the other gone: table, and how many.
    pub lonely: BTreeMap<usize, u64>,
    /// Rows without a key, which cannot be told from others.
    pub keyless: BTreeMap<usize, u64>,
    /// Nobody named what is asked for: it is whatever is missing.
    pub whatever: bool,
}

impl Closure {
    pub fn rows(&self) -> u64 {
        self.members.iter().map(|members| members.len() as u64).sum()
    }

    pub fn holds(&self, table: usize, key: &Key) -> bool {
        self.members[table].contains_key(key)
    }
}

/// Which rows the walk starts from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Seeds {
    /// Rows whose columns hold one of these.
    Keys { columns: Vec<usize>, keys: Vec<Key> },
    /// Rows that a condition holds for.
    Where(String),
    /// Every row that live data lacks; which, the caller says.
    Rows(Vec<Key>),
}

/// Tells what live data has of the rows that a link leads to by these values: one answer for each.
pub type InLive<'l> = dyn FnMut(&Link, &[Row]) -> Result<Vec<Standing>, RecordError> + 'l;

/// Walks through a snapshot.
pub struct Walk<'w> {
    pub graph: &'w Graph,
    pub snapshot: &'w dyn Records,
    /// So many rows may come back.
    pub budget: u64,
    /// For each table, whether its rows do nothing but tie others together.
    between: Vec<bool>,
    /// For each link, where what it refers to by these values is.
    targets: Vec<BTreeMap<Row, Target>>,
    closure: Closure,
}

impl<'w> Walk<'w> {
    pub fn new(graph: &'w Graph, snapshot: &'w dyn Records, budget: u64) -> Self {
        let closure = Closure { members: vec![Members::new(); graph.tables.len()], ..Closure::default() };
        let between = (0..graph.tables.len()).map(|table| graph.is_between(table)).collect();
        let targets = graph.links.iter().map(|_| BTreeMap::new()).collect();
        Self { graph, snapshot, budget, between, targets, closure }
    }

    /// A row between two others always brings back the one that is gone; otherwise only if both are.
    pub fn both_ends(self) -> Self {
        Self { between: vec![false; self.graph.tables.len()], ..self }
    }

    /// Finds what belongs to the seeds.
    pub fn run(mut self, table: usize, seeds: &Seeds, in_live: &mut InLive<'_>) -> Result<Closure, RecordError> {
        let first = self.seeds(table, seeds)?;
        self.down(table, first)?;
        self.up(in_live)?;
        Ok(self.closure)
    }

    fn seeds(&mut self, table: usize, seeds: &Seeds) -> Result<Vec<Key>, RecordError> {
        let wanted = &self.graph.ties[table];
        let mut found = Vec::new();
        let mut take = |ties: Row| {
            found.push(ties);
            Ok(())
        };
        let (shape, snapshot) = (&self.graph.tables[table], self.snapshot);
        match seeds {
            Seeds::Keys { columns, keys } => snapshot.find(shape, columns, keys, wanted, &mut take)?,
            Seeds::Where(condition) => snapshot.matching(shape, Some(condition), wanted, &mut take)?,
            Seeds::Rows(keys) => {
                self.closure.whatever = true;
                snapshot.find(shape, &shape.key, keys, wanted, &mut take)?;
            }
        }
        self.add(table, found, &Why::Asked)
    }

    /// Takes rows in that are not in yet. Returns their keys.
    fn add(&mut self, table: usize, rows: Vec<Row>, why: &Why) -> Result<Vec<Key>, RecordError> {
        let mut fresh = Vec::new();
        let shape = &self.graph.tables[table];
        // Where every column is of the key, there may be no key in truth: then the same row may be there twice.
        let mut whole = (shape.key.len() == shape.columns.len()).then(HashSet::new);
        for ties in rows {
            let key = self.graph.tied(table, &ties, &shape.key);
            if key.iter().any(Value::is_null) {
                *self.closure.keyless.entry(table).or_default() += 1;
                continue;
            }
            if whole.as_mut().is_some_and(|seen| !seen.insert(key.clone())) {
                return Err(RecordError::Twins { table: shape.name.clone(), key: shown(&key) });
            }
            if self.closure.holds(table, &key) {
                continue;
            }
            self.closure.members[table].insert(key.clone(), Member { why: why.clone(), ties });
            fresh.push(key);
        }
        if self.closure.rows() > self.budget {
            return Err(self.over());
        }
        Ok(fresh)
    }

    fn over(&self) -> RecordError {
        let sizes = self.closure.members.iter().map(|members| members.len() as u64);
        let (most, table) = sizes.zip(&self.graph.tables).max_by_key(|(size, _)| *size).expect("BUG: there is a table");
        RecordError::Budget { budget: self.budget, table: table.name.clone(), most }
    }

    /// Level by level, so that one statement asks for the children of many.
    fn down(&mut self, table: usize, first: Vec<Key>) -> Result<(), RecordError> {
        let graph = self.graph;
        let mut level: BTreeMap<usize, Vec<Key>> = BTreeMap::from([(table, first)]);
        while !level.is_empty() {
            let mut next: BTreeMap<usize, Vec<Key>> = BTreeMap::new();
            for (parent, keys) in level {
                for (at, link) in graph.links.iter().enumerate().filter(|(_, link)| link.parent == parent) {
                    let children = self.children(link, &keys)?;
                    if link.on_delete.survives() {
                        self.outlived(at, link, children);
                        continue;
                    }
                    let why = Why::Belongs(graph.tables[parent].name.clone());
                    let fresh = self.add(link.child, children, &why)?;
                    if !fresh.is_empty() {
                        next.entry(link.child).or_default().extend(fresh);
                    }
                }
            }
            level = next;
        }
        Ok(())
    }

    fn children(&self, link: &Link, parents: &[Key]) -> Result<Vec<Row>, RecordError> {
        let (members, mut found, mut over) = (&self.closure.members[link.parent], Vec::new(), false);
        let mut take = |ties: Row| {
            // More than may come back is not kept either.
            over |= found.len() as u64 > self.budget;
            if !over {
                found.push(ties);
            }
            Ok::<(), Explained>(())
        };
        let rows = parents.iter().map(|key| &members[key].ties);
        self.graph.referring(self.snapshot, link, rows, &mut take)?;
        if over {
            let (budget, table) = (self.budget, self.graph.tables[link.child].name.clone());
            return Err(RecordError::Budget { budget, table, most: found.len() as u64 });
        }
        Ok(found)
    }

    fn outlived(&mut self, at: usize, link: &Link, children: Vec<Row>) {
        for ties in children {
            let key = self.graph.tied(link.child, &ties, &self.graph.tables[link.child].key);
            if !key.iter().any(Value::is_null) {
                self.closure.relinks.push((at, key, ties));
            }
        }
    }
}
