use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use rusqlite::Connection;

use super::*;
use crate::base::error::{Class, Explain};

mod known;
mod processes;

/// Kills this process at the step its environment names, the n-th time it is reached.
pub fn reach(step: &str) {
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let Ok(told) = std::env::var("STRONGROOM_TEST_DIE_AT") else { return };
    let (at, times) = told.split_once(':').unwrap_or((&told, "1"));
    if at == step && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == times.parse::<u32>().unwrap() {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        std::thread::sleep(Duration::from_secs(60));
    }
}

fn sql(file: &Path, text: &str) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch(text).unwrap();
}

fn number(file: &Path, text: &str) -> i64 {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.query_row(text, [], |row| row.get(0)).unwrap()
}

fn text(file: &Path, query: &str) -> String {
    Connection::open(file).unwrap().query_row(query, [], |row| row.get(0)).unwrap()
}

/// Accounts whose balances come to 100 000, and notes that fill pages.
const BANK: &str = "CREATE TABLE account(id INTEGER PRIMARY KEY, balance INTEGER NOT NULL);
    CREATE TABLE note(id INTEGER PRIMARY KEY, account INTEGER, text TEXT);
    CREATE INDEX note_account ON note(account);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        INSERT INTO account SELECT i, 1000 FROM n;
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
        INSERT INTO note SELECT i, i % 100, hex(randomblob(60)) FROM n;";

/// Moves money about, loses some, and fills and empties pages.
const SPENT: &str = "UPDATE account SET balance = balance - 7 WHERE id % 3 = 0;
    DELETE FROM note WHERE id % 5 = 0 OR id > 2500;
    UPDATE note SET text = hex(randomblob(90)) WHERE id % 11 = 0;";

/// A folder with a database that somebody keeps, and the snapshot of it.
struct Scene {
    folder: tempfile::TempDir,
}

impl Scene {
    /// Makes the database with `before`, keeps it as the snapshot, then changes it with `after`.
    fn new(mode: &str, before: &str, after: &str) -> Self {
        let scene = Self { folder: tempfile::tempdir().unwrap() };
        sql(&scene.live(), before);
        sql(&scene.live(), &format!("PRAGMA journal_mode = {mode}"));
        // Whoever closes last leaves no log behind: the file is the database.
        fs::copy(scene.live(), scene.snapshot()).unwrap();
        sql(&scene.live(), after);
        scene
    }

    fn live(&self) -> PathBuf {
        self.folder.path().join("live.db")
    }

    fn snapshot(&self) -> PathBuf {
        self.folder.path().join("snapshot.db")
    }

    fn apply(&self) -> Result<Applied, ApplyError> {
        give_back(&self.live(), &self.snapshot(), OnDamage::Refuse, WAIT)
    }

    fn holds(&self) -> bool {
        holds_file(&self.live(), &self.snapshot())
    }

    /// The database is what the snapshot holds, sound, and leaves nothing beside it.
    fn assert_given_back(&self) {
        assert!(self.holds());
        assert_eq!(text(&self.live(), "PRAGMA integrity_check"), "ok");
        let names = fs::read_dir(self.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
        let left: Vec<_> = names.filter(|name| name.to_string_lossy().contains("partial")).collect();
        assert!(left.is_empty(), "{left:?}");
    }
}

fn blocks(file: &Path, length: usize) -> std::vec::IntoIter<Result<Vec<u8>, Explained>> {
    fs::read(file).unwrap().chunks(length).map(|block| Ok(block.to_vec())).collect::<Vec<_>>().into_iter()
}

fn from(
    mut blocks: impl Iterator<Item = Result<Vec<u8>, Explained>>,
) -> impl FnMut(&mut Vec<u8>) -> Result<bool, Explained> {
    move |buffer| match blocks.next() {
        Some(block) => {
            *buffer = block?;
            Ok(true)
        }
        None => Ok(false),
    }
}

fn live_at(path: &Path) -> Live {
    Live::at(DatabaseFile::at(path).unwrap())
}

fn beside(database: &Path, side: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(side);
    PathBuf::from(name)
}

fn give_back(live: &Path, snapshot: &Path, on_damage: OnDamage, wait: Duration) -> Result<Applied, ApplyError> {
    let control = Arc::default();
    let mut blocks = from(blocks(snapshot, 70_001));
    let wanted = Wanted { length: fs::metadata(snapshot).unwrap().len(), blocks: &mut blocks };
    apply(&mut live_at(live), wanted, &Options { wait, on_damage, control: &control, dress: None })
}

fn holds_file(live: &Path, snapshot: &Path) -> bool {
    let control = Arc::default();
    let mut blocks = from(blocks(snapshot, 5_000));
    let wanted = Wanted { length: fs::metadata(snapshot).unwrap().len(), blocks: &mut blocks };
    holds(
        &DatabaseFile::at(live).unwrap(),
        wanted,
        &Options { wait: WAIT, on_damage: OnDamage::Refuse, control: &control, dress: None },
    )
    .unwrap()
}

#[test]
fn only_the_pages_that_differ_are_written_and_the_journal_mode_stays() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, BANK, "UPDATE account SET balance = 0 WHERE id = 5");
        assert!(!scene.holds());
        let applied = scene.apply().unwrap();
        assert_eq!((applied.way, applied.written, &applied.checked), (Way::Pages, 2, &Checked::Sound));
        scene.assert_given_back();
        assert_eq!(text(&scene.live(), "PRAGMA journal_mode"), mode);
        assert_eq!(number(&scene.live(), "SELECT sum(balance) FROM account"), 100_000);
        let again = scene.apply().unwrap();
        assert_eq!((again.written, again.checked), (0, Checked::Unchanged));
    }
}

