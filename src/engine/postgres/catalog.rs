//! What a database consists of, as its own catalog tells: the tables whose rows are captured, and how to read them.
//!
//! Owns the choice of the key that rows are sorted by. What pg_dump writes of definitions is not looked up here.

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{Column, Qualified, Shape, Table, quoted};
use crate::engine::postgres::segments;

/// A table whose rows lie in the database itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Relation {
    pub oid: u32,
    pub name: Qualified,
    /// Its rows do not outlast a crash, and a standby has none of them.
    pub unlogged: bool,
    /// On disk, with what is stored apart.
    pub bytes: u64,
    /// What a file of its rows holds: the key's columns first.
    pub columns: Vec<Column>,
    /// So many of the columns are the key; 0 for physical order.
    pub key: usize,
    /// Which columns of the key must be told to sort by bytes.
    collated: Vec<bool>,
    filtered: Vec<String>,
    root: Option<Qualified>,
    condition: Option<String>,
    /// How closely the order of the key's first column follows the order on disk: -1 to 1; 0 where nobody has looked.
    pub correlation: f32,
}

impl Relation {
    /// The key as `ORDER BY` and comparisons take it.
    pub fn sort_columns(&self) -> Vec<String> {
        let column = |(column, collated): (&Column, &bool)| match collated {
            true => format!("{} COLLATE \"C\"", quoted(&column.name)),
            false => quoted(&column.name),
        };
        self.columns.iter().take(self.key).zip(&self.collated).map(column).collect()
    }

    /// Can the key's own index give the rows in the order they are captured in?
    pub fn index_sorts(&self) -> bool {
        self.key > 0 && !self.collated[..self.key].contains(&true)
    }

    /// What to copy: `condition` chooses among the rows.
    pub fn select(&self, condition: Option<&str>) -> String {
        let names: Vec<String> = self.columns.iter().map(|column| quoted(&column.name)).collect();
        let mut sql = format!("SELECT {} FROM ONLY {}", names.join(", "), self.name.quoted());
        match (self.own_condition(), condition) {
            (Some(own), None) => sql += &format!(" {own}"),
            (None, Some(condition)) => sql += &format!(" WHERE {condition}"),
            (Some(_), Some(_)) => panic!("BUG: a configuration table is not split"),
            (None, None) => {}
        }
        if self.key > 0 {
            sql += &format!(" ORDER BY {}", self.sort_columns().join(", "));
        }
        sql
    }

    /// Which rows an extension has left to the user, of its configuration table: with the word WHERE before it.
    pub fn own_condition(&self) -> Option<&str> {
        self.condition.as_deref().map(str::trim).filter(|own| !own.is_empty())
    }

    /// Are these all of its rows, and not those an extension has left to the user?
    pub fn is_whole(&self) -> bool {
        self.own_condition().is_none()
    }

    /// What the cutter of its rows has to know.
    pub fn shape(&self, salt: u64) -> segments::Shape {
        let place =
            |(at, column): (usize, &Column)| self.filtered.contains(&column.name).then(|| (at, column.name.clone()));
        segments::Shape { key: self.key, filtered: self.columns.iter().enumerate().filter_map(place).collect(), salt }
    }

    /// The table that others know: of a partition, the one at the top.
    pub fn known_as(&self) -> &Qualified {
        self.root.as_ref().unwrap_or(&self.name)
    }

    /// Its line in the list of tables.
    pub fn line(&self, shape: Option<Shape>, rows: u64, bytes: u64) -> Table {
        Table {
            name: self.name.clone(),
            path: self.name.rows_path(),
            columns: self.columns.clone(),
            key: self.columns.iter().take(self.key).map(|column| column.name.clone()).collect(),
            root: self.root.clone(),
            condition: self.condition.clone().filter(|_| !self.is_whole()),
            shape,
            rows,
            bytes,
        }
    }
}

/// Is `c` among `pg_class`, in the schema `n`, the database's own? What an extension makes is not, but for what it says
/// holds the user's rows.
pub(super) const OWN: &str = r#"n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
  AND (NOT EXISTS (SELECT FROM pg_depend e
                   WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.objsubid = 0
                     AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e')
       OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig)))"#;

/// The key that tells the rows of a table apart, of `c` among `pg_class`: its columns, and its index.
pub(super) const KEY: &str = r#"
SELECT (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM unnest(i.indkey) WITH ORDINALITY k (number, place)
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
        WHERE k.place <= i.indnkeyatts) AS names, i.indexrelid AS index
FROM pg_index i
WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
  AND NOT EXISTS (
      SELECT FROM unnest(i.indkey) WITH ORDINALITY k (number, place)
      JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
      WHERE k.place <= i.indnkeyatts AND (NOT a.attnotnull OR a.attgenerated <> ''))
ORDER BY i.indisprimary DESC, i.indisreplident DESC, i.indnkeyatts, i.indexrelid
LIMIT 1
"#;

