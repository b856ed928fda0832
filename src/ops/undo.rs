//! Taking back what was done to live data: everything that the action touched becomes what the safety snapshot says.
//!
//! Owns the rule that nobody's newer work is lost silently: what an action left is compared with what is there now.

mod meant;
mod since;

pub use meant::{Meant, Since, meant};
use since::{Looked, unchanged, unchanged_there};

use crate::base::error::{Class, Explain};
use crate::base::id::SnapshotId;
use crate::base::time::Instant;
use crate::engine::sqlite::apply;
use crate::engine::sqlite::file::DatabaseFile;
use crate::format::manifest::Manifest;
use crate::ops::actions::{Action, Actions, Holding, Kind, State, Touched};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::hooks::{self, Facts};
use crate::ops::recover;
use crate::ops::restore::claims::Claims;
use crate::ops::restore::foreseen::{Foreseen, Told};
use crate::ops::restore::ground::Ground;
use crate::ops::restore::guard::Guard;
use crate::ops::restore::in_place::{self, Report, Settings};
use crate::ops::restore::live::{self, Change, find};
use crate::ops::restore::server;
use crate::ops::restore::swap::{self, Swaps};
use crate::ops::safety::place;
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

pub struct Request<'r> {
    /// The beginning of an action's id; without one, the last restore that was not taken back.
    pub action: Option<String>,
    pub configured: Vec<Planned>,
    /// Take it back whatever changed since.
    pub force: bool,
    pub settings: Settings<'r>,
}

/// Takes an action back. Returns which, and what was done, which is an action itself.
pub fn undo(unlocked: &UnlockedVault, request: Request<'_>) -> Result<(Action, Report), OpError> {
    let Request { action, configured, force, settings } = request;
    let done = settings.actions.find(action.as_deref())?;
    let turn = settings.turn("undo", done.parts.iter().map(Touched::place).collect())?;
    // Whoever had the place before may have taken it back.
    let done = standing(settings.actions.find(Some(&done.id))?)?;
    if done.recovered.is_some() {
        let report = recover::take_back(unlocked, &done, &configured, force, &settings)?;
        return Ok((done, report));
    }
    let all = unlocked.snapshots()?.readable;
    let now = Now::of(unlocked, &all, &done, (force, &settings))?;
    let facts = Facts::of(done.touches.to_hex(), &done.parts, &turn);
    let taken_back = hooks::around(&settings, &facts, || now.take_back(configured));
    let is_final = |error: &OpError| !matches!(error.class(), Class::Busy | Class::Interrupted);
    if taken_back.as_ref().is_err_and(is_final) && now.is_untouched() {
        // It would stand in the way of every undo that names none.
        settings.actions.keep(&done.failed())?;
        return Err(Problem::NothingBegun { action: done.id }.into());
    }
    let (report, ran) = taken_back?;
    Ok((done, Report { hooks: ran, ..report }))
}

/// What that would do, without doing it. Whatever it would refuse beforehand is refused.
pub fn foresee(
    unlocked: &UnlockedVault,
    request: Request<'_>,
    told: &mut Told<'_>,
) -> Result<(Action, Foreseen), OpError> {
    let Request { action, configured, force, settings } = request;
    let done = standing(settings.actions.find(action.as_deref())?)?;
    if done.recovered.is_some() {
        let foreseen = recover::foresee_taking_back(unlocked, &done, (&configured, force, &settings), told)?;
        return Ok((done, foreseen));
    }
    let _turn = settings.glance("undo", done.parts.iter().map(Touched::place).collect())?;
    let all = unlocked.snapshots()?.readable;
    let foreseen = Now::of(unlocked, &all, &done, (force, &settings))?.foresee(&configured, told)?;
    Ok((done, foreseen))
}

fn standing(done: Action) -> Result<Action, OpError> {
    match &done.undone_by {
        Some(by) => Err(Problem::TakenBack { action: done.id.clone(), by: by.clone() }.into()),
        None => Ok(done),
    }
}

