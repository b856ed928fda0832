//! Are a row of the snapshot and a live row under the same key the same record? A key can be used again.
//!
//! Owns the rule (docs/decisions/0033), and is asked wherever a key stands for a record: what was asked for, what belongs
//! to it, what rows are hung below, what is linked again. Reads both sides, a few rows at a time; remembers what it
//! found of rows that others refer to.

mod evidence;
mod moment;
mod sample;
mod traits;
mod value;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use crate::base::record::{Change, Key, PART, Records, Row, Table, Value, lies_in, like};
use crate::record::compare::{Seen, glimpse, matched};
use crate::record::drift::Fit;
use crate::record::error::RecordError;
use crate::record::graph::{Graph, Link};
use crate::record::model::Model;
use crate::record::plan::Glimpse;

use evidence::Parents;
use sample::Sample;
use traits::Traits;

/// Rows that are looked at together.
const BATCH: usize = 200;

/// So far up it is asked whether what a row refers to is the same record itself.
const DEEP: usize = 6;

/// How two rows stand to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kin {
    Same,
    /// There is not evidence enough that they are the same.
    Unsure,
    Another,
}

/// What live data has where the snapshot has something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The same record.
    There,
    Gone,
    /// A record that may be another one.
    Unsure,
    /// Another record.
    Another,
    /// A record, and the snapshot has none to compare it with.
    Newer,
}

impl From<Kin> for Standing {
    fn from(kin: Kin) -> Self {
        match kin {
            Kin::Same => Self::There,
            Kin::Unsure => Self::Unsure,
            Kin::Another => Self::Another,
        }
    }
}

/// A row of the snapshot in the form of the live table, and the live row it is compared with.
pub struct Pair<'p> {
    /// Its key in the snapshot.
    pub key: &'p [Value],
    /// Live columns, and what the row of the snapshot has for each, with the new keys of what it refers to.
    pub columns: &'p [usize],
    pub kept: &'p [Glimpse],
    /// All columns of the live row.
    pub live: &'p [Glimpse],
    /// What it referred to in the snapshot, by links.
    pub targets: Vec<(usize, Row)>,
}

impl Pair<'_> {
    fn value(&self, column: usize) -> Option<&Glimpse> {
        self.columns.iter().position(|at| *at == column).map(|at| &self.kept[at])
    }
}

/// Both sides, and what is known of them.
#[derive(Clone, Copy)]
pub struct Sides<'s> {
    pub graph: &'s Graph,
    pub snapshot: &'s dyn Records,
    pub live: &'s dyn Change,
    pub fits: &'s [Fit],
    pub model: &'s Model,
    /// Keys are never used again: only a column that says otherwise is believed more.
    pub trust_keys: bool,
}

/// What rows are looked for by: a table and some of its columns, and the parts it is looked for in, or none for all.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Place {
    table: usize,
    by: Vec<usize>,
    parts: BTreeSet<String>,
}

impl Place {
    fn of(link: &Link) -> Self {
        Self { table: link.parent, by: link.to.clone(), parts: link.to_parts.clone() }
    }
}

/// By the values of some columns, in the form in which these compare; nothing for what is being looked at.
type Known = HashMap<Place, HashMap<Row, Option<Standing>>>;

pub struct Judge<'j> {
    sides: Sides<'j>,
    known: RefCell<Known>,
    /// Keys that are others in live data, by table.
    moved: RefCell<HashMap<(usize, Key), Key>>,
    traits: RefCell<HashMap<usize, Rc<Traits>>>,
    samples: RefCell<HashMap<usize, Rc<Sample>>>,
}

/// A row of the snapshot as it was found.
struct Found {
    key: Key,
    columns: Vec<usize>,
    kept: Vec<Glimpse>,
    targets: Vec<(usize, Row)>,
}

impl<'j> Judge<'j> {
    pub fn new(sides: Sides<'j>) -> Self {
        let (known, moved) = (RefCell::default(), RefCell::default());
        Self { sides, known, moved, traits: RefCell::default(), samples: RefCell::default() }
    }

    /// Forgets what live data has, so that what a walk through a whole table finds is not kept.
    pub fn forget(&self) {
        self.known.borrow_mut().clear();
    }

    /// Forgets which rows have other keys.
    pub fn forget_moves(&self) {
        self.moved.borrow_mut().clear();
    }

    /// Takes in that a row has another key in live data: what refers to it is expected to refer to that.
    pub fn moved(&self, table: usize, key: &Key, into: &Key) {
        self.moved.borrow_mut().insert((table, self.own_form(table, key)), into.clone());
    }

    /// Takes in what is known of a row by its key.
    pub fn settle(&self, table: usize, key: &Key, standing: Standing) {
        let (place, key) = (self.by_key(table), self.own_form(table, key));
        self.known.borrow_mut().entry(place).or_default().insert(key, Some(standing));
    }

    /// A key so that it is the same however it is written.
    fn own_form(&self, table: usize, key: &[Value]) -> Row {
        let table = &self.sides.graph.tables[table];
        table.forms(&table.key, key)
    }

