//! What is done with one row: added, kept, changed or left, by what live data holds under its key.

use crate::base::record::{Key, Table, Value};
use crate::record::compare::{self, Seen};
use crate::record::error::RecordError;
use crate::record::identity::Kin;
use crate::record::plan::{Act, Difference, Glimpse, OnConflict, Taken, shown};
use crate::record::prepare::{Draft, Work};

/// A row of the snapshot in the form of the live table.
pub(super) struct Compared<'c> {
    pub at: usize,
    pub key: &'c Key,
    pub now: &'c Key,
    pub columns: &'c [usize],
    pub values: &'c [Glimpse],
}

/// So many numbers are tried for a row that is to lie in the part it lay in.
const TRIES: usize = 100;

impl Compared<'_> {
    pub fn differences(&self, live: &Table, seen: &Seen) -> Vec<Difference> {
        let differ = |(column, kept): (&usize, &Glimpse)| {
            let live_value = &seen.columns[*column];
            (kept != live_value && !live.key.contains(column)).then(|| Difference {
                column: live.columns[*column].name.clone(),
                kept: kept.clone(),
                live: live_value.clone(),
            })
        };
        self.columns.iter().zip(self.values).filter_map(differ).collect()
    }

    pub fn value(&self, column: usize) -> Option<&Glimpse> {
        self.columns.iter().position(|at| *at == column).map(|at| &self.values[at])
    }
}

