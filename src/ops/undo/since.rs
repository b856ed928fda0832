//! What has changed since an action: everything that it touched is compared with what it left, and with what it is to become.
//!
//! Owns two looks: one at what stands there, before anything is made of it, so that an undo that is refused leaves nothing
//! behind; and one at what the safety snapshot holds, which is what would be replaced.

use std::collections::BTreeSet;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};

use crate::base::entry::{Entry, Kind};
use crate::base::error::Explained;
use crate::base::path::{EntryPath, decode};
use crate::engine::sqlite::apply::{self, OnDamage, Options};
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::PlainFile;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::alone;
use crate::ops::restore::live::{Change, Origin, Place, Sorted, Step, Walk, find, is_database, places, stem};
use crate::ops::restore::server::KIND;
use crate::ops::safety::is_captured;
use crate::source::files::target::holds;
use crate::vault::extents;
use crate::vault::read::Library;

/// So many changed paths are named.
const NAMED: usize = 5;

/// The databases that were as the action left them when they were looked at.
pub(super) type Looked = BTreeSet<PathBuf>;

/// Whatever the action touched and somebody has changed since.
#[derive(Default)]
struct Changed {
    count: u64,
    paths: Vec<String>,
}

impl Changed {
    fn note(&mut self, path: String) {
        self.count += 1;
        if self.paths.len() < NAMED {
            self.paths.push(path);
        }
    }

    fn into_result(self) -> Result<(), OpError> {
        let Self { count, paths } = self;
        if count == 0 { Ok(()) } else { Err(Problem::ChangedSince { count, paths }.into()) }
    }
}

/// Is everything as the action left it, or as it is to become? Looks at what stands there. What seems not to have been
/// written since by its time is looked at more closely later. Returns which databases need not be.
pub(super) fn unchanged_there(
    change: &Change<'_>,
    left: Option<&Manifest>,
    configured: &[Planned],
) -> Result<Looked, OpError> {
    let (mut changed, mut looked) = (Changed::default(), Looked::new());
    // A server's database that is swapped is kept: whoever writes to it from here on loses nothing.
    for part in change.action.parts.iter().filter(|part| part.kind == KIND) {
        let Some(left) = left else { continue };
        for table in change.swaps.changed(change.unlocked, left, part, &change.settings.control)? {
            changed.note(format!("{}/{table}", part.source));
        }
    }
    let mut glance = |side: &Side<'_>, step: &Step, expected: Option<&Entry>, live: &Path| {
        let ground = &side.place.ground;
        let nothing = ground.look(&step.path).is_none();
        let none_meant = expected.is_none() || step.wanted.is_none();
        let stands = || {
            let as_left = side.stands(expected, side.left)?;
            Ok::<_, OpError>(as_left || side.stands(step.wanted.as_ref(), side.place.gives)?)
        };
        // Something else may stand where a database was: that is no database to look into.
        let is_odd = || ground.odd_for_database(&step.path).is_some();
        let is_database = side.names_as_database(&step.path) && !is_odd();
        if (nothing && none_meant) || (!is_database && stands()?) {
            return Ok(true);
        }
        // What is not captured was left alone, and will be.
        Ok(step.wanted.is_none() && !is_captured(side.place.part, live, configured))
    };
    each(change, left, &mut changed, &mut glance, &mut |live| _ = looked.insert(live))?;
    changed.into_result()?;
    Ok(looked)
}

/// The same by what the safety snapshot holds. `looked` names databases that nobody has written to since they were looked at.
pub(super) fn unchanged(change: &Change<'_>, left: Option<&Manifest>, looked: &Looked) -> Result<(), OpError> {
    let mut changed = Changed::default();
    let mut glance = |side: &Side<'_>, step: &Step, expected: Option<&Entry>, live: &Path| {
        if looked.contains(live) {
            return Ok(true);
        }
        let now = side.whole(step.now.as_ref(), side.place.before.flatten())?;
        // What is to become what it is will not be touched.
        let stays = same(side.whole(step.wanted.as_ref(), side.place.gives)?.as_ref(), now.as_ref());
        let left_so = || Ok::<_, OpError>(same(side.whole(expected, side.left)?.as_ref(), now.as_ref()));
        let seen = now.as_ref().is_none_or(|now| !side.place.has_unseen_log(now, side.left));
        Ok((stays || left_so()?) && seen)
    };
    each(change, left, &mut changed, &mut glance, &mut |_| ())?;
    changed.into_result()
}

/// Is a path as the action left it, or as it is to become, at first sight?
type Glance<'g> = dyn FnMut(&Side<'_>, &Step, Option<&Entry>, &Path) -> Result<bool, OpError> + 'g;

/// Goes through everything that the action touched. What is not as meant at first sight is looked at as a database; those
/// that are as meant are handed to `held`, and what is not is noted.
fn each(
    change: &Change<'_>,
    left: Option<&Manifest>,
    changed: &mut Changed,
    glance: &mut Glance<'_>,
    held: &mut dyn FnMut(PathBuf),
) -> Result<(), OpError> {
    let library = change.unlocked.library()?;
    for place in places(change, &library)? {
        let side = Side::of(change, &place, left, &library);
        let mut was = side.left.map(|record| Sorted::new(record, &place.part.path, &library));
        for step in Walk::new(&place, change.claims, &library) {
            let Ok(step) = step else { continue };
            let expected = was.as_mut().map(|was| was.take(&step.path)).transpose()?.flatten();
            let live = place.ground.path(&step.path);
            if glance(&side, &step, expected.as_ref(), &live)? {
                continue;
            }
            match side.database(&expected, &step)? {
                Some(true) => held(live),
                None if side.belongs_to_database(&step.path)? => {}
                _ => changed.note(place.shown(&step.path)),
            }
        }
    }
    Ok(())
}

