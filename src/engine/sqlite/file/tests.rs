use std::fs;
use std::os::unix::fs::symlink;

use rustix::fs::mknodat;
use tempfile::TempDir;

use super::*;
use crate::engine::sqlite::error::words;

const READ_WRITE: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE.union(OpenFlags::SQLITE_OPEN_NO_MUTEX);

fn database(path: &Path, mode: &str, value: &str) {
    let connection = Connection::open(path).unwrap();
    connection
        .execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(a); INSERT INTO t VALUES('{value}')"))
        .unwrap();
}

fn scene(mode: &str) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("app.db");
    database(&path, mode, "own");
    (folder, path)
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

fn value(connection: &Connection) -> rusqlite::Result<String> {
    connection.query_row("SELECT a FROM t", [], |row| row.get(0))
}

fn beside(path: &Path, end: &str) -> PathBuf {
    path.with_file_name(format!("app.db{end}"))
}

#[test]
fn what_is_no_regular_file_beside_a_database_is_refused_by_its_name() {
    for mode in ["wal", "delete"] {
        for end in ["-journal", "-wal", "-shm"] {
            let (_folder, path) = scene(mode);
            fifo(&beside(&path, end));
            let error = DatabaseFile::at(&path).unwrap().connect(READ_WRITE).unwrap_err();
            assert!(error.to_string().contains(&format!("app.db{end} is a FIFO")), "{error}");
        }
    }
}

#[test]
fn sqlite_never_waits_for_a_fifo_that_appears_after_anybody_looked() {
    for mode in ["wal", "delete"] {
        for end in ["", "-journal", "-wal", "-shm"] {
            let (_folder, path) = scene(mode);
            let file = DatabaseFile::at(&path).unwrap();
            file.ready().unwrap();
            let _ = fs::remove_file(beside(&path, end));
            fifo(&beside(&path, end));
            // Either is an answer, if it comes: a log has no use for a journal.
            let opened = Connection::open_with_flags_and_vfs(file.path(), READ_WRITE, system::NAME);
            let answer = opened.and_then(|connection| value(&connection));
            assert!(answer.is_err() || end == "-shm" || (mode == "wal") == (end == "-journal"), "{mode} {end}");
        }
    }
}

#[test]
fn links_in_the_place_of_a_database_or_of_its_folder_are_not_followed() {
    let (other, path) = scene("wal");
    let folder = tempfile::tempdir().unwrap();
    symlink(&path, folder.path().join("link.db")).unwrap();
    let open = openat(CWD, folder.path(), OFlags::PATH, Mode::empty()).unwrap();
    let file = DatabaseFile::within(&open, "link.db".as_ref(), Path::new("link.db")).unwrap();
    assert!(file.connect(READ_WRITE).is_err() && file.open().is_err());
    // Not even if nobody looked beforehand.
    assert!(Connection::open_with_flags_and_vfs(file.path(), READ_WRITE, system::NAME).is_err());
    // The folder may have another name by now, and its old one may lead elsewhere.
    let own = folder.path().join("own");
    fs::create_dir(&own).unwrap();
    database(&own.join("app.db"), "wal", "mine");
    let open = openat(CWD, &own, OFlags::PATH, Mode::empty()).unwrap();
    let file = DatabaseFile::within(&open, "app.db".as_ref(), Path::new("app.db")).unwrap();
    fs::rename(&own, folder.path().join("moved")).unwrap();
    symlink(other.path(), &own).unwrap();
    let connection = file.connect(READ_WRITE).unwrap();
    assert_eq!(value(&connection).unwrap(), "mine");
    connection.execute_batch("INSERT INTO t VALUES('more')").unwrap();
    assert_eq!(value(&Connection::open(&path).unwrap()).unwrap(), "own");
    // A person's own link is followed: it is the file that they name.
    assert_eq!(
        value(&DatabaseFile::at(&folder.path().join("link.db")).unwrap().connect(READ_WRITE).unwrap()).unwrap(),
        "own"
    );
}

#[test]
fn links_in_the_place_of_a_log_or_journal_are_not_followed() {
    for end in ["-wal", "-journal"] {
        let mode = if end == "-wal" { "wal" } else { "delete" };
        let (_other, theirs) = scene(mode);
        let app = Connection::open(&theirs).unwrap();
        app.execute_batch("PRAGMA wal_autocheckpoint = 0; BEGIN; UPDATE t SET a = 'marker'").unwrap();
        app.cache_flush().unwrap();
        if mode == "wal" {
            app.execute_batch("COMMIT").unwrap();
        }
        // The file is a copy of theirs as it lies there: what they have not put into it would be read, or rolled back.
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        fs::copy(&theirs, &path).unwrap();
        symlink(beside(&theirs, end), beside(&path, end)).unwrap();
        let file = DatabaseFile::at(&path).unwrap();
        let error = file.connect(READ_WRITE).unwrap_err();
        assert!(error.to_string().contains(&format!("app.db{end} is a link")), "{error}");
        // Nor if nobody looked beforehand.
        let opened = Connection::open_with_flags_and_vfs(file.path(), READ_WRITE, system::NAME);
        let answer = opened.and_then(|connection| value(&connection));
        assert!(answer.is_err(), "{end}: {answer:?}");
        assert!(beside(&theirs, end).exists());
    }
}

