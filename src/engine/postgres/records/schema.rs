//! How the tables of a database hang together, as its catalog tells, and as the engine of records takes them.
//!
//! Owns what a table is called in records: `users` in the schema `public`, `app.users` in another, `app."old.users"` where a
//! part holds a dot. A partitioned table
//! is one table, under the name of its root: its partitions are where rows lie (`parts`). A table
//! that inherits from another in the old way is a table of its own, and the other has its own rows only.
//!
//! A table without a key is told row by row: its key is all of its columns. Rows that are equal in every column, twins,
//! cannot be told apart then: they are refused. Nor can a row with an empty column.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::base::record::name::part;
use crate::base::record::{Column, Reference, Table, Unique, Value};
use crate::engine::postgres::catalog::{KEY, OWN};
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{self, Qualified, Shape};
use crate::engine::postgres::records::parts::{Node, Trees};
use crate::engine::postgres::records::sameness;

/// The schema whose name is left out.
pub const PUBLIC: &str = "public";

/// What a column has where none is given, whose numbers the server gives itself.
pub const NUMBERED: &str = "the next number";

/// A table as it is in a database, whether it was captured or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    pub name: Qualified,
    /// Its rows lie in partitions: it is asked for without `ONLY`.
    pub partitioned: bool,
    /// The key's columns first, then the others in the order they were made in. Without generated ones.
    pub columns: Vec<layout::Column>,
    pub shape: Shape,
    /// Where its rows lie, by the server's number.
    pub parts: BTreeMap<u32, Qualified>,
}

impl Described {
    /// As the engine of records takes it.
    pub fn table(&self) -> Table {
        table(&self.name, &self.columns, Some(&self.shape))
    }

    /// What a part is called in records, by the server's number.
    pub fn part(&self, number: &Value) -> Value {
        let Value::Integer(number) = number else { return Value::Null };
        let named = u32::try_from(*number).ok().and_then(|number| self.parts.get(&number));
        named.map_or(Value::Null, |name| Value::text(&name.shown()))
    }
}

/// What a table is called in records.
pub fn name(of: &Qualified) -> String {
    if of.schema == PUBLIC { part(&of.name).into_owned() } else { of.shown() }
}

/// A table of these columns. Without a shape nothing is known of it but that: no key, and no references.
pub fn table(of: &Qualified, columns: &[layout::Column], shape: Option<&Shape>) -> Table {
    let none = Shape::default();
    let shape = shape.unwrap_or(&none);
    let place = |name: &String| columns.iter().position(|column| column.name == *name);
    let places = |names: &[String]| names.iter().map(place).collect::<Option<Vec<_>>>();
    let column = |column: &layout::Column| {
        let kind = shape.bases.get(&column.name).unwrap_or(&column.kind);
        Column {
            name: column.name.clone(),
            kind: kind.clone(),
            required: shape.required.contains(&column.name),
            default: shape.defaults.get(&column.name).cloned(),
            letters: sameness::letters(kind, shape.ignores_case.contains(&column.name)),
            numbers: sameness::numbers(kind),
            is_loose: !shape.enumerated.contains(&column.name)
                && (shape.collated.contains(&column.name) || sameness::is_loose(kind)),
        }
    };
    let reference = |reference: &layout::Reference| {
        Some(Reference {
            columns: places(&reference.columns)?,
            to: name(&reference.to),
            to_columns: reference.to_columns.clone(),
            on_delete: reference.on_delete,
            parts: reference.parts.iter().map(Qualified::shown).collect(),
            to_parts: reference.to_parts.iter().map(Qualified::shown).collect(),
        })
    };
    let unique = |columns| Unique { columns, letters: Vec::new() };
    let key = places(&shape.key).filter(|key| !key.is_empty());
    Table {
        name: name(of),
        columns: columns.iter().map(column).collect(),
        key: key.unwrap_or_else(|| (0..columns.len()).collect()),
        numbered: false,
        unique: shape.unique.iter().filter_map(|names| places(names)).map(unique).collect(),
        unseen: Vec::new(),
        references: shape.references.iter().filter_map(reference).collect(),
        inherits: shape.inherits.iter().map(name).collect(),
        triggers: shape.triggers.clone(),
        tells_case: true,
    }
}

