//! Which rows two snapshots of a database have otherwise, table by table.
//!
//! Only what both do not share is read: a segment whose chunks are in the other snapshot's file too has the same rows.
//! What is left of the two is gone through side by side, in the order of the key. A key of a type whose order is not known
//! here is looked up in memory instead, as long as no more than some hundred thousand rows are left; beyond that, and for
//! tables without a key, rows are counted and not named.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::ops::Range;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::record::Value;
use crate::engine::postgres::records::kept::KeptDatabase;
use crate::engine::postgres::records::kept::runs::Mark;
use crate::engine::postgres::records::kept::scan::Scan;
use crate::engine::postgres::records::kept::table::{KeptTable, Part};
use crate::engine::sqlite::rows::{Row, RowChange, Table, Value as Shown};

/// Rows of a key whose order is not known that are kept to be compared.
const MOST_KEPT: usize = 300_000;

/// Takes rows that differ, with the name of their table.
pub type Each<'e> = dyn FnMut(&str, Row) -> Result<(), Explained> + 'e;

impl KeptDatabase {
    /// Compares with a later state. Hands over every row that differs, in the order of the key where that is known.
    pub fn differences(&self, after: &Self, only: Option<&str>, each: &mut Each<'_>) -> Result<Vec<Table>, Explained> {
        let names: BTreeSet<&String> =
            self.tables.iter().chain(&after.tables).map(|table| &table.record.name).collect();
        let wanted = |name: &&&String| only.is_none_or(|only| name.eq_ignore_ascii_case(only));
        let mut tables = Vec::new();
        for name in names.iter().filter(wanted) {
            let table = match (self.named(name), after.named(name)) {
                (Some(old), Some(new)) => Pair { old, new }.compare(each)?,
                (Some(old), None) => Table { removed: old.rows, whole: Some(RowChange::Removed), ..named(old) },
                (None, Some(new)) => Table { added: new.rows, whole: Some(RowChange::Added), ..named(new) },
                (None, None) => continue,
            };
            tables.extend((!table.is_same()).then_some(table));
        }
        Ok(tables)
    }
}

fn named(table: &KeptTable) -> Table {
    let sorted = table.parts[0].sorted.clone();
    let all = || table.record.key_names().into_iter().map(str::to_owned).collect();
    let key = if sorted.is_empty() { all() } else { sorted };
    Table { name: table.record.name.clone(), key, ..Table::default() }
}

/// One table before and after.
struct Pair<'t> {
    old: &'t KeptTable,
    new: &'t KeptTable,
}

