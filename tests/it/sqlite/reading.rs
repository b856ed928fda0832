//! Databases of snapshots, asked without restoring them.

use std::io;
use std::sync::Arc;

use rusqlite::Connection;
use strongroom::base::entry::Entry;
use strongroom::base::error::{Class, Explain};
use strongroom::base::path::EntryPath;
use strongroom::base::random::RandomRead;
use strongroom::engine::sqlite::ask::{Cell, Rows};
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::error::OpError;
use strongroom::ops::places::Places;
use strongroom::ops::query::{Query, Report, Request, Statement};
use strongroom::vault::random::Desk;
use strongroom::vault::read;
use strongroom::vault::unlocked::UnlockedVault;

use super::schemas::{fixtures, queries};
use super::{ask, bytes, capture, grow, open, some_rows};
use crate::support::vaults::{Lab, Random};

/// Answers as `ask` has them.
#[derive(Default)]
struct Lines(Vec<String>);

impl Rows for Lines {
    fn columns(&mut self, _: &[String]) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.0.push(cells.iter().map(|cell| format!("{cell:?}")).collect::<Vec<_>>().join(" | "));
        Ok(())
    }
}

fn unlock(lab: &Lab) -> UnlockedVault {
    lab.unlock(&lab.store, &lab.folders).unwrap()
}

fn query(lab: &Lab, manifest: &Manifest, sql: &str, lines: &mut Lines) -> Result<Report, OpError> {
    let unlocked = unlock(lab);
    let request = Request {
        manifest,
        part: None,
        attach: Vec::new(),
        configured: Vec::new(),
        statement: Statement::Sql(sql.to_owned()),
        values: Vec::new(),
        places: Places::of(unlocked.vault()),
        control: Arc::default(),
    };
    Query::open(&unlocked, request)?.answer(lines)
}

pub fn answer(lab: &Lab, manifest: &Manifest, sql: &str) -> Vec<String> {
    let mut lines = Lines::default();
    query(lab, manifest, sql, &mut lines).unwrap();
    lines.0
}

fn entry(lab: &Lab, manifest: &Manifest) -> (Arc<Desk>, Entry) {
    let unlocked = unlock(lab);
    let library = unlocked.library().unwrap();
    let entry = read::entries(&manifest.sources[0].listing, &EntryPath::root(), &library).next().unwrap().unwrap();
    (Desk::holding(library.owned(), 1 << 20), entry)
}

#[test]
fn every_schema_answers_from_a_snapshot_as_it_does_live() {
    for fixture in fixtures() {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        let connection = open(&live);
        connection.execute_batch(&std::fs::read_to_string(&fixture).unwrap()).unwrap();
        // What is still in a log is in the snapshot.
        let manifest = capture(&lab, &live);
        for sql in queries(&fixture) {
            assert_eq!(answer(&lab, &manifest, &sql), ask(&connection, &sql), "{}: {sql}", fixture.display());
        }
        let check = answer(&lab, &manifest, "PRAGMA integrity_check");
        assert_eq!(check, ["Text([111, 107])"], "{}", fixture.display());
    }
}

#[test]
fn finding_a_row_by_its_key_reads_less_than_a_hundredth_of_the_vault() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 500_000);
    let manifest = capture(&lab, &live);
    let stored: u64 = lab.store.list(layout::PACKS).unwrap().iter().map(|object| object.size).sum();
    for id in [1, 77_777, 499_999] {
        let mut lines = Lines::default();
        let report = query(&lab, &manifest, &format!("SELECT id FROM t WHERE id = {id}"), &mut lines).unwrap();
        assert_eq!(lines.0, [format!("Integer({id})")]);
        assert!(report.fetched > 0 && report.fetched * 100 < stored, "{} of {stored}", report.fetched);
    }
    // A scan reads everything, and not much of it twice.
    let mut lines = Lines::default();
    let report = query(&lab, &manifest, "SELECT sum(length(body)) FROM t", &mut lines).unwrap();
    assert_eq!(lines.0, ["Integer(150000000)"]);
    assert!(report.fetched < stored + stored / 4, "{} of {stored}", report.fetched);
}

