//! What should be known of a plan before it is done, in words.

use std::collections::BTreeSet;

use crate::base::record::{Letters, Value};
use crate::base::text::counted;
use crate::record::closure::Why;
use crate::record::error::RecordError;
use crate::record::graph::Link;
use crate::record::loose;
use crate::record::plan::{Act, Difference, Glimpse, Step, shown};
use crate::record::prepare::{Draft, Ground, Work};

impl Work<'_> {
    pub(super) fn notes_on(&mut self, steps: &[Step], relinks: &[Step]) -> Result<(), RecordError> {
        let graph = self.ground.graph;
        for (table, key, link) in &self.closure.dangling {
            let to = &graph.tables[graph.links[*link].parent].name;
            let name = &graph.tables[*table].name;
            self.note(format!("{name} {} refers to a row of {to} that the snapshot lacks too", shown(key)));
        }
        for (table, key, link) in &self.closure.unsure {
            if let Some(draft) = self.drafts[*table].get(key).filter(|draft| self.lacks(*table, draft, *link)) {
                let link = &graph.links[*link];
                let values = graph.target(link, &self.closure.members[*table][key].ties).unwrap_or_default();
                let (name, to) = (&graph.tables[*table].name, &graph.tables[link.parent].name);
                let how = if draft.there { "is" } else { "comes back" };
                let what = format!("{to} {} may be another record now", shown(&values));
                let said = format!("{name} {} {how} without it: {what}", shown(key));
                // What is only needed and is there is not looked into: that it lacks something is no part of what was asked.
                match self.closure.members[*table][key].why {
                    Why::Needed(_) if draft.there => self.note(said),
                    _ => self.doubts.push(said),
                }
            }
        }
        for (table, rows) in &self.closure.lonely {
            let (name, rows) = (&graph.tables[*table].name, counted(*rows, "row"));
            self.note(format!("{rows} of {name} left out: what they tie it to is gone"));
        }
        for (table, rows) in &self.closure.keyless {
            self.doubts.push(without_key(&graph.tables[*table].name, *rows));
        }
        let written: BTreeSet<usize> =
            steps.iter().chain(relinks).filter(|step| step.act.writes()).map(|step| step.table).collect();
        let fire = self.ground.options.triggers;
        let fired = if fire { "fire" } else { "do not fire (--triggers on)" };
        let mut some_fire = false;
        for table in written {
            let Some(live) = &self.ground.fits[table].live else { continue };
            if !live.unseen.is_empty() {
                let what = "are looked at only when rows are written, and may refuse them then";
                self.note(format!("unique indexes of {} {what}: {}", live.name, live.unseen.join(", ")));
            }
            if !live.triggers.is_empty() {
                some_fire |= fire;
                self.note(format!("triggers of {} {fired}: {}", live.name, live.triggers.join(", ")));
            }
        }
        if some_fire {
            for name in self.ground.live.unwatched()? {
                self.note(format!("what triggers do to {name} is not taken back by undo"));
            }
        }
        Ok(())
    }

    /// What may belong to what comes back and is not found.
    pub(super) fn loose(&mut self) -> Result<(), RecordError> {
        let Ground { graph, snapshot, fits, .. } = *self.ground;
        let is_known = |table: usize, columns: &[usize]| {
            let (kept, fit) = (&graph.tables[table], &fits[table]);
            let is_known = |at: &usize| match fit.live.as_ref().zip(fit.to[*at]) {
                Some((live, now)) => {
                    let (was, now) = (&kept.columns[*at], &live.columns[now]);
                    !now.is_loose || now.letters != Letters::AsWritten || was.kind != now.kind
                }
                None => true,
            };
            columns.iter().all(is_known)
        };
        let is_loose_now =
            |link: &Link| link.is_declared && !(is_known(link.child, &link.columns) && is_known(link.parent, &link.to));
        self.doubts.extend(loose::doubts(snapshot, graph, self.closure, &is_loose_now)?);
        Ok(())
    }

    /// Is the reference empty when the plan is done?
    fn lacks(&self, table: usize, draft: &Draft, link: usize) -> bool {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[table]);
        let Some(live) = &fit.live else { return false };
        let columns = graph.links[link].emptied(graph);
        let names: Vec<&str> =
            columns.iter().filter_map(|at| fit.to[*at]).map(|at| live.columns[at].name.as_str()).collect();
        let is_empty =
            |one: &Difference| one.live == Glimpse::Value(Value::Null) && names.iter().any(|name| one.column == *name);
        draft.act == Act::Insert || (draft.there && draft.differs.iter().any(is_empty))
    }
}

/// What is said of rows whose key is empty in part: they may be there, or not.
pub fn without_key(table: &str, rows: u64) -> String {
    format!("{} of {table} left out: without a whole key nobody can tell them from others", counted(rows, "row"))
}
