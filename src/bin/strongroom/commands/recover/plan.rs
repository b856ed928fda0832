//! A plan in words: what a tired person has to know before it is done, at 80 columns.

use std::collections::BTreeMap;

use strongroom::base::text::{count, counted, quoted, size};
use strongroom::base::time::Instant;
use strongroom::ops::recover::{FileAct, FileStep, Recovery};
use strongroom::record::closure::Why;
use strongroom::record::plan::{Act, Step, Taken, shown};

use crate::context::Context;
use crate::render::{Lean, Lines, Table, Tone, local_with_zone, paint, width, wrapped};
use crate::terminal::safe;

/// So many rows or files of one sort are named.
const NAMED: usize = 8;

pub struct Shown<'s> {
    pub recovery: &'s Recovery,
    pub time: Instant,
    pub fetched: u64,
}

impl Shown<'_> {
    pub fn words(&self) -> Lines {
        let plan = &self.recovery.plan;
        let mut out = Lines::new();
        let (id, time) = (plan.snapshot.short(), local_with_zone(self.time));
        let asked: Vec<&Step> = plan.steps.iter().filter(|step| step.why == Why::Asked).collect();
        let title = match asked[..] {
            [Step { title: Some(title), .. }] => format!(" {}", quoted(title)),
            _ => String::new(),
        };
        line(&mut out, &format!("{}{title} out of {id} of {time}", plan.asked));
        out.push(&format!("into {}", self.recovery.live));
        for other in &self.recovery.others {
            out.push(&format!(" and {} ({})", other.live, other.source));
        }
        out.push("");
        for refusal in &plan.refusals {
            let what = wrapped(&safe(&format!("cannot be done: {}", refusal.what)), width());
            out.push_text(&what.replacen("cannot be done", &paint(Tone::Lost, "cannot be done"), 1));
            out.push_command(&format!("  hint: {}", refusal.hint));
        }
        if !plan.refusals.is_empty() {
            // Whoever has to say whether two records are one sees both.
            self.taken(&mut out);
            return out;
        }
        out.append(self.tables());
        out.push("");
        self.rows(&mut out);
        self.files(&mut out);
        for doubt in &plan.doubts {
            line(&mut out, &format!("not certain: {doubt}"));
        }
        for note in &plan.notes {
            line(&mut out, &format!("note: {note}"));
        }
        out
    }

    /// One line for each table that is touched or looked at.
    fn tables(&self) -> Lines {
        let mut table = Table::new(&[Lean::Left, Lean::Right, Lean::Right, Lean::Right, Lean::Right]);
        let heads = ["table", "comes back", "is changed", "is there", "left as it is"];
        table.row(heads.map(str::to_owned).to_vec());
        let mut sums: BTreeMap<usize, [u64; 4]> = BTreeMap::new();
        for step in &self.recovery.plan.steps {
            let column = match step.act {
                Act::Insert => 0,
                Act::Update { .. } | Act::Relink { .. } => 1,
                Act::Keep => 2,
                Act::Leave { .. } => 3,
            };
            sums.entry(step.table).or_default()[column] += 1;
        }
        let number = |n: u64| if n == 0 { String::new() } else { count(n) };
        for (at, sums) in &sums {
            let mut cells = vec![self.recovery.plan.tables[*at].name.clone()];
            cells.extend(sums.map(number));
            table.row(cells);
        }
        if !self.recovery.files.is_empty() {
            let of = |wanted: fn(&FileAct) -> bool| {
                number(self.recovery.files.iter().filter(|file| wanted(&file.act)).count() as u64)
            };
            table.row(vec![
                "files".to_owned(),
                of(|act| *act == FileAct::Add),
                of(|act| *act == FileAct::Replace),
                of(|act| *act == FileAct::Keep),
                of(|act| matches!(act, FileAct::Leave { .. })),
            ]);
        }
        table.render()
    }

    /// The rows that are worth a word, by what is done with them.
    fn rows(&self, out: &mut Lines) {
        let steps =
            |wanted: &dyn Fn(&&Step) -> bool| self.recovery.plan.steps.iter().filter(wanted).collect::<Vec<_>>();
        let asked = steps(&|step| step.act == Act::Insert && step.why == Why::Asked);
        if asked.len() > 1 {
            self.section(out, "come back with what belongs to them", &asked, |_| String::new());
        }
        let needed = steps(&|step| step.act == Act::Insert && matches!(step.why, Why::Needed(_)));
        let title = "come back because others need them, without what belongs to them";
        self.section(out, title, &needed, |step| match &step.why {
            Why::Needed(by) => format!("for {by}"),
            _ => String::new(),
        });
        let renamed = steps(&|step| step.act == Act::Insert && step.into.is_some());
        self.section(out, "get new keys", &renamed, |step| format!("becomes {}", shown(step.live_key())));
        let again = steps(&|step| matches!(step.act, Act::Relink { .. }));
        self.section(out, "refer again to what comes back", &again, |step| match &step.act {
            Act::Relink { columns } => columns.join(", "),
            _ => String::new(),
        });
        let emptied = steps(&|step| !step.emptied.is_empty());
        self.section(out, "come back with an empty reference: what it named is gone", &emptied, |step| {
            step.emptied.join(", ")
        });
        let changed = steps(&|step| matches!(step.act, Act::Update { .. }));
        self.differing(out, "are changed", "becomes", &changed);
        let stays = |act: &Act| matches!(act, Act::Leave { .. } | Act::Relink { .. });
        let differ = steps(&|step| stays(&step.act) && !step.differs.is_empty() && step.taken.is_none());
        let title = "changed since the snapshot, left unchanged (--on-conflict overwrite replaces)";
        self.differing(out, title, "was", &differ);
        self.taken(out);
        let left =
            steps(&|step| matches!(step.act, Act::Leave { .. }) && step.differs.is_empty() && step.taken.is_none());
        self.section(out, "do not come back, or stay as they are", &left, |step| match &step.act {
            Act::Leave { why } => why.clone(),
            _ => String::new(),
        });
    }

    /// Rows whose keys others have now, or may have.
    fn taken(&self, out: &mut Lines) {
        for (taken, title) in [
            (Taken::Another, "do not come back: their keys are other records' now (--remap-keys)"),
            (Taken::Unsure, "do not come back: their keys may be other records' now (--remap-keys, --trust-keys)"),
        ] {
            let steps: Vec<&Step> = self.recovery.plan.steps.iter().filter(|step| step.taken == Some(taken)).collect();
            self.differing(out, title, "was", &steps);
        }
    }

    fn name(&self, step: &Step) -> String {
        let title = step.title.as_ref().map(|title| format!(" {}", quoted(title))).unwrap_or_default();
        format!("{} {}{title}", self.recovery.plan.tables[step.table].name, shown(&step.key))
    }

    fn section(&self, out: &mut Lines, title: &str, steps: &[&Step], words: impl Fn(&Step) -> String) {
        if steps.is_empty() {
            return;
        }
        out.push(&format!("{title}:"));
        let mut steps = steps.to_vec();
        steps.sort_by_key(|step| (step.table, &step.key));
        for step in steps.iter().take(NAMED) {
            line(out, format!("  {}  {}", self.name(step), words(step)).trim_end());
        }
        more(out, steps.len());
    }

    /// Rows with each column that is not the same.
    fn differing(&self, out: &mut Lines, title: &str, kept: &str, steps: &[&Step]) {
        if steps.is_empty() {
            return;
        }
        out.push(&format!("{title}:"));
        for step in steps.iter().take(NAMED) {
            line(out, &format!("  {}", self.name(step)));
            for one in &step.differs {
                line(out, &format!("    {}  is {}, {kept} {}", one.column, one.live, one.kept));
            }
        }
        more(out, steps.len());
    }

    fn files(&self, out: &mut Lines) {
        let files = &self.recovery.files;
        let of = |wanted: fn(&FileAct) -> bool| files.iter().filter(|file| wanted(&file.act)).collect::<Vec<_>>();
        let added = of(|act| *act == FileAct::Add);
        let bytes = added.iter().map(|file| file.size).sum();
        let title = format!("{} come back, {}:", counted(added.len() as u64, "file"), size(bytes));
        listed(out, &title, &added, |_| String::new());
        listed(out, "files that are replaced:", &of(|act| *act == FileAct::Replace), |_| String::new());
        listed(
            out,
            "files that stay as they are:",
            &of(|act| matches!(act, FileAct::Leave { .. })),
            |file| match &file.act {
                FileAct::Leave { why } => format!("  {why}"),
                _ => String::new(),
            },
        );
    }
}

