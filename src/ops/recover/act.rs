//! Doing a plan: the action on record, files made ready, the safety snapshot, the rows in one transaction, the files in
//! their places, the action done.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::id::SnapshotId;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::record::{Key, Records};
use crate::base::time::Instant;
use crate::format::manifest::Manifest;
use crate::ops::actions::{Action, Actions, Holding, Kind, State};
use crate::ops::backup::Planned;
use crate::ops::error::{OpError, Problem};
use crate::ops::live_database::LiveDatabase;
use crate::ops::recover::apart::{self, Became};
use crate::ops::recover::case::Case;
use crate::ops::recover::journal::{self, Other, Placed, Recovered};
use crate::ops::recover::safety::{self, Touches};
use crate::ops::recover::together::{self, Joined};
use crate::ops::recover::{FileAct, FileStep, Recovery};
use crate::ops::restore;
use crate::ops::restore::in_place::{Settings, Step as Told};
use crate::record::apply::{self, Tools};
use crate::record::error::RecordError;
use crate::record::plan::{Act, Plan};
use crate::record::trace::{BeforeCommit, Trace};
use crate::source::files::root::{self, Absent};
use crate::source::files::target::{Options, Target};
use crate::vault::commit::Label;
use crate::vault::read::Library;
use crate::vault::select::SAFETY;
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
    let mut work = Work { unlocked, settings, configured: &case.request.configured, action };
    let (library, control) = (case.desk.library(), &*settings.control);
    work.begin(|folder, source, paths| stage(library, case.manifest, source, paths, folder, settings, control))?;
    let whole = recovery.plan.options.triggers && !case.database.is_missing();
    work.keep_safe(&case.part.source.name, (&case.database, &case.others, &*case.live), &rows, whole)?;
    let kept = case.side.records();
    let (graph, plan) = (&case.graph, &recovery.plan);
    let mut fired = whole.then(|| settings.actions.fired(&work.action)).transpose()?;
    let fired = fired.as_mut().map(|fired| fired as &mut dyn Write);
    let tools = Tools { graph, fits: &fits, model: &case.model, snapshot: kept, live: &mut *case.live, fired };
    work.commit(!rows.is_empty(), |told| apply::apply(plan, tools, told))?;
    let count = |wanted: fn(&Act) -> bool| plan.steps.iter().filter(|step| wanted(&step.act)).count() as u64;
    let written = |file: &&FileStep| file.act.writes();
    let Action { id, safety, .. } = work.action;
    Ok(Report {
        action: Some(id),
        safety: if let Holding::Snapshot(id) = safety { Some(id) } else { None },
        inserted: count(|act| *act == Act::Insert),
        updated: count(|act| matches!(act, Act::Update { .. })),
        relinked: count(|act| matches!(act, Act::Relink { .. })),
        files: recovery.files.iter().filter(written).count() as u64,
        bytes: recovery.files.iter().filter(written).map(|file| file.size).sum(),
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

/// A recovery, or one that is taken back, as it goes.
pub(super) struct Work<'w> {
    pub unlocked: &'w UnlockedVault,
    pub settings: &'w Settings<'w>,
    pub configured: &'w [Planned],
    pub action: Action,
}

impl Work<'_> {
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
        (self.settings.told)(Told::Reached("staged"));
        Ok(())
    }

    /// Makes the safety snapshot, and notes it.
    pub fn keep_safe(
        &mut self,
        source: &Name,
        (database, others, live): (&LiveDatabase, &[Joined], &dyn Records),
        rows: &[(String, Key)],
        whole: bool,
    ) -> Result<(), OpError> {
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
        self.action.safety = Holding::Snapshot(manifest.id);
        (self.settings.told)(Told::Safe(self.action.safety));
        Ok(())
    }

    /// Writes the rows, if there are any, and then gives the files their places.
    pub fn commit(
        &mut self,
        rows: bool,
        write: impl FnOnce(&mut BeforeCommit<'_>) -> Result<Trace, RecordError>,
    ) -> Result<(), OpError> {
        let (actions, told) = (self.settings.actions, self.settings.told);
        self.recovered().ready = true;
        let mut action = self.action.clone();
        let mut before = |trace: &Trace, mark: Option<String>| {
            let recovered = action.recovered.as_mut().expect("BUG: it was made with it");
            recovered.note(mark);
            let kept = actions.keep_trace(&action, trace).and_then(|()| actions.keep(&action));
            kept.map_err(|error| Box::new(error) as Explained)?;
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
        self.recovered().place().map_err(|error| {
            let action = self.action.id.clone();
            OpError::from(Problem::HalfDone { action, source: Box::new(error) })
        })?;
        told(Told::Reached("placed"));
        journal::finish(actions, &self.action)
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
        if let Some(recovered) = &self.action.recovered {
            recovered.clear();
        }
        self.settings.actions.forget_fired(&self.action);
        let own = Some(self.action.id.clone());
        self.settings.actions.keep(&Action { state: State::Done, undone_by: own, ..self.action.clone() })?;
        Err(error)
    }
}
