//! `load.sql`: loads a captured database with psql alone.
//!
//! Writes SQL and psql's own commands; runs nothing.

use crate::engine::postgres::layout::{DATABASE, LARGE_OBJECTS, POST_DATA, PRE_DATA, Sequence, Table, literal, quoted};

/// What something is called while its rows are put in.
const STAND_IN: &str = "strongroom_load";
/// One statement of psql puts so much of a large object in its place.
const SLICE: u64 = 64 << 20;

/// The beginning: settings, definitions.
pub fn head(encoding: &str) -> String {
    format!(
        "-- Loads this database into an empty one: psql -X -d NAME -f load.sql, in this folder.\n\
         -- Roles and tablespaces are in globals.sql, if it is there: load it first where they are missing.\n\
         --\n\
         -- psql runs programs where a file tells it to, with a backslash. A backup makes sure that no definition does. Who can\n\
         -- write to the vault may have put other files in their place: of a vault that you do not trust whole, load none of\n\
         -- these. strongroom restore SNAPSHOT SOURCE --to postgres://HOST/NAME uses no psql, and refuses what no backup writes.\n\
         -- To see what psql would obey in definitions (only restrict and unrestrict should be there):\n\
         --     grep -n '^\\\\' globals.sql pre-data.sql post-data.sql database.sql\n\
         -- Of this file itself read every line that begins with a backslash: set, i, encoding, copy FROM, lo_import, lo_unlink.\n\
         --\n\
         -- restrict and unrestrict are known to psql 13.22, 14.19, 15.14, 16.10, 17.6 and newer. An older one stops at them;\n\
         -- take those two lines out of pre-data.sql, post-data.sql and globals.sql then, once you have seen that there are no others.\n\
         \\set ON_ERROR_STOP on\n\
         \\i {PRE_DATA}\n\
         \\encoding {encoding}\n\
         SET DateStyle = ISO;\n\
         SET IntervalStyle = postgres;\n\
         SET TimeZone = 'UTC';\n\
         SET array_nulls = on;\n\
         SET lc_monetary = 'C';\n\
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
///
/// psql's own command ends with its line. What has a name of several lines gets another for as long as it takes.
pub fn table(table: &Table) -> String {
    let mut renames = Vec::new();
    let mut on_one_line = |name: &str, stand_in: String, rename: &dyn Fn(&str, &str) -> String| {
        let quoted = quoted(name);
        if !name.contains(['\n', '\r']) {
            return quoted;
        }
        renames.push((rename(&quoted, &stand_in), rename(&stand_in, &quoted)));
        stand_in
    };
    let rename = |from: &str, to: &str| format!("ALTER SCHEMA {from} RENAME TO {to};\n");
    let schema = on_one_line(&table.name.schema, STAND_IN.to_owned(), &rename);
    let rename = |from: &str, to: &str| format!("ALTER TABLE {schema}.{from} RENAME TO {to};\n");
    let name = on_one_line(&table.name.name, STAND_IN.to_owned(), &rename);
    let rename = |from: &str, to: &str| format!("ALTER TABLE {schema}.{name} RENAME COLUMN {from} TO {to};\n");
    let columns = table.columns.iter().enumerate();
    let names: Vec<String> =
        columns.map(|(at, column)| on_one_line(&column.name, format!("{STAND_IN}_{at}"), &rename)).collect();
    let names = if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) };
    let before: String = renames.iter().map(|(before, _)| before.as_str()).collect();
    let after: String = renames.iter().rev().map(|(_, after)| after.as_str()).collect();
    format!("{before}\\copy {schema}.{name}{names} FROM {}\n{after}", file(&table.path))
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
