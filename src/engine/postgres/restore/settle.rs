//! Around the rows: room for definitions, sequences where they have to be, statistics.

use std::collections::BTreeSet;

use tokio_postgres::types::ToSql;

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{self, Sequence, Table, quoted};
use crate::engine::postgres::restore::crew::{self, Job};
use crate::engine::postgres::restore::dump::{Blocks, Dump};
use crate::engine::postgres::restore::error::LoadError;

/// What a capture of chosen schemas has, and one of all schemas has not.
const MAKES_PUBLIC: &[u8] = b"\nCREATE SCHEMA public;\n";

/// Takes the schema `public` away if the definitions are going to make it.
pub fn make_way(session: &mut Session, dump: &dyn Dump) -> Result<(), LoadError> {
    if makes_public(dump)? {
        session.batch("DROP SCHEMA IF EXISTS public")?;
    }
    Ok(())
}

/// Do the definitions make the schema that every new database has?
pub fn makes_public(dump: &dyn Dump) -> Result<bool, LoadError> {
    let mut blocks = Blocks::of(dump, layout::PRE_DATA)?;
    let mut seen = Vec::new();
    while let Some(block) = blocks.block()? {
        seen.extend_from_slice(&block);
        if memchr::memmem::find(&seen, MAKES_PUBLIC).is_some() {
            return Ok(true);
        }
        seen.drain(..seen.len().saturating_sub(MAKES_PUBLIC.len()));
    }
    Ok(false)
}

const SEQUENCE: &str = "SELECT s.seqmin, s.seqmax FROM pg_sequence s WHERE s.seqrelid = to_regclass($1)";
const COLUMN: &str = "SELECT 1 FROM pg_attribute WHERE attrelid = to_regclass($1) AND attname = $2 \
    AND NOT attisdropped AND atttypid IN ('int2'::regtype, 'int4'::regtype, 'int8'::regtype)";

/// Sets every sequence to where it was, or beyond what the rows of its column have come to.
pub fn sequences(
    session: &mut Session,
    sequences: &[Sequence],
    tables: Option<&BTreeSet<String>>,
) -> Result<u64, LoadError> {
    let mut set = 0;
    for sequence in sequences {
        let name = sequence.name.quoted();
        let owner = sequence.owned_by.as_ref().map(|owner| format!("{}.{}", owner.schema, owner.table));
        if tables.is_some_and(|tables| owner.is_none_or(|owner| !tables.contains(&owner))) {
            continue;
        }
        let bounds = session.query(SEQUENCE, &[&name])?;
        let Some(bounds) = bounds.first().map(|row| row.get::<_, i64>(0)..=row.get::<_, i64>(1)) else { continue };
        let needed = needed(session, sequence)?.filter(|needed| bounds.contains(needed));
        let (value, is_called) = further(sequence, needed);
        session.query("SELECT setval($1::text::regclass, $2, $3)", &[&name, &value, &is_called])?;
        set += 1;
    }
    Ok(set)
}

/// Sets a sequence where it was.
pub fn put_back(session: &mut Session, sequence: &Sequence) -> Result<(), LoadError> {
    let values: [&(dyn ToSql + Sync); 3] = [&sequence.name.quoted(), &sequence.last_value, &sequence.is_called];
    Ok(session.query("SELECT pg_catalog.setval($1::text::regclass, $2, $3)", &values).map(|_| ())?)
}

/// The last value that rows have of it.
fn needed(session: &mut Session, sequence: &Sequence) -> Result<Option<i64>, LoadError> {
    let Some(owner) = &sequence.owned_by else { return Ok(None) };
    let table = format!("{}.{}", quoted(&owner.schema), quoted(&owner.table));
    if session.query(COLUMN, &[&table, &owner.column])?.is_empty() {
        return Ok(None);
    }
    let last = if sequence.increment < 0 { "min" } else { "max" };
    let sql = format!("SELECT {last}({})::int8 FROM {table}", quoted(&owner.column));
    Ok(session.query(&sql, &[])?[0].get(0))
}

/// The further of what was saved and what is needed.
fn further(sequence: &Sequence, needed: Option<i64>) -> (i64, bool) {
    let saved = (sequence.last_value, sequence.is_called);
    let Some(needed) = needed else { return saved };
    let beyond = if sequence.increment < 0 { needed < saved.0 } else { needed > saved.0 };
    if beyond || (needed == saved.0 && !saved.1) { (needed, true) } else { saved }
}

/// Tells the planner what there is, each table by itself and the partitioned ones whole.
pub fn analyze(sessions: &mut [Session], tables: &[Table]) -> Result<(), LoadError> {
    let mut names: BTreeSet<String> = tables.iter().map(|table| table.name.quoted()).collect();
    names.extend(tables.iter().filter_map(|table| Some(table.root.as_ref()?.quoted())));
    let views = "SELECT format('%I.%I', schemaname, matviewname) FROM pg_matviews WHERE ispopulated";
    names.extend(sessions[0].query(views, &[])?.iter().map(|row| row.get::<_, String>(0)));
    let jobs = names.into_iter().map(|name| Job { needs: Vec::new(), what: name });
    crew::work(sessions, jobs, |session, name| Ok(session.batch(&format!("ANALYZE {name}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::postgres::layout::Qualified;

    #[test]
    fn a_sequence_goes_to_the_further_of_what_was_saved_and_what_rows_need() {
        let at = |last_value, is_called, increment| Sequence {
            name: Qualified { schema: "s".into(), name: "q".into() },
            last_value,
            is_called,
            increment,
            owned_by: None,
        };
        assert_eq!(further(&at(5, true, 1), None), (5, true));
        assert_eq!(further(&at(5, true, 1), Some(4)), (5, true));
        assert_eq!(further(&at(5, true, 10), Some(7)), (7, true));
        assert_eq!(further(&at(1, false, 1), Some(1)), (1, true));
        assert_eq!(further(&at(1, false, 1), None), (1, false));
        assert_eq!(further(&at(-5, true, -1), Some(-9)), (-9, true));
        assert_eq!(further(&at(-5, true, -1), Some(3)), (-5, true));
    }
}
