use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use rusqlite::Connection;

use super::*;
use crate::base::error::Explained;
use crate::engine::sqlite::ask::Session;
use crate::engine::sqlite::rows::{Row, RowChange, Table};

/// A database in memory that counts what is read of it.
struct Bytes(Vec<u8>, AtomicU64);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        self.1.fetch_add(buffer.len() as u64, Ordering::Relaxed);
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

fn content(file: &Path) -> Arc<Bytes> {
    Arc::new(Bytes(std::fs::read(file).unwrap(), AtomicU64::new(0)))
}

/// What differs, page by page; some pages that do not as well.
fn beside(before: &Arc<Bytes>, after: &Arc<Bytes>, page_size: usize, more: &[usize]) -> Beside {
    let pages = before.0.chunks(page_size).zip(after.0.chunks(page_size)).enumerate();
    let unlike = pages.filter(|(at, (one, other))| one != other || more.contains(at));
    let run = |at: usize| (at * page_size) as u64..((at + 1) * page_size) as u64;
    let unlike = unlike.map(|(at, _)| run(at)).collect();
    Beside { before: before.clone(), after: after.clone(), unlike }
}

fn compare(before: &Arc<Bytes>, after: &Arc<Bytes>, pages: Option<&Beside>) -> (Vec<(String, Row)>, Vec<Table>) {
    let mut session = Session::open(before.clone(), "db", Arc::default()).unwrap();
    session.attach("later", after.clone()).unwrap();
    let mut rows = Vec::new();
    let tables = session.differences("later", None, pages, &mut |table, row| {
        rows.push((table.to_owned(), row));
        Ok(())
    });
    (rows, tables.unwrap())
}

/// The file before, and after.
struct Scene {
    _folder: tempfile::TempDir,
    path: PathBuf,
    page_size: usize,
    before: Arc<Bytes>,
}

impl Scene {
    fn new(page_size: usize, sql: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.db");
        Connection::open(&path).unwrap().execute_batch(&format!("PRAGMA page_size = {page_size}; {sql}")).unwrap();
        Self { _folder: folder, before: content(&path), path, page_size }
    }

    fn change(&self, sql: &str) -> Arc<Bytes> {
        let connection = Connection::open(&self.path).unwrap();
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
        drop(connection);
        content(&self.path)
    }

    /// The rows that may differ, of the table with this name.
    fn survey(&self, after: &Arc<Bytes>, table: &str) -> Option<Vec<Rows>> {
        let connection = Connection::open(&self.path).unwrap();
        let root = connection
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name = ?", [table], |row| row.get::<_, u32>(0))
            .unwrap();
        let roots: HashSet<u32> = (1..200).collect();
        beside(&self.before, after, self.page_size, &[]).survey([&roots, &roots])?.rows(root)
    }

    /// Finds what comparing everything finds.
    fn assert_same(&self, after: &Arc<Bytes>, more: &[usize]) -> Vec<(String, Row)> {
        let pages = beside(&self.before, after, self.page_size, more);
        let (found, all) = (compare(&self.before, after, Some(&pages)), compare(&self.before, after, None));
        assert_eq!(found, all);
        found.0
    }
}

const NUMBERED: &str = "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, n INTEGER);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
        INSERT INTO t SELECT i * 10, hex(randomblob(40)), i FROM n;";

#[test]
fn a_changed_row_is_found_by_reading_its_page_and_the_way_there() {
    let scene = Scene::new(1024, NUMBERED);
    let after = scene.change("UPDATE t SET body = 'x' WHERE id = 77770; INSERT INTO t VALUES (123456, 'new', 0)");
    let ranges = scene.survey(&after, "t").unwrap();
    let width: i64 = ranges.iter().map(|(low, high)| high - low).sum();
    assert!(ranges.iter().any(|(low, high)| (low..=high).contains(&&77_770)) && width < 1_000, "{ranges:?}");
    let read = || scene.before.1.swap(0, Ordering::Relaxed) + after.1.swap(0, Ordering::Relaxed);
    read();
    let pages = beside(&scene.before, &after, 1024, &[]);
    let (rows, _) = compare(&scene.before, &after, Some(&pages));
    assert_eq!(rows.iter().map(|(_, row)| row.change).collect::<Vec<_>>(), [RowChange::Changed, RowChange::Added]);
    assert!(read() < after.0.len() as u64 / 20);
}

