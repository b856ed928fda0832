use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom::base::capture::Rule;
use strongroom::base::database::Database;
use strongroom::base::error::{Explain, one_line};
use strongroom::base::name::Name;
use strongroom::base::text::{count, counted, is_obeyed, nearest, shell_word, size};
use strongroom::engine::regular;
use strongroom::engine::sqlite::HEADER;
use strongroom::format::manifest::{Alarm, Lost, Manifest, SourceRecord};
use strongroom::ops::backup::{self, Planned, Report, Request, Rescan};
use strongroom::ops::config::Config;
use strongroom::ops::turns::{Place, Purpose, Taken, Turn, TurnError};
use strongroom::source::files::{Databases, FilesOptions, FilesSource};
use strongroom::source::sqlite::SqliteSource;
use strongroom::vault::commit::Label;
use strongroom::vault::{LockedVault, Vault};

use crate::commands::verify::percent;
use crate::commands::{init, live};
use crate::context::{Context, host_name, name_of, user_name};
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Table, Tone, duration, local_with_zone, paint};

/// How long a restore is waited for that changes what is to be captured.
const WAIT: Duration = Duration::from_secs(300);

/// Take a snapshot of what the configuration names, or of these paths
///
/// Needs no identity: only what `init` left on this host. With no vault set up, one is made in the user's data folder.
#[derive(clap::Args)]
#[command(
    after_help = "Examples:\n  strongroom backup ~/app\n  strongroom backup --tag pre-deploy --label version=1.4\n  \
    strongroom backup documents            only this source of strongroom.toml\n  \
    strongroom backup /srv --exclude '*.tmp' --one-file-system"
)]
pub struct Args {
    /// Sources of the configuration, or paths; nothing for all sources
    #[arg(value_name = "SOURCE|PATH")]
    what: Vec<PathBuf>,
    /// Mark the snapshot with a word
    #[arg(long, value_name = "WORD", value_parser = tag)]
    tag: Vec<String>,
    /// Mark the snapshot with a value
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Why it is made
    #[arg(long, value_name = "TEXT", default_value = "manual", value_parser = word)]
    reason: String,
    /// The app it belongs to; otherwise the configuration's, or the path's name
    #[arg(long, value_name = "NAME")]
    app: Option<Name>,
    /// Leave out what fits this pattern, as in .gitignore; paths only
    #[arg(long, value_name = "GLOB")]
    exclude: Vec<String>,
    /// Leave out what files of this name say, such as .gitignore; paths only
    #[arg(long, value_name = "NAME")]
    ignore_file: Vec<String>,
    /// Stay on the file system of each path; paths only
    #[arg(long)]
    one_file_system: bool,
    /// Capture folders marked by a CACHEDIR.TAG too; paths only
    #[arg(long)]
    cachedirs: bool,
    /// There may be nothing in it; paths only
    #[arg(long)]
    allow_empty: bool,
    /// Capture databases as the files they are, not as databases; paths only
    #[arg(long)]
    plain: bool,
    /// How long to wait for a database that something else has locked
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    wait: u64,
    /// Read every file, whatever looks unchanged; with =N% only this share of them, another one each time, all of them in
    /// turn
    #[arg(long, value_name = "N%", num_args = 0..=1, require_equals = true, default_missing_value = "100%", value_parser = percent)]
    rescan: Option<f64>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
    Ok((word(key)?, word(value)?))
}

fn tag(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a tag has a letter at least".to_owned()) } else { word(text) }
}

/// Text that shows on a terminal as what it is.
fn word(text: &str) -> Result<String, String> {
    if text.chars().any(is_obeyed) { Err("control characters are not allowed".to_owned()) } else { Ok(text.to_owned()) }
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let config = context.config()?;
    let location = context.location(config.as_ref())?;
    let is_default = context.location_is_default(config.as_ref());
    let alarms = Some(config.as_ref().map_or_else(Default::default, |config| config.alarms));
    let rescan_within = config.as_ref().and_then(|config| config.rescan_within);
    let (app, sources) = plan(&args, config)?;
    let vault = open_or_make(context, &location, is_default)?;
    let label = Label {
        host: host_name(),
        user: user_name(),
        app,
        tags: args.tag,
        labels: args.label.into_iter().collect::<BTreeMap<_, _>>(),
        reason: args.reason,
        tool: concat!("strongroom ", env!("CARGO_PKG_VERSION")).to_owned(),
    };
    let rescan = match (args.rescan, rescan_within) {
        (Some(share), _) if share >= 100.0 => Rescan::Everything,
        (Some(share), _) => Rescan::Share(share / 100.0),
        (None, Some(within)) => Rescan::Within(within),
        (None, None) => Rescan::Nothing,
    };
    let control = context.control.clone();
    control.wait.set(args.wait.max(1));
    let estimate = context.interactive();
    let (check, all) = (true, false);
    let request = Request { sources, label, check, rescan, estimate, alarms, all, control };
    let progress = Progress::start(context, "reading", "files");
    let _turn = turn(&request.sources, context)?;
    let report = backup::backup(&vault, &request)?;
    drop(progress);
    tell(&report, context);
    let well = report.manifest.complete() && report.manifest.alarms.is_empty();
    let well = well && report.gone.is_empty() && !report.sealed_to_nobody;
    Ok(if well { Ending::Done } else { Ending::Incomplete })
}

