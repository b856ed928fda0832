use std::time::Instant;

use serde_json::json;
use strongroom::ops::actions::{Action, Actions, Holding, Kind, State};
use strongroom::ops::restore::in_place::Step;
use strongroom::ops::restore::swap;
use strongroom::ops::undo::{self, Meant, Request, Since};
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::foreseen;
use crate::commands::live::{self, LiveArgs};
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Table, Tone, local, local_with_zone, paint};

/// So many places of a recovery are named.
const PLACES: usize = 5;

/// Take back the last restore in place, or the action named
///
/// What the restore touched becomes what the safety snapshot says: changed files and databases go back, files it made are
/// removed, and nothing else is touched. Refused when something of it was changed since. Without an id, it says what it is
/// about to take back, and asks where something else was done since. An undo makes a safety snapshot too, and can itself be
/// taken back by its id.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom undo\n  strongroom undo --list\n  strongroom undo 3f2a91c0\n  \
    strongroom undo --dry-run                  what would change back\n  \
    strongroom undo --forget                   drop the old database")]
pub struct Args {
    /// Which action: the beginning of its id; otherwise the last restore that was not taken back
    #[arg(value_name = "ACTION")]
    action: Option<String>,
    /// Only list what was done on this host
    #[arg(long, conflicts_with_all = ["action", "force"])]
    list: bool,
    /// Only show what would change back
    #[arg(long, conflicts_with_all = ["list", "forget"])]
    dry_run: bool,
    /// Do not ask whether the last restore is meant, though something else was done since
    #[arg(long, short, conflicts_with_all = ["list", "forget"])]
    yes: bool,
    /// Take it back although something was changed since; what is there now is in the safety snapshot
    #[arg(long)]
    force: bool,
    /// Drop the database that a restore in place keeps aside; the safety snapshot stays
    #[arg(long, conflicts_with_all = ["list", "force"])]
    forget: bool,
    #[command(flatten)]
    live: LiveArgs,
    /// Set owners by number even where their names exist here
    #[arg(long)]
    numeric_ids: bool,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let actions = context.actions(&vault)?;
    match args.dry_run {
        true => foreseen::tell_unsettled(&actions, context)?,
        false => live::settle(&vault, context)?,
    }
    if args.list {
        list(&actions.list()?, context);
        return Ok(Ending::Done);
    }
    if args.forget {
        return forget(args.action.as_deref(), &actions, context);
    }
    let told = |step: Step| live::told(&step, context);
    let (configured, hooks) = context.config()?.map(|config| (config.sources, config.hooks)).unzip();
    let settings = args.live.settings(&actions, hooks, args.numeric_ids, &told, context);
    let configured = configured.unwrap_or_default();
    let action = match args.action {
        Some(action) => Some(action),
        None => Some(meant(&vault, &actions, args.yes || args.dry_run, context)?),
    };
    let request = Request { action, configured, force: args.force, settings };
    if args.dry_run {
        let about = json!({ "undo": request.action });
        return foreseen::tell(about, context, |told| Ok(undo::foresee(&vault, request, told)?.1));
    }
    let clock = Instant::now();
    let progress = Progress::start(context, "restoring", "files");
    let (done, report) = undo::undo(&vault, request)?;
    drop(progress);
    if context.json() {
        context.print_json(&json!({ "undone": done.id, "report": report }));
    } else {
        context.print(&live::words(&report, clock.elapsed().as_millis() as u64));
    }
    let ending = live::ending(&report, context);
    let (what, time) = (word(done.kind), local_with_zone(done.time));
    if report.action.is_none() && ending != Ending::Done {
        let what =
            format!("{}: nothing of {what} of {time} was taken back (see above)", paint(Tone::Lost, "incomplete"));
        context.print(&format!("{what}\n"));
        return Ok(ending);
    }
    let what = format!("took back {what} of {time}");
    let back = report.action.filter(|_| !args.live.no_safety).map(|own| format!(" · undo: strongroom undo {own}"));
    let back = back.unwrap_or_default();
    context.print(&format!("{}{back}\n", live::last_line(&what, ending)));
    Ok(ending)
}

