//! The partitions of tables, and which of them a reference binds.
//!
//! Owns the rule that a reference belongs to the table at the top, wherever it is declared: on it, on a partition or on a
//! part of one. Where it binds the rows of some partitions only, it says of which.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Deserialize;

use crate::engine::postgres::layout::{Qualified, Reference};

/// A table, or one of its partitions.
#[derive(Clone, Debug, Deserialize)]
pub struct Node {
    pub oid: u32,
    pub parent: Option<u32>,
    /// Its rows lie in it.
    pub leaf: bool,
    #[serde(flatten)]
    pub name: Qualified,
}

/// A reference as it is declared.
#[derive(Clone, Debug, Deserialize)]
pub struct Declared {
    /// The table or partition it is declared on.
    pub of: u32,
    /// What it leads to.
    pub into: u32,
    #[serde(flatten)]
    pub reference: Reference,
}

/// All tables with their partitions.
#[derive(Debug, Default)]
pub struct Trees {
    nodes: HashMap<u32, Node>,
    under: HashMap<u32, Vec<u32>>,
}

impl Trees {
    pub fn of(nodes: impl Iterator<Item = Node>) -> Self {
        let mut trees = Self::default();
        for node in nodes {
            if let Some(parent) = node.parent {
                trees.under.entry(parent).or_default().push(node.oid);
            }
            trees.nodes.insert(node.oid, node);
        }
        trees
    }

    /// Where the rows of a table or partition lie.
    pub fn leaves(&self, oid: u32) -> BTreeMap<u32, Qualified> {
        let (mut leaves, mut waiting) = (BTreeMap::new(), vec![oid]);
        while let Some(oid) = waiting.pop() {
            let node = self.nodes.get(&oid).filter(|node| node.leaf);
            leaves.extend(node.map(|node| (oid, node.name.clone())));
            waiting.extend(self.under.get(&oid).into_iter().flatten());
        }
        leaves
    }

    /// The parts under a partition; none where these are all that the table at the top has.
    fn parts(&self, oid: u32) -> BTreeSet<Qualified> {
        let mut top = oid;
        while let Some(parent) = self.nodes.get(&top).and_then(|node| node.parent) {
            top = parent;
        }
        let (parts, all) = (self.leaves(oid), self.leaves(top));
        if parts == all { BTreeSet::new() } else { parts.into_values().collect() }
    }

    /// The references of a table, each once, however often it is declared.
    pub fn bound(&self, table: u32, declared: Vec<Declared>) -> Vec<Reference> {
        let all: BTreeSet<Qualified> = self.leaves(table).into_values().collect();
        let mut bound: Vec<Reference> = Vec::new();
        for Declared { of, into, mut reference } in declared {
            reference.to_parts = self.parts(into);
            reference.parts = self.leaves(of).into_values().collect();
            // A partition without partitions of its own has no rows that could refer, and none to be referred to.
            let leads_nowhere = reference.to_parts.is_empty() && self.is_empty_part(into);
            if of != table && reference.parts.is_empty() || leads_nowhere {
                continue;
            }
            let same = |one: &&mut Reference| **one == Reference { parts: one.parts.clone(), ..reference.clone() };
            match bound.iter_mut().find(same) {
                Some(one) => one.parts.append(&mut reference.parts),
                None => bound.push(reference),
            }
        }
        bound.iter_mut().filter(|one| one.parts == all).for_each(|one| one.parts.clear());
        bound
    }

    fn is_empty_part(&self, oid: u32) -> bool {
        self.nodes.get(&oid).is_some_and(|node| node.parent.is_some()) && self.leaves(oid).is_empty()
    }
}