fn listed(out: &mut Lines, title: &str, files: &[&FileStep], words: impl Fn(&FileStep) -> String) {
    if files.is_empty() {
        return;
    }
    out.push(title);
    for file in files.iter().take(NAMED) {
        line(out, &format!("  {}/{}{}", file.source, file.path, words(file)));
    }
    more(out, files.len());
}

fn line(out: &mut Lines, text: &str) {
    out.push_text(&wrapped(&safe(text), width()));
}

fn more(out: &mut Lines, length: usize) {
    if length > NAMED {
        out.push(&format!("  and {} more; --json names all", count((length - NAMED) as u64)));
    }
}

/// Says what stands behind an exit code that is not 0, also where the plan is not printed.
pub fn warn(recovery: &Recovery, dry: bool, context: &Context) {
    let plan = &recovery.plan;
    // Where it is not dry, they are the error.
    for refusal in plan.refusals.iter().filter(|_| dry) {
        context.warn(&format!("cannot be done: {}", refusal.what));
        context.warn(&format!("hint: {}", refusal.hint));
    }
    if !dry && !plan.refusals.is_empty() {
        return;
    }
    let rows = plan.steps.iter().filter(|step| step.is_missing()).filter_map(|step| match &step.act {
        Act::Leave { why } => Some(format!("{} {}: {why}", plan.tables[step.table].name, shown(&step.key))),
        _ => None,
    });
    let files = recovery.files.iter().filter(|file| file.missing).filter_map(|file| match &file.act {
        FileAct::Leave { why } => Some(format!("{}/{}: {why}", file.source, file.path)),
        _ => None,
    });
    let lines: Vec<String> = rows.chain(files).collect();
    let count = lines.len() as u64;
    context.warn_some("does not come back", lines.into_iter(), count);
    for hint in recovery.files.iter().filter(|file| file.missing).filter_map(|file| file.hint.as_ref()).take(NAMED) {
        context.warn(&format!("hint: {hint}"));
    }
    context.warn_some("not certain", plan.doubts.iter().cloned(), plan.doubts.len() as u64);
}
