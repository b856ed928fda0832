//! Records written down instead of given back: a file for each table, or statements that a person can read and run.
//!
//! Asks no live database: what belongs together is all of it, with every row that is needed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::error::Explained;
use crate::base::name::Name;
use crate::base::record::{Key, Records, Row, Table, Value};
use crate::base::text::csv_text;
use crate::engine::sqlite::facts::quoted;
use crate::format::manifest::Manifest;
use crate::ops::error::{OpError, Problem};
use crate::ops::recover::Request;
use crate::ops::recover::case::{Kit, meant};
use crate::ops::recover::files;
use crate::ops::recover::together::Together;
use crate::ops::restore;
use crate::ops::show::Part;
use crate::ops::side::Side;
use crate::record::closure::{Closure, Walk, Why};
use crate::record::graph::{Graph, Link};
use crate::record::identity::Standing;
use crate::record::loose;
use crate::record::order;
use crate::source::files::target::{Options, Target};
use crate::vault::random::Desk;
use crate::vault::unlocked::UnlockedVault;

/// How records are written down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    Csv,
    Json,
    Sql,
}

/// What was written down.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Exported {
    pub rows: BTreeMap<String, u64>,
    /// Those of them that nobody asked for, and others need.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub needed: BTreeMap<String, u64>,
    pub files: u64,
    pub bytes: u64,
    /// What may belong to the records too and was not found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// What of the snapshot was read for it.
    #[serde(skip)]
    pub read: Vec<Part>,
}

/// Writes what belongs to the records that were asked for into a folder.
pub fn export(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    request: &Request,
    form: Form,
    folder: &Path,
) -> Result<Exported, OpError> {
    let desk = Desk::new(unlocked.library()?.owned());
    let place = meant(manifest, request, &desk)?;
    let together = Together::find(manifest, &place, request)?;
    let side = together.side(&place, manifest, &desk, &request.control)?;
    let model = together.model(request);
    let kept = side.records();
    let graph = Graph::read(kept, &model)?;
    let model = model.settled(&graph.tables, &kept.label())?;
    let kit = Kit { manifest, request, graph: &graph, model: &model, kept, place: &place };
    let (table, seeds) = kit.seeds(&mut |_, _| Ok(Vec::new()))?;
    let mut nothing = |_: &Link, values: &[Row]| Ok(vec![Standing::Gone; values.len()]);
    let walk = Walk::new(&graph, kept, request.budget).both_ends();
    let closure = walk.run(table, &seeds, &mut nothing)?;
    kit.all_there(table, &seeds, &closure)?;
    let failed = |source| OpError::from(Problem::Output { path: folder.display().to_string(), source });
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut out = Writer { form, side: &side, folder, open: BTreeMap::new(), done: Exported::default() };
    for placed in order::order(&graph, &closure) {
        let table = &graph.tables[placed.table];
        if matches!(closure.members[placed.table][&placed.key].why, Why::Needed(_)) {
            *out.done.needed.entry(table.name.clone()).or_default() += 1;
        }
        out.row(table, &placed.key, kept)?;
    }
    let mut done = out.finish()?;
    done.doubts = loose::doubts(kept, &graph, &closure, &|_| false)?;
    done.read.extend(std::iter::once(place.part()).chain(together.parts()));
    linked(&kit, &closure, &desk, folder, &mut done)?;
    Ok(done)
}

/// The files that belong to the records, below `files`.
fn linked(kit: &Kit<'_>, closure: &Closure, desk: &Desk, folder: &Path, done: &mut Exported) -> Result<(), OpError> {
    let library = desk.library();
    for (record, entries) in files::of_closure(kit, closure, library)? {
        let to = folder.join("files").join(record.name.as_str());
        let paths: Vec<_> = entries.iter().map(|entry| entry.path.clone()).collect();
        let report = restore::some(
            library,
            record,
            &paths,
            (&to, &Target::open(&to, Options::default())?),
            &kit.request.control,
        )?;
        if let Some(issue) = report.issues.first() {
            return Err(Problem::Linked { path: issue.path.clone(), reason: issue.reason.clone() }.into());
        }
        done.files += entries.len() as u64;
        let source = Some(record.name.to_string());
        done.read.extend(paths.into_iter().map(|path| Part { source: source.clone(), path }));
        done.bytes += entries.iter().map(|entry| entry.size).sum::<u64>();
    }
    Ok(())
}

/// What statements for a server rest on; nothing of it outlasts the transaction.
const PINNED: &str = "SET LOCAL client_encoding = 'UTF8';\nSET LOCAL standard_conforming_strings = on;\n\
    SET LOCAL array_nulls = on;\n\
    SET LOCAL DateStyle = ISO;\nSET LOCAL IntervalStyle = postgres;\nSET LOCAL xmloption = content;\n\
    SET LOCAL lc_monetary = 'C';\nSET CONSTRAINTS ALL DEFERRED;\n";

struct Writer<'w> {
    form: Form,
    /// Where the rows come from decides how values are written in statements.
    side: &'w Side,
    folder: &'w Path,
    /// The files that are being written, by table; of statements there is one.
    open: BTreeMap<String, BufWriter<File>>,
    done: Exported,
}

