use std::time::Instant;

use strongroom::ops::actions::{Action, Actions, Holding, Kind, State};
use strongroom::ops::restore::in_place::Step;
use strongroom::ops::restore::swap;
use strongroom::ops::undo::{self, Request};

use crate::commands::live::{self, LiveArgs};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Table, local, local_with_zone};

/// Take back the last restore in place, or the action named
///
/// What the restore touched becomes what the safety snapshot says: changed files and databases go back, files it made are
/// removed, and nothing else is touched. Refused when something of it was changed since. An undo makes a safety snapshot
/// too, and can itself be taken back by its id.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom undo\n  strongroom undo --list\n  strongroom undo 3f2a91c0\n  \
    strongroom undo --forget                   drop the old database")]
pub struct Args {
    /// Which action: the beginning of its id; otherwise the last restore that was not taken back
    #[arg(value_name = "ACTION")]
    action: Option<String>,
    /// Only list what was done on this host
    #[arg(long, conflicts_with_all = ["action", "force"])]
    list: bool,
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
    live::settle(&vault, context)?;
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
    let request = Request { action: args.action, configured, force: args.force, settings };
    let clock = Instant::now();
    let progress = Progress::start(context, "restoring", "files");
    let (done, report) = undo::undo(&vault, request)?;
    drop(progress);
    if context.json() {
        context.print_json(&serde_json::json!({ "undone": done.id, "report": report }));
    } else {
        context.print(&live::words(&report, clock.elapsed().as_millis() as u64));
    }
    let ending = live::ending(&report, context);
    let what = format!("took back {} of {}", word(done.kind), local_with_zone(done.time));
    let back = if args.live.no_safety { String::new() } else { format!(" · undo: strongroom undo {}", report.action) };
    context.print(&format!("{}{back}\n", live::last_line(&what, ending)));
    Ok(ending)
}

fn forget(action: Option<&str>, actions: &Actions, context: &Context) -> Result<Ending, Failure> {
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let (action, dropped) = swap::forget(actions, action, &configured, &context.control)?;
    if context.json() {
        context.print_json(&serde_json::json!({ "action": action.id, "dropped": dropped }));
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
        context.print_json(&serde_json::json!({ "actions": actions }));
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
