//! References, looked after by us where the server does not: of every row that was written, and to every row that was
//! changed or removed.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::record::{Key, Row, Table, Value};
use crate::engine::postgres::layout::{Qualified, Reference, literal, quoted};
use crate::engine::postgres::records::compared::{self, Condition};
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::Live;
use crate::engine::postgres::records::rules::{Transaction, ties};
use crate::engine::postgres::records::schema::{self, Described};

/// Rows that one statement is about.
const BATCH: usize = 400;

impl Live {
    /// Is every reference of and to what was touched right?
    pub(super) fn check(
        &self,
        known: &BTreeMap<String, Described>,
        transaction: &Transaction,
    ) -> Result<(), LiveError> {
        for (name, keys) in &transaction.rows {
            let Some(child) = known.get(name) else { continue };
            for reference in &child.shape.references {
                let table = child.table();
                for some in keys.chunks(BATCH) {
                    self.refers(&table, reference, (&table.key, some), &[])?;
                }
            }
        }
        for (name, rows) in &transaction.before {
            let Some(parent) = known.get(name).map(Described::table) else { continue };
            let ties = ties(&parent, known);
            for child in known.values() {
                let outlived = transaction.outlived.get(&child.table().name).map(Vec::as_slice).unwrap_or_default();
                let to_it = |one: &&Reference| schema::name(&one.to) == *name;
                for reference in child.shape.references.iter().filter(to_it) {
                    let table = child.table();
                    let Some((columns, values)) = referring(&table, &parent, reference, &ties, rows) else { continue };
                    for some in values.chunks(BATCH) {
                        self.refers(&table, reference, (&columns, some), outlived)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Do the rows whose columns hold one of some keys, but for those that outlived what they refer to, refer to something by
    /// this reference, or to nothing at all?
    fn refers(
        &self,
        table: &Table,
        reference: &Reference,
        (by, keys): (&[usize], &[Key]),
        outlived: &[Key],
    ) -> Result<(), LiveError> {
        let among = |by: &[usize], keys: &[Key]| {
            let mut condition = Condition::new(table, by, "c.");
            keys.iter().for_each(|key| condition.add(key));
            condition.sql()
        };
        let Some(mut condition) = among(by, keys) else { return Ok(()) };
        if let Some(others) = among(&table.key, outlived) {
            condition += &format!(" AND NOT ({others})");
        }
        let to = schema::name(&reference.to);
        let full = reference.columns.iter().map(|name| format!("c.{} IS NOT NULL", quoted(name)));
        let known = self.known().map_err(|error| self.failed(None, error))?;
        let parent = known.get(&to).map(Described::table).unwrap_or_default();
        let same = |(own, theirs): (&String, &String)| match (parent.column(theirs), table.column(own)) {
            (Some(at), Some(own)) => compared::same(("p.", &parent.columns[at]), ("c.", &table.columns[own])),
            // One that the server works out itself is not among them.
            _ => format!("p.{} = c.{}", quoted(theirs), quoted(own)),
        };
        let same = reference.columns.iter().zip(&reference.to_columns).map(same);
        let key: Vec<String> = table.key_names().into_iter().map(|name| format!("c.{}", quoted(name))).collect();
        let expression = format!(
            "(SELECT concat_ws(',', {}) FROM {} c WHERE {condition} AND {}{} \
              AND NOT EXISTS (SELECT FROM {} p WHERE {}{}) LIMIT 1)",
            key.join(", "),
            self.from(&table.name)?,
            full.collect::<Vec<_>>().join(" AND "),
            lies_in("c", &reference.parts),
            self.from(&to)?,
            same.collect::<Vec<_>>().join(" AND "),
            lies_in("p", &reference.to_parts),
        );
        match self.value(&expression).map_err(|error| self.failed(None, error))? {
            None => Ok(()),
            Some(key) => {
                let reason = format!("{} {key} refers to a row of {to}", table.name);
                Err(LiveError::Reference { database: self.database(), reason })
            }
        }
    }
}

/// One more condition: that a row lies in one of these parts.
fn lies_in(row: &str, parts: &BTreeSet<Qualified>) -> String {
    let parts: Vec<String> = parts.iter().map(|part| format!("{}::regclass", literal(&part.quoted()))).collect();
    if parts.is_empty() { String::new() } else { format!(" AND {row}.tableoid IN ({})", parts.join(", ")) }
}

/// The columns that refer, and what they would hold to refer to these rows.
fn referring(
    child: &Table,
    parent: &Table,
    reference: &Reference,
    ties: &[usize],
    rows: &[Row],
) -> Option<(Vec<usize>, Vec<Key>)> {
    let columns = reference.columns.iter().map(|name| child.column(name)).collect::<Option<Vec<_>>>()?;
    let place = |name: &String| ties.binary_search(&parent.column(name)?).ok();
    let places = reference.to_columns.iter().map(place).collect::<Option<Vec<_>>>()?;
    let key = |row: &Row| -> Key { places.iter().map(|&at| row[at].clone()).collect() };
    let keys = rows.iter().map(key).filter(|key| !key.iter().any(Value::is_null));
    Some((columns, keys.collect()))
}
