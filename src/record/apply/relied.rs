//! What rows are hung below and no step of the plan writes: it is looked at again when the rows are written, since somebody
//! may have put another record in its place after the plan was made.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use crate::base::record::{Key, Row};
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::identity::{Judge, Standing};
use crate::record::plan::{Act, Plan, Step, shown};

/// By link: what written rows refer to.
#[derive(Default)]
pub(super) struct Relied {
    wanted: BTreeMap<usize, BTreeSet<Row>>,
    /// Rows that the plan has steps for.
    own: HashSet<(usize, Key)>,
}

impl Relied {
    pub fn new(plan: &Plan, graph: &Graph) -> Self {
        let known = |step: &&Step| !matches!(step.act, Act::Leave { .. });
        let meant = |step: &Step| (step.table, graph.meant(step.table, &graph.tables[step.table].key, &step.key));
        let own = plan.steps.iter().filter(known).map(meant).collect();
        Self { wanted: BTreeMap::new(), own }
    }

    /// Notes what a row of the snapshot with these ties refers to by the columns that are written.
    pub fn note(&mut self, graph: &Graph, step: &Step, ties: &Row, written: &dyn Fn(usize) -> bool) {
        if step.dangling {
            return;
        }
        for (at, link) in graph.links.iter().enumerate().filter(|(_, link)| link.child == step.table) {
            let emptied = link.columns.iter().any(|at| {
                let name = &graph.tables[step.table].columns[*at].name;
                step.emptied.contains(name)
            });
            if !emptied
                && link.columns.iter().any(|at| written(*at))
                && let Some(values) = graph.target(link, ties)
            {
                self.wanted.entry(at).or_default().insert(values);
            }
        }
    }

    /// Is all of it there, and the same? Its rows may be such that the snapshot lacks them.
    pub fn check(&self, graph: &Graph, judge: &Judge<'_>) -> Result<(), RecordError> {
        for (at, values) in &self.wanted {
            let link = &graph.links[*at];
            let by_key = link.to == graph.tables[link.parent].key;
            let is_own = |values: &&Row| self.own.contains(&(link.parent, graph.meant(link.parent, &link.to, values)));
            let outer = values.iter().filter(|values| !(by_key && is_own(values)));
            let outer: Vec<Row> = outer.cloned().collect();
            let standing = judge.reached(link, &outer)?;
            let other = |standing: &Standing| matches!(standing, Standing::Another | Standing::Unsure);
            if let Some(place) = standing.iter().position(other).filter(|_| by_key) {
                let (table, key) = (graph.tables[link.parent].name.clone(), shown(&outer[place]));
                return Err(RecordError::Moved { table, key });
            }
        }
        Ok(())
    }
}
