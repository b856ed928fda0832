//! Taking back what was done to live data: everything that the action touched becomes what the safety snapshot says.
//!
//! Owns the rule that nobody's newer work is lost silently: what an action left is compared with what is there now.

use crate::base::entry::Entry;
use crate::base::id::SnapshotId;
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::engine::sqlite::apply::{self, OnDamage, Options};
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::actions::{Action, Actions, Holding, Kind, State};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::hooks::{self, Facts};
use crate::ops::recover;
use crate::ops::restore::in_place::{self, Report, Settings};
use crate::ops::restore::live::{self, Change, Origin, Place, Sorted, Walk, find, is_database, stem};
use crate::ops::restore::server::KIND;
use crate::ops::restore::swap;
use crate::vault::read::Library;
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

/// So many changed paths are named.
const NAMED: usize = 5;

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
    if let Some(by) = &done.undone_by {
        return Err(Problem::TakenBack { action: done.id.clone(), by: by.clone() }.into());
    }
    if done.recovered.is_some() {
        let report = recover::take_back(unlocked, &done, &configured, force, &settings)?;
        return Ok((done, report));
    }
    let all = unlocked.snapshots()?.readable;
    let touches = snapshot(&all, &done, done.touches)?;
    let left = manifest(&all, &done, done.gives)?;
    let gives = match done.safety {
        // Databases that changed places change them again.
        Holding::Unknown if done.parts.iter().all(|part| part.swap.is_some()) => None,
        safety => manifest(&all, &done, safety)?,
    };
    if settings.safety.is_none() && !force {
        return Err(Problem::Unlooked.into());
    }
    let now = Now { unlocked, touches, left, gives, done: &done, force, settings: &settings };
    let facts = Facts::of(done.touches.to_hex(), &done.parts);
    let (report, ran) = hooks::around(&settings, &facts, || now.take_back(configured))?;
    Ok((done, Report { hooks: ran, ..report }))
}

/// Everything there is to know before anything is done.
struct Now<'n> {
    unlocked: &'n UnlockedVault,
    touches: &'n Manifest,
    left: Option<&'n Manifest>,
    gives: Option<&'n Manifest>,
    done: &'n Action,
    force: bool,
    settings: &'n Settings<'n>,
}

impl Now<'_> {
    fn take_back(&self, configured: Vec<Planned>) -> Result<Report, OpError> {
        let Self { unlocked, touches, left, gives, done, force, settings } = *self;
        let mut parts = done.parts.clone();
        let swaps = swap::reverse(unlocked, gives, (&mut parts, done.state), &configured, settings)?;
        let before = in_place::save(unlocked, (touches, gives), &parts, configured, settings)?;
        let action = Action {
            id: Actions::fresh_id(),
            time: Instant::now(),
            kind: Kind::Undo,
            state: State::Begun,
            gives: done.safety,
            safety: before.holding,
            undoes: Some(done.id.clone()),
            parts,
            ..done.clone()
        };
        let (listing, guard) = (before.listing(), &before.guard);
        let change =
            Change { unlocked, touches, gives, before: listing, guard, action: &action, swaps: &swaps, settings };
        if !force {
            unchanged(&change, left, done)?;
        }
        if done.state == State::Begun {
            live::sweep(&change)?;
        }
        let given = in_place::run(&change)?;
        settings.actions.keep(&Action { state: State::Done, ..action.clone() })?;
        settings.actions.keep(&Action { undone_by: Some(action.id.clone()), ..done.clone() })?;
        reopen(settings.actions, done)?;
        swaps.done();
        let safety = before.manifest.map(|manifest| manifest.id);
        Ok(Report { action: action.id, safety, given, hooks: Vec::new() })
    }
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

/// Is everything the action touched as it left it? One that was killed half way may have left it as it was before.
fn unchanged(change: &Change<'_>, left: Option<&Manifest>, done: &Action) -> Result<(), OpError> {
    let library = change.unlocked.library()?;
    let (mut count, mut paths) = (0, Vec::new());
    for part in done.parts.iter().filter(|part| part.kind == KIND) {
        let Some(left) = left else { continue };
        for table in change.swaps.changed(change.unlocked, left, part, &change.settings.control)? {
            count += 1;
            if paths.len() < NAMED {
                paths.push(format!("{}/{table}", part.source));
            }
        }
    }
    for part in done.parts.iter().filter(|part| part.kind != KIND) {
        let place = Place::of(change, part, &library)?;
        let record = left.and_then(|left| left.sources.iter().find(|source| source.name == part.source));
        let mut was = record.map(|record| Sorted::new(record, &part.path, &library));
        for step in Walk::new(&place, &library) {
            let Ok(step) = step else { continue };
            let expected = was.as_mut().map(|was| was.take(&step.path)).transpose()?.flatten();
            // What is to become what it is will not be touched.
            let stays = same(step.wanted.as_ref(), step.now.as_ref());
            let seen = step.now.as_ref().is_none_or(|now| !place.has_unseen_log(now, record));
            if (stays || same(expected.as_ref(), step.now.as_ref())) && seen {
                continue;
            }
            let is_same_database = match (&expected, &step.now, record) {
                (Some(expected), Some(_), Some(record)) if is_database(expected, record, &library)? => {
                    let half = done.state == State::Begun;
                    still_holds(change, &place, expected, record, &library)?
                        || (half && was_before(change, &place, step.wanted.as_ref(), &library)?)
                }
                _ => false,
            };
            if is_same_database || belongs_to_database(&step.path, record, &library)? {
                continue;
            }
            count += 1;
            if paths.len() < NAMED {
                paths.push(place.shown(&step.path));
            }
        }
    }
    if count == 0 { Ok(()) } else { Err(Problem::ChangedSince { count, paths }.into()) }
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

fn was_before(
    change: &Change<'_>,
    place: &Place<'_>,
    before: Option<&Entry>,
    library: &Library<'_>,
) -> Result<bool, OpError> {
    match (before, place.gives) {
        (Some(before), Some(gives)) => still_holds(change, place, before, gives, library),
        _ => Ok(false),
    }
}

/// The counters of a database that was given back are its own: only its pages tell whether it was written to since.
fn still_holds(
    change: &Change<'_>,
    place: &Place<'_>,
    expected: &Entry,
    record: &SourceRecord,
    library: &Library<'_>,
) -> Result<bool, OpError> {
    let settings = change.settings;
    let Some(live) = place.ground.database(&expected.path) else { return Ok(false) };
    if place.ground.odd_for_database(&expected.path).is_some() {
        return Ok(false);
    }
    let options = Options { wait: settings.wait, on_damage: OnDamage::Tell, control: &settings.control, dress: None };
    Origin { record, library, control: &settings.control }
        .pages(expected, &live, |pages| apply::holds(&live, pages, &options))
}

/// What SQLite keeps beside a database comes and goes.
fn belongs_to_database(
    path: &EntryPath,
    record: Option<&SourceRecord>,
    library: &Library<'_>,
) -> Result<bool, OpError> {
    let (Some(stem), Some(record)) = (stem(path), record) else { return Ok(false) };
    find(record, &stem, library)?.map_or(Ok(false), |database| is_database(&database, record, library))
}
