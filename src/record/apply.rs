//! Doing what a plan says, in one transaction of the live database.
//!
//! Owns the order of things: live data is compared with what the plan saw once nobody else can write, rows are written and read
//! back, references are checked, and whoever asked is told what was done before it lasts. Anything that goes wrong before
//! takes everything back.

mod check;
mod relied;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::RandomState;
use std::io::Write;

use crate::base::error::{Explained, one_line};
use crate::base::record::{Change, Ended, Key, Records, Row, Rules, Table, Value, like};
use crate::record::compare;
use crate::record::drift::{Fit, relations_now};
use crate::record::error::RecordError;
use crate::record::fired;
use crate::record::graph::{Graph, Link};
use crate::record::identity::{Judge, Sides};
use crate::record::model::Model;
use crate::record::plan::{Act, Plan, Step, shown};
use crate::record::trace::{BeforeCommit, Trace, look_at};

use relied::Relied;

/// Rows that are looked at together.
const BATCH: usize = 200;

/// What a plan is done with.
pub struct Tools<'t> {
    pub graph: &'t Graph,
    pub fits: &'t [Fit],
    pub model: &'t Model,
    pub snapshot: &'t dyn Records,
    pub live: &'t mut dyn Change,
    /// Takes the images of rows that triggers touch, where they fire.
    pub fired: Option<&'t mut dyn Write>,
}

/// Does what the plan says.
pub fn apply(plan: &Plan, tools: Tools<'_>, told: &mut BeforeCommit<'_>) -> Result<Trace, RecordError> {
    let Tools { graph, fits, model, snapshot, live, fired } = tools;
    let references = !plan.steps.iter().any(|step| step.dangling);
    let circles = plan.steps.iter().any(|step| step.circular && step.act.writes());
    let tables = written_to(plan);
    live.begin(Rules { triggers: plan.options.triggers, references, circles, tables: &tables, outlived: &[] })?;
    let moved = moved(plan, graph);
    let mut work =
        Work { plan, graph, fits, model, snapshot, live, moved, meant: BTreeMap::new(), hasher: RandomState::new() };
    let done = work.run().and_then(|()| work.trace(model, fired));
    end(done, work.live, told)
}

/// Makes what was written last, once it is told; or takes it back.
pub(in crate::record) fn end(
    done: Result<Trace, RecordError>,
    live: &mut dyn Change,
    told: &mut BeforeCommit<'_>,
) -> Result<Trace, RecordError> {
    let ended = done.and_then(|trace| {
        let mark = live.mark()?;
        told(&trace, mark)?;
        Ok((trace, live.commit()?))
    });
    match ended {
        Ok((trace, Ended::ForGood)) => Ok(trace),
        // There is nothing left that could take it back.
        Ok((_, Ended::Unknown(error))) => Err(RecordError::Unknown { reason: one_line(&*error) }),
        Err(error) => {
            live.roll_back();
            Err(error)
        }
    }
}

/// The live tables that the plan writes rows of.
fn written_to(plan: &Plan) -> Vec<String> {
    let written = plan.steps.iter().filter(|step| step.act.writes());
    let names: BTreeSet<&String> = written.filter_map(|step| plan.tables[step.table].live.as_ref()).collect();
    names.into_iter().cloned().collect()
}

/// Is live data as the plan saw it? Asked again in the transaction that writes.
pub fn unmoved(plan: &Plan, fits: &[Fit], live: &dyn Records) -> Result<(), RecordError> {
    let mut steps: BTreeMap<usize, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        let Some(live) = &fits[step.table].live else { continue };
        if plan.tables[step.table].live.as_ref() != Some(&live.name) {
            return Err(other(plan, step));
        }
        if step.act.writes() || step.act == Act::Keep {
            steps.entry(step.table).or_default().push(step);
        }
    }
    for (table, steps) in steps {
        let table = fits[table].live.as_ref().expect("BUG: it was just there");
        for some in steps.chunks(BATCH) {
            let keys: Vec<Key> = some.iter().map(|step| step.live_key().clone()).collect();
            let seen = compare::see(live, table, &keys)?;
            let as_it_was = |step: &&&Step| seen.get(step.live_key()).map(compare::Seen::digest) == step.seen;
            if let Some(step) = some.iter().find(|step| !as_it_was(step)) {
                return Err(other(plan, step));
            }
        }
    }
    Ok(())
}

fn other(plan: &Plan, step: &Step) -> RecordError {
    RecordError::Moved { table: plan.tables[step.table].name.clone(), key: shown(step.live_key()) }
}

/// Keys that are others in live data, by the place of their table.
fn moved<'p>(plan: &'p Plan, graph: &Graph) -> HashMap<(usize, Row), &'p Key> {
    let of = |step: &Step| graph.meant(step.table, &graph.tables[step.table].key, &step.key);
    let moved = plan.steps.iter().filter(|step| step.into.is_some());
    moved.map(|step| ((step.table, of(step)), step.live_key())).collect()
}

