//! Live databases from the safety snapshot on, until they are changed.
//!
//! Owns the promise that whatever is replaced or removed is in that snapshot: what an app has committed after it was taken,
//! and before the change, would be nowhere. So each database is watched while the snapshot is made, and nobody writes to it
//! once that is looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::base::error::{Class, Explain};
use crate::engine::sqlite::apply::Live;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::begins_like_a_database;
use crate::format::manifest::Manifest;
use crate::ops::actions::Touched;
use crate::ops::error::OpError;
use crate::ops::restore::claims::FileId;
use crate::ops::restore::ground::{Ground, database_names};
use crate::ops::restore::in_place::Settings;
use crate::vault::read::Library;

/// Each database once, whatever its names: the locks of two connections of one process would keep each other out.
#[derive(Default)]
pub struct Guard(RefCell<BTreeMap<FileId, Live>>);

impl Guard {
    /// Begins to watch the databases that these snapshots name: what is to be there, and what may have to go.
    pub fn watch(
        named: &[&Manifest],
        parts: &[Touched],
        library: &Library<'_>,
        settings: &Settings<'_>,
    ) -> Result<Self, OpError> {
        let guard = Self::default();
        let mut files = Vec::new();
        let is_first = |at: usize| named[..at].iter().all(|other| other.id != named[at].id);
        for manifest in (0..named.len()).filter(|at| is_first(*at)).map(|at| named[at]) {
            files.extend(databases(manifest, parts, library)?);
        }
        for file in files {
            let Some(id) = file.id().filter(|id| !guard.0.borrow().contains_key(id)) else { continue };
            let mut live = Live::at(file);
            match live.watch(settings.wait) {
                Ok(()) => _ = guard.0.borrow_mut().insert(id, live),
                Err(error) if error.class() == Class::Busy => return Err(error.into()),
                // What SQLite cannot open no app writes to either. What is wrong with it is told when its turn comes.
                Err(_) => {}
            }
        }
        Ok(guard)
    }

    /// Keeps everybody from writing to any of them. Has nobody written since they were looked at?
    pub fn hold(&self, settings: &Settings<'_>) -> Result<bool, OpError> {
        let mut unchanged = true;
        for live in self.0.borrow_mut().values_mut() {
            unchanged &= live.hold(settings.wait)?;
        }
        Ok(unchanged)
    }

    /// The database at a place, to be changed.
    pub fn take(&self, file: DatabaseFile) -> Live {
        let known = file.id().and_then(|id| self.0.borrow_mut().remove(&id));
        known.unwrap_or_else(|| Live::at(file))
    }

    /// Lets everybody write who was kept from it and has nothing to lose.
    pub fn release(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Where the databases live that a snapshot names and that are there.
fn databases(manifest: &Manifest, parts: &[Touched], library: &Library<'_>) -> Result<Vec<DatabaseFile>, OpError> {
    let mut files = Vec::new();
    for part in parts {
        let Some(record) = manifest.sources.iter().find(|source| source.name == part.source) else { continue };
        let named = database_names(record, &part.path, library);
        let Some(first) = named.first() else { continue };
        // Only a source that is one file has a database for its root.
        let ground = Ground::of(part, record, first.is_root())?;
        let there = named
            .iter()
            .filter(|path| ground.odd_for_database(path).is_none())
            .filter_map(|path| ground.database(path));
        files.extend(there.filter(begins_like_a_database));
    }
    Ok(files)
}
