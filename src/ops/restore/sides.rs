//! What stands beside a database that is about to be replaced as a file.
//!
//! SQLite takes a log it finds beside a database for that database's own, and would spoil the restored one with it.

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{SIDES, is_in_use};
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
        // What is in the way there is told when the file itself is restored.
        let Ok(place) = self.target.database(&entry.path, &self.job.to) else { return Ok(true) };
        let is_there = |side: &&str| place.companion(side).look().is_ok_and(|there| there.is_some());
        let stale: Vec<&str> = SIDES.into_iter().filter(is_there).collect();
        let entry_there = Entry { path: original.clone(), ..entry.clone() };
        if stale.is_empty() || !is_database(&entry_there, self.job.source, self.library)? {
            return Ok(true);
        }
        if is_in_use(&place) {
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
