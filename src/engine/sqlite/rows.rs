//! Which rows two databases of a session have otherwise, table by table.
//!
//! Rows are the same row when their keys are: the primary key, or the row's number where a table has none. Values are
//! compared as they are kept, byte for byte. Virtual tables, and what belongs to them, are left out: they follow others.

use std::collections::BTreeMap;

pub use rusqlite::types::Value;

use crate::engine::sqlite::ask::{AskError, Session};
use crate::engine::sqlite::facts::quoted;

/// What became of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RowChange {
    Added,
    Removed,
    Changed,
}

/// A row that is not the same, by its key.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub change: RowChange,
    pub key: Vec<Value>,
    /// The columns that differ, of a row that is in both.
    pub columns: Vec<String>,
}

/// What became of a table.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    pub name: String,
    /// The columns of the key; `rowid` where there is none.
    pub key: Vec<String>,
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// Columns that only the later one has, and only the earlier one.
    pub columns_added: Vec<String>,
    pub columns_removed: Vec<String>,
    /// The table is only in the later one, or only in the earlier one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole: Option<RowChange>,
}

impl Table {
    pub fn is_same(&self) -> bool {
        self.added + self.removed + self.changed == 0
            && self.whole.is_none()
            && self.columns_added.is_empty()
            && self.columns_removed.is_empty()
    }
}

/// A table as one database has it.
#[derive(Clone, Debug, Default)]
struct Shape {
    columns: Vec<String>,
    key: Vec<String>,
}

/// The name of the earlier database in every session.
const BEFORE: &str = "main";

