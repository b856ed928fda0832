//! What a second capture costs: the pages that changed, wherever they lie and whoever captured the others.

use std::fs;

use super::{ask, assert_sound, backup, bytes, capture, grow, open, restored, some_rows, source_of};
use crate::support::vaults::Lab;

#[test]
fn a_change_of_few_rows_stores_few_pages() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 20_000);
    let first = capture(&lab, &live);
    open(&live).execute_batch("UPDATE t SET body = 'changed' WHERE id % 2000 = 7").unwrap();
    let second = capture(&lab, &live);
    assert!(first.bytes_new > 6_000_000, "{}", first.bytes_new);
    // Ten rows on ten pages, and the first page, which counts changes.
    assert!(second.bytes_new <= 11 * 4096, "{}", second.bytes_new);
    assert_eq!(second.bytes, first.bytes);
    assert!(bytes(&lab, &second, "") == fs::read(&live).unwrap());
    assert_sound(&restored(&lab, &first, "first.db"));
}

#[test]
fn a_host_without_its_cache_knows_every_page_again() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 5000);
    capture(&lab, &live);
    fs::remove_dir_all(&lab.folders.cache).unwrap();
    grow(&open(&live), 3);
    let second = capture(&lab, &live);
    assert!(second.bytes_new <= 4 * 4096, "{}", second.bytes_new);
    assert!(bytes(&lab, &second, "") == fs::read(&live).unwrap());
}

#[test]
fn pages_that_moved_are_found_where_they_were() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 5000);
    let sql = "CREATE TABLE first AS SELECT * FROM t LIMIT 0; DROP TABLE first;";
    open(&live).execute_batch(sql).unwrap();
    let first = capture(&lab, &live);
    // A copy of the same database under another name, which has never been captured.
    let copy = lab.path("copy.db");
    fs::copy(&live, &copy).unwrap();
    let second = capture(&lab, &copy);
    assert_eq!(second.bytes_new, 0);
    assert_eq!(second.bytes, first.bytes);
    assert!(bytes(&lab, &second, "") == fs::read(&copy).unwrap());
}

#[test]
fn a_vacuum_another_page_size_and_a_shrinking_database_come_back_as_they_are() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 5000);
    let steps = [
        "DELETE FROM t WHERE id % 10 = 3",
        "VACUUM",
        "PRAGMA page_size = 1024; VACUUM",
        "DELETE FROM t WHERE id > 100; VACUUM",
        "PRAGMA page_size = 65536; VACUUM",
        "PRAGMA journal_mode = WAL; DELETE FROM t WHERE id > 50",
    ];
    capture(&lab, &live);
    for step in steps {
        let connection = open(&live);
        connection.execute_batch(step).unwrap();
        ask(&connection, "PRAGMA wal_checkpoint(TRUNCATE)");
        drop(connection);
        let manifest = capture(&lab, &live);
        assert!(bytes(&lab, &manifest, "") == fs::read(&live).unwrap(), "{step}");
    }
}

#[test]
fn what_is_only_in_the_write_ahead_log_is_captured() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    let app = open(&live);
    ask(&app, "PRAGMA journal_mode = WAL");
    ask(&app, "PRAGMA wal_autocheckpoint = 0");
    app.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT)").unwrap();
    grow(&app, 500);
    let first = capture(&lab, &live);
    assert_eq!(first.sources[0].databases[0].rows["t"], 500);
    grow(&app, 5);
    let second = capture(&lab, &live);
    assert_eq!(ask(&open(&restored(&lab, &second, "copy.db")), "SELECT count(*) FROM t"), ["Integer(505)"]);
}

#[test]
fn an_unchanged_database_is_not_read_again_and_stays_known() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 2000);
    // Times of the last second are not trusted.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let first = capture(&lab, &live);
    let second = capture(&lab, &live);
    assert_eq!((second.bytes_read, second.bytes_new), (0, 0));
    assert_eq!(second.sources[0].databases, first.sources[0].databases);
    assert_eq!(second.bytes, first.bytes);
    // What is remembered of its pages is passed on, too.
    open(&live).execute_batch("UPDATE t SET body = 'changed' WHERE id = 7").unwrap();
    assert!(capture(&lab, &live).bytes_new <= 2 * 4096);
}

#[test]
fn free_pages_can_be_left_out() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 5000);
    let secret = "SECRET THAT WAS DELETED ";
    let connection = open(&live);
    connection.execute("INSERT INTO t (body) SELECT ? || hex(randomblob(9000)) FROM t LIMIT 50", [secret]).unwrap();
    connection.execute("DELETE FROM t WHERE body LIKE ? || '%'", [secret]).unwrap();
    drop(connection);
    let has_secret = |bytes: &[u8]| bytes.windows(secret.len()).any(|window| window == secret.as_bytes());
    let kept = bytes(&lab, &capture(&lab, &live), "");
    assert!(kept == fs::read(&live).unwrap() && has_secret(&kept));
    let manifest = backup(&lab, source_of(&live, "free_pages = 'zero'")).unwrap().manifest;
    let blank = bytes(&lab, &manifest, "");
    assert!(!has_secret(&blank) && blank.len() == kept.len());
    assert_eq!(manifest.sources[0].databases[0].facts["free pages"], "zero");
    let copy = restored(&lab, &manifest, "copy.db");
    assert_sound(&copy);
    grow(&open(&copy), 5000);
    assert_sound(&copy);
}

#[test]
fn a_database_of_more_than_a_gibibyte_has_a_page_that_nobody_uses() {
    let lab = Lab::in_folder();
    let live = lab.path("live.db");
    let connection = open(&live);
    connection.execute_batch("PRAGMA page_size = 65536; PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF;").unwrap();
    connection.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, zeros BLOB)").unwrap();
    // Zeros cost nothing to keep, and count like anything else.
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 22) \
               INSERT INTO t (body, zeros) SELECT 'row ' || i, zeroblob(50000000) FROM n";
    connection.execute_batch(sql).unwrap();
    drop(connection);
    let manifest = capture(&lab, &live);
    assert!(manifest.bytes > 1 << 30 && manifest.bytes_stored < 5_000_000, "{manifest:?}");
    let to = lab.path("out");
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    crate::support::vaults::restore(&unlocked, &manifest, &to).unwrap();
    let copy = to.join("live.db");
    assert_sound(&copy);
    assert_eq!(ask(&open(&copy), "SELECT count(*), sum(length(zeros)) FROM t"), ["Integer(22) | Integer(1100000000)"]);
}
