use std::ffi::OsString;
use std::io::Write;

use strongroom::base::database::Database;
use strongroom::base::entry::{Entry, Kind};
use strongroom::base::selector::Selector;
use strongroom::base::text::{counted, size};
use strongroom::format::manifest::SourceRecord;
use strongroom::ops::choose::Named;
use strongroom::ops::damaged::Damaged;
use strongroom::ops::error::{OpError, Problem};
use strongroom::ops::show::{self, Part};
use strongroom::vault::snapshots::Snapshot;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::damaged;
use crate::commands::snapshots::document;
use crate::commands::{FilterArgs, selector};
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Lines, Table, duration, local, local_with_zone};
use crate::terminal::{json, safe};

/// Show one snapshot, what it holds, or the content of a file
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom show latest\n  strongroom show latest documents\n  \
    strongroom show @yesterday documents:17/contract.pdf --cat > contract.pdf")]
pub struct Args {
    /// Which snapshot: latest, latest~2, an id prefix, @TIME, tag:NAME, label:KEY=VALUE
    #[arg(value_name = "SNAPSHOT", value_parser = selector)]
    snapshot: Selector,
    /// List what this part holds
    #[arg(value_name = "SOURCE[:PATH]")]
    part: Option<OsString>,
    /// Write the content of the file to standard output
    #[arg(long, requires = "part")]
    cat: bool,
    #[command(flatten)]
    filter: FilterArgs,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let snapshots = vault.snapshots()?;
    let chooser = context.chooser(&vault, &snapshots, args.filter.filter())?;
    let named = Named::Parts(args.part.iter().cloned().collect());
    let snapshot = context.choose(&chooser, &args.snapshot, &named)?;
    context.tell_whose(&chooser, (&args.snapshot, &named), &snapshot.manifest)?;
    let part = args.part.as_deref().map(|text| chooser.part(text, &snapshot.manifest)).transpose()?;
    part.iter().for_each(|part| tell_absence(&snapshot, part, context));
    if let Some(part) = part.as_ref().filter(|_| args.cat) {
        damaged::tell(&Damaged::among(&snapshot.manifest, std::slice::from_ref(part)), &snapshots, context);
    }
    match part {
        Some(part) if args.cat => cat(&vault, &snapshot, &part, context)?,
        Some(part) if context.json() => list_json(&vault, &snapshot, &part, context)?,
        Some(part) => list(&vault, &snapshot, &part, context)?,
        None if context.json() => context.print_json(&document(&snapshot)),
        None => context.print(&overview(&snapshot)),
    }
    Ok(Ending::Done)
}

/// Says of a source that the snapshot has nothing of it, though it should: a list of nothing looks like an answer.
fn tell_absence(snapshot: &Snapshot, part: &Part, context: &Context) {
    let manifest = &snapshot.manifest;
    let Ok(source) = part.source_of(manifest) else { return };
    if let Some(why) = manifest.absence(source) {
        context.alarm(&format!("warning: snapshot {}: {} {why}", manifest.id.short(), source.name));
    }
}

fn overview(snapshot: &Snapshot) -> Lines {
    let manifest = &snapshot.manifest;
    let took = manifest.finished.timestamp().as_millisecond() - manifest.time.timestamp().as_millisecond();
    let mut text = Lines::new();
    text.push(&format!("snapshot {}", manifest.id));
    text.push(&format!("  time     {}, took {}", local_with_zone(manifest.time), duration(took.max(0) as u64)));
    text.push(&format!("  app      {}, on {} by {}", manifest.app, manifest.host, manifest.user));
    if !manifest.tags.is_empty() {
        text.push(&format!("  tags     {}", manifest.tags.join(" ")));
    }
    for (key, value) in &manifest.labels {
        text.push(&format!("  label    {key}={value}"));
    }
    text.push(&format!("  reason   {}", manifest.reason));
    text.push(&format!("  tool     {}", manifest.tool));
    text.push(&format!("  object   {}", snapshot.key));
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Right, Right, Right, Left]);
    let head = ["source", "kind", "size", "read", "new", "stored", ""];
    table.row(head.map(str::to_owned).to_vec());
    for source in &manifest.sources {
        let sizes = [source.bytes, source.bytes_read, source.bytes_new, source.bytes_stored].map(size);
        let mut row = vec![source.name.to_string(), source.kind.clone()];
        row.extend(sizes);
        row.push(match &source.failed {
            Some(_) => format!("not captured, from {}", source.root),
            None => format!("{}, from {}", counted(source.files, "file"), source.root),
        });
        table.row(row);
    }
    text.append(table.render());
    for source in &manifest.sources {
        source.databases.iter().for_each(|database| text.append(facts(source, database)));
    }
    for source in &manifest.sources {
        source.failed.iter().for_each(|why| text.push(&format!("{}: not captured: {why}", source.name)));
    }
    for alarm in &manifest.alarms {
        text.push(&super::backup::alarm(alarm));
    }
    for source in manifest.sources.iter().filter(|source| source.left_out_count > 0) {
        text.push(&format!("{}: {} left out on purpose", source.name, counted(source.left_out_count, "item")));
        for left in &source.left_out {
            text.push(&format!("  {}", left.path));
        }
    }
    for source in manifest.sources.iter().filter(|source| source.skipped_count > 0) {
        let items = counted(source.skipped_count, "item");
        text.push(&format!("{}: {items} not captured as they should be", source.name));
        for skip in &source.skipped {
            text.push(&format!("  {}: {}", skip.path, skip.reason));
        }
    }
    text
}

