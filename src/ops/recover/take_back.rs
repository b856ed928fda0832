//! Taking a recovery back, or the taking back of one: rows hold again what their images say, files what they held.
//!
//! Owns the rule that nobody's newer work is lost silently: rows and files are compared with what the action left.

use std::collections::BTreeMap;

use crate::base::path::EntryPath;
use crate::base::record::Key;
use crate::base::time::Instant;
use crate::engine::sqlite::apply;
use crate::engine::sqlite::file::DatabaseFile;
use crate::format::manifest::{Manifest, ROWS};
use crate::ops::actions::{Action, Actions, Holding, Kind, State};
use crate::ops::backup::Planned;
use crate::ops::diff::{Change, Difference};
use crate::ops::error::{OpError, Problem};
use crate::ops::recover::act::{fresh_folder, stage};
use crate::ops::recover::files::tree;
use crate::ops::recover::going::stands_as;
use crate::ops::recover::journal::{Other, Placed, Recovered};
use crate::ops::recover::standing::{Trees, shown};
use crate::ops::recover::work::Work;
use crate::ops::recover::{databases, safety, together};
use crate::ops::restore::alone;
use crate::ops::restore::foreseen::{Foreseen, Rows, Told};
use crate::ops::restore::in_place::{Report, Settings};
use crate::ops::restore::live::{Given, find};
use crate::ops::undo;
use crate::record::error::RecordError;
use crate::record::inverse;
use crate::vault::unlocked::UnlockedVault;

/// Takes back what an action did to rows and files.
pub fn take_back(
    unlocked: &UnlockedVault,
    done: &Action,
    configured: &[Planned],
    force: bool,
    settings: &Settings<'_>,
) -> Result<Report, OpError> {
    let was = done.recovered.clone().expect("BUG: only such actions come here");
    let trace = settings.actions.trace(done)?;
    let _held = settings.actions.hold()?.ok_or(Problem::AnotherRecovery)?;
    let _turn = settings.turn("undo", was.places())?;
    let all = unlocked.snapshots()?.readable;
    let before = undo::manifest(&all, done, done.safety)?.expect("BUG: a recovery keeps something");
    unused(&was, &apply::is_open_elsewhere)?;
    if !force {
        unchanged(unlocked, &all, done, &was)?;
    }
    unused(&was, &apply::is_in_use)?;
    let (database, others) = (was.database(configured)?, was.joined(configured)?);
    let mut live = together::open(&database, &others, settings.wait, &settings.control)?;
    let mut images = safety::images(unlocked, before, settings.actions, done)?;
    // What is refused is refused before anything is made for it. It is asked again once nobody else can write.
    if !trace.written.is_empty() {
        inverse::refusal(rows_in(&mut images)?, &*live, &trace, force)?;
    }
    let action = Action {
        id: Actions::fresh_id(),
        number: settings.actions.next_number()?,
        time: Instant::now(),
        kind: Kind::Undo,
        state: State::Begun,
        gives: done.safety,
        safety: Holding::Unknown,
        undoes: Some(done.id.clone()),
        undone_by: None,
        recovered: Some(Recovered {
            live: was.live.clone(),
            others: others.iter().map(Other::of).collect(),
            files: turned(&was),
            ..Recovered::default()
        }),
        ..done.clone()
    };
    let library = unlocked.library()?;
    let mut work = Work::new(unlocked, settings, configured, action);
    work.begin(|folder, source, paths| stage(&library, before, source, paths, folder, settings, &settings.control))?;
    let rows: Vec<(String, Key)> =
        trace.written.iter().map(|written| (written.table.clone(), written.key.clone())).collect();
    let source = database_source(before);
    work.keep_safe(&source, (&database, &others, &*live), &rows, false)?;
    let mut rows_removed = 0;
    let is_changed = work.commit(!rows.is_empty(), |told| {
        let made = inverse::restore(rows_in(&mut images)?, &mut *live, &trace, force, told)?;
        rows_removed = made.written.iter().filter(|row| row.digest.is_none()).count() as u64;
        Ok(made)
    })?;
    if done.state == State::Begun {
        // It waits for nothing any more.
        was.clear();
    }
    let safety = if let Holding::Snapshot(id) = work.action.safety { Some(id) } else { None };
    let placed = work.action.recovered.unwrap_or_default().files;
    let removed = placed.iter().filter(|file| file.staged.is_none()).count() as u64;
    let mut given = Given { rows: rows.len() as u64, rows_removed, removed, ..Given::default() };
    given.files.files = placed.len() as u64 - removed;
    given.files.issues_count = work.left.len() as u64;
    given.files.issues = work.left;
    Ok(Report { action: is_changed.then_some(work.action.id), places: Vec::new(), safety, given, hooks: Vec::new() })
}

