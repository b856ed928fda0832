//! Everything in one transaction, for who may not make databases: what is there is dropped, what was captured is made.
//!
//! All of it goes over one connection; where anything fails, or a table has not as many rows as were captured, the database
//! stays as it was. Only the comparison byte by byte comes after it: other connections cannot look into a transaction.

use std::collections::BTreeSet;

use crate::engine::postgres::layout::{self, Sequence, Table, literal};
use crate::engine::postgres::restore::dump::{Blocks, Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{Loaded, Options, check, connect, definitions, pin, rows, settle, tables};
use crate::engine::postgres::settings::Settings;

/// Drops what belongs to nobody's system: first what refers to schemas, then these, then what lies in none.
const DROP: &str = r#"
DO $strongroom$
DECLARE found record;
BEGIN
    FOR found IN SELECT evtname AS name FROM pg_event_trigger e
        WHERE NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = e.oid AND d.deptype = 'e') LOOP
        EXECUTE format('DROP EVENT TRIGGER %I', found.name);
    END LOOP;
    FOR found IN SELECT pubname AS name FROM pg_publication LOOP
        EXECUTE format('DROP PUBLICATION %I', found.name);
    END LOOP;
    FOR found IN SELECT extname AS name FROM pg_extension WHERE extname <> 'plpgsql' LOOP
        EXECUTE format('DROP EXTENSION IF EXISTS %I CASCADE', found.name);
    END LOOP;
    FOR found IN SELECT nspname AS name FROM pg_namespace
        WHERE nspname !~ '^pg_' AND nspname <> 'information_schema' AND nspname <> 'public' LOOP
        EXECUTE format('DROP SCHEMA IF EXISTS %I CASCADE', found.name);
    END LOOP;
    DROP SCHEMA IF EXISTS public CASCADE;
    FOR found IN SELECT fdwname AS name FROM pg_foreign_data_wrapper LOOP
        EXECUTE format('DROP FOREIGN DATA WRAPPER %I CASCADE', found.name);
    END LOOP;
    PERFORM lo_unlink(oid) FROM pg_largeobject_metadata;
END
$strongroom$;
"#;
/// As every new database has it; what was otherwise stands in the definitions.
const PUBLIC: &str = "CREATE SCHEMA public;\nGRANT USAGE ON SCHEMA public TO PUBLIC;\n\
    COMMENT ON SCHEMA public IS 'standard public schema';\n";
/// The owner it has since version 15; before, everybody could create in it.
const OWNED: &str = "ALTER SCHEMA public OWNER TO pg_database_owner;\n";
const OPEN: &str = "GRANT CREATE ON SCHEMA public TO PUBLIC;\n";

/// Replaces what is in a database.
pub fn replace(dump: &dyn Dump, to: &Settings, options: &Options) -> Result<Loaded, LoadError> {
    definitions::vet(dump)?;
    let tables = tables(dump, &options.what)?;
    let sequences: Vec<Sequence> = Lines::of(dump, layout::SEQUENCES)?.all()?;
    let mut session = connect(to, options)?;
    let objects = large_objects(dump)?;
    let mut loaded = Loaded { tables: tables.len() as u64, large_objects: objects.len() as u64, ..Loaded::default() };
    loaded.rows = tables.iter().map(|table| table.rows).sum();
    loaded.bytes = tables.iter().map(|table| table.bytes).sum();
    session.batch("BEGIN")?;
    session.batch(DROP)?;
    if !settle::makes_public(dump)? {
        session.batch(PUBLIC)?;
        session.batch(if session.server_version() >= 150_000 { OWNED } else { OPEN })?;
    }
    definitions::run_all(dump, layout::PRE_DATA, &mut session)?;
    pin(&session)?;
    if options.what.rows {
        for table in &tables {
            rows::copy(dump, &mut session, table)?;
        }
        for oid in &objects {
            rows::large_object(dump, &mut session, *oid)?;
        }
    }
    definitions::run_all(dump, layout::POST_DATA, &mut session)?;
    pin(&session)?;
    if options.what.rows {
        for sequence in &sequences {
            settle::put_back(&mut session, sequence)?;
        }
    }
    definitions::run_for_database(dump, &mut session, &to.dbname)?;
    // What is counted here has its triggers and rules behind it.
    for table in tables.iter().filter(|table| table.condition.is_none()) {
        session.batch(&counted(table))?;
    }
    session.batch("SET synchronous_commit = on; COMMIT")?;
    pin(&session)?;
    if options.what.rows {
        loaded.sequences = settle::sequences(&mut session, &sequences, options.what.tables.as_ref())?;
        let mut sessions = vec![session];
        settle::analyze(&mut sessions, &tables)?;
        check::rows(dump, &tables, &BTreeSet::new(), &mut sessions, options.read_back, &mut loaded)?;
    }
    Ok(loaded)
}

/// Fails unless a table has as many rows as were captured.
fn counted(table: &Table) -> String {
    let (name, rows) = (table.name.quoted(), table.rows);
    let failure = literal(&format!("{} has not the {rows} rows that were captured", table.name.shown()));
    let differs = format!("(SELECT count(*) FROM ONLY {name}) <> {rows}");
    let check = format!("BEGIN IF {differs} THEN RAISE EXCEPTION USING MESSAGE = {failure}; END IF; END");
    format!("DO {};\n", literal(&check))
}

/// The numbers of the large objects, from the script that knows them all.
pub fn large_objects(dump: &dyn Dump) -> Result<Vec<u32>, LoadError> {
    let mut blocks = Blocks::of(dump, layout::LOAD)?;
    let (mut found, mut line) = (Vec::new(), Vec::new());
    let prefix = format!("\\lo_import {}/", layout::LARGE_OBJECTS);
    while let Some(block) = blocks.block()? {
        for &byte in &block {
            if byte != b'\n' {
                line.push(byte);
                continue;
            }
            let number = line.strip_prefix(prefix.as_bytes()).and_then(|rest| std::str::from_utf8(rest).ok());
            found.extend(number.and_then(|number| number.trim().parse::<u32>().ok()));
            line.clear();
        }
    }
    Ok(found)
}
