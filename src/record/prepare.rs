//! Making a plan: every row that belongs together is compared with live data, and what is to be done with it decided.
//!
//! Owns the decisions. Reads both sides, a few rows at a time; writes nothing.

mod clash;
mod decide;
mod dependents;
mod elsewhere;
mod follow;
mod notes;
mod numbered;
mod rekey;
mod relink;
mod steps;
mod stranger;

pub use notes::without_key;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::base::error::Explained;
use crate::base::id::SnapshotId;
use crate::base::record::{Change, Key, Records, Row, Table};
use crate::base::text::counted;
use crate::record::bound::Bonds;
use crate::record::closure::{Closure, Seeds, Walk, Why};
use crate::record::compare::{self, glimpse, title};
use crate::record::drift::Fit;
use crate::record::error::RecordError;
use crate::record::graph::{Graph, Link};
use crate::record::identity::{Judge, Kin, Pair, Sides, Standing};
use crate::record::model::Model;
use crate::record::order;
use crate::record::plan::{Act, Difference, Glimpse, Options, Plan, Refusal, TablePlan, Taken, VERSION, shown};
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

impl<'g> Ground<'g> {
    pub fn sides(&self) -> Sides<'g> {
        let Ground { graph, snapshot, live, fits, model, options } = *self;
        Sides { graph, snapshot, live, fits, model, trust_keys: options.trust_keys }
    }

    /// Everything that belongs to some rows of a table.
    pub fn closure(&self, budget: u64, table: usize, seeds: &Seeds) -> Result<Closure, RecordError> {
        let judge = Judge::new(self.sides());
        let mut in_live = |link: &Link, values: &[Row]| judge.reached(link, values);
        Walk::new(self.graph, self.snapshot, budget).run(table, seeds, &mut in_live)
    }
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
    /// That is another record, or may be.
    taken: Option<Taken>,
    /// What people know it by.
    title: Option<String>,
}

