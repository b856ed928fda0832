//! How common values are in a table: what most rows hold tells no row from another.

use std::collections::HashMap;
use std::error::Error;
use std::fmt;

use crate::base::error::{Explain, Explained};
use crate::base::record::{Key, Records, Row, Table, Value};
use crate::record::compare::glimpse;
use crate::record::error::RecordError;
use crate::record::identity::value::is_null;
use crate::record::plan::Glimpse;

/// So many rows are looked at.
const ROWS: usize = 200;

/// As many rows say as much as the guess that is made of a value alone.
const GUESSED: f64 = 3.0;

/// The first rows of a table of the snapshot.
#[derive(Debug, Default)]
pub struct Sample {
    rows: Vec<(Key, Vec<Glimpse>)>,
}

/// There are rows enough.
#[derive(Debug)]
struct Enough;

impl fmt::Display for Enough {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("enough was read")
    }
}

impl Error for Enough {}
impl Explain for Enough {}

impl Sample {
    pub fn take(snapshot: &dyn Records, table: &Table) -> Result<Self, RecordError> {
        let (all, mut rows) = ((0..table.columns.len()).collect::<Vec<_>>(), Vec::new());
        let mut take = |row: Row| {
            rows.push((table.key_of(&row), row.iter().map(glimpse).collect()));
            if rows.len() < ROWS { Ok(()) } else { Err(Box::new(Enough) as Explained) }
        };
        let read = snapshot.matching(table, None, &all, &mut take);
        if rows.len() < ROWS {
            read?;
        }
        Ok(Self { rows })
    }

    /// How often two rows that hold the same in some columns, a reference, hold the same in each other column: an order has
    /// its address from its customer, and so has the customer's next order.
    pub fn together(&self, by: &[usize]) -> Vec<f64> {
        let mut groups: HashMap<Vec<&Value>, Vec<&Vec<Glimpse>>> = HashMap::new();
        for (_, row) in &self.rows {
            let held = |at: &usize| match &row[*at] {
                Glimpse::Value(value) if !value.is_null() => Some(value),
                _ => None,
            };
            if let Some(held) = by.iter().map(held).collect::<Option<Vec<_>>>() {
                groups.entry(held).or_default().push(row);
            }
        }
        let width = self.rows.first().map_or(0, |(_, row)| row.len());
        let (mut pairs, mut same) = (vec![0.0; width], vec![0.0; width]);
        for two in groups.values().flat_map(|rows| rows.windows(2)) {
            for at in (0..width).filter(|at| two.iter().all(|row| !is_null(&row[*at]))) {
                pairs[at] += 1.0;
                same[at] += f64::from(u8::from(two[0][at] == two[1][at]));
            }
        }
        pairs.into_iter().zip(same).map(|(pairs, same)| same / (pairs + 1.0)).collect()
    }

    /// How much of what a row holds no other row holds: of these columns and what each says, at the least.
    pub fn alone(&self, key: &[Value], row: &[(usize, &Glimpse, f64)]) -> f64 {
        let all = row.iter().map(|(.., bits)| bits).sum();
        let others = self.rows.iter().filter(|(other, _)| other != key);
        let left = |(_, other): &(Key, Vec<Glimpse>)| {
            row.iter().filter(|(at, value, _)| other[*at] != **value).map(|(.., bits)| bits).sum::<f64>()
        };
        others.map(left).fold(all, f64::min)
    }

    /// How likely it is that some other row holds this in a column of the snapshot's table.
    pub fn chance(&self, key: &[Value], column: usize, value: &Glimpse) -> f64 {
        let others = self.rows.iter().filter(|(other, _)| other != key);
        let (mut all, mut same) = (0.0, 0.0);
        for (_, row) in others {
            all += 1.0;
            same += f64::from(u8::from(row[column] == *value));
        }
        (same + GUESSED * guess(value)) / (all + GUESSED)
    }
}

/// The same before any row was looked at.
pub fn guess(value: &Glimpse) -> f64 {
    match value {
        Glimpse::Long { .. } => 0.001,
        Glimpse::Value(Value::Null) => 1.0,
        Glimpse::Value(Value::Integer(number)) => match number.unsigned_abs() {
            0..10 => 0.5,
            100_000_000.. => 0.02,
            // Amounts are mostly round.
            round if round < 1000 || round.is_multiple_of(100) => 0.25,
            _ => 0.1,
        },
        Glimpse::Value(Value::Real(_)) => 0.25,
        Glimpse::Value(Value::Text(text) | Value::Blob(text)) => match text.len() {
            0 => 1.0,
            1..8 => 0.4,
            8..16 => 0.1,
            _ => 0.02,
        },
    }
}
