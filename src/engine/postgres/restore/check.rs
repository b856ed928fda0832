//! Reading back: is every table, byte for byte, what was captured?
//!
//! What the server gives is hashed as it was cut when it was captured; nothing is read from the snapshot for it.

use std::collections::BTreeSet;
use std::sync::Mutex;

use sha2::{Digest, Sha256};

use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::engine::postgres::catalog;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{Table, quoted};
use crate::engine::postgres::restore::crew::{self, Job};
use crate::engine::postgres::restore::dump::{Dump, Piece, Pieces};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::{Loaded, Options};
use crate::engine::postgres::settings::Settings;

pub fn rows(
    dump: &dyn Dump,
    tables: &[Table],
    sessions: &mut [Session],
    accept: bool,
    loaded: &mut Loaded,
) -> Result<(), LoadError> {
    let mut order: Vec<&Table> = tables.iter().collect();
    order.sort_by_key(|table| std::cmp::Reverse(table.bytes));
    let differ = Mutex::new(Vec::new());
    let jobs = order.into_iter().map(|what| Job { needs: Vec::new(), what });
    crew::work(sessions, jobs, |session, table| {
        if !holds(dump, session, table)? {
            differ.lock().expect("BUG: nothing panics while holding it").push(table.name.shown());
        }
        Ok(())
    })?;
    let mut differ = differ.into_inner().unwrap_or_default();
    differ.sort();
    if !differ.is_empty() && !accept {
        return Err(LoadError::Differs { tables: differ });
    }
    loaded.checked = (tables.len() - differ.len()) as u64;
    loaded.differ = differ;
    Ok(())
}

/// The tables that a live database does not give as they were captured, and those it has beyond them.
pub fn changed(dump: &dyn Dump, live: &Settings, options: &Options) -> Result<Vec<String>, LoadError> {
    let tables = super::tables(dump, &options.what)?;
    let first = super::connect(live, options)?;
    let mut sessions = super::crew(first, live, options)?;
    let there: BTreeSet<String> =
        catalog::relations(&mut sessions[0])?.iter().map(|relation| relation.name.shown()).collect();
    let known: BTreeSet<String> = tables.iter().map(|table| table.name.shown()).collect();
    let mut changed: Vec<String> = there.symmetric_difference(&known).cloned().collect();
    let both: Vec<Table> = tables.into_iter().filter(|table| there.contains(&table.name.shown())).collect();
    let mut loaded = Loaded::default();
    rows(dump, &both, &mut sessions, true, &mut loaded)?;
    changed.extend(loaded.differ);
    changed.sort();
    Ok(changed)
}

/// Does the database give the very bytes of this table's file?
pub fn holds(dump: &dyn Dump, session: &mut Session, table: &Table) -> Result<bool, LoadError> {
    let encoding = if dump.fact("encoding") == Some("SQL_ASCII") { "SQL_ASCII" } else { "UTF8" };
    let sql = format!("COPY ({}) TO STDOUT (FORMAT text, ENCODING '{encoding}')", select(session, table)?);
    let mut comparison =
        Comparison { pieces: dump.pieces(&table.path)?, piece: None, digest: Sha256::new(), same: true };
    let mut failed = None;
    session.copy_out(&sql, |bytes| {
        let done = comparison.take(&bytes);
        let goes_on = matches!(done, Ok(true));
        failed = done.err();
        goes_on
    })?;
    match failed {
        Some(error) => Err(error.into()),
        None => Ok(comparison.ends()?),
    }
}

/// The rows in the order of their file.
fn select(session: &mut Session, table: &Table) -> Result<String, LoadError> {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let mut sql = format!("SELECT {} FROM ONLY {}", names.join(", "), table.name.quoted());
    if let Some(condition) = &table.condition {
        sql += &format!(" {condition}");
    }
    if !table.key.is_empty() {
        let collated = "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass($1) AND attcollation <> 0";
        let rows = session.query(collated, &[&table.name.quoted()])?;
        let collated: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
        let column = |name: &String| match collated.contains(name) {
            true => format!("{} COLLATE \"C\"", quoted(name)),
            false => quoted(name),
        };
        sql += &format!(" ORDER BY {}", table.key.iter().map(column).collect::<Vec<_>>().join(", "));
    }
    Ok(sql)
}

struct Comparison<'d> {
    pieces: Pieces<'d>,
    /// The piece that is being hashed, with what of it is still to come.
    piece: Option<Piece>,
    digest: Sha256,
    same: bool,
}

impl Comparison<'_> {
    fn next(&mut self) -> Result<bool, Explained> {
        self.piece = self.pieces.next().transpose()?;
        Ok(self.piece.is_some())
    }

    fn take(&mut self, mut bytes: &[u8]) -> Result<bool, Explained> {
        while self.same && !bytes.is_empty() {
            if self.piece.is_none() && !self.next()? {
                self.same = false;
                break;
            }
            let piece = self.piece.as_mut().expect("BUG: just looked");
            let (now, rest) = bytes.split_at(bytes.len().min(piece.length as usize));
            self.digest.update(now);
            piece.length -= now.len() as u64;
            bytes = rest;
            if piece.length == 0 {
                let found = PlainDigest::from_bytes(self.digest.finalize_reset().into());
                // What has no digest of its own was counted, at least.
                self.same = piece.digest.is_none_or(|digest| digest == found);
                self.piece = None;
            }
        }
        Ok(self.same)
    }

    fn ends(mut self) -> Result<bool, Explained> {
        Ok(self.same && self.piece.is_none() && !self.next()?)
    }
}