#[test]
fn a_database_that_grew_is_cut_and_one_that_shrank_grows() {
    let grew = format!("{SPENT} CREATE TABLE more AS SELECT hex(randomblob(3000)) x FROM note LIMIT 400;");
    let shrank = "DELETE FROM note WHERE id > 50; VACUUM";
    for (mode, after) in [("wal", &*grew), ("delete", &*grew), ("wal", shrank), ("delete", shrank)] {
        let scene = Scene::new(mode, BANK, after);
        assert_ne!(fs::metadata(scene.live()).unwrap().len(), fs::metadata(scene.snapshot()).unwrap().len());
        assert_eq!(scene.apply().unwrap().way, Way::Pages);
        scene.assert_given_back();
        let pages = |file: &Path| number(file, "PRAGMA page_count");
        assert_eq!(pages(&scene.live()), pages(&scene.snapshot()));
        let length = |file: &Path| fs::metadata(file).unwrap().len();
        assert_eq!(length(&scene.live()), length(&scene.snapshot()), "{mode}");
        sql(&scene.live(), "INSERT INTO note VALUES(100000, 1, 'later'); DROP INDEX note_account");
        assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
    }
}

#[test]
fn the_schema_goes_back_too_and_an_open_connection_notices() {
    for mode in ["wal", "delete"] {
        let after = "DROP TABLE note; CREATE TABLE other(a, b); CREATE INDEX i ON other(b);
            ALTER TABLE account ADD COLUMN name TEXT; CREATE VIEW v AS SELECT 1";
        let scene = Scene::new(mode, BANK, after);
        let connected = Connection::open(scene.live()).unwrap();
        let columns = "SELECT count(*) FROM pragma_table_info('account')";
        let mut other = connected.prepare("SELECT count(*) FROM other").unwrap();
        assert_eq!(other.query_row([], |row| row.get::<_, i64>(0)).unwrap(), 0);
        assert_eq!(connected.query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
        scene.apply().unwrap();
        assert_eq!(connected.query_row(columns, [], |row| row.get::<_, i64>(0)).unwrap(), 2);
        assert!(other.query_row([], |row| row.get::<_, i64>(0)).unwrap_err().to_string().contains("no such table"));
        assert_eq!(connected.query_row("SELECT count(*) FROM note", [], |row| row.get::<_, i64>(0)).unwrap(), 3000);
        drop(other);
        drop(connected);
        scene.assert_given_back();
    }
}

#[test]
fn databases_of_every_make_come_back_page_for_page() {
    let rows = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
        INSERT INTO t(k, v) SELECT i, hex(randomblob(40)) FROM n;";
    let table = "CREATE TABLE t(k PRIMARY KEY, v);";
    let makes = [
        format!("PRAGMA page_size = 512; {table} {rows}"),
        format!("PRAGMA page_size = 65536; {table} {rows}"),
        format!("PRAGMA encoding = 'UTF-16le'; {table} {rows}"),
        format!("PRAGMA auto_vacuum = FULL; {table} {rows}"),
        format!("PRAGMA auto_vacuum = INCREMENTAL; {table} {rows} DELETE FROM t WHERE k < 500;"),
        format!("CREATE TABLE t(k PRIMARY KEY, v) WITHOUT ROWID; {rows}"),
        format!("CREATE VIRTUAL TABLE t USING fts5(k, v); {rows}"),
        format!(
            "CREATE TABLE t(k, v, n GENERATED ALWAYS AS (length(v)) STORED, CHECK(n > 0)); CREATE INDEX i ON t(n);
            CREATE TRIGGER g AFTER INSERT ON t BEGIN DELETE FROM t WHERE k = new.k - 3000; END; {rows}"
        ),
    ];
    for make in makes {
        for mode in ["wal", "delete"] {
            let after = "DELETE FROM t WHERE k % 7 = 0; UPDATE t SET v = v || '!' WHERE k % 13 = 0;
                CREATE TABLE u AS SELECT hex(randomblob(2000)) x FROM t LIMIT 100;";
            let scene = Scene::new(mode, &make, after);
            let applied = scene.apply().unwrap_or_else(|error| panic!("{make}: {error:?}"));
            assert_eq!((applied.way, applied.checked), (Way::Pages, Checked::Sound), "{make}");
            scene.assert_given_back();
        }
    }
}

#[test]
fn pages_of_another_size_go_through_a_copy_unless_a_database_with_a_log_is_open() {
    for mode in ["wal", "delete"] {
        let after = format!(
            "{SPENT} PRAGMA journal_mode = DELETE; PRAGMA page_size = 8192; VACUUM; PRAGMA journal_mode = {mode}"
        );
        let scene = Scene::new(mode, BANK, &after);
        let connected = Connection::open(scene.live()).unwrap();
        connected.query_row("SELECT count(*) FROM note", [], |_| Ok(())).unwrap();
        if mode == "wal" {
            let wait = Duration::from_millis(100);
            let error = give_back(&scene.live(), &scene.snapshot(), OnDamage::Refuse, wait).unwrap_err();
            assert!(matches!(error, ApplyError::InUse { what: "page size", .. }), "{error:?}");
            assert_eq!(error.class(), Class::Busy);
            assert_eq!(number(&scene.live(), "PRAGMA page_size"), 8192);
            drop(connected);
        }
        assert_eq!(scene.apply().unwrap().way, Way::Copied);
        scene.assert_given_back();
        assert_eq!(number(&scene.live(), "PRAGMA page_size"), 4096);
        assert_eq!(text(&scene.live(), "PRAGMA journal_mode"), mode);
    }
}

#[test]
fn another_way_of_vacuuming_goes_through_a_copy() {
    let after = format!("{SPENT} PRAGMA auto_vacuum = FULL; VACUUM");
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, &format!("{BANK} DELETE FROM note WHERE id > 2000"), &after);
        assert_eq!(scene.apply().unwrap().way, Way::Copied);
        scene.assert_given_back();
        assert_eq!(text(&scene.live(), "PRAGMA journal_mode"), mode);
    }
}

