//! What live data holds under the keys of a plan, without holding more of it in memory than tells it from others.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::record::{Key, PART, Records, Row, Table, Value, lies_in};
use crate::record::error::RecordError;
use crate::record::plan::Glimpse;

/// Values up to this many bytes are kept as they are.
const SHORT: usize = 256;
/// So many letters of a title are kept.
const TITLE: usize = 40;
/// Rows that are asked for together.
const BATCH: usize = 200;

/// A row, as far as it takes to compare it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub columns: Vec<Glimpse>,
}

impl Seen {
    pub fn of(row: &[Value]) -> Self {
        Self { columns: row.iter().map(glimpse).collect() }
    }

    /// What it holds in some columns, unless that is too long to be kept.
    pub fn values(&self, columns: &[usize]) -> Option<Row> {
        let value = |at: &usize| match &self.columns[*at] {
            Glimpse::Value(value) => Some(value.clone()),
            Glimpse::Long { .. } => None,
        };
        columns.iter().map(value).collect()
    }

    /// Tells the row from every other.
    pub fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for column in &self.columns {
            match column {
                Glimpse::Value(value) => value.digest_into(&mut digest),
                Glimpse::Long { bytes, sha256 } => {
                    digest.update([u8::MAX]);
                    digest.update(bytes.to_le_bytes());
                    digest.update(sha256.as_bytes());
                }
            }
        }
        hex::encode(digest.finalize())
    }
}

pub fn glimpse(value: &Value) -> Glimpse {
    match value {
        Value::Text(bytes) | Value::Blob(bytes) if bytes.len() > SHORT => {
            let mut digest = Sha256::new();
            value.digest_into(&mut digest);
            Glimpse::Long { bytes: bytes.len() as u64, sha256: hex::encode(digest.finalize()) }
        }
        _ => Glimpse::Value(value.clone()),
    }
}

/// What a row is known by, cut to fit into a line: the best of what it holds any of. `held` tells what it has in a column.
pub fn title(table: &Table, held: impl Fn(usize) -> Glimpse) -> Option<String> {
    let text = |at: &usize| match held(*at) {
        Glimpse::Value(Value::Text(text)) => Some(String::from_utf8_lossy(&text).trim().to_owned()),
        _ => None,
    };
    let texts =
        |columns: Vec<usize>| columns.iter().filter_map(text).filter(|text| !text.is_empty()).collect::<Vec<_>>();
    let text = table.titles().into_iter().map(|columns| texts(columns).join(" ")).find(|text| !text.is_empty())?;
    let cut: String = text.chars().take(TITLE).collect();
    match cut.len() < text.len() {
        true => Some(format!("{}…", cut.trim_end())),
        false => Some(cut).filter(|cut| !cut.is_empty()),
    }
}

/// The rows of these keys that are there, by their keys as they were asked for.
pub fn see(records: &dyn Records, table: &Table, keys: &[Key]) -> Result<BTreeMap<Key, Seen>, RecordError> {
    let wanted: Vec<usize> = (0..table.columns.len()).collect();
    let mut found = BTreeMap::new();
    for some in keys.chunks(BATCH) {
        matched(records, table, &table.key, some, &wanted, &mut |asked, row| {
            found.insert(some[asked].clone(), Seen::of(&row));
        })?;
    }
    Ok(found)
}

/// Which of these values some row holds in these columns.
pub fn there(records: &dyn Records, table: &Table, by: &[usize], values: &[Row]) -> Result<Vec<bool>, RecordError> {
    let mut answers = vec![false; values.len()];
    matched(records, table, by, values, &[], &mut |asked, _| answers[asked] = true)?;
    Ok(answers)
}

/// The same of rows in some parts only; where there are none, of all.
pub fn there_in(
    records: &dyn Records,
    table: &Table,
    (by, parts): (&[usize], &BTreeSet<String>),
    values: &[Row],
) -> Result<Vec<bool>, RecordError> {
    if parts.is_empty() {
        return there(records, table, by, values);
    }
    let mut answers = vec![false; values.len()];
    matched(records, table, by, values, &[PART], &mut |asked, row| answers[asked] |= lies_in(parts, &row[0]))?;
    Ok(answers)
}

/// Finds rows by values, and tells of each by which of them it was found.
pub fn matched(
    records: &dyn Records,
    table: &Table,
    by: &[usize],
    values: &[Row],
    wanted: &[usize],
    each: &mut dyn FnMut(usize, Row),
) -> Result<(), RecordError> {
    let fetched: Vec<usize> = by.iter().chain(wanted).copied().collect();
    let mut asked: HashMap<Row, Vec<usize>> = HashMap::new();
    for (at, values) in values.iter().enumerate() {
        asked.entry(table.forms(by, values)).or_default().push(at);
    }
    let (mut hit, mut strange) = (vec![false; values.len()], false);
    let is_loose = table.is_loose(by);
    let mut take = |mut row: Row| {
        let rest = row.split_off(by.len());
        strange |= is_loose;
        match asked.get(&table.forms(by, &row)) {
            None => strange = true,
            Some(asked) => asked.iter().for_each(|&at| {
                hit[at] = true;
                each(at, rest.clone());
            }),
        }
        Ok::<(), Explained>(())
    };
    records.find(table, by, values, &fetched, &mut take)?;
    // What a store takes for the same beyond that, letters of another case say, only the store knows.
    let lowered = |row: &Row| row.iter().cloned().map(Value::lowered).collect::<Row>();
    if !strange && asked.keys().map(lowered).collect::<HashSet<_>>().len() == asked.len() {
        return Ok(());
    }
    for (at, values) in values.iter().enumerate().filter(|(at, _)| !hit[*at]) {
        let mut take = |mut row: Row| {
            each(at, row.split_off(by.len()));
            Ok::<(), Explained>(())
        };
        records.find(table, by, std::slice::from_ref(values), &fetched, &mut take)?;
    }
    Ok(())
}
