//! What is told of a snapshot that was made.

use strongroom::base::capture::Rule;
use strongroom::base::database::Database;
use strongroom::base::error::{Explain, one_line};
use strongroom::base::text::{count, counted, size};
use strongroom::format::manifest::{Alarm, Lost, Manifest, SourceRecord};
use strongroom::ops::backup::Report;

use crate::context::Context;
use crate::render::{Lean, Table, Tone, duration, local_with_zone, paint};

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
        (Lost::Rows, None) if *before == 0 => "the database, damaged before, is gone".to_owned(),
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
    context.tell_altered(&report.altered);
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

pub fn tell(report: &Report, context: &Context) {
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
