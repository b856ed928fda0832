//! References by values that a store takes for the same though they are written in different ways, where it is not known here
//! which those are: an interval of a day is one of 24 hours.
//!
//! Owns what is said of them. Such a reference is found by values that are written alike. Whether there are others the data
//! tell: a row whose values no row of the other table holds as they are written refers to one that is written otherwise.

use std::collections::HashSet;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::record::{Key, Records, Row};
use crate::base::text::counted;
use crate::record::closure::Closure;
use crate::record::error::RecordError;
use crate::record::graph::{Graph, Link};

/// May rows refer by a link to others in ways that a search in this store does not find?
pub fn is_loose(records: &dyn Records, graph: &Graph, link: &Link) -> bool {
    let (child, parent) = (&graph.tables[link.child], &graph.tables[link.parent]);
    // What only the configuration ties together may be of two kinds: no store compares it but as it is written.
    let is_meant = link.is_declared || (child.is_loose(&link.columns) && parent.is_loose(&link.to));
    is_meant && records.is_loose((child, &link.columns), (parent, &link.to))
}

/// What of a snapshot may belong together and is not found: one line for each reference. `is_loose_now` says of a link what
/// live data know and an old snapshot does not.
pub fn doubts(
    snapshot: &dyn Records,
    graph: &Graph,
    closure: &Closure,
    is_loose_now: &dyn Fn(&Link) -> bool,
) -> Result<Vec<String>, RecordError> {
    let is_empty = |table: usize| closure.members[table].is_empty();
    let mut doubts = Vec::new();
    for link in graph.links.iter().filter(|link| !(is_empty(link.child) && is_empty(link.parent))) {
        if !is_loose(snapshot, graph, link) && !is_loose_now(link) {
            continue;
        }
        let mut rows = 0;
        strays(snapshot, graph, link, &mut |_| rows += 1)?;
        if rows > 0 {
            doubts.push(said(graph, link, rows));
        }
    }
    Ok(doubts)
}

fn said(graph: &Graph, link: &Link, rows: u64) -> String {
    let (child, parent) = (&graph.tables[link.child], &graph.tables[link.parent]);
    let kinds: Vec<&str> = link.to.iter().map(|at| parent.columns[*at].kind.as_str()).collect();
    let (by, kinds) = (child.names(&link.columns).join(", "), kinds.join(", "));
    let are = if rows == 1 { "is" } else { "are" };
    format!(
        "{}.{by} refers to {} by values ({kinds}) that can be equal and written differently; only those written alike are \
         found, and {} of {} {are} written otherwise",
        child.name,
        parent.name,
        counted(rows, "row"),
        child.name
    )
}

/// The rows that refer by a link to something that no row of the other table holds as they have it written, by their keys.
pub fn strays(records: &dyn Records, graph: &Graph, link: &Link, each: &mut dyn FnMut(Key)) -> Result<(), RecordError> {
    let (child, parent) = (&graph.tables[link.child], &graph.tables[link.parent]);
    let form = |values: &[_]| brief(&graph.meant(link.parent, &link.to, values));
    let mut held: HashSet<[u8; 16]> = HashSet::new();
    let mut take = |ties: Row| {
        if graph.is_reached(link, &ties) {
            held.insert(form(&graph.tied(link.parent, &ties, &link.to)));
        }
        Ok::<(), Explained>(())
    };
    records.matching(parent, None, &graph.ties[link.parent], &mut take)?;
    let mut take = |ties: Row| {
        if graph.target(link, &ties).is_some_and(|values| !held.contains(&form(&values))) {
            each(graph.tied(link.child, &ties, &child.key));
        }
        Ok::<(), Explained>(())
    };
    Ok(records.matching(child, None, &graph.ties[link.child], &mut take)?)
}

/// As much of values as tells them from all others.
fn brief(values: &Row) -> [u8; 16] {
    let mut digest = Sha256::new();
    values.iter().for_each(|value| value.digest_into(&mut digest));
    digest.finalize()[..16].try_into().expect("BUG: it has 32 bytes")
}
