mod told;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use strongroom::base::name::Name;
use strongroom::base::text::{is_obeyed, nearest, shell_word};
use strongroom::engine::regular;
use strongroom::engine::sqlite::HEADER;
use strongroom::ops::backup::{self, Planned, Request, Rescan};
use strongroom::ops::config::Config;
use strongroom::ops::error::Problem;
use strongroom::ops::turns::{Place, Purpose, Taken, Turn, TurnError};
use strongroom::source::files::{Databases, FilesOptions, FilesSource};
use strongroom::source::sqlite::SqliteSource;
use strongroom::vault::commit::Label;
use strongroom::vault::select::SAFETY;
use strongroom::vault::{LockedVault, Vault};

use crate::commands::backup::told::tell;
pub use crate::commands::backup::told::{GONE, alarm};
use crate::commands::verify::percent;
use crate::commands::{init, live};
use crate::context::{Context, host_name, name_of, user_name};
use crate::exit::{Ending, Failure};
use crate::progress::Progress;

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
    #[arg(long, value_name = "TEXT", default_value = "manual", value_parser = reason)]
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

fn labels(given: &[(String, String)]) -> Result<BTreeMap<String, String>, Failure> {
    let mut labels = BTreeMap::new();
    for (key, value) in given {
        if let Some(other) = labels.insert(key.clone(), value.clone()) {
            return Err(Failure::usage(
                format!("--label {key} is given twice"),
                format!("one of them says {other}: leave one out"),
            ));
        }
    }
    Ok(labels)
}

fn tag(text: &str) -> Result<String, String> {
    if text.trim().is_empty() { Err("a tag has a letter at least".to_owned()) } else { word(text) }
}

/// Snapshots of this reason are strongroom's own, which `latest` passes over.
fn reason(text: &str) -> Result<String, String> {
    match text.trim() {
        "" => Err("a reason has a letter at least".to_owned()),
        SAFETY => Err("safety snapshots are made by strongroom itself".to_owned()),
        _ => word(text),
    }
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
    refuse_misplaced_share(&args)?;
    let (app, sources) = plan(&args, config)?;
    if sources.is_empty() {
        return Err(Problem::Nothing.into());
    }
    let (label, rescan) = (marks(&args, app)?, rescan(args.rescan, rescan_within));
    let vault = open_or_make(context, &location, is_default)?;
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
    let well = well && report.gone.is_empty() && report.altered.is_empty() && !report.sealed_to_nobody;
    Ok(if well { Ending::Done } else { Ending::Incomplete })
}

/// Refuses a share that stands apart from its option, and would be taken for a path.
fn refuse_misplaced_share(args: &Args) -> Result<(), Failure> {
    let is_share = |what: &PathBuf| what.to_str().is_some_and(|text| text.ends_with('%')) && !what.exists();
    match args.rescan.is_some() && args.what.iter().any(is_share) {
        true => Err(Failure::usage("--rescan takes its share behind =", "write it as in --rescan=5%")),
        false => Ok(()),
    }
}

/// What is said of the snapshot.
fn marks(args: &Args, app: Name) -> Result<Label, Failure> {
    Ok(Label {
        host: host_name(),
        user: user_name(),
        app,
        tags: args.tag.clone(),
        labels: labels(&args.label)?,
        reason: args.reason.clone(),
        tool: concat!("strongroom ", env!("CARGO_PKG_VERSION")).to_owned(),
    })
}

fn rescan(asked: Option<f64>, within: Option<Duration>) -> Rescan {
    match (asked, within) {
        (Some(share), _) if share >= 100.0 => Rescan::Everything,
        (Some(share), _) => Rescan::Share(share / 100.0),
        (None, Some(within)) => Rescan::Within(within),
        (None, None) => Rescan::Nothing,
    }
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
    let mut sources: Vec<Planned> = Vec::new();
    refuse_options_of_paths(args, &configured)?;
    let names: BTreeSet<PathBuf> = configured.iter().map(|planned| planned.name.as_str().into()).collect();
    for what in &args.what {
        // A source that is named twice is captured once.
        if names.contains(what) && sources.iter().any(|planned| Path::new(planned.name.as_str()) == what) {
            continue;
        }
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

/// What is said of paths does not hold for sources of the configuration, and is not passed over.
fn refuse_options_of_paths(args: &Args, configured: &[Planned]) -> Result<(), Failure> {
    let given = [
        (!args.exclude.is_empty(), "--exclude", "exclude"),
        (!args.ignore_file.is_empty(), "--ignore-file", "ignore_files"),
        (args.one_file_system, "--one-file-system", "one_file_system"),
        (args.cachedirs, "--cachedirs", "cachedirs"),
        (args.allow_empty, "--allow-empty", "allow_empty"),
        (args.plain, "--plain", "plain"),
    ];
    let is_meant = |planned: &&Planned| {
        args.what.is_empty() || args.what.iter().any(|what| Path::new(planned.name.as_str()) == what)
    };
    let Some(planned) = configured.iter().find(is_meant) else { return Ok(()) };
    match given.iter().find(|(is_given, ..)| *is_given) {
        Some((_, option, setting)) => Err(Failure::usage(
            format!("{option} is for paths, and {} is a source of the configuration", planned.name),
            format!("say {setting} in [source.{}] of the configuration, or name its path", planned.name),
        )),
        None => Ok(()),
    }
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
        paths: None,
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
            // Without the identity nobody can open it: that is said to whoever is told nothing else.
            context.warn(&made.words(location));
            context.locked_at(location)?
        }
        Err(failure) => return Err(failure),
    };
    context.writable(locked)
}