/// Every table that holds rows, with those of extensions that are theirs to be configured.
const RELATIONS: &str = r#"
SELECT c.oid, n.nspname::text, c.relname::text, c.relpersistence = 'u',
       CASE WHEN $1::oid[] IS NULL OR c.oid = ANY ($1) THEN pg_table_size(c.oid) ELSE 0 END,
       columns.names, columns.types, columns.collated, coalesce(key.names, '{}'), filtered.names,
       rn.nspname::text, rc.relname::text,
       (SELECT e.extcondition[array_position(e.extconfig, c.oid)]
        FROM pg_extension e WHERE c.oid = ANY (e.extconfig) LIMIT 1),
       coalesce(stats.correlation, 0)
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN pg_database d ON d.datname = current_database()
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(a.attname::text ORDER BY a.attnum), '{}') AS names,
           coalesce(array_agg(format_type(a.atttypid, a.atttypmod) ORDER BY a.attnum), '{}') AS types,
           coalesce(array_agg(l.oid IS NOT NULL AND l.collname NOT IN ('C', 'POSIX')
               AND (l.collname <> 'default' OR d.datcollate NOT IN ('C', 'POSIX')) ORDER BY a.attnum), '{}') AS collated
    FROM pg_attribute a
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
) columns
LEFT JOIN LATERAL ({key}) key ON true
CROSS JOIN LATERAL (
    SELECT coalesce(array_agg(a.attname::text), '{}') AS names
    FROM pg_attribute a
    WHERE a.attrelid = c.oid AND (
        a.attnum = ANY (SELECT unnest(f.conkey) FROM pg_constraint f WHERE f.conrelid = c.oid AND f.contype = 'f')
        OR a.attnum IN (SELECT i.indkey[0] FROM pg_index i WHERE i.indrelid = c.oid AND NOT i.indisprimary))
) filtered
LEFT JOIN pg_stats stats ON stats.schemaname = n.nspname AND stats.tablename = c.relname
    AND stats.attname = key.names[1] AND NOT stats.inherited
LEFT JOIN pg_class rc ON c.relispartition AND rc.oid = pg_partition_root(c.oid)
LEFT JOIN pg_namespace rn ON rn.oid = rc.relnamespace
WHERE c.relkind = 'r' AND c.relpersistence <> 't'
  AND {own}
"#;

/// The tables there are, in no order that means anything. Whoever holds one is waited for where its size is asked for: of
/// all, or of `locked` ones.
pub fn relations(session: &mut Session, locked: Option<&[u32]>) -> Result<Vec<Relation>, PostgresError> {
    session.query(&RELATIONS.replace("{key}", KEY).replace("{own}", OWN), &[&locked])?.iter().map(relation).collect()
}

fn relation(row: &tokio_postgres::Row) -> Result<Relation, PostgresError> {
    let (names, types): (Vec<String>, Vec<String>) = (row.get(5), row.get(6));
    let (collated, key): (Vec<bool>, Vec<String>) = (row.get(7), row.get(8));
    let mut columns: Vec<(Column, bool)> =
        names.into_iter().zip(types).map(|(name, kind)| Column { name, kind }).zip(collated).collect();
    // The key comes first, so that it is found at the beginning of a row, however long the row is.
    columns.sort_by_key(|(column, _)| key.iter().position(|name| *name == column.name).unwrap_or(key.len()));
    let (columns, collated) = columns.into_iter().unzip();
    let root: Option<(String, String)> = row.get::<_, Option<String>>(10).zip(row.get(11));
    Ok(Relation {
        oid: row.get(0),
        name: Qualified { schema: row.get(1), name: row.get(2) },
        unlogged: row.get(3),
        bytes: row.get::<_, i64>(4).max(0) as u64,
        columns,
        key: key.len(),
        collated,
        filtered: row.get(9),
        root: root.map(|(schema, name)| Qualified { schema, name }),
        condition: row.get(12),
        correlation: row.get(13),
    })
}

/// A table that can be locked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lockable {
    pub oid: u32,
    pub name: Qualified,
    root: Option<Qualified>,
}

impl Lockable {
    /// The table that others know: of a partition, the one at the top.
    pub fn known_as(&self) -> &Qualified {
        self.root.as_ref().unwrap_or(&self.name)
    }
}

/// Everything that can be locked: tables, and the partitioned ones that hold no rows themselves.
pub fn lockable(session: &mut Session) -> Result<Vec<Lockable>, PostgresError> {
    let sql = "SELECT c.oid, n.nspname::text, c.relname::text, rn.nspname::text, rc.relname::text FROM pg_class c \
               JOIN pg_namespace n ON n.oid = c.relnamespace \
               LEFT JOIN pg_class rc ON c.relispartition AND rc.oid = pg_partition_root(c.oid) \
               LEFT JOIN pg_namespace rn ON rn.oid = rc.relnamespace \
               WHERE c.relkind IN ('r', 'p') AND c.relpersistence <> 't' \
               AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
               AND (NOT EXISTS (SELECT FROM pg_depend e \
                   WHERE e.classid = 'pg_class'::regclass AND e.objid = c.oid AND e.objsubid = 0 \
                     AND e.refclassid = 'pg_extension'::regclass AND e.deptype = 'e') \
                 OR EXISTS (SELECT FROM pg_extension e WHERE c.oid = ANY (e.extconfig))) \
               ORDER BY c.oid";
    let lockable = |row: &tokio_postgres::Row| {
        let root: Option<(String, String)> = row.get::<_, Option<String>>(3).zip(row.get(4));
        let root = root.map(|(schema, name)| Qualified { schema, name });
        Lockable { oid: row.get(0), name: Qualified { schema: row.get(1), name: row.get(2) }, root }
    };
    Ok(session.query(sql, &[])?.iter().map(lockable).collect())
}

/// The schemas that are somebody's own.
pub fn schemas(session: &mut Session) -> Result<Vec<String>, PostgresError> {
    let sql =
        "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' ORDER BY 1";
    Ok(session.query(sql, &[])?.iter().map(|row| row.get(0)).collect())
}
