//! A comparison, source by source.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use serde_json::json;
use strongroom::base::error::{Explain, one_line};
use strongroom::base::path::{self, EntryPath};
use strongroom::base::text::{counted, shell_word};
use strongroom::engine::postgres::layout;
use strongroom::engine::sqlite::ask::AskError;
use strongroom::engine::sqlite::rows::Row;
use strongroom::format::manifest::{Manifest, SourceRecord};
use strongroom::ops::backup::{Planned, is_its_own};
use strongroom::ops::diff::{self, Change, Difference};
use strongroom::ops::error::{OpError, Problem};
use strongroom::ops::places::Places;
use strongroom::ops::rows::{Request, ServerRows};
use strongroom::source::Source;
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::source::postgres::{PostgresSource, reach};
use strongroom::source::sqlite::SqliteSource;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::changes::{Counts, line};
use crate::commands::diff::document::Document;
use crate::commands::diff::rows::{Gathered, Told, differing};
use crate::commands::places::confirmed;
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::Lines;

/// The two that are compared.
#[derive(Clone, Copy)]
pub struct Sides<'s> {
    pub before: &'s Manifest,
    /// Nothing for what is there now.
    pub after: Option<&'s Manifest>,
}

/// What of them is compared.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    pub source: Option<&'a str>,
    pub table: Option<&'a str>,
    pub summary: bool,
    pub rescan: bool,
}

/// Where there is live data.
pub struct Homes {
    pub places: Places,
    pub configured: Vec<Planned>,
}

pub struct Comparison<'c> {
    vault: &'c UnlockedVault,
    sides: Sides<'c>,
    asked: Asked<'c>,
    homes: Homes,
    told: Told<'c>,
    output: Output<'c>,
    document: Document<'c>,
    /// Of how many tables something was told.
    tables: usize,
}

/// What was found of one source.
struct Seen<'s> {
    source: &'s SourceRecord,
    counts: Counts,
    /// Databases whose rows are still to be compared.
    changed: Vec<EntryPath>,
    /// How many tables of a server differ.
    tables: usize,
}

impl<'s> Seen<'s> {
    fn new(source: &'s SourceRecord) -> Self {
        Self { source, counts: Counts::default(), changed: Vec::new(), tables: 0 }
    }

    fn take(&mut self, difference: Difference, output: &mut Output<'_>) {
        if is_of_rows(self.source, &difference) {
            // What is in them is told by tables and rows.
            if holds_rows(&difference) && !self.changed.contains(&EntryPath::root()) {
                self.changed.push(EntryPath::root());
            }
            return;
        }
        self.counts.add(difference.change);
        output.tell(self.source, &difference);
        let is_database = self.source.databases.iter().any(|database| database.path == difference.path);
        if is_database && difference.change == Change::Content {
            self.changed.push(difference.path);
        }
    }

    fn words(&self) -> String {
        match (self.tables as u64, self.counts.none()) {
            (0, _) => self.counts.words(),
            (tables, true) => format!("{} changed", counted(tables, "table")),
            (tables, false) => format!("{} changed   {}", counted(tables, "table"), self.counts.words()),
        }
    }
}

impl<'c> Comparison<'c> {
    pub fn new(
        vault: &'c UnlockedVault,
        (sides, asked): (Sides<'c>, Asked<'c>),
        homes: Homes,
        context: &'c Context,
    ) -> Self {
        let told = Told { context, summary: asked.summary, all: asked.table.is_some() };
        let output = Output { context, summary: asked.summary, changes: Vec::new(), skipped: 0, alone: Vec::new() };
        let document = Document::new(context, sides.before.id);
        Self { vault, sides, asked, homes, told, output, document, tables: 0 }
    }

    /// Compares the sources and tells what differs. Was all of it compared, and nothing of tables told?
    pub fn sources(&mut self) -> Result<bool, Failure> {
        let Sides { before, after } = self.sides;
        let only = self.asked.source;
        let meant = move |source: &&SourceRecord| only.is_none_or(|name| source.name.as_str() == name);
        for source in before.sources.iter().filter(meant) {
            self.source(source)?;
        }
        let is_new = |source: &&SourceRecord| !before.sources.iter().any(|known| known.name == source.name);
        for source in after.iter().flat_map(|after| &after.sources).filter(meant).filter(is_new) {
            self.output.only_in(source, after.unwrap_or(before));
        }
        Ok(self.tables == 0 && self.output.skipped == 0)
    }

    /// Tells the rest.
    pub fn finish(self) -> Ending {
        if self.told.context.json() {
            self.document.finish(&self.output.changes, &self.output.alone);
        }
        if self.output.skipped == 0 { Ending::Done } else { Ending::Incomplete }
    }

