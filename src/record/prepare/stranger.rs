//! Rows whose key another record has now, or may have. Nothing is done to that one, and nothing is hung below it.

use std::collections::BTreeSet;

use crate::base::record::{Key, Table, Value};
use crate::record::closure::Why;
use crate::record::error::RecordError;
use crate::record::plan::{Act, Glimpse, OnConflict, Taken, shown};
use crate::record::prepare::decide::Compared;
use crate::record::prepare::{Draft, Work};

impl Work<'_> {
    /// What is done with such a row: it gets a key of its own, if whoever asked lets it and there is one to give.
    pub(super) fn stranger(
        &mut self,
        live: &Table,
        row: &Compared<'_>,
        taken: Taken,
        draft: Draft,
    ) -> Result<Draft, RecordError> {
        if self.ground.options.remap_keys {
            if let Some((key, seen)) = self.twin(live, row)? {
                // It came back without what it could not refer to, and still lacks that.
                let mut differs = row.differences(live, &seen);
                differs.retain(|one| one.live == Glimpse::Value(Value::Null));
                return Ok(Draft { into: Some(key), seen: Some(seen.digest()), differs, ..draft });
            }
            if let Some(fresh) = self.fresh_key(live, row)? {
                return Ok(Draft { into: Some(fresh), ..Draft::new(Act::Insert) });
            }
        }
        let why = match taken {
            Taken::Another => "its key was used again: it is another record's now",
            Taken::Unsure => "its key may be another record's now",
        };
        let why = match self.unplaced.get(&(row.at, row.key.clone())) {
            Some(more) => format!("{why}; {more}"),
            None => why.to_owned(),
        };
        let act = Act::Leave { why };
        Ok(Draft { act, there: false, taken: Some(taken), ..draft })
    }

    /// Nothing of what was asked for by name can come back: that is a refusal, not a plan.
    pub(super) fn refuse_taken(&mut self) {
        let of = |table: usize| self.drafts[table].iter().map(move |(key, draft)| (table, key, draft));
        let all = || (0..self.drafts.len()).flat_map(of);
        let is_asked = |table: usize, key: &Key| {
            self.closure.members[table].get(key).is_some_and(|member| member.why == Why::Asked)
        };
        let none = all().filter(|(table, key, _)| is_asked(*table, key)).all(|(.., draft)| draft.taken.is_some());
        let none = none && !self.closure.whatever;
        let strict = self.ground.options.on_conflict == OnConflict::Abort;
        let refused = all().filter(|(table, key, _)| strict || (none && is_asked(*table, key)));
        let taken = refused.filter_map(|(table, key, draft)| Some((table, key.clone(), draft.taken?)));
        for (table, key, taken) in taken.collect::<Vec<_>>() {
            let name = &self.ground.graph.tables[table].name;
            let (what, hint) = match (taken, self.ground.options.remap_keys) {
                (Taken::Another, false) => ("is another record now: its key was used again", REMAP),
                (Taken::Another, true) => ("is another record now: its key was used again", NONE_ANEW),
                (Taken::Unsure, false) => ("may be another record now: too little of what it holds is the same", SAY),
                (Taken::Unsure, true) => ("may be another record now: too little of what it holds is the same", TRUST),
            };
            let more = self.unplaced.get(&(table, key.clone())).map(|more| format!("; {more}")).unwrap_or_default();
            self.refuse(format!("{name} {} {what}{more}", shown(&key)), hint);
        }
    }

    /// Leaves out rows that refer to what neither side can name: the snapshot lacks it, and live data has some other row
    /// under that key.
    pub(super) fn astray(&mut self) {
        let graph = self.ground.graph;
        for (table, key, at) in &self.closure.astray {
            let link = &graph.links[*at];
            let values = graph.target(link, &self.closure.members[*table][key].ties).unwrap_or_default();
            let Some(draft) = self.drafts[*table].get_mut(key) else { continue };
            let to = format!("{} {}", graph.tables[link.parent].name, shown(&values));
            let name = format!("{} {}", graph.tables[*table].name, shown(key));
            match &draft.act {
                Act::Insert if link.may_be_empty(graph) => {
                    draft.emptied.extend(link.emptied(graph));
                    self.note(format!(
                        "{name} comes back without {to}: the snapshot lacks it, and live data has another record there"
                    ));
                }
                Act::Insert => {
                    draft.act = Act::Leave { why: format!("{to} is not in the snapshot, and another record now") };
                }
                // What is there is not made to refer to it.
                _ => draft.emptied.extend(link.columns.iter().copied().collect::<BTreeSet<_>>()),
            }
        }
    }
}

const REMAP: &str = "give it a new key with --remap-keys";
const NONE_ANEW: &str = "its key is none that can be given anew; delete or move the other record first";
const SAY: &str = "give it a new key with --remap-keys, or say with --trust-keys that it is the same record";
const TRUST: &str = "its key is none that can be given anew; say with --trust-keys if it is the same record";
