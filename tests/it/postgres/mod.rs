//! PostgreSQL databases, against a real server: captured while they are written to, and what is kept of them.

mod across;
mod asked;
mod bank;
mod by_hand;
mod differences;
mod edges;
mod elsewhere;
mod everything;
mod foreseen;
mod forged;
mod held_up;
mod killed;
mod letters;
mod lost;
mod memory;
mod pinned;
mod present;
mod records;
mod restore;
mod segments;
mod shapes;
mod swept;
mod translated;
mod trouble;

use std::path::Path;

use strongroom::base::database::Database;
use strongroom::base::path::EntryPath;
use strongroom::engine::postgres::layout::{Sequence, Table};
use strongroom::format::manifest::Manifest;
use strongroom::ops::backup::{self, Planned, Report};
use strongroom::ops::error::OpError;
use strongroom::ops::show::{self, Part};
use strongroom::source;
use strongroom::vault::limits::Limits;

use crate::support::postgres::cluster;
use crate::support::program::Home;
use crate::support::vaults::{self, Lab};

/// A `postgres` source of a database, with more settings.
fn source_of(url: &str, more: &str) -> Planned {
    let table = format!("kind = 'postgres'\nurl = '{url}'\n{more}");
    let source = source::configure(&table.parse().unwrap(), Path::new("/")).unwrap();
    Planned { name: "db".parse().unwrap(), source }
}

/// Takes a snapshot of a database, with the limits that people have.
fn backup(lab: &Lab, planned: Planned) -> Result<Report, OpError> {
    let vault = lab.vault(&lab.store, &lab.folders).with_limits(Limits::default());
    let request = backup::Request { sources: vec![planned], ..vaults::request(Path::new("/"), false) };
    backup::backup(&vault, &request)
}

fn capture(lab: &Lab, url: &str) -> Manifest {
    backup(lab, source_of(url, "")).unwrap().manifest
}

fn database(manifest: &Manifest) -> &Database {
    let [database] = &manifest.sources[0].databases[..] else { panic!("{:?}", manifest.sources[0].databases) };
    database
}

/// The bytes of a file in a snapshot.
fn bytes(lab: &Lab, manifest: &Manifest, path: &str) -> Vec<u8> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let mut bytes = Vec::new();
    let part = Part { source: None, path: EntryPath::from_bytes(path.as_bytes()).unwrap() };
    show::cat(&unlocked, manifest, &part, &mut bytes).unwrap();
    bytes
}

fn text(lab: &Lab, manifest: &Manifest, path: &str) -> String {
    String::from_utf8(bytes(lab, manifest, path)).unwrap()
}

/// All paths of a snapshot.
fn paths(lab: &Lab, manifest: &Manifest) -> Vec<String> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let mut paths = Vec::new();
    let collect = |entry: strongroom::base::entry::Entry| {
        paths.push(entry.path.to_string());
        Ok(())
    };
    show::list(&unlocked, manifest, &Part::whole(), collect).unwrap();
    paths
}

fn tables(lab: &Lab, manifest: &Manifest) -> Vec<Table> {
    text(lab, manifest, "tables.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn sequences(lab: &Lab, manifest: &Manifest) -> Vec<Sequence> {
    text(lab, manifest, "sequences.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A home whose vault has a snapshot of a database that some SQL makes.
pub fn captured_home(sql: &str) -> (Home, String) {
    let (cluster, home, name) = (cluster(), Home::new(), cluster().database());
    cluster.sql(&name, sql);
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["init", "--quiet"]);
    home.ok(&["backup", "--quiet"]);
    (home, name)
}
