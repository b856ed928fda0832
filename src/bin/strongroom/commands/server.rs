use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

use strongroom::base::name::Name;
use strongroom::base::text::{counted, printable, size};
use strongroom::engine::postgres::restore::{Loaded, ReadBack, What};
use strongroom::engine::postgres::settings::Settings;
use strongroom::format::manifest::Manifest;
use strongroom::ops::restore::server::{self, Report, Request};
use strongroom::ops::show::Part;
use strongroom::source::postgres::reach;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::foreseen;
use crate::context::Context;
use crate::exit::{Ending, Failure};
use crate::progress::Progress;
use crate::render::{duration, local_with_zone};

/// What of a database a server is given.
#[derive(clap::Args)]
pub struct ServerArgs {
    /// Only definitions, no rows (with --to URL)
    #[arg(long, conflicts_with = "data_only")]
    schema_only: bool,
    /// Only rows, into tables that are there and empty, in one transaction (with --to URL)
    #[arg(long)]
    data_only: bool,
    /// Only the rows of this table; definitions come whole (with --to URL; repeatable)
    #[arg(long, value_name = "SCHEMA.TABLE")]
    table: Vec<String>,
    /// Replace what is in the database (with --to URL); with --no-safety also where a source lives in it
    #[arg(long)]
    clean: bool,
    /// How many connections work at once (with --to URL)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    workers: Option<u8>,
    /// Count rows on their way in, and do not read them back: faster by about a quarter, and nothing shows that they
    /// are what was captured (with --to URL)
    #[arg(long, conflicts_with = "accept_damage")]
    no_check: bool,
}

impl ServerArgs {
    /// These say nothing of anything but a server.
    pub fn refuse_elsewhere(&self) -> Result<(), Failure> {
        let given = [
            (self.schema_only, "--schema-only"),
            (self.data_only, "--data-only"),
            (!self.table.is_empty(), "--table"),
            (self.clean, "--clean"),
            (self.workers.is_some(), "--workers"),
            (self.no_check, "--no-check"),
        ];
        match given.iter().find(|(given, _)| *given) {
            None => Ok(()),
            Some((_, name)) => Err(Failure::usage(
                format!("{name} goes with a database to restore into"),
                "name it with --to postgres://HOST/NAME",
            )),
        }
    }

    fn read_back(&self, accept_damage: bool) -> ReadBack {
        match (self.no_check, accept_damage) {
            (true, _) => ReadBack::Skipped,
            (false, true) => ReadBack::Told,
            (false, false) => ReadBack::Must,
        }
    }

    fn what(&self) -> What {
        let tables: BTreeSet<String> = self.table.iter().cloned().collect();
        let tables = (!tables.is_empty()).then_some(tables);
        What { definitions: !self.data_only, rows: !self.schema_only, tables }
    }
}

/// A URL of a server, where folders go otherwise.
pub fn url(to: &Path) -> Option<&str> {
    // Some name their driver too: postgresql+asyncpg.
    let is_known = |scheme: &str| matches!(scheme.split('+').next(), Some("postgres" | "postgresql"));
    to.to_str().filter(|to| to.split_once("://").is_some_and(|(scheme, _)| is_known(scheme)))
}

/// Refuses an address of something else than a server that can be restored into: a folder of that name is not meant.
pub fn refuse_other(to: &Path) -> Result<(), Failure> {
    let scheme = to.to_str().and_then(|to| to.split_once("://")).map(|(scheme, _)| scheme);
    match scheme.filter(|_| url(to).is_none()) {
        Some(scheme) => Err(Failure::usage(
            format!("nothing can be restored to {}://…", printable(scheme)),
            "name a folder, or a database as postgres://HOST/NAME",
        )),
        None => Ok(()),
    }
}

/// A command line is no place for a password: every user of the machine can read it, and shells remember it.
pub fn refuse_password(option: &str, url: &str) -> Result<(), Failure> {
    if !Settings::tells_password(url) {
        return Ok(());
    }
    let hint = "leave it out, and give it in PGPASSWORD, in ~/.pgpass (mode 0600), or in the url of a source in strongroom.toml";
    Err(Failure::usage(
        format!("the URL behind {option} tells a password, which others can read on a command line"),
        hint,
    ))
}

