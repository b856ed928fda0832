use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Instant;

use serde_json::json;
use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, size};
use strongroom::format::manifest::Manifest;
use strongroom::ops::choose::Named;
use strongroom::ops::places::Places;
use strongroom::ops::restore::live_target::{self, Way};
use strongroom::ops::restore::whose::Chosen;
use strongroom::ops::restore::{self, Report, Request, in_place};
use strongroom::ops::show::Part;
use strongroom::vault::snapshots::Snapshots;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::foreseen;
use crate::commands::live::{self, LiveArgs};
use crate::commands::places::{PlaceArgs, confirmed};
use crate::commands::server::{self, ServerArgs};
use crate::commands::{FilterArgs, selector};
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{duration, local_with_zone};

/// Give back a snapshot, a source or a path
///
/// With --to DIR, one source goes straight into the folder, several into a folder each. With --in-place, each goes where it
/// lives: databases page by page in one transaction, also while an app has them open, after a safety snapshot of what is
/// there; strongroom undo takes it back. A PostgreSQL database is restored and checked beside the live one, whose place it
/// takes in one step; the old one is kept until strongroom undo --forget. What is there already and identical is left alone, and so are files
/// that the snapshot does not have. What holds something else is replaced: with --to DIR there is no way back.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom restore latest --to /srv/out\n  \
    strongroom restore @yesterday documents:17 --to /srv/out\n  strongroom restore 7c1e04b2 :notes.txt --to .\n  \
    strongroom restore @yesterday db --in-place        into the running app\n  \
    strongroom restore latest docs:2026 --in-place     only this folder\n  \
    strongroom restore latest --in-place --dry-run     what would change\n  \
    strongroom restore latest db --to postgres://localhost/app_yesterday")]
pub struct Args {
    /// Which snapshot: latest, latest~2, an id prefix, @TIME, tag:NAME, label:KEY=VALUE
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    snapshot: Selector,
    /// Only these parts
    #[arg(value_name = "SOURCE[:PATH]")]
    parts: Vec<OsString>,
    /// The folder to restore into, made if it is not there; or a database of a server, as postgres://…/name
    #[arg(long, value_name = "DIR|URL", conflicts_with = "in_place")]
    to: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
    /// Restore where it lives
    #[arg(long)]
    in_place: bool,
    /// Only show what would be made, changed and removed
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    live: LiveArgs,
    #[command(flatten)]
    places: PlaceArgs,
    /// Set owners by number even where their names exist here
    #[arg(long)]
    numeric_ids: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    if args.to.is_none() && !args.in_place {
        return Err(Failure::usage(
            "it is not said where to restore to",
            "add --to DIR for a folder of its own, or --in-place for where it lives",
        ));
    }
    args.to.as_deref().map(server::refuse_other).transpose()?;
    let vault = context.unlocked()?;
    let snapshots = vault.snapshots()?;
    let chooser = context.chooser(&vault, &snapshots, args.filter.filter())?;
    let named = Named::Parts(args.parts.clone());
    let manifest = context.choose(&chooser, &args.snapshot, &named)?.manifest;
    let host = host_name();
    let chosen = Chosen { chooser: &chooser, selector: &args.snapshot, named: &named, host: &host };
    let parts = args.parts.iter().map(|text| chooser.part(text, &manifest)).collect::<Result<Vec<_>, _>>()?;
    let places = args.places.places(&vault, &[&manifest])?;
    if parts.is_empty() {
        let lacking = context.lacking(&chooser, &args.snapshot, &manifest)?;
        lacking.iter().for_each(|line| context.alarm(&format!("warning: {line}")));
    }
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    if let Some(url) = args.to.as_deref().and_then(server::url) {
        context.tell_whose(&chooser, (&args.snapshot, &named), &manifest)?;
        let how = (args.live.accept_damage, args.dry_run);
        let homes = (!args.live.no_safety).then(|| restore::server::homes(&places, &configured));
        return server::into(&vault, &manifest, (parts, url, homes), &args.server, how, context);
    }
    args.server.refuse_elsewhere()?;
    let Some(to) = args.to.clone() else {
        chosen.must_be_certain(&manifest, &parts, (&places, &configured))?;
        return in_place((&vault, &snapshots), &manifest, (parts, places), &args, context);
    };
    let request = Request { parts, to, numeric_ids: args.numeric_ids, control: context.control.clone() };
    let way = live_target::way(&vault, (&manifest, &chosen), &request, &places, &configured)?;
    if way == Way::Beside {
        context.tell_whose(&chooser, (&args.snapshot, &named), &manifest)?;
    }
    match way {
        Way::Beside if args.dry_run => {
            live::alarms((&manifest, &request.parts), (&vault, &snapshots), context);
            let about = json!({ "snapshot": manifest.id, "to": request.to });
            foreseen::tell(about, context, |told| restore::foreseen::beside(&vault, &manifest, &request, told))
        }
        Way::Beside => beside((&vault, &snapshots), &manifest, &request, context),
        Way::InPlace => {
            chosen.must_be_of_this_host(&manifest, &request.parts)?;
            context.say(&format!("{} is where it lives: restoring in place", request.to.display()));
            in_place((&vault, &snapshots), &manifest, (request.parts, places), &args, context)
        }
    }
}

