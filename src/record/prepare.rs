//! Making a plan: every row that belongs together is compared with live data, and what is to be done with it decided.
//!
//! Owns the decisions. Reads both sides, a few rows at a time; writes nothing.

mod clash;
mod decide;
mod dependents;
mod notes;
mod numbered;
mod rekey;
mod relink;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::base::error::Explained;
use crate::base::id::SnapshotId;
use crate::base::record::{Change, Key, Records, Row, Table};
use crate::base::text::counted;
use crate::record::closure::{Closure, Why};
use crate::record::compare::{self, glimpse, title};
use crate::record::drift::Fit;
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::model::Model;
use crate::record::order;
use crate::record::plan::{Act, Difference, Glimpse, Options, Plan, Refusal, Step, TablePlan, VERSION, shown};
use crate::record::prepare::decide::Compared;

/// Rows that are compared together.
const BATCH: usize = 100;

/// Both sides, and what is known of them.
pub struct Ground<'g> {
    pub graph: &'g Graph,
    pub snapshot: &'g dyn Records,
    pub live: &'g dyn Change,
    pub fits: &'g [Fit],
    pub model: &'g Model,
    pub options: &'g Options,
}

/// What a plan is called and made of.
pub struct Title {
    pub snapshot: SnapshotId,
    pub database: String,
    pub asked: String,
}

/// What is decided of one row so far.
#[derive(Clone, Debug)]
struct Draft {
    act: Act,
    into: Option<Key>,
    differs: Vec<Difference>,
    emptied: BTreeSet<usize>,
    /// Live data has a row for it.
    there: bool,
    /// What live data holds under its live key.
    seen: Option<String>,
    /// What people know it by.
    title: Option<String>,
}

impl Draft {
    fn new(act: Act) -> Self {
        Self { act, into: None, differs: Vec::new(), emptied: BTreeSet::new(), there: false, seen: None, title: None }
    }

    /// It is there, with something else, and is left so.
    fn stays_changed(&self) -> bool {
        self.there && !self.differs.is_empty() && matches!(self.act, Act::Leave { .. })
    }

    fn leave(why: impl Into<String>) -> Self {
        Self::new(Act::Leave { why: why.into() })
    }
}

/// Live columns, and what a row of the snapshot has for each.
type Fitted = (Vec<usize>, Vec<Glimpse>);

type Drafts = Vec<BTreeMap<Key, Draft>>;

/// Makes a plan.
pub fn plan(ground: &Ground<'_>, closure: &Closure, title: Title) -> Result<Plan, RecordError> {
    let mut work = Work::new(ground, closure);
    for table in 0..closure.members.len() {
        work.table(table)?;
    }
    work.again()?;
    work.clashes()?;
    work.rekey()?;
    let placed = order::order(ground.graph, closure);
    work.empty();
    work.dependents(&placed);
    let relinks = work.relinks()?;
    let mut steps = work.steps(&placed);
    work.notes_on(&steps, &relinks)?;
    steps.extend(relinks);
    let tables = ground.graph.tables.iter().enumerate().map(|(at, table)| work.heading(at, table)).collect();
    let Title { snapshot, database, asked } = title;
    let Work { mut notes, mut refusals, .. } = work;
    notes.extend(ground.model.strangers(&ground.graph.tables));
    let (mut told, mut refused) = (BTreeSet::new(), BTreeSet::new());
    notes.retain(|note| told.insert(note.clone()));
    refusals.retain(|refusal| refused.insert(refusal.what.clone()));
    let options = ground.options.clone();
    Ok(Plan { version: VERSION, snapshot, database, asked, options, tables, steps, notes, refusals })
}

struct Work<'w> {
    ground: &'w Ground<'w>,
    closure: &'w Closure,
    drafts: Drafts,
    notes: Vec<String>,
    refusals: Vec<Refusal>,
    /// The next number for each table that gets new ones.
    numbers: HashMap<usize, i64>,
    /// Of the rows that are looked at, those without a key: where else live data has the same.
    twins: numbered::Twins,
    /// Live rows that stand for a row already, of the table that is looked at.
    taken: HashSet<Key>,
    /// For each link, what rows refer to by it that neither is in live data nor comes back: values, and the row's key.
    absent: Vec<HashMap<Row, Key>>,
}

impl<'w> Work<'w> {
    fn new(ground: &'w Ground<'w>, closure: &'w Closure) -> Self {
        Self {
            ground,
            closure,
            drafts: vec![BTreeMap::new(); closure.members.len()],
            notes: Vec::new(),
            refusals: Vec::new(),
            numbers: HashMap::new(),
            twins: HashMap::new(),
            taken: HashSet::new(),
            absent: vec![HashMap::new(); ground.graph.links.len()],
        }
    }

    fn refuse(&mut self, what: String, hint: &str) {
        self.refusals.push(Refusal { what, hint: hint.to_owned(), no_table: false });
    }

    fn heading(&self, at: usize, table: &Table) -> TablePlan {
        let live = self.ground.fits[at].live.as_ref();
        TablePlan {
            name: table.name.clone(),
            live: live.map(|live| live.name.clone()),
            key: table.key_names().into_iter().map(str::to_owned).collect(),
            triggers: live.map(|live| live.triggers.clone()).unwrap_or_default(),
        }
    }