/// What is known of one database: tables with the most rows first.
fn facts(source: &SourceRecord, database: &Database) -> Lines {
    const TABLES: usize = 20;
    let name =
        if database.path.is_root() { source.name.to_string() } else { format!("{}:{}", source.name, database.path) };
    let mut text = Lines::new();
    text.push(&format!("{name}: {} database", database.engine));
    if let Some(revision) = &database.revision {
        text.push(&format!("  revision       {} {}", revision.tool, revision.id));
    }
    if let Some(damage) = &database.damage {
        text.push(&format!("  damage         {damage}"));
    }
    for (word, value) in &database.facts {
        text.push(&format!("  {word:<14} {value}"));
    }
    let mut rows: Vec<_> = database.rows.iter().collect();
    rows.sort_by_key(|(_, rows)| std::cmp::Reverse(**rows));
    for (table, rows) in rows.iter().take(TABLES) {
        let noun = if **rows == 1 { "row" } else { "rows" };
        text.push(&format!("  {rows:>14} {noun} in {table}"));
    }
    if let Some(more) = rows.len().checked_sub(TABLES).filter(|more| *more > 0) {
        text.push(&format!("  and {} more; --json names them all", counted(more as u64, "table")));
    }
    text
}

fn cat(vault: &UnlockedVault, snapshot: &Snapshot, part: &Part, context: &Context) -> Result<(), Failure> {
    let mut out = context.out(256 << 10);
    match show::cat(vault, &snapshot.manifest, part, &mut out) {
        Err(error) if is_of_output(&error) => Ok(()),
        result => Ok(result?),
    }
}

/// The output itself failed: it knows, and decides how the run ends.
fn is_of_output(error: &OpError) -> bool {
    matches!(error, OpError::Problem(Problem::Output { .. }))
}

fn list(vault: &UnlockedVault, snapshot: &Snapshot, part: &Part, context: &Context) -> Result<(), Failure> {
    let mut out = context.out(64 << 10);
    let listed = show::list(vault, &snapshot.manifest, part, |entry| {
        if !context.quiet() {
            writeln!(out, "{}", safe(&line(&entry))).map_err(|source| output(&entry, source))?;
        }
        Ok(())
    });
    // What cannot be written is noted by the output.
    let _ = out.flush();
    match listed {
        Err(error) if is_of_output(&error) => Ok(()),
        result => Ok(result?),
    }
}

/// One document, written as it is read: a listing may be longer than memory.
fn list_json(vault: &UnlockedVault, snapshot: &Snapshot, part: &Part, context: &Context) -> Result<(), Failure> {
    let mut out = context.out(64 << 10);
    let head = format!("{{\"snapshot\":\"{}\",\"entries\":[\n", snapshot.manifest.id);
    let mut first = true;
    let listed = show::list(vault, &snapshot.manifest, part, |entry| {
        let text = serde_json::to_string(&entry).expect("BUG: plain fields");
        let text = json(&text);
        let written = match std::mem::take(&mut first) {
            true => write!(out, "{head}{text}"),
            false => write!(out, ",\n{text}"),
        };
        written.map_err(|source| output(&entry, source))
    });
    match listed {
        Err(error) if is_of_output(&error) => Ok(()),
        // Nothing was written yet: the error is the document.
        Err(error) if first => Err(error.into()),
        Err(error) => {
            let failure = Failure::from(error);
            let _ = writeln!(out, "\n],\n\"failed\":{}}}", json(&failure.document().to_string()));
            Err(failure.told())
        }
        Ok(()) => {
            let head = if first { head.as_str() } else { "" };
            let _ = writeln!(out, "{head}\n]}}").and_then(|()| out.flush());
            Ok(())
        }
    }
}

fn output(entry: &Entry, source: std::io::Error) -> OpError {
    Problem::Output { path: entry.path.to_string(), source }.into()
}

fn line(entry: &Entry) -> String {
    let owner = |name: &Option<String>, number: u32| name.clone().unwrap_or_else(|| number.to_string());
    let mut line = format!(
        "{}{} {:>8} {:<8} {:>10}  {}  {}",
        letter(entry.kind),
        permissions(entry.mode),
        owner(&entry.user, entry.uid),
        owner(&entry.group, entry.gid),
        if entry.kind == Kind::File { size(entry.size) } else { String::new() },
        local(entry.mtime),
        entry.path,
    );
    if let Some(target) = &entry.target {
        line.push_str(&format!(" -> {target}"));
    }
    if let Some(link) = &entry.link {
        line.push_str(&format!(" = {link}"));
    }
    line
}

fn letter(kind: Kind) -> char {
    match kind {
        Kind::Dir => 'd',
        Kind::File => '-',
        Kind::Symlink => 'l',
        Kind::Fifo => 'p',
        Kind::Socket => 's',
        Kind::Char => 'c',
        Kind::Block => 'b',
    }
}

/// `rwsr-x--t`, as `ls` writes it.
fn permissions(mode: u32) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, set, unset) in [(6, 0o4000, 's', 'S'), (3, 0o2000, 's', 'S'), (0, 0o1000, 't', 'T')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (true, true) => set,
            (true, false) => unset,
            (false, true) => 'x',
            (false, false) => '-',
        });
    }
    text
}
