//! `load.sql`: loads a captured database with psql alone.
//!
//! Writes SQL and psql's own commands; runs nothing.

use crate::engine::postgres::layout::{DATABASE, LARGE_OBJECTS, POST_DATA, PRE_DATA, Sequence, Table, literal, quoted};

/// One statement of psql puts so much of a large object in its place.
const SLICE: u64 = 64 << 20;

/// The beginning: settings, definitions.
pub fn head(encoding: &str) -> String {
    format!(
        "-- Loads this database into an empty one: psql -X -d NAME -f load.sql, in this folder.\n\
         -- Roles and tablespaces are in globals.sql, if it is there: load it first where they are missing.\n\
         \\set ON_ERROR_STOP on\n\
         \\i {PRE_DATA}\n\
         \\encoding {encoding}\n\
         SET DateStyle = ISO;\n\
         SET IntervalStyle = postgres;\n\
         SET TimeZone = 'UTC';\n\
         SET row_security = off;\n\
         SET statement_timeout = 0;\n\
         SET lock_timeout = 0;\n\
         SET idle_in_transaction_session_timeout = 0;\n\
         SET client_min_messages = warning;\n\
         SET check_function_bodies = false;\n\
         SET search_path = '';\n"
    )
}

/// Puts the rows of a table in.
pub fn table(table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let columns = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    format!("\\copy {}{columns} FROM {}\n", table.name.quoted(), file(&table.path))
}

/// Fills a large object that the definitions have made.
pub fn large_object(oid: u32, bytes: u64) -> String {
    let mut script = format!("\\lo_import {LARGE_OBJECTS}/{oid}\n");
    for start in (0..bytes).step_by(SLICE as usize) {
        script += &format!(
            "SELECT pg_catalog.lo_put({oid}, {start}, pg_catalog.lo_get(:LASTOID, {start}, {SLICE})) \\g /dev/null\n"
        );
    }
    script + "\\lo_unlink :LASTOID\n"
}

/// Sets a sequence where it was.
pub fn sequence(sequence: &Sequence) -> String {
    let name = literal(&sequence.name.quoted());
    format!("SELECT pg_catalog.setval({name}, {}, {}) \\g /dev/null\n", sequence.last_value, sequence.is_called)
}

/// The end: what is built on rows.
pub fn tail() -> String {
    format!("\\i {POST_DATA}\n\\i {DATABASE}\nRESET search_path;\nANALYZE;\n")
}

/// A file's name as psql's commands take it.
fn file(path: &str) -> String {
    format!("'{}'", path.replace('\'', "''"))
}