#[test]
fn a_row_whose_end_changed_on_a_page_of_its_own_is_found() {
    let scene = Scene::new(
        1024,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, n INTEGER);
         WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200)
             INSERT INTO t SELECT i, hex(randomblob(2500)), 1000 + i FROM n;",
    );
    // As long as it was: SQLite changes the last page of the row only.
    let after = scene.change("UPDATE t SET n = 9999 WHERE id = 50");
    assert_eq!(beside(&scene.before, &after, 1024, &[]).unlike.len(), 2, "the first page, and one more");
    assert_eq!(scene.survey(&after, "t"), None);
    assert_eq!(scene.assert_same(&after, &[]).len(), 1);
    // A row that is written anew has its pages found from its own.
    let after = scene.change(
        "UPDATE t SET n = 1050, body = 'short' WHERE id = 50; UPDATE t SET body = hex(zeroblob(3000)) WHERE id = 60",
    );
    assert!(scene.survey(&after, "t").is_some());
    assert_eq!(scene.assert_same(&after, &[]).len(), 2);
}

#[test]
fn rows_whose_pages_stay_behind_as_free_ones_are_gone() {
    for change in [
        "DELETE FROM t",
        "DELETE FROM t WHERE id > 30000",
        "DROP TABLE t; CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, n INTEGER)",
    ] {
        let scene = Scene::new(4096, NUMBERED);
        let after = scene.change(change);
        assert!(!scene.assert_same(&after, &[]).is_empty(), "{change}");
    }
}

#[test]
fn what_is_not_made_alike_or_no_database_is_not_looked_into() {
    let scene = Scene::new(1024, NUMBERED);
    let same = content(&scene.path);
    assert_eq!(scene.survey(&same, "t"), Some(Vec::new()));
    let cut = Arc::new(Bytes(same.0[..same.0.len() - 1024].to_vec(), AtomicU64::new(0)));
    assert_eq!(scene.survey(&cut, "t"), None);
    for at in [17, 20, 44, 56] {
        let mut other = same.0.clone();
        other[at + 3 * usize::from(at > 40)] ^= 6;
        assert_eq!(scene.survey(&Arc::new(Bytes(other, AtomicU64::new(0))), "t"), None, "byte {at}");
    }
    // A list of free pages that goes in a ring.
    let after = scene.change("DELETE FROM t WHERE id < 100000");
    let mut ring = after.0.clone();
    let trunk = u32::from_be_bytes(ring[32..36].try_into().unwrap());
    ring[(trunk as usize - 1) * 1024..][..4].copy_from_slice(&trunk.to_be_bytes());
    assert_eq!(scene.survey(&Arc::new(Bytes(ring, AtomicU64::new(0))), "t"), None);
}

/// Tables of every make.
const TABLES: &str = "
    CREATE TABLE a (id INTEGER PRIMARY KEY, body TEXT, n INTEGER);
    CREATE TABLE b (k TEXT NOT NULL PRIMARY KEY, v TEXT, n INTEGER);
    CREATE TABLE c (k TEXT PRIMARY KEY, v);
    CREATE TABLE d (x INTEGER, y TEXT, note TEXT, PRIMARY KEY (y, x)) WITHOUT ROWID;
    CREATE TABLE e (k, v);
    CREATE TABLE f (k TEXT COLLATE NOCASE PRIMARY KEY, v);
    CREATE TABLE g (x INTEGER NOT NULL, y TEXT NOT NULL, v, PRIMARY KEY (x, y));
    CREATE TABLE h (rowid TEXT, v);
    CREATE INDEX b_n ON b (n);
    CREATE INDEX a_body ON a (body);";

