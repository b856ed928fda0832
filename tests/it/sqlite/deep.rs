//! Databases of snapshots, checked by SQLite without restoring them.

use std::fs;
use std::sync::Arc;

use strongroom::format::layout;
use strongroom::ops::verify::deep::{self, Deep, Weight};
use strongroom::vault::snapshots::Snapshot;

use super::schemas::fixtures;
use super::{backup, capture, open, some_rows, source_of};
use crate::support::vaults::{Lab, snapshots};

fn verify(lab: &Lab, snapshot: Snapshot) -> Deep {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    deep::verify(&unlocked, &[snapshot], &Arc::default()).unwrap()
}

fn newest(lab: &Lab) -> Snapshot {
    snapshots(&lab.unlock(&lab.store, &lab.folders).unwrap()).pop().unwrap()
}

#[test]
fn every_schema_is_sound_and_has_the_rows_it_had() {
    for fixture in fixtures() {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        open(&live).execute_batch(&fs::read_to_string(&fixture).unwrap()).unwrap();
        let manifest = capture(&lab, &live);
        assert!(!manifest.sources[0].databases[0].rows.is_empty());
        let found = verify(&lab, newest(&lab));
        assert_eq!((found.databases.checked, found.databases.total), (1, 1));
        assert_eq!(found.findings, [], "{}", fixture.display());
        assert_eq!(found.databases.bytes, manifest.bytes);
    }
}

#[test]
fn what_was_damaged_when_it_was_captured_is_told_and_is_no_damage_of_the_vault() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3_000);
    let mut bytes = fs::read(&live).unwrap();
    bytes[40_960..45_056].fill(0x55);
    fs::write(&live, bytes).unwrap();
    let report = backup(&lab, source_of(&live, "")).unwrap();
    assert!(report.manifest.sources[0].databases[0].damage.is_some());
    let found = verify(&lab, newest(&lab));
    assert_eq!(found.findings.len(), 1, "{:?}", found.findings);
    assert_eq!(found.findings[0].weight, Weight::Known);
    // Were it not known, it would be damage.
    let mut snapshot = newest(&lab);
    snapshot.manifest.sources[0].databases[0].damage = None;
    assert!(verify(&lab, snapshot).any(Weight::Damage));
}

#[test]
fn rows_that_are_not_those_of_the_manifest_are_damage() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 100);
    capture(&lab, &live);
    let mut snapshot = newest(&lab);
    let rows = &mut snapshot.manifest.sources[0].databases[0].rows;
    rows.insert("t".to_owned(), 101);
    rows.insert("gone".to_owned(), 7);
    let found = verify(&lab, snapshot);
    let texts: Vec<&str> = found.findings.iter().map(|finding| &*finding.what).collect();
    assert_eq!(
        texts,
        ["gone: no table, and 7 rows when it was captured", "t: 100 rows, and 101 rows when it was captured"]
    );
    assert!(found.any(Weight::Damage));
}

#[test]
fn references_to_rows_that_are_not_there_are_told_and_are_their_owners_business() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    let sql = "PRAGMA foreign_keys = OFF; CREATE TABLE a (id INTEGER PRIMARY KEY); \
               CREATE TABLE b (a REFERENCES a); INSERT INTO b VALUES (1), (2), (NULL)";
    open(&live).execute_batch(sql).unwrap();
    capture(&lab, &live);
    let found = verify(&lab, newest(&lab));
    assert_eq!(found.findings.len(), 1);
    assert_eq!(found.findings[0].what, "2 references of b to rows that are not there");
    assert_eq!(found.findings[0].weight, Weight::Remark);
}

#[test]
fn a_database_that_cannot_be_read_is_damage_with_the_object_named() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 120_000);
    capture(&lab, &live);
    let object = lab.store.list(layout::PACKS).unwrap().into_iter().max_by_key(|object| object.size).unwrap();
    let mut sealed = lab.store.get(&object.key).unwrap().to_vec();
    let place = sealed.len() / 3;
    sealed[place] ^= 1;
    lab.store.delete(&object.key).unwrap();
    lab.store.put_new(&object.key, sealed.into()).unwrap();
    let found = verify(&lab, newest(&lab));
    assert!(found.any(Weight::Damage));
    assert!(found.findings[0].what.contains(object.key.as_str()), "{:?}", found.findings);
}