/// The tables there are, except partitions, in the order of their names.
///
/// The session's `search_path` must be empty: types and defaults are named by their schemas then.
pub fn read(session: &Session) -> Result<Vec<Described>, PostgresError> {
    let rows = session.query(&TABLES.replace("{key}", KEY).replace("{own}", OWN), &[])?;
    let trees = Trees::of(rows.iter().flat_map(|row| told::<Vec<Node>>(row.get(8))));
    let mut tables: Vec<Described> = rows.iter().map(|row| described(row, &trees)).collect();
    tables.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(tables)
}

/// A column as the query tells it.
#[derive(Deserialize)]
struct Found {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    base: String,
    required: bool,
    default: Option<String>,
    ignores_case: bool,
    collated: bool,
    enumerated: bool,
}

fn told<'t, T: Deserialize<'t>>(text: &'t str) -> T {
    serde_json::from_str(text).expect("BUG: the query makes it so")
}

fn described(row: &tokio_postgres::Row, trees: &Trees) -> Described {
    let mut found: Vec<Found> = told(row.get(3));
    let key: Vec<String> = row.get(4);
    found.sort_by_key(|column| key.iter().position(|name| *name == column.name).unwrap_or(key.len()));
    let names = |is: &dyn Fn(&Found) -> bool| -> BTreeSet<String> {
        found.iter().filter(|column| is(column)).map(|column| column.name.clone()).collect()
    };
    let base = |column: &Found| (column.name.clone(), column.base.clone());
    let shape = Shape {
        required: names(&|column| column.required),
        defaults: found.iter().filter_map(|column| Some((column.name.clone(), column.default.clone()?))).collect(),
        ignores_case: names(&|column| column.ignores_case),
        collated: names(&|column| column.collated),
        enumerated: names(&|column| column.enumerated),
        bases: found.iter().filter(|column| column.base != column.kind).map(base).collect::<BTreeMap<_, _>>(),
        unique: told(row.get(5)),
        references: trees.bound(row.get(9), told(row.get(6))),
        triggers: row.get(7),
        inherits: told(row.get(10)),
        key,
    };
    let columns = found.into_iter().map(|column| layout::Column { name: column.name, kind: column.kind });
    let name = Qualified { schema: row.get(0), name: row.get(1) };
    let parts = trees.leaves(row.get(9));
    Described { name, partitioned: row.get(2), columns: columns.collect(), shape, parts }
}

/// Every table that somebody else may refer to, with its partitions. References of partitions are the whole table's, and so are
/// those that lead to one.
const TABLES: &str = r#"
SELECT n.nspname::text, c.relname::text, c.relkind = 'p', columns.told, coalesce(key.names, '{}'), uniques.told,
       refs.told, triggers.names, tree.told, c.oid, parents.told