impl Work<'_> {
    /// Decides of a row by what live data holds under its key, and how that stands to it.
    pub(super) fn decide(
        &mut self,
        kept: &Table,
        live: &Table,
        row: &Compared<'_>,
        there: Option<(&Seen, Kin)>,
    ) -> Result<Draft, RecordError> {
        let differs = there.map(|(seen, _)| row.differences(live, seen)).unwrap_or_default();
        let unlike = there.is_none() || !differs.is_empty();
        if kept.numbered
            && live.numbered
            && unlike
            && let Some(draft) = self.numbered(live, row, &differs)?
        {
            return Ok(draft);
        }
        let moved = (row.now != row.key).then(|| row.now.clone());
        let Some((seen, kin)) = there else { return Ok(Draft { into: moved, ..Draft::new(Act::Insert) }) };
        let draft = Draft { there: true, into: moved, seen: Some(seen.digest()), differs, ..Draft::new(Act::Keep) };
        match kin {
            Kin::Same if draft.differs.is_empty() => Ok(draft),
            Kin::Same => Ok(self.changed(kept, row, draft)),
            Kin::Unsure => self.stranger(live, row, Taken::Unsure, draft),
            Kin::Another => self.stranger(live, row, Taken::Another, draft),
        }
    }

    /// It is the same record, with something else.
    fn changed(&mut self, kept: &Table, row: &Compared<'_>, draft: Draft) -> Draft {
        let (name, key) = (&kept.name, shown(row.key));
        let columns = |wanted: &dyn Fn(&&Difference) -> bool| -> Vec<String> {
            draft.differs.iter().filter(wanted).map(|one| one.column.clone()).collect()
        };
        let stays = || Act::Leave { why: "it has changed since".to_owned() };
        let act = match self.ground.options.on_conflict {
            OnConflict::Overwrite => Act::Update { columns: columns(&|_| true) },
            OnConflict::FillNull => match columns(&|one| one.live == Glimpse::Value(Value::Null)) {
                empty if empty.is_empty() => stays(),
                columns => Act::Update { columns },
            },
            // A reference that is empty because what it named is gone cannot be otherwise.
            OnConflict::Abort if draft.differs.iter().all(|one| self.is_let_go(row, one)) => stays(),
            OnConflict::Abort => {
                self.refuse(
                    format!("{name} {key} has changed since"),
                    "decide with --on-conflict skip, fill-null or overwrite",
                );
                stays()
            }
            OnConflict::Skip => stays(),
        };
        Draft { act, ..draft }
    }

    /// A key that nobody has: the next number. Where parts of the table are bound by other references, one that leaves the row
    /// where the same bind it; nothing if there is none.
    pub(super) fn fresh_key(&mut self, live: &Table, row: &Compared<'_>) -> Result<Option<Key>, RecordError> {
        let (at, key) = (row.at, row.key);
        let ([column], [Value::Integer(_)]) = (&live.key[..], &key[..]) else { return Ok(None) };
        // Rows that are looked at again keep the key they got.
        if let Some(number) = self.given.get(&(at, key.clone())) {
            return Ok(Some(vec![Value::Integer(*number)]));
        }
        let next = match self.numbers.get(&at) {
            Some(next) => *next,
            None => {
                let highest = self.closure.members[at].keys().filter_map(|key| match key[..] {
                    [Value::Integer(number)] => Some(number.saturating_add(1)),
                    _ => None,
                });
                let highest = highest.max().unwrap_or(1).max(self.spoken_for(at)?);
                self.ground.live.next_number(live, *column)?.max(highest)
            }
        };
        let Some(next) = self.fitting(live, row, next)? else { return Ok(None) };
        self.numbers.insert(at, next.saturating_add(1));
        self.given.insert((at, key.clone()), next);
        Ok(Some(vec![Value::Integer(next)]))
    }

    /// The first number from here on that no live row refers to and that leaves the row bound as it was.
    fn fitting(&mut self, live: &Table, row: &Compared<'_>, mut next: i64) -> Result<Option<i64>, RecordError> {
        let was = self.part_of(row.at, row.key)?;
        for _ in 0..TRIES {
            while self.is_spoken_for(row.at, next)? {
                next = next.saturating_add(1);
            }
            let into = vec![Value::Integer(next)];
            let is_empty = |at: usize| row.value(at) == Some(&Glimpse::Value(Value::Null));
            let Some(why) = self.bound_otherwise(row.at, live, &was, &into, &is_empty)? else {
                self.unplaced.remove(&(row.at, row.key.clone()));
                return Ok(Some(next));
            };
            let first = format!("a new one, {}, {why}", shown(&into));
            self.unplaced.entry((row.at, row.key.clone())).or_insert(first);
            next = next.saturating_add(1);
        }
        Ok(None)
    }

    fn is_let_go(&self, row: &Compared<'_>, difference: &Difference) -> bool {
        let (graph, fit) = (self.ground.graph, &self.ground.fits[row.at]);
        let Some(at) = fit.live.as_ref().and_then(|live| live.column(&difference.column)) else { return false };
        let mut emptied = self.closure.emptied.iter().filter(|(table, key, _)| *table == row.at && key == row.key);
        difference.live == Glimpse::Value(Value::Null)
            && emptied.any(|(.., link)| graph.links[*link].columns.iter().any(|own| fit.to[*own] == Some(at)))
    }

    /// Do live rows refer to a table by this number, of those of one kind among others in one column?
    fn is_spoken_for(&self, at: usize, number: i64) -> Result<bool, RecordError> {
        let graph = self.ground.graph;
        for link in graph.links.iter().filter(|link| link.parent == at && link.to == graph.tables[at].key) {
            let fit = &self.ground.fits[link.child];
            let kind = link.when.iter().map(|(column, _)| column);
            let columns: Option<Vec<usize>> = link.columns.iter().chain(kind).map(|at| fit.to[*at]).collect();
            let (Some(live), Some(columns), false) = (&fit.live, columns, link.when.is_empty()) else { continue };
            let mut row = vec![Value::Integer(number)];
            row.extend(link.when.iter().map(|(_, value)| value.clone()));
            if compare::there(self.ground.live, live, &columns, &[row])?[0] {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A number above every one by which rows refer to a table, be it that these lead nowhere: what gets a new number is not
    /// what they mean.
    fn spoken_for(&self, at: usize) -> Result<i64, RecordError> {
        let graph = self.ground.graph;
        let mut number = 1;
        for link in graph.links.iter().filter(|link| link.parent == at && link.to == graph.tables[at].key) {
            let ([own], true) = (&link.columns[..], link.when.is_empty()) else { continue };
            let own = *own;
            let fit = &self.ground.fits[link.child];
            let Some((live, now)) = fit.live.as_ref().zip(fit.to[own]) else { continue };
            if live.columns[now].kind.to_ascii_lowercase().contains("int") {
                number = number.max(self.ground.live.next_number(live, now)?);
            }
        }
        for (table, key, link) in self.closure.dangling.iter().chain(&self.closure.astray) {
            let link = &graph.links[*link];
            let values = graph.target(link, &self.closure.members[*table][key].ties).unwrap_or_default();
            if let ([Value::Integer(held)], true) = (&values[..], link.parent == at) {
                number = number.max(held.saturating_add(1));
            }
        }
        Ok(number)
    }
}
