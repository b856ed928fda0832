use std::collections::BTreeMap;
use std::time::Duration;

use strongroom::base::name::Name;
use strongroom::base::text::{count, counted, printable, size};
use strongroom::engine::sqlite::apply::{Applied, Checked, OnDamage, Way};
use strongroom::format::manifest::Manifest;
use strongroom::ops::actions::{Actions, Holding, Touched};
use strongroom::ops::damaged::{Damaged, emptied};
use strongroom::ops::hooks::Hooks;
use strongroom::ops::recover;
use strongroom::ops::restore::Report;
use strongroom::ops::restore::in_place::{self, Settings, Step};
use strongroom::ops::restore::swap::Swapped;
use strongroom::ops::show::Part;
use strongroom::ops::turns::Taken;
use strongroom::vault::commit::Label;
use strongroom::vault::snapshots::Snapshots;
use strongroom::vault::unlocked::UnlockedVault;

use crate::commands::backup::alarm as words_of;
use crate::commands::{damaged, server};
use crate::context::{Context, host_name, user_name};
use crate::exit::{Ending, Failure};
use crate::render::{Lean, Lines, Table, Tone, duration, paint};

/// How live data is changed.
#[derive(clap::Args)]
pub struct LiveArgs {
    /// How long to wait for a database that is locked, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    wait: u64,
    /// Give a database back even if SQLite's check finds it damaged, or a server's rows are not the same when read back
    #[arg(long)]
    pub accept_damage: bool,
    /// Replace a server's database though its source leaves out schemas or tables: what is there of them is then only in
    /// the database that is kept aside
    #[arg(long)]
    accept_left_out: bool,
    /// Make no safety snapshot: what is there now is lost for good, and there is no undo
    #[arg(long)]
    pub no_safety: bool,
    /// Do not read files that have the size and times they had: quicker, and leaves what a disk has changed as it is
    #[arg(long)]
    trust_times: bool,
    /// Do not run the hooks of the configuration
    #[arg(long)]
    no_hooks: bool,
}

impl LiveArgs {
    pub fn wait(&self) -> u64 {
        self.wait
    }

    pub fn settings<'s>(
        &self,
        actions: &'s Actions,
        hooks: Option<Hooks>,
        numeric_ids: bool,
        told: &'s dyn Fn(Step),
        context: &Context,
    ) -> Settings<'s> {
        let label = Label {
            host: host_name(),
            user: user_name(),
            app: Name::lossy("app"),
            tags: Vec::new(),
            labels: BTreeMap::new(),
            reason: String::new(),
            tool: concat!("strongroom ", env!("CARGO_PKG_VERSION")).to_owned(),
        };
        Settings {
            safety: (!self.no_safety).then_some(label),
            wait: Duration::from_secs(self.wait),
            on_damage: if self.accept_damage { OnDamage::Tell } else { OnDamage::Refuse },
            accept_left_out: self.accept_left_out,
            numeric_ids,
            trust_times: self.trust_times,
            actions,
            hooks: hooks.filter(|_| !self.no_hooks).unwrap_or_default(),
            told,
            control: context.control.clone(),
        }
    }
}

/// Finishes or takes back what was broken off, before anything else is done to live data.
pub fn settle(vault: &UnlockedVault, context: &Context) -> Result<(), Failure> {
    let configured = context.config()?.map(|config| config.sources).unwrap_or_default();
    let patience = (Duration::from_secs(10), &context.control);
    let settled = recover::settle(vault, &context.actions(vault)?, &configured, patience)?;
    settled.iter().for_each(|line| context.warn(line));
    Ok(())
}

/// Says each step as it is taken: whatever comes after, the way back is known.
pub fn told(step: &Step, context: &Context) {
    match step {
        Step::Writes(parts) => {
            parts.iter().for_each(|part| context.print(&format!("  {:<15}  {}\n", "in place", lives(part))))
        }
        Step::Safe(Holding::Snapshot(id)) => context.print(&format!("  safety snapshot  {}\n", id.short())),
        Step::Safe(Holding::Nothing) => context.print("  nothing there yet to be kept safe\n"),
        Step::Hook(ran) => {
            let took = duration(ran.milliseconds);
            context.print(&format!("  {:<15}  {}  {took}\n", ran.name, ran.command));
            if let Some(failure) = &ran.failure {
                context.warn(&format!("warning: {} failed: {failure}", ran.name));
            }
        }
        Step::Waits(taken) => waiting(taken, context),
        Step::Reached(_) => {}
        Step::Safe(Holding::Unknown) => context.warn("warning: no safety snapshot: there is no undo"),
    }
}

/// A part of a source, and where that lives.
pub fn lives(part: &Touched) -> String {
    let place = printable(&part.root);
    match part.path.is_root() {
        true => format!("{} at {place}", part.source),
        false => format!("{}:{} at {place}", part.source, part.path),
    }
}