#[test]
fn another_file_than_the_one_that_was_meant_is_refused() {
    let (folder, path) = scene("wal");
    let meant = DatabaseFile::at(&path).unwrap();
    let meant = meant.clone().that_is(id(&meant.look().unwrap().unwrap()));
    assert!(meant.connect(READ_WRITE).is_ok() && meant.connect_alone().is_ok());
    // Also while SQLite has the file open already, and may use what it has.
    let open = meant.connect(READ_WRITE).unwrap();
    open.execute_batch("BEGIN; SELECT * FROM t").unwrap();
    assert!(meant.connect(READ_WRITE).is_ok());
    database(&folder.path().join("other.db"), "delete", "other");
    fs::rename(folder.path().join("other.db"), &path).unwrap();
    let error = meant.connect(READ_WRITE).unwrap_err();
    assert!(error.to_string().contains("replaced by something else"), "{error}");
    assert!(meant.connect_alone().is_err());
}

#[test]
fn whoever_closes_a_database_last_leaves_nothing_beside_it_and_touches_nothing_elsewhere() {
    let (folder, path) = scene("wal");
    let first = DatabaseFile::at(&path).unwrap();
    let one = first.connect(READ_WRITE).unwrap();
    value(&one).unwrap();
    let second = DatabaseFile::at(&path).unwrap();
    let other = second.connect(READ_WRITE).unwrap();
    value(&other).unwrap();
    drop((one, first));
    // Another folder may get the number that the first one's descriptor had.
    let (elsewhere, third) = scene("wal");
    fs::write(elsewhere.path().join("app.db-shm"), "precious").unwrap();
    let third = DatabaseFile::at(&third).unwrap();
    drop((other, second));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(fs::read(elsewhere.path().join("app.db-shm")).unwrap(), b"precious");
    drop(third);
}

/// Puts the name of a file for transactions of several databases at the end of a journal.
fn name_another_file(journal: &Path, name: &Path) {
    let name = name.as_os_str().as_bytes();
    let sum = name.iter().fold(0u32, |sum, &byte| sum.wrapping_add(u32::from(byte)));
    let mut bytes = fs::read(journal).unwrap();
    let pages = (1u32 << 30) / 4096 + 1;
    bytes.extend(pages.to_be_bytes());
    bytes.extend(name);
    bytes.extend((name.len() as u32).to_be_bytes());
    bytes.extend(sum.to_be_bytes());
    bytes.extend([0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7]);
    fs::write(journal, bytes).unwrap();
}

#[test]
fn a_journal_cannot_have_sqlite_delete_another_file() {
    let (folder, path) = scene("delete");
    let writer = Connection::open(&path).unwrap();
    writer
        .execute_batch("PRAGMA cache_size = 1; BEGIN; CREATE TABLE u(a); INSERT INTO u VALUES(randomblob(90000))")
        .unwrap();
    writer.cache_flush().unwrap();
    let broken = tempfile::tempdir().unwrap();
    for end in ["", "-journal"] {
        fs::copy(beside(&path, end), broken.path().join(format!("app.db{end}"))).unwrap();
    }
    let precious = folder.path().join("precious");
    // What is empty SQLite takes for gone.
    fs::write(&precious, "mine").unwrap();
    name_another_file(&broken.path().join("app.db-journal"), &precious);
    let file = DatabaseFile::at(&broken.path().join("app.db")).unwrap();
    let answer = file.connect(READ_WRITE).and_then(|connection| value(&connection));
    // SQLite of today finds by itself that this is no name of a journal, and is refused it where it does not.
    assert!(precious.exists(), "{answer:?}");
}

#[test]
fn no_message_names_the_way_by_which_this_process_reaches_a_database() {
    let folder = tempfile::tempdir().unwrap();
    let file = DatabaseFile::at(&folder.path().join("gone.db")).unwrap();
    let uri = file.uri().unwrap();
    let attached = Connection::open_in_memory().unwrap().execute("ATTACH ? AS live", [&uri]).unwrap_err();
    for error in [file.connect(READ_WRITE).unwrap_err(), file.connect_alone().unwrap_err(), attached] {
        assert!(error.to_string().contains(FOLDERS), "{error}");
        let said = words(&error);
        assert!(said.starts_with("unable to open database") && !said.contains(['/', ':']), "{said}");
    }
}
