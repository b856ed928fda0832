//! Rows that cannot be added because another one holds what no two may share.

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Table, Unique, Value};
use crate::record::closure::Why;
use crate::record::compare;
use crate::record::error::RecordError;
use crate::record::identity::Kin;
use crate::record::plan::{Act, OnConflict, shown};
use crate::record::prepare::{BATCH, Work};

/// A row that would be added, and the live row in its way.
struct Clash {
    key: Key,
    other: Key,
    columns: String,
}

impl Work<'_> {
    /// Finds the clashes of a table and decides of them.
    pub(super) fn clashes(&mut self, at: usize) -> Result<(), RecordError> {
        let Some(live) = self.ground.fits[at].live.clone() else { return Ok(()) };
        for unique in &live.unique {
            for clash in self.clashing(at, &live, unique)? {
                self.settle(at, &live, clash)?;
            }
        }
        Ok(())
    }

    fn clashing(&self, at: usize, live: &Table, of: &Unique) -> Result<Vec<Clash>, RecordError> {
        let (ground, kept, unique) = (self.ground, &self.ground.graph.tables[at], &of.columns);
        // An index may compare otherwise than its columns do.
        let compared = compared(live, of);
        let fetched: Vec<usize> = live.key.iter().chain(unique).copied().collect();
        let added: Vec<Key> =
            self.drafts[at].iter().filter(|(_, draft)| draft.act == Act::Insert).map(|(key, _)| key.clone()).collect();
        let all: Vec<usize> = (0..kept.columns.len()).collect();
        let columns = || live.names(unique).join(", ");
        let mut clashes = Vec::new();
        for some in added.chunks(BATCH) {
            let mut wanted: Vec<(Key, Row)> = Vec::new();
            let mut take = |row: Row| {
                let key = kept.key_of(&row);
                if let Ok((columns, values)) = ground.fits[at].row(kept, row, ground.live, true) {
                    let one = |column: &usize| columns.iter().position(|at| at == column).map(|at| values[at].clone());
                    let values: Option<Row> = unique.iter().map(one).collect();
                    wanted.extend(values.filter(|row| !row.iter().any(Value::is_null)).map(|row| (key, row)));
                }
                Ok::<(), Explained>(())
            };
            ground.snapshot.find(kept, &kept.key, some, &all, &mut take)?;
            let asked: Vec<Row> = wanted.iter().map(|(_, row)| row.clone()).collect();
            compare::matched(ground.live, &compared, unique, &asked, &fetched, &mut |at, mut other| {
                let held = other.split_off(live.key.len());
                // A column may take more for the same than the index on it does.
                let is_same =
                    of.letters.is_empty() || compared.forms(unique, &held) == compared.forms(unique, &asked[at]);
                if is_same {
                    clashes.push(Clash { key: wanted[at].0.clone(), other, columns: columns() });
                }
            })?;
        }
        Ok(clashes)
    }

    fn settle(&mut self, at: usize, live: &Table, clash: Clash) -> Result<(), RecordError> {
        let Clash { key, other, columns } = clash;
        let needed = matches!(self.closure.members[at][&key].why, Why::Needed(_));
        let graph = self.ground.graph;
        // What others only refer to is the one that is there under another key, if it is the same record and whoever asked
        // lets keys be given anew.
        if needed && self.ground.options.remap_keys {
            let seen = compare::see(self.ground.live, live, std::slice::from_ref(&other))?;
            let kept = self.kept_rows(at, &graph.tables[at], &self.ground.fits[at], std::slice::from_ref(&key))?;
            if self.kins(at, &kept, |_| seen.get(&other))?.contains(&Some(Kin::Same)) {
                let draft = self.drafts[at].get_mut(&key).expect("BUG: it was found among them");
                draft.seen = seen.get(&other).map(compare::Seen::digest);
                (draft.act, draft.into, draft.there) = (Act::Keep, Some(other), true);
                return Ok(());
            }
        }
        let draft = self.drafts[at].get_mut(&key).expect("BUG: it was found among them");
        let (name, other) = (&live.name, shown(&other));
        draft.act = Act::Leave { why: format!("{name} {other} holds its {columns}") };
        draft.into = None;
        let what = format!("{} {}: {name} {other} holds the same {columns}", graph.tables[at].name, shown(&key));
        match self.ground.options.on_conflict {
            OnConflict::Skip | OnConflict::FillNull => self.note(what),
            OnConflict::Overwrite | OnConflict::Abort => {
                let set = format!(
                    "give it another with --set {name}.{columns}=VALUE, or leave it out with --on-conflict skip"
                );
                self.refuse(what, &set);
            }
        }
        Ok(())
    }
}

/// A table as what no two of its rows may share is compared.
fn compared(live: &Table, unique: &Unique) -> Table {
    let mut table = live.clone();
    for (at, letters) in unique.columns.iter().zip(&unique.letters) {
        table.columns[*at].letters = *letters;
    }
    table
}