struct Work<'w> {
    plan: &'w Plan,
    graph: &'w Graph,
    fits: &'w [Fit],
    model: &'w Model,
    snapshot: &'w dyn Records,
    live: &'w mut dyn Change,
    moved: HashMap<(usize, Row), &'w Key>,
    /// What was written that has to be there again as the snapshot has it, by the place of its table.
    meant: BTreeMap<usize, Vec<Meant<'w>>>,
    /// The same for as long as this runs, and kept nowhere.
    hasher: RandomState,
}

/// A row that was written: its key, and by what it is known again what its columns are to hold.
type Meant<'w> = (&'w Key, Vec<(usize, u64)>);

impl<'w> Work<'w> {
    fn run(&mut self) -> Result<(), RecordError> {
        unmoved(self.plan, self.fits, &*self.live)?;
        let mut later = Vec::new();
        // What is there is changed when everything is there that it may refer to.
        let (mut added, changed): (Vec<&'w Step>, Vec<&'w Step>) =
            self.written().partition(|step| step.act == Act::Insert);
        self.rely()?;
        self.numbers_first(&mut added);
        for step in added {
            later.extend(self.write(step)?.map(|values| (step, values)));
        }
        for step in changed {
            self.write(step)?;
        }
        for (step, (columns, values)) in later {
            let table = self.live_table(step);
            self.live.update(table, step.live_key(), &columns, &values)?;
        }
        // What an app's triggers make of it is the app's affair.
        if !self.plan.options.triggers {
            self.read_back()?;
            self.bound()?;
        }
        self.refer()
    }

    /// Is what the rows are hung below still the same, before anything is written or triggers touch it?
    fn rely(&self) -> Result<(), RecordError> {
        let Self { graph, snapshot, fits, model, plan, .. } = *self;
        let mut relied = Relied::new(plan, graph);
        let mut steps: BTreeMap<usize, BTreeMap<&Key, &Step>> = BTreeMap::new();
        for step in self.written() {
            steps.entry(step.table).or_default().insert(&step.key, step);
        }
        for (table, steps) in steps {
            let (kept, keys): (&Table, Vec<Key>) = (&graph.tables[table], steps.keys().copied().cloned().collect());
            let mut take = |ties: Row| {
                if let Some(step) = steps.get(&graph.tied(table, &ties, &kept.key)) {
                    relied.note(graph, step, &ties, &|at| self.is_written(step, at));
                }
                Ok::<(), Explained>(())
            };
            for some in keys.chunks(BATCH) {
                snapshot.find(kept, &kept.key, some, &graph.ties[table], &mut take)?;
            }
        }
        let sides = Sides { graph, snapshot, live: &*self.live, fits, model, trust_keys: plan.options.trust_keys };
        relied.check(graph, &Judge::new(sides))
    }

    /// Does a step write a column of the snapshot's table?
    fn is_written(&self, step: &Step, at: usize) -> bool {
        let (fit, kept) = (&self.fits[step.table], &self.graph.tables[step.table]);
        match &step.act {
            Act::Update { columns } => {
                let live = fit.live.as_ref().zip(fit.to[at]).map(|(live, now)| &live.columns[now].name);
                live.is_some_and(|live| columns.contains(live))
            }
            Act::Relink { columns } => columns.contains(&kept.columns[at].name),
            _ => true,
        }
    }

    fn written(&self) -> impl Iterator<Item = &'w Step> + use<'w> {
        self.plan.steps.iter().filter(|step| step.act.writes())
    }

    /// What a trigger adds gets the number after the highest: so that it gets none that a row of the plan has, the highest
    /// is taken before any fires.
    fn numbers_first(&self, added: &mut [&Step]) {
        if !self.plan.options.triggers || !self.live.defers() {
            return;
        }
        let mut highest: BTreeMap<usize, &Key> = BTreeMap::new();
        for step in added.iter().filter(|step| self.live_table(step).numbered) {
            let key = highest.entry(step.table).or_insert(step.live_key());
            *key = (*key).max(step.live_key());
        }
        added.sort_by_key(|step| highest.get(&step.table) != Some(&step.live_key()));
    }

    /// What was written, in that order, for whoever takes it back; and behind it what triggers touched.
    fn trace(&self, model: &Model, fired: Option<&mut dyn Write>) -> Result<Trace, RecordError> {
        let tables = if fired.is_some() { self.live.tables()? } else { Vec::new() };
        let relations = relations_now(model, self.graph, self.fits);
        let (mut rows, mut added) = (Vec::<(&Table, Key)>::new(), BTreeMap::<String, Vec<Key>>::new());
        for step in self.written() {
            let table = self.live_table(step);
            rows.push((table, step.live_key().clone()));
            if step.act == Act::Insert {
                added.entry(table.name.clone()).or_default().push(step.live_key().clone());
            }
        }
        if let Some(out) = fired {
            let planned = rows.iter().map(|(table, key)| (table.name.clone(), key.clone())).collect();
            rows.extend(fired::keep(&*self.live, &tables, &planned, out)?);
        }
        Trace::new(&*self.live, relations, look_at(&*self.live, &rows)?, &added)
    }