fn beside(
    (vault, snapshots): (&UnlockedVault, &Snapshots),
    manifest: &Manifest,
    request: &Request,
    context: &Context,
) -> Result<Ending, Failure> {
    let clock = Instant::now();
    let progress = Progress::start(context, "restoring", "files");
    let report = restore::restore(vault, manifest, request)?;
    drop(progress);
    if context.json() {
        context.print_json(&json!({ "snapshot": manifest.id, "to": request.to, "report": report }));
    } else {
        context.print(&words(&report, request, clock.elapsed().as_millis() as u64));
    }
    if report.replaced > 0 {
        let what = counted(report.replaced, "file");
        context
            .warn(&format!("warning: {what} that stood there and held something else: replaced, without a way back"));
    }
    live::alarms((manifest, &request.parts), (vault, snapshots), context);
    let ending = live::issues(&report, context);
    let last = format!("restored {} of {}", manifest.id.short(), local_with_zone(manifest.time));
    context.print(&format!("{}\n", live::last_line(&last, ending)));
    Ok(ending)
}

fn in_place(
    (vault, snapshots): (&UnlockedVault, &Snapshots),
    manifest: &Manifest,
    (parts, mut places): (Vec<Part>, Places),
    args: &Args,
    context: &Context,
) -> Result<Ending, Failure> {
    let actions = context.actions(vault)?;
    match args.dry_run {
        true => foreseen::tell_unsettled(&actions, context)?,
        false => live::settle(vault, context)?,
    }
    let told = |step: in_place::Step| live::told(&step, context);
    let (configured, hooks) = context.config()?.map(|config| (config.sources, config.hooks)).unzip();
    let settings = args.live.settings(&actions, hooks, args.numeric_ids, &told, context);
    let configured = configured.unwrap_or_default();
    confirmed(&mut places, context, |places| in_place::places(manifest, &parts, &configured, places))?;
    live::alarms((manifest, &parts), (vault, snapshots), context);
    let request = in_place::Request { parts, configured, places, settings };
    if args.dry_run {
        let about = json!({ "snapshot": manifest.id });
        return foreseen::tell(about, context, |told| in_place::foresee(vault, manifest, request, told));
    }
    let clock = Instant::now();
    let progress = Progress::start(context, "restoring", "files");
    let report = in_place::restore(vault, manifest, request)?;
    drop(progress);
    if context.json() {
        context.print_json(&json!({ "snapshot": manifest.id, "report": report }));
    } else {
        context.print(&live::words(&report, clock.elapsed().as_millis() as u64));
    }
    let ending = live::ending(&report, context);
    let back = live::way_back(&report, args.live.no_safety);
    let last = live::last_line(&format!("restored to {}", local_with_zone(manifest.time)), ending);
    context.print(&format!("{last}{back}\n"));
    Ok(ending)
}

fn words(report: &Report, request: &Request, milliseconds: u64) -> String {
    let there = match report.identical {
        0 => String::new(),
        n => format!(", {} there already", count(n)),
    };
    format!(
        "  {} written{there}, {}, into {}, {}\n",
        counted(report.files, "file"),
        size(report.bytes),
        request.to.display(),
        duration(milliseconds)
    )
}
