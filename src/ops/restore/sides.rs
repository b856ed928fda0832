//! What stands beside a database that is about to be replaced as a file.
//!
//! SQLite takes a log it finds beside a database for that database's own, and would spoil the restored one with it.

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{SIDES, is_in_use};
use crate::engine::sqlite::file::DatabaseFile;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::restore::live::{find, is_database, stem};
use crate::ops::restore::{Job, Restorer};
use crate::source::files::target::Target;
use crate::vault::read::Library;

/// Said of a database whose log would be removed.
pub(super) const IN_USE: &str = "left alone: an app has it open; stop the app, or restore it with --in-place";

/// Said of a log that an earlier version captured as a file of its own.
pub(in crate::ops) const NEEDLESS: &str =
    "left out: the database it belongs to was captured as one moment, which a log of another moment would spoil";

/// Is it the log of a database that was captured as such? That one has in it what its log held.
pub(in crate::ops) fn is_needless(
    source: &SourceRecord,
    path: &EntryPath,
    library: &Library<'_>,
) -> Result<bool, OpError> {
    let Some(stem) = stem(path) else { return Ok(false) };
    // One that SQLite could not open is kept as it lay there, and nothing is known of it.
    let is_whole = |path: &EntryPath| {
        let mut databases = source.databases.iter();
        databases.any(|known| known.path == *path && known.engine == "sqlite" && !known.facts.is_empty())
    };
    if is_whole(path) || is_whole(&stem) {
        return Ok(!is_whole(path));
    }
    let first = find(source, &stem, library)?.and_then(|named| named.link);
    Ok(first.is_some_and(|first| is_whole(&first)))
}

impl Job<'_> {
    /// What stands where a database is to be restored, and the logs of another database beside it; nothing where no log
    /// stands there. `original` is the entry's path in the listing.
    pub(super) fn strangers(
        &self,
        (entry, original): (&Entry, &EntryPath),
        target: Option<&Target>,
        library: &Library<'_>,
    ) -> Result<Option<(DatabaseFile, Vec<EntryPath>)>, OpError> {
        if entry.kind != Kind::File || !entry.size.is_multiple_of(512) {
            return Ok(None);
        }
        // What is in the way there is told when the file itself is restored.
        let Some(place) = target.and_then(|target| target.database_there(&entry.path, &self.to)) else {
            return Ok(None);
        };
        let is_there = |side: &&str| place.companion(side).look().is_ok_and(|there| there.is_some());
        let mut sides = SIDES.into_iter().filter(is_there).peekable();
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
        Ok(Some((place, strangers)))
    }
}

impl Restorer<'_> {
    /// Removes the logs of another database from beside one that is restored. `false` when that one is left alone, since
    /// an app has it open.
    pub(super) fn make_room(&self, entry: &Entry, original: &EntryPath) -> Result<bool, OpError> {
        let there = self.job.strangers((entry, original), Some(self.target), self.library)?;
        let Some((place, strangers)) = there else { return Ok(true) };
        if is_in_use(&place) {
            self.notes.tally.note(entry.path.to_string(), IN_USE.to_owned());
            return Ok(false);
        }
        for path in strangers {
            match self.target.remove(&path, false) {
                Ok(_) => self.notes.tally.stale(path.to_string()),
                Err(error) => {
                    self.notes.tally.issue(&path.to_string(), &error);
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
