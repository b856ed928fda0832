//! One capture of a database, from the first lock to the last line.
//!
//! Owns the order: the moment, rows while the definitions are written beside them, large objects, then what must be
//! read last.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded, unbounded};

use crate::base::capture::{Access, Capture, Cutter, EntrySink, Skip};
use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::postgres::catalog::{self, Lockable, Relation};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::copy_out;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::facts;
use crate::engine::postgres::layout::{self, Qualified, Shape, Table};
use crate::engine::postgres::moment::Moment;
use crate::engine::postgres::records::schema;
use crate::engine::postgres::turn::Patience;
use crate::source::SourceError;
use crate::source::postgres::PostgresSource;
use crate::source::postgres::definitions::{Definitions, Running, Tools};
use crate::source::postgres::entries::Entries;
use crate::source::postgres::rows::{Parts, RowsOf};
use crate::source::postgres::texts::Cut;

/// How long to wait before looking at whoever waits for this capture.
const GLANCE: Duration = Duration::from_millis(50);
/// Somebody who wants a table to himself, and keeps the rest of this capture out, waits so long for it at most: all others
/// who want the table wait behind him.
const HELD: Duration = Duration::from_millis(400);

/// What a capture has come to.
pub(super) struct Course<'s> {
    pub source: &'s PostgresSource,
    pub cutter: Arc<dyn Cutter>,
    pub control: Arc<Control>,
    /// What is asked for and is not there is told.
    check: bool,
    pub entries: Entries<'s>,
    /// The tables whose rows are there.
    pub tables: Vec<Table>,
    /// How all there are hang together.
    shapes: HashMap<Qualified, Shape>,
}

pub(super) fn run(source: &PostgresSource, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
    let Capture { cutter, recall, control, check, .. } = capture;
    let entries = Entries::new(sink, recall);
    let (tables, shapes) = (Vec::new(), HashMap::new());
    let mut course = Course { source, cutter, control, check, entries, tables, shapes };
    let patience = Patience::of(source.patience);
    loop {
        match course.attempt(&patience) {
            Err(SourceError::Postgres(error)) if error.is_locked() && !course.entries.has_begun() => {
                if patience.is_over() {
                    return Err(patience.lost(&error.to_string()).into());
                }
            }
            attempted => return attempted,
        }
    }
}

/// Stops what readers wait for.
struct Halted<'h>(&'h Control);

impl Drop for Halted<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

pub(super) fn entry_path(path: &str) -> EntryPath {
    EntryPath::from_bytes(path.as_bytes()).expect("BUG: names are written so that they are paths")
}

