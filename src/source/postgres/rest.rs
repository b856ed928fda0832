//! What follows the rows: definitions, large objects, and what must be read last.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use crate::base::capture::Skip;
use crate::base::database::Database;
use crate::base::error::{Explained, one_line};
use crate::base::path::EntryPath;
use crate::engine::postgres::definitions::Held;
use crate::engine::postgres::layout::{self, Qualified, Sequence};
use crate::engine::postgres::moment::Moment;
use crate::engine::postgres::{database, facts, large_objects, load_script, sequences};
use crate::source::SourceError;
use crate::source::postgres::capture::Course;
use crate::source::postgres::definitions::Definitions;

/// More tables than these are not counted one by one in the manifest.
const MOST_COUNTED: usize = 10_000;

impl Course<'_> {
    /// Everything after the rows, in the order of paths.
    pub(super) fn rest(
        &mut self,
        moment: &mut Moment,
        definitions: &Definitions,
        encoding: &str,
    ) -> Result<(), SourceError> {
        let settings = database::script(&mut moment.session)?;
        self.text(layout::DATABASE, std::iter::once(settings))?;
        match &definitions.globals {
            Some(Ok(globals)) => self.held(layout::GLOBALS, globals)?,
            Some(Err(error)) => {
                let reason = format!("{}; globals = false leaves them out knowingly", one_line(error));
                self.entries.sink.skip(Skip::new(layout::GLOBALS, reason));
            }
            None => {}
        }
        let objects = self.large_objects(moment)?;
        let selection = &self.source.selection;
        let sequences = sequences::read(&mut moment.session, &|name| selection.has_schema(&name.schema))?;
        self.load_script(encoding, &objects, &sequences)?;
        self.held(layout::POST_DATA, &definitions.post_data)?;
        self.held(layout::PRE_DATA, &definitions.pre_data)?;
        self.text(layout::SEQUENCES, sequences.iter().map(line))?;
        let tables = std::mem::take(&mut self.tables);
        self.text(layout::TABLES, tables.iter().map(line))?;
        self.tables = tables;
        Ok(())
    }

    fn text(&mut self, path: &str, parts: impl Iterator<Item = String>) -> Result<(), SourceError> {
        self.file(path, parts.map(|part| Ok(part.into_bytes()))).map(|_| ())
    }

    fn held(&mut self, path: &str, held: &Held) -> Result<(), SourceError> {
        // Roles are loaded by people.
        if let Some(statement) = held.foreign().filter(|_| path != layout::GLOBALS) {
            let reason = format!("is kept, and no restore into a server runs all of it: {statement}");
            self.entries.sink.skip(Skip::new(path, reason));
        }
        let fail = |cause: io::Error| SourceError::Content { path: path.to_owned(), cause };
        let blocks = held.blocks().map_err(fail)?;
        self.file(path, blocks.map(|block| block.map_err(|cause| Box::new(fail(cause)) as Explained))).map(|_| ())
    }

    /// Every large object, and its length.
    fn large_objects(&mut self, moment: &mut Moment) -> Result<Vec<(u32, u64)>, SourceError> {
        let mut objects = Vec::new();
        // They lie in no schema: they go with the whole.
        if self.source.selection.schemas.is_some() {
            return Ok(objects);
        }
        for oid in large_objects::list(&mut moment.session)? {
            if objects.is_empty() {
                self.folder(layout::LARGE_OBJECTS)?;
            }
            let (mut start, mut ended, control) = (0, false, self.control.clone());
            let session = &mut moment.session;
            let blocks = std::iter::from_fn(|| {
                if ended {
                    return None;
                }
                let read = large_objects::read(session, oid, start);
                if let Ok(block) = &read {
                    start += block.len() as u64;
                    control.bytes.add(block.len() as u64);
                    ended = block.len() < large_objects::SLICE as usize;
                }
                Some(read.map_err(|error| Box::new(SourceError::from(error)) as Explained))
            });
            let length = self.file(&layout::large_object_path(oid), blocks)?;
            objects.push((oid, length));
        }
        Ok(objects)
    }

    fn load_script(
        &mut self,
        encoding: &str,
        objects: &[(u32, u64)],
        sequences: &[Sequence],
    ) -> Result<(), SourceError> {
        let tables = std::mem::take(&mut self.tables);
        let parts = std::iter::once(load_script::head(encoding))
            .chain(tables.iter().map(load_script::table))
            .chain(objects.iter().map(|(oid, bytes)| load_script::large_object(*oid, *bytes)))
            .chain(sequences.iter().map(load_script::sequence))
            .chain(std::iter::once_with(load_script::tail));
        self.text(layout::LOAD, parts)?;
        self.tables = tables;
        Ok(())
    }

    /// What is known of the database without its files.
    pub(super) fn note(
        &mut self,
        moment: &mut Moment,
        mut facts: BTreeMap<String, String>,
        begun: Instant,
    ) -> Result<(), SourceError> {
        let names: Vec<Qualified> = self.tables.iter().map(|table| table.name.clone()).collect();
        let revision = facts::revision(&mut moment.session, &names)?;
        facts.insert("tables".to_owned(), self.tables.len().to_string());
        facts.insert("duration".to_owned(), format!("{:.3} s", begun.elapsed().as_secs_f64()));
        let counted = || self.tables.iter().take(MOST_COUNTED);
        self.entries.sink.database(Database {
            path: EntryPath::root(),
            engine: "postgres".to_owned(),
            rows: counted().map(|table| (table.name.shown(), table.rows)).collect(),
            bytes: counted().map(|table| (table.name.shown(), table.bytes)).collect(),
            revision,
            damage: None,
            facts,
        });
        Ok(())
    }
}

fn line(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("BUG: it has plain fields") + "\n"
}