impl Draft {
    fn new(act: Act) -> Self {
        let (into, differs, emptied) = (None, Vec::new(), BTreeSet::new());
        Self { act, into, differs, emptied, there: false, seen: None, taken: None, title: None }
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

/// A row of the snapshot in the form of the live table, or why it does not fit.
struct KeptRow {
    key: Key,
    title: Option<String>,
    fitted: Result<Fitted, String>,
    /// What it referred to, by links.
    targets: Vec<(usize, Row)>,
}

impl KeptRow {
    fn compared<'c>(&'c self, at: usize, now: &'c Key) -> Option<Compared<'c>> {
        let (columns, values) = self.fitted.as_ref().ok()?;
        Some(Compared { at, key: &self.key, now, columns, values })
    }
}

type Drafts = Vec<BTreeMap<Key, Draft>>;

/// Makes a plan.
pub fn plan(ground: &Ground<'_>, closure: &Closure, title: Title) -> Result<Plan, RecordError> {
    let mut work = Work::new(ground, closure);
    let tables = work.order.clone();
    for table in &tables {
        work.table(*table)?;
        work.clashes(*table)?;
        work.pass_on(*table);
    }
    work.again(&tables)?;
    work.at = None;
    work.rekey()?;
    work.refuse_misplaced()?;
    let placed = order::order(ground.graph, closure);
    work.empty();
    work.astray();
    work.dependents(&placed);
    let relinks = work.relinks()?;
    work.follow()?;
    work.refuse_taken();
    let mut steps = work.steps(&placed);
    work.notes_on(&steps, &relinks)?;
    work.loose()?;
    steps.extend(relinks);
    let tables = ground.graph.tables.iter().enumerate().map(|(at, table)| work.heading(at, table)).collect();
    let Title { snapshot, database, asked } = title;
    let Work { notes, refusals, mut doubts, .. } = work;
    let mut notes: Vec<String> = notes.into_iter().map(|(_, note)| note).collect();
    let mut refusals: Vec<Refusal> = refusals.into_iter().map(|(_, refusal)| refusal).collect();
    notes.extend(ground.model.strangers(&ground.graph.tables));
    let (mut told, mut refused) = (BTreeSet::new(), BTreeSet::new());
    notes.retain(|note| told.insert(note.clone()));
    doubts.retain(|doubt| told.insert(doubt.clone()));
    refusals.retain(|refusal| refused.insert(refusal.what.clone()));
    let options = ground.options.clone();
    Ok(Plan { version: VERSION, snapshot, database, asked, options, tables, steps, notes, doubts, refusals })
}

struct Work<'w> {
    ground: &'w Ground<'w>,
    closure: &'w Closure,
    judge: Judge<'w>,
    drafts: Drafts,
    /// What was said, and of the rows of which table: that is forgotten when they are looked at again.
    notes: Vec<(Option<usize>, String)>,
    refusals: Vec<(Option<usize>, Refusal)>,
    at: Option<usize>,
    doubts: Vec<String>,
    /// The next number for each table that gets new ones, and those that were given.
    numbers: HashMap<usize, i64>,
    given: HashMap<(usize, Key), i64>,
    /// For each table, what binds its rows by where they lie.
    bonds: Vec<Option<Bonds>>,
    /// Rows that no new number leaves bound as they were: why.
    unplaced: HashMap<(usize, Key), String>,
    /// Of the rows that are looked at, those without a key: where else live data has the same.
    twins: numbered::Twins,
    /// Live rows that stand for a row already, of the table that is looked at.
    taken: HashSet<Key>,
    /// Tables, parents before children where they can be.
    order: Vec<usize>,
    /// For each link, what rows refer to by it that neither is in live data nor comes back: values, and the row's key.
    absent: Vec<HashMap<Row, Key>>,
    /// For each table, the keys of what comes back, however they are written.
    spelled: Vec<OnceCell<HashMap<Row, Key>>>,
}

impl<'w> Work<'w> {
    fn new(ground: &'w Ground<'w>, closure: &'w Closure) -> Self {
        Self {
            ground,
            closure,
            judge: Judge::new(ground.sides()),
            drafts: vec![BTreeMap::new(); closure.members.len()],
            notes: Vec::new(),
            refusals: Vec::new(),
            at: None,
            doubts: Vec::new(),
            numbers: HashMap::new(),
            given: HashMap::new(),
            bonds: (0..closure.members.len()).map(|table| Bonds::of(ground.graph, ground.fits, table)).collect(),
            unplaced: HashMap::new(),
            twins: HashMap::new(),
            taken: HashSet::new(),
            order: order::tables(ground.graph),
            absent: vec![HashMap::new(); ground.graph.links.len()],
            spelled: vec![OnceCell::new(); closure.members.len()],
        }
    }

    fn refuse(&mut self, what: String, hint: &str) {
        self.refused(Refusal { what, hint: hint.to_owned(), no_table: false });
    }

    fn refused(&mut self, refusal: Refusal) {
        self.refusals.push((self.at, refusal));
    }

    fn note(&mut self, what: String) {
        self.notes.push((self.at, what));
    }

    /// From here on it is the rows of this table that something is said of.
    fn turn_to(&mut self, at: usize) {
        self.at = Some(at);
        self.notes.retain(|(table, _)| *table != Some(at));
        self.refusals.retain(|(table, _)| *table != Some(at));
    }

