use std::path::PathBuf;

use strongroom::base::path;
use strongroom::base::selector::Selector;
use strongroom::base::text::{count, size};
use strongroom::format::manifest::{Manifest, SourceRecord};
use strongroom::ops::diff::{self, Change, Difference};
use strongroom::ops::error::Problem;
use strongroom::source::Source;
use strongroom::source::files::{FilesOptions, FilesSource};

use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Tone, paint};

/// Show what changed between two snapshots, or between one and what is there now
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom diff latest~1 latest\n  strongroom diff @yesterday live\n  \
    strongroom --json diff latest~1 latest | jq -r '.changes[] | select(.change == \"removed\").path'")]
pub struct Args {
    /// The earlier snapshot
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    before: Selector,
    /// The later one, or `live` for what is there now
    #[arg(value_name = "SNAPSHOT|live", default_value = "live")]
    after: String,
    /// Only how many of each
    #[arg(long)]
    summary: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let after = match args.after.as_str() {
        "live" => None,
        text => Some(text.parse::<Selector>()?),
    };
    let vault = context.unlocked()?;
    let only = args.filter.source.clone();
    let filter = args.filter.filter();
    let before = context.manifest(&vault, &args.before, &filter)?;
    let after = after.map(|selector| context.manifest(&vault, &selector, &filter)).transpose()?;
    let mut output = Output { context, summary: args.summary, changes: Vec::new(), skipped: 0 };
    for source in before.sources.iter().filter(|source| only.as_ref().is_none_or(|name| source.name.as_str() == name)) {
        let mut counts = Counts::default();
        let mut each = |difference: Difference| {
            counts.add(difference.change);
            output.tell(source, &difference);
            Ok(())
        };
        match &after {
            Some(after) => diff::snapshots(&vault, source, diff::source(after, source.name.as_str())?, &mut each)?,
            None => {
                let live = live_source(context, source)?;
                let skipped = diff::live(&vault, &before, source, &*live, &context.control, &mut each)?;
                for skip in &skipped {
                    context.say(&format!("not compared: {}/{}: {}", source.name, skip.path, skip.reason));
                }
                output.skipped += skipped.len();
            }
        }
        context.print(&format!("{}: {}\n", source.name, counts.words()));
    }
    output.finish(&before);
    Ok(if output.skipped == 0 { Ending::Done } else { Ending::Incomplete })
}

/// The configuration's source of that name; otherwise the place the snapshot was made of.
fn live_source(context: &Context, record: &SourceRecord) -> Result<Box<dyn Source>, Failure> {
    if let Some(planned) = context.config()?.and_then(|c| c.sources.into_iter().find(|s| s.name == record.name)) {
        return Ok(planned.source);
    }
    if record.kind != "files" {
        let (source_name, kind) = (record.name.to_string(), record.kind.clone());
        return Err(Problem::Kind { source_name, kind, verb: "compare" }.into());
    }
    let bytes = path::decode(&record.root).unwrap_or_default();
    let path =
        PathBuf::from(std::ffi::OsString::from(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(&bytes)));
    Ok(Box::new(FilesSource::new(FilesOptions { path, ..FilesOptions::default() })?))
}

#[derive(Default)]
struct Counts {
    added: u64,
    removed: u64,
    content: u64,
    metadata: u64,
}

impl Counts {
    fn add(&mut self, change: Change) {
        *match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        } += 1;
    }

    fn words(&self) -> String {
        let all = [
            (self.removed, "removed"),
            (self.added, "added"),
            (self.content, "changed"),
            (self.metadata, "with other metadata"),
        ];
        let some: Vec<String> =
            all.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", count(*n))).collect();
        if some.is_empty() { "no change".to_owned() } else { some.join("   ") }
    }
}

struct Output<'c> {
    context: &'c Context,
    summary: bool,
    /// With `--json`, everything: it is one document.
    changes: Vec<serde_json::Value>,
    skipped: usize,
}

impl Output<'_> {
    fn tell(&mut self, source: &SourceRecord, difference: &Difference) {
        if self.context.json() {
            let mut document = serde_json::to_value(difference).expect("BUG: plain fields");
            document["source"] = source.name.as_str().into();
            self.changes.push(document);
        } else if !self.summary {
            self.context.print(&line(source, difference));
        }
    }

    fn finish(&self, before: &Manifest) {
        if self.context.json() {
            self.context.print_json(&serde_json::json!({ "before": before.id, "changes": self.changes }));
        }
    }
}

fn line(source: &SourceRecord, difference: &Difference) -> String {
    let (sign, tone) = match difference.change {
        Change::Added => ("+", Some(Tone::Safe)),
        Change::Removed => ("-", Some(Tone::Lost)),
        Change::Content => ("M", Some(Tone::Look)),
        Change::Metadata => ("m", None),
    };
    let sign = tone.map_or(sign.to_owned(), |tone| paint(tone, sign));
    let sizes = match (difference.size_before, difference.size_after) {
        (Some(before), Some(after)) if before != after => format!("  {} -> {}", size(before), size(after)),
        _ => String::new(),
    };
    format!("  {sign} {}/{}{sizes}\n", source.name, difference.path)
}
