//! What must hold after a recovery, by the documented rules and by what is known of each row: which record it is.

use std::collections::{BTreeMap, BTreeSet};

use strongroom::base::record::{OnDelete, Value};
use strongroom::record::closure::Why;
use strongroom::record::identity::Standing;
use strongroom::record::plan::{Act, OnConflict, Step, shown};

use super::super::*;
use super::Case;
use super::world::{Record, Spec};

type Rows = Vec<BTreeMap<Key, Vec<Value>>>;
type Told<'t> = dyn Fn(&str) -> String + 't;

/// What the lives came to.
#[derive(Debug, Default)]
pub struct Tally {
    pub lives: u64,
    pub whole: u64,
    pub incomplete: u64,
    pub refused: u64,
    /// Two states of one record that were taken for: the same, perhaps another, another.
    pub same: [u64; 3],
    /// Two records that were taken for: the same, perhaps another, another.
    pub others: [u64; 3],
    /// The same of tables without a time of making.
    pub same_bare: [u64; 3],
    pub others_bare: [u64; 3],
    /// Rows that are there and came back beside themselves, since it was not certain and a new key was asked for.
    pub doubled: u64,
    pub mistaken: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.whole += other.whole;
        self.incomplete += other.incomplete;
        self.refused += other.refused;
        self.doubled += other.doubled;
        for at in 0..3 {
            self.same[at] += other.same[at];
            self.others[at] += other.others[at];
            self.same_bare[at] += other.same_bare[at];
            self.others_bare[at] += other.others_bare[at];
        }
        self.mistaken.extend(other.mistaken);
    }

    pub fn count(&mut self, plan: &Plan) {
        self.lives += 1;
        match (plan.refusals.is_empty(), plan.is_whole()) {
            (false, _) => self.refused += 1,
            (true, true) => self.whole += 1,
            (true, false) => self.incomplete += 1,
        }
    }

    pub fn judged(&mut self, spec: &Spec, was: &Record, now: &Record, standing: Standing) {
        let at = match standing {
            Standing::There => 0,
            Standing::Another => 2,
            Standing::Unsure | Standing::Gone | Standing::Newer => 1,
        };
        // Rows that have not changed are no question.
        if was == now {
            return;
        }
        match was.birth == now.birth {
            true => self.same[at] += 1,
            false => self.others[at] += 1,
        }
        if !spec.has_birth() {
            match was.birth == now.birth {
                true => self.same_bare[at] += 1,
                false => self.others_bare[at] += 1,
            }
        }
    }
}

/// A refusal names what it is about, and is one only where what was asked for cannot come back, or nothing may differ.
pub fn refused(case: &Case, plan: &Plan) {
    let now = case.live.tables[case.table].get(&case.key);
    let strict = case.bench.options.on_conflict == OnConflict::Abort;
    let named = plan.refusals.iter().all(|refusal| !refusal.what.is_empty() && !refusal.hint.is_empty());
    let clash = case.bench.options.on_conflict == OnConflict::Overwrite
        && plan.refusals.iter().any(|refusal| refusal.what.contains("holds the same"));
    assert!(named && (strict || clash || now.is_some()), "{}", case.told(&format!("refused: {:#?}", plan.refusals)));
}

/// What is only needed comes back without what belongs to it, and is not looked into once it is there: what the first run had
/// to say of such rows, a second one has not. The same goes for rows between two others of which one is there since.
pub fn was_for_others(first: &Plan, second: &Plan) -> bool {
    let place = |step: &Step| format!("{} {} ", first.tables[step.table].name, shown(&step.key));
    let lacks = |step: &Step, doubt: &String| {
        let is_new = matches!(step.why, Why::Needed(_)) && step.act == Act::Insert;
        is_new && doubt.starts_with(&format!("{}comes back without it", place(step)))
    };
    let of_needed = |doubt: &String| first.steps.iter().any(|step| lacks(step, doubt));
    let between = second.notes.iter().any(|note| note.contains("left out"));
    let is_other = |step: &Step| {
        let is_between = ["members", "tagged"].contains(&&*first.tables[step.table].name) && step.key.len() == 2;
        matches!(step.why, Why::Needed(_)) || is_between
    };
    let mut missing = first.steps.iter().filter(|step| step.is_missing());
    let said = missing.clone().count() + first.doubts.len();
    said > 0 && second.is_whole() && first.doubts.iter().all(of_needed) && missing.all(|step| between && is_other(step))
}

struct Check<'c> {
    case: &'c Case,
    plan: &'c Plan,
    before: &'c Rows,
    after: &'c Rows,
    /// Which records a key means when it is done: a row that is there may stand for one that was kept under another key.
    births: Vec<BTreeMap<Key, BTreeSet<u64>>>,
    told: &'c Told<'c>,
}

