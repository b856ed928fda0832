//! Which rows of a whole table live data lacks.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::base::error::Explained;
use crate::base::record::{Key, Records, Value};
use crate::base::text::counted;
use crate::record::error::RecordError;
use crate::record::graph::Graph;
use crate::record::identity::{Judge, Standing};
use crate::record::prepare::without_key;

/// So many rows of a table without a key are remembered.
const MOST: usize = 4_000_000;
/// Rows that are looked at together.
const BATCH: usize = 500;

/// What a look at all rows of a table of the snapshot found.
#[derive(Debug, Default)]
pub(super) struct Looked {
    /// The keys of records that live data lacks.
    pub missing: Vec<Key>,
    /// Rows whose keys are other records' now, perhaps.
    unsure: u64,
    /// Rows that cannot be told from others.
    keyless: u64,
    /// Of a table without a key, rows that are equal to others.
    twins: Twins,
}

/// Counts rows that hold the same, as far as that many are remembered.
#[derive(Debug, Default)]
struct Twins {
    seen: HashSet<u64>,
    count: u64,
}

impl Twins {
    fn add(&mut self, key: &Key) {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        // Too many to remember are taken for what they may be.
        if self.seen.len() >= MOST || !self.seen.insert(hasher.finish()) {
            self.count += 1;
        }
    }
}

impl Looked {
    pub fn at(
        (kept, graph): (&dyn Records, &Graph),
        judge: &Judge<'_>,
        table: usize,
        budget: u64,
    ) -> Result<Self, RecordError> {
        let shape = &graph.tables[table];
        let (mut waiting, mut looked) = (Vec::<Key>::new(), Self::default());
        let is_keyless = !shape.numbered && shape.key.len() == shape.columns.len();
        let mut take = |key: Key| {
            if is_keyless {
                looked.twins.add(&key);
            }
            waiting.push(key);
            if waiting.len() < BATCH { Ok(()) } else { looked.sift(&mut waiting, judge, table) }
        };
        kept.matching(shape, None, &shape.key, &mut take)?;
        looked.sift(&mut waiting, judge, table)?;
        match looked.missing.len() as u64 {
            most if most > budget => Err(RecordError::Budget { budget, table: shape.name.clone(), most }),
            _ => Ok(looked),
        }
    }

    fn sift(&mut self, waiting: &mut Vec<Key>, judge: &Judge<'_>, table: usize) -> Result<(), Explained> {
        let all = waiting.len();
        waiting.retain(|key| !key.iter().any(Value::is_null));
        self.keyless += (all - waiting.len()) as u64;
        let standing = judge.standing(table, waiting).map_err(|error| Box::new(error) as Explained)?;
        judge.forget();
        for (key, standing) in waiting.drain(..).zip(standing) {
            match standing {
                Standing::There | Standing::Newer => {}
                Standing::Unsure => self.unsure += 1,
                Standing::Gone | Standing::Another => self.missing.push(key),
            }
        }
        Ok(())
    }

    /// What may be missing all the same, in words.
    pub fn doubts(&self, table: &str) -> Vec<String> {
        let unsure = (self.unsure > 0).then(|| {
            let rows = counted(self.unsure, "row");
            format!("{rows} of {table} may be other records now: ask for them by their keys to see which")
        });
        let twins = (self.twins.count > 0).then(|| {
            let rows = counted(self.twins.count, "row");
            format!("{rows} of {table} may be equal to others: whether as many of them are there is not looked into")
        });
        let keyless = (self.keyless > 0).then(|| without_key(table, self.keyless));
        [unsure, keyless, twins].into_iter().flatten().collect()
    }
}
