//! What was decided of rows as steps of the plan, in the order of writing.

use std::collections::{BTreeSet, HashSet};

use crate::base::record::Key;
use crate::record::order;
use crate::record::plan::{Act, Step};
use crate::record::prepare::Work;

impl Work<'_> {
    /// One for each row that something was decided of.
    pub(super) fn steps(&self, placed: &[order::Placed]) -> Vec<Step> {
        let graph = self.ground.graph;
        let dangling: HashSet<(usize, &Key)> =
            self.closure.dangling.iter().map(|(table, key, _)| (*table, key)).collect();
        let step = |row: &order::Placed| {
            let draft = self.drafts[row.table].get(&row.key)?.clone();
            let names = |columns: Vec<usize>| -> Vec<String> {
                graph.tables[row.table].names(&columns).into_iter().map(str::to_owned).collect()
            };
            let mut act = draft.act;
            if let Act::Update { columns } = &mut act {
                let emptied = names(draft.emptied.iter().copied().collect());
                columns.retain(|column| !emptied.contains(column));
            }
            if act == (Act::Update { columns: Vec::new() }) {
                act = Act::Leave { why: "it has changed since".to_owned() };
            }
            let inserted = act == Act::Insert;
            let later = row.later.iter().flat_map(|link| graph.links[*link].emptied(graph));
            let later: BTreeSet<usize> = later.filter(|column| !draft.emptied.contains(column)).collect();
            Some(Step {
                table: row.table,
                key: row.key.clone(),
                title: draft.title,
                into: draft.into,
                why: self.closure.members[row.table][&row.key].why.clone(),
                act,
                seen: draft.seen,
                taken: draft.taken,
                dangling: dangling.contains(&(row.table, &row.key)),
                circular: row.circular,
                differs: draft.differs,
                emptied: if inserted { names(draft.emptied.into_iter().collect()) } else { Vec::new() },
                later: if inserted { names(later.into_iter().collect()) } else { Vec::new() },
            })
        };
        placed.iter().filter_map(step).collect()
    }
}