/// The same thing with the same bytes, whoever owns it.
fn same(one: Option<&Entry>, other: Option<&Entry>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => {
            (one.kind, one.size, one.device) == (other.kind, other.size, other.device)
                && one.content == other.content
                && one.target == other.target
        }
        _ => false,
    }
}

/// One part, and the snapshots that say how it was left and what it is to become.
struct Side<'s> {
    change: &'s Change<'s>,
    place: &'s Place<'s>,
    left: Option<&'s SourceRecord>,
    library: &'s Library<'s>,
}

impl<'s> Side<'s> {
    fn of(change: &'s Change<'s>, place: &'s Place<'s>, left: Option<&'s Manifest>, library: &'s Library<'s>) -> Self {
        let left = left.and_then(|left| left.sources.iter().find(|source| source.name == place.part.source));
        Self { change, place, left, library }
    }

    /// The entry with its content, whichever name of the file carries that: names come and go without changing it.
    fn whole(&self, entry: Option<&Entry>, record: Option<&SourceRecord>) -> Result<Option<Entry>, OpError> {
        let Some((entry, record)) = entry.zip(record) else { return Ok(entry.cloned()) };
        alone(entry.clone(), record, self.library).map(Some)
    }

    fn names_as_database(&self, path: &EntryPath) -> bool {
        let databases = self.left.iter().flat_map(|record| &record.databases);
        databases.into_iter().any(|database| database.path == *path && database.engine == "sqlite")
    }

    /// Does a live database hold what the action left, or what it is to become? `None` where the action left none. One of
    /// several names of a database answers for all.
    fn database(&self, expected: &Option<Entry>, step: &Step) -> Result<Option<bool>, OpError> {
        let whole = self.whole(expected.as_ref(), self.left)?;
        let Some((whole, record)) = whole.zip(self.left) else { return Ok(None) };
        if !is_database(&whole, record, self.library)? {
            return Ok(None);
        }
        let id = self.place.ground.database(&step.path).and_then(|live| live.id());
        if !self.change.claims.decides_over_database(self.place.number, &step.path, id) {
            return Ok(Some(true));
        }
        let as_left = self.still_holds(expected.as_ref(), self.left)?;
        Ok(Some(as_left || self.still_holds(step.wanted.as_ref(), self.place.gives)?))
    }

    /// The counters of a database that was given back are its own: only its pages tell whether it was written to since.
    fn still_holds(&self, expected: Option<&Entry>, record: Option<&SourceRecord>) -> Result<bool, OpError> {
        let Some(expected) = self.whole(expected, record)? else {
            return Ok(false);
        };
        let Some(record) = record.filter(|_| expected.kind == Kind::File) else { return Ok(false) };
        let (settings, ground) = (self.change.settings, &self.place.ground);
        let Some(live) = ground.database(&expected.path).filter(DatabaseFile::is_there) else { return Ok(false) };
        if ground.odd_for_database(&expected.path).is_some() {
            return Ok(false);
        }
        let options =
            Options { wait: settings.wait, on_damage: OnDamage::Tell, control: &settings.control, dress: None };
        Origin { record, library: self.library, control: &settings.control }
            .pages(&expected, &live, |pages| apply::holds(&live, pages, &options))
    }

    /// Does this stand there?
    fn stands(&self, entry: Option<&Entry>, record: Option<&SourceRecord>) -> Result<bool, OpError> {
        let Some(entry) = self.whole(entry, record)? else { return Ok(false) };
        let Some(there) = self.place.ground.look(&entry.path) else { return Ok(false) };
        let kind = FileType::from_raw_mode(there.st_mode);
        let is_as_long = u64::try_from(there.st_size) == Ok(entry.size);
        Ok(match entry.kind {
            Kind::Dir => kind == FileType::Directory,
            Kind::Symlink => {
                let target = self.place.ground.read_link(&entry.path);
                target.is_some() && target == entry.target.as_deref().and_then(decode)
            }
            Kind::File if kind != FileType::RegularFile || !is_as_long => false,
            Kind::File => is_as_old(&entry, &there) || self.is_as(&entry)?,
            _ => ![FileType::RegularFile, FileType::Directory, FileType::Symlink].contains(&kind),
        })
    }

    fn is_as(&self, entry: &Entry) -> Result<bool, OpError> {
        let Some(file) = self.place.ground.open_file(&entry.path).map(PlainFile::from) else { return Ok(false) };
        let extents = extents::of_file(entry, self.library);
        let mut extents = extents.map(|extent| extent.map_err(|error| Box::new(error) as Explained));
        Ok(holds(file.as_fd(), entry.size, &mut extents).unwrap_or(false))
    }

    /// What SQLite keeps beside a database comes and goes.
    fn belongs_to_database(&self, path: &EntryPath) -> Result<bool, OpError> {
        let (Some(stem), Some(record)) = (stem(path), self.left) else { return Ok(false) };
        find(record, &stem, self.library)?.map_or(Ok(false), |database| is_database(&database, record, self.library))
    }
}

fn is_as_old(entry: &Entry, there: &Stat) -> bool {
    let (seconds, nanoseconds) = entry.mtime.unix();
    (there.st_mtime, i64::try_from(there.st_mtime_nsec)) == (seconds, Ok(nanoseconds.into()))
}
