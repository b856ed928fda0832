//! Which rows differ, between snapshots and against what is there now.

use std::sync::Arc;

use strongroom::base::path::EntryPath;
use strongroom::engine::sqlite::rows::{RowChange, Table};
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::rows::{self, Request};

use super::{ask, capture, open, some_rows};
use crate::support::vaults::Lab;

/// Every row that differs, as `+ table key` with the columns, and the tables.
fn compare(lab: &Lab, before: &Manifest, after: Option<&Manifest>, table: Option<&str>) -> (Vec<String>, Vec<Table>) {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let (path, mut lines) = (EntryPath::root(), Vec::new());
    let after = after.map(|manifest| (manifest, &manifest.sources[0]));
    let (source, control) = (&before.sources[0], Arc::default());
    let request = Request { before, source, path: &path, after, root: &source.root, table, control };
    let tables = rows::differences(&unlocked, &request, &mut |table, row| {
        let sign = match row.change {
            RowChange::Added => '+',
            RowChange::Removed => '-',
            RowChange::Changed => 'M',
        };
        lines.push(format!("{sign} {table} {:?} {}", row.key, row.columns.join(",")));
        Ok(())
    });
    (lines, tables.unwrap().tables)
}

const SCHEMA: &str = "
    CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE, size REAL, photo BLOB, big AS (size * 2));
    CREATE TABLE links (a TEXT, b INTEGER, note TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;
    CREATE TABLE keyless (x);
    CREATE VIRTUAL TABLE search USING fts5(word);
    INSERT INTO people VALUES (1, 'ann', 1, x'00'), (2, 'bob', 2, NULL), (3, 'cyd', 3, x'01'), (4, 'dan', 4, NULL);
    INSERT INTO links VALUES ('x', 1, 'one'), ('y', 1, 'two'), ('x', 2, 'three');
    INSERT INTO keyless VALUES ('a'), ('a'), ('b');";

#[test]
fn rows_are_told_by_their_keys_with_the_columns_that_changed() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    open(&live).execute_batch(SCHEMA).unwrap();
    let before = capture(&lab, &live);
    let changes = "
        DELETE FROM people WHERE id = 2;
        UPDATE people SET name = 'ANN' WHERE id = 1;
        UPDATE people SET size = 3.5, photo = x'0100' WHERE id = 3;
        INSERT INTO people VALUES (9, 'eve', NULL, NULL);
        UPDATE links SET note = NULL WHERE a = 'y';
        INSERT INTO links VALUES ('z', 0, 'new');
        DELETE FROM links WHERE b = 2;
        UPDATE keyless SET x = 'c' WHERE rowid = 2;
        INSERT INTO search VALUES ('word');
        CREATE TABLE fresh (id INTEGER PRIMARY KEY); INSERT INTO fresh VALUES (1), (2);";
    open(&live).execute_batch(changes).unwrap();
    let after = capture(&lab, &live);
    let expected = [
        "M keyless [Integer(2)] x",
        "- links [Integer(2), Text(\"x\")] ",
        "M links [Integer(1), Text(\"y\")] note",
        "+ links [Integer(0), Text(\"z\")] ",
        "- people [Integer(2)] ",
        "M people [Integer(1)] name",
        "M people [Integer(3)] size,photo",
        "+ people [Integer(9)] ",
    ];
    for later in [Some(&after), None] {
        let (lines, tables) = compare(&lab, &before, later, None);
        assert_eq!(lines, expected);
        let names: Vec<&str> = tables.iter().map(|table| table.name.as_str()).collect();
        assert_eq!(names, ["fresh", "keyless", "links", "people"]);
        assert_eq!((tables[0].whole, tables[0].added), (Some(RowChange::Added), 2));
        assert_eq!((tables[3].removed, tables[3].changed, tables[3].added), (1, 2, 1));
    }
    assert_eq!(compare(&lab, &before, Some(&after), Some("PEOPLE")).0.len(), 4);
    assert_eq!(compare(&lab, &after, Some(&after), None), (Vec::new(), Vec::new()));
}

