//! Rows of tables without a key. The number that the store gave them is all there is to name them, and a store may give it
//! to another row: so what they hold decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Table, Value, pick};
use crate::record::compare::{Seen, glimpse};
use crate::record::error::RecordError;
use crate::record::plan::{Act, Difference, Glimpse};
use crate::record::prepare::decide::Compared;
use crate::record::prepare::{Draft, Work};

/// By the key of a row of the snapshot: live rows that hold the same, by their keys and digests.
pub(super) type Twins = HashMap<Key, Vec<(Key, String)>>;

impl Work<'_> {
    /// What to do with a row that live data does not have under its number; `None` where that is as with any other.
    pub(super) fn numbered(
        &mut self,
        live: &Table,
        row: &Compared<'_>,
        differs: &[Difference],
    ) -> Result<Option<Draft>, RecordError> {
        if let Some((number, seen)) = self.elsewhere(row)? {
            let draft = Draft { there: true, seen: Some(seen), ..Draft::new(Act::Keep) };
            return Ok(Some(Draft { into: Some(number).filter(|number| number != row.key), ..draft }));
        }
        // A row that refers to something else under this number is another row; one that is the same but for empty
        // references is what came back without what it had referred to.
        let graph = self.ground.graph;
        let links = graph.links.iter().filter(|link| link.child == row.at);
        let fit = &self.ground.fits[row.at];
        let tied: BTreeSet<usize> = links.flat_map(|link| &link.columns).filter_map(|at| fit.to[*at]).collect();
        let is_tied = |one: &Difference| live.column(&one.column).is_some_and(|at| tied.contains(&at));
        let is_empty = |one: &Difference| is_tied(one) && one.live == Glimpse::Value(Value::Null);
        if !differs.iter().any(is_tied) || differs.iter().all(is_empty) {
            return Ok(None);
        }
        let fresh = self.fresh_key(live, row)?;
        Ok(fresh.map(|fresh| Draft { into: Some(fresh), ..Draft::new(Act::Insert) }))
    }

    /// A live row that holds the same under another number, and stands for no other row yet.
    fn elsewhere(&self, row: &Compared<'_>) -> Result<Option<(Key, String)>, RecordError> {
        for (key, digest) in self.twins.get(row.key).into_iter().flatten().filter(|(key, _)| !self.taken.contains(key))
        {
            if key == row.key || !self.is_at_home(row, key)? {
                return Ok(Some((key.clone(), digest.clone())));
            }
        }
        Ok(None)
    }

    /// For each of these rows, the live ones that hold the same: with one search for all whose empty columns are the
    /// same, since there may be no index that helps.
    pub(super) fn twins(&self, live: &Table, rows: &[Compared<'_>]) -> Result<Twins, RecordError> {
        let mut patterns: BTreeMap<Vec<usize>, HashMap<Row, Vec<&Compared<'_>>>> = BTreeMap::new();
        for row in rows {
            let short = |column: &usize| match row.value(*column) {
                Some(Glimpse::Value(value)) if *column > 0 && !value.is_null() => Some((*column, value.clone())),
                _ => None,
            };
            let (columns, values): (Vec<usize>, Row) = row.columns.iter().filter_map(short).unzip();
            if !columns.is_empty() {
                patterns.entry(columns).or_default().entry(values).or_default().push(row);
            }
        }
        let all: Vec<usize> = (0..live.columns.len()).collect();
        let mut twins = Twins::new();
        for (columns, wanted) in patterns {
            let values: Vec<Row> = wanted.keys().cloned().collect();
            let mut take = |one: Row| {
                let seen = Seen::of(&one);
                let same = |row: &&&Compared<'_>| {
                    row.columns.iter().zip(row.values).all(|(at, value)| *at == 0 || seen.columns[*at] == *value)
                };
                for row in wanted.get(&pick(&one, &columns)).into_iter().flatten().filter(same) {
                    twins.entry(row.key.clone()).or_default().push((live.key_of(&one), seen.digest()));
                }
                Ok::<(), Explained>(())
            };
            self.ground.live.find(live, &columns, &values, &all, &mut take)?;
        }
        Ok(twins)
    }

    /// Does the snapshot have a row of the same content under the number of this live row, but for references that were
    /// emptied when what they lead to went? Then it is that one.
    fn is_at_home(&self, row: &Compared<'_>, key: &Key) -> Result<bool, RecordError> {
        let (kept, fit) = (&self.ground.graph.tables[row.at], &self.ground.fits[row.at]);
        let all: Vec<usize> = (0..kept.columns.len()).collect();
        let graph = self.ground.graph;
        let let_go = graph.links.iter().filter(|link| link.child == row.at && link.is_let_go(graph));
        let emptied: BTreeSet<usize> =
            let_go.flat_map(|link| link.emptied(graph)).filter_map(|at| fit.to[at]).collect();
        let was_emptied = |at: &usize| emptied.contains(at) && row.value(*at) == Some(&Glimpse::Value(Value::Null));
        let mut same = false;
        let mut take = |one: Row| {
            if let Ok((columns, values)) = fit.row(kept, one, self.ground.live, false) {
                let mut pairs = columns.iter().zip(&values).filter(|(at, _)| **at > 0);
                same = pairs.all(|(at, value)| row.value(*at) == Some(&glimpse(value)) || was_emptied(at));
            }
            Ok::<(), Explained>(())
        };
        self.ground.snapshot.find(kept, &kept.key, std::slice::from_ref(key), &all, &mut take)?;
        Ok(same)
    }
}