/// The action that is meant where none is named. Says what that is; asks where something else was done since.
fn meant(vault: &UnlockedVault, actions: &Actions, yes: bool, context: &Context) -> Result<String, Failure> {
    let Meant { action, since } = undo::meant(actions, &vault.snapshots()?.readable, &host_name())?;
    let what = format!("{} of {}", word(action.kind), local_with_zone(action.time));
    let places = places(&action).join(", ");
    context.print(&format!("taking back {}: {what}: {places}\n", action.id));
    let Some(since) = since.filter(|_| !yes).map(|since| later(&since)) else { return Ok(action.id) };
    if context.may_ask() {
        let question = format!("{what} was not the last: since then there was {since}. Take it back?");
        return match context.agreed(&question) {
            true => Ok(action.id),
            false => Err(Failure::other("nothing was taken back", None)),
        };
    }
    let hint =
        format!("strongroom undo --list shows what else there is; take it back with strongroom undo {}", action.id);
    Err(Failure::other(
        format!("nobody can be asked whether {what} is meant: since then there was {since}"),
        Some(hint),
    ))
}

fn later(since: &Since) -> String {
    match since {
        Since::Backup { time } => format!("a backup, {}", local_with_zone(*time)),
        Since::Action { kind, time, failed } => {
            let failed = if *failed { " that failed" } else { "" };
            let what = match kind {
                Kind::Restore => "a restore",
                Kind::Recover => "a recovery",
                Kind::Undo => "an undo",
            };
            format!("{what}{failed}, {}", local_with_zone(*time))
        }
    }
}

/// Where the action changed something: each source with its place.
fn places(action: &Action) -> Vec<String> {
    let mut places: Vec<String> = action.parts.iter().map(live::lives).collect();
    if let Some(recovered) = &action.recovered {
        let databases = std::iter::once(&recovered.live).chain(recovered.others.iter().map(|other| &other.live));
        places.extend(databases.filter(|live| !live.is_empty()).cloned());
        places.extend(recovered.files.iter().map(|file| format!("{}:{} at {}", file.source, file.path, file.root)));
        places.truncate(PLACES);
    }
    places
}

fn forget(action: Option<&str>, actions: &Actions, context: &Context) -> Result<Ending, Failure> {
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let (action, dropped) = swap::forget(actions, action, &configured, &context.control)?;
    if context.json() {
        context.print_json(&json!({ "action": action.id, "dropped": dropped }));
        return Ok(Ending::Done);
    }
    for name in &dropped {
        context.print(&format!("dropped {name}\n"));
    }
    context.print(&format!("undo {} goes back to the safety snapshot from now on\n", action.id));
    Ok(Ending::Done)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Restore => "the restore",
        Kind::Recover => "the recovery",
        Kind::Undo => "the undo",
    }
}

fn list(actions: &[Action], context: &Context) {
    if context.json() {
        context.print_json(&json!({ "actions": actions }));
        return;
    }
    let mut table = Table::new(&[Lean::Left; 6]);
    for action in actions {
        let parts: Vec<String> = action
            .parts
            .iter()
            .map(|part| match part.path.is_root() {
                true => part.source.to_string(),
                false => format!("{}:{}", part.source, part.path),
            })
            .collect();
        let state = match (&action.undone_by, action.state) {
            (Some(by), _) if *by == action.id => "failed, nothing changed".to_owned(),
            (Some(by), _) => format!("taken back by {by}"),
            (None, State::Begun) => "interrupted".to_owned(),
            (None, State::Done) => String::new(),
        };
        let gives = match action.gives {
            Holding::Snapshot(id) => id.short(),
            _ => "nothing".to_owned(),
        };
        let kind = match action.kind {
            Kind::Restore => "restore",
            Kind::Recover => "recover",
            Kind::Undo => "undo",
        };
        table.row(vec![action.id.clone(), local(action.time), kind.to_owned(), gives, parts.join(" "), state]);
    }
    context.print(&table.render());
    if actions.is_empty() {
        context.print("nothing was done to live data on this host\n");
    }
}
