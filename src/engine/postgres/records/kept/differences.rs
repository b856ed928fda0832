//! Which rows two states of a database have otherwise, table by table: two snapshots, or one and what is there now.
//!
//! Only what both do not share is read: a segment whose chunks are in the other state's file too has the same rows.
//! What is left of the two is gone through side by side, in the order of the key. A key of a type whose order is not known
//! here is looked up in memory instead, as long as no more than some hundred thousand rows are left; beyond that, and for
//! tables without a key, rows are counted and not named.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};

use crate::base::error::Explained;
use crate::engine::postgres::records::kept::KeptDatabase;
use crate::engine::postgres::records::kept::order::Mark;
use crate::engine::postgres::records::kept::table::{KeptTable, Part};
use crate::engine::postgres::records::kept::walk::{Compared, Digests, Piece, Walk};
use crate::engine::sqlite::rows::{Row, RowChange, Table};

/// Rows of a key whose order is not known that are kept to be compared.
const MOST_KEPT: usize = 300_000;

/// Takes rows that differ, with the name of their table.
pub type Each<'e> = dyn FnMut(&str, Row) -> Result<(), Explained> + 'e;

impl KeptDatabase {
    /// Compares with a later state, of `only` the one table that is called exactly so. Hands over every row that differs, in the order of the key where that is known.
    pub fn differences(&self, after: &Self, only: Option<&str>, each: &mut Each<'_>) -> Result<Vec<Table>, Explained> {
        let names: BTreeSet<&String> =
            self.tables.iter().chain(&after.tables).map(|table| &table.record.name).collect();
        let wanted = |name: &&&String| only.is_none_or(|only| **name == only);
        let mut tables = Vec::new();
        for name in names.iter().filter(wanted) {
            let table = match (self.named(name), after.named(name)) {
                (Some(old), Some(new)) => compare(old, new, each)?,
                (Some(old), None) => gone(old),
                (None, Some(new)) => Table { added: new.rows, whole: Some(RowChange::Added), ..named(new) },
                (None, None) => continue,
            };
            tables.extend((!table.is_same()).then_some(table));
        }
        Ok(tables)
    }
}

pub(super) fn named(table: &KeptTable) -> Table {
    let sorted = table.parts[0].sorted.clone();
    let all = || table.record.key_names().into_iter().map(str::to_owned).collect();
    let key = if sorted.is_empty() { all() } else { sorted };
    Table { name: table.record.name.clone(), key, ..Table::default() }
}

/// A table that the later state lacks.
pub(super) fn gone(old: &KeptTable) -> Table {
    Table { removed: old.rows, whole: Some(RowChange::Removed), ..named(old) }
}

/// A table that both have, before any row of it was compared.
pub(super) fn of_both(old: &KeptTable, new: &KeptTable) -> Table {
    let names = |table: &KeptTable| table.record.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
    let (before, after) = (names(old), names(new));
    let lacks = |all: &[String], other: &[String]| all.iter().filter(|name| !other.contains(name)).cloned().collect();
    Table { columns_added: lacks(&after, &before), columns_removed: lacks(&before, &after), ..named(new) }
}

/// Can the rows of two files be gone through side by side?
pub(super) fn are_sorted_alike(old: &Part, new: &Part) -> bool {
    let orders = |part: &Part| part.sorting.as_ref().map(|all| all.iter().map(|(_, order)| *order).collect::<Vec<_>>());
    orders(old).is_some() && orders(old) == orders(new)
}

fn compare(old: &KeptTable, new: &KeptTable, each: &mut Each<'_>) -> Result<Table, Explained> {
    let mut table = of_both(old, new);
    let parts: BTreeSet<_> = old.parts.iter().chain(&new.parts).map(|part| &part.name).collect();
    for name in parts {
        let of = |table: &KeptTable| table.parts.iter().position(|part| part.name == *name);
        match (of(old).map(|at| &old.parts[at]), of(new).map(|at| &new.parts[at])) {
            (Some(before), Some(after)) if before.sorted == after.sorted => {
                compare_part((old, before), (new, after), &mut table, each)?;
            }
            // What has another key cannot be told from other rows.
            (before, after) => {
                table.removed += before.map_or(0, |part| part.rows);
                table.added += after.map_or(0, |part| part.rows);
            }
        }
    }
    Ok(table)
}

fn compare_part(
    (old, before): (&KeptTable, &Part),
    (new, after): (&KeptTable, &Part),
    table: &mut Table,
    each: &mut Each<'_>,
) -> Result<(), Explained> {
    let (lacking_after, lacking_before) = unshared(before, after)?;
    let (mut walk, mut later) = (Walk::new(old, before, lacking_after)?, Walk::new(new, after, lacking_before)?);
    if are_sorted_alike(before, after) {
        return merge(walk, later, table, each);
    }
    let (own, others) = (Compared::of(old, before, new), Compared::of(new, after, old));
    let mut earlier = Unordered::default();
    while walk.next()? {
        if !earlier.add(walk.digests(&own)?) {
            count_only(before.rows, after.rows, table);
            return Ok(());
        }
    }
    while later.next()? {
        match earlier.take(later.digests(&others)?) {
            Some(same) => table.changed += u64::from(!same),
            None => table.added += 1,
        }
    }
    table.removed += earlier.left();
    Ok(())
}

