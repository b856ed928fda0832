//! What a change would make of live data, without making it.
//!
//! Goes through the same paths as the change itself ([`Walk`]) and asks the same questions: what is a database, what would
//! be left alone, what stands there already. Reads what is there, since no safety snapshot says what that is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Stat};
use rustix::io::pread;

use crate::base::entry::{Entry, Kind};
use crate::base::error::one_line;
use crate::base::path::{EntryPath, encode};
use crate::engine::sqlite::apply::{self, ApplyError, OnDamage};
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::held::PlainFile;
use crate::ops::actions::Kind as ActionKind;
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::foreseen::{Foreseen, Seen, Told};
use crate::ops::restore::live::content::Origin;
use crate::ops::restore::live::database::Meant;
use crate::ops::restore::live::walk::{Step, Trouble, Walk, find};
use crate::ops::restore::live::{Change, OPEN, Place, UNSAVED, places};
use crate::ops::restore::sides::{NEEDLESS, is_needless};
use crate::ops::safety::is_captured;
use crate::source::files::target::{Found, Options, Target, is_temporary};
use crate::vault::read::Library;

/// Looks at everything that a change would touch but servers. Its `before` is not known.
pub(in crate::ops) fn foresee(
    change: &Change<'_>,
    configured: &[Planned],
    foreseen: &mut Foreseen,
    told: &mut Told<'_>,
) -> Result<(), OpError> {
    let library = change.unlocked.library()?;
    for place in places(change, &library)? {
        let mut each = |source: &str, difference| told(source, difference);
        let options = Options { numeric_ids: change.settings.numeric_ids, staged: true };
        let target = Target::at(place.ground.folder(), options)?.map(|target| target.sharing(&place.names.several));
        let seen = Seen::of((place.touches, &place.names), foreseen, &mut each);
        let (databases, gone) = (BTreeSet::new(), BTreeSet::new());
        let look = Look { change, place: &place, library: &library, target: target.as_ref(), configured, databases };
        Looking { look, seen, gone, folders: Vec::new() }.all()?;
    }
    Ok(())
}

/// One part of a change, and what stands in its place.
struct Look<'l> {
    change: &'l Change<'l>,
    place: &'l Place<'l>,
    library: &'l Library<'l>,
    target: Option<&'l Target>,
    configured: &'l [Planned],
    /// Which were looked at as databases.
    databases: BTreeSet<EntryPath>,
}

struct Looking<'l> {
    look: Look<'l>,
    seen: Seen<'l>,
    /// What would be removed.
    gone: BTreeSet<PathBuf>,
    /// Folders that would be removed if nothing else is in them, outer ones first.
    folders: Vec<EntryPath>,
}