impl Course<'_> {
    fn attempt(&mut self, patience: &Patience) -> Result<(), SourceError> {
        if self.control.stopped() {
            return Err(SourceError::Interrupted);
        }
        let (begun, source) = (Instant::now(), self.source);
        let wanted = |table: &Lockable| source.selection.has_schema(&table.name.schema);
        let mut moment = Moment::begin(&source.connection, &wanted, patience, &self.control)?;
        self.control.reached("tables locked");
        let facts = facts::read(&mut moment.session)?;
        let ascii = facts.get("encoding").is_some_and(|name| name == "SQL_ASCII");
        let encoding = if ascii { "SQL_ASCII" } else { "UTF8" };
        let tools = Tools::find(source, &mut moment, encoding, self.cutter.salt())?;
        let described = schema::read(&moment.session)?.into_iter();
        self.shapes = described.map(|table| (table.name, table.shape)).collect();
        let idle = if self.check { self.idle(&mut moment)? } else { Vec::new() };
        let (relations, absent) = self.relations(&mut moment, facts.contains_key("in recovery"))?;
        let definitions = self.rows(&mut moment, &relations, tools, encoding)?;
        for path in absent {
            let reason = "is unlogged: a standby has none of its rows".to_owned();
            self.entries.sink.skip(Skip::new(path, reason));
        }
        idle.into_iter().for_each(|skip| self.entries.sink.skip(skip));
        self.rest(&mut moment, &definitions, encoding)?;
        self.note(&mut moment, facts, begun)
    }

    /// What the configuration asks for and the database has nothing of.
    fn idle(&self, moment: &mut Moment) -> Result<Vec<Skip>, SourceError> {
        let schemas = catalog::schemas(&mut moment.session)?;
        let found = catalog::relations(&mut moment.session, Some(&moment.locked))?;
        let tables: Vec<Qualified> = found.into_iter().map(|relation| relation.name).collect();
        let skip = |(key, pattern): (&str, &str)| Skip::new(key, format!("nothing in the database fits {pattern}"));
        Ok(self.source.selection.idle(&schemas, &tables).into_iter().map(skip).collect())
    }

    /// The tables whose rows are captured, in the order of their files, and the files of those that cannot be.
    fn relations(&self, moment: &mut Moment, is_standby: bool) -> Result<(Vec<Relation>, Vec<String>), SourceError> {
        let mut found = catalog::relations(&mut moment.session, Some(&moment.locked))?;
        found.retain(|relation| self.source.selection.has_rows(&relation.name));
        let (absent, mut there): (Vec<_>, Vec<_>) =
            found.into_iter().partition(|relation| is_standby && relation.unlogged);
        there.sort_by_cached_key(|relation| entry_path(&relation.name.rows_path()));
        Ok((there, absent.iter().map(|relation| relation.name.rows_path()).collect()))
    }

    pub fn folder(&mut self, path: &str) -> Result<(), SourceError> {
        self.entries.folder(&entry_path(path))
    }

    /// A file of what comes block by block.
    pub fn file(
        &mut self,
        path: &str,
        blocks: impl Iterator<Item = Result<Vec<u8>, Explained>>,
    ) -> Result<u64, SourceError> {
        self.entries.up_to(&entry_path(path))?;
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
        self.control.reached("connections joined");
        let buffers = copy_out::buffers(sessions.len() + 1);
        let halt = Arc::<Control>::default();
        let running = Running::default();
        let name = tools.name.clone();
        std::thread::scope(|scope| {
            // However this ends: nobody waits for a server that goes on sorting rows that nobody wants.
            let _halted = (Halted(&halt), Halted(&running.stop));
            let (done, written) = bounded(1);
            let running = &running;
            let definitions = scope.spawn(move || _ = done.send(tools.run(running)));
            let (jobs, asked) = unbounded();
            let ahead = sessions.len() + 1;
            for mut session in sessions {
                session.heed(halt.clone());
                let (asked, buffers) = (asked.clone(), &buffers);
                let work = move || copy_out::work(&mut session, &asked, buffers);
                let started = std::thread::Builder::new().name("copy".to_owned()).spawn_scoped(scope, work);
                started.map_err(SourceError::Threads)?;
            }
            drop(asked);
            let mut parts = Parts::new(relations, &mut moment.session, encoding, jobs, ahead);
            parts.ask()?;
            // Nothing is handed over before they are there: until then it can be begun anew.
            let watch = Watch { locked: &moment.locked, name: &name, running, control: &self.control };
            let written = watch.wait(parts.session(), &written)?;
            if let Err(panic) = definitions.join() {
                std::panic::resume_unwind(panic);
            }
            self.each_table(relations, &mut parts)?;
            Ok(written)
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

    fn each_table(&mut self, relations: &[Relation], parts: &mut Parts<'_>) -> Result<(), SourceError> {
        let control = self.control.clone();
        self.folder(".")?;
        self.folder(layout::DATA)?;
        let mut schema = None;
        for (number, relation) in relations.iter().enumerate() {
            let path = entry_path(&relation.name.rows_path());
            let notes = entry_path(&relation.name.segments_path());
            let folder = path.parent().expect("BUG: it lies in a folder");
            if schema.as_ref() != Some(&folder) {
                self.entries.folder(&folder)?;
                schema = Some(folder);
            }
            self.entries.up_to(&path)?;
            let shape = self.shapes.get(relation.known_as()).cloned();
            let line = serde_json::to_vec(&relation.line(shape.clone(), 0, 0)).expect("BUG: a line has plain fields");
            self.entries.sink.table(&line);
            let mut rows = RowsOf::new(parts, number, self.cutter.salt(), &control);
            let kept = self.entries.sink.rows(&path, &notes, &mut rows);
            let (content, notes_content) = kept.map_err(SourceError::Sink)?;
            let counted = rows.counted();
            self.entries.file(&path, counted.bytes, content)?;
            self.entries.later(notes, counted.notes, notes_content);
            self.tables.push(relation.line(shape, counted.rows, counted.bytes));
            control.items.add(1);
        }
        Ok(())
    }
}

/// Looks after the beginning of a capture, while definitions are written.
struct Watch<'w> {
    locked: &'w [u32],
    name: &'w str,
    running: &'w Running,
    control: &'w Control,
}

impl Watch<'_> {
    /// Waits for the definitions. Where somebody waits for this capture whom these wait for, or would, it ends: those two
    /// would wait for each other, and the server does not see it.
    fn wait(
        &self,
        session: &mut Session,
        written: &Receiver<Result<Definitions, PostgresError>>,
    ) -> Result<Definitions, SourceError> {
        let mut since = None;
        loop {
            match written.recv_timeout(GLANCE) {
                Ok(Err(error @ PostgresError::ToolFailed { .. }))
                    if since.is_some() || self.is_in_the_way(session)? =>
                {
                    return Err(PostgresError::Locked { reason: error.to_string() }.into());
                }
                Ok(written) => return Ok(written?),
                // It died: its panic is about to end the capture.
                Err(RecvTimeoutError::Disconnected) => return Err(SourceError::Interrupted),
                Err(RecvTimeoutError::Timeout) if self.control.stopped() => return Err(SourceError::Interrupted),
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.is_in_the_way(session)? {
                since = None;
            } else if since.get_or_insert_with(Instant::now).elapsed() >= HELD {
                let reason = "another session wants a table to itself".to_owned();
                return Err(PostgresError::Locked { reason }.into());
            }
        }
    }

    fn is_in_the_way(&self, session: &mut Session) -> Result<bool, PostgresError> {
        Moment::kept_from(session, self.locked, self.name, self.running.dumps.load(Ordering::SeqCst))
    }
}
