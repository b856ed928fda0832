mod document;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use strongroom::base::path::{self, EntryPath};
use strongroom::base::selector::Selector;
use strongroom::base::text::{count, size};
use strongroom::engine::sqlite::ask::AskError;
use strongroom::engine::sqlite::rows::{self as rows_of, Row, RowChange, Value};
use strongroom::format::manifest::SourceRecord;
use strongroom::ops::diff::{self, Change, Difference};
use strongroom::ops::error::{OpError, Problem};
use strongroom::ops::rows;
use strongroom::source::Source;
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::source::postgres::{PostgresSource, reach};
use strongroom::source::sqlite::SqliteSource;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::diff::document::Document;
use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Table, Tone, paint};

/// Show what changed between two snapshots, or between one and what is there now
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom diff latest~1 latest\n  strongroom diff @yesterday live\n  \
    strongroom diff latest live --table projects\n  \
    strongroom --json diff latest~1 latest | jq -r '.changes[] | select(.change == \"removed\").path'")]
pub struct Args {
    /// The earlier snapshot
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    before: Selector,
    /// The later one, or `live` for what is there now
    #[arg(value_name = "SNAPSHOT|live", default_value = "live")]
    after: String,
    /// Only how many of each
    #[arg(long)]
    summary: bool,
    /// Every row of this table that differs, in the databases that changed
    #[arg(long, value_name = "TABLE", conflicts_with = "summary")]
    table: Option<String>,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let after = match args.after.as_str() {
        "live" => None,
        text => Some(text.parse::<Selector>()?),
    };
    let vault = context.unlocked()?;
    let only = args.filter.source.clone();
    let filter = args.filter.filter();
    let before = context.manifest(&vault, &args.before, &filter)?;
    let after = after.map(|selector| context.manifest(&vault, &selector, &filter)).transpose()?;
    let (summary, table) = (args.summary, args.table.as_deref());
    let told = Told { context, summary, all: table.is_some() };
    let mut output = Output { context, summary, changes: Vec::new(), skipped: 0 };
    let root = EntryPath::root();
    let mut document = Document::new(context, before.id);
    for source in before.sources.iter().filter(|source| only.as_ref().is_none_or(|name| source.name.as_str() == name)) {
        let (mut counts, mut changed) = (Counts::default(), Vec::new());
        let mut each = |difference: Difference| {
            counts.add(difference.change);
            output.tell(source, &difference);
            let is_database = source.databases.iter().any(|database| database.path == difference.path);
            if is_database && difference.change == Change::Content {
                changed.push(difference.path);
            } else if holds_rows(source, &difference) && !changed.contains(&EntryPath::root()) {
                changed.push(EntryPath::root());
            }
            Ok(())
        };
        let later = after.as_ref().map(|after| Ok((after, diff::source(after, source.name.as_str())?)));
        let later = later.transpose().map_err(|error: strongroom::ops::error::OpError| error)?;
        match later {
            Some((_, later)) => diff::snapshots(&vault, source, later, &mut each)?,
            None => {
                let live = live_source(context, source)?;
                let mut gathered = Gathered::new(&told, source, &root, &mut document);
                let mut take = |name: &str, row: Row| gathered.take(name, row);
                let mut server = match source.kind.as_str() {
                    "postgres" => Some(rows::ServerRows::new(&vault, &before, source, table, &mut take)?),
                    _ => None,
                };
                let sides = (&before, source);
                let skipped = diff::live(&vault, sides, &*live, &context.control, &mut each, server.as_mut())?;
                if let Some(server) = server {
                    let tables = server.finish();
                    if !tables.is_empty() || changed.pop().is_some() {
                        gathered.tell(&tables);
                    }
                    changed.clear();
                }
                for skip in &skipped {
                    context.say(&format!("not compared: {}/{}: {}", source.name, skip.path, skip.reason));
                }
                output.skipped += skipped.len();
            }
        }
        for path in &changed {
            let control = context.control.clone();
            let request = rows::Request { before: &before, source, path, after: later, table, control };
            match rows(&vault, &request, Gathered::new(&told, source, path, &mut document)) {
                // Something else stands where it was, or SQLite cannot have both: that costs only these rows.
                Err(OpError::Ask(error @ (AskError::NoLive { .. } | AskError::Encodings { .. }))) => {
                    context.say(&format!("rows not compared: {}/{path}: {error}", source.name));
                    output.skipped += 1;
                }
                result => result?,
            }
        }
        context.print(&format!("{}: {}\n", source.name, counts.words()));
    }
    if context.json() {
        document.finish(&output.changes);
    }
    Ok(if output.skipped == 0 { Ending::Done } else { Ending::Incomplete })
}

/// Is it a file of rows of a captured PostgreSQL database?
fn holds_rows(source: &SourceRecord, difference: &Difference) -> bool {
    source.kind == "postgres"
        && difference.change != Change::Metadata
        && difference.path.as_bytes().starts_with(b"data/")
        && difference.path.as_bytes().ends_with(b".copy")
}