#[test]
fn a_database_that_is_not_there_is_made_and_what_another_left_beside_it_is_removed() {
    let scene = Scene::new("wal", BANK, SPENT);
    let old = beside(&scene.live(), "-wal");
    fs::remove_file(scene.live()).unwrap();
    fs::write(&old, b"of another database").unwrap();
    fs::write(beside(&scene.live(), "-journal"), b"of another database").unwrap();
    assert_eq!(scene.apply().unwrap().way, Way::Created);
    assert_eq!(fs::read(scene.live()).unwrap(), fs::read(scene.snapshot()).unwrap());
    assert!(!old.exists() && !beside(&scene.live(), "-journal").exists());
    scene.assert_given_back();
    fs::write(scene.live(), b"").unwrap();
    assert_eq!(scene.apply().unwrap().way, Way::Copied);
    scene.assert_given_back();
}

#[test]
fn what_is_no_database_on_either_side_is_refused_and_left_alone() {
    let scene = Scene::new("wal", BANK, SPENT);
    let live = fs::read(scene.live()).unwrap();
    let junk = scene.folder.path().join("junk");
    for bytes in [&b"hello"[..], &vec![3; 9000], &fs::read(scene.snapshot()).unwrap()[..9000], b""] {
        fs::write(&junk, bytes).unwrap();
        let error = give_back(&scene.live(), &junk, OnDamage::Refuse, WAIT).unwrap_err();
        assert!(matches!(error, ApplyError::Snapshot { .. }) && error.hint().is_some(), "{error:?}");
        assert_eq!(fs::read(scene.live()).unwrap(), live);
    }
    fs::write(scene.live(), vec![3; 9000]).unwrap();
    let error = scene.apply().unwrap_err();
    assert!(matches!(error, ApplyError::NotADatabase { .. }) && error.hint().is_some(), "{error:?}");
    assert_eq!(fs::read(scene.live()).unwrap(), vec![3; 9000]);
}

