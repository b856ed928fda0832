//! What psql would obey in the files of a captured database, for whoever loads them with psql.
//!
//! Owns the choice of these files. Runs nothing, and says nothing of what SQL does that psql only hands on.

use crate::engine::postgres::layout::{self, Sequence, Table, large_object_path};
use crate::engine::postgres::load_script;
use crate::engine::postgres::restore::dump::{Blocks, Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{definitions, rows, script};

/// Files that are given back as they were captured, and speak to psql as no backup does: which, and why.
pub fn to_psql(dump: &dyn Dump) -> Result<Vec<(&'static str, String)>, LoadError> {
    let mut found = Vec::new();
    for path in [layout::GLOBALS, layout::PRE_DATA, layout::POST_DATA, layout::DATABASE] {
        if dump.open(path)?.is_none() {
            continue;
        }
        match definitions::split(dump, path, |_| Ok(())) {
            Err(LoadError::NoDefinitions { why, .. }) => found.push((path, format!("do not load it with psql: {why}"))),
            other => other?,
        }
    }
    if dump.open(layout::LOAD)?.is_some() && !is_as_written(dump)? {
        found.push((layout::LOAD, "do not load it with psql: it is not what a backup writes".to_owned()));
    }
    Ok(found)
}

/// Is `load.sql` what a backup writes for what else is there? What it says of itself to people may have changed.
fn is_as_written(dump: &dyn Dump) -> Result<bool, LoadError> {
    let mut written = load_script::head(rows::encoding(dump));
    let tables: Vec<Table> = Lines::of(dump, layout::TABLES)?.all()?;
    tables.iter().for_each(|table| written += &load_script::table(table));
    for oid in script::large_objects(dump)? {
        let length = dump.open(&large_object_path(oid))?.map_or(0, |content| content.length());
        written += &load_script::large_object(oid, length);
    }
    let sequences: Vec<Sequence> = Lines::of(dump, layout::SEQUENCES)?.all()?;
    sequences.iter().for_each(|sequence| written += &load_script::sequence(sequence));
    written += &load_script::tail();
    let (mut blocks, mut there) = (Blocks::of(dump, layout::LOAD)?, Vec::new());
    while let Some(block) = blocks.block()? {
        there.extend_from_slice(&block);
        // Longer by more than any comment: it is not the same.
        if there.len() > 2 * written.len() + (64 << 10) {
            return Ok(false);
        }
    }
    Ok(spoken(written.as_bytes()).eq(spoken(&there)))
}

/// The lines that are no comments.
fn spoken(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|&byte| byte == b'\n').filter(|line| !line.starts_with(b"--"))
}
