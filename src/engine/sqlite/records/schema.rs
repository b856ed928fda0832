//! What tables a database has, and how they hang together.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::base::record::{Column, Letters, Numbers, OnDelete, Reference, Table, Unique, Value};

/// What SQLite calls the number it gives every row, unless a column is called so.
const ROW_NUMBERS: [&str; 3] = ["rowid", "_rowid_", "oid"];

pub fn tables(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let sql = "SELECT name FROM pragma_table_list WHERE schema = 'main' AND type = 'table' \
               AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' ORDER BY name";
    let names: Vec<String> = connection.prepare(sql)?.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?;
    let mut tables: Vec<Table> =
        names.into_iter().map(|name| columns(connection, name)).collect::<rusqlite::Result<_>>()?;
    let keys: BTreeMap<String, Vec<String>> = tables
        .iter()
        .map(|table| (table.name.to_lowercase(), table.key_names().into_iter().map(str::to_owned).collect()))
        .collect();
    for table in &mut tables {
        (table.unique, table.unseen) = unique(connection, table)?;
        table.references = references(connection, table, &keys)?;
        table.triggers = names_of(connection, "trigger", &table.name)?;
    }
    Ok(tables)
}

fn columns(connection: &Connection, name: String) -> rusqlite::Result<Table> {
    struct Found {
        column: Column,
        key: u32,
        hidden: u8,
    }
    let sql = "SELECT name, type, \"notnull\", dflt_value, pk, hidden FROM pragma_table_xinfo(?1, 'main') ORDER BY cid";
    let mut statement = connection.prepare_cached(sql)?;
    let found = statement.query_map([&name], |row| {
        let kind: String = row.get(1)?;
        let numbers = numbers(&kind);
        let (name, required, default) = (row.get(0)?, row.get(2)?, row.get(3)?);
        let column = Column { name, kind, required, default, numbers, ..Column::default() };
        Ok(Found { column, key: row.get(4)?, hidden: row.get(5)? })
    })?;
    let found: Vec<Found> = found.collect::<Result<_, _>>()?;
    let taken = |word: &&str| !found.iter().any(|found| found.column.name.eq_ignore_ascii_case(word));
    let number = ROW_NUMBERS.into_iter().find(taken).unwrap_or(ROW_NUMBERS[0]);
    let numbered = found.iter().all(|found| found.key == 0);
    let mut table = Table { name, numbered, ..Table::default() };
    if numbered {
        let (kind, numbers) = ("INTEGER".to_owned(), Numbers::Machine);
        table.columns.push(Column { name: number.to_owned(), kind, numbers, ..Column::default() });
        table.key = vec![0];
    }
    let mut key = Vec::new();
    for found in found.into_iter().filter(|found| found.hidden == 0) {
        if found.key > 0 {
            key.push((found.key, table.columns.len()));
        }
        table.columns.push(found.column);
    }
    for column in table.columns.iter_mut().skip(usize::from(numbered)) {
        let (_, collation, ..) = connection.column_metadata(Some("main"), &*table.name, &*column.name)?;
        column.letters = collation.map_or(Letters::AsWritten, |name| letters(name.to_bytes()));
    }
    key.sort_unstable();
    if !numbered {
        table.key = key.into_iter().map(|(_, at)| at).collect();
    }
    // The number of a row is never missing: the store gives one.
    if let [only] = table.key[..]
        && affinity(&table.columns[only].kind) == Affinity::Integer
    {
        table.columns[only].required = false;
    }
    Ok(table)
}

/// How a collation compares texts. Every other but these two compares bytes, or is not to be had here.
fn letters(collation: &[u8]) -> Letters {
    match collation.to_ascii_uppercase().as_slice() {
        b"NOCASE" => Letters::WithoutCase,
        b"RTRIM" => Letters::WithoutEnd,
        _ => Letters::AsWritten,
    }
}

/// What a column makes of text that reads as a number.
fn numbers(kind: &str) -> Numbers {
    match affinity(kind) {
        Affinity::Integer | Affinity::Real | Affinity::Numeric => Numbers::Machine,
        Affinity::Text => Numbers::Text,
        Affinity::Blob => Numbers::AsWritten,
    }
}

