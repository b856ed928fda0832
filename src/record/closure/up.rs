//! Up: what rows cannot be without and live data lacks, and what becomes of references that lead nowhere.

use std::collections::{BTreeMap, BTreeSet};

use crate::base::record::{Key, Row};
use crate::record::closure::{InLive, Walk, Why};
use crate::record::compare::matched;
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::identity::Standing;

/// Where a row is that another refers to.
pub(super) enum Target {
    /// In live data.
    There,
    /// In the snapshot under this key; and what live data has there instead.
    Kept(Key, Standing),
    /// In neither, though live data has some row there.
    Astray,
    Nowhere,
}

impl Walk<'_> {
    /// Adds what rows refer to and live data lacks, until nothing is missing any more. What only ties rows together is
    /// looked at when it is known which of them are there.
    pub(super) fn up(&mut self, in_live: &mut InLive<'_>) -> Result<(), RecordError> {
        loop {
            let mut added = false;
            for between in [false, true] {
                for at in 0..self.graph.links.len() {
                    added |= !(between && added) && self.parents(at, between, in_live)?;
                }
            }
            if !added {
                break;
            }
        }
        (0..self.graph.links.len()).try_for_each(|at| self.missed(at, in_live))
    }

    /// Did rows between two others go with the one end that is gone, since their other ends are there? If one of them went
    /// with both, what is gone comes back, for all of them.
    fn lonely(&self, at: usize, keys: &[Key], in_live: &mut InLive<'_>) -> Result<bool, RecordError> {
        let (graph, child) = (self.graph, self.graph.links[at].child);
        let others = graph.links.iter().enumerate().filter(|(other, link)| *other != at && link.child == child);
        for (_, link) in others {
            let target = |key: &Key| graph.target(link, &self.closure.members[child][key].ties);
            let values: BTreeSet<Row> = keys.iter().filter_map(target).collect();
            if in_live(link, &Vec::from_iter(values))?.iter().any(|one| !is_there(*one)) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Sees that what one link refers to will be there. Says whether it took more rows in.
    fn parents(&mut self, at: usize, between: bool, in_live: &mut InLive<'_>) -> Result<bool, RecordError> {
        let (graph, link) = (self.graph, &self.graph.links[at]);
        if link.is_let_go(graph) {
            return Ok(false);
        }
        let mut wanted = self.wanted(at, Some(between));
        self.look(at, &wanted, in_live)?;
        wanted.retain(
            |values, _| matches!(&self.targets[at][values], Target::Kept(key, _) if !self.closure.holds(link.parent, key)),
        );
        if wanted.is_empty() {
            return Ok(false);
        }
        let mut missing = Vec::new();
        for ((values, keys), ties) in wanted.iter().zip(self.kept(link, wanted.keys())?) {
            // Where another record is, or may be, it is not known what became of the row.
            let is_gone = matches!(self.targets[at][values], Target::Kept(_, Standing::Gone));
            match (between && is_gone).then(|| self.lonely(at, keys, in_live)).transpose()? {
                Some(true) => {
                    *self.closure.lonely.entry(link.child).or_default() += keys.len() as u64;
                    keys.iter().for_each(|key| _ = self.closure.members[link.child].remove(key));
                }
                _ => missing.extend(ties),
            }
        }
        let why = Why::Needed(graph.tables[link.child].name.clone());
        Ok(!self.add(link.parent, missing, &why)?.is_empty())
    }

    /// Notes the rows whose reference by one link leads nowhere, now that it is known what comes back.
    fn missed(&mut self, at: usize, in_live: &mut InLive<'_>) -> Result<(), RecordError> {
        let (graph, link) = (self.graph, &self.graph.links[at]);
        let wanted = self.wanted(at, None);
        self.look(at, &wanted, in_live)?;
        for (values, keys) in wanted {
            let keys = keys.into_iter().map(|key| (link.child, key, at));
            match &self.targets[at][&values] {
                Target::There => {}
                Target::Kept(key, _) if self.closure.holds(link.parent, key) => {}
                // What may go on its own is not brought back because somebody once referred to it.
                Target::Kept(_, Standing::Unsure) if link.is_let_go(graph) => {
                    let keys: Vec<_> = keys.collect();
                    self.closure.emptied.extend(keys.iter().cloned());
                    self.closure.unsure.extend(keys);
                }
                _ if link.is_let_go(graph) => self.closure.emptied.extend(keys),
                Target::Astray => self.closure.astray.extend(keys),
                _ => self.closure.dangling.extend(keys),
            }
        }
        Ok(())
    }

    /// What rows refer to by a link: all of them, or those that only tie others together, or the rest.
    fn wanted(&self, at: usize, between: Option<bool>) -> BTreeMap<Row, Vec<Key>> {
        let link = &self.graph.links[at];
        let mut wanted: BTreeMap<Row, Vec<Key>> = BTreeMap::new();
        for (key, member) in &self.closure.members[link.child] {
            let is_between = self.between[link.child] && matches!(member.why, Why::Belongs(_));
            if between.is_none_or(|between| between == is_between)
                && let Some(values) = self.graph.target(link, &member.ties)
            {
                wanted.entry(values).or_default().push(key.clone());
            }
        }
        wanted
    }

    /// Finds where those are that were not looked for yet: in live data first, then in the snapshot.
    fn look(
        &mut self,
        at: usize,
        wanted: &BTreeMap<Row, Vec<Key>>,
        in_live: &mut InLive<'_>,
    ) -> Result<(), RecordError> {
        let (graph, link) = (self.graph, &self.graph.links[at]);
        let fresh: Vec<Row> = wanted.keys().filter(|values| !self.targets[at].contains_key(*values)).cloned().collect();
        if fresh.is_empty() {
            return Ok(());
        }
        let standing = in_live(link, &fresh)?;
        let (there, gone): (Vec<_>, Vec<_>) = fresh.into_iter().zip(standing).partition(|(_, one)| is_there(*one));
        let (gone, standing): (Vec<Row>, Vec<Standing>) = gone.into_iter().unzip();
        let kept = self.kept(link, gone.iter())?;
        let target = |(ties, standing): (Option<Row>, Standing)| match (ties, standing) {
            (Some(ties), standing) => {
                Target::Kept(graph.tied(link.parent, &ties, &graph.tables[link.parent].key), standing)
            }
            (None, Standing::Gone) => Target::Nowhere,
            (None, _) => Target::Astray,
        };
        let targets = &mut self.targets[at];
        targets.extend(there.into_iter().map(|(values, _)| (values, Target::There)));
        targets.extend(gone.into_iter().zip(kept.into_iter().zip(standing).map(target)));
        Ok(())
    }

    /// The rows of the snapshot that are referred to, one for each of these values.
    fn kept<'r>(&self, link: &Link, values: impl Iterator<Item = &'r Row>) -> Result<Vec<Option<Row>>, RecordError> {
        let (shape, wanted) = (&self.graph.tables[link.parent], &self.graph.ties[link.parent]);
        let values: Vec<Row> = values.cloned().collect();
        let mut found = vec![None; values.len()];
        matched(self.snapshot, shape, &link.to, &values, wanted, &mut |asked, row| {
            if self.graph.is_reached(link, &row) {
                found[asked] = Some(row);
            }
        })?;
        Ok(found)
    }
}

fn is_there(standing: Standing) -> bool {
    standing == Standing::There
}
