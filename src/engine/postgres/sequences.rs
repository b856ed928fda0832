//! Sequences: what they are, and how far they have come.
//!
//! A sequence keeps to no snapshot: it may have moved on since the rows were seen. It is read after them.

use std::collections::HashMap;

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{Owner, Qualified, Sequence};

/// So many are read by one query.
const AT_ONCE: usize = 200;

const SEQUENCES: &str = "SELECT c.oid, n.nspname::text, c.relname::text, s.seqincrement, \
        tn.nspname::text, t.relname::text, a.attname::text \
    FROM pg_sequence s JOIN pg_class c ON c.oid = s.seqrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 \
        AND d.refclassid = 'pg_class'::regclass AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i') \
    LEFT JOIN pg_class t ON t.oid = d.refobjid LEFT JOIN pg_namespace tn ON tn.oid = t.relnamespace \
    LEFT JOIN pg_attribute a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid \
    WHERE c.relpersistence <> 't' AND n.nspname NOT IN ('pg_catalog', 'information_schema') \
      AND (NOT EXISTS (SELECT FROM pg_depend e WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid \
               AND e.objsubid = 0 AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e') \
           OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) \
    ORDER BY 2, 3";

/// Every sequence, as it is now.
pub fn read(session: &mut Session, wanted: &dyn Fn(&Qualified) -> bool) -> Result<Vec<Sequence>, PostgresError> {
    let mut found: Vec<(u32, Sequence)> = session
        .query(SEQUENCES, &[])?
        .iter()
        .map(|row| {
            let owner: Option<(String, String, String)> = row
                .get::<_, Option<String>>(4)
                .and_then(|schema| Some((schema, row.get::<_, Option<_>>(5)?, row.get::<_, Option<_>>(6)?)));
            let sequence = Sequence {
                name: Qualified { schema: row.get(1), name: row.get(2) },
                last_value: 0,
                is_called: false,
                increment: row.get(3),
                owned_by: owner.map(|(schema, table, column)| Owner { schema, table, column }),
            };
            (row.get(0), sequence)
        })
        .filter(|(_, sequence)| wanted(&sequence.name))
        .collect();
    for group in found.chunks_mut(AT_ONCE) {
        let query = |(oid, sequence): &(u32, Sequence)| {
            format!("SELECT {oid}::oid, last_value, is_called FROM {}", sequence.name.quoted())
        };
        let queries: Vec<String> = group.iter().map(query).collect();
        let rows = session.query(&queries.join(" UNION ALL "), &[])?;
        let values: HashMap<u32, (i64, bool)> = rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect();
        for (oid, sequence) in group {
            (sequence.last_value, sequence.is_called) = values.get(oid).copied().unwrap_or_default();
        }
    }
    Ok(found.into_iter().map(|(_, sequence)| sequence).collect())
}
