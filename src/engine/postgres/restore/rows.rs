//! Rows in: tables by COPY, the largest first, those of a long one in parts.
//!
//! Owns where a table is split and that the server took as many rows as there were.

use std::sync::Mutex;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{Table, large_object_path, quoted};
use crate::engine::postgres::restore::Loaded;
use crate::engine::postgres::restore::crew::{self, Job};
use crate::engine::postgres::restore::dump::{Blocks, Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::segments::Segment;

/// A table is split into parts of about so many bytes.
const PART: u64 = 64 << 20;

/// A run of a table's rows.
struct Part {
    table: usize,
    start: u64,
    end: u64,
}

pub fn load(
    dump: &dyn Dump,
    tables: &[Table],
    sessions: &mut [Session],
    control: &Control,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let mut parts = Vec::new();
    for (number, table) in tables.iter().enumerate().filter(|(_, table)| table.rows > 0) {
        parts.extend(split(dump, number, table)?);
    }
    parts.sort_by_key(|part| std::cmp::Reverse(part.end - part.start));
    let encoding = if dump.fact("encoding") == Some("SQL_ASCII") { "SQL_ASCII" } else { "UTF8" };
    let taken = Mutex::new(vec![0u64; tables.len()]);
    let jobs = parts.into_iter().map(|what| Job { needs: Vec::new(), what });
    crew::work(sessions, jobs, |session, part| {
        let rows = copy(dump, session, &tables[part.table], &part, encoding, control)?;
        taken.lock().expect("BUG: nothing panics while holding it")[part.table] += rows;
        Ok(())
    })?;
    let taken = taken.into_inner().expect("BUG: nothing panics while holding it");
    for (table, found) in tables.iter().zip(taken) {
        if found != table.rows {
            return Err(LoadError::Count { table: table.name.shown(), expected: table.rows, found });
        }
        control.items.add(1);
        loaded.tables += 1;
        loaded.rows += found;
        loaded.bytes += table.bytes;
    }
    Ok(())
}

/// Where rows have no key, their order is all they have: then they stay together.
fn split(dump: &dyn Dump, number: usize, table: &Table) -> Result<Vec<Part>, LoadError> {
    let whole = Part { table: number, start: 0, end: u64::MAX };
    if table.key.is_empty() || table.bytes < 2 * PART {
        return Ok(vec![Part { end: table.bytes, ..whole }]);
    }
    let mut segments = Lines::of(dump, &table.name.segments_path())?;
    let (mut parts, mut start, mut end) = (Vec::new(), 0, 0);
    while let Some(segment) = segments.line::<Segment>()? {
        end += segment.bytes;
        if end - start >= PART {
            parts.push(Part { table: number, start, end });
            start = end;
        }
    }
    if start < table.bytes {
        parts.push(Part { table: number, start, end: table.bytes });
    }
    Ok(parts)
}

fn copy(
    dump: &dyn Dump,
    session: &mut Session,
    table: &Table,
    part: &Part,
    encoding: &str,
    control: &Control,
) -> Result<u64, LoadError> {
    let sql = format!("COPY {} FROM STDIN (FORMAT text, ENCODING '{encoding}')", target(table));
    let mut blocks = Blocks::within(dump, &table.path, part.start, part.end)?;
    let done: Result<u64, Explained> = session.copy_in(&sql, || {
        let block = blocks.block()?;
        control.bytes.add(block.as_ref().map_or(0, |block| block.len() as u64));
        Ok(block)
    })?;
    Ok(done?)
}

/// The table and the columns that its file holds.
pub fn target(table: &Table) -> String {
    format!("{}{}", table.name.quoted(), columns(table))
}

fn columns(table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Fills the large objects that the definitions have made, or that are there already.
pub fn large_objects(dump: &dyn Dump, session: &mut Session, all: bool) -> Result<u64, LoadError> {
    let oids: Vec<u32> = session
        .query("SELECT oid FROM pg_largeobject_metadata ORDER BY oid", &[])?
        .iter()
        .map(|row| row.get(0))
        .collect();
    let mut filled = 0;
    for oid in oids {
        let path = large_object_path(oid);
        if dump.open(&path)?.is_none() {
            if all {
                return Err(LoadError::Absent { path });
            }
            continue;
        }
        let mut blocks = Blocks::of(dump, &path)?;
        let mut at = 0i64;
        while let Some(block) = blocks.block()? {
            session.execute("SELECT lo_put($1, $2, $3)", &[&oid, &at, &&block[..]])?;
            at += block.len() as i64;
        }
        filled += 1;
    }
    Ok(filled)
}
