use std::sync::Arc;

use rusqlite::{Connection, OpenFlags};

use super::*;
use crate::base::error::Explain;

/// Bytes in memory; those at `broken` cannot be read.
struct Bytes {
    bytes: Vec<u8>,
    broken: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
#[error("the third shelf has burnt")]
struct Burnt;

impl Explain for Burnt {}

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        let range = offset..offset + buffer.len() as u64;
        if self.broken.is_some_and(|at| range.contains(&at)) {
            return Err(Box::new(Burnt));
        }
        buffer.copy_from_slice(&self.bytes[range.start as usize..range.end as usize]);
        Ok(())
    }
}

/// Content whose reading is a mistake of the program.
struct Panics;

impl RandomRead for Panics {
    fn length(&self) -> u64 {
        100_000
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> Result<(), Explained> {
        panic!("reading is not done yet")
    }
}

fn database(sql: &str) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    let connection = Connection::open(&path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
    std::fs::read(path).unwrap()
}

const ROWS: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, word TEXT); \
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) \
    INSERT INTO t SELECT i, hex(randomblob(40)) FROM n";

fn show(bytes: Vec<u8>, broken: Option<u64>) -> Shown {
    Shown::new(Arc::new(Bytes { bytes, broken })).unwrap()
}

fn open(shown: &Shown) -> rusqlite::Result<Connection> {
    Connection::open_with_flags_and_vfs(shown.path(), OpenFlags::SQLITE_OPEN_READ_ONLY, NAME)
}

fn count(connection: &Connection) -> rusqlite::Result<i64> {
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0))
}

#[test]
fn a_database_with_a_write_ahead_log_opens_without_one() {
    let shown = show(database(&format!("PRAGMA journal_mode = WAL; {ROWS}")), None);
    let connection = open(&shown).unwrap();
    assert_eq!(count(&connection).unwrap(), 20_000);
    let check: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(check, "ok");
}

#[test]
fn sorting_what_does_not_fit_uses_memory_and_nothing_is_ever_written() {
    let bytes = database(ROWS);
    let shown = show(bytes, None);
    let connection =
        Connection::open_with_flags_and_vfs(shown.path(), OpenFlags::SQLITE_OPEN_READ_WRITE, NAME).unwrap();
    connection.execute_batch("PRAGMA cache_size = 5").unwrap();
    let sql = "SELECT count(*) FROM (SELECT a.word FROM t a, t b WHERE b.id < 30 ORDER BY a.word || b.word LIMIT -1 OFFSET 1)";
    let sorted: i64 = connection.query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(sorted, 20_000 * 29 - 1);
    connection.execute_batch("CREATE TEMP TABLE copy AS SELECT * FROM t").unwrap();
    assert!(connection.execute_batch("DELETE FROM t").is_err());
    assert!(connection.execute_batch("PRAGMA journal_mode = MEMORY; UPDATE t SET word = ''").is_err());
}

#[test]
fn the_reason_why_content_cannot_be_read_is_kept() {
    let bytes = database(ROWS);
    let half = bytes.len() as u64 / 2;
    let shown = show(bytes, Some(half));
    let connection = open(&shown).unwrap();
    assert!(connection.query_row("SELECT word FROM t WHERE id = 1", [], |row| row.get::<_, String>(0)).is_ok());
    assert!(shown.failure().is_none());
    assert!(count(&connection).is_err());
    assert_eq!(shown.failure().unwrap().to_string(), "the third shelf has burnt");
    assert!(shown.failure().is_none());
}

#[test]
fn a_panic_while_reading_is_an_error_of_the_query() {
    let shown = Shown::new(Arc::new(Panics)).unwrap();
    let found = open(&shown).and_then(|connection| count(&connection));
    assert_eq!(found.unwrap_err().sqlite_error_code(), Some(rusqlite::ErrorCode::SystemIoFailure));
}

#[test]
fn several_databases_are_read_by_several_threads_and_forgotten_when_dropped() {
    let shown: Vec<Shown> =
        (0..3).map(|n| show(database(&format!("{ROWS}; DELETE FROM t WHERE id <= {n}")), None)).collect();
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let connection = open(&shown[0]).unwrap();
                connection.execute("ATTACH ? AS other", [shown[1].uri()]).unwrap();
                connection.execute("ATTACH ? AS third", [shown[2].uri()]).unwrap();
                let sql = "SELECT id FROM (SELECT id FROM t EXCEPT SELECT id FROM other.t) UNION ALL \
                           SELECT count(*) FROM third.t ORDER BY id";
                let mut statement = connection.prepare(sql).unwrap();
                let found: Vec<i64> = statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect();
                assert_eq!(found, [1, 19_998]);
            });
        }
    });
    let (path, weak) = (shown[0].path().to_owned(), Arc::downgrade(&shown[0].file));
    let connection = open(&shown[0]).unwrap();
    drop(shown);
    assert_eq!(count(&connection).unwrap(), 20_000, "what is open stays readable");
    drop(connection);
    assert!(weak.upgrade().is_none(), "nothing of it is left");
    let gone = Connection::open_with_flags_and_vfs(path, OpenFlags::SQLITE_OPEN_READ_ONLY, NAME);
    assert!(gone.and_then(|connection| count(&connection)).is_err());
}

#[test]
fn content_that_is_no_database_or_cut_short_is_an_error_and_never_a_crash() {
    let whole = database(ROWS);
    let header: Vec<u8> = whole[..100].to_vec();
    let mut state = 7u64;
    let mut noise = |length: usize| -> Vec<u8> {
        (0..length)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as u8
            })
            .collect()
    };
    let mut cases = vec![vec![1; 5], noise(10_000), [header.clone(), noise(100_000)].concat()];
    cases.extend([0, 1, 50, 99, 100, 101, 4095, 4096, 5000, whole.len() / 2].map(|length| whole[..length].to_vec()));
    for _ in 0..200 {
        let mut bytes = whole[..40_960].to_vec();
        for byte in noise(24) {
            let at = noise(2);
            let at = usize::from(at[0]) * 160 + usize::from(at[1]) % 160;
            bytes[16.max(at)] = byte;
        }
        cases.push(bytes);
    }
    for bytes in cases {
        let length = bytes.len();
        let shown = show(bytes, None);
        let Ok(connection) = open(&shown) else { continue };
        let walk = |sql: &str| {
            let mut statement = connection.prepare(sql)?;
            let mut rows = statement.query([])?;
            let mut seen = 0;
            while rows.next()?.is_some() && seen < 1_000_000 {
                seen += 1;
            }
            assert!(seen < 1_000_000, "a loop without end in {length} bytes");
            Ok::<_, rusqlite::Error>(seen)
        };
        for sql in ["SELECT * FROM t", "SELECT * FROM sqlite_schema", "PRAGMA integrity_check"] {
            let _ = walk(sql);
        }
        assert!(shown.failure().is_none());
    }
}
