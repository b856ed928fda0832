use std::fs::{self, File};
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::*;

/// A database with a write-ahead log that nobody has open, last written an hour ago.
fn closed(folder: &Path) -> PathBuf {
    let path = folder.join("app.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1)").unwrap();
    drop(connection);
    age(&path);
    path
}

fn age(path: &Path) {
    let old = SystemTime::now() - Duration::from_secs(3600);
    File::open(path).unwrap().set_modified(old).unwrap();
}

fn look(path: &Path) -> Option<AtRest> {
    AtRest::look(&DatabaseFile::at(path).unwrap())
}

fn names(folder: &Path) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_database_at_rest_is_read_without_making_anything_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let rest = look(&path).expect("nobody has it open");
    let (first, second) = rest.open().unwrap();
    assert_eq!(first.number("SELECT count(*) FROM t").unwrap(), 1);
    assert_eq!(second.unwrap().number("SELECT count(*) FROM t").unwrap(), 1);
    assert!(rest.is_undisturbed());
    assert_eq!(names(folder.path()), 1);
}

#[test]
fn a_database_that_somebody_has_open_or_has_just_written_is_not_at_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let app = Connection::open(&path).unwrap();
    app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    age(&path);
    assert!(look(&path).is_none());
    drop(app);
    // Its time is of this moment: writing that comes at once would not show in it.
    assert!(look(&path).is_none());
    age(&path);
    assert!(look(&path).is_some());
    fs::write(folder.path().join("app.db-journal"), b"").unwrap();
    assert!(look(&path).is_none());
    fs::remove_file(folder.path().join("app.db-journal")).unwrap();
    Connection::open(&path).unwrap().execute_batch("PRAGMA journal_mode = DELETE").unwrap();
    age(&path);
    assert!(look(&path).is_none(), "it has no log to be spared");
}

#[test]
fn commits_into_the_log_leave_what_is_read_at_rest_one_moment_and_those_into_the_file_are_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let path = closed(folder.path());
    let rest = look(&path).unwrap();
    let (reader, _) = rest.open().unwrap();
    let app = Connection::open(&path).unwrap();
    app.execute_batch("INSERT INTO t VALUES (2)").unwrap();
    assert_eq!(reader.number("SELECT count(*) FROM t").unwrap(), 1);
    assert!(rest.is_undisturbed());
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    assert!(!rest.is_undisturbed());
}

#[test]
fn what_a_schema_computes_is_bounded_by_what_its_database_can_hold() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let large = "length(replace(hex(zeroblob(450000000)), '0', '1'))";
    let sql = format!(
        "CREATE TABLE t(x, y AS ({large}) NOT NULL); CREATE TABLE alembic_version(x, version_num AS ({large}));
         INSERT INTO t VALUES (1); INSERT INTO alembic_version VALUES (1)"
    );
    // What keeps a value from being written here is what is looked for.
    let _ = Connection::open(&path).unwrap().execute_batch(&sql);
    let (reader, _) = open(&DatabaseFile::at(&path).unwrap(), &Control::default()).unwrap();
    assert!(reader.number(&format!("SELECT {large}")).is_err());
    let facts = reader.facts(crate::base::path::EntryPath::root(), true).unwrap();
    assert_eq!((facts.damage, facts.revision), (None, None));
}
