//! What a change would make of live data, without making it.
//!
//! Goes through the same paths as the change itself ([`Walk`]) and asks the same questions: what is a database, what would
//! be left alone, what stands there already. Reads what is there, since no safety snapshot says what that is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::base::entry::{Entry, Kind};
use crate::base::error::{Class, Explain, one_line};
use crate::base::path::{EntryPath, encode};
use crate::engine::sqlite::apply::{self, OnDamage, Options as Reading};
use crate::ops::actions::Kind as ActionKind;
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::foreseen::{Foreseen, Seen, Told};
use crate::ops::restore::live::content::Origin;
use crate::ops::restore::live::database::is_database;
use crate::ops::restore::live::walk::{Step, Trouble, Walk, find};
use crate::ops::restore::live::{Change, LINKED, OPEN, Place, UNSAVED, places};
use crate::ops::restore::sides::is_direct;
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
        let target = Target::at(&place.folder(), options)?;
        let seen = Seen::of(place.touches, foreseen, &mut each);
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
        let mut walk = Walk::new(place, change.claims, library);
        for step in walk.by_ref() {
            if change.settings.control.stopped() {
                return Err(Problem::Interrupted.into());
            }
            match step {
                Ok(step) if step.wanted.is_some() => self.comes(step)?,
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

    /// Something is to be there.
    fn comes(&mut self, step: Step) -> Result<(), OpError> {
        let Look { place, library, .. } = self.look;
        let (Some(record), Some(wanted)) = (place.gives, step.wanted) else { return Ok(()) };
        if let Some(database) = place.database_beside(&step.path, record, library)? {
            return self.database(&database);
        }
        let live = place.live(&step.path);
        if wanted.kind != Kind::Dir && self.look.is_unsaved(&live) {
            self.seen.note(place.shown(&step.path), UNSAVED.to_owned());
            return Ok(());
        }
        if is_database(&wanted, record, library)? {
            return self.database(&wanted);
        }
        let named = Entry { path: place.named(&wanted.path), ..wanted };
        if let Some(found) = self.seen.look(self.look.target, &named, library) {
            self.seen.entry(&named, found);
        }
        Ok(())
    }

    /// A database, by whichever of its names or logs it was met first.
    fn database(&mut self, wanted: &Entry) -> Result<(), OpError> {
        let Look { change, place, .. } = self.look;
        if !self.look.databases.insert(wanted.path.clone()) {
            return Ok(());
        }
        let live = place.live(&wanted.path);
        if !change.claims.decides_over_database(place.number, &wanted.path, &live) {
            return Ok(());
        }
        if !wanted.path.is_root() && !is_direct(&place.root, &live) {
            self.seen.note(place.shown(&wanted.path), LINKED.to_owned());
            return Ok(());
        }
        let named = Entry { path: place.named(&wanted.path), ..wanted.clone() };
        let found = match fs::symlink_metadata(&live) {
            Err(_) => Found::Nothing,
            Ok(there) if !live.is_file() => Found::Other(Some(there.len()).filter(|_| there.is_file())),
            Ok(_) if self.look.holds(wanted, &live)? => match self.look.target {
                Some(target) => target.look_at_database(&named)?,
                None => Found::Nothing,
            },
            Ok(there) => Found::Other(Some(there.len())),
        };
        self.seen.entry(&named, found);
        Ok(())
    }

    /// Something is not to be there.
    fn goes(&mut self, step: &Step) -> Result<(), OpError> {
        let Look { place, change, .. } = self.look;
        let live = place.live(&step.path);
        let Ok(there) = fs::symlink_metadata(&live) else { return Ok(()) };
        let known = match change.settings.safety {
            Some(_) => is_captured(place.part, &live, self.look.configured),
            None => place.looks_given(&step.touched),
        };
        let stays = step.path.is_root() && !place.alone && !self.look.was_made(&live);
        if !known || stays {
            return Ok(());
        }
        if step.touched.kind == Kind::Dir {
            self.folders.push(step.path.clone());
            return Ok(());
        }
        if place.was_database(&step.path) {
            if apply::is_open_elsewhere(&live) {
                self.seen.note(place.shown(&step.path), OPEN.to_owned());
                return Ok(());
            }
            self.gone.extend(apply::SIDES.iter().map(|side| apply::beside(&live, side)));
        }
        self.seen.removed(&place.named(&step.path), Some(there.len()).filter(|_| there.is_file()));
        self.gone.insert(live);
        Ok(())
    }

    /// Folders go if nothing stays in them.
    fn folders_go(&mut self) {
        while let Some(folder) = self.folders.pop() {
            let live = self.look.place.live(&folder);
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
    fn is_unsaved(&self, live: &Path) -> bool {
        self.change.settings.safety.is_some()
            && fs::symlink_metadata(live).is_ok()
            && !is_captured(self.place.part, live, self.configured)
    }

    /// Does a live database hold this already? One that was captured as files is compared by its files: nothing is staged
    /// beside it.
    fn holds(&self, wanted: &Entry, live: &Path) -> Result<bool, OpError> {
        let (Some(record), settings) = (self.place.gives, self.change.settings) else { return Ok(false) };
        let origin = Origin { record, library: self.library, control: &settings.control };
        let sides = origin.sides(wanted)?;
        if !sides.is_empty() {
            let mut files = sides.iter().map(|(_, side)| side).chain([wanted]);
            return Ok(files.all(|file| self.is_as(file)));
        }
        let (wait, control) = (settings.wait, &settings.control);
        let options = Reading { wait, on_damage: OnDamage::Tell, control, dress: None };
        match origin.pages(wanted, live, |pages| apply::holds(live, pages, &options)) {
            Err(error) if matches!(error.class(), Class::Busy | Class::Interrupted) => Err(error),
            // What SQLite cannot read is not what was captured.
            holds => Ok(holds.unwrap_or(false)),
        }
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
