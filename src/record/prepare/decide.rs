//! What is done with one row: added, kept, changed or left, by what live data holds under its key.

use crate::base::record::{Key, Table, Value};
use crate::record::compare::Seen;
use crate::record::error::RecordError;
use crate::record::plan::{Act, Difference, Glimpse, OnConflict, shown};
use crate::record::prepare::{Draft, Work};

/// Columns that tell, by their names, when or as what a record came to be. Where two rows under one key differ in them,
/// they are two records.
const BIRTH: [&str; 9] = [
    "created_at",
    "createdat",
    "created",
    "created_on",
    "inserted_at",
    "date_created",
    "creation_date",
    "uuid",
    "guid",
];

/// A row of the snapshot in the form of the live table.
pub(super) struct Compared<'c> {
    pub at: usize,
    pub key: &'c Key,
    pub now: &'c Key,
    pub columns: &'c [usize],
    pub values: &'c [Glimpse],
}

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
    pub(super) fn decide(
        &mut self,
        kept: &Table,
        live: &Table,
        row: &Compared<'_>,
        seen: Option<&Seen>,
    ) -> Result<Draft, RecordError> {
        let differs = seen.map(|seen| row.differences(live, seen)).unwrap_or_default();
        let unlike = seen.is_none() || !differs.is_empty();
        if kept.numbered
            && live.numbered
            && unlike
            && let Some(draft) = self.numbered(live, row, &differs)?
        {
            return Ok(draft);
        }
        let moved = (row.now != row.key).then(|| row.now.clone());
        let Some(seen) = seen else { return Ok(Draft { into: moved, ..Draft::new(Act::Insert) }) };
        let draft = Draft { there: true, into: moved, seen: Some(seen.digest()), ..Draft::new(Act::Keep) };
        if differs.is_empty() {
            return Ok(draft);
        }
        let births = self.births(kept);
        let other = differs.iter().any(|difference| {
            births.iter().any(|birth| birth.eq_ignore_ascii_case(&difference.column))
                && ![&difference.kept, &difference.live].contains(&&Glimpse::Value(Value::Null))
        });
        let columns = || differs.iter().map(|difference| difference.column.clone()).collect();
        let (name, key) = (&kept.name, shown(row.key));
        let act = match self.ground.options.on_conflict {
            OnConflict::Overwrite => Act::Update { columns: columns() },
            _ if other && self.ground.options.remap_keys => {
                if let Some((key, seen)) = self.twin(live, row)? {
                    return Ok(Draft { into: Some(key), seen: Some(seen), ..draft });
                }
                return match self.fresh_key(row.at, live, row.key)? {
                    Some(fresh) => Ok(Draft { into: Some(fresh), ..Draft::new(Act::Insert) }),
                    None => {
                        self.refuse(
                            format!("{name} {key} is another record now"),
                            "its key is none that can be given anew",
                        );
                        Ok(Draft { differs, act: Act::Leave { why: "it is another record now".to_owned() }, ..draft })
                    }
                };
            }
            _ if other => {
                let hint = "give it a new key with --remap-keys, or replace what is there with --on-conflict overwrite";
                self.refuse(format!("{name} {key} is another record now: its key was used again"), hint);
                Act::Leave { why: "its key was used again".to_owned() }
            }
            OnConflict::FillNull => {
                let empty = |difference: &&Difference| difference.live == Glimpse::Value(Value::Null);
                let columns: Vec<String> = differs.iter().filter(empty).map(|one| one.column.clone()).collect();
                match columns.is_empty() {
                    true => Act::Leave { why: "it has changed since".to_owned() },
                    false => Act::Update { columns },
                }
            }
            OnConflict::Abort => {
                self.refuse(
                    format!("{name} {key} has changed since"),
                    "decide with --on-conflict skip, fill-null or overwrite",
                );
                Act::Leave { why: "it has changed since".to_owned() }
            }
            OnConflict::Skip => Act::Leave { why: "it has changed since".to_owned() },
        };
        Ok(Draft { act, differs, ..draft })
    }

    fn births(&self, kept: &Table) -> Vec<&str> {
        let told = self.ground.model.entity_of(&kept.name).map(|(_, entity)| &entity.immutable);
        match told.filter(|told| !told.is_empty()) {
            Some(told) => told.iter().map(String::as_str).collect(),
            None => BIRTH.to_vec(),
        }
    }

    /// A key that nobody has: the next number.
    pub(super) fn fresh_key(&mut self, at: usize, live: &Table, key: &Key) -> Result<Option<Key>, RecordError> {
        let ([column], [Value::Integer(_)]) = (&live.key[..], &key[..]) else { return Ok(None) };
        let next = match self.numbers.get(&at) {
            Some(next) => *next,
            None => {
                let highest = self.closure.members[at].keys().filter_map(|key| match key[..] {
                    [Value::Integer(number)] => Some(number.saturating_add(1)),
                    _ => None,
                });
                self.ground.live.next_number(live, *column)?.max(highest.max().unwrap_or(1))
            }
        };
        self.numbers.insert(at, next.saturating_add(1));
        Ok(Some(vec![Value::Integer(next)]))
    }
}