impl Session {
    /// Compares the session's own database with the one attached under the name `after`. Hands over every row that
    /// differs, in the order of keys: first what was removed, then what changed, then what was added.
    pub fn differences(
        &self,
        after: &str,
        only: Option<&str>,
        each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
    ) -> Result<Vec<Table>, AskError> {
        let (old, new) = (self.tables(BEFORE, only)?, self.tables(after, only)?);
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let mut tables = Vec::new();
        for name in names {
            let table = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => self.table(name, old, new, after, each)?,
                (Some(old), None) => Table {
                    removed: self.count(BEFORE, name)?,
                    whole: Some(RowChange::Removed),
                    ..named(name, &old.key)
                },
                (None, Some(new)) => {
                    Table { added: self.count(after, name)?, whole: Some(RowChange::Added), ..named(name, &new.key) }
                }
                (None, None) => continue,
            };
            tables.extend((!table.is_same()).then_some(table));
        }
        Ok(tables)
    }

    fn tables(&self, schema: &str, only: Option<&str>) -> Result<BTreeMap<String, Shape>, AskError> {
        let sql = "SELECT name FROM pragma_table_list WHERE schema = ?1 AND type = 'table' \
                   AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' AND (?2 IS NULL OR name = ?2 COLLATE NOCASE)";
        let fail = |error| self.explain(error);
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let names = statement.query_map((schema, only), |row| row.get::<_, String>(0)).map_err(fail)?;
        let names: Vec<String> = names.collect::<Result<_, _>>().map_err(fail)?;
        names.into_iter().map(|name| Ok((name.clone(), self.shape(schema, &name)?))).collect()
    }

    /// Columns that are computed are left out: they follow the others.
    fn shape(&self, schema: &str, table: &str) -> Result<Shape, AskError> {
        let fail = |error| self.explain(error);
        let sql = "SELECT name, pk FROM pragma_table_xinfo(?, ?) WHERE hidden = 0";
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let columns = statement.query_map((table, schema), |row| Ok((row.get(0)?, row.get(1)?))).map_err(fail)?;
        let columns: Vec<(String, i64)> = columns.collect::<Result<_, _>>().map_err(fail)?;
        let mut key: Vec<&(String, i64)> = columns.iter().filter(|(_, part)| *part > 0).collect();
        key.sort_by_key(|(_, part)| *part);
        let mut key: Vec<String> = key.into_iter().map(|(name, _)| name.clone()).collect();
        if key.is_empty() {
            key.push("rowid".to_owned());
        }
        Ok(Shape { columns: columns.into_iter().map(|(name, _)| name).collect(), key })
    }

    fn count(&self, schema: &str, table: &str) -> Result<u64, AskError> {
        let sql = format!("SELECT count(*) FROM {schema}.{}", quoted(table), schema = quoted(schema));
        let count = self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        count.map(|count| count as u64).map_err(|error| self.explain(error))
    }

    fn table(
        &self,
        name: &str,
        old: &Shape,
        new: &Shape,
        after: &str,
        each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
    ) -> Result<Table, AskError> {
        let without = |some: &[String], others: &[String]| -> Vec<String> {
            some.iter().filter(|column| !others.contains(column)).cloned().collect()
        };
        let columns_added = without(&new.columns, &old.columns);
        let columns_removed = without(&old.columns, &new.columns);
        let mut table = Table { columns_added, columns_removed, ..named(name, &old.key) };
        if old.key != new.key {
            // Rows cannot be told apart by one key: the table is another.
            (table.removed, table.added) = (self.count(BEFORE, name)?, self.count(after, name)?);
            return Ok(table);
        }
        let both: Vec<&String> = old.columns.iter().filter(|column| new.columns.contains(column)).collect();
        let pair = Pair { name, key: &old.key, columns: &both, before: BEFORE, after };
        let mut take = |change, key, columns| each(name, Row { change, key, columns });
        table.removed = self.missing(&pair, |key| take(RowChange::Removed, key, Vec::new()))?;
        table.changed = self.changed(&pair, |key, columns| take(RowChange::Changed, key, columns))?;
        let pair = Pair { before: after, after: BEFORE, ..pair };
        table.added = self.missing(&pair, |key| take(RowChange::Added, key, Vec::new()))?;
        Ok(table)
    }

    /// Rows of the one database whose keys the other does not have.
    fn missing(&self, pair: &Pair<'_>, take: impl FnMut(Vec<Value>) -> Result<(), AskError>) -> Result<u64, AskError> {
        let (keys, from, other, same) = (pair.keys(), pair.table(pair.before), pair.table(pair.after), pair.same_key());
        let sql = format!(
            "SELECT {keys} FROM {from} AS b WHERE NOT EXISTS (SELECT 1 FROM {other} AS a WHERE {same}) ORDER BY {keys}"
        );
        self.each(&sql, take)
    }

    /// Rows of both that are not the same.
    fn changed(
        &self,
        pair: &Pair<'_>,
        mut take: impl FnMut(Vec<Value>, Vec<String>) -> Result<(), AskError>,
    ) -> Result<u64, AskError> {
        let (keys, from, other, same) = (pair.keys(), pair.table(pair.before), pair.table(pair.after), pair.same_key());
        let differ: Vec<String> = pair.columns.iter().map(|column| differs(column)).collect();
        if differ.is_empty() {
            return Ok(0);
        }
        // The earlier database leads, in the order of its keys: the later one is looked up in the same order.
        let sql = format!(
            "SELECT {keys}, {flags} FROM {from} AS b CROSS JOIN {other} AS a WHERE {same} AND ({any}) ORDER BY {keys}",
            flags = differ.join(", "),
            any = differ.join(" OR "),
        );
        let length = pair.key.len();
        self.each(&sql, |mut values| {
            let flags = values.split_off(length);
            let changed = pair.columns.iter().zip(&flags).filter(|(_, flag)| **flag == Value::Integer(1));
            take(values, changed.map(|(column, _)| (*column).clone()).collect())
        })
    }

    fn each(&self, sql: &str, mut take: impl FnMut(Vec<Value>) -> Result<(), AskError>) -> Result<u64, AskError> {
        let fail = |error| self.explain(error);
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let width = statement.column_count();
        let (mut rows, mut count) = (statement.query([]).map_err(fail)?, 0);
        while let Some(row) = rows.next().map_err(fail)? {
            let values = (0..width).map(|at| row.get::<_, Value>(at)).collect::<Result<_, _>>().map_err(fail)?;
            take(values)?;
            count += 1;
        }
        Ok(count)
    }
}

/// One table in two databases.
#[derive(Clone, Copy)]
struct Pair<'t> {
    name: &'t str,
    key: &'t [String],
    columns: &'t [&'t String],
    before: &'t str,
    after: &'t str,
}

impl Pair<'_> {
    fn table(&self, schema: &str) -> String {
        format!("{}.{}", quoted(schema), quoted(self.name))
    }

    fn keys(&self) -> String {
        self.key.iter().map(|column| format!("b.{}", quoted(column))).collect::<Vec<_>>().join(", ")
    }

    fn same_key(&self) -> String {
        let same = |column: &String| format!("a.{column} IS b.{column}", column = quoted(column));
        self.key.iter().map(same).collect::<Vec<_>>().join(" AND ")
    }
}

/// Not the same value, or not kept the same way: 1 and 1.0 are equal, and so are 'a' and 'A' to some collations.
fn differs(column: &str) -> String {
    let column = quoted(column);
    format!("(b.{column} IS NOT a.{column} COLLATE BINARY OR typeof(b.{column}) <> typeof(a.{column}))")
}

fn named(name: &str, key: &[String]) -> Table {
    Table { name: name.to_owned(), key: key.to_vec(), ..Table::default() }
}
