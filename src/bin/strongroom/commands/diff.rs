mod document;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use strongroom::base::error::{Explain, one_line};
use strongroom::base::path::{self, EntryPath};
use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, shell_word};
use strongroom::engine::postgres::layout;
use strongroom::engine::sqlite::ask::AskError;
use strongroom::engine::sqlite::rows::{self as rows_of, Row, RowChange, Value};
use strongroom::format::manifest::{Manifest, SourceRecord};
use strongroom::ops::backup::is_its_own;
use strongroom::ops::databases::Place;
use strongroom::ops::diff::{self, Change, Difference};
use strongroom::ops::error::{OpError, Problem};
use strongroom::ops::places::Places;
use strongroom::ops::rows;
use strongroom::source::Source;
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::source::postgres::{PostgresSource, reach};
use strongroom::source::sqlite::SqliteSource;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::changes::{Counts, line};
use crate::commands::diff::document::Document;
use crate::commands::places::{PlaceArgs, confirmed};
use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Lines, Table, Tone, paint};

/// Show what changed between two snapshots, or between one and what is there now
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom diff latest~1 latest\n  strongroom diff @yesterday live\n  \
    strongroom diff latest live --table projects\n  \
    strongroom --json diff latest~1 latest \\\n      | jq -r '.changes[] | select(.change == \"removed\").path'")]
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
    /// Read every file that is there now, whatever looks unchanged: finds what a disk has changed
    #[arg(long)]
    rescan: bool,
    #[command(flatten)]
    places: PlaceArgs,
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
    let select = |selector: &Selector| Ok::<_, Failure>(context.select(&vault, selector, &filter)?.manifest);
    let (before, after) = (select(&args.before)?, after.as_ref().map(select).transpose()?);
    let (summary, table, rescan) = (args.summary, args.table.as_deref(), args.rescan);
    // A table that is nowhere has no row that differs, and that is no answer. One that is new in live data is found below.
    let nowhere = |table: &str| {
        let databases: Vec<String> = Place::all(&before).iter().map(Place::label).collect();
        Failure::from(Problem::NoHolder { snapshot: before.id.short(), table: table.to_owned(), databases })
    };
    let sides: Vec<&Manifest> = std::iter::once(&before).chain(&after).collect();
    let is_there = |name: &str| rows::is_there(&vault, &sides, only.as_deref(), name, &context.control);
    let unknown = match table {
        Some(name) if !is_there(name)? => Some(name),
        _ => None,
    };
    if let Some(name) = unknown.filter(|_| after.is_some()) {
        return Err(nowhere(name));
    }
    let mut tables_told = 0;
    let told = Told { context, summary, all: table.is_some() };
    let mut output = Output { context, summary, changes: Vec::new(), skipped: 0 };
    let root = EntryPath::root();
    let mut configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let mut places = args.places.places(&vault, &[&before])?;
    let mut document = Document::new(context, before.id);
    for source in before.sources.iter().filter(|source| only.as_ref().is_none_or(|name| source.name.as_str() == name)) {
        if let Some(why) = absent(&before, after.as_ref(), source) {
            output.not_compared(source.name.as_str(), &why);
            continue;
        }
        let (mut counts, mut changed, mut tables_changed) = (Counts::default(), Vec::new(), 0);
        let mut each = |difference: Difference| {
            if is_of_rows(source, &difference) {
                // What is in them is told by tables and rows.
                if holds_rows(&difference) && !changed.contains(&EntryPath::root()) {
                    changed.push(EntryPath::root());
                }
                return Ok(());
            }
            counts.add(difference.change);
            output.tell(source, &difference);
            let is_database = source.databases.iter().any(|database| database.path == difference.path);
            if is_database && difference.change == Change::Content {
                changed.push(difference.path);
            }
            Ok(())
        };
        let later = after.as_ref().map(|after| Ok((after, diff::source(after, source.name.as_str())?)));
        let later = later.transpose().map_err(|error: strongroom::ops::error::OpError| error)?;
        let mut place = String::new();
        match later {
            Some((_, later)) => diff::snapshots(&vault, source, later, &mut each)?,
            None => {
                let is_named = places.names(&source.name);
                let own = configured.iter().position(|planned| planned.name == source.name && !is_named);
                let live = match own {
                    Some(at) => configured.swap_remove(at).source,
                    None => confirmed(&mut places, context, |places| captured_source(places, &before, source))?,
                };
                place = live.root();
                let mut gathered = Gathered::new(&told, source, &root, &mut document);
                let mut take = |name: &str, row: Row| gathered.take(name, row);
                let mut server = match source.kind.as_str() {
                    "postgres" => Some(rows::ServerRows::new(&vault, &before, source, table, &mut take)?),
                    _ => None,
                };
                let sides = (&before, source);
                let how = (rescan, &context.control);
                let compared = diff::live(&vault, sides, &*live, how, &mut each, server.as_mut());
                let skipped = match compared {
                    // What is gone or cannot be reached keeps nobody from comparing the rest.
                    Err(OpError::Source(error)) if is_its_own(&error) => {
                        output.not_compared(source.name.as_str(), &one_line(&error));
                        output.hint(&before, source, error.hint().filter(|_| !error.is_absence()));
                        continue;
                    }
                    compared => compared?,
                };
                if let Some(server) = server {
                    let tables = server.finish();
                    tables_changed = tables.len();
                    tables_told += tables.len();
                    if !tables.is_empty() || changed.pop().is_some() {
                        gathered.tell(&tables);
                    }
                    changed.clear();
                }
                for skip in &skipped {
                    context.warn(&format!("not compared: {}/{}: {}", source.name, skip.path, skip.reason));
                }
                output.skipped += skipped.len();
            }
        }
        for path in &changed {
            let control = context.control.clone();
            let request = rows::Request { before: &before, source, path, after: later, root: &place, table, control };
            match rows(&vault, &request, Gathered::new(&told, source, path, &mut document)) {
                // Something else stands where it was, or SQLite cannot have both: that costs only these rows.
                Err(OpError::Ask(error @ (AskError::NoLive { .. } | AskError::Encodings { .. }))) => {
                    context.warn(&format!("rows not compared: {}/{path}: {}", source.name, one_line(&error)));
                    output.hint(&before, source, error.hint());
                    output.skipped += 1;
                }
                tables => {
                    let tables = tables?;
                    tables_told += tables;
                    tables_changed += if source.kind == "postgres" { tables } else { 0 };
                }
            }
        }
        let words = match (tables_changed as u64, counts.none()) {
            (0, _) => counts.words(),
            (tables, true) => format!("{} changed", counted(tables, "table")),
            (tables, false) => format!("{} changed   {}", counted(tables, "table"), counts.words()),
        };
        context.print(&format!("{}: {words}\n", source.name));
    }
    if let Some(name) = unknown.filter(|_| tables_told == 0 && output.skipped == 0) {
        return Err(nowhere(name));
    }
    if context.json() {
        document.finish(&output.changes);
    }
    Ok(if output.skipped == 0 { Ending::Done } else { Ending::Incomplete })
}

