use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use strongroom::base::database::Database;
use strongroom::base::name::Name;
use strongroom::base::text::{counted, size};
use strongroom::engine::regular;
use strongroom::engine::sqlite::HEADER;
use strongroom::format::manifest::{Alarm, SourceRecord};
use strongroom::ops::backup::{self, Planned, Report, Request};
use strongroom::ops::config::{self, Config};
use strongroom::source::files::{Databases, FilesOptions, FilesSource};
use strongroom::source::sqlite::SqliteSource;
use strongroom::store::Store;
use strongroom::vault::commit::Label;
use strongroom::vault::{LockedVault, Vault};

use crate::commands::init;
use crate::context::{Context, host_name, name_of, user_name};
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{Lean, Table, Tone, duration, local_with_zone, paint};

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
    #[arg(long, value_name = "WORD", value_parser = word)]
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
    /// Capture databases as the files they are, not as databases; paths only
    #[arg(long)]
    plain: bool,
    /// Read every file, whatever looks unchanged
    #[arg(long)]
    rescan: bool,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or("write KEY=VALUE")?;
    Ok((word(key)?, word(value)?))
}

/// Text that shows on a terminal as what it is.
fn word(text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) {
        Err("control characters are not allowed".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let config = context.config()?;
    let location = context.location(config.as_ref())?;
    let is_default = context.location_is_default(config.as_ref());
    let rows_lost = config.as_ref().map_or(config::ROWS_LOST, |config| config.rows_lost);
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
    let control = context.control.clone();
    let estimate = context.interactive();
    let request = Request { sources, label, check: true, rescan: args.rescan, estimate, rows_lost, control };
    let progress = Progress::start(context, "reading", "files");
    let report = backup::backup(&vault, &request)?;
    drop(progress);
    tell(&report, context);
    Ok(if report.manifest.complete() { Ending::Done } else { Ending::Incomplete })
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

fn path_source(path: &Path, args: &Args, taken: &[Planned], configured: &[Planned]) -> Result<Planned, Failure> {
    if let Err(error) = std::fs::metadata(path) {
        let reason = strongroom::base::error::reason(&error);
        let hint = match configured {
            [] => "check the path".to_owned(),
            some => {
                let names: Vec<&str> = some.iter().map(|planned| planned.name.as_str()).collect();
                format!("name a path, or one of the sources {}", names.join(", "))
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
    let opened = Store::open(location, &context.store_options())
        .map_err(Failure::from)
        .and_then(|store| Ok(LockedVault::open(store, &context.folders()?)?));
    let locked = match opened {
        Ok(locked) => locked,
        Err(failure) if is_default && failure.is_no_vault() => {
            let made = init::make(context, location, Vec::new(), true)?;
            context.say(made.words(location).trim_end());
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

fn lost(alarm: &Alarm) -> String {
    let Alarm { source, path, table, before, after, kept } = alarm;
    let database = if path.is_root() { source.to_string() } else { format!("{source}/{path}") };
    format!("alarm: {database}: table {table} had {before} rows and has {after}; the snapshot before is kept: {kept}")
}

fn tell(report: &Report, context: &Context) {
    let manifest = &report.manifest;
    for warning in &report.warnings {
        context.say(&format!("warning: {warning}"));
    }
    for source in &manifest.sources {
        let lines = source.skipped.iter().map(|skip| format!("{}/{}: {}", source.name, skip.path, skip.reason));
        context.say_some("not captured as it should be", lines, source.skipped_count);
    }
    if context.json() {
        let mut document = serde_json::to_value(manifest).expect("BUG: plain fields");
        for source in document["sources"].as_array_mut().into_iter().flatten() {
            source.as_object_mut().map(|fields| fields.remove("listing"));
        }
        document["complete"] = manifest.complete().into();
        document["warnings"] = report.warnings.clone().into();
        context.print_json(&document);
        return;
    }
    use Lean::{Left, Right};
    let mut table = Table::new(&[Left, Left, Right, Right, Right, Right, Left]);
    for source in &manifest.sources {
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
    for alarm in &manifest.alarms {
        context.print(&format!("{}\n", paint(Tone::Lost, &lost(alarm))));
    }
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