    fn form(&self, place: &Place, values: &[Value]) -> Row {
        self.sides.graph.tables[place.table].forms(&place.by, values)
    }

    fn by_key(&self, table: usize) -> Place {
        Place { table, by: self.sides.graph.tables[table].key.clone(), parts: BTreeSet::new() }
    }

    /// What live data has of the rows of a table with these keys.
    pub fn standing(&self, table: usize, keys: &[Key]) -> Result<Vec<Standing>, RecordError> {
        self.at(&self.by_key(table), keys)
    }

    /// What live data has of the rows that a link leads to by these values.
    pub fn reached(&self, link: &Link, values: &[Row]) -> Result<Vec<Standing>, RecordError> {
        self.at(&Place::of(link), values)
    }

    fn at(&self, place: &Place, values: &[Row]) -> Result<Vec<Standing>, RecordError> {
        self.learn(0, place, values)?;
        let known = self.known.borrow();
        let of = known.get(place);
        let one = |row: &Row| of.and_then(|of| *of.get(&self.form(place, row))?).unwrap_or(Standing::Gone);
        Ok(values.iter().map(one).collect())
    }

    /// How rows of a table stand to the live rows they are compared with.
    pub fn kins(&self, table: usize, pairs: &[Pair<'_>]) -> Result<Vec<Kin>, RecordError> {
        self.weigh(0, table, pairs)
    }

    fn learn(&self, depth: usize, place: &Place, values: &[Row]) -> Result<(), RecordError> {
        // What is written in several ways is looked at once.
        let fresh: BTreeMap<Row, Row> = {
            let known = self.known.borrow();
            let of = known.get(place);
            let all = values.iter().map(|row| (self.form(place, row), row.clone()));
            all.filter(|(form, _)| of.is_none_or(|of| !of.contains_key(form))).collect()
        };
        if depth > DEEP {
            return Ok(());
        }
        for some in Vec::from_iter(fresh).chunks(BATCH) {
            let (forms, some): (Vec<Row>, Vec<Row>) = some.iter().cloned().unzip();
            let open = forms.iter().map(|form| (form.clone(), None));
            self.known.borrow_mut().entry(place.clone()).or_default().extend(open);
            let found = self.look(depth, place, &some)?;
            let found = forms.into_iter().zip(found.into_iter().map(Some));
            self.known.borrow_mut().entry(place.clone()).or_default().extend(found);
        }
        Ok(())
    }

    /// Compares the rows that hold these values on either side.
    fn look(&self, depth: usize, place: &Place, values: &[Row]) -> Result<Vec<Standing>, RecordError> {
        let Sides { snapshot, live, graph, fits, .. } = self.sides;
        let Place { table, by, parts } = place;
        let (shape, fit) = (&graph.tables[*table], &fits[*table]);
        let now: Option<Vec<usize>> = by.iter().map(|at| fit.to[*at]).collect();
        let mut standing = vec![Standing::Gone; values.len()];
        let (Some(there), Some(now)) = (&fit.live, now) else { return Ok(standing) };
        let (mut asked, mut places) = (Vec::new(), Vec::new());
        for (at, row) in values.iter().enumerate() {
            if let Ok(row) = fit.values(by, row, live) {
                asked.push(row);
                places.push(at);
            }
        }
        let mut all: Vec<usize> = (0..there.columns.len()).collect();
        all.extend((!parts.is_empty()).then_some(PART));
        let mut seen: HashMap<usize, Seen> = HashMap::new();
        let reached = |row: &[Value]| parts.is_empty() || row.last().is_some_and(|part| lies_in(parts, part));
        matched(live, there, &now, &asked, &all, &mut |at, row| {
            if reached(&row) {
                seen.insert(places[at], Seen::of(&row[..there.columns.len()]));
            }
        })?;
        seen.keys().for_each(|at| standing[*at] = Standing::Newer);
        let wanted: Vec<usize> = (0..values.len()).filter(|at| seen.contains_key(at)).collect();
        let mut all = graph.with_ties(*table);
        all.extend((!parts.is_empty()).then_some(PART));
        let mut found: Vec<(usize, Option<Found>)> = Vec::new();
        let look = |wanted: &[usize], asked: &[Row], found: &mut Vec<(usize, Option<Found>)>| {
            matched(snapshot, shape, by, asked, &all, &mut |at, mut row| {
                if reached(&row) {
                    row.truncate(row.len() - usize::from(!parts.is_empty()));
                    found.push((wanted[at], self.found(*table, row)));
                }
            })
        };
        let asked: Vec<Row> = wanted.iter().map(|at| values[*at].clone()).collect();
        look(&wanted, &asked, &mut found)?;
        // What only the store knows to be the same, live data may have as the snapshot has it.
        if there.is_loose(&now) && !by.iter().any(|at| fit.retyped.contains(at)) {
            let is_found = |at: &usize| found.iter().any(|(one, _)| one == at);
            let left = wanted.iter().filter(|at| !is_found(at));
            let (left, asked): (Vec<usize>, Vec<Row>) =
                left.filter_map(|at| Some((*at, seen[at].values(&now)?))).unzip();
            look(&left, &asked, &mut found)?;
        }
        let (mut places, mut pairs) = (Vec::new(), Vec::new());
        for (at, found) in &found {
            // A row that the live table cannot hold any more is compared with nothing.
            standing[*at] = Standing::Unsure;
            if let (Some(found), Some(seen)) = (found, seen.get(at)) {
                places.push(*at);
                pairs.push(found.beside(seen));
            }
        }
        for (at, kin) in places.into_iter().zip(self.weigh(depth, *table, &pairs)?) {
            standing[at] = kin.into();
        }
        Ok(standing)
    }

    /// A row of the snapshot, its ties behind it, in the form of the live table; nothing where it does not fit.
    fn found(&self, table: usize, mut row: Row) -> Option<Found> {
        let Sides { graph, live, fits, .. } = self.sides;
        let shape: &Table = &graph.tables[table];
        let ties = row.split_off(shape.columns.len());
        let key = shape.key_of(&row);
        let targets = self.targets(table, &ties);
        for (at, target) in &targets {
            let link = &graph.links[*at];
            let moved = self.moved.borrow();
            let meant = self.own_form(link.parent, target);
            let into = moved.get(&(link.parent, meant)).filter(|_| link.to == graph.tables[link.parent].key);
            for (column, value) in link.columns.iter().zip(into.into_iter().flatten()) {
                row[*column] = like(&row[*column], value);
            }
        }
        let (columns, values) = fits[table].row(shape, row, live, false).ok()?;
        Some(Found { key, columns, kept: values.iter().map(glimpse).collect(), targets })
    }

    /// What a row refers to, by links.
    pub fn targets(&self, table: usize, ties: &Row) -> Vec<(usize, Row)> {
        let graph = self.sides.graph;
        let links = graph.links.iter().enumerate().filter(|(_, link)| link.child == table);
        links.filter_map(|(at, link)| Some((at, graph.target(link, ties)?))).collect()
    }

    fn weigh(&self, depth: usize, table: usize, pairs: &[Pair<'_>]) -> Result<Vec<Kin>, RecordError> {
        let Some(traits) = self.traits(table) else { return Ok(vec![Kin::Unsure; pairs.len()]) };
        let mut kins: Vec<Option<Kin>> = pairs.iter().map(|pair| traits.at_once(pair)).collect();
        let open: Vec<usize> = (0..pairs.len()).filter(|at| kins[*at].is_none()).collect();
        let parents = self.parents(depth, &traits, open.iter().map(|at| &pairs[*at]))?;
        for at in &open {
            kins[*at] = traits.by_parents(&pairs[*at], &parents, self.sides.trust_keys);
        }
        let sample = match kins.contains(&None) {
            true => self.sample(table)?,
            false => Rc::default(),
        };
        let kin =
            |(kin, pair): (Option<Kin>, &Pair<'_>)| kin.unwrap_or_else(|| traits.by_most(pair, &parents, &sample));
        Ok(kins.into_iter().zip(pairs).map(kin).collect())
    }

    /// Is what these rows refer to the same as in the snapshot?
    fn parents<'p>(
        &self,
        depth: usize,
        traits: &Traits,
        pairs: impl Iterator<Item = &'p Pair<'p>>,
    ) -> Result<Parents, RecordError> {
        let mut wanted: HashMap<usize, BTreeSet<Row>> = HashMap::new();
        for (link, values) in pairs.flat_map(|pair| traits.asked(pair)) {
            wanted.entry(link).or_default().insert(values);
        }
        let mut parents = Parents::new();
        for (at, values) in wanted {
            let link = &self.sides.graph.links[at];
            let values = Vec::from_iter(values);
            let place = Place::of(link);
            self.learn(depth + 1, &place, &values)?;
            let known = self.known.borrow();
            let of = known.get(&place);
            for row in values {
                let standing = of.and_then(|of| *of.get(&self.form(&place, &row))?);
                parents.insert((at, row), standing);
            }
        }
        Ok(parents)
    }

    fn traits(&self, table: usize) -> Option<Rc<Traits>> {
        if let Some(known) = self.traits.borrow().get(&table) {
            return Some(known.clone());
        }
        let Sides { graph, fits, model, .. } = self.sides;
        let traits = Rc::new(Traits::of(table, graph, &fits[table], model)?);
        self.traits.borrow_mut().insert(table, traits.clone());
        Some(traits)
    }

    fn sample(&self, table: usize) -> Result<Rc<Sample>, RecordError> {
        if let Some(known) = self.samples.borrow().get(&table) {
            return Ok(known.clone());
        }
        let sample = Rc::new(Sample::take(self.sides.snapshot, &self.sides.graph.tables[table])?);
        self.samples.borrow_mut().insert(table, sample.clone());
        Ok(sample)
    }
}

impl Found {
    fn beside<'p>(&'p self, seen: &'p Seen) -> Pair<'p> {
        let Self { key, columns, kept, targets } = self;
        Pair { key, columns, kept, live: &seen.columns, targets: targets.clone() }
    }
}
