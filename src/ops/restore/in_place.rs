//! Giving sources back where they live: a safety snapshot, the action on record, the change, the action done.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::id::SnapshotId;
use crate::base::path::{EntryPath, encode};
use crate::base::time::Instant;
use crate::engine::regular;
use crate::engine::sqlite::apply::OnDamage;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::{Action, Actions, Holding, Kind, State, Touched};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::hooks::{self, Facts, Hooks, Ran};
use crate::ops::places::Places;
use crate::ops::restore::claims::{Claims, real};
use crate::ops::restore::foreseen::{Foreseen, Told};
use crate::ops::restore::ground;
use crate::ops::restore::guard::Guard;
use crate::ops::restore::live::{self, Change, Given, live_path};
use crate::ops::restore::live_target::no_vault;
use crate::ops::restore::server;
use crate::ops::restore::swap::{self, Swaps};
use crate::ops::restore::{Issue, parted};
use crate::ops::safety;
use crate::ops::show::{self, Part};
use crate::ops::turns::{Place, Purpose, Taken, Turn};
use crate::vault::commit::Label;
use crate::vault::select::SAFETY;
use crate::vault::unlocked::UnlockedVault;

/// Kinds of sources that can be given back where they live.
const KINDS: [&str; 3] = ["files", "sqlite", server::KIND];

pub struct Request<'r> {
    /// What to restore; empty for everything.
    pub parts: Vec<Part>,
    /// The sources of the configuration, which say where they live and what of them is captured.
    pub configured: Vec<Planned>,
    /// What else is known of where they live.
    pub places: Places,
    pub settings: Settings<'r>,
}

/// How live data is changed, by whatever use case.
pub struct Settings<'r> {
    /// What the safety snapshot says of itself; without one there is no way back.
    pub safety: Option<Label>,
    /// How long a locked database is waited for.
    pub wait: Duration,
    pub on_damage: OnDamage,
    /// A database may be replaced though there is something in it that is not captured.
    pub accept_left_out: bool,
    pub numeric_ids: bool,
    /// What has the size and the times that it had is not read.
    pub trust_times: bool,
    pub actions: &'r Actions,
    pub hooks: Hooks,
    /// Is told of each step as it is taken.
    pub told: &'r dyn Fn(Step),
    pub control: Arc<Control>,
}

impl Settings<'_> {
    /// Waits until nobody else changes or reads these places.
    pub(in crate::ops) fn turn(&self, command: &str, places: Vec<Place>) -> Result<Turn, OpError> {
        self.turn_for(Purpose::Change, command, places)
    }

    /// Waits until nobody changes these places, to look at them.
    pub(in crate::ops) fn glance(&self, command: &str, places: Vec<Place>) -> Result<Turn, OpError> {
        self.turn_for(Purpose::Read, command, places)
    }

    fn turn_for(&self, purpose: Purpose, command: &str, places: Vec<Place>) -> Result<Turn, OpError> {
        let waits = |taken: &Taken| (self.told)(Step::Waits(taken.clone()));
        let turn = self.actions.turns().turn((command, purpose), places, (self.wait, &self.control), &waits);
        Ok(turn?)
    }

    /// The same, with nobody to interrupt it.
    fn calm(&self) -> Settings<'_> {
        Settings { safety: None, hooks: Hooks::default(), control: Arc::default(), ..*self }
    }
}

/// A step that was taken.
pub enum Step {
    /// What is about to be changed.
    Writes(Vec<Touched>),
    /// What was there is safe in this snapshot, or was not there.
    Safe(Holding),
    Hook(Ran),
    /// Somebody else has the place.
    Waits(Taken),
    /// Something was reached that is worth no word: a place at which tests end the process.
    Reached(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// By which it is taken back; nothing where everything was as it should be already.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What was written to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Written>,
    /// What was there before is in this snapshot.
    pub safety: Option<SnapshotId>,
    #[serde(flatten)]
    pub given: Given,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Ran>,
}

/// A part of a source, and where its source lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Written {
    pub source: String,
    pub path: EntryPath,
    pub root: String,
}