    fn source(&mut self, source: &'c SourceRecord) -> Result<(), Failure> {
        let Sides { before, after } = self.sides;
        if let Some(why) = absent(before, after, source) {
            self.output.not_compared(source.name.as_str(), &why);
            return Ok(());
        }
        let mut seen = Seen::new(source);
        match after {
            Some(after) => {
                let Some(later) = after.sources.iter().find(|later| later.name == source.name) else {
                    self.output.only_in(source, before);
                    return Ok(());
                };
                let mut each = |difference| {
                    seen.take(difference, &mut self.output);
                    Ok(())
                };
                diff::snapshots(self.vault, source, later, &mut each)?;
                self.databases(&mut seen, Some((after, later)), "")?;
            }
            None => {
                // Nothing beside nothing is no change, and not what anybody hopes to hear.
                if let Some(why) = before.emptied(source) {
                    self.told.context.alarm(&format!("warning: {} {why}", source.name));
                }
                let Some(root) = self.live(&mut seen)? else { return Ok(()) };
                self.databases(&mut seen, None, &root)?;
            }
        }
        self.told.context.print(&format!("{}: {}\n", source.name, seen.words()));
        Ok(())
    }

    /// Compares a source with what is there now, and returns where that is; nothing where it could not be looked at.
    fn live(&mut self, seen: &mut Seen<'c>) -> Result<Option<String>, Failure> {
        let (source, before, context) = (seen.source, self.sides.before, self.told.context);
        let live = self.homes.live(before, source, context)?;
        let root = EntryPath::root();
        let mut gathered = Gathered::new(&self.told, source, &root, &mut self.document);
        let mut take = |name: &str, row: Row| gathered.take(name, row);
        let mut server = match source.kind.as_str() {
            "postgres" => Some(ServerRows::new(self.vault, before, source, self.asked.table, &mut take)?),
            _ => None,
        };
        let how = (self.asked.rescan, &context.control);
        let mut each = |difference| {
            seen.take(difference, &mut self.output);
            Ok(())
        };
        let compared = diff::live(self.vault, (before, source), &*live, how, &mut each, server.as_mut());
        let skipped = match compared {
            // What is gone or cannot be reached keeps nobody from comparing the rest.
            Err(OpError::Source(error)) if is_its_own(&error) => {
                self.output.not_compared(source.name.as_str(), &one_line(&error));
                self.output.hint(before, source, error.hint().filter(|_| !error.is_absence()));
                return Ok(None);
            }
            compared => compared?,
        };
        if let Some(server) = server {
            let tables = server.finish();
            seen.tables = tables.len();
            self.tables += tables.len();
            if !tables.is_empty() || seen.changed.pop().is_some() {
                gathered.tell(&tables);
            }
            seen.changed.clear();
        }
        for skip in &skipped {
            self.output.not_compared(&format!("{}/{}", source.name, skip.path), &skip.reason);
        }
        Ok(Some(live.root()))
    }

    /// Compares the rows of databases that changed. `live` is where the source lives, if there is no later snapshot.
    fn databases(
        &mut self,
        seen: &mut Seen<'c>,
        after: Option<(&Manifest, &SourceRecord)>,
        live: &str,
    ) -> Result<(), Failure> {
        let (source, before, table) = (seen.source, self.sides.before, self.asked.table);
        for path in &seen.changed {
            let control = self.told.context.control.clone();
            let request = Request { before, source, path, after, root: live, table, control };
            match differing(self.vault, &request, Gathered::new(&self.told, source, path, &mut self.document)) {
                // Something else stands where it was, one of them is damaged, or SQLite cannot have both: that costs only
                // these rows.
                Err(OpError::Ask(
                    error @ (AskError::NoLive { .. } | AskError::Encodings { .. } | AskError::Unsound { .. }),
                )) => {
                    self.output.rows_not_compared(&format!("{}/{path}", source.name), &one_line(&error));
                    self.output.hint(before, source, error.hint());
                }
                tables => {
                    let tables = tables?;
                    self.tables += tables;
                    seen.tables += if source.kind == "postgres" { tables } else { 0 };
                }
            }
        }
        Ok(())
    }
}

impl Homes {
    /// What is there now of a source: where a person or the configuration says, or where it was captured.
    fn live(
        &mut self,
        before: &Manifest,
        source: &SourceRecord,
        context: &Context,
    ) -> Result<Box<dyn Source>, Failure> {
        let is_named = self.places.names(&source.name);
        match self.configured.iter().position(|planned| planned.name == source.name && !is_named) {
            Some(at) => Ok(self.configured.swap_remove(at).source),
            None => confirmed(&mut self.places, context, |places| captured_source(places, before, source)),
        }
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

struct Output<'c> {
    context: &'c Context,
    summary: bool,
    /// With `--json`: they come after the rows.
    changes: Vec<serde_json::Value>,
    skipped: usize,
    /// Sources that one of the snapshots knows nothing of.
    alone: Vec<serde_json::Value>,
}

impl Output<'_> {
    fn not_compared(&mut self, source: &str, why: &str) {
        self.context.warn(&format!("not compared: {source}: {why}"));
        self.skipped += 1;
    }

    fn rows_not_compared(&mut self, database: &str, why: &str) {
        self.context.warn(&format!("rows not compared: {database}: {why}"));
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

    /// One of the two snapshots has a source that the other does not know of.
    fn only_in(&mut self, source: &SourceRecord, snapshot: &Manifest) {
        self.context.print(&format!("{}: only in snapshot {}\n", source.name, snapshot.id.short()));
        self.alone.push(json!({ "source": source.name, "snapshot": snapshot.id }));
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