#[test]
fn a_damaged_pack_is_named_and_no_wrong_row_is_handed_over() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    // More than one pack: the largest has no listing in it.
    some_rows(&live, 120_000);
    let manifest = capture(&lab, &live);
    let sql = "SELECT id, body FROM t ORDER BY id";
    let expected = ask(&Connection::open(&live).unwrap(), sql);
    let object = lab.store.list(layout::PACKS).unwrap().into_iter().max_by_key(|object| object.size).unwrap();
    let mut sealed = lab.store.get(&object.key).unwrap().to_vec();
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    lab.store.delete(&object.key).unwrap();
    lab.store.put_new(&object.key, sealed.into()).unwrap();
    let mut lines = Lines::default();
    let error = query(&lab, &manifest, sql, &mut lines).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
    assert!(error.to_string().contains(object.key.as_str()) && error.hint().is_some(), "{error}");
    assert!(!lines.0.is_empty() && lines.0.len() < expected.len());
    assert_eq!(lines.0[..], expected[..lines.0.len()]);
    lab.store.delete(&object.key).unwrap();
    let error = query(&lab, &manifest, sql, &mut Lines::default()).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "{error}");
}

/// Snapshots of a database of small pages, changed here and there until its list of extents is content itself.
pub fn scattered(lab: &Lab) -> Manifest {
    let live = lab.path("live.db");
    let connection = open(&live);
    let sql = "PRAGMA page_size = 512; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT); \
               CREATE TABLE zeros (id INTEGER PRIMARY KEY, body BLOB)";
    connection.execute_batch(sql).unwrap();
    grow(&connection, 8_000);
    connection.execute_batch("INSERT INTO zeros VALUES (1, zeroblob(900000))").unwrap();
    let mut manifest = capture(lab, &live);
    for round in 0..4 {
        let sql = format!("UPDATE t SET body = hex(randomblob(150)) WHERE id % 17 = {round}");
        connection.execute_batch(&sql).unwrap();
        manifest = capture(lab, &live);
    }
    manifest
}

#[test]
fn any_bytes_are_read_as_they_are_from_several_threads_however_scattered_they_lie() {
    let lab = Lab::in_memory();
    let manifest = scattered(&lab);
    let (desk, entry) = entry(&lab, &manifest);
    assert!(entry.content.depth > 0, "the list of extents is to be content itself");
    let expected = bytes(&lab, &manifest, "");
    let reader = desk.read(&entry).unwrap();
    assert_eq!(reader.length(), expected.len() as u64);
    std::thread::scope(|scope| {
        for seed in 0..4 {
            let (reader, expected) = (&reader, &expected);
            scope.spawn(move || {
                let mut random = Random::new(seed);
                for _ in 0..300 {
                    let from = random.below(expected.len());
                    let length = random.below(100_000).min(expected.len() - from);
                    let mut found = vec![7; length];
                    reader.read_at(from as u64, &mut found).unwrap();
                    assert!(found == expected[from..from + length], "{length} bytes from {from}");
                }
                for (at, page) in expected.chunks(512).enumerate() {
                    let mut found = vec![7; page.len()];
                    reader.read_at(at as u64 * 512, &mut found).unwrap();
                    assert!(found == page, "page {at}");
                }
            });
        }
    });
    for (from, length) in [(expected.len() as u64, 1), (u64::MAX, 1), (0, expected.len() + 1)] {
        assert!(reader.read_at(from, &mut vec![0; length]).is_err());
    }
    assert!(reader.read_at(expected.len() as u64, &mut []).is_ok());
}

#[test]
fn a_list_of_extents_that_no_writer_writes_is_refused() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3_000);
    let manifest = capture(&lab, &live);
    let (desk, entry) = entry(&lab, &manifest);
    assert!(desk.read(&entry).is_ok());
    let refused = |what: &str, change: &dyn Fn(&mut Entry)| {
        let mut forged = entry.clone();
        change(&mut forged);
        let error = desk.read(&forged).and_then(|reader| {
            let mut all = vec![0; forged.size.min(1 << 20) as usize];
            reader.read_at(0, &mut all).map_err(|error| panic!("{what}: {error}"))
        });
        assert_eq!(error.expect_err(what).class(), Class::Damaged, "{what}");
    };
    refused("a longer size", &|entry| entry.size += 1);
    refused("a shorter size", &|entry| entry.size -= 1);
    refused("an extent of nothing", &|entry| {
        let mut empty = entry.content.extents[0].clone();
        empty.length = 0;
        entry.content.extents.insert(1, empty);
    });
    refused("an extent that has no end", &|entry| entry.content.extents[0].length = u64::MAX);
    refused("a list without end", &|entry| entry.content.depth = 9);
    refused("a list that is none", &|entry| entry.content.depth = 1);
    let mut forged = entry.clone();
    forged.content.extents[0].offset = 1;
    let reader = desk.read(&forged).unwrap();
    let error = reader.read_at(forged.content.extents[0].length - 1, &mut [0]).unwrap_err();
    assert_eq!(error.class(), Class::Damaged, "an extent beyond its chunk");
}
