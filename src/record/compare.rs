//! What live data holds under the keys of a plan, without holding more of it in memory than tells it from others.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::record::{Key, Records, Row, Table, Value, alike};
use crate::record::error::RecordError;
use crate::record::plan::Glimpse;

/// Values up to this many bytes are kept as they are.
const SHORT: usize = 256;
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

/// The rows of these keys that are there, by their keys as they were asked for.
pub fn see(records: &dyn Records, table: &Table, keys: &[Key]) -> Result<BTreeMap<Key, Seen>, RecordError> {
    let wanted: Vec<usize> = (0..table.columns.len()).collect();
    let mut found = BTreeMap::new();
    for some in keys.chunks(BATCH) {
        let mut take = |row: Row| {
            let key = table.key_of(&row);
            let asked = some.iter().find(|asked| **asked == key || alike(asked, &key)).unwrap_or(&key);
            found.insert(asked.clone(), Seen::of(&row));
            Ok::<(), Explained>(())
        };
        records.find(table, &table.key, some, &wanted, &mut take)?;
    }
    Ok(found)
}

/// Which of these values some row holds in these columns.
pub fn there(records: &dyn Records, table: &Table, by: &[usize], values: &[Row]) -> Result<Vec<bool>, RecordError> {
    let mut found: Vec<Row> = Vec::new();
    let mut take = |row: Row| {
        found.push(row);
        Ok::<(), Explained>(())
    };
    records.find(table, by, values, by, &mut take)?;
    found.sort_unstable();
    found.dedup();
    let mut answers = Vec::new();
    for values in values {
        let exactly = found.binary_search(values).is_ok();
        // What a store takes for the same, letters of another case say, only the store knows.
        answers.push(exactly || (!found.is_empty() && any(records, table, by, values)?));
    }
    Ok(answers)
}

fn any(records: &dyn Records, table: &Table, by: &[usize], values: &Row) -> Result<bool, RecordError> {
    let mut found = false;
    let mut take = |_: Row| {
        found = true;
        Ok::<(), Explained>(())
    };
    records.find(table, by, std::slice::from_ref(values), by, &mut take)?;
    Ok(found)
}
