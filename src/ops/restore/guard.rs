//! Live databases from the safety snapshot on, until they are changed.
//!
//! Owns the promise that whatever is replaced or removed is in that snapshot: what an app has committed after it was taken,
//! and before the change, would be nowhere. So each database is watched while the snapshot is made, and nobody writes to it
//! once that is looked at.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::base::error::{Class, Explain};
use crate::engine::sqlite::apply::Live;
use crate::engine::sqlite::held::begins_like_a_database;
use crate::format::manifest::Manifest;
use crate::ops::actions::Touched;
use crate::ops::error::OpError;
use crate::ops::restore::claims::{FileId, file_id};
use crate::ops::restore::in_place::Settings;
use crate::ops::restore::live::live_path;
use crate::ops::restore::sides::is_direct;
use crate::ops::safety;

/// Each database once, whatever its names: the locks of two connections of one process would keep each other out.
#[derive(Default)]
pub struct Guard(RefCell<BTreeMap<FileId, Live>>);

impl Guard {
    /// Begins to watch the databases that these snapshots name: what is to be there, and what may have to go.
    pub fn watch(named: &[&Manifest], parts: &[Touched], settings: &Settings<'_>) -> Result<Self, OpError> {
        let guard = Self::default();
        for path in named.iter().flat_map(|manifest| databases(manifest, parts)) {
            let Some(id) = file_id(&path).filter(|id| !guard.0.borrow().contains_key(id)) else { continue };
            let mut live = Live::at(&path);
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
    pub fn take(&self, path: &Path) -> Live {
        let known = file_id(path).and_then(|id| self.0.borrow_mut().remove(&id));
        known.unwrap_or_else(|| Live::at(path))
    }

    /// Lets everybody write who was kept from it and has nothing to lose.
    pub fn release(&self) {
        self.0.borrow_mut().clear();
    }
}

/// Where the databases live that a snapshot names and that are there.
fn databases(manifest: &Manifest, parts: &[Touched]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for part in parts {
        let Some(record) = manifest.sources.iter().find(|source| source.name == part.source) else { continue };
        let root = safety::place(&part.root);
        let named = record.databases.iter().filter(|database| database.engine == "sqlite");
        for path in named.map(|database| &database.path).filter(|path| path.is_within(&part.path)) {
            let live = live_path(&root, path);
            if (path.is_root() || is_direct(&root, &live)) && begins_like_a_database(&live) {
                paths.push(live);
            }
        }
    }
    paths
}
