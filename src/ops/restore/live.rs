//! Making live data what snapshots say: databases page by page, files whole, and what should not be there removed.
//!
//! Three snapshots meet: one says which paths are touched, one what they are to hold, one (the safety snapshot) what they
//! hold now. What is not in the second is removed, what is the same in the last two is left alone, and what is there
//! without being in the last is not touched: it could not be brought back.
//!
//! Databases come first, since they are what most likely cannot be had.

mod content;
mod database;
mod files;
mod foreseen;
mod links;
mod walk;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FileType;
use serde::Serialize;

use crate::base::entry::{Entry, Kind};
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::{Applied, Live, OnDamage};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::{Action, Touched};
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::Report;
use crate::ops::restore::batch::Tally;
use crate::ops::restore::claims::Claims;
use crate::ops::restore::ground::{Ground, is_alone};
use crate::ops::restore::guard::Guard;
use crate::ops::restore::in_place::Settings;
use crate::ops::restore::names::Names;
use crate::ops::restore::server::KIND;
use crate::ops::restore::swap::{Swapped, Swaps};
use crate::source::files::target::{Options, Target, is_temporary, through_proc};
use crate::vault::read::Library;
use crate::vault::unlocked::UnlockedVault;

pub(in crate::ops) use content::Origin;
pub(in crate::ops) use database::{is_database, stem};
pub(in crate::ops) use foreseen::foresee;
pub(in crate::ops) use walk::{Sorted, Step, Walk, find};

/// Why something is left alone.
pub(in crate::ops) const UNSAVED: &str =
    "left alone: it is there and not in the safety snapshot, so it could not be brought back";
const OPEN: &str = "left alone: another process has it open";

/// A change of live data.
#[derive(Clone, Copy)]
pub(in crate::ops) struct Change<'c> {
    pub unlocked: &'c UnlockedVault,
    pub touches: &'c Manifest,
    /// What is to be there; `None` for nothing of what is touched.
    pub gives: Option<&'c Manifest>,
    /// What is there: `None` if nobody knows, `Some(None)` for nothing.
    pub before: Option<Option<&'c Manifest>>,
    /// The databases that nobody has written to since.
    pub guard: &'c Guard,
    /// Which part decides over what several of them name.
    pub claims: &'c Claims,
    pub action: &'c Action,
    /// The databases of servers that take the places of live ones.
    pub swaps: &'c Swaps,
    pub settings: &'c Settings<'c>,
}

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Given {
    pub databases: Vec<Database>,
    /// Databases of servers, each of which took the place of another.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub swapped: Vec<Swapped>,
    #[serde(flatten)]
    pub files: Report,
    /// What the change removed because it was not there before.
    pub removed: u64,
    /// Single rows that hold again what they held before.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows: u64,
    /// Those of them that are gone again, since they were not there before.
    #[serde(skip_serializing_if = "is_zero")]
    pub rows_removed: u64,
    /// Something is, or may be, other than it was.
    #[serde(skip)]
    pub changed: bool,
}