/// Says what had been lost or was damaged when the snapshot was taken, of what is given back.
pub fn alarms(
    (manifest, parts): (&Manifest, &[Part]),
    (vault, snapshots): (&UnlockedVault, &Snapshots),
    context: &Context,
) {
    let sources: Vec<&str> = match parts {
        [] => manifest.sources.iter().map(|source| source.name.as_str()).collect(),
        some => some.iter().filter_map(|part| Some(part.source_of(manifest).ok()?.name.as_str())).collect(),
    };
    for alarm in manifest.alarms.iter().filter(|alarm| sources.contains(&alarm.source.as_str())) {
        context.warn(&format!("warning: snapshot {} was taken with an {}", manifest.id.short(), words_of(alarm)));
    }
    damaged::tell(&Damaged::among(manifest, parts), snapshots, context);
    // What cannot be read is told when it is given back.
    for (label, other) in emptied(vault, manifest, parts, &snapshots.readable).unwrap_or_default() {
        let (snapshot, other) = (manifest.id.short(), other.id.short());
        context.alarm(&format!(
            "warning: {label} of {snapshot} is an empty file; snapshot {other} has it as a database with rows"
        ));
    }
}

/// How a change of live data is taken back, behind what was done.
pub fn way_back(report: &in_place::Report, no_safety: bool) -> &'static str {
    match (&report.action, no_safety) {
        (None, _) => " · it was so already: nothing to undo",
        (_, true) => "",
        (_, false) => " · undo: strongroom undo",
    }
}

/// Says what is waited for.
pub fn waiting(taken: &Taken, context: &Context) {
    let Taken { place, command, process, .. } = taken;
    context.say(&format!("waiting for strongroom {command} (process {process}) at {place}"));
}

pub fn words(report: &in_place::Report, milliseconds: u64) -> Lines {
    let mut table = Table::new(&[Lean::Left, Lean::Left]);
    for database in &report.given.databases {
        table.row(vec![database.path.clone(), applied(&database.applied)]);
    }
    if report.given.rows > 0 {
        let (removed, held) = (report.given.rows_removed, report.given.rows.saturating_sub(report.given.rows_removed));
        let mut some: Vec<String> = Vec::new();
        some.extend((held > 0).then(|| format!("{} as they were", count(held))));
        some.extend((removed > 0).then(|| format!("{} removed", count(removed))));
        table.row(vec!["rows".to_owned(), some.join(", ")]);
    }
    for swapped in &report.given.swapped {
        table.row(vec![swapped.source.clone(), taken_place(swapped)]);
    }
    let files = &report.given.files;
    let databases = report.given.databases.len() + report.given.swapped.len() + report.given.rows as usize;
    if files.files + files.identical + report.given.removed > 0 || databases == 0 {
        let mut some = vec![format!("{} written, {}", counted(files.files, "file"), size(files.bytes))];
        some.extend((files.identical > 0).then(|| format!("{} there already", count(files.identical))));
        some.extend((report.given.removed > 0).then(|| format!("{} removed", count(report.given.removed))));
        table.row(vec!["files".to_owned(), some.join(", ")]);
    }
    let mut lines = table.render();
    lines.push(&format!("  {}", duration(milliseconds)));
    lines
}

fn taken_place(swapped: &Swapped) -> String {
    let what = match &swapped.loaded {
        Some(loaded) => server::loaded(loaded),
        None => "as it was before".to_owned(),
    };
    match &swapped.kept {
        Some(kept) => format!("{what}; what was there is kept as {kept}"),
        None => what,
    }
}

fn applied(applied: &Applied) -> String {
    let (written, pages) = (count(applied.written.into()), count(applied.pages.into()));
    let what = match applied.way {
        Way::Pages if applied.written == 0 => return "as it should be already".to_owned(),
        Way::Pages => format!("{written} of {pages} pages written"),
        Way::Copied => format!("{pages} pages copied"),
        Way::Created => format!("{pages} pages, made anew"),
    };
    let check = match &applied.checked {
        Checked::Sound | Checked::Unchanged => "integrity ok".to_owned(),
        Checked::Damaged { findings } => format!("{}: {findings}", paint(Tone::Lost, "damaged")),
        Checked::Impossible { why } => format!("integrity not checked: {why}"),
    };
    format!("{what}, {check}")
}

/// The last line of a change: what is only partly so must not sound like success.
pub fn last_line(what: &str, ending: Ending) -> String {
    match ending {
        Ending::Done => what.to_owned(),
        _ => format!("{}: {what}, but not all of it (see above)", paint(Tone::Lost, "incomplete")),
    }
}

/// How a change of live data ends: a hook that failed is something left undone.
pub fn ending(report: &in_place::Report, context: &Context) -> Ending {
    let swapped = report.given.swapped.iter().filter_map(|swapped| swapped.loaded.as_ref());
    let incomplete = swapped.map(|loaded| server::ending(loaded, context)).any(|ending| ending != Ending::Done);
    let accepted = report.given.databases.iter().filter_map(|database| match &database.applied.checked {
        Checked::Damaged { findings } => Some(format!("{} is damaged: {findings}", database.path)),
        _ => None,
    });
    let accepted: Vec<String> = accepted.collect();
    context.alarm_some("warning", accepted.iter().cloned(), accepted.len() as u64);
    match issues(&report.given.files, context) {
        Ending::Done if incomplete => Ending::Incomplete,
        Ending::Done if report.hooks.iter().any(|ran| ran.failure.is_some()) => Ending::Incomplete,
        ending => ending,
    }
}

/// Names what was not given back as it was.
pub fn issues(report: &Report, context: &Context) -> Ending {
    for path in &report.stale {
        context.warn(&format!("removed {path}, which another database had left there"));
    }
    let lines = report.issues.iter().map(|issue| format!("{}: {}", issue.path, issue.reason));
    context.warn_some("not restored as it was", lines, report.issues_count);
    if report.issues_count == 0 { Ending::Done } else { Ending::Incomplete }
}
