use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, size};
use strongroom::ops::verify::{self, Checked, Damage, Depth, Report};
use strongroom::store::Store;

use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Table, Tone, duration, paint};

/// Check that everything is there and can come back
///
/// Without options every manifest, listing and catalog is read and every reference resolved. --stored needs no key and
/// works on any copy of a vault. --read-data reads, opens and hashes every chunk again.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom verify\n  strongroom verify --read-data --sample 5%\n  \
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
    #[command(flatten)]
    filter: FilterArgs,
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse::<f64>().ok();
    number.filter(|n| *n > 0.0 && *n <= 100.0).ok_or_else(|| "write a share between 0 and 100 %, such as 5%".to_owned())
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let clock = std::time::Instant::now();
    let progress = Progress::start(context, "verifying", "objects");
    let report = if args.stored {
        let location = context.location(context.config()?.as_ref())?;
        let store = Store::open(&location, &context.store_options())?;
        verify::stored(&store, &context.control)?
    } else {
        let vault = context.unlocked()?;
        let filter = args.filter.filter();
        let only = args.snapshot.as_ref().map(|selector| context.select(&vault, selector, &filter)).transpose()?;
        let depth = if args.read_data { Depth::Data { sample: args.sample } } else { Depth::Structure };
        verify::unlocked(&vault, only.as_ref(), depth, &context.control)?
    };
    drop(progress);
    if context.json() {
        context.print_json(&serde_json::json!({ "sound": report.sound(), "report": report }));
    } else {
        context.print(&words(&report, &args, clock.elapsed().as_millis() as u64));
    }
    for damage in &report.damage {
        context.say(&tell(damage));
    }
    for object in &report.newer {
        context.say(&format!("not checked: {object}: it was written by a newer strongroom"));
    }
    if report.sound() {
        return Ok(if report.newer.is_empty() { Ending::Done } else { Ending::Incomplete });
    }
    context.say("hint: everything else restores; strongroom restore says what it leaves out");
    Ok(Ending::Damaged)
}

fn words(report: &Report, args: &Args, milliseconds: u64) -> String {
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Right, Right, Left]);
    let of = |checked: &Checked| format!("{} of {}", count(checked.checked), count(checked.total));
    let packs = if args.stored {
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
    let snapshots = if args.stored { "" } else { "every reference resolved" };
    table.row(vec!["snapshots".into(), of(&report.snapshots), bytes(report.snapshots.bytes), snapshots.into()]);
    let mut text = table.render();
    if report.unreferenced > 0 {
        let packs = counted(report.unreferenced, "pack");
        text.push_str(&format!("  {packs} of an interrupted backup belong to no catalog yet\n"));
    }
    if report.sound() {
        text.push_str(&format!("{} · nothing damaged · {}\n", paint(Tone::Safe, "sound"), duration(milliseconds)));
    }
    text
}

fn tell(damage: &Damage) -> String {
    let mut text = format!("{} {}: {}", paint(Tone::Lost, "damaged:"), damage.object, damage.what);
    for harmed in &damage.harmed {
        for path in &harmed.paths {
            text.push_str(&format!("\n  {}  {path}", harmed.snapshot.short()));
        }
        let more = harmed.paths_count - harmed.paths.len() as u64;
        if more > 0 {
            text.push_str(&format!("\n  {}  and {} more", harmed.snapshot.short(), count(more)));
        }
    }
    text
}