impl Given {
    /// Was nothing given back, and nothing removed? Folders may have got their times.
    pub fn is_nothing(&self) -> bool {
        self.databases.is_empty() && self.swapped.is_empty() && (self.files.files, self.removed, self.rows) == (0, 0, 0)
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Database {
    /// `SOURCE/PATH`.
    pub path: String,
    #[serde(flatten)]
    pub applied: Applied,
}

/// How far a change came.
#[derive(Default)]
pub(in crate::ops) struct Progress {
    /// The databases that were given back: the number of the part, and the path.
    databases: BTreeSet<(usize, EntryPath)>,
    /// The databases of servers that changed places.
    swapped: usize,
    /// The numbers of the parts of which something may be changed that is no database.
    files: BTreeSet<usize>,
}

impl Progress {
    /// Was nothing changed yet?
    pub fn is_none(&self) -> bool {
        self.databases.is_empty() && self.swapped == 0 && self.files.is_empty()
    }

    /// Was something of this part changed?
    fn reached(&self, number: usize) -> bool {
        self.files.contains(&number) || self.databases.iter().any(|(part, _)| *part == number)
    }
}

/// Makes the change, noting how far it comes.
pub(in crate::ops) fn give(change: &Change<'_>, progress: &mut Progress) -> Result<Given, OpError> {
    let library = change.unlocked.library()?;
    let places = places(change, &library)?;
    let (mut given, tally) = (Given::default(), Tally::default());
    let on_damage = change.settings.on_damage;
    let mut works = works(change, &places, &library, &tally, on_damage);
    for (number, work) in works.iter_mut().enumerate() {
        let mut each = |path: &EntryPath| _ = progress.databases.insert((number, path.clone()));
        work.databases(&mut given, &|_| true, &mut each)?;
    }
    change.guard.release();
    change.swaps.forward(&mut given.swapped, &mut progress.swapped)?;
    for (number, work) in works.iter().enumerate() {
        let (changed, removed) = (std::mem::take(&mut given.changed), given.removed);
        let done = work.files(&mut given);
        // Where nothing could be begun, on a file system that is read-only, there is nothing to take back.
        if given.changed || given.removed > removed {
            progress.files.insert(number);
        }
        given.changed |= changed;
        done?;
    }
    drop(works);
    tally.add_to(&mut given.files);
    given.changed |= given.removed > 0 || !given.swapped.is_empty() || !given.files.stale.is_empty();
    Ok(given)
}

/// Makes what was changed as it was before. Nobody is left to ask whether that is sound.
pub(in crate::ops) fn take_back(change: &Change<'_>, progress: &Progress) -> Result<(), OpError> {
    let library = change.unlocked.library()?;
    let places = places(change, &library)?;
    let (mut given, tally) = (Given::default(), Tally::default());
    change.swaps.back(progress.swapped)?;
    let mut works = works(change, &places, &library, &tally, OnDamage::Tell);
    let mut failed = None;
    for (number, work) in works.iter_mut().enumerate() {
        let changed = |path: &EntryPath| progress.databases.contains(&(number, path.clone()));
        let mut back = || {
            work.databases(&mut given, &changed, &mut |_| ())?;
            if progress.files.contains(&number) { work.files(&mut given) } else { work.remove(&mut given) }
        };
        // What cannot be taken back of one source keeps none of the others from it; of one that was not changed, nothing
        // need be.
        if let (Err(error), true) = (back(), progress.reached(number)) {
            failed.get_or_insert(error);
        }
    }
    drop(works);
    if let Some(error) = failed {
        return Err(error);
    }
    tally.add_to(&mut given.files);
    match given.files.issues.first() {
        None => Ok(()),
        Some(issue) => Err(Problem::Left { path: issue.path.clone(), reason: issue.reason.clone() }.into()),
    }
}

/// Removes what a killed restore left unfinished in the folders it touched: it has names of its own.
pub(in crate::ops) fn sweep(change: &Change<'_>) -> Result<(), OpError> {
    let library = change.unlocked.library()?;
    for place in places(change, &library)? {
        let folders =
            Walk::new(&place, change.claims, &library).flatten().filter(|step| step.touched.kind == Kind::Dir);
        let folders = folders.map(|step| step.path).chain(place.ground.alone.then(EntryPath::root));
        for folder in folders.filter_map(|path| place.ground.open_folder(&path)) {
            for entry in fs::read_dir(through_proc(&folder)).into_iter().flatten().flatten() {
                if is_temporary(entry.file_name().as_encoded_bytes()) {
                    // What stays is litter, not harm.
                    let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
                }
            }
        }
    }
    Ok(())
}

/// The parts of a change that are files.
pub(in crate::ops) fn places<'c>(change: &Change<'c>, library: &Library<'_>) -> Result<Vec<Place<'c>>, OpError> {
    let mut names: BTreeMap<&Name, Arc<Names>> = BTreeMap::new();
    let mut of = |(number, part): (usize, &'c Touched)| {
        let names = names.entry(&part.source).or_default().clone();
        Place::of(change, (number, part), names, library)
    };
    file_parts(change).map(&mut of).collect()
}

/// The parts that are files, by their numbers.
fn file_parts<'c>(change: &Change<'c>) -> impl Iterator<Item = (usize, &'c Touched)> {
    change.action.parts.iter().filter(|part| part.kind != KIND).enumerate()
}

fn works<'w>(
    change: &'w Change<'w>,
    places: &'w [Place<'w>],
    library: &'w Library<'w>,
    tally: &'w Tally,
    on_damage: OnDamage,
) -> Vec<Work<'w>> {
    let of = |place: &'w Place<'w>| {
        let (databases, going, above) = (BTreeSet::new(), RefCell::default(), place.missing_above());
        Work { change, place, library, tally, databases, going, above, on_damage }
    };
    places.iter().map(of).collect()
}

/// Where an entry lives that is captured below this root.
pub(in crate::ops) fn live_path(root: &Path, path: &EntryPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    if path.is_root() { root.to_owned() } else { root.join(std::ffi::OsStr::from_bytes(path.as_bytes())) }
}

