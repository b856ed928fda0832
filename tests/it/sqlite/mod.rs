//! SQLite databases: captured while they run, and what is kept of them.

mod bank;
mod deep;
mod facts;
mod large;
mod matching;
mod met;
mod pages;
mod place;
mod reading;
mod rows;
mod schemas;
mod trouble;

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use strongroom::base::path::EntryPath;
use strongroom::format::manifest::Manifest;
use strongroom::ops::backup::{self, Planned, Report};
use strongroom::ops::error::OpError;
use strongroom::ops::show::{self, Part};
use strongroom::source;
use strongroom::vault::limits::Limits;

use crate::support::vaults::{self, Lab};

/// A `sqlite` source of what `path` names, with more settings.
fn source_of(path: &Path, more: &str) -> Planned {
    let table = format!("kind = 'sqlite'\npath = '{}'\n{more}", path.display());
    let source = source::configure(&table.parse().unwrap(), Path::new("/")).unwrap();
    Planned { name: "db".parse().unwrap(), source }
}

/// Takes a snapshot of a database, with the limits that people have.
fn backup(lab: &Lab, planned: Planned) -> Result<Report, OpError> {
    let vault = lab.vault(&lab.store, &lab.folders).with_limits(Limits::default());
    let request = backup::Request { sources: vec![planned], ..vaults::request(Path::new("/"), false) };
    backup::backup(&vault, &request)
}

fn capture(lab: &Lab, path: &Path) -> Manifest {
    backup(lab, source_of(path, "")).unwrap().manifest
}

/// The bytes of a database in a snapshot.
fn bytes(lab: &Lab, manifest: &Manifest, path: &str) -> Vec<u8> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let path = if path.is_empty() { EntryPath::root() } else { EntryPath::from_bytes(path.as_bytes()).unwrap() };
    let mut bytes = Vec::new();
    show::cat(&unlocked, manifest, &Part { source: None, path }, &mut bytes).unwrap();
    bytes
}

/// The database of a snapshot, in a file of its own.
fn restored(lab: &Lab, manifest: &Manifest, name: &str) -> PathBuf {
    let path = lab.path(name);
    std::fs::write(&path, bytes(lab, manifest, "")).unwrap();
    path
}

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(std::time::Duration::from_secs(30)).unwrap();
    connection
}

/// What a query answers, as text.
fn ask(connection: &Connection, sql: &str) -> Vec<String> {
    let mut statement = connection.prepare(sql).unwrap();
    let columns = statement.column_count();
    let row = |row: &rusqlite::Row<'_>| {
        let values = (0..columns).map(|at| row.get_ref(at).map(|value| format!("{value:?}")));
        Ok(values.collect::<Result<Vec<_>, _>>()?.join(" | "))
    };
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

fn assert_sound(path: &Path) {
    assert_eq!(ask(&open(path), "PRAGMA integrity_check"), ["Text([111, 107])"], "{}", path.display());
}

/// A database of some rows of text.
fn some_rows(path: &Path, rows: u32) {
    let connection = open(path);
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)").unwrap();
    grow(&connection, rows);
}

fn grow(connection: &Connection, rows: u32) {
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
               INSERT INTO t (body) SELECT hex(randomblob(150)) FROM n";
    connection.execute(sql, [rows]).unwrap();
}