impl Writer<'_> {
    fn row(&mut self, table: &Table, key: &Key, kept: &dyn Records) -> Result<(), OpError> {
        let all: Vec<usize> = (0..table.columns.len()).collect();
        let mut line = Vec::new();
        let number = self.done.rows.entry(table.name.clone()).or_default();
        let (form, first) = (self.form, *number == 0);
        *number += 1;
        let (source, side, own) = self.side.origin(table)?;
        let mut take = |row: Row| {
            line = match form {
                Form::Csv => csv(table, &row, first),
                Form::Json => json(table, &row, first).into_bytes(),
                Form::Sql => match side {
                    Side::Postgres(kept) => kept.insert(&own, &row).into_bytes(),
                    _ => sql(&own, &row).into_bytes(),
                },
            };
            Ok::<(), Explained>(())
        };
        let found = kept.find(table, &table.key, std::slice::from_ref(key), &all, &mut take);
        found.map_err(crate::record::error::RecordError::store)?;
        let (name, path) = self.file(table, source);
        let failed = |source| OpError::from(Problem::Output { path: path.display().to_string(), source });
        if !self.open.contains_key(&name) {
            let mut file = BufWriter::new(File::create_new(&path).map_err(failed)?);
            if form == Form::Sql {
                let pinned = if matches!(side, Side::Postgres(_)) { PINNED } else { "" };
                write!(file, "BEGIN;\n{pinned}").map_err(failed)?;
            }
            self.open.insert(name.clone(), file);
        }
        let file = self.open.get_mut(&name).expect("BUG: it was just opened");
        file.write_all(&line).map_err(failed)
    }

    fn file(&self, table: &Table, source: Option<&Name>) -> (String, PathBuf) {
        let name = match self.form {
            Form::Csv => format!("{}.csv", table.name.replace('/', "%2F")),
            Form::Json => format!("{}.json", table.name.replace('/', "%2F")),
            // Statements are run in one database.
            Form::Sql => match source {
                Some(source) => format!("{source}.records.sql"),
                None => "records.sql".to_owned(),
            },
        };
        let path = self.folder.join(&name);
        (name, path)
    }

    fn finish(self) -> Result<Exported, OpError> {
        for (name, mut file) in self.open {
            let end: &[u8] = match self.form {
                Form::Csv => b"",
                Form::Json => b"\n]\n",
                Form::Sql => b"COMMIT;\n",
            };
            let path = self.folder.join(name).display().to_string();
            file.write_all(end).and_then(|()| file.flush()).map_err(|source| Problem::Output { path, source })?;
        }
        Ok(self.done)
    }
}

fn csv(table: &Table, row: &Row, first: bool) -> Vec<u8> {
    let value = |value: &Value| match value {
        Value::Null => Vec::new(),
        Value::Text(bytes) => csv_text(bytes),
        Value::Blob(bytes) => format!("x'{}'", hex::encode(bytes)).into_bytes(),
        other => other.to_string().into_bytes(),
    };
    let mut lines = Vec::new();
    if first {
        lines.push(table.columns.iter().map(|column| csv_text(column.name.as_bytes())).collect::<Vec<_>>());
    }
    lines.push(row.iter().map(value).collect());
    lines.into_iter().flat_map(|cells| [cells.join(&b','), vec![b'\n']].concat()).collect()
}

fn json(table: &Table, row: &Row, first: bool) -> String {
    let names = table.columns.iter().map(|column| column.name.as_str());
    let fields: Vec<String> = names
        .zip(row)
        .map(|(name, value)| {
            let text = match value {
                Value::Real(number) if number.is_finite() => serde_json::Value::from(*number).to_string(),
                other => serde_json::to_string(other).expect("BUG: a value is plain"),
            };
            format!("{}: {text}", serde_json::Value::from(name))
        })
        .collect();
    format!("{}{{{}}}", if first { "[\n" } else { ",\n" }, fields.join(", "))
}

/// A text of SQLite's SQL. The shell of SQLite drops a carriage return at the end of a line, so none is written as itself.
fn text_literal(text: &str) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    if !text.contains('\r') {
        return quoted(text);
    }
    let marks = std::iter::once("\\r".to_owned()).chain((0..).map(|number: u64| format!("\\r{number}")));
    let mark = marks.into_iter().find(|mark| !text.contains(mark.as_str())).expect("BUG: numbers do not end");
    format!("replace({}, '{mark}', char(13))", quoted(&text.replace('\r', &mark)))
}

fn sql(table: &Table, row: &Row) -> String {
    let literal = |value: &Value| match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) if number.is_infinite() => if *number > 0.0 { "9e999" } else { "-9e999" }.to_owned(),
        Value::Real(number) => format!("{number:?}"),
        Value::Text(bytes) => match std::str::from_utf8(bytes) {
            Ok(text) if !text.contains('\0') => text_literal(text),
            _ => format!("CAST(x'{}' AS TEXT)", hex::encode(bytes)),
        },
        Value::Blob(bytes) => format!("x'{}'", hex::encode(bytes)),
    };
    // The number that a store gives its rows is none of theirs.
    let own = usize::from(table.numbered);
    let names: Vec<String> = table.columns[own..].iter().map(|column| quoted(&column.name)).collect();
    let values: Vec<String> = row[own..].iter().map(literal).collect();
    format!("INSERT INTO {} ({}) VALUES ({});\n", quoted(&table.name), names.join(", "), values.join(", "))
}