impl Looking<'_> {
    fn all(mut self) -> Result<(), OpError> {
        let Look { change, place, library, target, .. } = self.look;
        if let Some(record) = place.gives {
            for folder in place.missing_above() {
                if let Some(folder) = find(record, &folder, library)? {
                    self.seen.entry(&folder, Found::Nothing);
                }
            }
        }
        let (mut walk, mut blocked) = (Walk::new(place, change.claims, library), None::<EntryPath>);
        for step in walk.by_ref() {
            if change.settings.control.stopped() {
                return Err(Problem::Interrupted.into());
            }
            match step {
                Ok(step) if blocked.as_ref().is_some_and(|path| step.path.is_within(path)) => {}
                Ok(step) if step.wanted.is_some() => blocked = self.comes(step)?.or(blocked),
                Ok(step) => self.goes(&step)?,
                Err(Trouble::Touched(error)) => self.seen.note(place.part.source.to_string(), one_line(&error)),
                Err(Trouble::Fatal(error)) => return Err(error),
            }
        }
        if !walk.seen() && place.gives.is_some() {
            return Err(place.no_path(change.touches));
        }
        self.folders_go();
        self.seen.end(target);
        Ok(())
    }

    /// Something is to be there. Returns the folder that nothing would be given back in, if it is one.
    fn comes(&mut self, step: Step) -> Result<Option<EntryPath>, OpError> {
        let Look { place, library, .. } = self.look;
        let (Some(record), Some(wanted)) = (place.gives, step.wanted) else { return Ok(None) };
        if let Some(database) = place.database_beside(&step.path, record, library)? {
            let database = Meant { named: database.clone(), carrier: database };
            return self.database(&database).map(|()| None);
        }
        if is_needless(record, &step.path, library)? {
            self.lost(&step.path, NEEDLESS.to_owned());
            return Ok(None);
        }
        if wanted.kind == Kind::Dir
            && let Some(odd) = place.odd_for_folder(&step.path)
        {
            self.lost(&step.path, odd);
            return Ok(Some(step.path));
        }
        let meant = place.meant(&wanted, library)?;
        let is_odd = meant.is_some() && place.odd_for_database(&step.path).is_some();
        if wanted.kind != Kind::Dir && !is_odd && self.look.is_unsaved(&step.path) {
            self.lost(&step.path, UNSAVED.to_owned());
            return Ok(None);
        }
        if let Some(meant) = meant {
            return self.database(&meant).map(|()| None);
        }
        let wanted = match place.given(wanted, self.look.change.claims, (library, self.look.target))? {
            Ok(entry) => entry,
            Err(reason) => {
                self.lost(&step.path, reason);
                return Ok(None);
            }
        };
        let named = Entry { path: place.ground.named(&wanted.path), ..wanted };
        match self.seen.look(self.look.target, &named, library) {
            Some(found) => self.seen.entry(&named, found),
            None => place.names.lose(&step.path),
        }
        Ok(None)
    }

    /// Something would be left alone: nothing would be linked to it.
    fn lost(&mut self, path: &EntryPath, reason: String) {
        self.look.place.names.lose(path);
        self.seen.note(self.look.place.shown(path), reason);
    }

    /// A database, by whichever of its names or logs it was met first.
    fn database(&mut self, database: &Meant) -> Result<(), OpError> {
        let Look { change, place, library, .. } = self.look;
        let wanted = &database.named;
        if !self.look.databases.insert(wanted.path.clone()) {
            return Ok(());
        }
        let live = place.ground.database(&wanted.path);
        let id = live.as_ref().and_then(DatabaseFile::id);
        if !change.claims.decides_over_database(place.number, &wanted.path, id) {
            if let Some(other) = place.rival(database, (id, change.claims), library)? {
                self.lost(&wanted.path, other);
            }
            return Ok(());
        }
        if let Some(odd) = place.odd_for_database(&wanted.path) {
            place.names.lose(&wanted.path);
            if !place.is_below_odd_folder(&wanted.path) {
                self.seen.note(place.shown(&wanted.path), odd);
            }
            return Ok(());
        }
        let named = Entry { path: place.ground.named(&wanted.path), ..wanted.clone() };
        let there = place.ground.look(&wanted.path);
        let found = match (live, there) {
            (Some(live), Some(_)) if self.look.holds(&database.carrier, &live)? => match self.look.target {
                Some(target) => target.look_at_database(&named)?,
                None => Found::Nothing,
            },
            (_, Some(there)) => Found::Other(length(&there)),
            (_, None) => Found::Nothing,
        };
        if matches!(found, Found::Other(_) | Found::Nothing) {
            self.look.must_be_sound(database)?;
        }
        self.seen.entry(&named, found);
        Ok(())
    }

    /// Something is not to be there.
    fn goes(&mut self, step: &Step) -> Result<(), OpError> {
        let Look { place, change, .. } = self.look;
        let Some(there) = place.ground.look(&step.path) else { return Ok(()) };
        let live = place.ground.path(&step.path);
        let known = match change.settings.safety {
            Some(_) => is_captured(place.part, &live, self.look.configured),
            None => place.looks_given(&step.touched),
        };
        let stays = step.path.is_root() && !place.ground.alone && !self.look.was_made(&live);
        if !known || stays {
            return Ok(());
        }
        if step.touched.kind == Kind::Dir {
            self.folders.push(step.path.clone());
            return Ok(());
        }
        if place.was_database(&step.path) {
            if place.ground.database(&step.path).is_some_and(|live| apply::is_open_elsewhere(&live)) {
                self.seen.note(place.shown(&step.path), OPEN.to_owned());
                return Ok(());
            }
            self.gone.extend(apply::SIDES.iter().map(|side| beside(&live, side)));
        }
        self.seen.removed(&place.ground.named(&step.path), length(&there));
        self.gone.insert(live);
        Ok(())
    }

    /// Folders go if nothing stays in them.
    fn folders_go(&mut self) {
        while let Some(folder) = self.folders.pop() {
            let live = self.look.place.ground.path(&folder);
            let stays = |name: &Path| {
                let name = live.join(name);
                !self.gone.contains(&name)
                    && !name.file_name().is_some_and(|name| is_temporary(name.as_encoded_bytes()))
            };
            let entries = fs::read_dir(&live).into_iter().flatten().flatten();
            if entries.into_iter().any(|entry| stays(Path::new(&entry.file_name()))) {
                if folder.is_root() {
                    continue;
                }
                let reason = "would not be removed: something else is in it".to_owned();
                self.seen.note(self.look.place.shown(&folder), reason);
                continue;
            }
            self.seen.removed(&folder, None);
            self.gone.insert(live);
        }
    }
}

