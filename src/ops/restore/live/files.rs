//! Files among what is given back, and what is removed because it was not there.

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply;
use crate::ops::error::OpError;
use crate::ops::restore::batch::{Batch, Notes};
use crate::ops::restore::live::walk::{Step, Trouble};
use crate::ops::restore::live::{Given, OPEN, UNSAVED, Work, find, stem};
use crate::ops::restore::{Job, Restorer};
use crate::source::files::target::Target;

impl Work<'_> {
    /// Everything that is no database.
    pub(super) fn files(&self, given: &mut Given) -> Result<(), OpError> {
        let Some(record) = self.place.gives else { return self.remove(given) };
        let target = self.target()?;
        let ground = &self.place.ground;
        let name = ground.named(&EntryPath::root());
        let to = ground.folder().to_owned();
        let names = self.place.names.clone();
        let job = Job { source: record, folder: self.place.part.path.clone(), to, name, names };
        let (library, tally, control) = (self.library, self.tally, &*self.change.settings.control);
        let notes = Notes { tally, names: &self.place.names, control };
        let (batch, careful) = (Batch::default(), false);
        let mut restorer = Restorer { library, job: &job, target: &target, notes, batch, careful };
        // Folders that have to be made are made as they were.
        for folder in &self.above {
            if let Some(folder) = find(record, folder, self.library)? {
                given.changed = true;
                restorer.entry(folder)?;
            }
        }
        let (mut walk, mut sides, mut blocked) = (self.walk(), Vec::new(), None::<EntryPath>);
        for step in walk.by_ref() {
            self.stopped()?;
            let Some(step) = self.readable(step)? else { continue };
            let Some(wanted) = step.wanted else {
                sides.extend(self.sides_of(&step.path, record)?);
                continue;
            };
            if self.belongs_to_database(&step.path) || blocked.as_ref().is_some_and(|path| step.path.is_within(path)) {
                continue;
            }
            let odd = (wanted.kind == Kind::Dir).then(|| self.place.odd_for_folder(&step.path)).flatten();
            if let Some(odd) = odd {
                self.lost(&step.path, odd);
                blocked = Some(step.path);
                continue;
            }
            self.give(wanted, (&step.path, step.now.as_ref()), &mut restorer, given)?;
        }
        restorer.flush()?;
        if !walk.seen() {
            return Err(self.place.no_path(self.change.touches));
        }
        self.remove(given)?;
        // What had been left beside a database that was not there.
        for side in sides {
            given.changed = true;
            if let Some(side) = self.as_given(side, &target)? {
                restorer.entry(side)?;
            }
        }
        restorer.flush()?;
        for issue in target.seal() {
            tally.note(issue.path, issue.reason);
        }
        // The action is marked as done next, which must not be true before it is.
        Ok(target.sync()?)
    }

    /// A step, if it could be read; what could not be is told.
    fn readable(&self, step: Result<Step, Trouble>) -> Result<Option<Step>, OpError> {
        match step {
            Ok(step) => Ok(Some(step)),
            Err(Trouble::Touched(error)) => {
                self.tally.issue(self.place.part.source.as_str(), &error);
                Ok(None)
            }
            Err(Trouble::Fatal(error)) => Err(error),
        }
    }

    /// Gives one thing back, unless it is there as it should be, or what is there is in no safety snapshot.
    fn give(
        &self,
        wanted: Entry,
        (path, now): (&EntryPath, Option<&Entry>),
        restorer: &mut Restorer<'_>,
        given: &mut Given,
    ) -> Result<(), OpError> {
        let is_folder = wanted.kind == Kind::Dir;
        if !is_folder && self.is_unsaved(path, now) {
            self.lost(path, UNSAVED.to_owned());
            return Ok(());
        }
        let Some(wanted) = self.as_given(wanted, restorer.target)? else { return Ok(()) };
        let is_there = now == Some(&wanted);
        // What it was linked to may have been replaced: that of a link is looked at once more.
        if !is_folder && is_there && wanted.link.is_none() {
            restorer.target.leave(&wanted);
            self.tally.identical(&self.change.settings.control, &wanted);
            return Ok(());
        }
        given.changed |= !is_there;
        restorer.entry(wanted)
    }

    /// The entry as it is to be given back; nothing where it is left alone, which is told.
    fn as_given(&self, wanted: Entry, target: &Target) -> Result<Option<Entry>, OpError> {
        let path = wanted.path.clone();
        Ok(match self.place.given(wanted, self.change.claims, (self.library, Some(target)))? {
            Ok(entry) => Some(entry),
            Err(reason) => {
                self.lost(&path, reason);
                None
            }
        })
    }

    /// Tells that something is left alone: nothing is to be linked to it.
    pub(super) fn lost(&self, path: &EntryPath, reason: String) {
        self.place.names.lose(path);
        self.tally.note(self.place.shown(path), reason);
    }

    /// A database, or what SQLite keeps beside one.
    fn belongs_to_database(&self, path: &EntryPath) -> bool {
        self.databases.contains(path) || stem(path).is_some_and(|stem| self.databases.contains(&stem))
    }

    /// Removes what is touched and not to be there: files as they come, folders when all in them is gone.
    pub(super) fn remove(&self, given: &mut Given) -> Result<(), OpError> {
        if self.place.gives.is_some_and(|gives| gives.listing == self.place.touches.listing)
            || self.place.ground.look(&EntryPath::root()).is_none()
        {
            return Ok(());
        }
        let target = self.target()?;
        let mut folders: Vec<EntryPath> = Vec::new();
        let mut take = |path: &EntryPath, folder: bool| -> Result<(), OpError> {
            let database = !folder && self.place.was_database(path);
            let live = self.place.ground.database(path).filter(|_| database);
            if live.is_some_and(|live| apply::is_open_elsewhere(&live)) {
                self.tally.note(self.place.shown(path), OPEN.to_owned());
                return Ok(());
            }
            match target.remove(&self.place.ground.named(path), folder) {
                Ok(there) => {
                    given.removed += u64::from(there);
                    if database && there {
                        // SQLite closes it before its log goes: what was in that is in the safety snapshot.
                        drop(self.going.borrow_mut().remove(path));
                        self.remove_sides(path, &target)?;
                    }
                }
                Err(error) if error.is_fatal() => return Err(error.into()),
                Err(error) => self.tally.issue(&self.place.shown(path), &error),
            }
            Ok(())
        };
        for step in self.walk() {
            self.stopped()?;
            let Ok(step) = step else { continue };
            while let Some(folder) = folders.pop_if(|folder| !step.path.is_within(folder)) {
                take(&folder, true)?;
            }
            let known = step.now.is_some() || (self.place.before.is_none() && self.place.looks_given(&step.touched));
            if step.wanted.is_some() || !known || (step.path.is_root() && !self.place.ground.alone) {
                continue;
            }
            match step.touched.kind {
                Kind::Dir => folders.push(step.path),
                _ => take(&step.path, false)?,
            }
        }
        while let Some(folder) = folders.pop() {
            take(&folder, true)?;
        }
        Ok(())
    }
}