/// Everything there is to know before anything is done.
struct Now<'n> {
    unlocked: &'n UnlockedVault,
    touches: &'n Manifest,
    left: Option<&'n Manifest>,
    gives: Option<&'n Manifest>,
    done: &'n Action,
    /// An undo of it that was killed.
    broken_off: Option<Action>,
    force: bool,
    settings: &'n Settings<'n>,
}

impl<'n> Now<'n> {
    fn of(
        unlocked: &'n UnlockedVault,
        all: &'n [Snapshot],
        done: &'n Action,
        (force, settings): (bool, &'n Settings<'n>),
    ) -> Result<Self, OpError> {
        let touches = snapshot(all, done, done.touches)?;
        let left = manifest(all, done, done.gives)?;
        let gives = match done.safety {
            // Databases that changed places change them again.
            Holding::Unknown if done.parts.iter().all(|part| part.swap.is_some()) => None,
            safety => manifest(all, done, safety)?,
        };
        if settings.safety.is_none() && !force {
            return Err(Problem::Unlooked.into());
        }
        let broken_off = broken_off(settings.actions, done)?;
        Ok(Self { unlocked, touches, left, gives, done, broken_off, force, settings })
    }
}

impl Now<'_> {
    fn take_back(&self, configured: Vec<Planned>) -> Result<Report, OpError> {
        let Self { unlocked, touches, left, gives, done, ref broken_off, force, settings } = *self;
        let mut parts = done.parts.clone();
        self.unused(&|live| apply::is_in_use(live) || apply::is_open_elsewhere(live))?;
        let swaps = swap::reverse(unlocked, gives, (&mut parts, done.state), &configured, settings)?;
        let claims = &Claims::of(&parts);
        let mut action = Action { made: in_place::missing_folders(&parts), parts, ..self.action()? };
        let mut looked = Looked::new();
        let before = in_place::save(
            unlocked,
            (touches, gives),
            &action.parts,
            configured,
            settings,
            &mut |guard, configured| {
                let action = &action;
                let change =
                    Change { unlocked, touches, gives, before: None, guard, claims, action, swaps: &swaps, settings };
                if !force {
                    looked = unchanged_there(&change, left, configured)?;
                }
                Ok(())
            },
        )?;
        action.safety = before.holding;
        let (listing, guard) = (before.listing(), &before.guard);
        let change = Change {
            unlocked,
            touches,
            gives,
            before: listing,
            guard,
            claims,
            action: &action,
            swaps: &swaps,
            settings,
        };
        if !force {
            if before.written {
                looked.clear();
            }
            unchanged(&change, left, &looked)?;
        }
        if done.state == State::Begun || broken_off.is_some() {
            live::sweep(&change)?;
        }
        let given = in_place::run(&change)?;
        let safety = before.manifest.as_ref().map(|manifest| manifest.id);
        // What was left alone, and nothing else, is not taken back: it can be asked for again.
        if given.is_nothing() && given.files.issues_count > 0 {
            settings.actions.forget(&action)?;
            swaps.done();
            return Ok(Report { action: None, places: Vec::new(), safety, given, hooks: Vec::new() });
        }
        in_place::remove_folders(&done.made);
        settings.actions.keep(&Action { state: State::Done, ..action.clone() })?;
        settings.actions.keep(&Action { undone_by: Some(action.id.clone()), ..done.clone() })?;
        if let Some(broken_off) = broken_off {
            settings.actions.keep(&Action { undone_by: Some(action.id.clone()), ..broken_off.clone() })?;
        }
        reopen(settings.actions, done)?;
        swaps.done();
        Ok(Report { action: Some(action.id), places: Vec::new(), safety, given, hooks: Vec::new() })
    }

    /// Does everything that a broken-off action was about stand as it did before?
    fn is_untouched(&self) -> bool {
        let Self { unlocked, touches, gives, done, settings, .. } = *self;
        let is_swap = |part: &Touched| part.kind == server::KIND;
        let made = done.made.iter().any(|folder| place(folder).exists());
        if done.state != State::Begun || made || done.parts.iter().any(is_swap) {
            return false;
        }
        let Ok(action) = &self.action() else { return false };
        let (guard, claims) = (&Guard::default(), &Claims::of(&done.parts));
        let swaps = &Swaps::default();
        let change = Change { unlocked, touches, gives, before: None, guard, claims, action, swaps, settings };
        unchanged_there(&change, gives, &[]).is_ok()
    }

    fn action(&self) -> Result<Action, OpError> {
        Ok(Action {
            id: Actions::fresh_id(),
            number: self.settings.actions.next_number()?,
            time: Instant::now(),
            kind: Kind::Undo,
            state: State::Begun,
            gives: self.done.safety,
            safety: Holding::Unknown,
            undoes: Some(self.done.id.clone()),
            ..self.done.clone()
        })
    }

    fn foresee(&self, configured: &[Planned], told: &mut Told<'_>) -> Result<Foreseen, OpError> {
        let Self { unlocked, touches, left, gives, done, force, settings, .. } = *self;
        // SQLite's own locks are not asked for: that can put a database in order on the way.
        self.unused(&apply::is_open_elsewhere)?;
        let mut foreseen = Foreseen::default();
        let swaps = &swap::foresee_reverse(gives, done, (configured, settings), &mut foreseen)?;
        let (action, guard, claims) = (&self.action()?, &Guard::default(), &Claims::of(&done.parts));
        let change = Change { unlocked, touches, gives, before: None, guard, claims, action, swaps, settings };
        if !force {
            unchanged_there(&change, left, configured)?;
        }
        live::foresee(&change, configured, &mut foreseen, told)?;
        Ok(foreseen)
    }

    /// Refuses to remove a database that an app has open: it would go on committing into nothing.
    fn unused(&self, is_in_use: &dyn Fn(&DatabaseFile) -> bool) -> Result<(), OpError> {
        let library = self.unlocked.library()?;
        for part in &self.done.parts {
            let of =
                |manifest: &'_ Manifest| manifest.sources.iter().find(|source| source.name == part.source).cloned();
            let Some(touched) = of(self.touches) else { continue };
            let given = self.gives.and_then(of);
            let databases = touched.databases.iter().filter(|database| database.engine == "sqlite");
            let mut databases =
                databases.map(|database| &database.path).filter(|path| path.is_within(&part.path)).peekable();
            let Some(first) = databases.peek() else { continue };
            // Only a source that is one file has a database for its root.
            let ground = Ground::of(part, &touched, first.is_root())?;
            for path in databases {
                let stays = given.as_ref().map(|given| find(given, path, &library)).transpose()?.flatten().is_some();
                let Some(live) = ground.database(path).filter(|live| !stays && live.is_there()) else { continue };
                if is_in_use(&live) {
                    return Err(Problem::Removed { path: live.shown().display().to_string() }.into());
                }
            }
        }
        Ok(())
    }
}

