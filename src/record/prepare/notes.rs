//! What should be known of a plan before it is done, in words.

use std::collections::BTreeSet;

use crate::base::text::counted;
use crate::record::error::RecordError;
use crate::record::plan::{Step, shown};
use crate::record::prepare::Work;

impl Work<'_> {
    pub(super) fn notes_on(&mut self, steps: &[Step], relinks: &[Step]) -> Result<(), RecordError> {
        let graph = self.ground.graph;
        for (table, key, link) in &self.closure.dangling {
            let to = &graph.tables[graph.links[*link].parent].name;
            let name = &graph.tables[*table].name;
            self.notes.push(format!("{name} {} refers to a row of {to} that the snapshot lacks too", shown(key)));
        }
        for (table, rows) in &self.closure.lonely {
            let (name, rows) = (&graph.tables[*table].name, counted(*rows, "row"));
            self.notes.push(format!("{rows} of {name} left out: what they tie it to is gone"));
        }
        for (table, rows) in &self.closure.keyless {
            let name = &graph.tables[*table].name;
            self.notes.push(format!("{} of {name} without a key: left out", counted(*rows, "row")));
        }
        let written: BTreeSet<usize> =
            steps.iter().chain(relinks).filter(|step| step.act.writes()).map(|step| step.table).collect();
        let fire = self.ground.options.triggers;
        let fired = if fire { "fire" } else { "do not fire (--triggers on)" };
        let mut some_fire = false;
        for table in written {
            let Some(live) = &self.ground.fits[table].live else { continue };
            if !live.triggers.is_empty() {
                some_fire |= fire;
                self.notes.push(format!("triggers of {} {fired}: {}", live.name, live.triggers.join(", ")));
            }
        }
        if some_fire {
            for name in self.ground.live.unwatched()? {
                self.notes.push(format!("what triggers do to {name} is not taken back by undo"));
            }
        }
        Ok(())
    }
}
