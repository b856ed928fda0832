//! Where a row would lie that is not written yet.
//!
//! Owns when that is told ahead: of tables that are cut by plain columns of types that are the server's own. What is cut by
//! an expression, or by a type or an operator of somebody's own, would run his functions for no more than a plan.

use std::rc::Rc;

use crate::base::record::{Table, Value};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::records::error::LiveError;
use crate::engine::postgres::records::live::Live;
use crate::engine::postgres::records::value::typed_literal;

/// How the partitions of a table are told from each other.
pub(super) struct Bounds {
    /// The columns that tell.
    columns: Vec<String>,
    /// The number of the partition whose condition holds for a row of these columns.
    which: String,
}

impl Live {
    /// The part that a row of these values would lie in; nothing where it cannot be told, or in none.
    pub(super) fn would_lie(
        &self,
        table: &Table,
        columns: &[usize],
        values: &[Value],
    ) -> Result<Option<Value>, LiveError> {
        let known = self.known()?;
        let Some(described) = known.get(&table.name).filter(|described| described.partitioned) else {
            return Ok(None);
        };
        let found = self.bounds.borrow().get(&table.name).cloned();
        let bounds = match found {
            Some(bounds) => bounds,
            None => {
                let bounds = self.bounds_of(&described.name.quoted())?.map(Rc::new);
                self.bounds.borrow_mut().insert(table.name.clone(), bounds.clone());
                bounds
            }
        };
        let Some(bounds) = bounds else { return Ok(None) };
        let given = |name: &String| {
            let at = columns.iter().position(|at| table.columns[*at].name == *name)?;
            let literal = typed_literal(&table.columns[columns[at]].kind, &values[at]);
            Some(format!("{literal} AS {}", quoted(name)))
        };
        let Some(row) = bounds.columns.iter().map(given).collect::<Option<Vec<_>>>() else { return Ok(None) };
        let number = match self.tried(&format!("{} FROM (SELECT {}) one_row", bounds.which, row.join(", "))) {
            Ok(number) => number,
            // Such a value is none of that type: the server says so when it is written.
            Err(PostgresError::Server { .. }) => None,
            Err(error) => return Err(error.into()),
        };
        let number = number.and_then(|number| number.parse().ok()).map(Value::Integer);
        Ok(number.map(|number| described.part(&number)))
    }

    fn bounds_of(&self, table: &str) -> Result<Option<Bounds>, PostgresError> {
        let rows = self.session.query(BOUNDS, &[&table])?;
        let (mut columns, mut cases) = (Vec::<String>::new(), String::new());
        for row in &rows {
            if !row.get::<_, bool>(2) {
                return Ok(None);
            }
            columns.extend(row.get::<_, Vec<String>>(3));
            if let Some(number) = row.get::<_, Option<i64>>(0) {
                let condition: Option<String> = row.get(1);
                cases.push_str(&format!(" WHEN {} THEN {number}", condition.as_deref().unwrap_or("true")));
            }
        }
        columns.sort();
        columns.dedup();
        let is_cut = !columns.is_empty() && !cases.is_empty();
        Ok(is_cut.then(|| Bounds { columns, which: format!("CASE{cases} END") }))
    }
}

/// A table with everything below it: the number of what rows lie in and the condition that they do; whether what it is cut by is
/// the server's own, and the columns that it is cut by.
const BOUNDS: &str = "
WITH RECURSIVE under (oid) AS (
    SELECT $1::text::regclass::oid
    UNION ALL
    SELECT part.oid FROM under JOIN pg_inherits i ON i.inhparent = under.oid
    JOIN pg_class part ON part.oid = i.inhrelid AND part.relispartition
)
SELECT CASE WHEN c.relkind <> 'p' THEN c.oid::bigint END, pg_get_partition_constraintdef(c.oid), cut.is_plain, cut.names
FROM under JOIN pg_class c ON c.oid = under.oid
JOIN pg_collation usual ON usual.collname = 'default' AND usual.collnamespace = 'pg_catalog'::regnamespace
CROSS JOIN LATERAL (
    SELECT coalesce(bool_and(coalesce(
            a.attname IS NOT NULL AND t.typtype IN ('b', 'e') AND t.typcategory <> 'A'
            AND (t.typtype = 'e' OR t.typnamespace = 'pg_catalog'::regnamespace)
            AND o.opcnamespace = 'pg_catalog'::regnamespace
            AND k.sorting IN (0, usual.oid), false)), true) AS is_plain,
        coalesce(array_agg(a.attname::text) FILTER (WHERE a.attname IS NOT NULL), '{}') AS names
    FROM pg_partitioned_table p
    CROSS JOIN LATERAL unnest(p.partattrs::int2[], p.partclass::oid[], p.partcollation::oid[]) k (number, class, sorting)
    LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid AND a.attnum = k.number AND k.number <> 0
    LEFT JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_opclass o ON o.oid = k.class
    WHERE p.partrelid = c.oid
) cut";
