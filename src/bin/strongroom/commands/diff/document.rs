//! The document of a comparison (docs/scripting.md), written as it comes.
//!
//! Where all rows of a table are asked for, none is held: each is written when it is found, before what is counted of its
//! table. Nothing is written before the first of them, so that what fails until then has a document of its own.

use serde_json::Value as Json;
use strongroom::base::id::SnapshotId;
use strongroom::base::path::EntryPath;
use strongroom::engine::sqlite::rows::{Row, Table, Value};
use strongroom::format::manifest::SourceRecord;

use crate::commands::diff::rows::shown;
use crate::context::Context;
use crate::terminal::json;

/// So much is written at once.
const AT_ONCE: usize = 64 << 10;

pub struct Document<'c> {
    context: &'c Context,
    before: SnapshotId,
    waiting: String,
    databases: usize,
    /// The table whose rows are being written, and how many were.
    open: Option<(String, u64)>,
}

impl<'c> Document<'c> {
    pub fn new(context: &'c Context, before: SnapshotId) -> Self {
        Self { context, before, waiting: String::new(), databases: 0, open: None }
    }

    /// Writes a row of a database. False where those of another table of it are being written: it has to wait.
    pub fn row(&mut self, source: &SourceRecord, path: &EntryPath, table: &str, row: &Row) -> bool {
        if self.open.is_none() {
            self.begin_database(source, path);
            self.waiting += &format!("\n{{\"name\":{},\"rows\":[", serde_json::json!(table));
            self.open = Some((table.to_owned(), 0));
        }
        let Some((_, rows)) = self.open.as_mut().filter(|(name, _)| name == table) else { return false };
        self.waiting += if *rows == 0 { "\n" } else { ",\n" };
        *rows += 1;
        self.waiting += &row_document(row).to_string();
        if self.waiting.len() >= AT_ONCE {
            self.flush();
        }
        true
    }

    /// Writes what was found of a database: its tables, with the rows that are held.
    pub fn database<'r>(
        &mut self,
        source: &SourceRecord,
        path: &EntryPath,
        tables: &[Table],
        held: &dyn Fn(&str) -> Option<&'r Vec<Row>>,
    ) {
        let open = self.open.take();
        if open.is_none() {
            self.begin_database(source, path);
        }
        let is_open = |table: &&Table| open.as_ref().is_some_and(|(name, _)| *name == table.name);
        let counts = |table: &Table| serde_json::to_value(table).expect("BUG: plain fields");
        for table in tables.iter().filter(is_open) {
            let mut counts = counts(table);
            counts.as_object_mut().map(|members| members.remove("name"));
            self.waiting += &format!("\n],{}", &counts.to_string()[1..]);
        }
        for (number, table) in tables.iter().filter(|table| !is_open(table)).enumerate() {
            let mut document = counts(table);
            document["rows"] = held(&table.name).into_iter().flatten().map(row_document).collect();
            let between = if number == 0 && open.is_none() { "\n" } else { ",\n" };
            self.waiting += &format!("{between}{document}");
        }
        self.waiting += "\n]}";
    }

    fn begin_database(&mut self, source: &SourceRecord, path: &EntryPath) {
        match self.databases {
            0 => self.waiting += &format!("{{\"before\":{},\"databases\":[\n", serde_json::json!(self.before)),
            _ => self.waiting += ",\n",
        }
        self.databases += 1;
        self.waiting += &format!(
            "{{\"source\":{},\"path\":{},\"tables\":[",
            serde_json::json!(source.name),
            serde_json::json!(path)
        );
    }

    /// Writes the rest.
    pub fn finish(mut self, changes: &[Json], only_in: &[Json]) {
        if self.databases == 0 {
            self.waiting += &format!("{{\"before\":{},\"databases\":[", serde_json::json!(self.before));
        }
        self.waiting += "],\"changes\":[";
        for (number, change) in changes.iter().enumerate() {
            self.waiting += &format!("{}{change}", if number == 0 { "\n" } else { ",\n" });
            if self.waiting.len() >= AT_ONCE {
                self.flush();
            }
        }
        self.waiting += "\n]";
        if !only_in.is_empty() {
            self.waiting += &format!(",\"only_in\":{}", Json::from(only_in));
        }
        self.waiting += "}\n";
        self.flush();
    }

    fn flush(&mut self) {
        self.context.write(json(&self.waiting).as_bytes());
        self.waiting.clear();
    }
}

fn row_document(row: &Row) -> Json {
    let key: Vec<Json> = row.key.iter().map(json_of).collect();
    serde_json::json!({ "change": row.change, "key": key, "columns": row.columns })
}

fn json_of(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Integer(number) => (*number).into(),
        Value::Real(number) => (*number).into(),
        Value::Text(text) => text.as_str().into(),
        Value::Blob(_) => shown(value).into(),
    }
}
