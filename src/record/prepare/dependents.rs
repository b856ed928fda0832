//! Rows that need one that does not come back: they do not come back either, or do without.

use crate::base::record::{Key, Row};
use crate::record::order::Placed;
use crate::record::plan::{Act, shown};
use crate::record::prepare::Work;

impl Work<'_> {
    /// Leaves references empty whose rows are gone and may be.
    pub(super) fn empty(&mut self) {
        for (table, key, link) in &self.closure.emptied {
            if let Some(draft) = self.drafts[*table].get_mut(key) {
                draft.emptied.extend(self.ground.graph.links[*link].emptied(self.ground.graph));
            }
        }
    }

    /// Decides of all rows that need others. Parents are placed first, so that it takes another round only in circles.
    pub(super) fn dependents(&mut self, placed: &[Placed]) {
        for row in placed {
            self.note_absent(row.table, &row.key);
        }
        while self.absent.iter().any(|absent| !absent.is_empty()) {
            let mut changed = false;
            for row in placed {
                changed |= self.dependent(row.table, &row.key);
            }
            if !changed {
                return;
            }
        }
    }

    fn dependent(&mut self, table: usize, key: &Key) -> bool {
        let graph = self.ground.graph;
        match self.drafts[table].get(key).map(|draft| &draft.act) {
            Some(Act::Insert) => {}
            Some(Act::Update { .. }) => return self.stays_below(table, key),
            _ => return false,
        }
        let ties = &self.closure.members[table][key].ties;
        for (at, link) in graph.links.iter().enumerate().filter(|(_, link)| link.child == table) {
            let Some(values) = graph.target(link, ties) else { continue };
            let Some(parent) = self.absent(at, &values) else { continue };
            let why =
                format!("{} {}, which it needs, does not come back", graph.tables[link.parent].name, shown(parent));
            let draft = self.drafts[table].get_mut(key).expect("BUG: it was just there");
            // What would go with the other does not come back without it, though the reference may be empty.
            if link.is_let_go(graph) {
                let emptied = link.emptied(graph);
                if emptied.iter().all(|column| draft.emptied.contains(column)) {
                    continue;
                }
                draft.emptied.extend(emptied);
            } else {
                draft.act = Act::Leave { why };
                self.note_absent(table, key);
            }
            return true;
        }
        false
    }

    /// A row that is there and is changed does not get references to rows that are not there.
    fn stays_below(&mut self, table: usize, key: &Key) -> bool {
        let graph = self.ground.graph;
        let ties = &self.closure.members[table][key].ties;
        let mut changed = false;
        for (at, link) in graph.links.iter().enumerate().filter(|(_, link)| link.child == table) {
            let Some(values) = graph.target(link, ties) else { continue };
            if self.absent(at, &values).is_none() {
                continue;
            }
            let draft = self.drafts[table].get_mut(key).expect("BUG: it was just there");
            let before = draft.emptied.len();
            draft.emptied.extend(&link.columns);
            changed |= draft.emptied.len() > before;
        }
        changed
    }

    /// Notes a row that neither is in live data nor comes back, by all that others may refer to it by.
    fn note_absent(&mut self, table: usize, key: &Key) {
        let graph = self.ground.graph;
        let left =
            self.drafts[table].get(key).is_some_and(|draft| !draft.there && matches!(draft.act, Act::Leave { .. }));
        for (at, link) in graph.links.iter().enumerate().filter(|(_, link)| left && link.parent == table) {
            let ties = &self.closure.members[table][key].ties;
            if !graph.is_reached(link, ties) {
                continue;
            }
            let values = graph.tied(table, ties, &link.to);
            self.absent[at].insert(graph.meant(table, &link.to, &values), key.clone());
        }
    }

    /// The row that a link refers to by these values, if it neither is in live data nor comes back.
    pub(super) fn absent(&self, link: usize, values: &Row) -> Option<&Key> {
        let absent = &self.absent[link];
        let link = &self.ground.graph.links[link];
        // Mostly nothing is absent, and nothing has to be made of the values.
        (!absent.is_empty()).then(|| absent.get(&self.ground.graph.meant(link.parent, &link.to, values)))?
    }
}
