//! Rows that are there and still refer, by its old key, to a record that gets a new one: they follow it, and do not stay
//! below the record that has its old key now.

use std::collections::BTreeSet;

use crate::base::record::{Key, Row};
use crate::record::compare::{self, Seen, glimpse};
use crate::record::error::RecordError;
use crate::record::plan::{Act, shown};
use crate::record::prepare::{BATCH, Work};

impl Work<'_> {
    pub(super) fn follow(&mut self) -> Result<(), RecordError> {
        for table in 0..self.drafts.len() {
            let Some(live) = self.ground.fits[table].live.clone() else { continue };
            let rows = self.left_behind(table);
            for some in rows.chunks(BATCH) {
                let keys: Vec<Key> = some.iter().map(|(_, now)| now.clone()).collect();
                let seen = compare::see(self.ground.live, &live, &keys)?;
                for (key, now) in some {
                    if let Some(seen) = seen.get(now) {
                        self.follows(table, key, seen);
                    }
                }
            }
        }
        Ok(())
    }

    /// Rows that are there, and of which something they refer to has another key.
    fn left_behind(&self, table: usize) -> Vec<(Key, Key)> {
        let (graph, kept) = (self.ground.graph, &self.ground.graph.tables[table]);
        let links: Vec<_> = graph.links.iter().filter(|link| link.child == table).collect();
        let mut found = Vec::new();
        for (key, draft) in self.drafts[table].iter().filter(|(_, draft)| draft.there && draft.taken.is_none()) {
            let ties = &self.closure.members[table][key].ties;
            if !links.iter().any(|link| self.target_now(ties, link).is_some()) {
                continue;
            }
            let now = draft.into.clone().map_or_else(|| self.ground.fits[table].key(kept, key, self.ground.live), Ok);
            found.extend(now.ok().map(|now| (key.clone(), now)));
        }
        found
    }

    fn follows(&mut self, table: usize, key: &Key, seen: &Seen) {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[table]);
        let kept = &graph.tables[table];
        let ties = &self.closure.members[table][key].ties;
        let (mut columns, mut doubts) = (BTreeSet::<usize>::new(), Vec::<(usize, Row, Vec<usize>)>::new());
        for link in graph.links.iter().filter(|link| link.child == table) {
            let (Some(was), Some(_)) = (graph.target(link, ties), self.target_now(ties, link)) else { continue };
            let held: Option<Vec<usize>> = link.columns.iter().map(|at| fit.to[*at]).collect();
            let Some(held) = held else { continue };
            let holds = |values: &Row| held.iter().zip(values).all(|(at, value)| seen.columns[*at] == glimpse(value));
            if !holds(&was) || link.columns.iter().any(|at| kept.key.contains(at)) {
                continue;
            }
            // A store that empties references has emptied this one: somebody gave it to the other record since.
            match link.is_declared && link.is_let_go(graph) {
                true => doubts.push((link.parent, was, link.columns.clone())),
                false => columns.extend(&link.columns),
            }
        }
        // Where it is made what the snapshot holds, it follows with the rest.
        let written = match &self.drafts[table][key].act {
            Act::Update { columns } => columns.clone(),
            _ => Vec::new(),
        };
        let live = fit.live.as_ref().expect("BUG: its rows were looked at");
        let is_written = |at: &usize| fit.to[*at].is_some_and(|now| written.contains(&live.columns[now].name));
        doubts.retain(|(.., columns)| !columns.iter().all(is_written));
        for (parent, was, columns) in doubts {
            let (name, to) = (&kept.name, &graph.tables[parent].name);
            let by = kept.names(&columns).join(", ");
            let what =
                format!("{name} {} refers by {by} to {to} {}, which is another record now", shown(key), shown(&was));
            self.doubts.push(what);
        }
        let draft = self.drafts[table].get_mut(key).expect("BUG: it was found among them");
        let named: Vec<String> = columns.iter().map(|at| kept.columns[*at].name.clone()).collect();
        let now: Vec<&str> =
            columns.iter().filter_map(|at| fit.to[*at]).map(|at| live.columns[at].name.as_str()).collect();
        match &mut draft.act {
            _ if columns.is_empty() => {}
            Act::Update { columns } => {
                columns.extend(
                    now.iter()
                        .filter(|name| !columns.iter().any(|one| one == *name))
                        .map(|one| (*one).to_owned())
                        .collect::<Vec<_>>(),
                );
            }
            Act::Relink { columns } => columns.extend(named),
            act => *act = Act::Relink { columns: named },
        }
        if matches!(draft.act, Act::Relink { .. }) {
            draft.differs.retain(|one| !now.iter().any(|name| one.column == *name));
        }
    }
}
