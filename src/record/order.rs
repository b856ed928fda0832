//! In which order rows are written, so that what a row refers to is there before it.
//!
//! Owns how circles are opened: a reference that may be empty is filled in last; where none may, the store has to put its
//! checks off until the end.

use std::collections::HashMap;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{DiGraph, NodeIndex};

use crate::base::record::{Key, Row};
use crate::record::closure::{Closure, Member};
use crate::record::graph::Graph;

/// A row, and the links that are filled in when all rows are there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placed {
    pub table: usize,
    pub key: Key,
    pub later: Vec<usize>,
    /// It is in a circle in which no reference may be empty.
    pub circular: bool,
}

/// Tables, what others refer to first where that can be.
pub fn tables(graph: &Graph) -> Vec<usize> {
    let mut tables = DiGraph::<usize, ()>::new();
    let nodes: Vec<NodeIndex> = (0..graph.tables.len()).map(|table| tables.add_node(table)).collect();
    graph.links.iter().for_each(|link| _ = tables.add_edge(nodes[link.child], nodes[link.parent], ()));
    kosaraju_scc(&tables).into_iter().flatten().map(|node| tables[node]).collect()
}

/// Every row of a closure, what others refer to first.
pub fn order<'c>(graph: &Graph, closure: &'c Closure) -> Vec<Placed> {
    let mut rows = DiGraph::<(usize, &Key, &Row), usize>::new();
    let mut of: Vec<Vec<(NodeIndex, &Row)>> = Vec::with_capacity(closure.members.len());
    for (table, members) in closure.members.iter().enumerate() {
        let node = |(key, member): (_, &'c Member)| (rows.add_node((table, key, &member.ties)), &member.ties);
        of.push(members.iter().map(node).collect());
    }
    for (at, link) in graph.links.iter().enumerate() {
        if of[link.child].is_empty() || of[link.parent].is_empty() {
            continue;
        }
        let meant = |values: &Row| graph.meant(link.parent, &link.to, values);
        let key = |ties: &Row| meant(&graph.tied(link.parent, ties, &link.to));
        let reached = of[link.parent].iter().filter(|(_, ties)| graph.is_reached(link, ties));
        let parents: HashMap<Row, NodeIndex> = reached.map(|(node, ties)| (key(ties), *node)).collect();
        for (child, ties) in &of[link.child] {
            let parent = graph.target(link, ties).and_then(|values| parents.get(&meant(&values)));
            if let Some(parent) = parent.filter(|parent| *parent != child) {
                rows.add_edge(*child, *parent, at);
            }
        }
    }
    let mut placed = Vec::with_capacity(rows.node_count());
    for circle in kosaraju_scc(&rows) {
        open(graph, &rows, &circle, &mut placed);
    }
    placed
}

/// Places rows that refer to each other, or one row.
fn open(graph: &Graph, rows: &DiGraph<(usize, &Key, &Row), usize>, circle: &[NodeIndex], placed: &mut Vec<Placed>) {
    let place = |node: NodeIndex, later: Vec<usize>, circular: bool| {
        let (table, key, _) = rows[node];
        Placed { table, key: key.clone(), later, circular }
    };
    if let [only] = circle {
        return placed.push(place(*only, Vec::new(), false));
    }
    let mut inside: Vec<NodeIndex> = circle.to_vec();
    inside.sort_unstable();
    // The same rows, without the references that may be empty.
    let mut strict = DiGraph::<NodeIndex, ()>::new();
    let own: HashMap<NodeIndex, NodeIndex> = inside.iter().map(|&node| (node, strict.add_node(node))).collect();
    let mut later: HashMap<NodeIndex, Vec<usize>> = HashMap::new();
    for &node in &inside {
        for edge in rows.edges(node) {
            use petgraph::visit::EdgeRef;
            let Some(&target) = own.get(&edge.target()) else { continue };
            let link = *edge.weight();
            match graph.links[link].may_be_empty(graph) {
                true => later.entry(node).or_default().push(link),
                false => _ = strict.add_edge(own[&node], target, ()),
            }
        }
    }
    for group in kosaraju_scc(&strict) {
        let circular = group.len() > 1;
        for node in group {
            let node = strict[node];
            let mut links = later.remove(&node).unwrap_or_default();
            links.sort_unstable();
            links.dedup();
            placed.push(place(node, links, circular));
        }
    }
}