pub fn check(case: &Case, plan: &Plan, before: &Rows, after: &Rows, told: &Told<'_>, tally: &mut Tally) {
    let births = case
        .live
        .tables
        .iter()
        .map(|rows| rows.iter().map(|(key, record)| (key.clone(), BTreeSet::from([record.birth]))).collect());
    let mut check = Check { case, plan, before, after, births: births.collect(), told };
    check.added(tally);
    check.changed();
    check.below();
    if plan.is_whole() {
        check.complete();
    }
}

impl Check<'_> {
    fn steps(&self) -> impl Iterator<Item = (usize, &Step)> {
        let place = |step: &Step| {
            let name = &self.plan.tables[step.table].name;
            self.case.life.tables.iter().position(|spec| spec.name == *name).unwrap()
        };
        self.plan.steps.iter().map(move |step| (place(step), step))
    }

    fn kept(&self, table: usize, step: &Step) -> &Record {
        &self.case.kept.tables[table][&step.key]
    }

    fn fail(&self, what: &str) -> ! {
        panic!("{}", (self.told)(what))
    }

    fn is_own(spec: &Spec, column: usize) -> bool {
        column >= spec.key && !spec.links.iter().any(|link| link.column == column)
    }

    /// What is added is what the snapshot has, once; nothing goes.
    fn added(&mut self, tally: &mut Tally) {
        let mut births = self.births.clone();
        let mut added: BTreeSet<(usize, Key)> = BTreeSet::new();
        for (table, step) in self.steps() {
            let (spec, kept) = (&self.case.life.tables[table], self.kept(table, step));
            let own = |row: &[Value]| -> Vec<Value> {
                (0..row.len()).filter(|at| Self::is_own(spec, *at)).map(|at| row[at].clone()).collect()
            };
            let row = self.after[table].get(step.live_key());
            match &step.act {
                Act::Insert => {
                    let Some(row) = row else {
                        self.fail(&format!("{} {:?} is not there", spec.name, step.live_key()))
                    };
                    if own(row) != own(&kept.row) || self.before[table].contains_key(step.live_key()) {
                        self.fail(&format!("{} {:?} is not what the snapshot has", spec.name, step.live_key()));
                    }
                    let here = births[table].get(&step.key);
                    if births[table].values().any(|births| births.contains(&kept.birth)) {
                        let under_key = here.is_some_and(|births| births.contains(&kept.birth));
                        if !under_key || !self.case.bench.options.remap_keys {
                            self.fail(&format!("{} {:?} is there twice", spec.name, step.key));
                        }
                        tally.doubled += 1;
                    }
                    births[table].entry(step.live_key().clone()).or_default().insert(kept.birth);
                    added.insert((table, step.live_key().clone()));
                }
                Act::Keep if step.into.is_some() => {
                    if row.is_none_or(|row| own(row) != own(&kept.row)) {
                        self.fail(&format!("{} {:?} is not {:?}", spec.name, step.key, step.into));
                    }
                    births[table].entry(step.live_key().clone()).or_default().insert(kept.birth);
                }
                _ => {}
            }
        }
        for (table, (before, after)) in self.before.iter().zip(self.after).enumerate() {
            let name = &self.case.life.tables[table].name;
            if let Some(key) = before.keys().find(|key| !after.contains_key(*key)) {
                self.fail(&format!("{name} {key:?} is gone"));
            }
            let strange = |key: &&Key| !before.contains_key(*key) && !added.contains(&(table, (*key).clone()));
            if let Some(key) = after.keys().find(strange) {
                self.fail(&format!("{name} {key:?} comes from nowhere"));
            }
        }
        self.births = births;
    }

    /// What is changed is the same record, and changed only as far as was asked for.
    fn changed(&self) {
        for (table, (before, after)) in self.before.iter().zip(self.after).enumerate() {
            let spec = &self.case.life.tables[table];
            for (key, was) in before {
                let now = &after[key];
                if was == now {
                    continue;
                }
                let step = self.steps().find(|(at, step)| *at == table && step.live_key() == key && step.act.writes());
                let Some((_, step)) = step else { self.fail(&format!("{} {key:?} changed", spec.name)) };
                let kept = self.kept(table, step);
                if !self.births[table][key].contains(&kept.birth) {
                    self.fail(&format!("{} {key:?} is another record and was changed", spec.name));
                }
                let columns: Vec<usize> = (0..was.len()).filter(|at| was[*at] != now[*at]).collect();
                let on_conflict = self.case.bench.options.on_conflict;
                for at in columns {
                    let is_link = spec.links.iter().any(|link| link.column == at);
                    let allowed = match on_conflict {
                        OnConflict::Overwrite => true,
                        OnConflict::FillNull => is_link || was[at].is_null(),
                        OnConflict::Skip | OnConflict::Abort => is_link,
                    };
                    if !allowed || (!is_link && now[at] != kept.row[at]) {
                        self.fail(&format!("{} {key:?}: its {} was changed", spec.name, spec.columns[at]));
                    }
                }
            }
        }
    }

    /// Whatever is written refers to the record that it referred to, or to nothing.
    fn below(&self) {
        for (table, step) in self.steps().filter(|(_, step)| step.act.writes()) {
            let (spec, kept) = (&self.case.life.tables[table], self.kept(table, step));
            let now = &self.after[table][step.live_key()];
            let was = self.before[table].get(step.live_key());
            for link in &spec.links {
                if was.is_some_and(|was| was[link.column] == now[link.column]) {
                    continue;
                }
                let (value, meant) = (&now[link.column], &kept.row[link.column]);
                let what = |what: &str| {
                    format!("{} {:?}: its {} {what}", spec.name, step.live_key(), spec.columns[link.column])
                };
                if value.is_null() {
                    let back = self.case.kept.birth(link.to, meant).is_some_and(|birth| self.is_there(link.to, birth));
                    if back && self.plan.is_whole() {
                        self.fail(&what("is empty, and what it named is there"));
                    }
                    continue;
                }
                let refers = self.births[link.to].get(std::slice::from_ref(value));
                match (self.case.kept.birth(link.to, meant), refers) {
                    (Some(birth), Some(births)) if births.contains(&birth) => {}
                    (None, None) => {}
                    (birth, births) => self.fail(&what(&format!("refers to {births:?} and not to {birth:?}"))),
                }
            }
        }
    }

    fn is_there(&self, table: usize, birth: u64) -> bool {
        self.births[table].values().any(|births| births.contains(&birth))
    }

    /// Everything that belongs to what was asked for is there, below what it belongs to.
    fn complete(&self) {
        let (life, kept) = (&self.case.life, &self.case.kept);
        let mut wanted = vec![(self.case.table, self.case.key.clone())];
        let mut at = 0;
        while let Some((parent, key)) = wanted.get(at).cloned() {
            at += 1;
            for (table, spec) in life.tables.iter().enumerate() {
                for link in spec.links.iter().filter(|link| link.to == parent) {
                    for (own, record) in kept.tables[table].iter().filter(|(_, one)| one.row[link.column] == key[0]) {
                        let place = (table, own.clone());
                        if link.on_delete == OnDelete::SetNull {
                            self.linked(table, own, record, link.column, link.to);
                        } else if !wanted.contains(&place) {
                            wanted.push(place);
                        }
                    }
                }
            }
        }
        let between = self.plan.notes.iter().any(|note| note.contains("left out"));
        for (table, key) in wanted {
            let (spec, record) = (&life.tables[table], &kept.tables[table][&key]);
            if !self.is_there(table, record.birth) {
                if spec.key == 2 && between {
                    continue;
                }
                self.fail(&format!("{} {key:?} is missing, and nothing says so", spec.name));
            }
            for link in &spec.links {
                self.not_below_another(table, &key, record, (link.column, link.to));
            }
        }
    }

    /// A row that is there and still has the number that it had refers to what it referred to.
    fn not_below_another(&self, table: usize, key: &Key, record: &Record, (column, to): (usize, usize)) {
        let Some(was) = self.before[table].get(key) else { return };
        let is_same = self.case.live.tables[table][key].birth == record.birth;
        let meant = self.case.kept.birth(to, &record.row[column]);
        if !is_same || was[column] != record.row[column] || was[column].is_null() {
            return;
        }
        // What refers by its key to another record is another record, and one that is not certain came back beside itself.
        let beside = |(at, step): (usize, &Step)| at == table && step.key == *key && step.act == Act::Insert;
        if column < self.case.life.tables[table].key || self.steps().any(beside) {
            return;
        }
        let now = &self.after[table][key][column];
        let refers = self.births[to].get(std::slice::from_ref(now));
        if let Some(birth) = meant.filter(|birth| self.is_there(to, *birth))
            && refers.is_some_and(|births| !births.contains(&birth))
        {
            let (spec, name) = (&self.case.life.tables[table], &self.case.life.tables[table].columns[column]);
            self.fail(&format!("{} {key:?} stays below another record by {name}", spec.name));
        }
    }

    /// A row that outlived what it referred to, and refers to nothing since, refers to it again.
    fn linked(&self, table: usize, key: &Key, record: &Record, column: usize, to: usize) {
        let spec = &self.case.life.tables[table];
        let Some(was) = self.before[table].get(key) else { return };
        if self.case.live.tables[table][key].birth != record.birth || !was[column].is_null() {
            return;
        }
        // One that is not certain came back beside itself.
        if self.steps().any(|(at, step)| at == table && step.key == *key && step.act == Act::Insert) {
            return;
        }
        let now = &self.after[table][key][column];
        let birth = self.case.kept.birth(to, &record.row[column]).unwrap();
        let refers = self.births[to].get(std::slice::from_ref(now));
        if self.is_there(to, birth) && refers.is_none_or(|births| !births.contains(&birth)) {
            self.fail(&format!("{} {key:?} does not refer again by {}", spec.name, spec.columns[column]));
        }
    }
}
