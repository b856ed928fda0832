//! Which rows of databases differ: as many as are told, and how a person reads them.

use std::collections::BTreeMap;

use strongroom::base::path::{self, EntryPath};
use strongroom::base::text::count;
use strongroom::engine::sqlite::rows::{Row, RowChange, Table as Counted, Value};
use strongroom::format::manifest::SourceRecord;
use strongroom::ops::error::OpError;
use strongroom::ops::rows::{self, Request};
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::diff::document::Document;
use crate::context::Context;
use crate::render::{Lean, Table, Tone, paint};

/// So many rows of a table are named in a document; all are counted. Every one is with `--table`.
const ROWS_NAMED: usize = 1000;
/// … and in a line.
const KEYS_SHOWN: usize = 5;

/// How much is told of rows, and where.
pub struct Told<'c> {
    pub context: &'c Context,
    pub summary: bool,
    /// All of one table's are.
    pub all: bool,
}

/// Rows of a database that differ, as many of them as are told; or told at once, where all of a table's are asked for.
pub struct Gathered<'g, 'c> {
    context: &'c Context,
    /// All of one table's are.
    all: bool,
    summary: bool,
    source: &'g SourceRecord,
    path: &'g EntryPath,
    document: &'g mut Document<'c>,
    named: BTreeMap<String, Vec<Row>>,
}

impl<'g, 'c> Gathered<'g, 'c> {
    pub fn new(
        output: &Told<'c>,
        source: &'g SourceRecord,
        path: &'g EntryPath,
        document: &'g mut Document<'c>,
    ) -> Self {
        let Told { context, summary, all } = *output;
        Self { context, all, summary, source, path, document, named: BTreeMap::new() }
    }

    pub fn take(&mut self, name: &str, row: Row) {
        let most = match (self.all, self.context.json()) {
            (true, false) => return self.context.print(&row_line(name, &row)),
            (true, true) if self.document.row(self.source, self.path, name, &row) => return,
            (true, true) => usize::MAX,
            (false, true) => ROWS_NAMED,
            (false, false) => KEYS_SHOWN,
        };
        let rows = self.named.entry(name.to_owned()).or_default();
        if rows.len() < most {
            rows.push(row);
        }
    }

    fn of(&self, table: &Counted) -> Option<&Vec<Row>> {
        self.named.get(&table.name).filter(|_| !self.summary)
    }

    /// Tells what was found of the database.
    pub fn tell(self, tables: &[Counted]) {
        if self.context.json() {
            return self.document.database(self.source, self.path, tables, &|name| self.named.get(name));
        }
        let source = self.source.name.as_str();
        let database = if self.path.is_root() { source.to_owned() } else { format!("{source}/{}", self.path) };
        if tables.is_empty() {
            self.context.print(&format!("    no row of {database} differs\n"));
        }
        let mut lines = Table::new(&[Lean::Left, Lean::Left, Lean::Left]);
        for table in tables {
            lines.row(vec![format!("{database}.{}", table.name), counted_rows(table), keys(table, self.of(table))]);
        }
        self.context.print(&lines.render());
    }
}

/// Tells which rows of a database differ, and says of how many tables.
pub fn differing(
    vault: &UnlockedVault,
    request: &Request<'_>,
    mut gathered: Gathered<'_, '_>,
) -> Result<usize, OpError> {
    let mut each = |name: &str, row: Row| {
        gathered.take(name, row);
        Ok(())
    };
    let tables = rows::differences(vault, request, &mut each)?.tables;
    gathered.tell(&tables);
    Ok(tables.len())
}

fn counted_rows(table: &Counted) -> String {
    let counts = [(table.removed, "removed"), (table.added, "added"), (table.changed, "changed")];
    let mut words: Vec<String> = counts
        .iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, word)| format!("{} {word}", count(*number)))
        .collect();
    match table.whole {
        Some(RowChange::Removed) => words.push("the table is gone".to_owned()),
        Some(_) => words.push("the table is new".to_owned()),
        None => {}
    }
    words.extend(table.columns_added.iter().map(|column| format!("column {column} is new")));
    words.extend(table.columns_removed.iter().map(|column| format!("column {column} is gone")));
    words.join("  ")
}

/// The first keys, and whether there are more.
fn keys(table: &Counted, rows: Option<&Vec<Row>>) -> String {
    let Some(rows) = rows else { return String::new() };
    let mut text = rows.iter().map(key_of).collect::<Vec<_>>().join(", ");
    if table.removed + table.added + table.changed > rows.len() as u64 {
        text.push_str(", …");
    }
    text
}

fn row_line(table: &str, row: &Row) -> String {
    let (sign, tone) = match row.change {
        RowChange::Added => ("+", Tone::Safe),
        RowChange::Removed => ("-", Tone::Lost),
        RowChange::Changed => ("M", Tone::Look),
    };
    let columns = if row.columns.is_empty() { String::new() } else { format!("  {}", row.columns.join(", ")) };
    format!("  {} {table} {}{columns}\n", paint(tone, sign), key_of(row))
}

/// A key as people read it; of several columns in brackets.
fn key_of(row: &Row) -> String {
    let parts: Vec<String> = row.key.iter().map(shown).collect();
    if parts.len() == 1 { parts.concat() } else { format!("({})", parts.join(", ")) }
}

pub fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        // What could steer a terminal does not reach it.
        Value::Text(text) => path::encode(text.as_bytes()),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