impl Written {
    fn of(part: &Touched) -> Self {
        Self { source: part.source.to_string(), path: part.path.clone(), root: part.root.clone() }
    }
}

/// Is it known where these parts live?
pub fn places(manifest: &Manifest, parts: &[Part], configured: &[Planned], places: &Places) -> Result<(), OpError> {
    plan(manifest, parts, configured, places).map(|_| ())
}

/// Gives parts of a snapshot back where they live.
pub fn restore(unlocked: &UnlockedVault, manifest: &Manifest, request: Request<'_>) -> Result<Report, OpError> {
    let Request { parts, configured, places, settings } = request;
    let (mut parts, absent) = plan(manifest, &parts, &configured, &places)?;
    must_be(unlocked, manifest, &parts)?;
    (settings.told)(Step::Writes(parts.clone()));
    let written = parts.iter().map(Written::of).collect();
    let turn = settings.turn("restore", parts.iter().map(Touched::place).collect())?;
    ground::look_ahead(manifest, &parts, &unlocked.library()?)?;
    // What takes long is done while the app still runs, and before anything is touched.
    let swaps = swap::prepare(unlocked, manifest, &mut parts, &configured, &settings)?;
    let facts = Facts::of(manifest.id.to_hex(), &parts, &turn);
    let work = || between(unlocked, manifest, parts, configured, swaps, &settings);
    let (report, ran) = hooks::around(&settings, &facts, work)?;
    let mut given = report.given;
    given.files.issues_count += absent.len() as u64;
    given.files.issues.extend(absent);
    Ok(Report { hooks: ran, given, places: written, ..report })
}

/// What that would do, without doing it.
pub fn foresee(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    request: Request<'_>,
    told: &mut Told<'_>,
) -> Result<Foreseen, OpError> {
    let Request { parts, configured, places, settings } = request;
    let (parts, absent) = plan(manifest, &parts, &configured, &places)?;
    must_be(unlocked, manifest, &parts)?;
    (settings.told)(Step::Writes(parts.clone()));
    let _turn = settings.glance("restore", parts.iter().map(Touched::place).collect())?;
    let issues_count = absent.len() as u64;
    let mut foreseen = Foreseen { issues: absent, issues_count, ..Foreseen::default() };
    swap::foresee(unlocked, manifest, &parts, (&configured, &settings), &mut foreseen)?;
    let action = action(settings.actions, manifest, parts)?;
    let (guard, swaps, claims) = (&Guard::default(), &Swaps::default(), &Claims::of(&action.parts));
    let (touches, gives, before, settings) = (manifest, Some(manifest), None, &settings);
    let change = Change { unlocked, touches, gives, before, guard, claims, action: &action, swaps, settings };
    live::foresee(&change, &configured, &mut foreseen, told)?;
    Ok(foreseen)
}

/// What is asked for and not in the snapshot is an error, before anything is done.
fn must_be(unlocked: &UnlockedVault, manifest: &Manifest, parts: &[Touched]) -> Result<(), OpError> {
    let library = unlocked.library()?;
    for part in parts.iter().filter(|part| !part.path.is_root()) {
        let Some(record) = manifest.sources.iter().find(|source| source.name == part.source) else { continue };
        // What cannot be read is told when it is given back.
        if matches!(show::is_there(&library, record, &part.path), Ok(false)) {
            let (snapshot, source_name) = (manifest.id.short(), part.source.to_string());
            return Err(Problem::NoPath { snapshot, source_name, path: part.path.to_string() }.into());
        }
    }
    Ok(())
}