/// One part: where it lives, and the records of the snapshots that say what of it.
pub(in crate::ops) struct Place<'c> {
    /// Among the parts that are files.
    pub number: usize,
    pub part: &'c Touched,
    pub touches: &'c SourceRecord,
    pub gives: Option<&'c SourceRecord>,
    pub before: Option<Option<&'c SourceRecord>>,
    pub ground: Ground,
    /// The parts of the same source that are given back before it, by their numbers.
    earlier: Vec<(usize, EntryPath)>,
    /// What becomes of the names of files of its source, in all of its parts.
    names: Arc<Names>,
}

impl<'c> Place<'c> {
    fn of(
        change: &Change<'c>,
        (number, part): (usize, &'c Touched),
        names: Arc<Names>,
        library: &Library<'_>,
    ) -> Result<Self, OpError> {
        let of = |manifest: &'c Manifest| manifest.sources.iter().find(|source| source.name == part.source);
        let touches = of(change.touches).ok_or_else(|| Problem::NoSource {
            snapshot: change.touches.id.short(),
            source_name: part.source.to_string(),
            sources: Vec::new(),
        })?;
        let ground = Ground::of(part, touches, is_alone(touches, library)?)?;
        let before = change.before.map(|manifest| manifest.and_then(of));
        let earlier = Self::earlier(change, (number, &part.source));
        Ok(Self { number, part, touches, gives: change.gives.and_then(of), before, ground, earlier, names })
    }

    /// The folders above it that are not there, the outermost first.
    fn missing_above(&self) -> Vec<EntryPath> {
        let above = std::iter::successors(self.part.path.parent(), EntryPath::parent);
        let mut missing: Vec<EntryPath> = above.take_while(|folder| self.ground.look(folder).is_none()).collect();
        missing.reverse();
        missing
    }

    /// Is what is there what a snapshot gave? Asked where nobody knows what was there before.
    fn looks_given(&self, entry: &Entry) -> bool {
        let Some(there) = self.ground.look(&entry.path) else { return false };
        let kind = FileType::from_raw_mode(there.st_mode);
        let (seconds, nanoseconds) = entry.mtime.unix();
        let same_time = (there.st_mtime, i64::try_from(there.st_mtime_nsec)) == (seconds, Ok(nanoseconds.into()));
        match entry.kind {
            Kind::Dir => kind == FileType::Directory,
            Kind::File => {
                let same_size = u64::try_from(there.st_size) == Ok(entry.size);
                kind == FileType::RegularFile && same_size && same_time
            }
            _ => same_time,
        }
    }

    fn no_path(&self, touches: &Manifest) -> OpError {
        let (snapshot, source_name) = (touches.id.short(), self.part.source.to_string());
        Problem::NoPath { snapshot, source_name, path: self.part.path.to_string() }.into()
    }

    /// Why a folder would be left alone: something else stands in its place.
    fn odd_for_folder(&self, path: &EntryPath) -> Option<String> {
        let what = self.ground.odd_for_folder(path)?;
        Some(format!("left alone, with all that was in it: {what} stands there"))
    }

    /// How reports call it.
    pub fn shown(&self, path: &EntryPath) -> String {
        if path.is_root() { self.part.source.to_string() } else { format!("{}/{path}", self.part.source) }
    }
}

struct Work<'w> {
    change: &'w Change<'w>,
    place: &'w Place<'w>,
    library: &'w Library<'w>,
    tally: &'w Tally,
    /// Which paths were given back as databases.
    databases: BTreeSet<EntryPath>,
    /// Databases that are going to be removed: nobody writes to them until then.
    going: RefCell<BTreeMap<EntryPath, Live>>,
    /// Folders above the part that were not there when the change began.
    above: Vec<EntryPath>,
    on_damage: OnDamage,
}

impl Work<'_> {
    fn stopped(&self) -> Result<(), OpError> {
        if self.change.settings.control.stopped() { Err(Problem::Interrupted.into()) } else { Ok(()) }
    }

    fn walk(&self) -> Walk<'_> {
        Walk::new(self.place, self.change.claims, self.library)
    }

    fn target(&self) -> Result<Target, OpError> {
        let options = Options { numeric_ids: self.change.settings.numeric_ids, staged: true };
        Ok(self.place.ground.target(options)?.sharing(&self.place.names.several))
    }

    /// Would something be lost that is nowhere else?
    fn is_unsaved(&self, path: &EntryPath, now: Option<&Entry>) -> bool {
        self.place.before.is_some() && now.is_none() && self.place.ground.look(path).is_some()
    }
}
