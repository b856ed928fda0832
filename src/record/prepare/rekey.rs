//! Rows whose key holds a reference to a row that gets another key: their keys become others with it.

use std::collections::BTreeSet;

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Table, Value, like};
use crate::record::compare::{self, Seen};
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::plan::{Act, Glimpse};
use crate::record::prepare::Work;
use crate::record::prepare::decide::Compared;

impl Work<'_> {
    /// A live row that holds the same under another key: what an earlier recovery gave a new one.
    pub(super) fn twin(&self, live: &Table, row: &Compared<'_>) -> Result<Option<(Key, String)>, RecordError> {
        let links = self.ground.graph.links.iter().filter(|link| link.child == row.at);
        let to = &self.ground.fits[row.at].to;
        let mut apart: Vec<usize> = links.flat_map(|link| &link.columns).filter_map(|at| to[*at]).collect();
        apart.extend(&live.key);
        let own: Vec<(&usize, &Glimpse)> =
            row.columns.iter().zip(row.values).filter(|(column, _)| !apart.contains(column)).collect();
        let short = own.iter().filter_map(|(column, value)| match value {
            Glimpse::Value(value) if !value.is_null() => Some((**column, value.clone())),
            _ => None,
        });
        let (by, values): (Vec<usize>, Row) = short.unzip();
        if by.is_empty() {
            return Ok(None);
        }
        let all: Vec<usize> = (0..live.columns.len()).collect();
        let mut found = None;
        let mut take = |one: Row| {
            let seen = Seen::of(&one);
            if found.is_none() && own.iter().all(|(column, value)| seen.columns[**column] == **value) {
                found = Some((live.key_of(&one), seen.digest()));
            }
            Ok::<(), Explained>(())
        };
        self.ground.live.find(live, &by, &[values], &all, &mut take)?;
        Ok(found)
    }

    /// Compares rows again that refer to rows with new keys: live data may have them as an earlier recovery left them.
    pub(super) fn again(&mut self) -> Result<(), RecordError> {
        let graph = self.ground.graph;
        let moved = |table: usize| self.drafts[table].values().any(|draft| draft.into.is_some());
        let children: BTreeSet<usize> =
            graph.links.iter().filter(|link| moved(link.parent)).map(|link| link.child).collect();
        for table in children {
            self.drafts[table].clear();
            self.table(table)?;
        }
        Ok(())
    }

    /// A row as it is with the new keys of what it refers to.
    pub(super) fn rewritten(&self, table: usize, key: &Key, mut row: Row) -> Row {
        for link in self.ground.graph.links.iter().filter(|link| link.child == table) {
            if let Some(values) = self.target_now(table, key, link) {
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
        let graph = self.ground.graph;
        let own = &graph.tables[table].key;
        let mut now = self.drafts[table][key].into.clone().unwrap_or_else(|| key.clone());
        for link in graph.links.iter().filter(|link| link.child == table) {
            let Some(target) = self.target_now(table, key, link) else { continue };
            for (column, value) in link.columns.iter().zip(target) {
                if let Some(part) = own.iter().position(|at| at == column) {
                    now[part] = value;
                }
            }
        }
        now
    }

    /// What a link of the row holds, where what it refers to has another key.
    fn target_now(&self, table: usize, key: &Key, link: &Link) -> Option<Key> {
        let graph = self.ground.graph;
        let values = graph.target(link, &self.closure.members[table].get(key)?.ties)?;
        let parent: &Table = &graph.tables[link.parent];
        let places: Vec<usize> =
            parent.key.iter().map(|at| link.to.iter().position(|to| to == at)).collect::<Option<_>>()?;
        let old: Key = places.iter().map(|at| values[*at].clone()).collect();
        let drafts = &self.drafts[link.parent];
        let into = drafts.get(&old).or_else(|| drafts.get(&numbers(&old)))?.into.as_ref()?;
        let mut now = values;
        places.iter().zip(into).for_each(|(at, value)| now[*at] = like(&now[*at], value));
        Some(now)
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
