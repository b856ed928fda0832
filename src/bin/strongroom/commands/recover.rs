mod kept;
mod plan;
mod request;

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::time::Instant;

use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, size};
use strongroom::format::manifest::Manifest;
use strongroom::ops::choose::Chooser;
use strongroom::ops::damaged::Damaged;
use strongroom::ops::error::OpError;
use strongroom::ops::places::Places;
use strongroom::ops::recover::{self, BUDGET, Case, Exported, FileAct, Form, Recovery, Report, Request};
use strongroom::ops::restore::in_place::{self, Step};
use strongroom::ops::restore::whose::Chosen;
use strongroom::ops::show::Part;
use strongroom::record::drift::Given;
use strongroom::record::plan::{Act, OnConflict};
use strongroom::vault::select::Filter;
use strongroom::vault::snapshots::Snapshots;
use strongroom::vault::unlocked::UnlockedVault;

use request::{again, form, named, request};

use crate::commands::damaged;
use crate::commands::foreseen;
use crate::commands::live::{self, LiveArgs};
use crate::commands::places::{PlaceArgs, confirmed};
use crate::commands::selector;
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};
use crate::render::{duration, local_with_zone};

/// Give single records back to the live database, with everything that belongs to them
///
/// Rows come back with the rows that belong to them, and with what they need; rows that are there are left as they are.
/// Everything is written in one transaction, after what it touches is in a safety snapshot; strongroom undo takes it
/// back, and a second run changes nothing. Without a configuration every table is an entity, and the references that
/// its schema declares are followed. See the plan first with --dry-run.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  \
    strongroom recover @yesterday project 17 --dry-run     what would come back\n  \
    strongroom recover @yesterday project 17               bring it back\n  \
    strongroom recover latest --missing projects           everything that is gone\n  \
    strongroom recover latest --table images --where \"created_at > '2024-01-19'\"\n  \
    strongroom recover latest project 17 --plan-out plan.json\n  \
    strongroom recover --plan plan.json                    what that plan says")]