/// An undo of this action that was killed on its way.
fn broken_off(actions: &Actions, done: &Action) -> Result<Option<Action>, OpError> {
    let is_one = |action: &Action| {
        action.undoes.as_ref() == Some(&done.id) && action.state == State::Begun && action.undone_by.is_none()
    };
    Ok(actions.list()?.into_iter().rfind(is_one))
}

/// With an undo taken back, what it had taken back stands again.
fn reopen(actions: &Actions, done: &Action) -> Result<(), OpError> {
    let Some(first) = &done.undoes else { return Ok(()) };
    let first = actions.find(Some(first))?;
    Ok(actions.keep(&Action { undone_by: None, ..first })?)
}

fn snapshot<'s>(all: &'s [Snapshot], action: &Action, id: SnapshotId) -> Result<&'s Manifest, OpError> {
    let found = all.iter().map(|snapshot| &snapshot.manifest).find(|manifest| manifest.id == id);
    found.ok_or_else(|| Problem::SnapshotGone { action: action.id.clone(), snapshot: id.short() }.into())
}

pub(in crate::ops) fn manifest<'s>(
    all: &'s [Snapshot],
    action: &Action,
    holding: Holding,
) -> Result<Option<&'s Manifest>, OpError> {
    match holding {
        Holding::Snapshot(id) => snapshot(all, action, id).map(Some),
        Holding::Nothing => Ok(None),
        Holding::Unknown => Err(Problem::NoWayBack { action: action.id.clone() }.into()),
    }
}
