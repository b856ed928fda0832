//! A recovery, or one that is taken back, as it goes: on record, made ready, kept safe, written, given its places.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::record::{Key, Records};
use crate::ops::actions::{Action, Holding, State};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::live_database::LiveDatabase;
use crate::ops::recover::apart::{self, Became};
use crate::ops::recover::journal::{self, Placed, Recovered};
use crate::ops::recover::safety::{self, Touches};
use crate::ops::recover::standing::{ABSENT, Standing, Trees, is_staged, kept, mark, shown, unstage};
use crate::ops::recover::together::{self, Joined};
use crate::ops::restore::Issue;
use crate::ops::restore::in_place::{Settings, Step as Told};
use crate::record::error::RecordError;
use crate::record::trace::{BeforeCommit, Trace};
use crate::vault::commit::Label;
use crate::vault::select::SAFETY;
use crate::vault::unlocked::UnlockedVault;

/// A recovery, or one that is taken back, as it goes.
pub(super) struct Work<'w> {
    pub unlocked: &'w UnlockedVault,
    pub settings: &'w Settings<'w>,
    pub configured: &'w [Planned],
    pub action: Action,
    /// What was to give way, and is left alone.
    pub left: Vec<Issue>,
    /// The folders in which files wait.
    staging: Vec<PathBuf>,
}

impl<'w> Work<'w> {
    pub fn new(
        unlocked: &'w UnlockedVault,
        settings: &'w Settings<'w>,
        configured: &'w [Planned],
        action: Action,
    ) -> Self {
        let staging = action.recovered.as_ref().map(Recovered::staging).unwrap_or_default();
        Self { unlocked, settings, configured, action, left: Vec::new(), staging }
    }

    fn recovered(&mut self) -> &mut Recovered {
        self.action.recovered.as_mut().expect("BUG: it was made with it")
    }

    /// Puts the action on record and makes files ready, by source: `stage` is given the folder, the source and the paths.
    pub fn begin(&mut self, stage: impl Fn(&Path, &Name, &[EntryPath]) -> Result<(), OpError>) -> Result<(), OpError> {
        self.settings.actions.keep(&self.action)?;
        (self.settings.told)(Told::Reached("begun"));
        let mut waiting: BTreeMap<(String, Name), Vec<EntryPath>> = BTreeMap::new();
        for file in &self.recovered().files {
            if let Some(staged) = &file.staged {
                waiting.entry((staged.clone(), file.source.clone())).or_default().push(file.from().clone());
            }
        }
        for ((folder, source), paths) in waiting {
            let staged = stage(&crate::ops::safety::place(&folder), &source, &paths);
            staged.or_else(|error| self.give_up(error))?;
        }
        let mut trees = Trees::default();
        self.sort_out(|file| {
            Ok(if is_staged(file, &mut trees) { Standing::Goes } else { Standing::Left(ABSENT.into()) })
        })?;
        (self.settings.told)(Told::Reached("staged"));
        Ok(())
    }

    /// Leaves out the files that do not go where they were to.
    fn sort_out(&mut self, mut look: impl FnMut(&mut Placed) -> Result<Standing, OpError>) -> Result<(), OpError> {
        let mut stay = Vec::new();
        for mut file in std::mem::take(&mut self.recovered().files) {
            let standing = match look(&mut file) {
                Ok(standing) => standing,
                Err(error) => return self.give_up(error),
            };
            match standing {
                Standing::Goes => stay.push(file),
                Standing::Gone => {}
                Standing::Left(reason) => {
                    self.left.push(Issue { path: shown(&file), reason });
                    unstage(&file).or_else(|error| self.give_up(error))?;
                }
            }
        }
        self.recovered().files = stay;
        Ok(())
    }

    /// Marks what will give way: whoever changes it from now on keeps it.
    fn mark(&mut self) -> Result<(), OpError> {
        let removed = self.recovered().files.iter().filter(|file| file.staged.is_none());
        let removed: BTreeSet<(String, EntryPath)> =
            removed.map(|file| (file.root.clone(), file.path.clone())).collect();
        let mut trees = Trees::default();
        self.sort_out(|file| {
            let root = file.root.clone();
            Ok(mark(file, &mut trees, &|path| removed.contains(&(root.clone(), path.clone()))))
        })
    }