/// What that would do, without doing it.
pub fn foresee(
    unlocked: &UnlockedVault,
    done: &Action,
    (configured, force, settings): (&[Planned], bool, &Settings<'_>),
    told: &mut Told<'_>,
) -> Result<Foreseen, OpError> {
    let was = done.recovered.clone().expect("BUG: only such actions come here");
    let trace = settings.actions.trace(done)?;
    let _turn = settings.glance("undo", was.places())?;
    let all = unlocked.snapshots()?.readable;
    let before = undo::manifest(&all, done, done.safety)?.expect("BUG: a recovery keeps something");
    unused(&was, &apply::is_open_elsewhere)?;
    if !force {
        unchanged(unlocked, &all, done, &was)?;
    }
    let mut foreseen = Foreseen::default();
    if !trace.written.is_empty() {
        let (database, others) = (was.database(configured)?, was.joined(configured)?);
        let live = together::open(&database, &others, settings.wait, &settings.control)?;
        let mut images = safety::images(unlocked, before, settings.actions, done)?;
        inverse::refusal(rows_in(&mut images)?, &*live, &trace, force)?;
        let mut tables: BTreeMap<&String, u64> = BTreeMap::new();
        trace.written.iter().for_each(|written| *tables.entry(&written.table).or_default() += 1);
        foreseen.rows.extend(tables.into_iter().map(|(table, rows)| Rows { table: table.clone(), rows }));
    }
    for file in &was.files {
        let there = tree(&file.root).and_then(|tree| tree.look(&file.path).ok().flatten());
        let size = there.and_then(|there| u64::try_from(there.st_size).ok());
        let change = match (file.replaced, size) {
            (true, Some(_)) => Change::Content,
            (true, None) => Change::Added,
            (false, _) => Change::Removed,
        };
        foreseen.file(
            file.source.as_str(),
            Difference { path: file.path.clone(), change, size_before: size, size_after: None },
            told,
        );
    }
    Ok(foreseen)
}

/// The images that there have to be where rows were written.
fn rows_in<I>(images: &mut Option<I>) -> Result<&mut I, RecordError> {
    images.as_mut().ok_or_else(|| RecordError::Image("the safety snapshot has no rows".to_owned()))
}

/// What the source was called whose rows these are.
fn database_source(before: &Manifest) -> crate::base::name::Name {
    let rows = before.sources.iter().find(|source| source.kind == ROWS);
    let name = rows.map_or_else(String::new, |source| source.name.to_string());
    crate::base::name::Name::lossy(name.trim_end_matches("-rows"))
}

/// The way back for files: what was added goes, what was replaced or removed comes back.
fn turned(was: &Recovered) -> Vec<Placed> {
    let mut folders = BTreeMap::new();
    let turn = |file: &Placed| {
        let returns = file.replaced;
        let staged =
            returns.then(|| folders.entry(file.root.clone()).or_insert_with(|| fresh_folder(&file.root)).clone());
        // What was removed by the one taken back is not there now; all else is.
        // The safety snapshot has what it replaced where that was.
        Placed { staged, from: None, was: None, replaced: file.staged.is_some(), ..file.clone() }
    };
    was.files.iter().map(turn).collect()
}

/// Refuses to remove a database that an app has open: it would go on committing into nothing.
fn unused(was: &Recovered, is_in_use: &dyn Fn(&DatabaseFile) -> bool) -> Result<(), OpError> {
    let mut trees = Trees::default();
    for file in was.files.iter().filter(|file| !file.replaced) {
        let Some(tree) = trees.of(&file.root).filter(|tree| databases::stands(tree, &file.path)) else { continue };
        let live = tree.database(&file.path)?;
        if let Some(live) = live.filter(is_in_use) {
            return Err(Problem::Removed { path: live.shown().display().to_string() }.into());
        }
    }
    Ok(())
}

/// Is every file as the action left it?
fn unchanged(
    unlocked: &UnlockedVault,
    all: &[crate::vault::snapshots::Snapshot],
    done: &Action,
    was: &Recovered,
) -> Result<(), OpError> {
    let library = unlocked.library()?;
    let gave = undo::manifest(all, done, done.gives)?;
    let (mut changed, mut trees): (Vec<String>, Trees) = Default::default();
    for file in &was.files {
        let tree = trees.of(&file.root);
        let there = tree.and_then(|tree| tree.look(&file.path).ok().flatten());
        let same = match (&file.staged, tree) {
            (None, _) => there.is_none(),
            (Some(_), None) => false,
            (Some(_), Some(tree)) => {
                let record = gave.and_then(|gave| gave.sources.iter().find(|record| record.name == file.source));
                let entry = record.map(|record| find(record, file.from(), &library)).transpose()?.flatten();
                let (Some(record), Some(entry)) = (record, entry) else {
                    // Of what nobody knows where it came from it cannot be said that it is the same.
                    changed.push(shown(file));
                    continue;
                };
                let ours = |path: &EntryPath| was.files.iter().any(|one| one.root == file.root && one.path == *path);
                // What an app has committed to a database may be in its log only.
                let logged =
                    databases::stands(tree, &file.path) && databases::log_beside(tree, &file.path, &ours).is_some();
                !logged && stands_as(&alone(entry, record, &library)?, (tree, &file.path), &library)?
            }
        };
        if !same {
            changed.push(shown(file));
        }
    }
    let count = changed.len() as u64;
    changed.truncate(5);
    if count == 0 { Ok(()) } else { Err(Problem::ChangedSince { count, paths: changed }.into()) }
}
