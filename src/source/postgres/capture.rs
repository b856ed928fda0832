//! One capture of a database, from the first lock to the last line.
//!
//! Owns the order: the moment, rows while the definitions are written beside them, large objects, then what must be
//! read last.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use crossbeam_channel::{Sender, unbounded};

use crate::base::capture::{Access, Capture, Cutter, EntrySink, Skip};
use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::postgres::catalog::{self, Relation};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::copy_out::{self, Part};
use crate::engine::postgres::facts;
use crate::engine::postgres::layout::{self, Table};
use crate::engine::postgres::moment::Moment;
use crate::source::SourceError;
use crate::source::postgres::PostgresSource;
use crate::source::postgres::definitions::{Definitions, Tools};
use crate::source::postgres::entries::Entries;
use crate::source::postgres::rows::{Parts, RowsOf};
use crate::source::postgres::texts::Cut;

/// What a capture has come to.
pub(super) struct Course<'s> {
    pub source: &'s PostgresSource,
    pub cutter: Arc<dyn Cutter>,
    pub control: Arc<Control>,
    pub entries: Entries<'s>,
    /// The tables whose rows are there.
    pub tables: Vec<Table>,
}

pub(super) fn run(source: &PostgresSource, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
    let Capture { cutter, recall, control, .. } = capture;
    if control.stopped() {
        return Err(SourceError::Interrupted);
    }
    let begun = Instant::now();
    let mut moment = Moment::begin(&source.connection, &|name| source.selection.has_schema(&name.schema), &control)?;
    let facts = facts::read(&mut moment.session)?;
    let encoding = if facts.get("encoding").is_some_and(|name| name == "SQL_ASCII") { "SQL_ASCII" } else { "UTF8" };
    let tools = Tools::find(source, &mut moment, encoding)?;
    let relations = relations(source, &mut moment, facts.contains_key("in recovery"), sink)?;
    let entries = Entries::new(sink, recall);
    let mut course = Course { source, cutter, control, entries, tables: Vec::new() };
    course.folder(".")?;
    course.folder(layout::DATA)?;
    let definitions = course.rows(&mut moment, &relations, tools, encoding)?;
    course.rest(&mut moment, &definitions, encoding)?;
    course.note(&mut moment, facts, begun)
}

/// The tables whose rows are captured, in the order of their files.
fn relations(
    source: &PostgresSource,
    moment: &mut Moment,
    is_standby: bool,
    sink: &mut dyn EntrySink,
) -> Result<Vec<Relation>, SourceError> {
    let mut found: Vec<(EntryPath, Relation)> = Vec::new();
    for relation in catalog::relations(&mut moment.session)? {
        if !source.selection.has_rows(&relation.name) {
            continue;
        }
        let path = relation.name.rows_path();
        if is_standby && relation.unlogged {
            sink.skip(Skip { path, reason: "is unlogged: a standby has none of its rows".to_owned() });
            continue;
        }
        found.push((entry_path(&path), relation));
    }
    found.sort_by(|(one, _), (other, _)| one.cmp(other));
    Ok(found.into_iter().map(|(_, relation)| relation).collect())
}

pub(super) fn entry_path(path: &str) -> EntryPath {
    EntryPath::from_bytes(path.as_bytes()).expect("BUG: names are written so that they are paths")
}

impl Course<'_> {
    pub fn folder(&mut self, path: &str) -> Result<(), SourceError> {
        self.entries.folder(&entry_path(path))
    }

    /// A file of what comes block by block.
    pub fn file(
        &mut self,
        path: &str,
        blocks: impl Iterator<Item = Result<Vec<u8>, Explained>>,
    ) -> Result<u64, SourceError> {
        let mut pieces = Cut::new(&*self.cutter, blocks);
        let content = self.entries.sink.content(&mut pieces, Access::Whole).map_err(SourceError::Sink)?;
        let length = pieces.length;
        self.entries.file(&entry_path(path), length, content)?;
        self.control.items.add(1);
        Ok(length)
    }

    /// Every table, read by several connections while the definitions are written.
    fn rows(
        &mut self,
        moment: &mut Moment,
        relations: &[Relation],
        tools: Tools,
        encoding: &'static str,
    ) -> Result<Definitions, SourceError> {
        let sessions = self.sessions(moment, relations)?;
        let buffers = copy_out::buffers(sessions.len() + 1);
        let halt = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let definitions = scope.spawn(|| tools.run(&halt));
            let (jobs, parts) = unbounded();
            let ahead = sessions.len() + 1;
            for mut session in sessions {
                let (parts, buffers) = (parts.clone(), &buffers);
                let work = move || copy_out::work(&mut session, &parts, buffers);
                let started = std::thread::Builder::new().name("copy".to_owned()).spawn_scoped(scope, work);
                started.map_err(SourceError::Threads)?;
            }
            drop(parts);
            let told = self.each_table(relations, &mut moment.session, jobs, ahead, encoding, &halt);
            match definitions.join() {
                // Where both failed, the rows were given up because of the definitions.
                Ok(Err(error)) => Err(error.into()),
                Ok(Ok(definitions)) => told.map(|()| definitions),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// Connections that see the moment: as many as are wanted, or as the server has to spare.
    fn sessions(&self, moment: &Moment, relations: &[Relation]) -> Result<Vec<Session>, SourceError> {
        let names: Vec<String> = relations.iter().map(|relation| format!("ONLY {}", relation.name.quoted())).collect();
        let mut sessions = vec![moment.join(&names, &self.control)?];
        while sessions.len() < self.source.workers {
            match moment.join(&names, &self.control) {
                Ok(session) => sessions.push(session),
                Err(error) if error.is_crowded() => break,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(sessions)
    }

    fn each_table(
        &mut self,
        relations: &[Relation],
        session: &mut Session,
        jobs: Sender<Part>,
        ahead: usize,
        encoding: &'static str,
        halt: &AtomicBool,
    ) -> Result<(), SourceError> {
        let control = self.control.clone();
        let mut parts = Parts::new(relations, session, encoding, jobs, ahead);
        let mut schema = None;
        for (number, relation) in relations.iter().enumerate() {
            let path = entry_path(&relation.name.rows_path());
            let notes = entry_path(&relation.name.segments_path());
            let folder = path.parent().expect("BUG: it lies in a folder");
            if schema.as_ref() != Some(&folder) {
                self.entries.folder(&folder)?;
                schema = Some(folder);
            }
            let mut rows = RowsOf::new(&mut parts, number, self.cutter.salt(), &control, halt);
            let kept = self.entries.sink.rows(&path, &notes, &mut rows);
            let (content, notes_content) = kept.map_err(SourceError::Sink)?;
            let counted = rows.counted();
            self.entries.file(&path, counted.bytes, content)?;
            self.entries.later(notes, counted.notes, notes_content);
            self.tables.push(relation.line(counted.rows, counted.bytes));
            control.items.add(1);
        }
        Ok(())
    }
}