/// The databases that sources live in.
type Homes = Vec<(Name, Settings)>;

pub fn into(
    vault: &UnlockedVault,
    manifest: &Manifest,
    (parts, url, homes): (Vec<Part>, &str, Option<Homes>),
    args: &ServerArgs,
    (accept_damage, dry_run): (bool, bool),
    context: &Context,
) -> Result<Ending, Failure> {
    let hint = "write postgres://USER@HOST:PORT/NAME; the password comes from PGPASSWORD or ~/.pgpass";
    refuse_password("--to", url)?;
    let to = reach(url).map_err(|error| Failure::usage(format!("the URL to restore into {error}"), hint))?;
    let [part] = one(parts)?;
    let workers = args.workers.map(usize::from);
    let (what, control) = (args.what(), context.control.clone());
    let read_back = args.read_back(accept_damage);
    let request = Request { part, to, what, clean: args.clean, workers, read_back, homes, control };
    if dry_run {
        let about = serde_json::json!({ "snapshot": manifest.id, "to": request.to.shown() });
        return foreseen::tell(about, context, |_| server::foresee(vault, manifest, &request));
    }
    let clock = Instant::now();
    let progress = Progress::start(context, "restoring", "tables");
    let report = server::restore(vault, manifest, &request)?;
    drop(progress);
    if context.json() {
        context.print_json(&serde_json::json!({ "snapshot": manifest.id, "to": report.database, "report": report }));
    } else {
        context.print(&words(&report, clock.elapsed().as_millis() as u64));
        context.print(&format!("restored {} of {}\n", manifest.id.short(), local_with_zone(manifest.time)));
    }
    for name in &report.swept {
        context.warn(&format!("dropped {name}, which an interrupted restore had left there"));
    }
    let lines = report.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.reason));
    context.warn_some("not restored as it was", lines, report.issues.len() as u64);
    match ending(&report.loaded, context) {
        Ending::Done if !report.issues.is_empty() => Ok(Ending::Incomplete),
        ending => Ok(ending),
    }
}

fn one(parts: Vec<Part>) -> Result<[Option<Part>; 1], Failure> {
    let count = parts.len();
    let mut parts = parts.into_iter();
    match count {
        0 | 1 => Ok([parts.next()]),
        _ => Err(Failure::usage("a server is given one source at a time", "name one source")),
    }
}

/// What did not come back as it was.
pub fn ending(loaded: &Loaded, context: &Context) -> Ending {
    let differ = loaded.differ.iter().map(|table| format!("{table}: its rows are not what was captured"));
    let invalid = loaded.not_valid.iter().map(|reference| format!("not valid for rows there are: {reference}"));
    let count = (loaded.differ.len() + loaded.not_valid.len()) as u64;
    context.warn_some("not restored as it was", differ.chain(invalid), count);
    if count == 0 { Ending::Done } else { Ending::Incomplete }
}

fn words(report: &Report, milliseconds: u64) -> String {
    let replaced = if report.replaced { ", in place of what was there" } else { "" };
    let database = &report.database;
    format!("  {}, into {database}{replaced}, {}\n", loaded(&report.loaded), duration(milliseconds))
}

/// `12 tables, 3,000 rows, 1.2 MB, all as captured`
pub fn loaded(loaded: &Loaded) -> String {
    let mut some = vec![counted(loaded.tables, "table"), counted(loaded.rows, "row"), size(loaded.bytes)];
    some.extend((loaded.large_objects > 0).then(|| counted(loaded.large_objects, "large object")));
    if loaded.tables > 0 && loaded.checked == loaded.tables {
        some.push("read back and the same".to_owned());
    } else if loaded.tables > 0 && loaded.checked == 0 && loaded.differ.is_empty() {
        some.push("counted and not read back".to_owned());
    }
    some.join(", ")
}
