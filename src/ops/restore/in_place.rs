//! Giving sources back where they live: a safety snapshot, the action on record, the change, the action done.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::id::SnapshotId;
use crate::base::time::Instant;
use crate::engine::sqlite::apply::OnDamage;
use crate::format::manifest::Manifest;
use crate::ops::actions::{Action, Actions, Holding, Kind, State, Touched};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::hooks::{self, Facts, Hooks, Ran};
use crate::ops::restore::ground;
use crate::ops::restore::guard::Guard;
use crate::ops::restore::live::{self, Change, Given};
use crate::ops::restore::server;
use crate::ops::restore::swap::{self, Swaps};
use crate::ops::safety;
use crate::ops::show::Part;
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
    pub settings: Settings<'r>,
}

/// How live data is changed, by whatever use case.
pub struct Settings<'r> {
    /// What the safety snapshot says of itself; without one there is no way back.
    pub safety: Option<Label>,
    /// How long a locked database is waited for.
    pub wait: Duration,
    pub on_damage: OnDamage,
    pub numeric_ids: bool,
    pub actions: &'r Actions,
    pub hooks: Hooks,
    /// Is told of each step as it is taken.
    pub told: &'r dyn Fn(Step),
    pub control: Arc<Control>,
}

impl Settings<'_> {
    /// The same, with nobody to interrupt it.
    fn calm(&self) -> Settings<'_> {
        Settings { safety: None, hooks: Hooks::default(), control: Arc::default(), ..*self }
    }
}

/// A step that was taken.
pub enum Step {
    /// What was there is safe in this snapshot, or was not there.
    Safe(Holding),
    Hook(Ran),
    /// Something was reached that is worth no word: a place at which tests end the process.
    Reached(&'static str),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    pub action: String,
    /// What was there before is in this snapshot.
    pub safety: Option<SnapshotId>,
    #[serde(flatten)]
    pub given: Given,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Ran>,
}

/// Gives parts of a snapshot back where they live.
pub fn restore(unlocked: &UnlockedVault, manifest: &Manifest, request: Request<'_>) -> Result<Report, OpError> {
    let Request { parts, configured, settings } = request;
    let mut parts = plan(manifest, &parts, &configured)?;
    ground::look_ahead(manifest, &parts, &unlocked.library()?)?;
    // What takes long is done while the app still runs, and before anything is touched.
    let swaps = swap::prepare(unlocked, manifest, &mut parts, &configured, &settings)?;
    let facts = Facts::of(manifest.id.to_hex(), &parts);
    let work = || between(unlocked, manifest, parts, configured, swaps, &settings);
    let (report, ran) = hooks::around(&settings, &facts, work)?;
    Ok(Report { hooks: ran, ..report })
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
    let before = save(unlocked, (touches, gives), &parts, configured, settings)?;
    let action = Action {
        id: Actions::fresh_id(),
        time: Instant::now(),
        kind: Kind::Restore,
        state: State::Begun,
        app: manifest.app.clone(),
        touches: manifest.id,
        gives: Holding::Snapshot(manifest.id),
        safety: before.holding,
        parts,
        undoes: None,
        undone_by: None,
        recovered: None,
    };
    let (listing, guard) = (before.listing(), &before.guard);
    let change = Change { unlocked, touches, gives, before: listing, guard, action: &action, swaps: &swaps, settings };
    let given = run(&change)?;
    settings.actions.keep(&Action { state: State::Done, ..action.clone() })?;
    swaps.done();
    let safety = before.manifest.map(|manifest| manifest.id);
    Ok(Report { action: action.id, safety, given, hooks: Vec::new() })
}

/// What was there before a change, which nobody can alter until it is made.
#[derive(Default)]
pub(in crate::ops) struct Before {
    pub holding: Holding,
    pub manifest: Option<Manifest>,
    pub guard: Guard,
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

/// Makes the safety snapshot. Where somebody has written meanwhile it is made once more, with writers kept waiting.
pub(in crate::ops) fn save(
    unlocked: &UnlockedVault,
    (touches, gives): (&Manifest, Option<&Manifest>),
    parts: &[Touched],
    configured: Vec<Planned>,
    settings: &Settings<'_>,
) -> Result<Before, OpError> {
    let odd = ground::look_ahead(touches, parts, &unlocked.library()?)?;
    let before = match &settings.safety {
        None => Before::default(),
        Some(label) => {
            let label = Label { app: touches.app.clone(), reason: SAFETY.to_owned(), ..label.clone() };
            let guard = Guard::watch(gives, parts, settings)?;
            match safety::plan((parts, odd), configured, label, &settings.control)? {
                None => Before { holding: Holding::Nothing, manifest: None, guard },
                Some(plan) => {
                    let mut made = plan.take(unlocked.vault())?;
                    (settings.told)(Step::Reached("saved"));
                    if !guard.hold(settings)? {
                        made = plan.take(unlocked.vault())?;
                    }
                    Before { holding: Holding::Snapshot(made.id), manifest: Some(made), guard }
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
        Ok(()) => {
            let own = change.action.id.clone();
            actions.keep(&Action { state: State::Done, undone_by: Some(own), ..change.action.clone() })?;
            Err(error)
        }
        Err(_) => Err(Problem::HalfDone { action: change.action.id.clone(), source: Box::new(error) }.into()),
    }
}

fn plan(manifest: &Manifest, parts: &[Part], configured: &[Planned]) -> Result<Vec<Touched>, OpError> {
    let whole =
        || manifest.sources.iter().map(|source| Part { source: Some(source.name.to_string()), ..Part::whole() });
    let parts = if parts.is_empty() { whole().collect() } else { parts.to_vec() };
    let touched = |part: Part| {
        let record = part.source_of(manifest)?;
        if !KINDS.contains(&record.kind.as_str()) {
            let (source_name, kind) = (record.name.to_string(), record.kind.clone());
            return Err(Problem::Kind { source_name, kind, verb: "restore in place" }.into());
        }
        let own = configured.iter().find(|planned| planned.name == record.name && planned.source.kind() == record.kind);
        let root = own.map_or(record.root.clone(), |planned| planned.source.root());
        if record.kind == server::KIND && !part.path.is_root() {
            return Err(Problem::PartOfDatabase { part: part.path.to_string() }.into());
        }
        Ok(Touched { source: record.name.clone(), kind: record.kind.clone(), root, path: part.path, swap: None })
    };
    parts.into_iter().map(touched).collect()
}
