//! Which rows two databases of a session have otherwise, table by table.
//!
//! Rows are the same row when their keys are: the primary key, or the row's number where a table has none. Values are
//! compared as they are kept, byte for byte. Virtual tables, and what belongs to them, are left out: they follow others.
//! Rows that lie in pages that both have in common are not read, see [`Beside`].

mod part;

use std::collections::BTreeMap;

pub use rusqlite::types::Value;

use crate::engine::sqlite::ask::{AskError, Session};
use crate::engine::sqlite::beside::Beside;
use crate::engine::sqlite::facts::quoted;

use part::Part;

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
    /// Of the key, those that may be NULL.
    nullable: Vec<String>,
    /// What a row's number is called; none where there is none, or columns have taken all names.
    number: Option<&'static str>,
    without_rowid: bool,
}

/// The name of the earlier database in every session.
const BEFORE: &str = "main";

impl Session {
    /// Compares the session's own database with the one attached under the name `after`. Hands over every row that
    /// differs, in the order of keys: first what was removed, then what changed, then what was added. `pages` are those
    /// of the two, where they are known: then only rows are read that can differ.
    pub fn differences(
        &self,
        after: &str,
        only: Option<&str>,
        pages: Option<&Beside>,
        each: &mut dyn FnMut(&str, Row) -> Result<(), AskError>,
    ) -> Result<Vec<Table>, AskError> {
        let (old, new) = (self.tables(BEFORE, only)?, self.tables(after, only)?);
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_unstable();
        names.dedup();
        let survey = pages.map(|pages| self.survey(pages, after)).transpose()?.flatten();
        let mut tables = Vec::new();
        for name in names {
            let table = match (old.get(name), new.get(name)) {
                (Some(old), Some(new)) => {
                    let part = match &survey {
                        Some(survey) => self.part(name, old, new, after, survey)?,
                        None => Part::All,
                    };
                    self.table(name, (old, new), after, &part, each)?
                }
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
        let sql = "SELECT name, pk, \"notnull\", hidden FROM pragma_table_xinfo(?, ?)";
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let column = |row: &rusqlite::Row<'_>| {
            Ok(Column { name: row.get(0)?, part: row.get(1)?, not_null: row.get(2)?, hidden: row.get(3)? })
        };
        let columns = statement.query_map((table, schema), column).map_err(fail)?;
        let mut columns: Vec<Column> = columns.collect::<Result<_, _>>().map_err(fail)?;
        let free = |name: &&str| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name));
        let sql = "SELECT wr FROM pragma_table_list WHERE schema = ? AND name = ?";
        let without_rowid: bool = self.connection.query_row(sql, (schema, table), |row| row.get(0)).map_err(fail)?;
        let number = ["rowid", "_rowid_", "oid"].into_iter().find(free).filter(|_| !without_rowid);
        columns.retain(|column| !column.hidden);
        let mut parts: Vec<&Column> = columns.iter().filter(|column| column.part > 0).collect();
        parts.sort_by_key(|column| column.part);
        let nullable = parts.iter().filter(|column| !column.not_null).map(|column| column.name.clone()).collect();
        let mut key: Vec<String> = parts.into_iter().map(|column| column.name.clone()).collect();
        if key.is_empty() {
            key.push("rowid".to_owned());
        }
        let columns = columns.into_iter().map(|column| column.name).collect();
        Ok(Shape { columns, key, nullable, number, without_rowid })
    }

    fn count(&self, schema: &str, table: &str) -> Result<u64, AskError> {
        let sql = format!("SELECT count(*) FROM {schema}.{}", quoted(table), schema = quoted(schema));
        let count = self.connection.query_row(&sql, [], |row| row.get::<_, i64>(0));
        count.map(|count| count as u64).map_err(|error| self.explain(error))
    }

    fn table(
        &self,
        name: &str,
        (old, new): (&Shape, &Shape),
        after: &str,
        part: &Part,
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
        table.removed = self.missing(&pair, part, |key| take(RowChange::Removed, key, Vec::new()))?;
        table.changed = self.changed(&pair, part, |key, columns| take(RowChange::Changed, key, columns))?;
        let pair = Pair { before: after, after: BEFORE, ..pair };
        table.added = self.missing(&pair, part, |key| take(RowChange::Added, key, Vec::new()))?;
        Ok(table)
    }

    /// Rows of the one database whose keys the other does not have.
    fn missing(
        &self,
        pair: &Pair<'_>,
        part: &Part,
        take: impl FnMut(Vec<Value>) -> Result<(), AskError>,
    ) -> Result<u64, AskError> {
        let (keys, from, other, same) = (pair.keys(), pair.table(pair.before), pair.table(pair.after), pair.same_key());
        let sql = format!(
            "SELECT {keys} FROM {ranges} {from} AS b WHERE {within} NOT EXISTS (SELECT 1 FROM {other} AS a WHERE {same}) \
             ORDER BY {keys}",
            ranges = part.ranges(),
            within = part.within(),
        );
        self.each(&sql, part, take)
    }

    /// Rows of both that are not the same.
    fn changed(
        &self,
        pair: &Pair<'_>,
        part: &Part,
        mut take: impl FnMut(Vec<Value>, Vec<String>) -> Result<(), AskError>,
    ) -> Result<u64, AskError> {
        let (keys, from, other, same) = (pair.keys(), pair.table(pair.before), pair.table(pair.after), pair.same_key());
        let differ: Vec<String> = pair.columns.iter().map(|column| differs(column)).collect();
        if differ.is_empty() {
            return Ok(0);
        }
        // The earlier database leads, in the order of its keys: the later one is looked up in the same order.
        let sql = format!(
            "SELECT {keys}, {flags} FROM {ranges} {from} AS b CROSS JOIN {other} AS a \
             WHERE {within} {same} AND ({any}) ORDER BY {keys}",
            ranges = part.ranges(),
            within = part.within(),
            flags = differ.join(", "),
            any = differ.join(" OR "),
        );
        let length = pair.key.len();
        self.each(&sql, part, |mut values| {
            let flags = values.split_off(length);
            let changed = pair.columns.iter().zip(&flags).filter(|(_, flag)| **flag == Value::Integer(1));
            take(values, changed.map(|(column, _)| (*column).clone()).collect())
        })
    }

    fn each(
        &self,
        sql: &str,
        part: &Part,
        mut take: impl FnMut(Vec<Value>) -> Result<(), AskError>,
    ) -> Result<u64, AskError> {
        let fail = |error| self.explain(error);
        let runs = part.values();
        if runs.is_empty() {
            return Ok(0);
        }
        let mut statement = self.connection.prepare(sql).map_err(fail)?;
        let (width, mut count) = (statement.column_count(), 0);
        for values in runs {
            let mut rows = statement.query(rusqlite::params_from_iter(values)).map_err(fail)?;
            while let Some(row) = rows.next().map_err(fail)? {
                let values = (0..width).map(|at| row.get::<_, Value>(at)).collect::<Result<_, _>>().map_err(fail)?;
                take(values)?;
                count += 1;
            }
        }
        Ok(count)
    }
}

/// A column as SQLite describes it.
struct Column {
    name: String,
    /// Which one of the key, from 1; 0 for none.
    part: i64,
    not_null: bool,
    hidden: bool,
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