/// A restore of these parts, as it begins.
fn action(actions: &Actions, manifest: &Manifest, parts: Vec<Touched>) -> Result<Action, OpError> {
    Ok(Action {
        id: Actions::fresh_id(),
        number: actions.next_number()?,
        time: Instant::now(),
        kind: Kind::Restore,
        state: State::Begun,
        app: manifest.app.clone(),
        touches: manifest.id,
        gives: Holding::Snapshot(manifest.id),
        safety: Holding::Unknown,
        made: missing_folders(&parts),
        parts,
        undoes: None,
        undone_by: None,
        recovered: None,
    })
}

fn between(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    parts: Vec<Touched>,
    configured: Vec<Planned>,
    swaps: Swaps,
    settings: &Settings<'_>,
) -> Result<Report, OpError> {
    let (touches, gives) = (manifest, Some(manifest));
    let before = save(unlocked, (touches, gives), &parts, configured, settings, &mut |_, _| Ok(()))?;
    let action = Action { safety: before.holding, ..action(settings.actions, manifest, parts)? };
    let (listing, guard, claims) = (before.listing(), &before.guard, &Claims::of(&action.parts));
    let change =
        Change { unlocked, touches, gives, before: listing, guard, claims, action: &action, swaps: &swaps, settings };
    let given = run(&change)?;
    // What changed nothing is nothing that anybody takes back.
    let action = match given.changed {
        true => {
            settings.actions.keep(&Action { state: State::Done, ..action.clone() })?;
            Some(action.id)
        }
        false => {
            settings.actions.forget(&action)?;
            None
        }
    };
    swaps.done();
    let safety = before.manifest.map(|manifest| manifest.id);
    Ok(Report { action, places: Vec::new(), safety, given, hooks: Vec::new() })
}

/// What was there before a change, which nobody can alter until it is made.
#[derive(Default)]
pub(in crate::ops) struct Before {
    pub holding: Holding,
    pub manifest: Option<Manifest>,
    pub guard: Guard,
    /// Somebody has written to a database while the safety snapshot was made.
    pub written: bool,
}

impl Before {
    /// What is known of what is there: `None` if nobody looked, nothing if nothing was there.
    pub fn listing(&self) -> Option<Option<&Manifest>> {
        match self.holding {
            Holding::Unknown => None,
            _ => Some(self.manifest.as_ref()),
        }
    }
}

/// Looks at what is there while nobody can alter it, before it is kept: an error leaves everything as it is.
pub(in crate::ops) type Look<'l> = dyn FnMut(&Guard, &[Planned]) -> Result<(), OpError> + 'l;

/// Makes the safety snapshot, after a look at what would be in it that may refuse it all. Where somebody has written meanwhile it is made once more, with writers kept waiting.
pub(in crate::ops) fn save(
    unlocked: &UnlockedVault,
    (touches, gives): (&Manifest, Option<&Manifest>),
    parts: &[Touched],
    configured: Vec<Planned>,
    settings: &Settings<'_>,
    look: &mut Look<'_>,
) -> Result<Before, OpError> {
    let odd = ground::look_ahead(touches, parts, &unlocked.library()?)?;
    let before = match &settings.safety {
        None => Before::default(),
        Some(label) => {
            let label = Label { app: touches.app.clone(), reason: SAFETY.to_owned(), ..label.clone() };
            let named: Vec<&Manifest> = gives.into_iter().chain([touches]).collect();
            let guard = Guard::watch(&named, parts, &unlocked.library()?, settings)?;
            look(&guard, &configured)?;
            match safety::plan((parts, odd), configured, label, (settings.trust_times, &settings.control))? {
                None => Before { holding: Holding::Nothing, guard, ..Before::default() },
                Some(plan) => {
                    let mut made = plan.take(unlocked, &named)?;
                    (settings.told)(Step::Reached("saved"));
                    let written = !guard.hold(settings)?;
                    if written {
                        made = plan.take(unlocked, &named)?;
                    }
                    Before { holding: Holding::Snapshot(made.id), manifest: Some(made), guard, written }
                }
            }
        }
    };
    // A database that is swapped is kept aside: that is a way back without a snapshot.
    let all_kept = parts.iter().all(|part| part.swap.is_some());
    if !(all_kept && before.holding == Holding::Unknown) {
        (settings.told)(Step::Safe(before.holding));
    }
    Ok(before)
}

