use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, size};
use strongroom::ops::verify::deep::{self, Deep, Finding, Weight};
use strongroom::ops::verify::{self, Checked, Damage, Depth, Report};
use strongroom::vault::select::Filter;

use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Lines, Table, Tone, duration, paint};

/// Check that everything is there and can come back
///
/// Without options every manifest, listing and catalog is read and every reference resolved. --stored needs no key and
/// works on any copy of a vault. --read-data reads, opens and hashes every chunk again. --deep has SQLite check every
/// database of a snapshot, of the newest if none is named, and compares how many rows its tables have with how many they
/// had; of a captured PostgreSQL database every row is read, whether it has all of its fields and comes in order. Nothing
/// is restored for it.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom verify\n  strongroom verify --read-data --sample 5%\n  \
    strongroom verify latest --deep\n  \
    strongroom --vault /mnt/copy verify --stored")]
pub struct Args {
    /// Only what this snapshot needs
    #[arg(value_name = "SNAPSHOT", value_parser = selector, conflicts_with = "stored")]
    snapshot: Option<Selector>,
    /// Every object against its name: needs no key
    #[arg(long, conflicts_with = "read_data")]
    stored: bool,
    /// Read, open and hash every chunk again
    #[arg(long)]
    read_data: bool,
    /// With --read-data: only this share of the packs, another one each time, all of them in turn
    #[arg(long, value_name = "N%", value_parser = percent, requires = "read_data")]
    sample: Option<f64>,
    /// Check the databases of the snapshot, or of the newest
    #[arg(long, conflicts_with = "stored")]
    deep: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "write a share between 0 and 100 %, such as 5%".to_owned())
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let clock = std::time::Instant::now();
    let mut progress = Some(Progress::start(context, "verifying", "objects"));
    let mut deep = None;
    let report = if args.stored {
        let location = context.location(context.config()?.as_ref())?;
        let store = context.open_store(&location)?;
        match context.open_at(store.clone()) {
            Ok(vault) => {
                context.tell_altered(vault.ledger().read().altered());
                verify::stored_known(&vault, &context.control)?
            }
            Err(failure) if failure.is_no_vault() => return Err(failure),
            // A vault whose own file is damaged, or that is another than was met here, is looked at all the same.
            Err(_) => verify::stored(&store, &context.control)?,
        }
    } else {
        let vault = context.unlocked()?;
        let filter = args.filter.filter();
        if only_some(&filter) && args.snapshot.is_none() && !args.deep {
            return Err(Failure::usage(
                "--app, --host and --source choose a snapshot, and none is asked for",
                "name one, such as strongroom verify latest --app NAME, or leave them out: everything is checked",
            ));
        }
        let only = args.snapshot.as_ref().map(|selector| context.select(&vault, selector, &filter)).transpose()?;
        let depth = if args.read_data { Depth::Data { sample: args.sample } } else { Depth::Structure };
        if only.is_none() {
            context.tell_altered(vault.vault().ledger().read().altered());
        }
        let report = verify::unlocked(&vault, only.as_ref(), depth, &context.control)?;
        if args.deep {
            drop(progress.take());
            progress = Some(Progress::start(context, "checking", "databases"));
            let snapshot = only.map_or_else(|| context.select(&vault, &Selector::Latest(0), &filter), Ok)?;
            deep = Some(deep::verify(&vault, &[snapshot], &context.control)?);
        }
        report
    };
    drop(progress);
    let damaged = !report.sound() || deep.as_ref().is_some_and(|deep| deep.any(Weight::Damage));
    if context.json() {
        let mut document = serde_json::json!({ "sound": !damaged, "report": report });
        if let Some(deep) = &deep {
            document["deep"] = serde_json::to_value(deep).expect("BUG: plain fields");
        }
        context.print_json(&document);
    } else {
        context.print(&words(&report, deep.as_ref(), damaged, &args, clock.elapsed().as_millis() as u64));
    }
    for finding in deep.iter().flat_map(|deep| &deep.findings) {
        match finding.weight {
            Weight::Remark => context.say(&tell_finding(finding)),
            Weight::Known => context.alarm(&tell_finding(finding)),
            Weight::Damage | Weight::Unchecked => context.warn(&tell_finding(finding)),
        }
    }
    for damage in &report.damage {
        context.warn(&tell(damage));
    }
    for spare in &report.spare {
        context.warn(&format!(
            "not needed: {}: {}; all it held was stored again since, and no snapshot needs it",
            spare.object, spare.what
        ));
    }
    for object in &report.newer {
        context.warn(&format!("not checked: {object}: it was written by a newer strongroom"));
    }
    if !report.sound() {
        context.warn("hint: everything else restores; strongroom restore says what it leaves out");
        if report.damage.iter().all(|damage| damage.missing) {
            context.warn(COPIED);
        }
    }
    let unchecked = !report.newer.is_empty() || deep.is_some_and(|deep| deep.any(Weight::Unchecked));
    Ok(match (damaged, unchecked) {
        (true, _) => Ending::Damaged,
        (false, true) => Ending::Incomplete,
        (false, false) => Ending::Done,
    })
}

