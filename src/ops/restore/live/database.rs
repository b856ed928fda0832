//! Databases among what is given back: which entries are some, and how each is given back.

use std::fs::{self, File};
use std::path::Path;

use crate::base::control::Control;
use crate::base::entry::{Entry, Kind};
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{self, Applied, Options, Wanted};
use crate::format::manifest::SourceRecord;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::live::walk::{Trouble, Walk, find};
use crate::ops::restore::live::{Database, Given, Work};
use crate::ops::restore::sides::is_direct;
use crate::vault::extents;
use crate::vault::read::Library;
use crate::vault::stream;

/// Every page is a multiple of this long, and so is every database.
const SMALLEST_PAGE: u64 = 512;

/// Is this entry's content an SQLite database? By its manifest, or by how it begins.
pub(in crate::ops) fn is_database(
    entry: &Entry,
    record: &SourceRecord,
    library: &Library<'_>,
) -> Result<bool, OpError> {
    if entry.kind != Kind::File || entry.link.is_some() || entry.size == 0 || !entry.size.is_multiple_of(SMALLEST_PAGE)
    {
        return Ok(false);
    }
    if record.databases.iter().any(|database| database.path == entry.path && database.engine == "sqlite") {
        return Ok(true);
    }
    let first = extents::of_file(entry, library).next();
    let Some(Ok(first)) = first else { return Ok(false) };
    // What cannot be read is told when it is given back.
    let bytes = library.reader().extent(&first).ok().flatten();
    Ok(bytes.is_some_and(|bytes| apply::is_database(&bytes)))
}

/// Does the live database hold what the entry does?
pub(in crate::ops) fn holds(
    live: &Path,
    entry: &Entry,
    library: &Library<'_>,
    options: &Options<'_>,
) -> Result<bool, OpError> {
    let result = stream::in_order(library, entry, options.control, |blocks| {
        apply::holds(live, Wanted { length: entry.size, blocks }, options)
    });
    Ok(result?)
}

impl Work<'_> {
    /// Gives every database back that is `meant`, notes which they are, and tells `done` of each.
    pub fn databases(
        &mut self,
        given: &mut Given,
        meant: &dyn Fn(&EntryPath) -> bool,
        done: &mut dyn FnMut(&EntryPath),
    ) -> Result<(), OpError> {
        let Some(record) = self.place.gives else { return Ok(()) };
        for step in Walk::new(self.place, self.library) {
            self.stopped()?;
            let step = match step {
                Ok(step) => step,
                // Told when the files are given back.
                Err(Trouble::Touched(_)) => continue,
                Err(Trouble::Fatal(error)) => return Err(error),
            };
            let Some(wanted) = step.wanted else { continue };
            if step.now.as_ref() == Some(&wanted) || self.is_unsaved(&step.path, step.now.as_ref()) {
                continue;
            }
            if !is_database(&wanted, record, self.library)? {
                continue;
            }
            self.databases.insert(step.path.clone());
            if !meant(&step.path) {
                continue;
            }
            if let Some(why) = self.obstacle(&wanted, record)? {
                self.tally.note(self.place.shown(&wanted.path), why);
                continue;
            }
            let applied = self.database(&wanted)?;
            done(&wanted.path);
            given.databases.push(Database { path: self.place.shown(&wanted.path), applied });
        }
        Ok(())
    }

    /// Why this one is not given back, where that is no reason not to give the others back.
    fn obstacle(&self, wanted: &Entry, record: &SourceRecord) -> Result<Option<String>, OpError> {
        let live = self.place.live(&wanted.path);
        if !wanted.path.is_root() && !is_direct(&self.place.root, &live) {
            return Ok(Some("left alone: a link leads to it".to_owned()));
        }
        for side in ["-wal", "-journal"] {
            let Some(path) = with_suffix(&wanted.path, side) else { continue };
            if find(record, &path, self.library)?.is_some_and(|entry| entry.size > 0) {
                let why = format!(
                    "left alone: it was captured as a plain file, with a {side} beside it; restore both with --to"
                );
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    fn database(&self, wanted: &Entry) -> Result<Applied, OpError> {
        let live = self.place.live(&wanted.path);
        let settings = self.change.settings;
        let control: &Control = &settings.control;
        if let Some(folder) = live.parent() {
            // The folder's own entry says later whose it is.
            fs::create_dir_all(folder)
                .map_err(|source| Problem::Output { path: live.display().to_string(), source })?;
        }
        let target = self.target()?;
        let dress = |file: &File| target.dress(wanted, file).map_err(|error| Box::new(error) as Explained);
        let (wait, on_damage) = (settings.wait, self.on_damage);
        let options = Options { wait, on_damage, control, dress: Some(&dress) };
        let applied = stream::in_order(self.library, wanted, control, |blocks| {
            apply::apply(&live, Wanted { length: wanted.size, blocks }, &options)
        })?;
        for issue in target.seal() {
            self.tally.note(issue.path, issue.reason);
        }
        control.items.add(1);
        Ok(applied)
    }
}

/// What SQLite keeps beside the database of this path.
fn with_suffix(path: &EntryPath, suffix: &str) -> Option<EntryPath> {
    if path.is_root() { None } else { EntryPath::from_bytes(&[path.as_bytes(), suffix.as_bytes()].concat()).ok() }
}