impl Look<'_> {
    /// Would something be lost that is nowhere else?
    fn is_unsaved(&self, path: &EntryPath) -> bool {
        let ground = &self.place.ground;
        self.change.settings.safety.is_some()
            && ground.look(path).is_some()
            && !is_captured(self.place.part, &ground.path(path), self.configured)
    }

    /// Does a live database hold this already?
    fn holds(&self, wanted: &Entry, live: &DatabaseFile) -> Result<bool, OpError> {
        let (Some(record), settings) = (self.place.gives, self.change.settings) else { return Ok(false) };
        let origin = Origin { record, library: self.library, control: &settings.control };
        origin.holds(wanted, live, settings.wait, &|entry| self.is_as(entry))
    }

    /// Refuses a database that was damaged when it was captured, as the change itself does.
    fn must_be_sound(&self, Meant { named: wanted, carrier }: &Meant) -> Result<(), OpError> {
        let known = self.place.gives.into_iter().flat_map(|record| &record.databases);
        let mut damage = known.filter(|known| known.path == carrier.path).filter_map(|known| known.damage.clone());
        match damage.next().filter(|_| self.change.settings.on_damage == OnDamage::Refuse) {
            // What stands there as it was captured is left alone.
            Some(findings) if !self.is_as_it_lay_there(wanted, carrier) => {
                Err(ApplyError::Unsound { path: self.place.ground.path(&wanted.path), findings }.into())
            }
            _ => Ok(()),
        }
    }

    /// Does the file hold these very bytes? Asked where SQLite cannot tell.
    fn is_as_it_lay_there(&self, wanted: &Entry, carrier: &Entry) -> bool {
        let (Some(record), Some(live)) = (self.place.gives, self.place.ground.database(&wanted.path)) else {
            return false;
        };
        let Ok(file) = live.open().map(PlainFile::from) else { return false };
        let origin = Origin { record, library: self.library, control: &self.change.settings.control };
        let same = origin.pages(carrier, &live, |wanted| {
            let (mut at, mut block, mut there) = (0, Vec::new(), Vec::new());
            while (wanted.blocks)(&mut block).map_err(ApplyError::content)? {
                there.resize(block.len(), 0);
                if pread(&file, &mut there[..], at) != Ok(block.len()) || there != block {
                    return Ok(false);
                }
                at += block.len() as u64;
            }
            Ok(live.look().ok().flatten().is_some_and(|stat| u64::try_from(stat.st_size) == Ok(at)))
        });
        same.unwrap_or(false)
    }

    /// Was the folder made by what is taken back? It goes with it, if nothing is in it.
    fn was_made(&self, live: &Path) -> bool {
        let action = self.change.action;
        action.kind == ActionKind::Undo && action.made.contains(&encode(live.as_os_str().as_encoded_bytes()))
    }

    fn is_as(&self, entry: &Entry) -> bool {
        let mut extents = crate::vault::extents::of_file(entry, self.library)
            .map(|extent| extent.map_err(|error| Box::new(error) as crate::base::error::Explained));
        let found = self.target.and_then(|target| target.look(entry, &mut extents).ok());
        matches!(found, Some(Found::Same | Found::Metadata))
    }
}

/// The length of a file.
fn length(there: &Stat) -> Option<u64> {
    let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
    u64::try_from(there.st_size).ok().filter(|_| is_file)
}

fn beside(database: &Path, side: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(side);
    path.into()
}