    /// Makes the safety snapshot, and notes it. What is not in it does not give way.
    pub fn keep_safe(
        &mut self,
        source: &Name,
        (database, others, live): (&LiveDatabase, &[Joined], &dyn Records),
        rows: &[(String, Key)],
        whole: bool,
    ) -> Result<(), OpError> {
        self.mark()?;
        let Some(label) = &self.settings.safety else {
            let names: Vec<&Name> = others.iter().map(|other| &other.source).collect();
            if together::are_spread(rows.iter().map(|(table, _)| table), &names) {
                return self.give_up(Problem::Spread.into());
            }
            (self.settings.told)(Told::Safe(Holding::Unknown));
            return Ok(());
        };
        let label = Label { app: self.action.app.clone(), reason: SAFETY.to_owned(), ..label.clone() };
        let recovered = self.action.recovered.clone().unwrap_or_default();
        let folder = self.settings.actions.folder();
        let touches = Touches { source, live, database, others, rows, files: &recovered.files, whole, folder };
        let control: &Arc<Control> = &self.settings.control;
        let made = safety::snapshot(self.unlocked, &touches, label, control);
        let manifest = made.or_else(|error| self.give_up(error))?;
        let library = self.unlocked.library().or_else(|error| self.give_up(error.into()))?;
        self.sort_out(|file| kept(file, &manifest, &library))?;
        self.action.safety = Holding::Snapshot(manifest.id);
        (self.settings.told)(Told::Safe(self.action.safety));
        Ok(())
    }

    /// Writes the rows, if there are any, and then gives the files their places. Was anything changed?
    pub fn commit(
        &mut self,
        rows: bool,
        write: impl FnOnce(&mut BeforeCommit<'_>) -> Result<Trace, RecordError>,
    ) -> Result<bool, OpError> {
        let (actions, told) = (self.settings.actions, self.settings.told);
        if !rows && self.recovered().files.is_empty() {
            return self.nothing();
        }
        self.recovered().ready = true;
        let mut action = self.action.clone();
        let mut before = |trace: &Trace, mark: Option<String>| {
            let recovered = action.recovered.as_mut().expect("BUG: it was made with it");
            recovered.note(mark);
            let explain = |error| Box::new(error) as Explained;
            recovered.beside = Some(actions.keep_trace(&action.id, trace).map_err(explain)?);
            actions.keep(&action).map_err(explain)?;
            told(Told::Reached("written"));
            Ok(())
        };
        if rows {
            match write(&mut before) {
                Ok(_) => {}
                Err(RecordError::Unknown { reason }) => self.find_out(&action, reason)?,
                Err(error) => self.give_up(error.into())?,
            }
        } else {
            before(&Trace::default(), None).map_err(RecordError::store)?;
        }
        self.action = action;
        told(Told::Reached("committed"));
        let left = journal::place_all(actions, &mut self.action).map_err(|error| {
            let action = self.action.id.clone();
            OpError::from(Problem::HalfDone { action, source: Box::new(error) })
        })?;
        self.left.extend(left);
        journal::clear(&self.staging);
        told(Told::Reached("placed"));
        if !rows && self.recovered().files.is_empty() {
            return self.nothing();
        }
        journal::finish(actions, &self.action).map(|()| true)
    }

    /// What changed nothing is nothing that anybody takes back.
    fn nothing(&self) -> Result<bool, OpError> {
        journal::clear(&self.staging);
        self.settings.actions.forget(&self.action)?;
        Ok(false)
    }

    /// Finds out what became of it, where that is not known. As long as nobody knows the action stays begun, and the next
    /// command asks again.
    fn find_out(&self, action: &Action, reason: String) -> Result<(), OpError> {
        let recovered = action.recovered.as_ref().expect("BUG: it was made with it");
        if recovered.others.is_empty() {
            return Err(RecordError::Unknown { reason }.into());
        }
        let Self { unlocked, configured, settings: Settings { actions, wait, control, .. }, .. } = self;
        match apart::became(unlocked, actions, configured, (action, recovered), (*wait, control)) {
            Ok(Became::Written) => Ok(()),
            Ok(Became::Nothing | Became::TakenBack) => self.give_up(Problem::TakenApart { reason }.into()),
            Err(error) => {
                let (action, error) = (action.id.clone(), Box::new(error));
                Err(Problem::Apart { action, reason, error }.into())
            }
        }
    }

    /// Nothing was changed: what was made ready goes, and the action says so.
    fn give_up<T>(&self, error: OpError) -> Result<T, OpError> {
        journal::clear(&self.staging);
        self.settings.actions.forget_fired(&self.action);
        let own = Some(self.action.id.clone());
        self.settings.actions.keep(&Action { state: State::Done, undone_by: own, ..self.action.clone() })?;
        Err(error)
    }
}