impl Pair<'_> {
    fn compare(&self, each: &mut Each<'_>) -> Result<Table, Explained> {
        let names =
            |table: &KeptTable| table.record.columns.iter().map(|column| column.name.clone()).collect::<Vec<_>>();
        let (old, new) = (names(self.old), names(self.new));
        let lacks =
            |all: &[String], other: &[String]| all.iter().filter(|name| !other.contains(name)).cloned().collect();
        let mut table =
            Table { columns_added: lacks(&new, &old), columns_removed: lacks(&old, &new), ..named(self.new) };
        let parts: BTreeSet<_> = self.old.parts.iter().chain(&self.new.parts).map(|part| &part.name).collect();
        for name in parts {
            let of = |table: &'_ KeptTable| table.parts.iter().position(|part| part.name == *name);
            let sides = (of(self.old), of(self.new));
            match sides {
                (Some(old), Some(new)) if self.old.parts[old].sorted == self.new.parts[new].sorted => {
                    self.part(&self.old.parts[old], &self.new.parts[new], &mut table, each)?;
                }
                // What has another key cannot be told from other rows.
                (old, new) => {
                    table.removed += old.map_or(0, |old| self.old.parts[old].rows);
                    table.added += new.map_or(0, |new| self.new.parts[new].rows);
                }
            }
        }
        Ok(table)
    }

    fn part(&self, old: &Part, new: &Part, table: &mut Table, each: &mut Each<'_>) -> Result<(), Explained> {
        let (before, after) = unshared(old, new)?;
        let is_known = |part: &Part| part.is_key_known && !part.key.is_empty();
        let orders = |part: &Part| part.key.iter().map(|(_, order)| *order).collect::<Vec<_>>();
        if is_known(old) && is_known(new) && orders(old) == orders(new) {
            let (old, new) = (Walk::new(self.old, old, before)?, Walk::new(self.new, new, after)?);
            return self.merge(old, new, table, each);
        }
        self.look_up((old, before), (new, after), table)
    }

    /// Both in the order of their key, side by side.
    fn merge(
        &self,
        mut old: Walk<'_>,
        mut new: Walk<'_>,
        table: &mut Table,
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        old.step()?;
        new.step()?;
        loop {
            let order = match (&old.at, &new.at) {
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
                    let columns = old.differ(&mut new)?;
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

    /// Rows whose order is not known: those from before are kept, by digests. Rows without a key are removed and added.
    fn look_up(
        &self,
        (old, before): (&Part, Ranges),
        (new, after): (&Part, Ranges),
        table: &mut Table,
    ) -> Result<(), Explained> {
        let mut kept: HashMap<[u8; 16], (u64, [u8; 16])> = HashMap::new();
        let mut walk = Walk::new(self.old, old, before)?;
        while walk.next()? {
            let (key, row) = walk.digests(self.new)?;
            kept.entry(key).and_modify(|(rows, _)| *rows += 1).or_insert((1, row));
            if kept.len() > MOST_KEPT {
                table.removed += old.rows.saturating_sub(new.rows);
                table.added += new.rows.saturating_sub(old.rows);
                return Ok(());
            }
        }
        let mut walk = Walk::new(self.new, new, after)?;
        while walk.next()? {
            let (key, row) = walk.digests(self.old)?;
            match kept.get_mut(&key) {
                Some((rows, before)) if *rows > 0 => {
                    *rows -= 1;
                    table.changed += u64::from(*before != row);
                }
                _ => table.added += 1,
            }
        }
        table.removed += kept.values().map(|(rows, _)| rows).sum::<u64>();
        Ok(())
    }
}

type Ranges = Vec<Range<u64>>;

/// The runs of each that are not in the other.
fn unshared(old: &Part, new: &Part) -> Result<(Ranges, Ranges), Explained> {
    let (before, after) = (old.pieces()?, new.pieces()?);
    let contents =
        |pieces: &[(Range<u64>, String)]| pieces.iter().map(|(_, content)| content.clone()).collect::<HashSet<_>>();
    let (known_before, known_after) = (contents(&before), contents(&after));
    let lacking = |pieces: Vec<(Range<u64>, String)>, known: &HashSet<String>| {
        pieces.into_iter().filter(|(_, content)| !known.contains(content)).map(|(range, _)| range).collect()
    };
    // The same run may be twice in a file only where rows have no key: then all of it is read.
    Ok((lacking(before, &known_after), lacking(after, &known_before)))
}

impl Part {
    /// Runs of rows, and what they consist of. Without a key it is one run: nothing tells where a row begins.
    fn pieces(&self) -> Result<Vec<(Range<u64>, String)>, Explained> {
        let (starts, length) = (self.files.starts()?, self.length()?);
        let mut pieces: Vec<(Range<u64>, String)> = Vec::new();
        let ends = starts.iter().skip(1).map(|start| start.at).chain(std::iter::once(length));
        for (start, end) in starts.iter().zip(ends) {
            match pieces.last_mut() {
                Some((range, content)) if start.first.is_none() => {
                    range.end = end;
                    *content += &format!(" {}", start.content);
                }
                _ => pieces.push((start.at..end, start.content.clone())),
            }
        }
        Ok(pieces)
    }
}

/// Rows of one side, one after another.
struct Walk<'p> {
    table: &'p KeptTable,
    part: &'p Part,
    scan: Scan,
    /// The key of the row it stands at.
    at: Option<Vec<Mark>>,
}

impl<'p> Walk<'p> {
    fn new(table: &'p KeptTable, part: &'p Part, runs: Ranges) -> Result<Self, Explained> {
        Ok(Self { table, part, scan: part.scan_runs(runs)?, at: None })
    }

    fn next(&mut self) -> Result<bool, Explained> {
        Ok(self.scan.next()?.is_some())
    }

    fn step(&mut self) -> Result<(), Explained> {
        self.at = None;
        while self.at.is_none() && self.next()? {
            self.at = self.part.marks(&mut self.scan)?;
        }
        Ok(())
    }

    fn row(&mut self, change: RowChange, columns: Vec<String>) -> Result<Row, Explained> {
        let mut key = Vec::with_capacity(self.part.key.len());
        for &(at, _) in &self.part.key {
            key.push(shown(self.part.value(&mut self.scan, at, self.table.kinds[at])?));
        }
        Ok(Row { change, key, columns })
    }

    /// The columns that both have, and have otherwise.
    fn differ(&mut self, new: &mut Walk<'_>) -> Result<Vec<String>, Explained> {
        let mut columns = Vec::new();
        for (at, column) in self.table.record.columns.iter().enumerate() {
            let Some(now) = new.table.record.columns.iter().position(|other| other.name == column.name) else {
                continue;
            };
            let same = match (self.part.fields[at], new.part.fields[now]) {
                (Some(field), Some(other)) => self.scan.is_same(field, &mut new.scan, other)?,
                (old, new) => old.is_none() && new.is_none(),
            };
            if !same {
                columns.push(column.name.clone());
            }
        }
        Ok(columns)
    }

    /// The row's key, and what of it the other side may have too: the whole of it where there is no key.
    fn digests(&mut self, other: &KeptTable) -> Result<([u8; 16], [u8; 16]), Explained> {
        let (mut key, mut row) = (Sha256::new(), Sha256::new());
        let mut columns: Vec<(&String, usize)> =
            self.table.record.columns.iter().enumerate().map(|(at, column)| (&column.name, at)).collect();
        columns.retain(|(name, _)| other.record.columns.iter().any(|column| column.name == **name));
        columns.sort_unstable();
        let sorted = &self.part.sorted;
        for (name, at) in columns {
            let value = self.part.value(&mut self.scan, at, self.table.kinds[at])?;
            if sorted.is_empty() || sorted.contains(name) {
                value.digest_into(&mut key);
            }
            value.digest_into(&mut row);
        }
        let half = |digest: Sha256| digest.finalize()[..16].try_into().expect("BUG: it has 32 bytes");
        Ok((half(key), half(row)))
    }
}

fn shown(value: Value) -> Shown {
    match value {
        Value::Null => Shown::Null,
        Value::Integer(number) => Shown::Integer(number),
        Value::Real(number) => Shown::Real(number),
        Value::Text(bytes) => Shown::Text(String::from_utf8_lossy(&bytes).into_owned()),
        Value::Blob(bytes) => Shown::Blob(bytes),
    }
}