/// Waits until nobody changes what is captured: half of a restore is nothing anybody wants back.
fn turn(sources: &[Planned], context: &Context) -> Result<Option<Turn>, Failure> {
    let places = sources.iter().map(Place::of_source).collect();
    let waits = |taken: &Taken| live::waiting(taken, context);
    let turn = context.turns()?.turn(("backup", Purpose::Read), places, (WAIT, &context.control), &waits);
    match turn {
        Ok(turn) => Ok(Some(turn)),
        // A home that cannot be written to keeps nobody from capturing.
        Err(TurnError::Io { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Which sources, and for which app.
fn plan(args: &Args, config: Option<Config>) -> Result<(Name, Vec<Planned>), Failure> {
    let (configured_app, mut configured) = config.map_or((None, Vec::new()), |config| (config.app, config.sources));
    let mut sources = Vec::new();
    for what in &args.what {
        match configured.iter().position(|planned| Path::new(planned.name.as_str()) == what) {
            Some(at) => sources.push(configured.remove(at)),
            None => sources.push(path_source(what, args, &sources, &configured)?),
        }
    }
    if args.what.is_empty() {
        sources = configured;
    }
    let app = args.app.clone().or(configured_app).unwrap_or_else(|| match &args.what[..] {
        [only] => name_of(only),
        _ => name_of(Path::new(".")),
    });
    Ok((app, sources))
}

/// The source, or what lies beside the path, whose name is nearest.
fn did_you_mean(path: &Path, configured: &[Planned]) -> Option<String> {
    let typed = path.file_name()?.to_str()?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let beside = std::fs::read_dir(parent).into_iter().flatten().flatten();
    let beside: Vec<String> = beside.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    let sources = configured.iter().map(|planned| planned.name.as_str());
    if let Some(source) = nearest(typed, sources).filter(|_| path.components().count() == 1) {
        return Some(source.to_owned());
    }
    let near = nearest(typed, beside.iter().map(String::as_str))?;
    Some(path.with_file_name(near).to_str()?.to_owned())
}

fn path_source(path: &Path, args: &Args, taken: &[Planned], configured: &[Planned]) -> Result<Planned, Failure> {
    let is_not_there = std::fs::metadata(path).err();
    // Beside others, a path that is gone is a source that cannot be captured; alone, or where a source may have been meant,
    // it is a mistake.
    let is_path = configured.is_empty() || path.as_os_str().as_encoded_bytes().contains(&b'/');
    if let Some(error) = is_not_there.filter(|_| args.what.len() == 1 || !is_path) {
        let reason = strongroom::base::error::reason(&error);
        let hint = match (did_you_mean(path, configured), configured) {
            (Some(meant), []) => format!("did you mean {}?", shell_word(&meant)),
            (None, []) => "check the path".to_owned(),
            (meant, some) => {
                let names: Vec<&str> = some.iter().map(|planned| planned.name.as_str()).collect();
                let meant = meant.map(|meant| format!("did you mean {}? ", shell_word(&meant))).unwrap_or_default();
                format!("{meant}name a path, or one of the sources {}", names.join(", "))
            }
        };
        return Err(Failure::usage(format!("cannot capture {}: {reason}", path.display()), hint));
    }
    let whole = std::path::absolute(path).unwrap_or(path.to_owned());
    let name = free_name(name_of(path), taken);
    if !args.plain && is_database(&whole) {
        return Ok(Planned { name, source: Box::new(SqliteSource::of(whole)) });
    }
    let options = FilesOptions {
        path: whole,
        exclude: args.exclude.clone(),
        ignore_files: args.ignore_file.clone(),
        one_file_system: args.one_file_system,
        cachedirs: args.cachedirs,
        allow_empty: args.allow_empty,
        databases: if args.plain { Databases::Plain } else { Databases::default() },
        only: None,
    };
    Ok(Planned { name, source: Box::new(FilesSource::new(options)?) })
}

/// Is it a file that begins like a database?
fn is_database(path: &Path) -> bool {
    let mut beginning = [0; HEADER.len()];
    let read = |mut file: std::fs::File| std::io::Read::read_exact(&mut file, &mut beginning);
    regular::open(path).and_then(read).is_ok() && beginning == *HEADER
}

/// `docs`, or `docs_2` if there is one already.
fn free_name(name: Name, taken: &[Planned]) -> Name {
    let is_taken = |name: &Name| taken.iter().any(|planned| planned.name == *name);
    let numbered = (2..).map(|n| Name::lossy(&format!("{name}_{n}")));
    std::iter::once(name.clone()).chain(numbered).find(|name| !is_taken(name)).expect("BUG: numbers do not end")
}

/// The vault; made first if none was ever named and there is none in the usual place.
fn open_or_make(context: &Context, location: &str, is_default: bool) -> Result<Vault, Failure> {
    let locked = match context.locked_at(location) {
        Ok(locked) => locked,
        // One that was there and is gone is not made anew by a backup: it may only be a disk that is not mounted.
        Err(failure)
            if is_default && failure.is_no_vault() && LockedVault::met(location, &context.folders()?).is_none() =>
        {
            let made = init::make(context, location, Vec::new(), true)?;
            context.say(&made.words(location));
            context.locked_at(location)?
        }
        Err(failure) => return Err(failure),
    };
    context.writable(locked)
}

/// So many databases among the files are named one by one.
const DATABASES_NAMED: usize = 10;

/// What is worth saying of a source beside its sizes.
fn remark(source: &SourceRecord) -> String {
    match &source.databases[..] {
        [only] if only.path.is_root() => about(only),
        [] => counted(source.files, "file"),
        _ if source.files == source.databases.len() as u64 => counted(source.files, "database"),
        _ => format!("{}, {}", counted(source.files, "file"), counted(source.databases.len() as u64, "database")),
    }
}

fn about(database: &Database) -> String {
    let rows = counted(database.rows.values().sum(), "row");
    let revision = database.revision.as_ref().map(|revision| format!("{} {}", revision.tool, revision.id));
    let damage = database.damage.as_ref().map(|_| paint(Tone::Lost, "damaged"));
    [damage, revision, Some(rows)].into_iter().flatten().collect::<Vec<_>>().join(" · ")
}

/// An alarm in words, with the snapshot that still has what is lost.
pub fn alarm(alarm: &Alarm) -> String {
    let Alarm { source, path, table, before, after, .. } = alarm;
    let name = match path {
        Some(path) if !path.is_root() => format!("{source}/{path}"),
        _ => source.to_string(),
    };
    let what = match (alarm.what, table) {
        (Lost::Empty, _) => {
            let why = alarm.why.as_deref().unwrap_or("there is nothing in it");
            let were = if *before == 1 { "was" } else { "were" };
            let had = (*before > 0).then(|| format!(", where there {were} {}", counted(*before, "file")));
            format!("{why}{}", had.unwrap_or_default())
        }
        (Lost::Rows, Some(table)) => format!("table {table} had {} and has {}", counted(*before, "row"), count(*after)),
        (Lost::Rows, None) => format!("the database is gone, with {}", counted(*before, "row")),
        (Lost::Files, _) => format!("{} before, {} now", counted(*before, "file"), count(*after)),
        (Lost::Bytes, _) => format!("{} before, {} now", size(*before), size(*after)),
    };
    let kept = alarm.snapshot.map(|id| format!("; the snapshot before is {}", id.short()));
    format!("alarm: {name}: {what}{}", kept.unwrap_or_default())
}

/// What was left out on purpose, in words: how much, and the first of it.
fn left_out(source: &SourceRecord, rule: Rule) -> Option<String> {
    let of_rule: Vec<&str> = source.left_out.iter().filter(|left| left.why == rule).map(|left| &*left.path).collect();
    let first = of_rule.first()?;
    let cut = if source.left_out_count > source.left_out.len() as u64 { "at least " } else { "" };
    let number = of_rule.len() as u64;
    let what = match rule {
        Rule::Cache => format!("{} marked by a CACHEDIR.TAG", counted(number, "cache folder")),
        Rule::Own => format!("{} of strongroom itself", counted(number, "item")),
        Rule::Partial => format!("{} of restores that were killed", counted(number, "unfinished file")),
    };
    let first = if number == 1 { (*first).to_owned() } else { format!("{first}, …") };
    Some(format!("{}: {cut}{what}: {first}", source.name))
}

/// Says what a person must know of a snapshot that was made: what it lacks, and what was lost.
fn warn(report: &Report, context: &Context) {
    let manifest = &report.manifest;
    for warning in &report.warnings {
        context.warn(&format!("warning: {warning}"));
    }
    warn_of_gone(report, context);
    for (name, error) in &report.failed {
        context.warn(&format!("not captured: {name}: {}", one_line(error)));
        error.hint().into_iter().for_each(|hint| context.warn(&format!("hint: {hint}")));
    }
    for source in &manifest.sources {
        let lines = source.skipped.iter().map(|skip| format!("{}/{}: {}", source.name, skip.path, skip.reason));
        context.warn_some("not captured as it should be", lines, source.skipped_count);
        warn_of_left_out(source, context);
    }
    for alarm in &manifest.alarms {
        context.warn(&paint(Tone::Lost, &self::alarm(alarm)));
    }
    if let Some(hint) = hint_for_empty(manifest) {
        context.warn(&hint);
    }
}

/// Says what the vault has lost, however well it took this snapshot.
fn warn_of_gone(report: &Report, context: &Context) {
    if report.sealed_to_nobody {
        context.warn("warning: nobody can open the vault any more: keys/ is empty");
        context.warn("hint: bring keys/ back from a copy of the vault: without it nothing in the vault can be read");
    }
    let lines = report.gone.iter().map(|object| format!("{object} is not in the vault any more"));
    context.warn_some("gone", lines, report.gone.len() as u64);
    if !report.gone.is_empty() {
        context.warn(GONE);
    }
}

/// What to do about what this host knows of and is gone.
pub const GONE: &str =
    "hint: bring it back from a copy of the vault; if it is meant to be gone: strongroom snapshots --accept-gone";

/// One line for each rule; every path with `--verbose`.
fn warn_of_left_out(source: &SourceRecord, context: &Context) {
    if context.verbose() {
        let lines = source.left_out.iter().map(|left| format!("{}/{}", source.name, left.path));
        return context.warn_some("left out", lines, source.left_out_count);
    }
    for line in [Rule::Cache, Rule::Partial, Rule::Own].into_iter().filter_map(|rule| left_out(source, rule)) {
        context.warn(&format!("left out: {line}"));
    }
}

/// How one says that a source may be empty.
fn hint_for_empty(manifest: &Manifest) -> Option<String> {
    let empty = manifest.alarms.iter().find(|alarm| alarm.what == Lost::Empty)?;
    Some(format!(
        "hint: if that is right, write allow_empty = true under [source.{}] in strongroom.toml (for paths: --allow-empty)",
        empty.source
    ))
}

fn tell(report: &Report, context: &Context) {
    let manifest = &report.manifest;
    warn(report, context);
    if context.json() {
        let mut document = serde_json::to_value(manifest).expect("BUG: plain fields");
        for source in document["sources"].as_array_mut().into_iter().flatten() {
            source.as_object_mut().map(|fields| fields.remove("listing"));
        }
        document["complete"] = manifest.complete().into();
        document["warnings"] = report.warnings.clone().into();
        document["gone"] = report.gone.iter().map(ToString::to_string).collect::<Vec<_>>().into();
        context.print_json(&document);
        return;
    }
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Right, Right, Right, Left]);
    for source in &manifest.sources {
        if source.failed.is_some() {
            let cells = [source.name.to_string(), source.kind.clone(), paint(Tone::Look, "not captured")];
            table.row(cells.to_vec());
            continue;
        }
        // Something may be gone all the same.
        let nothing_new = source.bytes_new == 0;
        table.row(vec![
            source.name.to_string(),
            source.kind.clone(),
            size(source.bytes),
            if nothing_new { "nothing new".to_owned() } else { format!("{} new", size(source.bytes_new)) },
            if nothing_new { String::new() } else { format!("{} stored", size(source.bytes_stored)) },
            duration(source.milliseconds),
            remark(source),
        ]);
        for database in source.databases.iter().filter(|database| !database.path.is_root()).take(DATABASES_NAMED) {
            let name = format!("{}/{}", source.name, database.path);
            let blank = String::new;
            table.row(vec![name, database.engine.clone(), blank(), blank(), blank(), blank(), about(database)]);
        }
    }
    context.print(&table.render());
    let took = manifest.finished.timestamp().as_millisecond() - manifest.time.timestamp().as_millisecond();
    let mut words = vec![format!("snapshot {}", manifest.id.short()), manifest.app.to_string()];
    words.extend((!manifest.tags.is_empty()).then(|| manifest.tags.join(" ")));
    words.push(local_with_zone(manifest.time));
    words.push(duration(took.max(0) as u64));
    if !manifest.complete() {
        words.push(paint(Tone::Look, "incomplete"));
    }
    context.print(&format!("{}\n", words.join(" · ")));
}
