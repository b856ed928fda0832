//! What binds a row where it lies: references that are declared on some parts of a table only, or lead to some only.
//!
//! Owns the rule that a row which comes back is bound by the references that bound it in the snapshot (docs/decisions/0067). A new
//! key may put it into another part of its table, where a number is a reference that was none, or one is none any more.

use std::collections::BTreeSet;

use crate::base::record::{PART, Records, Reference, Row, Table, Value, exactly, lies_in};
use crate::record::compare::matched;
use crate::record::drift::Fit;
use crate::record::error::RecordError;
use crate::record::graph::Graph;

/// A reference as live data has it, by what is the same wherever it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Tie {
    child: String,
    columns: Vec<String>,
    parent: String,
    to: Vec<String>,
}

/// A reference from rows of a table, or to some.
#[derive(Clone, Debug)]
struct Bond {
    tie: Tie,
    /// The live columns by which rows of the table refer; of those that are referred to, none.
    columns: Vec<usize>,
    is_out: bool,
    /// The parts whose rows it binds; where there are none, all of them.
    parts: BTreeSet<String>,
}

/// What binds rows of one table by where they lie.
#[derive(Clone, Debug)]
pub struct Bonds {
    kept: Vec<Bond>,
    live: Vec<Bond>,
}

impl Bonds {
    /// Nothing where every reference of the table binds all of its rows.
    pub fn of(graph: &Graph, fits: &[Fit], table: usize) -> Option<Self> {
        let own = fits[table].live.as_ref()?;
        let lives: Vec<&Table> = fits.iter().filter_map(|fit| fit.live.as_ref()).collect();
        let out = own.references.iter().map(|one| bond(own, one, &lives, true));
        let into = lives.iter().flat_map(|child| {
            let is_own =
                |one: &&Reference| exactly(lives.iter().copied(), &one.to).is_some_and(|(_, to)| to.name == own.name);
            child.references.iter().filter(is_own).map(|one| bond(child, one, &lives, false)).collect::<Vec<_>>()
        });
        let live: Vec<Bond> = out.chain(into).collect();
        let declared = graph.links.iter().filter(|link| link.is_declared);
        let kept: Vec<Bond> = declared
            .filter(|link| link.child == table || link.parent == table)
            .flat_map(|link| {
                let names = |at: usize, columns: &[usize]| {
                    let live = fits[at].live.as_ref()?;
                    let now: Option<Vec<usize>> = columns.iter().map(|column| fits[at].to[*column]).collect();
                    now.map(|now| (live.name.clone(), named_of(live, &now), now))
                };
                let ends = names(link.child, &link.columns).zip(names(link.parent, &link.to));
                let bonds = ends.map(|((child, columns, own), (parent, to, _))| {
                    let tie = Tie { child, columns, parent, to };
                    let out = Bond { tie: tie.clone(), columns: own, is_out: true, parts: link.parts.clone() };
                    let into = Bond { tie, columns: Vec::new(), is_out: false, parts: link.to_parts.clone() };
                    let is_of = [(link.child == table).then_some(out), (link.parent == table).then_some(into)];
                    is_of.into_iter().flatten().collect::<Vec<_>>()
                });
                bonds.unwrap_or_default()
            })
            .collect();
        let is_of_some = |bond: &Bond| !bond.parts.is_empty();
        (kept.iter().any(is_of_some) || live.iter().any(is_of_some)).then_some(Self { kept, live })
    }

    /// A reference that bound a row where it was and does not where it would be, or the other way round: in words. Where a row
    /// was is told by the snapshot, where it would be by live data. `is_empty` tells which live columns hold nothing.
    pub fn differ(&self, was: &Value, now: &Value, is_empty: &dyn Fn(usize) -> bool) -> Option<String> {
        if was == now {
            return None;
        }
        let of = |bonds: &[Bond], bond: &Bond, part: &Value| {
            let mut same = bonds.iter().filter(|one| one.is_out == bond.is_out && one.tie == bond.tie);
            same.any(|one| lies_in(&one.parts, part))
        };
        let speaks = |bond: &&Bond| !bond.parts.is_empty() && !bond.columns.iter().any(|at| is_empty(*at));
        // A reference to the row from elsewhere is lost or not: nobody can have referred to it before it is there.
        let is_gained = |bond: &&Bond| {
            bond.is_out && lies_in(&bond.parts, now) && !of(&self.live, bond, was) && !of(&self.kept, bond, was)
        };
        let is_lost = |bond: &&Bond| {
            let same = |one: &Bond| one.is_out == bond.is_out && one.tie == bond.tie;
            lies_in(&bond.parts, was) && self.live.iter().any(same) && !of(&self.live, bond, now)
        };
        let gained = self.live.iter().filter(speaks).find(is_gained);
        if let Some(Bond { tie, .. }) = gained {
            return Some(format!("its {} refers to {} there, and did not before", tie.columns.join(", "), tie.parent));
        }
        let Bond { tie, is_out, .. } = self.kept.iter().filter(speaks).find(is_lost)?;
        Some(match is_out {
            true => format!("its {} refers to {} no longer there", tie.columns.join(", "), tie.parent),
            false => format!("rows of {} cannot refer to it there", tie.child),
        })
    }
}

/// A reference is written as somebody declared it; the tables and columns that it leads to have names of their own.
fn bond(child: &Table, reference: &Reference, lives: &[&Table], is_out: bool) -> Bond {
    let found = exactly(lives.iter().copied(), &reference.to).map(|(_, to)| to);
    let parent = found.map_or(&reference.to, |to| &to.name).clone();
    let column = |name: &String| match found.and_then(|to| Some(&to.columns[to.column(name)?])) {
        Some(column) => column.name.clone(),
        None => name.clone(),
    };
    let to = reference.to_columns.iter().map(column).collect();
    let tie = Tie { child: child.name.clone(), columns: named_of(child, &reference.columns), parent, to };
    match is_out {
        true => Bond { tie, columns: reference.columns.clone(), is_out, parts: reference.parts.clone() },
        false => Bond { tie, columns: Vec::new(), is_out, parts: reference.to_parts.clone() },
    }
}

fn named_of(table: &Table, columns: &[usize]) -> Vec<String> {
    table.names(columns).into_iter().map(str::to_owned).collect()
}

/// Where rows lie, by their keys; an empty value for what is not there.
pub fn parts(records: &dyn Records, table: &Table, keys: &[Row]) -> Result<Vec<Value>, RecordError> {
    let mut parts = vec![Value::Null; keys.len()];
    matched(records, table, &table.key, keys, &[PART], &mut |asked, mut row| {
        parts[asked] = row.pop().unwrap_or(Value::Null);
    })?;
    Ok(parts)
}

/// A part as messages name it.
pub fn named(part: &Value) -> String {
    let Value::Text(name) = part else { return part.to_string() };
    let name = String::from_utf8_lossy(name).into_owned();
    name.strip_prefix("public.").map_or(name.clone(), str::to_owned)
}
