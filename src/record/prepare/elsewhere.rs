//! Rows that a new key would put into another part of their table, where other references bind them: what is a number there
//! would be a reference to whatever has it, or the other way round. They do not get such a key.

use crate::base::record::{Key, Table, Value};
use crate::record::bound::{named, parts};
use crate::record::error::RecordError;
use crate::record::plan::{Act, Glimpse, shown};
use crate::record::prepare::{BATCH, Work};

impl Work<'_> {
    /// Where a row of the snapshot lies, if that decides what binds it.
    pub(super) fn part_of(&self, table: usize, key: &Key) -> Result<Value, RecordError> {
        if self.bonds[table].is_none() {
            return Ok(Value::Null);
        }
        let (snapshot, kept) = (self.ground.snapshot, &self.ground.graph.tables[table]);
        Ok(parts(snapshot, kept, std::slice::from_ref(key))?.pop().unwrap_or(Value::Null))
    }

    /// What would bind a row under another key and did not, or did and would not, as far as that is known before it is
    /// written: in words.
    pub(super) fn bound_otherwise(
        &self,
        table: usize,
        live: &Table,
        was: &Value,
        into: &Key,
        is_empty: &dyn Fn(usize) -> bool,
    ) -> Result<Option<String>, RecordError> {
        let Some(bonds) = &self.bonds[table] else { return Ok(None) };
        // What tells parts apart is of the key, wherever there is one.
        let Some(now) = self.ground.live.place(live, &live.key, into)? else { return Ok(None) };
        let differs = bonds.differ(was, &now, is_empty);
        Ok(differs.map(|what| format!("would put it into {}: {what}", named(&now))))
    }

    /// Refuses what gets another key with a row that it refers to, and would be bound otherwise by it.
    pub(super) fn refuse_misplaced(&mut self) -> Result<(), RecordError> {
        for table in 0..self.drafts.len() {
            let (fit, kept) = (&self.ground.fits[table], &self.ground.graph.tables[table]);
            let (Some(live), true) = (&fit.live, self.bonds[table].is_some()) else { continue };
            let added = self.drafts[table].iter().filter(|(_, draft)| draft.act == Act::Insert);
            let moved: Vec<(Key, Key)> =
                added.filter_map(|(key, draft)| Some((key.clone(), draft.into.clone()?))).collect();
            for some in moved.chunks(BATCH) {
                let keys: Vec<Key> = some.iter().map(|(key, _)| key.clone()).collect();
                let was = parts(self.ground.snapshot, kept, &keys)?;
                let rows = self.kept_rows(table, kept, fit, &keys)?;
                for ((key, into), was) in some.iter().zip(&was) {
                    let row = rows.iter().find(|row| row.key == *key);
                    let is_empty = |at: usize| {
                        let compared = row.and_then(|row| row.compared(table, key));
                        compared.and_then(|row| row.value(at).cloned()) == Some(Glimpse::Value(Value::Null))
                    };
                    if let Some(why) = self.bound_otherwise(table, live, was, into, &is_empty)? {
                        let (name, key) = (&kept.name, shown(key));
                        self.refuse(format!("{name} {key}: its new key, {}, {why}", shown(into)), LEAVE);
                    }
                }
            }
        }
        Ok(())
    }
}

const LEAVE: &str = "recover it without --remap-keys, or take it out with --export";
