//! Finding rows, in whatever database a connection has open.

use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, Row, ToSql};

use crate::base::error::Explained;
use crate::base::record::{Column, Each, Key, Letters, Records, Table, Value};
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::records::reading::Reading;
use crate::engine::sqlite::records::schema;

/// So many parameters a statement may have, well below SQLite's own limit. Many, because a table without an index is
/// read once for each statement.
const PARAMETERS: usize = 8_000;

/// A database that a connection has open: all that it takes to find rows in it.
pub trait Rows {
    fn label(&self) -> String;
    fn connection(&self) -> &Connection;
    fn explain(&self, error: rusqlite::Error) -> Explained;
}

impl<D: Rows> Records for D {
    fn label(&self) -> String {
        Rows::label(self)
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        schema::tables(self.connection()).map_err(|error| self.explain(error))
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        if let Some(reading) = Reading::of(table, by) {
            return reading.find(self, keys, wanted, each);
        }
        found(self, table, by, keys, wanted, each)
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        // On a line of its own: a condition may end with a comment.
        let only = condition.map(|condition| format!(" WHERE ({condition}\n)")).unwrap_or_default();
        let sql = format!("{}{only} ORDER BY {}", select(table, wanted), list(table, &table.key));
        each_row(self, &sql, &mut [].iter(), wanted.len(), each)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        Ok(schema::typed(&table.columns[column].kind, text))
    }
}

/// The rows whose columns hold one of some keys, as these columns compare.
pub(super) fn found(
    database: &impl Rows,
    table: &Table,
    by: &[usize],
    keys: &[Key],
    wanted: &[usize],
    each: &mut Each<'_>,
) -> Result<(), Explained> {
    let columns = by.iter().map(|&at| compared(&table.columns[at])).collect::<Vec<_>>().join(", ");
    let row = format!("({})", vec!["?"; by.len()].join(", "));
    for some in keys.chunks((PARAMETERS / by.len().max(1)).max(1)) {
        let rows = vec![row.as_str(); some.len()].join(", ");
        let is_one_of = match by.len() {
            1 => format!("{columns} IN ({})", vec!["?"; some.len()].join(", ")),
            _ => format!("({columns}) IN (VALUES {rows})"),
        };
        let sql = format!("{} WHERE {is_one_of}", select(table, wanted));
        each_row(database, &sql, &mut some.iter().flatten(), wanted.len(), each)?;
    }
    Ok(())
}

pub(super) fn each_row(
    database: &impl Rows,
    sql: &str,
    values: &mut dyn Iterator<Item = &Value>,
    width: usize,
    each: &mut Each<'_>,
) -> Result<(), Explained> {
    let explain = |error| database.explain(error);
    let mut statement = database.connection().prepare_cached(sql).map_err(explain)?;
    for (at, value) in values.enumerate() {
        statement.raw_bind_parameter(at + 1, value).map_err(explain)?;
    }
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next().map_err(explain)? {
        each(values_of(row, width).map_err(explain)?)?;
    }
    Ok(())
}

pub fn values_of(row: &Row<'_>, width: usize) -> rusqlite::Result<Vec<Value>> {
    (0..width).map(|at| row.get_ref(at).map(Value::from)).collect()
}

/// A value as SQLite has it.
impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Null => Self::Null,
            ValueRef::Integer(number) => Self::Integer(number),
            ValueRef::Real(number) => Self::Real(number),
            ValueRef::Text(bytes) => Self::Text(bytes.to_vec()),
            ValueRef::Blob(bytes) => Self::Blob(bytes.to_vec()),
        }
    }
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Value::Null => ValueRef::Null,
            Value::Integer(number) => ValueRef::Integer(*number),
            Value::Real(number) => ValueRef::Real(*number),
            Value::Text(bytes) => ValueRef::Text(bytes),
            Value::Blob(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

pub(super) fn select(table: &Table, wanted: &[usize]) -> String {
    format!("SELECT {} FROM main.{}", list(table, wanted), quoted(&table.name))
}

/// Columns as SQL names them.
pub fn list(table: &Table, columns: &[usize]) -> String {
    columns.iter().map(|&at| quoted(&table.columns[at].name)).collect::<Vec<_>>().join(", ")
}

/// A column as a row is found by it. Whoever asks may take more for the same than the table itself does.
fn compared(column: &Column) -> String {
    let collation = if column.letters == Letters::AsWritten { "" } else { collation(column.letters) };
    format!("{}{collation}", quoted(&column.name))
}

/// A collation as it stands behind what is compared.
pub fn collation(letters: Letters) -> &'static str {
    match letters {
        Letters::AsWritten => " COLLATE BINARY",
        Letters::WithoutCase => " COLLATE NOCASE",
        Letters::WithoutEnd => " COLLATE RTRIM",
    }
}