fn fill(table: &str, from: u32, to: u32) -> String {
    let values = match table {
        "a" => "i, hex(randomblob(20 + i % 7 * (i % 50 = 0) * 300)), i",
        "b" => "printf('%08x', i * 2654435761 % 4294967296), hex(randomblob(20)), i",
        "d" => "i % 50, 'y' || i, hex(randomblob(15 + (i % 90 = 0) * 2000))",
        "g" => "i % 10, 'g' || i, hex(randomblob(20))",
        "e" | "h" => "'x' || i, hex(randomblob(20))",
        _ => "'k' || i, hex(randomblob(30))",
    };
    format!(
        "WITH RECURSIVE n(i) AS (SELECT {from} UNION ALL SELECT i + 1 FROM n WHERE i < {to})
             INSERT OR IGNORE INTO {table} SELECT {values} FROM n;"
    )
}

/// An edit: which kind, of which table, about where.
fn edit((kind, table, place): (u8, usize, u32)) -> String {
    let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
    let table = names[table];
    let (last, id) = match table {
        "a" => ("n", "id"),
        "b" => ("n", "rowid"),
        "d" => ("note", "x + 50 * abs(random() % 40)"),
        "h" => ("v", "_rowid_"),
        _ => ("v", "rowid"),
    };
    let near = format!("{id} BETWEEN {place} AND {place} + 9");
    match kind {
        0..=3 => format!("UPDATE {table} SET {last} = {last} || 'z' WHERE {near};"),
        4 => format!("UPDATE {table} SET {last} = 12 WHERE {near};"),
        5..=6 => format!("DELETE FROM {table} WHERE {near};"),
        7..=8 => fill(table, 5_000 + place, 5_000 + place + 60),
        // The rest of a row is changed where it is.
        9 => format!("UPDATE a SET n = (n + 1) % 1000 WHERE id % 50 = 0 AND {}", near.replace(id, "id")),
        // A key moves, and a row with it or without.
        10 => format!("UPDATE OR IGNORE a SET id = id + 100000 WHERE id = {place};"),
        11 => format!(
            "UPDATE OR IGNORE b SET k = 'moved' || k WHERE rowid = {place}; UPDATE b SET rowid = rowid + 70000 WHERE rowid = {place} + 5;"
        ),
        12 => format!(
            "UPDATE OR IGNORE c SET k = NULL WHERE rowid = {place} AND NOT EXISTS (SELECT 1 FROM c WHERE k IS NULL);"
        ),
        13 => format!("DELETE FROM {table} WHERE {id} > {place};"),
        14 => format!("DELETE FROM {table}; {}", fill(table, 1, place)),
        15 => format!("ALTER TABLE {table} ADD COLUMN more{place} TEXT DEFAULT 'd';"),
        16 => format!("ALTER TABLE {table} RENAME TO old; CREATE TABLE {table} AS SELECT * FROM old; DROP TABLE old;"),
        17 => "VACUUM;".to_owned(),
        18 => format!("CREATE INDEX IF NOT EXISTS more ON {table} ({last});"),
        _ => format!("INSERT INTO a (body) VALUES (hex(randomblob({place})));"),
    }
}

fn edits() -> impl Strategy<Value = Vec<(u8, usize, u32)>> {
    proptest::collection::vec((0..20_u8, 0..8_usize, 1..1500_u32), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_was_edited_the_same_rows_are_found_as_by_comparing_all(
        page_size in prop_oneof![Just(512_usize), Just(1024), Just(4096)],
        vacuum in 0..3_u8,
        edits in edits(),
        more in proptest::collection::vec(0..400_usize, 0..4),
    ) {
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        let rows: String = names.iter().map(|table| fill(table, 1, 1_500)).collect();
        let scene = Scene::new(page_size, &format!("PRAGMA auto_vacuum = {vacuum}; BEGIN; {TABLES} {rows} COMMIT"));
        for edit in edits.into_iter().map(edit) {
            // An edit may not fit what an earlier one has left.
            let _ = Connection::open(&scene.path).unwrap().execute_batch(&edit);
        }
        scene.assert_same(&content(&scene.path), &more);
    }
}