#[test]
fn a_result_that_is_not_sound_is_rolled_back_unless_it_is_asked_for() {
    for mode in ["wal", "delete"] {
        let scene = Scene::new(mode, BANK, SPENT);
        let before = number(&scene.live(), "SELECT count(*) FROM note");
        let mut damaged = fs::read(scene.snapshot()).unwrap();
        damaged[4096 * 7 + 8..4096 * 7 + 200].fill(0xff);
        fs::write(scene.snapshot(), damaged).unwrap();
        let error = scene.apply().unwrap_err();
        assert!(matches!(error, ApplyError::Unsound { .. }), "{error:?}");
        assert_eq!(number(&scene.live(), "SELECT count(*) FROM note"), before);
        assert_eq!(text(&scene.live(), "PRAGMA integrity_check"), "ok");
        let applied = give_back(&scene.live(), &scene.snapshot(), OnDamage::Tell, WAIT).unwrap();
        assert!(matches!(applied.checked, Checked::Damaged { .. }) && scene.holds());
    }
}

#[test]
fn a_damaged_database_that_opens_is_healed() {
    let scene = Scene::new("delete", BANK, "");
    let mut damaged = fs::read(scene.live()).unwrap();
    let schema = b"CREATE TABLE note";
    let at = damaged.windows(schema.len()).position(|window| window == schema).unwrap();
    damaged[at..at + 6].copy_from_slice(b"BROKEN");
    damaged[4096 * 3..4096 * 4].fill(0);
    fs::write(scene.live(), damaged).unwrap();
    assert_eq!(scene.apply().unwrap().way, Way::Pages);
    scene.assert_given_back();
}

#[test]
fn content_that_ends_early_or_cannot_be_read_leaves_the_database_as_it_was() {
    let scene = Scene::new("wal", BANK, SPENT);
    let before = number(&scene.live(), "SELECT sum(balance) FROM account");
    let length = fs::metadata(scene.snapshot()).unwrap().len();
    let control = Arc::default();
    let options = Options { wait: WAIT, on_damage: OnDamage::Refuse, control: &control, dress: None };
    let mut short = from(blocks(&scene.snapshot(), 4096).take(9));
    let error = apply(&mut live_at(&scene.live()), Wanted { length, blocks: &mut short }, &options).unwrap_err();
    assert!(matches!(error, ApplyError::Snapshot { .. }), "{error:?}");
    let broken = || Box::new(ApplyError::NoPageTable) as Explained;
    let mut broken = from(blocks(&scene.snapshot(), 4096).take(9).chain(std::iter::once(Err(broken()))));
    let error = apply(&mut live_at(&scene.live()), Wanted { length, blocks: &mut broken }, &options).unwrap_err();
    assert!(matches!(error, ApplyError::Content { .. }), "{error:?}");
    assert_eq!(number(&scene.live(), "SELECT sum(balance) FROM account"), before);
}

#[test]
fn a_collation_that_only_the_app_has_is_told_and_no_obstacle() {
    let before = "CREATE TABLE t(a COLLATE nocase); CREATE INDEX i ON t(a); INSERT INTO t VALUES('x'), ('y');
        CREATE TABLE u AS SELECT 1 x; PRAGMA writable_schema = ON;
        UPDATE sqlite_schema SET sql = replace(sql, 'nocase', 'german')";
    let scene = Scene::new("delete", before, "UPDATE u SET x = 2");
    let applied = scene.apply().unwrap();
    assert!(matches!(applied.checked, Checked::Impossible { .. }), "{applied:?}");
    assert!(scene.holds());
}
