use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use tempfile::TempDir;

use super::*;

/// A database with a log that somebody has open, by the name `app.db`.
fn logged() -> (TempDir, PathBuf, Connection) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let connection = Connection::open(&path).unwrap();
    let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t(a); PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t VALUES(1)";
    connection.execute_batch(sql).unwrap();
    (folder, path, connection)
}

fn in_use(path: &Path) -> String {
    shown(&DatabaseFile::at(path).unwrap().in_use())
}

#[test]
fn of_several_names_of_a_database_the_one_with_the_log_is_in_use() {
    let (folder, path, _connection) = logged();
    assert_eq!(in_use(&path), "app.db");
    assert!(DatabaseFile::at(&path).unwrap().names().is_none());
    for other in ["a-name.db", "z-name.db"] {
        let other = folder.path().join(other);
        fs::hard_link(&path, &other).unwrap();
        assert_eq!(in_use(&other), "app.db");
        assert_eq!(DatabaseFile::at(&other).unwrap().doubt(), None);
    }
}

#[test]
fn a_database_with_logs_beside_two_names_or_with_a_name_elsewhere_is_in_doubt() {
    let (folder, path, _connection) = logged();
    let other = folder.path().join("other.db");
    fs::hard_link(&path, &other).unwrap();
    fs::write(folder.path().join("other.db-wal"), "another log").unwrap();
    let doubt = DatabaseFile::at(&other).unwrap().doubt().unwrap();
    assert!(doubt.contains("app.db and other.db both have a log") || doubt.contains("other.db and app.db"), "{doubt}");
    // One log by two names is one.
    fs::remove_file(folder.path().join("other.db-wal")).unwrap();
    fs::hard_link(folder.path().join("app.db-wal"), folder.path().join("other.db-wal")).unwrap();
    assert_eq!(DatabaseFile::at(&other).unwrap().doubt(), None);
    fs::remove_file(folder.path().join("other.db-wal")).unwrap();
    fs::create_dir(folder.path().join("away")).unwrap();
    fs::rename(&other, folder.path().join("away/other.db")).unwrap();
    let doubt = DatabaseFile::at(&path).unwrap().doubt().unwrap();
    assert!(doubt.contains("2 names, of which 1 could not be found"), "{doubt}");
}

#[test]
fn locks_of_a_database_without_a_log_hold_for_all_of_its_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch("CREATE TABLE t(a)").unwrap();
    fs::create_dir(folder.path().join("away")).unwrap();
    fs::hard_link(&path, folder.path().join("away/other.db")).unwrap();
    assert_eq!(DatabaseFile::at(&path).unwrap().doubt(), None);
}