    fn live_table(&self, step: &Step) -> &'w Table {
        self.fits[step.table].live.as_ref().expect("BUG: only steps on tables that are there write")
    }

    /// Writes one row. Returns what is to be filled in when all rows are there.
    fn write(&mut self, step: &'w Step) -> Result<Option<(Vec<usize>, Row)>, RecordError> {
        let (fit, kept) = (&self.fits[step.table], &self.graph.tables[step.table]);
        let (mut row, ties) = self.row(step, kept)?;
        let others = self.rewrite(step, &mut row, &ties);
        let same = (0..row.len()).filter(|at| !others.contains(at));
        let same: BTreeSet<usize> = same.filter_map(|at| fit.unchanged(at, step.act == Act::Insert)).collect();
        let wrong =
            |why| RecordError::NotAsPlanned { table: kept.name.clone(), key: format!("{}: {why}", shown(&step.key)) };
        let inserted = step.act == Act::Insert;
        let (columns, mut values) = fit.row(kept, row, &*self.live, inserted).map_err(wrong)?;
        let table = self.live_table(step);
        let now = |name: &String| kept.column(name).and_then(|at| fit.to[at]);
        let wanted = match &step.act {
            Act::Insert => {
                if step.circular && !self.live.defers() {
                    let (table, key) = (table.name.clone(), shown(step.live_key()));
                    return Err(RecordError::Circle { table, key });
                }
                let emptied: Vec<usize> = step.emptied.iter().filter_map(now).collect();
                let waits = !self.live.defers();
                let later: Vec<usize> = step.later.iter().filter_map(now).filter(|_| waits).collect();
                let mut put_off = (Vec::new(), Row::new());
                for (column, value) in columns.iter().zip(&mut values) {
                    if emptied.contains(column) {
                        *value = Value::Null;
                    } else if later.contains(column) {
                        put_off.0.push(*column);
                        put_off.1.push(std::mem::replace(value, Value::Null));
                    }
                }
                self.live.insert(table, &columns, &values)?;
                let put_in = columns.iter().zip(&values).filter(|(at, _)| !put_off.0.contains(at));
                self.mean(step, &same, put_in.chain(put_off.0.iter().zip(&put_off.1)));
                return Ok((!put_off.0.is_empty()).then_some(put_off));
            }
            // What differs is named as live data calls it, what refers as the snapshot does.
            Act::Update { columns } => columns.iter().filter_map(|name| table.column(name)).collect::<Vec<_>>(),
            Act::Relink { columns } => columns.iter().filter_map(now).collect(),
            Act::Keep | Act::Leave { .. } => return Ok(None),
        };
        let some = columns.into_iter().zip(values).filter(|(column, _)| wanted.contains(column));
        let (columns, values): (Vec<usize>, Row) = some.unzip();
        if !self.live.update(table, step.live_key(), &columns, &values)? {
            return Err(other(self.plan, step));
        }
        self.mean(step, &same, columns.iter().zip(&values));
        Ok(None)
    }

    /// The row of the snapshot, and its ties.
    fn row(&self, step: &Step, kept: &Table) -> Result<(Row, Row), RecordError> {
        let all = self.graph.with_ties(step.table);
        let mut found = None;
        let mut take = |mut row: Row| {
            let ties = row.split_off(kept.columns.len());
            found = Some((row, ties));
            Ok::<(), Explained>(())
        };
        self.snapshot.find(kept, &kept.key, std::slice::from_ref(&step.key), &all, &mut take)?;
        let gone = || RecordError::NotAsPlanned { table: kept.name.clone(), key: shown(&step.key) };
        found.ok_or_else(gone)
    }

    /// Puts a row under its own new key, and has it refer to the new keys of others. Returns the columns that it may have
    /// another value in.
    fn rewrite(&self, step: &Step, row: &mut Row, ties: &Row) -> BTreeSet<usize> {
        let mut others = BTreeSet::new();
        let mut put = |row: &mut Row, column: usize, value: Value| {
            others.insert(column);
            row[column] = value;
        };
        for link in self.graph.links.iter().filter(|link| link.child == step.table) {
            if self.graph.target(link, ties).is_some()
                && let Some((columns, values)) = self.new_target(link, row)
            {
                columns.into_iter().zip(values).for_each(|(column, value)| put(row, column, value));
            }
        }
        if let Some(into) = &step.into {
            let key = self.graph.tables[step.table].key.iter().zip(into);
            key.for_each(|(column, value)| put(row, *column, value.clone()));
        }
        others
    }

    /// The columns of a link and what they are to hold, where what the row refers to has another key now.
    fn new_target(&self, link: &Link, row: &Row) -> Option<(Vec<usize>, Row)> {
        let parent = &self.graph.tables[link.parent].key;
        let places: Vec<usize> =
            parent.iter().map(|at| link.to.iter().position(|to| to == at)).collect::<Option<_>>()?;
        let columns: Vec<usize> = places.iter().map(|at| link.columns[*at]).collect();
        let key: Key = columns.iter().map(|at| row[*at].clone()).collect();
        let meant = self.graph.meant(link.parent, parent, &key);
        let into = self.moved.get(&(link.parent, meant))?;
        Some((columns, key.iter().zip(*into).map(|(was, now)| like(was, now)).collect()))
    }
}