FROM pg_class c
JOIN pg_namespace n ON n.oid = c.relnamespace
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_object(
        'name', a.attname, 'type', format_type(a.atttypid, a.atttypmod), 'base', format_type(base.oid, base.typmod),
        'required', a.attnotnull OR base.required, 'ignores_case', base.name = 'citext',
        'collated', coalesce(NOT l.collisdeterministic, false), 'enumerated', base.sort = 'e',
        'default', CASE WHEN a.attidentity <> '' THEN 'the next number'
                   ELSE coalesce(pg_get_expr(d.adbin, d.adrelid), base.preset) END) ORDER BY a.attnum), '[]')::text AS told
    FROM pg_attribute a
    LEFT JOIN pg_collation l ON l.oid = a.attcollation
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    CROSS JOIN LATERAL (
        WITH RECURSIVE under (oid, typmod, required, preset) AS (
            SELECT a.atttypid, a.atttypmod, false, NULL::text COLLATE "C"
            UNION ALL
            SELECT t.typbasetype, t.typtypmod, under.required OR t.typnotnull, coalesce(under.preset, t.typdefault) COLLATE "C"
            FROM under JOIN pg_type t ON t.oid = under.oid WHERE t.typtype = 'd'
        )
        SELECT under.*, t.typname AS name, t.typtype AS sort FROM under JOIN pg_type t ON t.oid = under.oid WHERE t.typtype <> 'd'
    ) base
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
) columns
LEFT JOIN LATERAL ({key}) key ON true
CROSS JOIN LATERAL (
    WITH RECURSIVE under (oid, parent) AS (
        SELECT c.oid, NULL::oid
        UNION ALL
        SELECT part.oid, under.oid FROM under JOIN pg_inherits i ON i.inhparent = under.oid
        JOIN pg_class part ON part.oid = i.inhrelid AND part.relispartition
    )
    SELECT array_agg(under.oid) AS nodes, json_agg(json_build_object(
        'oid', under.oid::bigint, 'parent', under.parent::bigint, 'leaf', part.relkind <> 'p',
        'schema', pn.nspname, 'name', part.relname) ORDER BY under.oid)::text AS told
    FROM under JOIN pg_class part ON part.oid = under.oid JOIN pg_namespace pn ON pn.oid = part.relnamespace
) tree
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(one.names ORDER BY one.index), '[]')::text AS told
    FROM (
        SELECT i.indexrelid AS index, (
            SELECT json_agg(a.attname ORDER BY k.place)
            FROM unnest(i.indkey) WITH ORDINALITY k (number, place)
            JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number
            WHERE k.place <= i.indnkeyatts) AS names
        FROM pg_index i
        WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
          AND i.indexrelid IS DISTINCT FROM key.index
    ) one
) uniques
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_object(
        'of', f.conrelid::bigint, 'into', f.confrelid::bigint,
        'columns', (SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(f.conkey) WITH ORDINALITY k (number, place)
                    JOIN pg_attribute a ON a.attrelid = f.conrelid AND a.attnum = k.number),
        'schema', rn.nspname, 'name', rc.relname,
        'to_columns', (SELECT json_agg(a.attname ORDER BY k.place) FROM unnest(f.confkey) WITH ORDINALITY k (number, place)
                       JOIN pg_attribute a ON a.attrelid = f.confrelid AND a.attnum = k.number),
        'on_delete', CASE f.confdeltype WHEN 'c' THEN 'cascade' WHEN 'n' THEN 'set-null' WHEN 'd' THEN 'set-default'
                     ELSE 'restrict' END) ORDER BY f.conname, f.oid), '[]')::text AS told
    FROM pg_constraint f
    JOIN pg_class direct ON direct.oid = f.confrelid
    JOIN pg_class rc ON rc.oid = CASE WHEN direct.relispartition THEN pg_partition_root(direct.oid)::oid ELSE direct.oid END
    JOIN pg_namespace rn ON rn.oid = rc.relnamespace
    -- The server keeps one more for each partition of what is referred to.
    WHERE f.conrelid = ANY (tree.nodes) AND f.contype = 'f' AND f.conparentid = 0
) refs
CROSS JOIN LATERAL (
    -- One of the table at the top is there again on each partition, under its name.
    SELECT coalesce(array_agg(DISTINCT t.tgname::text ORDER BY t.tgname::text), '{}') AS names
    FROM pg_trigger t WHERE t.tgrelid = ANY (tree.nodes) AND NOT t.tgisinternal AND t.tgenabled IN ('O', 'A')
) triggers
CROSS JOIN LATERAL (
    SELECT coalesce(json_agg(json_build_object('schema', pn.nspname, 'name', parent.relname) ORDER BY i.inhseqno), '[]')::text
        AS told
    FROM pg_inherits i JOIN pg_class parent ON parent.oid = i.inhparent JOIN pg_namespace pn ON pn.oid = parent.relnamespace
    WHERE i.inhrelid = c.oid
) parents
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition AND c.relpersistence <> 't'
  AND {own}
"#;