/// Why a source cannot be compared: one of the snapshots has nothing of it, though there was something.
fn absent(before: &Manifest, after: Option<&Manifest>, source: &SourceRecord) -> Option<String> {
    let of = |manifest: &Manifest, source: &SourceRecord| {
        let why = manifest.absence(source).filter(|_| source.failed.is_some() || source.skipped_count > 0)?;
        Some(format!("it {why} (snapshot {})", manifest.id.short()))
    };
    let later = after.and_then(|after| Some((after, after.sources.iter().find(|later| later.name == source.name)?)));
    of(before, source).or_else(|| later.and_then(|(after, later)| of(after, later)))
}

/// Is it one of the files that hold the rows of a captured PostgreSQL database, or that say which rows those are?
fn is_of_rows(source: &SourceRecord, difference: &Difference) -> bool {
    let path = difference.path.as_bytes();
    let below = |folder: &str| path == folder.as_bytes() || path.starts_with(format!("{folder}/").as_bytes());
    source.kind == "postgres" && (below(layout::DATA) || path == layout::TABLES.as_bytes())
}

/// Does it hold rows?
fn holds_rows(difference: &Difference) -> bool {
    difference.change != Change::Metadata && difference.path.as_bytes().ends_with(b".copy")
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

/// What is at the place that the snapshot was made of, for sources that the configuration does not name.
fn captured_source(places: &Places, manifest: &Manifest, record: &SourceRecord) -> Result<Box<dyn Source>, OpError> {
    let bytes = path::decode(&places.root(manifest, record, &[])?).unwrap_or_default();
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
    let source = FilesSource::new(FilesOptions { path, ..FilesOptions::default() });
    Ok(Box::new(source.map_err(|error| Problem::Content(Box::new(error)))?))
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
    fn not_compared(&mut self, source: &str, why: &str) {
        self.context.warn(&format!("not compared: {source}: {why}"));
        self.skipped += 1;
    }

    /// The way out where live data could not be compared; to have it as it was, where nothing better is known.
    fn hint(&self, before: &Manifest, source: &SourceRecord, hint: Option<String>) {
        let (id, name) = (before.id.short(), shell_word(source.name.as_str()));
        let hint = hint.unwrap_or_else(|| format!("give it back with strongroom restore {id} {name} --in-place"));
        let mut lines = Lines::new();
        lines.push_command(&format!("hint: {hint}"));
        self.context.warn(&lines);
    }

    fn tell(&mut self, source: &SourceRecord, difference: &Difference) {
        if self.context.json() {
            let mut document = serde_json::to_value(difference).expect("BUG: plain fields");
            document["source"] = source.name.as_str().into();
            self.changes.push(document);
        } else if !self.summary {
            self.context.print(&line(source.name.as_str(), difference));
        }
    }
}

/// Tells which rows of a database differ, and says of how many tables.
fn rows(vault: &UnlockedVault, request: &rows::Request<'_>, mut gathered: Gathered<'_, '_>) -> Result<usize, OpError> {
    let mut each = |name: &str, row: Row| {
        gathered.take(name, row);
        Ok(())
    };
    let tables = rows::differences(vault, request, &mut each)?.tables;
    gathered.tell(&tables);
    Ok(tables.len())
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
