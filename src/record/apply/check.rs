//! What was written, looked at again before it lasts: it holds what was meant, and what it refers to is there.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::BuildHasher;

use crate::base::error::Explained;
use crate::base::record::{Key, PART, Reference, Row, Table, Value, exactly, lies_in};
use crate::record::apply::{BATCH, Work};
use crate::record::bound::{Bonds, named, parts};
use crate::record::compare;
use crate::record::error::RecordError;
use crate::record::plan::{Act, Glimpse, Step, shown};

impl<'w> Work<'w> {
    /// Does live data hold what was written? Whatever a store made of it on the way is noticed before it lasts.
    pub(super) fn read_back(&self) -> Result<(), RecordError> {
        for (table, meant) in &self.meant {
            let table = self.fits[*table].live.as_ref().expect("BUG: it was written to");
            for some in meant.chunks(BATCH) {
                let keys: Vec<Key> = some.iter().map(|(key, _)| (*key).clone()).collect();
                let seen = compare::see(&*self.live, table, &keys)?;
                for (key, values) in some {
                    let held = seen.get(*key).map(|seen| &seen.columns);
                    let is_other = |(at, value): &&(usize, u64)| {
                        held.is_none_or(|held| self.hasher.hash_one(&held[*at]) != *value)
                    };
                    if let Some((at, _)) = values.iter().find(is_other) {
                        let column = table.columns[*at].name.clone();
                        return Err(RecordError::Altered { table: table.name.clone(), key: shown(key), column });
                    }
                }
            }
        }
        Ok(())
    }

    /// Do rows that were added lie where the same references bind them as in the snapshot? Where a row comes to lie is not always
    /// known before it is written.
    pub(super) fn bound(&self) -> Result<(), RecordError> {
        let mut added: BTreeMap<usize, Vec<&Step>> = BTreeMap::new();
        for step in self.written().filter(|step| step.act == Act::Insert) {
            added.entry(step.table).or_default().push(step);
        }
        for (at, steps) in added {
            let (kept, Some(live)) = (&self.graph.tables[at], &self.fits[at].live) else { continue };
            let Some(bonds) = Bonds::of(self.graph, self.fits, at) else { continue };
            for some in steps.chunks(BATCH) {
                let (keys, live_keys): (Vec<Key>, Vec<Key>) =
                    some.iter().map(|step| (step.key.clone(), step.live_key().clone())).unzip();
                let was = parts(self.snapshot, kept, &keys)?;
                let now = parts(&*self.live, live, &live_keys)?;
                for (step, (was, now)) in some.iter().zip(was.iter().zip(&now)).filter(|(_, (was, now))| was != now) {
                    let key = step.live_key();
                    let seen = compare::see(&*self.live, live, std::slice::from_ref(key))?.remove(key);
                    let null = Glimpse::Value(Value::Null);
                    let is_empty = |at: usize| seen.as_ref().is_some_and(|seen| seen.columns[at] == null);
                    if let Some(what) = bonds.differ(was, now, &is_empty) {
                        let (table, key, part) = (kept.name.clone(), shown(&step.key), named(now));
                        return Err(RecordError::Elsewhere { table, key, part, what });
                    }
                }
            }
        }
        Ok(())
    }

    /// Notes what a row is to hold, in those columns that get the very values of the snapshot.
    pub(super) fn mean<'v>(
        &mut self,
        step: &'w Step,
        same: &BTreeSet<usize>,
        values: impl Iterator<Item = (&'v usize, &'v Value)>,
    ) {
        let known = |value: &Value| self.hasher.hash_one(compare::glimpse(value));
        let values: Vec<_> =
            values.filter(|(at, _)| same.contains(at)).map(|(at, value)| (*at, known(value))).collect();
        self.meant.entry(step.table).or_default().push((step.live_key(), values));
    }

    /// Is what the written rows refer to there? The store's own check is not enough: it may be off, or be misled by what
    /// was wrong before. A reference that was not written is as it was, whatever that is.
    pub(super) fn refer(&self) -> Result<(), RecordError> {
        let mut keys: BTreeMap<(usize, usize), Vec<Key>> = BTreeMap::new();
        for step in self.written().filter(|step| !step.dangling) {
            let table = self.live_table(step);
            let kept = &self.graph.tables[step.table];
            let now = |name: &String| kept.column(name).and_then(|at| self.fits[step.table].to[at]);
            let written: Option<BTreeSet<usize>> = match &step.act {
                Act::Update { columns } => Some(columns.iter().filter_map(|name| table.column(name)).collect()),
                Act::Relink { columns } => Some(columns.iter().filter_map(now).collect()),
                _ => None,
            };
            for (at, reference) in table.references.iter().enumerate() {
                let is_written = |columns: &BTreeSet<usize>| reference.columns.iter().any(|at| columns.contains(at));
                if written.as_ref().is_none_or(is_written) {
                    keys.entry((step.table, at)).or_default().push(step.live_key().clone());
                }
            }
        }
        for ((table, reference), keys) in keys {
            let table = self.fits[table].live.as_ref().expect("BUG: it was written to");
            keys.chunks(BATCH).try_for_each(|some| self.refers(table, &table.references[reference], some))?;
        }
        Ok(())
    }

    /// The same of some rows of a table and one of its references.
    fn refers(&self, table: &Table, reference: &Reference, keys: &[Key]) -> Result<(), RecordError> {
        let tables = self.fits.iter().filter_map(|fit| fit.live.as_ref());
        let Some((_, to)) = exactly(tables, &reference.to) else { return Ok(()) };
        let columns: Option<Vec<usize>> = reference.to_columns.iter().map(|name| to.column(name)).collect();
        let Some(columns) = columns else { return Ok(()) };
        let mut wanted: Vec<usize> = table.key.iter().chain(&reference.columns).copied().collect();
        wanted.extend((!reference.parts.is_empty()).then_some(PART));
        let mut held: BTreeMap<Row, Key> = BTreeMap::new();
        let mut take = |mut key: Row| {
            let mut values = key.split_off(table.key.len());
            let part = values.split_off(reference.columns.len()).pop().unwrap_or(Value::Null);
            if lies_in(&reference.parts, &part) && !values.iter().any(Value::is_null) {
                held.insert(values, key);
            }
            Ok::<(), Explained>(())
        };
        self.live.find(table, &table.key, keys, &wanted, &mut take)?;
        let (values, keys): (Vec<Row>, Vec<Key>) = held.into_iter().unzip();
        let there = compare::there_in(&*self.live, to, (&columns, &reference.to_parts), &values)?;
        match there.iter().position(|there| !there) {
            None => Ok(()),
            Some(at) => {
                let (table, key) = (table.name.clone(), shown(&keys[at]));
                Err(RecordError::Dangling { table, key, to: format!("{} {}", to.name, shown(&values[at])) })
            }
        }
    }
}