#[test]
fn a_table_that_changed_its_shape_is_compared_as_far_as_it_can_be() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    open(&live).execute_batch(SCHEMA).unwrap();
    let before = capture(&lab, &live);
    let changes = "
        ALTER TABLE people ADD COLUMN town TEXT DEFAULT 'here';
        ALTER TABLE people DROP COLUMN big; ALTER TABLE people DROP COLUMN photo;
        UPDATE people SET size = 0 WHERE id = 4;
        DROP TABLE links; CREATE TABLE links (a TEXT PRIMARY KEY, b INTEGER); INSERT INTO links VALUES ('q', 1);
        DROP TABLE keyless;";
    open(&live).execute_batch(changes).unwrap();
    let (lines, tables) = compare(&lab, &before, None, None);
    assert_eq!(lines, ["M people [Integer(4)] size"]);
    let find = |name: &str| tables.iter().find(|table| table.name == name).unwrap();
    assert_eq!(
        (find("people").columns_added.join(","), find("people").columns_removed.join(",")),
        ("town".into(), "photo".into())
    );
    assert_eq!((find("links").removed, find("links").added), (3, 1));
    assert_eq!((find("keyless").whole, find("keyless").removed), (Some(RowChange::Removed), 3));
}

#[test]
fn a_comparison_with_a_live_database_sees_what_is_only_in_its_log_and_changes_nothing() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    let app = open(&live);
    ask(&app, "PRAGMA journal_mode = WAL");
    app.execute_batch(SCHEMA).unwrap();
    let before = capture(&lab, &live);
    app.execute("DELETE FROM people WHERE id > 2", []).unwrap();
    let (lines, _) = compare(&lab, &before, None, None);
    assert_eq!(lines, ["- people [Integer(3)] ", "- people [Integer(4)] "]);
    assert_eq!(ask(&app, "SELECT count(*) FROM people"), ["Integer(2)"]);
}

#[test]
fn rows_in_pages_that_both_snapshots_share_are_not_read() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    // 52 MB.
    some_rows(&live, 160_000);
    open(&live).execute_batch("CREATE TABLE other AS SELECT * FROM t LIMIT 10000").unwrap();
    let before = capture(&lab, &live);
    let stored: u64 = lab.store.list(layout::PACKS).unwrap().iter().map(|object| object.size).sum();
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let changes = [
        ("id % 8000 = 77", 20, 3),
        ("id BETWEEN 30000 AND 31999", 2_000, 10),
        // Nothing of the other table.
        ("id = 1", 1, 20),
    ];
    for (which, rows, share) in changes {
        let previous = capture(&lab, &live);
        open(&live).execute(&format!("UPDATE t SET body = hex(randomblob(150)) WHERE {which}"), []).unwrap();
        let after = capture(&lab, &live);
        let (path, control) = (EntryPath::root(), Arc::default());
        let later = Some((&after, &after.sources[0]));
        let source = &previous.sources[0];
        let root = &source.root;
        let request = Request { before: &previous, source, path: &path, after: later, root, table: None, control };
        let report = rows::differences(&unlocked, &request, &mut |_, _| Ok(())).unwrap();
        assert_eq!((report.tables.len(), report.tables[0].changed), (1, rows), "{which}");
        assert!(report.fetched > 0 && report.fetched * share < stored, "{which}: {} of {stored}", report.fetched);
    }
    // The pages of a database that was not sound say nothing of themselves.
    let (mut damaged, after) = (capture(&lab, &live), capture(&lab, &live));
    damaged.sources[0].databases[0].damage = Some("some".to_owned());
    let (path, source) = (EntryPath::root(), &damaged.sources[0]);
    let later = Some((&after, &after.sources[0]));
    let (root, control) = (&source.root, Arc::default());
    let request = Request { before: &damaged, source, path: &path, after: later, root, table: None, control };
    let report = rows::differences(&unlocked, &request, &mut |_, _| Ok(())).unwrap();
    assert!(report.tables.is_empty() && report.fetched > stored / 2);
    let (lines, _) = compare(&lab, &before, None, Some("t"));
    assert_eq!(lines.len(), 2_021);
}
