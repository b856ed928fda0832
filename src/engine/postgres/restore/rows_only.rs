//! Rows into tables that are there already and empty: in one transaction, referred to before what refers to it.

use std::collections::{BTreeMap, BTreeSet};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{self, Sequence, Table};
use crate::engine::postgres::restore::dump::{Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{Loaded, Options, check, connect, rows, settle, tables};
use crate::engine::postgres::settings::Settings;
use crate::engine::postgres::triggers;

const REFERENCES: &str = "SELECT DISTINCT pg_catalog.format('%s.%s', n.nspname, c.relname), \
        pg_catalog.format('%s.%s', rn.nspname, r.relname) \
    FROM pg_constraint f JOIN pg_class c ON c.oid = f.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    JOIN pg_class r ON r.oid = f.confrelid JOIN pg_namespace rn ON rn.oid = r.relnamespace \
    WHERE f.contype = 'f' AND f.conrelid <> f.confrelid";

/// Fills tables. What fails takes all of it back.
pub fn rows_only(dump: &dyn Dump, to: &Settings, options: &Options) -> Result<Loaded, LoadError> {
    let wanted = tables(dump, &options.what)?;
    let mut session = connect(to, options)?;
    session.batch("BEGIN")?;
    for table in &wanted {
        let sql = format!("SELECT EXISTS (SELECT FROM ONLY {})", table.name.quoted());
        if session.query(&sql, &[])?[0].get(0) {
            return Err(LoadError::NotEmpty { table: table.name.shown() });
        }
    }
    let mut loaded = Loaded::default();
    session.batch("SET CONSTRAINTS ALL DEFERRED")?;
    let order = ordered(&mut session, &wanted)?;
    // What an app does with new rows it has done with these already. Foreign keys are looked at all the same.
    let asleep = triggers::put_to_sleep(&mut session, order.iter().map(|table| &table.name))?;
    for table in &order {
        let found = rows::copy(dump, &mut session, table)?;
        if found != table.rows {
            return Err(LoadError::Count { table: table.name.shown(), expected: table.rows, found });
        }
        options.control.items.add(1);
        loaded.tables += 1;
        loaded.rows += found;
        loaded.bytes += table.bytes;
    }
    session.batch("SET CONSTRAINTS ALL IMMEDIATE")?;
    asleep.wake(&mut session)?;
    let sequences: Vec<Sequence> = Lines::of(dump, layout::SEQUENCES)?.all()?;
    loaded.sequences = settle::sequences(&mut session, &sequences, options.what.tables.as_ref())?;
    let mut sessions = vec![session];
    check::rows(dump, &wanted, &BTreeSet::new(), &mut sessions, options.read_back, &mut loaded)?;
    sessions[0].batch("SET synchronous_commit = on; COMMIT")?;
    settle::analyze(&mut sessions, &wanted)?;
    Ok(loaded)
}

/// Tables that others refer to first. Within a cycle the order is that of names: there the database has to wait with
/// its check, or refuses.
fn ordered<'t>(session: &mut Session, tables: &'t [Table]) -> Result<Vec<&'t Table>, LoadError> {
    let mut refers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in session.query(REFERENCES, &[])? {
        refers.entry(row.get(0)).or_default().insert(row.get(1));
    }
    let mut waiting: Vec<&Table> = tables.iter().collect();
    let mut order = Vec::new();
    while !waiting.is_empty() {
        let names: BTreeSet<String> = waiting.iter().flat_map(|table| names(table)).collect();
        let is_free = |table: &&Table| {
            let own: BTreeSet<String> = names_of(table);
            own.iter().filter_map(|name| refers.get(name)).flatten().all(|to| own.contains(to) || !names.contains(to))
        };
        let (free, rest): (Vec<&Table>, Vec<&Table>) = waiting.iter().partition(|table| is_free(table));
        if free.is_empty() {
            order.extend(rest);
            break;
        }
        order.extend(free);
        waiting = rest;
    }
    Ok(order)
}

/// Under which a reference may be to it: its own name, and that of the table it is a partition of.
fn names(table: &Table) -> Vec<String> {
    let root = table.root.as_ref().map(layout::Qualified::shown);
    std::iter::once(table.name.shown()).chain(root).collect()
}

fn names_of(table: &Table) -> BTreeSet<String> {
    names(table).into_iter().collect()
}