/// What no two rows may share, and the indexes that say so of what cannot be looked up: of some rows only, or of what is
/// computed.
fn unique(connection: &Connection, table: &Table) -> rusqlite::Result<(Vec<Unique>, Vec<String>)> {
    let sql =
        "SELECT name, partial FROM pragma_index_list(?1, 'main') WHERE \"unique\" AND origin <> 'pk' ORDER BY name";
    let mut statement = connection.prepare_cached(sql)?;
    let names = statement.query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let names: Vec<(String, bool)> = names.collect::<Result<_, _>>()?;
    let (mut unique, mut unseen) = (Vec::new(), Vec::new());
    for (name, is_partial) in names {
        let sql = "SELECT name, coll FROM pragma_index_xinfo(?1, 'main') WHERE key ORDER BY seqno";
        let mut statement = connection.prepare_cached(sql)?;
        let columns = statement.query_map([&name], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let columns: Vec<(Option<String>, Option<String>)> = columns.collect::<Result<_, _>>()?;
        let of = |(name, collation): (Option<String>, Option<String>)| {
            Some((table.column(name?.as_str())?, letters(collation.unwrap_or_default().as_bytes())))
        };
        match columns.into_iter().map(of).collect::<Option<Vec<_>>>().filter(|_| !is_partial) {
            Some(columns) => unique.push(as_compared(table, columns)),
            None => unseen.push(name),
        }
    }
    unique.sort();
    Ok((unique, unseen))
}

fn as_compared(table: &Table, columns: Vec<(usize, Letters)>) -> Unique {
    let is_own = columns.iter().all(|(at, letters)| table.columns[*at].letters == *letters);
    let (columns, letters) = columns.into_iter().unzip();
    Unique { columns, letters: if is_own { Vec::new() } else { letters } }
}

fn references(
    connection: &Connection,
    table: &Table,
    keys: &BTreeMap<String, Vec<String>>,
) -> rusqlite::Result<Vec<Reference>> {
    let sql =
        "SELECT id, \"table\", \"from\", \"to\", on_delete FROM pragma_foreign_key_list(?1, 'main') ORDER BY id, seq";
    let mut statement = connection.prepare_cached(sql)?;
    type Line = (i64, String, String, Option<String>, String);
    let lines = statement
        .query_map([&table.name], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))?;
    let lines: Vec<Line> = lines.collect::<Result<_, _>>()?;
    let of_one = lines.chunk_by(|one, other| one.0 == other.0);
    let reference = |lines: &[Line]| {
        let (_, to, _, _, on_delete) = &lines[0];
        let columns = lines.iter().map(|line| table.column(&line.2)).collect::<Option<Vec<_>>>()?;
        let named = lines.iter().map(|line| line.3.clone()).collect::<Option<Vec<_>>>();
        let to_columns = named.or_else(|| keys.get(&to.to_lowercase()).cloned())?;
        let on_delete = match on_delete.as_str() {
            "CASCADE" => OnDelete::Cascade,
            "SET NULL" => OnDelete::SetNull,
            "SET DEFAULT" => OnDelete::SetDefault,
            _ => OnDelete::Restrict,
        };
        let (parts, to_parts) = Default::default();
        let is_whole = columns.len() == to_columns.len();
        is_whole.then(|| Reference { columns, to: to.clone(), to_columns, on_delete, parts, to_parts })
    };
    Ok(of_one.filter_map(reference).collect())
}

fn names_of(connection: &Connection, kind: &str, table: &str) -> rusqlite::Result<Vec<String>> {
    let sql = "SELECT name FROM main.sqlite_schema WHERE type = ?1 AND tbl_name = ?2 COLLATE NOCASE ORDER BY name";
    connection.prepare_cached(sql)?.query_map([kind, table], |row| row.get(0))?.collect()
}

/// What a column makes of the values it is given, by the rules of SQLite for the words it was declared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    Integer,
    Text,
    Blob,
    Real,
    Numeric,
}

pub fn affinity(kind: &str) -> Affinity {
    let kind = kind.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| kind.contains(word));
    match () {
        () if has(&["INT"]) => Affinity::Integer,
        () if has(&["CHAR", "CLOB", "TEXT"]) => Affinity::Text,
        () if kind.is_empty() || has(&["BLOB"]) => Affinity::Blob,
        () if has(&["REAL", "FLOA", "DOUB"]) => Affinity::Real,
        () => Affinity::Numeric,
    }
}

/// What somebody typed, as a column of this kind keeps it.
pub fn typed(kind: &str, text: &str) -> Value {
    let blob = text.strip_prefix("x'").and_then(|rest| rest.strip_suffix('\'')).and_then(|hex| hex::decode(hex).ok());
    let number = || text.parse().map(Value::Integer).ok();
    let real = || text.parse().map(Value::Real).ok();
    let value = match affinity(kind) {
        Affinity::Text => None,
        Affinity::Integer | Affinity::Numeric => number().or_else(real),
        Affinity::Real => real(),
        Affinity::Blob => blob.map(Value::Blob).or_else(number),
    };
    value.unwrap_or_else(|| Value::text(text))
}

/// A value of another kind as a column of this kind keeps it; `None` where it would not be the same any more.
pub fn converted(kind: &str, value: &Value) -> Option<Value> {
    let number = |text: &str| text.parse().map(Value::Integer).ok();
    let whole = |real: f64| (real.fract() == 0.0 && real.abs() < 9e15).then_some(Value::Integer(real as i64));
    match (affinity(kind), value) {
        (_, Value::Null) | (Affinity::Blob, _) => Some(value.clone()),
        (Affinity::Text, Value::Text(_)) => Some(value.clone()),
        (Affinity::Text, Value::Integer(number)) => Some(Value::text(&number.to_string())),
        (Affinity::Text, Value::Real(number)) => Some(Value::text(&format!("{number:?}"))),
        (Affinity::Integer | Affinity::Numeric, Value::Integer(_)) => Some(value.clone()),
        (Affinity::Integer, Value::Real(real)) => whole(*real),
        (Affinity::Numeric, Value::Real(real)) => whole(*real).or(Some(value.clone())),
        (Affinity::Integer, Value::Text(text)) => number(std::str::from_utf8(text).ok()?),
        // Dates are kept as text in columns that would rather have numbers.
        (Affinity::Numeric, Value::Text(_)) => Some(value.clone()),
        (Affinity::Real, Value::Real(_)) => Some(value.clone()),
        (Affinity::Real, Value::Integer(number)) => {
            let real = *number as f64;
            (real as i64 == *number).then_some(Value::Real(real))
        }
        (Affinity::Real, Value::Text(text)) => std::str::from_utf8(text).ok()?.parse().map(Value::Real).ok(),
        (_, Value::Blob(_)) => None,
    }
}
