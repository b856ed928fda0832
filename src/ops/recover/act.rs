//! Doing a plan: what is written, from what, and what is said of it. The steps themselves are `work`'s.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::id::SnapshotId;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::record::Key;
use crate::base::time::Instant;
use crate::format::manifest::Manifest;
use crate::ops::actions::{Action, Actions, Holding, Kind, State};
use crate::ops::error::{OpError, Problem};
use crate::ops::recover::case::Case;
use crate::ops::recover::journal::{Other, Placed, Recovered};
use crate::ops::recover::work::Work;
use crate::ops::recover::{FileAct, FileStep, Recovery};
use crate::ops::restore::in_place::Settings;
use crate::ops::restore::{self, Issue};
use crate::record::apply::{self, Tools};
use crate::record::error::RecordError;
use crate::record::plan::{Act, Plan};
use crate::source::files::root::{self, Absent};
use crate::source::files::target::{Options, Target};
use crate::vault::read::Library;
use crate::vault::unlocked::UnlockedVault;

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The action, by which it is taken back; nothing where there was nothing to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// What was there before is in this snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub safety: Option<SnapshotId>,
    pub inserted: u64,
    pub updated: u64,
    pub relinked: u64,
    pub files: u64,
    pub bytes: u64,
    /// What was to be replaced or put somewhere, and was left alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<Issue>,
}

/// Does what a recovery says.
pub fn apply(
    unlocked: &UnlockedVault,
    case: &mut Case<'_>,
    recovery: &Recovery,
    settings: &Settings<'_>,
) -> Result<Report, OpError> {
    if let Some(refusal) = recovery.plan.refusals.first() {
        return Err(Problem::Refused { what: refusal.what.clone(), hint: refusal.hint.clone() }.into());
    }
    if recovery.is_empty() {
        return Ok(Report::default());
    }
    let fits = case.fits()?;
    apply::unmoved(&recovery.plan, &fits, &*case.live)?;
    if let Some(file) = recovery.files.iter().find(|file| file.act.writes() && !file.is_unmoved()) {
        let (table, key) = ("the file".to_owned(), format!("{}:{}", file.source, file.path));
        return Err(RecordError::Moved { table, key }.into());
    }
    let _held = settings.actions.hold()?.ok_or(Problem::AnotherRecovery)?;
    let rows = rows(&recovery.plan);
    let files = placed(&recovery.files);
    let action = Action {
        id: Actions::fresh_id(),
        number: settings.actions.next_number()?,
        time: Instant::now(),
        kind: Kind::Recover,
        state: State::Begun,
        app: case.manifest.app.clone(),
        touches: case.manifest.id,
        gives: Holding::Snapshot(case.manifest.id),
        safety: Holding::Unknown,
        parts: Vec::new(),
        made: Vec::new(),
        undoes: None,
        undone_by: None,
        recovered: Some(Recovered {
            live: case.database.written(),
            others: case.others.iter().map(Other::of).collect(),
            files,
            ..Recovered::default()
        }),
    };
    let places = action.recovered.as_ref().map(Recovered::places).unwrap_or_default();
    let _turn = settings.turn("recover", places)?;
    let mut work = Work::new(unlocked, settings, &case.request.configured, action);
    let (library, control) = (case.desk.library(), &*settings.control);
    work.begin(|folder, source, paths| stage(library, case.manifest, source, paths, folder, settings, control))?;
    let whole = recovery.plan.options.triggers && !case.database.is_missing();
    work.keep_safe(&case.part.source.name, (&case.database, &case.others, &*case.live), &rows, whole)?;
    let kept = case.side.records();
    let (graph, plan) = (&case.graph, &recovery.plan);
    let mut fired = whole.then(|| settings.actions.fired(&work.action)).transpose()?;
    let fired = fired.as_mut().map(|fired| fired as &mut dyn Write);
    let tools = Tools { graph, fits: &fits, model: &case.model, snapshot: kept, live: &mut *case.live, fired };
    let is_changed = work.commit(!rows.is_empty(), |told| apply::apply(plan, tools, told))?;
    let count = |wanted: fn(&Act) -> bool| plan.steps.iter().filter(|step| wanted(&step.act)).count() as u64;
    let (left, Action { id, safety, recovered, .. }) = (work.left, work.action);
    let placed = recovered.unwrap_or_default().files;
    let placed: BTreeSet<(&Name, &EntryPath)> = placed.iter().map(|file| (&file.source, &file.path)).collect();
    let written = |file: &&FileStep| placed.contains(&(&file.source, &file.path));
    Ok(Report {
        action: is_changed.then_some(id),
        safety: if let Holding::Snapshot(id) = safety { Some(id) } else { None },
        inserted: count(|act| *act == Act::Insert),
        updated: count(|act| matches!(act, Act::Update { .. })),
        relinked: count(|act| matches!(act, Act::Relink { .. })),
        files: recovery.files.iter().filter(written).count() as u64,
        bytes: recovery.files.iter().filter(written).map(|file| file.size).sum(),
        left,
    })
}

/// The rows that are written, by the live table's name.
fn rows(plan: &Plan) -> Vec<(String, Key)> {
    let steps = plan.steps.iter().filter(|step| step.act.writes());
    steps.filter_map(|step| Some((plan.tables[step.table].live.clone()?, step.live_key().clone()))).collect()
}

/// The files that are written. Each root has a folder of its own in which they wait: a rename goes no further than a
/// file system.
fn placed(files: &[FileStep]) -> Vec<Placed> {
    let mut staging: BTreeMap<&String, String> = BTreeMap::new();
    let one = |file: &'_ FileStep| file.act.writes();
    let mut found = Vec::new();
    for file in files.iter().filter(|file| one(file)) {
        let staged = staging.entry(&file.root).or_insert_with(|| fresh_folder(&file.root)).clone();
        found.push(Placed {
            source: file.source.clone(),
            root: file.root.clone(),
            path: file.path.clone(),
            from: file.from.clone(),
            staged: Some(staged),
            was: None,
            replaced: file.act == FileAct::Replace,
        });
    }
    found
}

/// A name for a folder in which files of a root wait.
pub(super) fn fresh_folder(root: &str) -> String {
    let mut random = [0; 8];
    crate::format::header::fill_random(&mut random);
    format!("{}/.strongroom-{}.partial", root.trim_end_matches('/'), hex::encode(random))
}

/// Writes files of a snapshot into the folder they wait in.
pub(super) fn stage(
    library: &Library<'_>,
    manifest: &Manifest,
    source: &Name,
    paths: &[EntryPath],
    folder: &Path,
    settings: &Settings<'_>,
    control: &Control,
) -> Result<(), OpError> {
    let record = manifest.sources.iter().find(|record| record.name == *source).ok_or_else(|| Problem::NoSource {
        snapshot: manifest.id.short(),
        source_name: source.to_string(),
        sources: manifest.sources.iter().map(|record| record.name.to_string()).collect(),
    })?;
    // It is made in a folder that others may write to: no link is to lead elsewhere.
    let open = root::open(folder, Absent::Make);
    let open = open.map_err(|error| Problem::Output { path: folder.display().to_string(), source: error.into() })?;
    let target = Target::within(open, folder, Options { numeric_ids: settings.numeric_ids, staged: false })?;
    let report = restore::some(library, record, paths, (folder, &target), control)?;
    match report.issues.first() {
        Some(issue) => {
            let path = format!("{source}/{}", issue.path);
            Err(Problem::Linked { path, reason: issue.reason.clone() }.into())
        }
        None => Ok(()),
    }
}