fn only_some(filter: &Filter) -> bool {
    filter.app.is_some() || filter.host.is_some() || filter.source.is_some()
}

fn words(report: &Report, deep: Option<&Deep>, damaged: bool, args: &Args, milliseconds: u64) -> Lines {
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Right, Right, Left]);
    let of = |checked: &Checked| format!("{} of {}", count(checked.checked), count(checked.total));
    let packs = if damaged {
        ""
    } else if args.stored {
        "every object against its name"
    } else if args.read_data {
        "read, opened, every chunk hashed again"
    } else {
        "there and of their length"
    };
    let bytes = |n: u64| if n == 0 { String::new() } else { size(n) };
    let checked = if args.stored || args.read_data {
        report.packs
    } else {
        Checked { checked: report.packs.total, ..report.packs }
    };
    table.row(vec!["packs".into(), of(&checked), bytes(report.packs.bytes), packs.into()]);
    table.row(vec!["catalogs".into(), of(&report.catalogs), bytes(report.catalogs.bytes), String::new()]);
    let snapshots = if args.stored || damaged { "" } else { "every reference resolved" };
    table.row(vec!["snapshots".into(), of(&report.snapshots), bytes(report.snapshots.bytes), snapshots.into()]);
    if let Some(Deep { databases, .. }) = deep {
        let told = if damaged { "" } else { "checked by SQLite, rows counted" };
        table.row(vec!["databases".into(), of(databases), bytes(databases.bytes), told.into()]);
    }
    let mut text = table.render();
    if report.unreferenced > 0 {
        let packs = counted(report.unreferenced, "pack");
        text.push(&format!("  {packs} of an interrupted backup belong to no catalog yet"));
    }
    let known = deep.is_some_and(|deep| deep.any(Weight::Known));
    if !damaged {
        let told =
            if known { "the vault has what was captured, which was damaged (see below)" } else { "nothing damaged" };
        text.push(&format!("{} · {told} · {}", paint(Tone::Safe, "sound"), duration(milliseconds)));
    }
    text
}

fn tell_finding(finding: &Finding) -> String {
    let word = match finding.weight {
        Weight::Damage => paint(Tone::Lost, "damaged:"),
        Weight::Unchecked => paint(Tone::Look, "not checked:"),
        Weight::Known => paint(Tone::Lost, "damaged when it was captured:"),
        Weight::Remark => "as captured:".to_owned(),
    };
    format!("{word} {} of {}: {}", finding.database, finding.snapshot.short(), finding.what)
}

/// What may be behind it when nothing is altered and something is missing.
const COPIED: &str = "hint: nothing is altered. If this is a copy of a vault that is being written, what is missing may only not be \
                      there yet: copy again in the order of docs/runbooks/copy-a-vault.md";

fn tell(damage: &Damage) -> Lines {
    let word = paint(Tone::Lost, if damage.missing { "missing:" } else { "damaged:" });
    let mut text = Lines::new();
    text.push(&format!("{word} {}: {}", damage.object, damage.what));
    for harmed in &damage.harmed {
        for path in &harmed.paths {
            text.push(&format!("  {}  {path}", harmed.snapshot.short()));
        }
        let more = harmed.paths_count - harmed.paths.len() as u64;
        if more > 0 {
            text.push(&format!("  {}  and {} more", harmed.snapshot.short(), count(more)));
        }
    }
    text
}
