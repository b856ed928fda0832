//! What stands beside a database that is about to be replaced as a file.
//!
//! SQLite takes a log it finds beside a database for that database's own, and would spoil the restored one with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{SIDES, beside, is_in_use};
use crate::ops::error::OpError;
use crate::ops::restore::live::{find, is_database};
use crate::ops::restore::{Job, Restorer};
use crate::vault::read::Library;

/// Said of a database whose log would be removed.
pub(super) const IN_USE: &str = "left alone: an app has it open; stop the app, or restore it with --in-place";

impl Job<'_> {
    /// The logs of another database that stand beside one that is restored; nothing where no log stands there. `original`
    /// is the entry's path in the listing.
    pub(super) fn strangers(
        &self,
        entry: &Entry,
        original: &EntryPath,
        library: &Library<'_>,
    ) -> Result<Option<Vec<EntryPath>>, OpError> {
        if entry.kind != Kind::File || !entry.size.is_multiple_of(512) {
            return Ok(None);
        }
        let place = live(&self.to, &entry.path);
        let mut sides = SIDES.into_iter().filter(|side| fs::symlink_metadata(beside(&place, side)).is_ok()).peekable();
        let entry_there = Entry { path: original.clone(), ..entry.clone() };
        if sides.peek().is_none() || !is_database(&entry_there, self.source, library)? {
            return Ok(None);
        }
        let mut strangers = Vec::new();
        for side in sides {
            let with = |path: &EntryPath| EntryPath::from_bytes(&[path.as_bytes(), side.as_bytes()].concat()).ok();
            let own = with(original).map(|path| find(self.source, &path, library)).transpose()?.flatten();
            strangers.extend(with(&entry.path).filter(|_| own.is_none()));
        }
        Ok(Some(strangers))
    }
}

impl Restorer<'_> {
    /// Removes the logs of another database from beside one that is restored. `false` when that one is left alone, since
    /// an app has it open.
    pub(super) fn make_room(&self, entry: &Entry, original: &EntryPath) -> Result<bool, OpError> {
        let Some(strangers) = self.job.strangers(entry, original, self.library)? else { return Ok(true) };
        let place = live(&self.job.to, &entry.path);
        if is_direct(&self.job.to, &place) && is_in_use(&place) {
            self.tally.note(entry.path.to_string(), IN_USE.to_owned());
            return Ok(false);
        }
        for path in strangers {
            match self.target.remove(&path, false) {
                Ok(_) => self.tally.stale(path.to_string()),
                Err(error) => {
                    self.tally.issue(&path.to_string(), &error);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}

/// Where an entry goes.
fn live(root: &Path, path: &EntryPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    root.join(std::ffi::OsStr::from_bytes(path.as_bytes()))
}

/// Does the path lead there without any link below `root`?
pub(in crate::ops) fn is_direct(root: &Path, place: &Path) -> bool {
    let is_link = |path: &Path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_symlink());
    place.ancestors().take_while(|path| *path != root && path.starts_with(root)).all(|path| !is_link(path))
}