/// How much is told of rows, and where.
struct Told<'c> {
    context: &'c Context,
    summary: bool,
    /// All of one table's are.
    all: bool,
}

/// Rows of a database that differ, as many of them as are told; or told at once, where all of a table's are asked for.
struct Gathered<'g, 'c> {
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
    fn new(output: &Told<'c>, source: &'g SourceRecord, path: &'g EntryPath, document: &'g mut Document<'c>) -> Self {
        let Told { context, summary, all } = *output;
        Self { context, all, summary, source, path, document, named: BTreeMap::new() }
    }

    fn take(&mut self, name: &str, row: Row) {
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

    fn of(&self, table: &rows_of::Table) -> Option<&Vec<Row>> {
        self.named.get(&table.name).filter(|_| !self.summary)
    }

    /// Tells what was found of the database.
    fn tell(self, tables: &[rows_of::Table]) {
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

/// The configuration's source of that name; otherwise the place the snapshot was made of.
fn live_source(context: &Context, record: &SourceRecord) -> Result<Box<dyn Source>, Failure> {
    if let Some(planned) = context.config()?.and_then(|c| c.sources.into_iter().find(|s| s.name == record.name)) {
        return Ok(planned.source);
    }
    let bytes = path::decode(&record.root).unwrap_or_default();
    let path = PathBuf::from(OsStr::from_bytes(&bytes));
    if record.kind == "sqlite" {
        return Ok(Box::new(SqliteSource::again(path, record.databases.iter().map(|database| &database.path))));
    }
    if record.kind == "postgres"
        && let Some(reached) = String::from_utf8(bytes).ok().and_then(|url| reach(&url).ok())
    {
        return Ok(Box::new(PostgresSource::all(reached)));
    }
    if record.kind != "files" {
        let (source_name, kind) = (record.name.to_string(), record.kind.clone());
        return Err(Problem::Kind { source_name, kind, verb: "compare" }.into());
    }
    Ok(Box::new(FilesSource::new(FilesOptions { path, ..FilesOptions::default() })?))
}

#[derive(Default)]
struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    metadata: u64,
}

impl Counts {
    fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        } += 1;
    }

    fn words(&self) -> String {
        let all = [
            (self.removed, "removed"),
            (self.added, "added"),
            (self.content, "changed"),
            (self.metadata, "with other metadata"),
        ];
        let some: Vec<String> =
            all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))).collect();
        if some.is_empty() { "no change".to_owned() } else { some.join("   ") }
    }
}

struct Output<'c> {
    context: &'c Context,
    summary: bool,
    /// With `--json`: they come after the rows.
    changes: Vec<serde_json::Value>,
    skipped: usize,
}

/// So many rows of a table are named in a document; all are counted. Every one is with `--table`.
const ROWS_NAMED: usize = 1000;
/// … and in a line.
const KEYS_SHOWN: usize = 5;

impl Output<'_> {
    fn tell(&mut self, source: &SourceRecord, difference: &Difference) {
        if self.context.json() {
            let mut document = serde_json::to_value(difference).expect("BUG: plain fields");
            document["source"] = source.name.as_str().into();
            self.changes.push(document);
        } else if !self.summary {
            self.context.print(&line(source, difference));
        }
    }
}

/// Tells which rows of a database differ.
fn rows(vault: &UnlockedVault, request: &rows::Request<'_>, mut gathered: Gathered<'_, '_>) -> Result<(), OpError> {
    let mut each = |name: &str, row: Row| {
        gathered.take(name, row);
        Ok(())
    };
    let tables = rows::differences(vault, request, &mut each)?.tables;
    gathered.tell(&tables);
    Ok(())
}

fn line(source: &SourceRecord, difference: &Difference) -> String {
    let (sign, tone) = match difference.change {
        Change::Added => ("+", Some(Tone::Safe)),
        Change::Removed => ("-", Some(Tone::Lost)),
        Change::Content => ("M", Some(Tone::Look)),
        Change::Metadata => ("m", None),
    };
    let sign = tone.map_or(sign.to_owned(), |tone| paint(tone, sign));
    let sizes = match (difference.size_before, difference.size_after) {
        (Some(before), Some(after)) if before != after => format!("  {} -> {}", size(before), size(after)),
        _ => String::new(),
    };
    format!("  {sign} {}/{}{sizes}\n", source.name, difference.path)
}

fn counted_rows(table: &rows_of::Table) -> String {
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
fn keys(table: &rows_of::Table, rows: Option<&Vec<Row>>) -> String {
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

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_owned(),
        Value::Integer(number) => number.to_string(),
        Value::Real(number) => number.to_string(),
        // What could steer a terminal does not reach it.
        Value::Text(text) => path::encode(text.as_bytes()),
        Value::Blob(bytes) => format!("x'{}'", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>()),
    }
}
