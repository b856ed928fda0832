//! Rows whose key holds a reference to a row that gets another key: their keys become others with it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Table, Value, like};
use crate::record::compare::{self, Seen};
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::identity::Standing;
use crate::record::plan::{Act, Glimpse};
use crate::record::prepare::decide::Compared;
use crate::record::prepare::{Draft, Work};

/// So often rows are compared again that refer to rows of their own table.
const ROUNDS: usize = 50;

impl Work<'_> {
    /// A live row that holds the same under another key: what an earlier recovery gave a new one. Its references are those
    /// that the row would have now, and it is no other row of the snapshot.
    pub(super) fn twin(&self, live: &Table, row: &Compared<'_>) -> Result<Option<(Key, Seen)>, RecordError> {
        let graph = self.ground.graph;
        if let Some(before) = self.twin_before(live, row)? {
            return Ok(Some(before));
        }
        // A row that refers to itself refers to its new key.
        let itself = self.itself(row);
        let is_own = |column: &usize| !live.key.contains(column) && !itself.contains(column);
        let own: Vec<(&usize, &Glimpse)> =
            row.columns.iter().zip(row.values).filter(|(column, _)| is_own(column)).collect();
        let links = graph.links.iter().filter(|link| link.child == row.at && link.may_be_empty(graph));
        // What came back without a reference has none.
        let may_lack: BTreeSet<usize> =
            links.flat_map(|link| &link.columns).filter_map(|at| self.ground.fits[row.at].to[*at]).collect();
        let short = |lacks: bool| {
            let own = own.iter().filter(|(column, _)| lacks || !may_lack.contains(column));
            let values = own.filter_map(|(column, value)| match value {
                Glimpse::Value(value) if !value.is_null() => Some((**column, value.clone())),
                _ => None,
            });
            values.unzip::<usize, Value, Vec<usize>, Row>()
        };
        let (by, values) = Some(short(false)).filter(|(by, _)| !by.is_empty()).unwrap_or_else(|| short(true));
        let all: Vec<usize> = (0..live.columns.len()).collect();
        let mut found = Vec::new();
        let mut take = |one: Row| {
            let seen = Seen::of(&one);
            let same = |(column, value): &(&usize, &Glimpse)| {
                let held = &seen.columns[**column];
                held == *value || (may_lack.contains(column) && *held == Glimpse::Value(Value::Null))
            };
            if own.iter().all(same) {
                found.push((live.key_of(&one), seen));
            }
            Ok::<(), Explained>(())
        };
        if by.is_empty() {
            // There is nothing to look for but that all of it is empty.
            let is_null = |(column, _): &(&usize, &Glimpse)| {
                let name = live.columns[**column].name.replace('"', "\"\"");
                format!("\"{name}\" IS NULL")
            };
            let empty: Vec<String> = own.iter().map(is_null).collect();
            if !empty.is_empty() {
                self.ground.live.matching(live, Some(&empty.join(" AND ")), &all, &mut take)?;
            }
        } else {
            self.ground.live.find(live, &by, &[values], &all, &mut take)?;
        }
        found.retain(|(key, _)| key != row.now && !self.taken.contains(key));
        let keys: Vec<Key> = found.iter().map(|(key, _)| key.clone()).collect();
        let at_home = self.judge.standing(row.at, &keys)?;
        let mut free = found.into_iter().zip(at_home).filter(|(_, standing)| *standing != Standing::There);
        Ok(free.next().map(|(twin, _)| twin))
    }

    /// The one that was found when the row was looked at before. In a circle, what it refers to may be known anew since: that is
    /// no reason to look for another.
    fn twin_before(&self, live: &Table, row: &Compared<'_>) -> Result<Option<(Key, Seen)>, RecordError> {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[row.at]);
        let before = self.drafts[row.at].get(row.key).filter(|draft| draft.there && draft.act == Act::Keep);
        let Some(key) = before.and_then(|draft| draft.into.clone()) else { return Ok(None) };
        let place = |table: usize| self.order.iter().position(|at| *at == table);
        let is_late = |link: &&Link| link.child == row.at && place(link.child) <= place(link.parent);
        let links = graph.links.iter().filter(is_late);
        let open: BTreeSet<usize> = links.flat_map(|link| &link.columns).filter_map(|at| fit.to[*at]).collect();
        let seen = compare::see(self.ground.live, live, std::slice::from_ref(&key))?.remove(&key);
        let mut own = row.columns.iter().zip(row.values).filter(|(at, _)| !live.key.contains(at) && !open.contains(at));
        let is_free = key != *row.now && !self.taken.contains(&key);
        let is_as_it_was = |seen: &Seen| own.all(|(at, value)| seen.columns[*at] == *value);
        Ok(seen.filter(is_as_it_was).filter(|_| is_free).map(|seen| (key, seen)))
    }

    /// The live columns by which a row refers to itself.
    fn itself(&self, row: &Compared<'_>) -> BTreeSet<usize> {
        let graph = self.ground.graph;
        let Some(member) = self.closure.members[row.at].get(row.key) else { return BTreeSet::new() };
        let own = |link: &&Link| {
            let key = &graph.tables[row.at].key;
            (link.child, link.parent, &link.to) == (row.at, row.at, key)
                && graph
                    .target(link, &member.ties)
                    .is_some_and(|target| graph.meant(row.at, key, &target) == graph.meant(row.at, key, row.key))
        };
        let links = graph.links.iter().filter(own);
        links.flat_map(|link| &link.columns).filter_map(|at| self.ground.fits[row.at].to[*at]).collect()
    }

    /// Compares rows again that refer to rows with new keys and were looked at before them: live data may have them as an
    /// earlier recovery left them.
    pub(super) fn again(&mut self, order: &[usize]) -> Result<(), RecordError> {
        let graph = self.ground.graph;
        let place = |table: usize| order.iter().position(|at| *at == table);
        let is_late = |link: &Link| place(link.child) <= place(link.parent);
        let is_looked_at = |table: usize| !self.closure.members[table].is_empty();
        let is_some_late = graph.links.iter().any(|link| is_late(link) && is_looked_at(link.child));
        if !is_some_late || !(0..self.drafts.len()).any(|table| self.is_moved(table)) {
            return Ok(());
        }
        // What a row is taken for hangs on what it refers to, and on what that refers to.
        let refers = |table: &usize| is_looked_at(*table) && graph.links.iter().any(|link| link.child == *table);
        let late: Vec<usize> = order.iter().filter(|table| refers(table)).copied().collect();
        // One row's new key may be what another is known by, and so on through a circle or a tree of them.
        for _ in 0..ROUNDS {
            let known = self.new_keys();
            // What was found of rows before the new keys were known is asked anew. What an earlier recovery gave a new key is
            // known; a row that is to get one may turn out to be there.
            for table in &late {
                self.drafts[*table].retain(|_, draft| draft.into.is_some() && draft.there);
            }
            self.judge.forget();
            self.judge.forget_moves();
            (0..self.drafts.len()).for_each(|table| self.pass_on(table));
            for table in &late {
                self.table(*table)?;
                self.clashes(*table)?;
                self.pass_on(*table);
            }
            if self.new_keys() == known {
                return Ok(());
            }
        }
        self.refuse(
            "which new keys rows get that refer to each other cannot be settled".to_owned(),
            "recover fewer of them at once, or without --remap-keys",
        );
        Ok(())
    }

    fn is_moved(&self, table: usize) -> bool {
        self.drafts[table].values().any(|draft| draft.into.is_some())
    }

    fn new_keys(&self) -> Vec<BTreeMap<Key, Key>> {
        let of = |drafts: &BTreeMap<Key, Draft>| {
            drafts.iter().filter_map(|(key, draft)| Some((key.clone(), draft.into.clone()?))).collect()
        };
        self.drafts.iter().map(of).collect()
    }

    /// A row with these ties as it is with the new keys of what it refers to.
    pub(super) fn rewritten(&self, table: usize, mut row: Row, ties: &Row) -> Row {
        let graph = self.ground.graph;
        for link in graph.links.iter().filter(|link| link.child == table) {
            if let Some(values) = self.target_now(ties, link) {
                link.columns.iter().zip(values).for_each(|(column, value)| row[*column] = value);
            }
        }
        row
    }

    /// Until no key changes any more: what refers to one of them may have it in its key too.
    pub(super) fn rekey(&mut self) -> Result<(), RecordError> {
        loop {
            let changed = self.rekeyed();
            if changed.is_empty() {
                return Ok(());
            }
            for (table, key, into) in changed {
                self.rename(table, key, into)?;
            }
        }
    }

    /// Rows that are added, with the keys they get.
    fn rekeyed(&self) -> Vec<(usize, Key, Key)> {
        let mut changed = Vec::new();
        for (table, drafts) in self.drafts.iter().enumerate() {
            for (key, draft) in drafts.iter().filter(|(_, draft)| draft.act == Act::Insert) {
                let into = self.key_now(table, key);
                if into != *draft.into.as_ref().unwrap_or(key) {
                    changed.push((table, key.clone(), into));
                }
            }
        }
        changed
    }

    fn key_now(&self, table: usize, key: &Key) -> Key {
        self.key_with_targets(table, key, self.drafts[table][key].into.clone().unwrap_or_else(|| key.clone()))
    }

    /// The key of a row with the new keys of what it refers to.
    pub(super) fn key_of_targets(&self, table: usize, key: &Key) -> Key {
        self.key_with_targets(table, key, key.clone())
    }

    fn key_with_targets(&self, table: usize, key: &Key, mut now: Key) -> Key {
        let graph = self.ground.graph;
        let own = &graph.tables[table].key;
        for link in graph.links.iter().filter(|link| link.child == table) {
            let ties = self.closure.members[table].get(key).map(|member| &member.ties);
            let Some(target) = ties.and_then(|ties| self.target_now(ties, link)) else { continue };
            for (column, value) in link.columns.iter().zip(target) {
                if let Some(part) = own.iter().position(|at| at == column) {
                    now[part] = value;
                }
            }
        }
        now
    }

    /// What a link of a row with these ties holds, where what it refers to has another key.
    pub(super) fn target_now(&self, ties: &Row, link: &Link) -> Option<Key> {
        let graph = self.ground.graph;
        let values = graph.target(link, ties)?;
        let parent: &Table = &graph.tables[link.parent];
        let places: Vec<usize> =
            parent.key.iter().map(|at| link.to.iter().position(|to| to == at)).collect::<Option<_>>()?;
        let old: Key = places.iter().map(|at| values[*at].clone()).collect();
        let drafts = &self.drafts[link.parent];
        let spelled = || drafts.get(self.spelled(link.parent).get(&graph.meant(link.parent, &parent.key, &old))?);
        let draft = drafts.get(&old).or_else(|| drafts.get(&numbers(&old))).or_else(spelled)?;
        let into = draft.into.as_ref().filter(|_| draft.there || draft.act == Act::Insert)?;
        let mut now = values;
        places.iter().zip(into).for_each(|(at, value)| now[*at] = like(&now[*at], value));
        Some(now)
    }

    /// The keys of the rows that come back, by the form in which references compare them.
    fn spelled(&self, table: usize) -> &HashMap<Row, Key> {
        let (graph, keys) = (self.ground.graph, self.closure.members[table].keys());
        let form = |key: &Key| (graph.meant(table, &graph.tables[table].key, key), key.clone());
        self.spelled[table].get_or_init(|| keys.map(form).collect())
    }

    fn rename(&mut self, table: usize, key: Key, into: Key) -> Result<(), RecordError> {
        let live = self.ground.fits[table].live.as_ref().expect("BUG: only rows of tables that are there are added");
        let seen = compare::see(self.ground.live, live, std::slice::from_ref(&into))?.remove(&into);
        let draft = self.drafts[table].get_mut(&key).expect("BUG: it was just there");
        if let Some(seen) = seen {
            // It is linked like that already.
            (draft.act, draft.there, draft.seen) = (Act::Keep, true, Some(seen.digest()));
        }
        draft.into = Some(into);
        Ok(())
    }
}

/// A key of text as that of a table whose keys are numbers.
fn numbers(key: &Key) -> Key {
    let number = |value: &Value| match value {
        Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok().map(Value::Integer),
        _ => None,
    };
    key.iter().map(|value| number(value).unwrap_or_else(|| value.clone())).collect()
}