pub struct Args {
    /// Which snapshot: latest, latest~2, an id prefix, @TIME, tag:NAME, label:KEY=VALUE, revision:ID
    #[arg(value_name = "SNAPSHOT", value_parser = selector, required_unless_present = "plan")]
    snapshot: Option<Selector>,
    /// What the configuration calls an entity, or a table
    #[arg(value_name = "ENTITY")]
    entity: Option<String>,
    /// Which of them: their keys; the values of a composite key with commas between them
    #[arg(value_name = "KEY", requires = "entity", allow_negative_numbers = true)]
    keys: Vec<String>,
    /// Rows of this table that --where holds for
    #[arg(long, value_name = "TABLE", requires = "condition", conflicts_with_all = ["entity", "missing"])]
    table: Option<String>,
    /// A condition, in SQL, on the table as the snapshot has it
    #[arg(long = "where", value_name = "SQL", id = "condition", requires = "table")]
    condition: Option<String>,
    /// Everything of this entity or table that is gone from live data
    #[arg(long, value_name = "ENTITY", conflicts_with_all = ["entity", "table"])]
    missing: Option<String>,
    /// One file, by its path or the end of it; it replaces what is there
    #[arg(long, value_name = "[SOURCE:]PATH", conflicts_with_all = ["entity", "table", "missing"])]
    file: Option<OsString>,
    /// Write the records down instead of giving them back: csv, json or sql, into a folder
    #[arg(long, num_args = 2, value_names = ["FORMAT", "DIR"], conflicts_with_all = ["plan", "file", "into", "plan_out", "dry_run"])]
    export: Option<Vec<String>>,
    /// Do what a plan says that --plan-out has written
    #[arg(long, value_name = "FILE", conflicts_with_all = ["entity", "table", "missing", "plan_out", "file"])]
    plan: Option<PathBuf>,
    /// Only show what would be done
    #[arg(long)]
    dry_run: bool,
    /// Write the plan into a file and do nothing
    #[arg(long, value_name = "FILE")]
    plan_out: Option<PathBuf>,
    /// What to do where live data has something else
    #[arg(long, value_name = "HOW", value_enum, default_value_t = Conflict::Skip, conflicts_with = "file")]
    on_conflict: Conflict,
    /// Give records whose key another record has now, or may have, a new one, and rewrite what refers to them
    #[arg(long)]
    remap_keys: bool,
    /// Rows under one key are the same record, however much of what they hold has changed: keys are not used again
    #[arg(long)]
    trust_keys: bool,
    /// A value for a column of every row that is added
    #[arg(long = "set", value_name = "TABLE.COLUMN=VALUE")]
    set: Vec<Given>,
    /// Let triggers of the live database fire; what they do is taken back by an undo, too
    #[arg(long, value_name = "on|off", value_enum, default_value_t = Switch::Off)]
    triggers: Switch,
    /// So many rows may come back
    #[arg(long, value_name = "ROWS", default_value_t = BUDGET)]
    limit: u64,
    /// The database, where the snapshot holds several
    #[arg(long, value_name = "NAME[:PATH]")]
    source: Option<OsString>,
    /// Another database than the one it was captured from; tables that it lacks are made, and a SQLite file too
    #[arg(long, value_name = "FILE|URL")]
    into: Option<OsString>,
    /// Leave out the rows of other sources that relations tie to it
    #[arg(long)]
    alone: bool,
    /// Only snapshots of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only snapshots made on this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    places: PlaceArgs,
    /// Set owners of files by number even where their names exist here
    #[arg(long)]
    numeric_ids: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Conflict {
    /// Live data stays as it is
    Skip,
    /// Live data becomes what the snapshot holds
    Overwrite,
    /// Only what is empty is filled
    FillNull,
    /// Nothing at all is done
    Abort,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Switch {
    On,
    Off,
}

impl From<Conflict> for OnConflict {
    fn from(conflict: Conflict) -> Self {
        match conflict {
            Conflict::Skip => Self::Skip,
            Conflict::Overwrite => Self::Overwrite,
            Conflict::FillNull => Self::FillNull,
            Conflict::Abort => Self::Abort,
        }
    }
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    live::settle(&vault, context)?;
    let given = args.plan.as_deref().map(kept::read).transpose()?;
    let snapshots = vault.snapshots()?;
    let filter = Filter { app: args.app.clone(), host: args.host.clone(), source: None };
    let chooser = context.chooser(&vault, &snapshots, filter)?;
    let manifest = match &given {
        Some(recovery) => kept::snapshot(recovery, &snapshots)?,
        None => {
            let selector = args.snapshot.as_ref().expect("BUG: clap insists on it");
            context.choose(&chooser, selector, &named(&args, context.config()?.as_ref()))?.manifest
        }
    };
    if let Some(path) = &args.file {
        let meant = chooser.file(path, &manifest)?;
        let meant = recover::named(&vault, &manifest, &meant)?;
        let mut places = args.places.places(&vault, &[&manifest])?;
        certain(&chooser, (&args, &manifest), std::slice::from_ref(&meant), &places, context)?;
        return file((meant, &mut places), (&vault, &snapshots), &manifest, &args, context);
    }
    let part = |text: &OsStr| chooser.part(text, &manifest);
    let own = args.source.as_deref().map(part).transpose()?;
    let of_plan = given.as_ref().map(|recovery| part(recovery.plan.database.as_ref())).transpose()?;
    let part = own.or(of_plan);
    let mut places = args.places.places(&vault, &[&manifest])?;
    if given.is_none() && args.into.is_none() && args.export.is_none() {
        certain(&chooser, (&args, &manifest), &[], &places, context)?;
    } else if let Some(selector) = &args.snapshot {
        if args.into.is_some() {
            let (named, host) = (named(&args, context.config()?.as_ref()), host_name());
            let chosen = Chosen { chooser: &chooser, selector, named: &named, host: &host };
            chosen.must_be_of_this_host(&manifest, part.as_slice())?;
        }
        context.tell_whose(&chooser, (selector, &named(&args, context.config()?.as_ref())), &manifest)?;
    }
    let explained = |error| damaged::explained(error, &[&manifest], &snapshots, |sound| again(&args, sound));
    let request = |places: &Places| request(&args, given.as_ref(), part.clone(), places.clone(), context);
    if let Some(export) = &args.export {
        let done = written_down(export, &vault, &manifest, (form(&export[0])?, &request(&places)?), context);
        let done = done.map_err(explained)?;
        damaged::tell(&Damaged::among(&manifest, &done.read), &snapshots, context);
        context.warn_some("not certain", done.doubts.iter().cloned(), done.doubts.len() as u64);
        return Ok(if done.doubts.is_empty() { Ending::Done } else { Ending::Incomplete });
    }
    let clock = Instant::now();
    let planned = confirmed(&mut places, context, |places| match request(places) {
        Err(failure) => Ok(Err(failure)),
        Ok(request) => match planned((&vault, &manifest), request, given.as_ref()) {
            Err(error) if Damaged::behind(&error, &[&manifest]).is_some() => Ok(Err(explained(error))),
            planned => Ok(Ok(planned?)),
        },
    });
    let (mut case, recovery) = planned??;
    damaged::tell(&Damaged::among(&manifest, &case.read(&recovery)), &snapshots, context);
    let shown = plan::Shown { recovery: &recovery, time: manifest.time, fetched: case.fetched() };
    if let Some(file) = &args.plan_out {
        kept::write(file, &recovery)?;
    }
    let dry = args.dry_run || args.plan_out.is_some();
    plan::warn(&recovery, dry, context);
    if dry || !recovery.plan.refusals.is_empty() {
        return only_shown(&shown, dry, context);
    }
    if !context.json() {
        context.print(&shown.words());
    }
    let actions = context.actions(&vault)?;
    let told = |step: Step| live::told(&step, context);
    let settings = args.live.settings(&actions, None, args.numeric_ids, &told, context);
    let report = recover::apply(&vault, &mut case, &recovery, &settings).map_err(explained)?;
    tell(&shown, &report, &args, clock.elapsed().as_millis() as u64, context);
    let lines = report.left.iter().map(|issue| format!("{}: {}", issue.path, issue.reason));
    context.warn_some("not recovered", lines, report.left.len() as u64);
    Ok(if report.left.is_empty() { ending(&recovery) } else { Ending::Incomplete })
}

/// Both sides, and the plan that was given, or the one that is made of them.
fn planned<'m>(
    (vault, manifest): (&UnlockedVault, &'m Manifest),
    request: Request,
    given: Option<&Recovery>,
) -> Result<(Case<'m>, Recovery), OpError> {
    let case = Case::open(vault, manifest, request)?;
    let recovery = given.cloned().map_or_else(|| case.plan(), Ok)?;
    Ok((case, recovery))
}

/// Fails where a snapshot that was not named by its id may be meant of another place.
fn certain(
    chooser: &Chooser<'_>,
    (args, manifest): (&Args, &Manifest),
    parts: &[Part],
    places: &Places,
    context: &Context,
) -> Result<(), Failure> {
    let Some(selector) = &args.snapshot else { return Ok(()) };
    let config = context.config()?;
    let named = named(args, config.as_ref());
    let configured = config.map(|config| config.sources).unwrap_or_default();
    let host = host_name();
    let chosen = Chosen { chooser, selector, named: &named, host: &host };
    Ok(chosen.must_be_certain(manifest, parts, (places, &configured))?)
}

/// One file, where it lives, whatever stands there now.
fn file(
    (found, places): (Part, &mut Places),
    (vault, snapshots): (&UnlockedVault, &Snapshots),
    manifest: &Manifest,
    args: &Args,
    context: &Context,
) -> Result<Ending, Failure> {
    let shown = format!("{}:{}", found.source.as_deref().unwrap_or_default(), found.path);
    let actions = context.actions(vault)?;
    let told = |step: Step| live::told(&step, context);
    let (configured, hooks) = context.config()?.map(|config| (config.sources, config.hooks)).unzip();
    let settings = args.live.settings(&actions, hooks, args.numeric_ids, &told, context);
    let (parts, configured) = (vec![found], configured.unwrap_or_default());
    confirmed(places, context, |places| in_place::places(manifest, &parts, &configured, places))?;
    live::alarms((manifest, &parts), (vault, snapshots), context);
    let request = in_place::Request { parts, configured, places: places.clone(), settings };
    if args.dry_run {
        let about = serde_json::json!({ "file": shown });
        return foreseen::tell(about, context, |told| in_place::foresee(vault, manifest, request, told));
    }
    let clock = Instant::now();
    let report = in_place::restore(vault, manifest, request)?;
    if context.json() {
        context.print_json(&serde_json::json!({ "file": shown, "report": report }));
    } else {
        context.print(&live::words(&report, clock.elapsed().as_millis() as u64));
        let back = live::way_back(&report, args.live.no_safety);
        context.print(&format!("recovered {shown} from {}{back}\n", local_with_zone(manifest.time)));
    }
    Ok(live::ending(&report, context))
}

/// Writes records down.
fn written_down(
    export: &[String],
    vault: &UnlockedVault,
    manifest: &Manifest,
    (form, request): (Form, &Request),
    context: &Context,
) -> Result<Exported, OpError> {
    let folder = PathBuf::from(&export[1]);
    let done = recover::export(vault, manifest, request, form, &folder)?;
    if context.json() {
        context.print_json(&serde_json::json!({ "snapshot": manifest.id, "to": folder, "report": done }));
        return Ok(done);
    }
    for (table, rows) in &done.rows {
        let needed = match done.needed.get(table) {
            Some(needed) => format!(", {} of them only because others need them", count(*needed)),
            None => String::new(),
        };
        context.print(&format!("  {table}  {}{needed}\n", counted(*rows, "row")));
    }
    let files = if done.files == 0 { String::new() } else { format!(" and {}", counted(done.files, "file")) };
    let rows = counted(done.rows.values().sum(), "row");
    context.print(&format!("{rows}{files} written into {}\n", folder.display()));
    Ok(done)
}

fn only_shown(shown: &plan::Shown<'_>, dry: bool, context: &Context) -> Result<Ending, Failure> {
    if context.json() && dry {
        context.print_json(&serde_json::json!({ "plan": shown.recovery, "fetched": shown.fetched }));
    } else if !context.json() {
        context.print(&shown.words());
    }
    match shown.recovery.plan.refusals.first() {
        Some(refusal) if !dry => {
            Err(Failure::other(format!("nothing was written: {}", refusal.what), Some(refusal.hint.clone())))
        }
        _ => {
            if !context.json() {
                context.print("nothing was written\n");
            }
            Ok(ending(shown.recovery))
        }
    }
}

fn tell(shown: &plan::Shown<'_>, report: &Report, args: &Args, milliseconds: u64, context: &Context) {
    if context.json() {
        let fetched = shown.fetched;
        context.print_json(&serde_json::json!({ "plan": shown.recovery, "report": report, "fetched": fetched }));
        return;
    }
    if report.action.is_none() {
        let plan = &shown.recovery.plan;
        let left = plan.steps.iter().any(|step| matches!(step.act, Act::Leave { .. }));
        let left = left
            || !report.left.is_empty()
            || !plan.is_whole()
            || shown.recovery.files.iter().any(|file| matches!(file.act, FileAct::Leave { .. }));
        let what = if left {
            "nothing was written: what differs is left as it is"
        } else {
            "nothing to do: all of it is there"
        };
        context.print(&format!("{what}  {}\n", duration(milliseconds)));
        return;
    }
    let mut some = Vec::new();
    some.extend((report.inserted > 0).then(|| format!("{} added", counted(report.inserted, "row"))));
    some.extend((report.updated > 0).then(|| format!("{} changed", count(report.updated))));
    some.extend((report.relinked > 0).then(|| format!("{} linked again", count(report.relinked))));
    some.extend((report.files > 0).then(|| format!("{}, {}", counted(report.files, "file"), size(report.bytes))));
    let back = if args.live.no_safety { "" } else { " · undo: strongroom undo" };
    context.print(&format!("  {}  {}\n", some.join(", "), duration(milliseconds)));
    let plan = &shown.recovery.plan;
    context.print(&format!("recovered {} from {}{back}\n", plan.asked, local_with_zone(shown.time)));
}

/// What the snapshot has and live data lacks when it is done is something left out.
fn ending(recovery: &Recovery) -> Ending {
    if recovery.is_whole() { Ending::Done } else { Ending::Incomplete }
}