    /// What is decided of rows is what those below them go by.
    fn pass_on(&self, at: usize) {
        for (key, draft) in &self.drafts[at] {
            let stands = draft.there || draft.act == Act::Insert;
            if let Some(into) = draft.into.as_ref().filter(|_| stands) {
                self.judge.moved(at, key, into);
            }
            match draft.taken {
                Some(Taken::Another) => self.judge.settle(at, key, Standing::Another),
                Some(Taken::Unsure) => self.judge.settle(at, key, Standing::Unsure),
                None if draft.there && draft.into.is_none() => self.judge.settle(at, key, Standing::There),
                None => {}
            }
        }
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
        self.turn_to(at);
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
                true => self.refused(Refusal { what, hint: "take them out with --export".to_owned(), no_table: true }),
                false => self.note(what),
            }
            let left = |key: &Key| (key.clone(), Draft::leave("the table is gone"));
            self.drafts[at] = members.keys().map(left).collect();
            return Ok(());
        };
        fit.notes.iter().for_each(|note| self.note(note.clone()));
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
            match fit.key(kept, &self.key_of_targets(at, key), ground.live) {
                Ok(now) => _ = live_keys.insert(key.clone(), now),
                Err(why) => _ = self.drafts[at].insert(key.clone(), Draft::leave(why)),
            }
        }
        let asked: Vec<Key> = live_keys.values().cloned().collect();
        let seen = compare::see(ground.live, live, &asked)?;
        let mut rows = self.kept_rows(at, kept, fit, keys)?;
        rows.retain(|row| live_keys.contains_key(&row.key));
        if kept.numbered && live.numbered {
            let compared = rows.iter().filter_map(|row| row.compared(at, &live_keys[&row.key]));
            let same =
                |row: &Compared<'_>| seen.get(row.now).is_some_and(|seen| row.differences(live, seen).is_empty());
            self.twins = self.twins(live, &compared.filter(|row| !same(row)).collect::<Vec<_>>())?;
        }
        let kins = self.kins(at, &rows, |key| seen.get(&live_keys[key]))?;
        for (row, kin) in rows.into_iter().zip(kins) {
            let now = &live_keys[&row.key];
            let draft = match (row.compared(at, now), &row.fitted) {
                (Some(compared), _) => self.decide(kept, live, &compared, seen.get(now).zip(kin))?,
                (None, Err(why)) => {
                    let column = why.split(':').next().unwrap_or_default();
                    let hint = format!("give it a value with --set {}.{column}=VALUE", live.name);
                    self.refuse(format!("{} {}: {why}", kept.name, shown(&row.key)), &hint);
                    Draft::leave(why)
                }
                (None, Ok(_)) => continue,
            };
            self.taken.insert(draft.into.as_ref().unwrap_or(&row.key).clone());
            self.drafts[at].insert(row.key, Draft { title: row.title, ..draft });
        }
        Ok(())
    }

    /// Rows of the snapshot as live data takes them, with the new keys of what they refer to.
    fn kept_rows(&self, at: usize, kept: &Table, fit: &Fit, keys: &[Key]) -> Result<Vec<KeptRow>, RecordError> {
        let all = self.ground.graph.with_ties(at);
        let mut rows = Vec::new();
        let mut take = |mut row: Row| {
            let ties = row.split_off(kept.columns.len());
            let key = kept.key_of(&row);
            let title = title(kept, |at| glimpse(&row[at]));
            let targets = self.judge.targets(at, &ties);
            let row = fit.row(kept, self.rewritten(at, row, &ties), self.ground.live, false);
            let fitted = row.map(|(columns, values)| (columns, values.iter().map(glimpse).collect()));
            rows.push(KeptRow { key, title, fitted, targets });
            Ok::<(), Explained>(())
        };
        self.ground.snapshot.find(kept, &kept.key, keys, &all, &mut take)?;
        Ok(rows)
    }

    /// How rows stand to what live data has for them; nothing where it has nothing.
    fn kins<'s>(
        &self,
        at: usize,
        rows: &[KeptRow],
        seen: impl Fn(&Key) -> Option<&'s compare::Seen>,
    ) -> Result<Vec<Option<Kin>>, RecordError> {
        let (mut pairs, mut places) = (Vec::new(), Vec::new());
        for (place, row) in rows.iter().enumerate() {
            if let (Ok((columns, kept)), Some(seen)) = (&row.fitted, seen(&row.key)) {
                let targets = row.targets.clone();
                pairs.push(Pair { key: &row.key, columns, kept, live: &seen.columns, targets });
                places.push(place);
            }
        }
        let mut kins = vec![None; rows.len()];
        for (place, kin) in places.into_iter().zip(self.judge.kins(at, &pairs)?) {
            kins[place] = Some(kin);
        }
        Ok(kins)
    }
}