/// There are too many rows to tell them apart.
pub(super) fn count_only(before: u64, after: u64, table: &mut Table) {
    table.removed += before.saturating_sub(after);
    table.added += after.saturating_sub(before);
}

/// The rows of a later state, in the order of their key.
pub(super) trait Later {
    /// The key of the row it stands at.
    fn at(&self) -> Option<&Vec<Mark>>;

    /// Goes to the next row.
    fn step(&mut self) -> Result<(), Explained>;

    fn row(&mut self, change: RowChange, columns: Vec<String>) -> Result<Row, Explained>;

    /// The columns that both have, and have otherwise than the row that the earlier state stands at.
    fn differ(&mut self, earlier: &mut Walk<'_>) -> Result<Vec<String>, Explained>;

    /// Passes over what both have, if they stand at the beginning of it.
    fn leap(&mut self, _earlier: &mut Walk<'_>) -> Result<bool, Explained> {
        Ok(false)
    }
}

impl Later for Walk<'_> {
    fn at(&self) -> Option<&Vec<Mark>> {
        self.at.as_ref()
    }

    fn step(&mut self) -> Result<(), Explained> {
        Walk::step(self)
    }

    fn row(&mut self, change: RowChange, columns: Vec<String>) -> Result<Row, Explained> {
        Walk::row(self, change, columns)
    }

    fn differ(&mut self, earlier: &mut Walk<'_>) -> Result<Vec<String>, Explained> {
        let place = (self.table, self.part);
        self.load()?;
        let own = self.scan();
        earlier.differing(place, |scan, field, other| scan.is_same(field, own, other))
    }
}

/// Both in the order of their key, side by side.
pub(super) fn merge(
    mut old: Walk<'_>,
    mut new: impl Later,
    table: &mut Table,
    each: &mut Each<'_>,
) -> Result<(), Explained> {
    old.step()?;
    new.step()?;
    loop {
        if new.leap(&mut old)? {
            continue;
        }
        let order = match (&old.at, new.at()) {
            (None, None) => return Ok(()),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(old), Some(new)) => old.cmp(new),
        };
        match order {
            Ordering::Less => {
                table.removed += 1;
                each(&table.name, old.row(RowChange::Removed, Vec::new())?)?;
                old.step()?;
            }
            Ordering::Greater => {
                table.added += 1;
                each(&table.name, new.row(RowChange::Added, Vec::new())?)?;
                new.step()?;
            }
            Ordering::Equal => {
                let columns = new.differ(&mut old)?;
                if !columns.is_empty() {
                    table.changed += 1;
                    each(&table.name, new.row(RowChange::Changed, columns)?)?;
                }
                old.step()?;
                new.step()?;
            }
        }
    }
}

/// Rows of one state whose order is not known, by digests. Rows without a key are removed and added.
#[derive(Default)]
pub(super) struct Unordered(HashMap<[u8; 16], (u64, [u8; 16])>);

impl Unordered {
    /// Keeps a row; false when there are too many of them.
    pub fn add(&mut self, (key, row): Digests) -> bool {
        self.0.entry(key).and_modify(|(rows, _)| *rows += 1).or_insert((1, row));
        self.0.len() <= MOST_KEPT
    }

    /// A row of the other state: whether the same is here, or one of its key.
    pub fn take(&mut self, (key, row): Digests) -> Option<bool> {
        let (rows, kept) = self.0.get_mut(&key)?;
        *rows = rows.checked_sub(1)?;
        Some(*kept == row)
    }

    /// Rows that the other state has not taken.
    pub fn left(&self) -> u64 {
        self.0.values().map(|(rows, _)| rows).sum()
    }
}

/// The runs of each that are not in the other.
fn unshared(old: &Part, new: &Part) -> Result<(Vec<Piece>, Vec<Piece>), Explained> {
    let (before, after) = (old.pieces()?, new.pieces()?);
    let contents = |pieces: &[Piece]| pieces.iter().map(|piece| piece.content.clone()).collect::<HashSet<_>>();
    let (known_before, known_after) = (contents(&before), contents(&after));
    let lacking = |pieces: Vec<Piece>, known: &HashSet<String>| {
        pieces.into_iter().filter(|piece| !known.contains(&piece.content)).collect()
    };
    // The same run may be twice in a file only where rows have no key: then all of it is read.
    Ok((lacking(before, &known_after), lacking(after, &known_before)))
}
