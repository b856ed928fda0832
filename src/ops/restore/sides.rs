//! What stands beside a database that is about to be replaced as a file.
//!
//! SQLite takes a log it finds beside a database for that database's own, and would spoil the restored one with it.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{SIDES, beside, is_in_use};
use crate::ops::error::OpError;
use crate::ops::restore::Restorer;
use crate::ops::restore::live::{find, is_database};

impl Restorer<'_> {
    /// Removes the logs of another database from beside one that is restored. `false` when that one is left alone, since
    /// an app has it open. `original` is the entry's path in the listing.
    pub(super) fn make_room(&self, entry: &Entry, original: &EntryPath) -> Result<bool, OpError> {
        if entry.kind != Kind::File || !entry.size.is_multiple_of(512) {
            return Ok(true);
        }
        let place = live(&self.job.to, &entry.path);
        let stale: Vec<&str> =
            SIDES.into_iter().filter(|side| fs::symlink_metadata(beside(&place, side)).is_ok()).collect();
        let entry_there = Entry { path: original.clone(), ..entry.clone() };
        if stale.is_empty() || !is_database(&entry_there, self.job.source, self.library)? {
            return Ok(true);
        }
        if is_direct(&self.job.to, &place) && is_in_use(&place) {
            let reason = "left alone: an app has it open; stop the app, or restore it with --in-place";
            self.tally.note(entry.path.to_string(), reason.to_owned());
            return Ok(false);
        }
        for side in stale {
            let with = |path: &EntryPath| EntryPath::from_bytes(&[path.as_bytes(), side.as_bytes()].concat()).ok();
            let own = with(original).map(|path| find(self.job.source, &path, self.library)).transpose()?.flatten();
            if let (None, Some(path)) = (own, with(&entry.path)) {
                match self.target.remove(&path, false) {
                    Ok(_) => self.tally.stale(path.to_string()),
                    Err(error) => {
                        self.tally.issue(&path.to_string(), &error);
                        return Ok(false);
                    }
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