/// Writes the action down and makes the change. A change that fails is taken back at once; where that fails too, the
/// action stays on record as begun, for `undo`.
pub(in crate::ops) fn run(change: &Change<'_>) -> Result<Given, OpError> {
    let actions = change.settings.actions;
    actions.keep(change.action)?;
    let mut progress = live::Progress::default();
    let error = match live::give(change, &mut progress) {
        Ok(given) => return Ok(given),
        Err(error) => error,
    };
    let before = match change.before {
        Some(before) => before,
        None if change.action.parts.iter().all(|part| part.swap.is_some()) => None,
        None => return Err(error),
    };
    // Whoever asked to stop did not ask to leave things half done.
    let settings = change.settings.calm();
    let back = Change { gives: before, before: None, settings: &settings, ..*change };
    match live::take_back(&back, &progress) {
        // Where nothing had been changed, there was nothing to take back, whatever kept it from that.
        back if back.is_ok() || progress.is_none() => {
            remove_folders(&change.action.made);
            actions.keep(&change.action.failed())?;
            Err(error)
        }
        _ => Err(Problem::HalfDone { action: change.action.id.clone(), source: Box::new(error) }.into()),
    }
}

/// The folders that are not there and will be made for these parts, the deepest first.
pub(in crate::ops) fn missing_folders(parts: &[Touched]) -> Vec<String> {
    let mut folders = Vec::new();
    for part in parts.iter().filter(|part| part.kind != server::KIND) {
        let place = live_path(&real(&safety::place(&part.root)), &part.path);
        // Only a root is no entry like any other. One that is a file is no folder, and stays when folders are removed.
        let own = place.ancestors().skip(usize::from(!part.path.is_root()));
        folders.extend(own.take_while(|folder| fs::symlink_metadata(folder).is_err()).map(Path::to_owned));
    }
    folders.sort_unstable_by(|a, b| b.cmp(a));
    folders.dedup();
    folders.iter().map(|folder| encode(folder.as_os_str().as_encoded_bytes())).collect()
}

/// Removes the folders that were made, where nothing is in them.
pub(in crate::ops) fn remove_folders(made: &[String]) {
    for folder in made {
        // Somebody may have put something there, or be at home there; or have put a link in its place.
        regular::remove_folder(&safety::place(folder));
    }
}

/// What is touched, and what the snapshot has nothing of: that stays as it is.
fn plan(
    manifest: &Manifest,
    parts: &[Part],
    configured: &[Planned],
    places: &Places,
) -> Result<(Vec<Touched>, Vec<Issue>), OpError> {
    let wanted: Vec<(&SourceRecord, EntryPath)> = match parts {
        [] => manifest.sources.iter().map(|source| (source, EntryPath::root())).collect(),
        some => {
            let of = |part: &Part| Ok((part.source_of(manifest)?, part.path.clone()));
            some.iter().map(of).collect::<Result<_, OpError>>()?
        }
    };
    let (there, absent) = parted(manifest, wanted, !parts.is_empty())?;
    let touched = |(record, path): (&SourceRecord, EntryPath)| {
        if !KINDS.contains(&record.kind.as_str()) {
            let (source_name, kind) = (record.name.to_string(), record.kind.clone());
            return Err(Problem::Kind { source_name, kind, verb: "restore in place" }.into());
        }
        let root = places.root(manifest, record, configured)?;
        if record.kind != server::KIND {
            no_vault(&safety::place(&root))?;
        }
        if record.kind == server::KIND && !path.is_root() {
            return Err(Problem::PartOfDatabase { part: path.to_string() }.into());
        }
        Ok(Touched { source: record.name.clone(), kind: record.kind.clone(), root, path, swap: None })
    };
    Ok((there.into_iter().map(touched).collect::<Result<_, OpError>>()?, absent))
}
