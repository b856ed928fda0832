//! Databases among what is given back: which entries are some, and how each is given back.

use std::fs::File;
use std::os::unix::ffi::OsStrExt;

use crate::base::database::{Database as Captured, FREE_PAGES};
use crate::base::entry::{Entry, Kind};
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{self, Applied, ApplyError, Options, SIDES, Way};
use crate::engine::sqlite::held::begins_like_a_database;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::restore::alone;
use crate::ops::restore::claims::{Claims, FileId};
use crate::ops::restore::in_place::Step as Told;
use crate::ops::restore::live::content::Origin;
use crate::ops::restore::live::walk::{Trouble, Walk, find};
use crate::ops::restore::live::{Database, Given, Place, Work};
use crate::source::files::target::Target;
use crate::vault::extents;
use crate::vault::read::Library;

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

/// A database that is to be at a path.
#[derive(Clone, Debug)]
pub(in crate::ops) struct Meant {
    /// As it is to be there.
    pub named: Entry,
    /// The entry that carries its content: its first name, where it has several.
    pub carrier: Entry,
}

impl Place<'_> {
    /// The database that is to be at a path, if it is to be given back by this name. A later name of one whose first is
    /// touched as well is a link to that, unless another file stands there: an app may have that open.
    pub(super) fn meant(&self, wanted: &Entry, library: &Library<'_>) -> Result<Option<Meant>, OpError> {
        let Some(record) = self.gives else { return Ok(None) };
        let Some(first) = &wanted.link else {
            let meant = is_database(wanted, record, library)?;
            return Ok(meant.then(|| Meant { named: wanted.clone(), carrier: wanted.clone() }));
        };
        let Some(carrier) = find(record, first, library)? else { return Ok(None) };
        if !is_database(&carrier, record, library)? {
            return Ok(None);
        }
        let there = |path: &EntryPath| self.ground.look(path).map(|there| (there.st_dev, there.st_ino));
        if self.is_touched(first, library)? && there(&wanted.path).is_none_or(|own| Some(own) == there(first)) {
            return Ok(None);
        }
        Ok(Some(Meant { named: alone(wanted.clone(), record, library)?, carrier }))
    }

    /// Is what the safety snapshot has what is to be there? Of a link that holds only where the same is true of the name
    /// that carries the content, which need not be touched.
    fn is_there(&self, wanted: &Entry, now: Option<&Entry>, library: &Library<'_>) -> Result<bool, OpError> {
        if now != Some(wanted) {
            return Ok(false);
        }
        let (Some(first), Some(record)) = (&wanted.link, self.gives) else { return Ok(true) };
        let Some(before) = self.before.flatten() else { return Ok(true) };
        if before.listing == record.listing || self.is_touched(first, library)? {
            return Ok(true);
        }
        let content = |record| {
            let first = find(record, first, library)?;
            let whole = first.map(|first| alone(first, record, library)).transpose()?;
            Ok::<_, OpError>(whole.map(|whole| (whole.size, whole.content)))
        };
        Ok(content(before)? == content(record)?)
    }

    /// What is there already is not to become what another name of the same file is to hold.
    fn claim(&self, wanted: &Entry, claims: &Claims) {
        let may_be = wanted.kind == Kind::File && wanted.link.is_none() && wanted.size.is_multiple_of(SMALLEST_PAGE);
        let several = || self.ground.look(&wanted.path).filter(|there| there.st_nlink > 1);
        if let Some(there) = may_be.then(several).flatten() {
            claims.decides_over_database(self.number, &wanted.path, Some((there.st_dev, there.st_ino)));
        }
    }

    /// Could a database have rows that are in none of its names which are looked at?
    pub(super) fn is_doubtful(&self, entry: &Entry) -> bool {
        let may_be = entry.kind == Kind::File && entry.size.is_multiple_of(SMALLEST_PAGE);
        let several = || self.ground.look(&entry.path).is_some_and(|there| there.st_nlink > 1);
        let live = || self.ground.database(&entry.path).filter(begins_like_a_database);
        may_be && several() && live().is_some_and(|live| live.doubt().is_some())
    }

    /// Could a file that looks the same be a database with a log that is not part of the file?
    pub fn has_unseen_log(&self, entry: &Entry, record: Option<&SourceRecord>) -> bool {
        let named = |record: &SourceRecord| record.databases.iter().any(|database| database.path == entry.path);
        let seen = record.is_some_and(named) && self.before.flatten().is_some_and(named);
        let live = self.ground.database(&entry.path);
        let has = |side| live.as_ref().is_some_and(|live| live.companion(side).has_content());
        !seen && entry.size.is_multiple_of(SMALLEST_PAGE) && (has("-wal") || has("-journal"))
    }

    /// The database that this path is the log of, where the snapshot says so. Logs are never given back as files.
    pub(super) fn database_beside(
        &self,
        path: &EntryPath,
        record: &SourceRecord,
        library: &Library<'_>,
    ) -> Result<Option<Entry>, OpError> {
        let Some(stem) = stem(path) else { return Ok(None) };
        match find(record, &stem, library)? {
            Some(database) if is_database(&database, record, library)? => Ok(Some(database)),
            _ => Ok(None),
        }
    }

    /// Why one of several names of a live database cannot hold what it is to hold: another name is given back, and was
    /// another database when it was captured.
    pub(super) fn rival(
        &self,
        database: &Meant,
        (id, claims): (Option<FileId>, &Claims),
        library: &Library<'_>,
    ) -> Result<Option<String>, OpError> {
        let Some((part, other)) = id.and_then(|id| claims.decider(id)) else { return Ok(None) };
        let Some(record) = self.gives.filter(|_| part == self.number && other != database.named.path) else {
            return Ok(None);
        };
        let Some(entry) = find(record, &other, library)? else { return Ok(None) };
        let entry = alone(entry, record, library)?;
        let same = (entry.size, &entry.content) == (database.named.size, &database.named.content);
        Ok((!same).then(|| format!("left alone: it is one file with {other} by now, and was another one")))
    }

    /// Why a database would be left alone: something else stands in its place.
    pub(super) fn odd_for_database(&self, path: &EntryPath) -> Option<String> {
        self.ground.odd_for_database(path).map(|odd| format!("left alone: {odd}"))
    }

    pub(super) fn is_below_odd_folder(&self, path: &EntryPath) -> bool {
        let part = &self.part.path;
        let above = std::iter::successors(path.parent(), EntryPath::parent).take_while(|folder| folder.is_within(part));
        above.into_iter().any(|folder| self.ground.odd_for_folder(&folder).is_some())
    }

    /// Does the snapshot that says what is touched name this as a database?
    pub(super) fn was_database(&self, path: &EntryPath) -> bool {
        let databases = &self.touches.databases;
        databases.iter().any(|database| database.path == *path && database.engine == "sqlite")
    }
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
        for step in Walk::new(self.place, self.change.claims, self.library) {
            self.stopped()?;
            let step = match step {
                Ok(step) => step,
                // Told when the files are given back.
                Err(Trouble::Touched(_)) => continue,
                Err(Trouble::Fatal(error)) => return Err(error),
            };
            if let Some(database) = self.place.database_beside(&step.path, record, self.library)? {
                let database = Meant { named: database.clone(), carrier: database };
                self.one(&database, given, meant, done)?;
            }
            let Some(wanted) = &step.wanted else {
                if self.place.was_database(&step.path)
                    && let Some(live) = self.place.ground.database(&step.path)
                {
                    self.going.borrow_mut().insert(step.path, self.change.guard.take(live));
                }
                continue;
            };
            let hides = || self.place.has_unseen_log(wanted, Some(record)) || self.place.is_doubtful(wanted);
            if self.place.is_there(wanted, step.now.as_ref(), self.library)? && !hides() {
                self.place.claim(wanted, self.change.claims);
                continue;
            }
            let Some(wanted) = self.place.meant(wanted, self.library)? else { continue };
            // What stands there instead of a database is told with the databases.
            let is_odd = self.place.ground.odd_for_database(&step.path).is_some();
            if self.is_unsaved(&step.path, step.now.as_ref()) && !is_odd {
                continue;
            }
            self.one(&wanted, given, meant, done)?;
        }
        Ok(())
    }

    /// What the snapshot has of what SQLite kept beside a database, which itself was not there.
    pub(super) fn sides_of(&self, path: &EntryPath, record: &SourceRecord) -> Result<Vec<Entry>, OpError> {
        if !self.place.was_database(path) {
            return Ok(Vec::new());
        }
        let of = |side: &&str| find(record, &side_of(path, side)?, self.library).transpose();
        SIDES.iter().filter_map(of).collect()
    }

    /// Removes what SQLite kept beside a database that is gone: another one of that name would be taken for its owner.
    pub(super) fn remove_sides(&self, path: &EntryPath, target: &Target) -> Result<(), OpError> {
        for side in SIDES.iter().filter_map(|side| side_of(&self.place.ground.named(path), side)) {
            match target.remove(&side, false) {
                Ok(_) => {}
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => self.tally.issue(&self.place.shown(path), &error),
            }
        }
        Ok(())
    }

    /// Gives one database back, once.
    fn one(
        &mut self,
        database: &Meant,
        given: &mut Given,
        meant: &dyn Fn(&EntryPath) -> bool,
        done: &mut dyn FnMut(&EntryPath),
    ) -> Result<(), OpError> {
        let wanted = &database.named;
        if !self.databases.insert(wanted.path.clone()) || !meant(&wanted.path) {
            return Ok(());
        }
        let id = self.place.ground.database(&wanted.path).and_then(|live| live.id());
        if !self.change.claims.decides_over_database(self.place.number, &wanted.path, id) {
            if let Some(other) = self.place.rival(database, (id, self.change.claims), self.library)? {
                self.lost(&wanted.path, other);
            }
            return Ok(());
        }
        if let Some(odd) = self.place.odd_for_database(&wanted.path) {
            self.place.names.lose(&wanted.path);
            // What stands in the place of a folder is told with the folder.
            if !self.place.is_below_odd_folder(&wanted.path) {
                self.tally.note(self.place.shown(&wanted.path), odd);
            }
            return Ok(());
        }
        let applied = match self.database(database) {
            // The app has made another one there, which SQLite cannot turn into this one.
            Err(OpError::Apply(ApplyError::Encoding { .. })) => {
                let reason = "left alone: its text encoding is another one; move it away and run this again";
                self.lost(&wanted.path, reason.to_owned());
                return Ok(());
            }
            applied => applied?,
        };
        let before = self.place.before.flatten().map(|before| find(before, &wanted.path, self.library)).transpose()?;
        let dress = |entry: &Entry| (entry.mode, entry.uid, entry.gid, entry.xattrs.clone());
        let is_dressed = before.flatten().is_some_and(|before| dress(&before) == dress(wanted));
        given.changed |= !(is_dressed && applied.way == Way::Pages && applied.written == 0);
        done(&wanted.path);
        (self.change.settings.told)(Told::Reached("database given back"));
        given.databases.push(Database { path: self.place.shown(&wanted.path), applied });
        Ok(())
    }

    /// The database as the safety snapshot has it, where that has it page by page as it is. By whichever of its names.
    fn captured_now(&self, path: &EntryPath) -> Result<Option<Entry>, OpError> {
        let Some(before) = self.place.before.flatten() else { return Ok(None) };
        let Some(now) = find(before, path, self.library)? else { return Ok(None) };
        let path = now.link.as_ref().unwrap_or(path);
        // What SQLite could not open is kept as a file, and nothing is known of it.
        let is_exact = |found: &Captured| {
            let facts = &found.facts;
            found.path == *path && found.engine == "sqlite" && !facts.is_empty() && !facts.contains_key(FREE_PAGES)
        };
        if !before.databases.iter().any(is_exact) {
            return Ok(None);
        }
        find(before, path, self.library)
    }

    fn database(&self, database: &Meant) -> Result<Applied, OpError> {
        let Meant { named: wanted, carrier } = database;
        let Some(record) = self.place.gives else { return Err(self.place.no_path(self.change.touches)) };
        let settings = self.change.settings;
        let control = &settings.control;
        let (target, ground) = (self.target()?, &self.place.ground);
        // Its folder is made where it is not there: that folder's own entry says later whose it is.
        let live = target.database(&ground.named(&wanted.path), ground.folder())?;
        let dress = |file: &File| target.dress(wanted, file).map_err(|error| Box::new(error) as Explained);
        let (wait, on_damage) = (settings.wait, self.on_damage);
        let options = Options { wait, on_damage, control, dress: Some(&dress) };
        let origin = Origin { record, library: self.library, control };
        let (unlocked, app) = (self.change.unlocked, &self.change.touches.app);
        let mut held = self.change.guard.take(live.clone());
        let mut applied = match self.captured_now(&wanted.path)? {
            Some(now) => origin.by_safety(carrier, &now, &mut held, &options)?,
            None => None,
        };
        if applied.is_none() {
            applied = origin.by_memory(unlocked, app, carrier, &mut held, &options)?;
        }
        let applied = match applied {
            Some(applied) => applied,
            None => origin.pages(carrier, &live, |pages| apply::apply(&mut held, pages, &options))?,
        };
        if applied.way != Way::Created {
            // What stands beside it stands beside the name in use.
            let path = ground.named(&wanted.path);
            let path = path.parent().map(|folder| folder.child(live.name().as_bytes())).unwrap_or(path);
            let named = Entry { path, ..wanted.clone() };
            target.dress_database(&named, &SIDES)?;
        }
        for issue in target.seal() {
            self.tally.note(issue.path, issue.reason);
        }
        control.items.add(1);
        Ok(applied)
    }
}

/// The path of a log.
fn side_of(database: &EntryPath, side: &str) -> Option<EntryPath> {
    let bytes = [database.as_bytes(), side.as_bytes()].concat();
    EntryPath::from_bytes(&bytes).ok().filter(|_| !database.is_root())
}

/// The path of the database whose log this would be.
pub(in crate::ops) fn stem(path: &EntryPath) -> Option<EntryPath> {
    let stem = SIDES.iter().find_map(|side| path.as_bytes().strip_suffix(side.as_bytes()))?;
    EntryPath::from_bytes(stem).ok().filter(|stem| !stem.is_root())
}
