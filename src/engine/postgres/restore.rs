//! A captured database into a server: definitions one by one, rows by several connections, what is built on them together.
//!
//! Owns the order, and that nothing is called done before it was looked at. Never touches a database but the one it is
//! told to fill.

mod binary;
mod build;
mod check;
mod crew;
pub mod definitions;
pub mod dump;
pub mod error;
pub mod permitted;
mod rows;
mod rows_only;
mod script;
pub mod server;
mod settle;
pub mod spoken;
pub mod statements;

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::engine::postgres::connect::Session;
use crate::engine::postgres::layout::{self, Sequence, Table};
use crate::engine::postgres::pinned;
use crate::engine::postgres::restore::dump::{Dump, Lines};
use crate::engine::postgres::restore::error::LoadError;
use crate::engine::postgres::restore::rows::Filling;
use crate::engine::postgres::settings::Settings;

pub use check::changed;
pub use definitions::vet;
pub use rows_only::rows_only;
pub use script::replace;

/// A large table is filled, and looked at, in parts of about so many bytes.
const PART: u64 = 32 << 20;

/// How rows are put in, beside what every session is set to.
const FILLING: &str =
    "SET check_function_bodies = off; SET synchronous_commit = off; SET synchronize_seqscans = off; SET jit = off";

/// What of a database is given back.
#[derive(Clone, Debug)]
pub struct What {
    pub definitions: bool,
    pub rows: bool,
    /// The rows of these tables only, `schema.table`; definitions come whole.
    pub tables: Option<BTreeSet<String>>,
}

impl Default for What {
    fn default() -> Self {
        Self { definitions: true, rows: true, tables: None }
    }
}

/// What is done about a table that may not be what was captured. Rows are counted on their way in, in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBack {
    /// It is read back; where it differs, that is an error.
    Must,
    /// It is read back; where it differs, that is told.
    Told,
    /// It is not read back.
    Skipped,
}

pub struct Options {
    pub what: What,
    /// Connections that work at once.
    pub workers: usize,
    pub read_back: ReadBack,
    pub control: Arc<Control>,
}

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Loaded {
    pub tables: u64,
    pub rows: u64,
    pub bytes: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub large_objects: u64,
    pub sequences: u64,
    /// Tables read back and found to be, byte for byte, what was captured.
    pub checked: u64,
    /// Tables that were not, where that was accepted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub differ: Vec<String>,
    /// Foreign keys that do not hold for rows that were there already, because not all tables came back.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_valid: Vec<String>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// Fills a database, which has nothing in it unless only rows are wanted.
pub fn load(dump: &dyn Dump, to: &Settings, options: &Options) -> Result<Loaded, LoadError> {
    let control = &*options.control;
    let tables = tables(dump, &options.what)?;
    control.items_expected.add(tables.len() as u64);
    control.bytes_expected.add(tables.iter().map(|table| table.bytes).sum());
    let mut first = connect(to, options)?;
    let mut loaded = Loaded::default();
    if options.what.definitions {
        settle::make_way(&mut first, dump)?;
        // They set their session to what they need, which rows and indexes do not.
        definitions::run_all(dump, layout::PRE_DATA, &mut connect(to, options)?)?;
    }
    let mut sessions = crew(first, to, options)?;
    if options.what.rows {
        loaded.large_objects = rows::large_objects(dump, &mut sessions[0], options.what.definitions)?;
    }
    let filling = Filling::of(dump, &tables, options, &mut sessions[0])?;
    let is_text_only = rows::is_text_only(dump);
    let statements = options.what.definitions && !is_text_only;
    let built = build::run(dump, &filling, &mut sessions, statements, options.what.tables.is_some())?;
    loaded.not_valid = built.not_valid;
    let read = filling.finish(&mut loaded)?;
    if options.what.definitions && is_text_only {
        definitions::run_all(dump, layout::POST_DATA, &mut connect(to, options)?)?;
    }
    if options.what.rows {
        let sequences: Vec<Sequence> = Lines::of(dump, layout::SEQUENCES)?.all()?;
        loaded.sequences = settle::sequences(&mut sessions[0], &sequences, options.what.tables.as_ref())?;
        settle::analyze(&mut sessions, &tables)?;
        let same = match built.only_builds && !is_text_only {
            true => read.into_iter().map(|read| read.table).collect(),
            false => check::untouched(&tables, read, &mut sessions)?,
        };
        check::rows(dump, &tables, &same, &mut sessions, options.read_back, &mut loaded)?;
    }
    if options.what.definitions {
        // Its own comment must not be seen without the remark that it is half made.
        sessions[0].batch("BEGIN")?;
        definitions::run_for_database(dump, &mut sessions[0], &to.dbname)?;
        server::finish(&mut sessions[0], &to.dbname)?;
        sessions[0].batch("COMMIT")?;
    }
    // Whatever was committed without waiting for the disk is on it after this one.
    sessions[0].batch("SET synchronous_commit = on; SELECT txid_current()")?;
    Ok(loaded)
}

/// The tables that are wanted.
fn tables(dump: &dyn Dump, what: &What) -> Result<Vec<Table>, LoadError> {
    let mut tables: Vec<Table> = Lines::of(dump, layout::TABLES)?.all()?;
    if let Some(wanted) = &what.tables {
        let mut missing = wanted.clone();
        tables.retain(|table| {
            let own = missing.remove(&table.name.shown());
            // A partitioned table has no rows but those of its partitions.
            let root = table.root.as_ref().map(layout::Qualified::shown);
            let of_root = root.filter(|root| wanted.contains(root)).inspect(|root| _ = missing.remove(root)).is_some();
            own || of_root
        });
        if let Some(table) = missing.pop_first() {
            return Err(LoadError::NoTable { table });
        }
    }
    if !what.rows {
        tables.clear();
    }
    Ok(tables)
}

fn connect(to: &Settings, options: &Options) -> Result<Session, LoadError> {
    let session = to.connect(&options.control)?;
    session.batch(FILLING)?;
    Ok(session)
}

/// Sets a session again to what it was set to before definitions were run in it.
fn pin(session: &Session) -> Result<(), LoadError> {
    Ok(session.batch(&format!("{}; {FILLING}", pinned::statements()))?)
}

/// As many connections as are wanted, or as the server has to spare.
fn crew(first: Session, to: &Settings, options: &Options) -> Result<Vec<Session>, LoadError> {
    let mut sessions = vec![first];
    while sessions.len() < options.workers {
        match connect(to, options) {
            Ok(session) => sessions.push(session),
            Err(LoadError::Postgres(error)) if error.is_crowded() => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sessions)
}