    /// Decides of every row of one table.
    fn table(&mut self, at: usize) -> Result<(), RecordError> {
        let members = &self.closure.members[at];
        if members.is_empty() {
            return Ok(());
        }
        let (ground, fit) = (self.ground, &self.ground.fits[at]);
        let kept = &ground.graph.tables[at];
        let Some(live) = &fit.live else {
            let rows = counted(members.len() as u64, "row");
            let what = format!("there is no table {} any more: {rows} cannot come back", kept.name);
            match members.values().any(|member| member.why == Why::Asked) {
                true => {
                    self.refusals.push(Refusal { what, hint: "take them out with --export".to_owned(), no_table: true })
                }
                false => self.notes.push(what),
            }
            let left = |key: &Key| (key.clone(), Draft::leave("the table is gone"));
            self.drafts[at] = members.keys().map(left).collect();
            return Ok(());
        };
        self.notes.extend(fit.notes.iter().cloned());
        fit.refusals.iter().for_each(|(what, hint)| self.refuse(what.clone(), hint));
        if !fit.refusals.is_empty() {
            self.drafts[at] = members.keys().map(|key| (key.clone(), Draft::leave("the table has changed"))).collect();
            return Ok(());
        }
        let keys: Vec<Key> = members.keys().cloned().collect();
        self.taken.clear();
        for some in keys.chunks(BATCH) {
            self.batch(at, kept, live, fit, some)?;
        }
        if self.drafts[at].values().any(|draft| draft.act == Act::Insert) {
            fit.wanting.iter().for_each(|(what, hint)| self.refuse(what.clone(), hint));
        }
        Ok(())
    }

    fn batch(&mut self, at: usize, kept: &Table, live: &Table, fit: &Fit, keys: &[Key]) -> Result<(), RecordError> {
        let ground = self.ground;
        let mut live_keys = BTreeMap::new();
        for key in keys {
            match fit.key(kept, key, ground.live) {
                Ok(now) => _ = live_keys.insert(key.clone(), now),
                Err(why) => _ = self.drafts[at].insert(key.clone(), Draft::leave(why)),
            }
        }
        let asked: Vec<Key> = live_keys.values().cloned().collect();
        let seen = compare::see(ground.live, live, &asked)?;
        let all: Vec<usize> = (0..kept.columns.len()).collect();
        let mut rows: Vec<(Key, Option<String>, Result<Fitted, String>)> = Vec::new();
        let mut take = |row: Row| {
            let key = kept.key_of(&row);
            let title = title(kept, |at| glimpse(&row[at]));
            let row = fit.row(kept, self.rewritten(at, &key, row), ground.live, false);
            rows.push((key, title, row.map(|(columns, values)| (columns, values.iter().map(glimpse).collect()))));
            Ok::<(), Explained>(())
        };
        ground.snapshot.find(kept, &kept.key, keys, &all, &mut take)?;
        if kept.numbered && live.numbered {
            let compared = rows.iter().filter_map(|(key, _, row)| {
                let (columns, values) = row.as_ref().ok()?;
                Some(Compared { at, key, now: live_keys.get(key)?, columns, values })
            });
            let same =
                |row: &Compared<'_>| seen.get(row.now).is_some_and(|seen| row.differences(live, seen).is_empty());
            self.twins = self.twins(live, &compared.filter(|row| !same(row)).collect::<Vec<_>>())?;
        }
        for (key, title, row) in rows {
            let Some(now) = live_keys.get(&key) else { continue };
            let draft = match row {
                Err(why) => {
                    self.refuse(format!("{} {}: {why}", kept.name, shown(&key)), "give it a value with --set");
                    Draft::leave(why)
                }
                Ok((columns, values)) => {
                    let row = Compared { at, key: &key, now, columns: &columns, values: &values };
                    self.decide(kept, live, &row, seen.get(now))?
                }
            };
            self.taken.insert(draft.into.as_ref().unwrap_or(&key).clone());
            self.drafts[at].insert(key, Draft { title, ..draft });
        }
        Ok(())
    }

    fn steps(&self, placed: &[order::Placed]) -> Vec<Step> {
        let graph = self.ground.graph;
        let dangling: HashSet<(usize, &Key)> =
            self.closure.dangling.iter().map(|(table, key, _)| (*table, key)).collect();
        let step = |row: &order::Placed| {
            let draft = self.drafts[row.table].get(&row.key)?.clone();
            let names = |columns: Vec<usize>| -> Vec<String> {
                graph.tables[row.table].names(&columns).into_iter().map(str::to_owned).collect()
            };
            let mut act = draft.act;
            if let Act::Update { columns } = &mut act {
                let emptied = names(draft.emptied.iter().copied().collect());
                columns.retain(|column| !emptied.contains(column));
            }
            if act == (Act::Update { columns: Vec::new() }) {
                act = Act::Leave { why: "it has changed since".to_owned() };
            }
            let inserted = act == Act::Insert;
            let later = row.later.iter().flat_map(|link| graph.links[*link].emptied(graph));
            let later: BTreeSet<usize> = later.filter(|column| !draft.emptied.contains(column)).collect();
            Some(Step {
                table: row.table,
                key: row.key.clone(),
                title: draft.title,
                into: draft.into,
                why: self.closure.members[row.table][&row.key].why.clone(),
                act,
                seen: draft.seen,
                dangling: dangling.contains(&(row.table, &row.key)),
                circular: row.circular,
                differs: draft.differs,
                emptied: if inserted { names(draft.emptied.into_iter().collect()) } else { Vec::new() },
                later: if inserted { names(later.into_iter().collect()) } else { Vec::new() },
            })
        };
        placed.iter().filter_map(step).collect()
    }
}
