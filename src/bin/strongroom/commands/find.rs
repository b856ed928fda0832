use std::ffi::OsString;

use strongroom::base::selector::Selector;
use strongroom::base::text::{count, counted, printable, shell_word};
use strongroom::format::manifest::Manifest;
use strongroom::ops::find::{self, Change, Report, Request, Wanted, What};
use strongroom::vault::select::{Filter, SelectError, Unread};

use crate::commands::places::PlaceArgs;
use crate::context::{Context, host_name};
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Lines, Table, local, local_with_zone, width, wrapped, zone};
use crate::terminal::safe;

/// Tell which snapshots hold a record: since when, when it changed, and since when it is gone
///
/// A database is read only where it differs from the snapshot before.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  strongroom find project 17\n  \
    strongroom find --table users --where \"email = 'ada@example.org'\"\n  strongroom find order_lines 812,3")]
pub struct Args {
    /// What the configuration calls an entity, or a table
    #[arg(value_name = "ENTITY", requires = "key", required_unless_present = "table")]
    entity: Option<String>,
    /// Its key; the values of a composite key with commas between them
    #[arg(value_name = "KEY", allow_negative_numbers = true)]
    key: Option<String>,
    /// Rows of this table that --where holds for
    #[arg(long, value_name = "TABLE", requires = "condition", conflicts_with = "entity")]
    table: Option<String>,
    /// A condition, in SQL
    #[arg(long = "where", value_name = "SQL", id = "condition", requires = "table")]
    condition: Option<String>,
    /// The database, where the snapshots hold several
    #[arg(long, value_name = "NAME[:PATH]")]
    source: Option<OsString>,
    #[command(flatten)]
    places: PlaceArgs,
    /// Only snapshots of this app
    #[arg(long, value_name = "NAME")]
    app: Option<String>,
    /// Only snapshots made on this host
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

pub fn run(args: Args, context: &Context) -> Result<Ending, Failure> {
    let vault = context.unlocked()?;
    let config = context.config()?;
    let all = vault.snapshots()?;
    let app = args.app.clone().map_or_else(|| context.configured_app(&all), |app| Ok(Some(app)))?;
    let filter = Filter { app, host: args.host.clone(), source: None };
    let manifests: Vec<&Manifest> =
        all.readable.iter().filter(|snapshot| filter.admits(snapshot)).map(|snapshot| &snapshot.manifest).collect();
    filter.must_be_known(&all)?;
    if manifests.is_empty() {
        // The same as a selector that fits none.
        let newest = all.readable.last().map(|snapshot| snapshot.manifest.id.short());
        let none = SelectError::None { selector: Selector::Latest(0), newest, unread: Unread::default() };
        return Err(none.beside(&all).into());
    }
    let (model, configured) = config.map(|config| (config.model, config.sources)).unwrap_or_default();
    let chooser = context.chooser(&vault, &all, filter)?;
    args.source.as_deref().map(|text| chooser.must_have(text)).transpose()?;
    let part = |manifest: &Manifest| args.source.as_deref().map(|text| chooser.part(text, manifest)).transpose();
    let (places, control) = (args.places.places(&vault, &manifests)?, context.control.clone());
    let host = args.host.is_none().then(host_name);
    let request = Request { wanted: wanted(&args), part: Box::new(part), model, configured, places, host, control };
    context.tell_unread(&all);
    let report = find::find(&vault, &manifests, &request)?;
    let unread = report.unread.iter().map(|unread| {
        format!("snapshot {} of {}: {}", unread.snapshot.short(), local_with_zone(unread.time), unread.why)
    });
    context.alarm_some("could not be looked into as a whole", unread, report.unread.len() as u64);
    if !report.other_hosts.is_empty() {
        let others = report.other_hosts.join(", ");
        context.warn(&format!("note: only snapshots of this host were looked through; with --host those of {others}"));
    }
    if let Some(why) = &report.live_unseen {
        context.alarm(&format!("warning: live data could not be looked at: {why}"));
    }
    if context.json() {
        context.print_json(&report);
    } else {
        context.print(&words(&report, &args));
    }
    Ok(Ending::Done)
}

fn wanted(args: &Args) -> Wanted {
    match (&args.entity, &args.key, &args.table, &args.condition) {
        (.., Some(table), Some(condition)) => Wanted::Where { table: table.clone(), condition: condition.clone() },
        (Some(name), Some(key), ..) => Wanted::Key { name: name.clone(), key: key.clone() },
        _ => unreachable!("BUG: clap insists on one of them"),
    }
}

fn words(report: &Report, args: &Args) -> Lines {
    let mut table = Table::new(&[Lean::Left; 3]);
    for change in &report.changes {
        table.row(vec![change.snapshot.short(), local(change.time), what(change)]);
    }
    let mut out = table.render();
    // As it is called in words, and as a shell takes it.
    let (name, asked) = match (&args.entity, &args.key, &args.table, &args.condition) {
        (.., Some(table), Some(condition)) => {
            let asked = format!("--table {} --where {}", shell_word(table), shell_word(condition));
            (format!("{table} where {}", printable(condition)), asked)
        }
        (entity, key, ..) => {
            let (entity, key) = (entity.as_deref().unwrap_or_default(), key.as_deref().unwrap_or_default());
            (format!("{entity} {}", printable(key)), format!("{} {}", shell_word(entity), shell_word(key)))
        }
    };
    let live = match (report.live, report.last) {
        (Some(true), _) => "in live data",
        (Some(false), Some(_)) => "gone from live data",
        (Some(false), None) => "not in live data",
        (None, _) if report.live_unseen.is_some() => "live data could not be looked at",
        (None, _) => "live data is not here",
    };
    let (snapshots, read) = (counted(report.snapshots, "snapshot"), count(report.read));
    let none = if report.last.is_none() { "in no snapshot · " } else { "" };
    let line = format!("{name} · {none}{live} · {snapshots}, {read} read · zone {}", zone());
    out.push_text(&wrapped(&safe(&line), width()));
    if let (Some(last), Some(false)) = (report.last, report.live) {
        let source = match (&args.source, &report.database) {
            (Some(_), Some(label)) => format!(" --source {}", shell_word(label)),
            _ => String::new(),
        };
        out.push_command(&format!("give it back: strongroom recover {} {asked}{source}", last.short()));
    }
    out
}

fn what(change: &Change) -> String {
    let rows = |rows: u64| if rows == 1 { String::new() } else { format!(", {}", counted(rows, "row")) };
    match &change.what {
        What::There { rows: number } => format!("there{}", rows(*number)),
        What::Changed { rows: number, columns } if columns.is_empty() => format!("changed{}", rows(*number)),
        What::Changed { columns, .. } => format!("changed: {}", columns.join(", ")),
        What::Gone => "gone".to_owned(),
    }
}
