//! Rows that outlived what they referred to, and refer to nothing since: they refer to it again when it comes back.

use std::collections::BTreeMap;

use crate::base::record::{Key, OnDelete, Row, Value};
use crate::record::closure::Why;
use crate::record::compare::{self, Seen, glimpse};
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::plan::{Act, Glimpse, Step};
use crate::record::prepare::Work;

impl Work<'_> {
    /// One step for each row that can refer again, and for each that cannot.
    pub(super) fn relinks(&mut self) -> Result<Vec<Step>, RecordError> {
        let mut rows: BTreeMap<(usize, Key), Vec<(usize, &Row)>> = BTreeMap::new();
        for (at, key, ties) in &self.closure.relinks {
            let child = self.ground.graph.links[*at].child;
            rows.entry((child, key.clone())).or_default().push((*at, ties));
        }
        let mut steps = Vec::new();
        for ((table, key), links) in rows {
            steps.extend(self.relink(table, key, &links)?);
        }
        Ok(steps)
    }

    fn relink(&mut self, table: usize, key: Key, links: &[(usize, &Row)]) -> Result<Option<Step>, RecordError> {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[table]);
        let (Some(live), true) = (&fit.live, fit.refusals.is_empty()) else { return Ok(None) };
        let kept = &graph.tables[table];
        let Ok(now) = fit.key(kept, &key, self.ground.live) else { return Ok(None) };
        // One that is gone was deleted on its own: it does not belong to what comes back.
        let Some(seen) = compare::see(self.ground.live, live, std::slice::from_ref(&now))?.remove(&now) else {
            return Ok(None);
        };
        let (mut columns, mut why, mut belongs) = (Vec::new(), None, None);
        for (at, ties) in links {
            let link = &graph.links[*at];
            let Some(values) = graph.target(link, ties) else { continue };
            if self.absent(link.parent, &link.to, &values).is_some() {
                continue;
            }
            let to: Option<Vec<usize>> = link.columns.iter().map(|at| fit.to[*at]).collect();
            let Some(to) = to else { continue };
            belongs = belongs.or(Some(graph.tables[link.parent].name.clone()));
            let holds: Vec<&Glimpse> = to.iter().map(|at| &seen.columns[*at]).collect();
            if holds.iter().zip(&values).all(|(held, value)| **held == glimpse(value)) {
                continue;
            }
            match self.is_let_go(link, &to, &seen) {
                true => columns.extend(link.columns.iter().map(|at| kept.columns[*at].name.clone())),
                false => {
                    why = Some(format!("it refers to something else by {} now", kept.names(&link.columns).join(", ")))
                }
            }
        }
        columns.dedup();
        let act = match (columns.is_empty(), why) {
            (false, _) => Act::Relink { columns },
            (true, Some(why)) => Act::Leave { why },
            (true, None) => return Ok(None),
        };
        let seen = Some(seen.digest());
        let into = (now != key).then_some(now);
        let why = Why::Belongs(belongs.unwrap_or_default());
        Ok(Some(Step { into, seen, ..Step::new(table, key, why, act) }))
    }

    /// Does a live row hold what it would if the store had let go of what it referred to?
    fn is_let_go(&self, link: &Link, to: &[usize], seen: &Seen) -> bool {
        let empty = |at: &usize| seen.columns[*at] == Glimpse::Value(Value::Null);
        if link.on_delete != OnDelete::SetDefault {
            return to.iter().any(empty);
        }
        let live = self.ground.fits[link.child].live.as_ref().expect("BUG: its rows were looked at");
        to.iter().all(|at| {
            let default = live.columns[*at].default.as_deref().unwrap_or("NULL");
            let held = match &seen.columns[*at] {
                Glimpse::Value(Value::Text(bytes)) => format!("'{}'", String::from_utf8_lossy(bytes)),
                Glimpse::Value(value) => value.to_string(),
                Glimpse::Long { .. } => return false,
            };
            held.eq_ignore_ascii_case(default)
        })
    }
}
