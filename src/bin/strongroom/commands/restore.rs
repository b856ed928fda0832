use std::ffi::OsString;
use std::path::PathBuf;

use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, size};
use strongroom::ops::restore::{self, Report, Request};

use crate::commands::{FilterArgs, part, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{duration, local_with_zone};

/// Give back a snapshot, a source or a path
///
/// One source goes straight into the folder, several into a folder each. What is there already and identical is left
/// alone; what is there and not in the snapshot is left alone too.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom restore latest --to /srv/out\n  \
    strongroom restore @yesterday documents:17 --to /srv/out\n  strongroom restore 7c1e04b2 :notes.txt --to .")]
pub struct Args {
    /// Which snapshot: latest, latest~2, an id prefix, @TIME, tag:NAME, label:KEY=VALUE
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    snapshot: Selector,
    /// Only these parts
    #[arg(value_name = "SOURCE[:PATH]")]
    parts: Vec<OsString>,
    /// The folder to restore into; made if it is not there
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Set owners by number even where their names exist here
    #[arg(long)]
    numeric_ids: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let manifest = context.manifest(&vault, &args.snapshot, &args.filter.filter())?;
    let parts = args.parts.iter().map(|text| part(text, &manifest)).collect::<Result<_, _>>()?;
    let request = Request { parts, to: args.to, numeric_ids: args.numeric_ids, control: context.control.clone() };
    let clock = std::time::Instant::now();
    let progress = Progress::start(context, "restoring", "files");
    let report = restore::restore(&vault, &manifest, &request)?;
    drop(progress);
    if context.json() {
        context.print_json(&serde_json::json!({ "snapshot": manifest.id, "to": request.to, "report": report }));
    } else {
        context.print(&words(&report, &request, clock.elapsed().as_millis() as u64));
        context.print(&format!("restored {} of {}\n", manifest.id.short(), local_with_zone(manifest.time)));
    }
    let lines = report.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.reason));
    context.say_some("not restored as it was", lines, report.issues_count);
    Ok(if report.issues_count == 0 { Ending::Done } else { Ending::Incomplete })
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
