use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;

use super::*;
use crate::base::error::{Class, Explain, Explained};

struct Bytes(Vec<u8>);

impl RandomRead for Bytes {
    fn length(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        buffer.copy_from_slice(&self.0[offset as usize..offset as usize + buffer.len()]);
        Ok(())
    }
}

/// Rows as lines, up to a bound.
#[derive(Default)]
struct Lines(Vec<String>);

impl Rows for Lines {
    fn columns(&mut self, names: &[String]) -> io::Result<()> {
        self.0.push(names.join(" | "));
        Ok(())
    }

    fn row(&mut self, cells: &[ValueRef<'_>]) -> io::Result<()> {
        let cell = |cell: &ValueRef<'_>| match cell {
            ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned(),
            ValueRef::Integer(number) => number.to_string(),
            other => format!("{other:?}"),
        };
        self.0.push(cells.iter().map(cell).collect::<Vec<_>>().join(" | "));
        if self.0.len() > 100_000 { Err(io::Error::other("enough")) } else { Ok(()) }
    }
}

fn make(path: &Path, sql: &str) {
    let connection = Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap();
    connection.close().unwrap();
}

const PROJECTS: &str = "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT); \
    INSERT INTO projects VALUES (1, 'one'), (2, 'two'), (3, NULL)";

fn session(sql: &str) -> (tempfile::TempDir, Session) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    make(&path, sql);
    let content = Arc::new(Bytes(std::fs::read(path).unwrap()));
    (folder, Session::open(content, "db", Arc::default()).unwrap())
}

fn ask(session: &Session, sql: &str, values: &[&str]) -> Result<Vec<String>, AskError> {
    let values: Vec<String> = values.iter().map(|value| value.to_string()).collect();
    let mut lines = Lines::default();
    session.ask(sql, &values, &mut lines)?;
    Ok(lines.0)
}

#[test]
fn a_question_is_answered_and_values_stand_for_its_parameters() {
    let (_folder, session) = session(PROJECTS);
    assert_eq!(ask(&session, "SELECT * FROM projects -- all;", &[]).unwrap()[..2], ["id | name", "1 | one"]);
    assert_eq!(ask(&session, "SELECT name FROM projects WHERE id > 7", &[]).unwrap(), ["name"]);
    let sql = "SELECT id FROM projects WHERE name = :name OR id = ?";
    assert_eq!(ask(&session, sql, &["name=two", "3"]).unwrap(), ["id", "2", "3"]);
    assert_eq!(ask(&session, sql, &["3", ":name=two"]).unwrap_err().class(), Class::Usage);
    assert!(ask(&session, sql, &["x"]).unwrap_err().to_string().contains("parameter"));
    assert!(ask(&session, "SELECT 1", &["x"]).unwrap_err().to_string().contains("more values"));
    assert_eq!(ask(&session, "SELECT ?1 = 'a=b'", &["a=b"]).unwrap()[1], "1");
}

#[test]
fn nothing_is_written_opened_or_loaded_whatever_is_asked() {
    let (folder, session) = session(PROJECTS);
    let other = folder.path().join("other.db");
    for sql in [
        "DELETE FROM projects",
        "INSERT INTO projects VALUES (9, 'nine') RETURNING id",
        "CREATE TABLE x (y)",
        "CREATE TEMP TABLE x AS SELECT 1",
        "DROP TABLE projects",
        "VACUUM",
        "REINDEX",
        "ANALYZE",
        "PRAGMA journal_mode = DELETE",
        "PRAGMA journal_mode",
        "PRAGMA query_only = OFF",
        "PRAGMA writable_schema = ON",
        "PRAGMA user_version = 7",
        "PRAGMA temp_store_directory = '/tmp'",
        "PRAGMA trusted_schema = 1",
        "PRAGMA wal_checkpoint",
        "SELECT load_extension('/tmp/x')",
        "BEGIN",
        "BEGIN EXCLUSIVE",
        "SAVEPOINT x",
        "DETACH live",
        "SELECT 1; SELECT 2",
        "SELECT 1; DROP TABLE projects",
        "",
        "-- nothing",
        "SELEKT 1",
    ] {
        let error = ask(&session, sql, &[]).expect_err(sql);
        assert_eq!(error.class(), Class::Usage, "{sql}: {error}");
        assert!(error.hint().is_some(), "{sql}: {error}");
    }
    for sql in [format!("ATTACH '{}' AS other", other.display()), format!("VACUUM INTO '{}'", other.display())] {
        assert_eq!(ask(&session, &sql, &[]).unwrap_err().class(), Class::Usage, "{sql}");
    }
    assert!(!other.exists());
    assert_eq!(ask(&session, "SELECT count(*) FROM projects", &[]).unwrap()[1], "3");
}

#[test]
fn what_tells_of_the_schema_is_allowed() {
    let (_folder, session) = session(PROJECTS);
    assert!(ask(&session, "PRAGMA foreign_key_check", &[]).is_ok());
    for sql in [
        "PRAGMA table_info(projects)",
        "SELECT name FROM pragma_table_info('projects')",
        "SELECT name FROM pragma_table_list",
        "PRAGMA integrity_check",
        "PRAGMA user_version",
        "EXPLAIN QUERY PLAN SELECT * FROM projects",
        "SELECT * FROM dbstat",
        "SELECT count(*) FROM sqlite_dbpage",
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT json_group_array(i) FROM n",
    ] {
        assert!(ask(&session, sql, &[]).unwrap().len() > 1, "{sql}");
    }
}

#[test]
fn mistakes_are_told_with_what_was_meant() {
    let (_folder, session) = session(PROJECTS);
    let error = ask(&session, "SELECT * FROM project", &[]).unwrap_err();
    assert_eq!(
        (error.to_string(), error.hint().unwrap()),
        ("no such table: project".into(), "did you mean projects?".into())
    );
    let error = ask(&session, "SELECT nam FROM projects", &[]).unwrap_err();
    assert!(
        error.to_string().starts_with("no such column: nam") && error.hint().unwrap().contains(".schema"),
        "{error}"
    );
    let error = ask(&session, "SELECT * FORM projects", &[]).unwrap_err();
    assert!(error.to_string().contains("near \"FORM\""), "{error}");
}

#[test]
fn snapshots_and_the_live_database_are_compared_and_the_live_one_stays_as_it_is() {
    let (folder, mut session) = session(PROJECTS);
    let live = folder.path().join("live 100%.db");
    make(&live, &format!("PRAGMA journal_mode = WAL; {PROJECTS}; INSERT INTO projects VALUES (4, 'four')"));
    let writer = Connection::open(&live).unwrap();
    writer.execute_batch("DELETE FROM projects WHERE id = 1").unwrap();
    let before = std::fs::read(&live).unwrap();
    let third = folder.path().join("third.db");
    make(&third, PROJECTS);
    session.attach("third", Arc::new(Bytes(std::fs::read(third).unwrap()))).unwrap();
    session.attach_live(&live);
    let sql = "SELECT * FROM projects EXCEPT SELECT * FROM live.projects";
    assert_eq!(ask(&session, sql, &[]).unwrap(), ["id | name", "1 | one"]);
    assert_eq!(ask(&session, "SELECT count(*) FROM third.projects", &[]).unwrap()[1], "3");
    for sql in ["DELETE FROM live.projects", "UPDATE live.projects SET name = ''", "PRAGMA live.journal_mode = DELETE"]
    {
        assert_eq!(ask(&session, sql, &[]).unwrap_err().class(), Class::Usage, "{sql}");
    }
    writer.execute_batch("INSERT INTO projects VALUES (5, 'five')").unwrap();
    assert_eq!(ask(&session, "SELECT count(*) FROM live.projects", &[]).unwrap()[1], "4");
    drop(session);
    assert!(std::fs::read(&live).unwrap() == before, "the file itself was not written");
}

#[test]
fn why_there_is_no_live_database_is_told_to_whoever_names_it() {
    let (folder, mut session) = session(PROJECTS);
    session.attach_live(&folder.path().join("nowhere.db"));
    assert!(ask(&session, "SELECT 'live.x'", &[]).is_ok());
    let error = ask(&session, "SELECT * FROM live.projects", &[]).unwrap_err();
    assert!(error.to_string().contains("nowhere.db"), "{error}");
}

#[test]
fn the_live_database_is_noticed_where_it_is_named() {
    for sql in ["SELECT * FROM live.t", "SELECT * FROM LIVE . t", "SELECT * FROM \"live\".t, x", "select[live].t.a"] {
        assert!(names_live(sql), "{sql}");
    }
    for sql in ["SELECT live FROM t", "SELECT * FROM olive.t", "SELECT alive.x, t.live.y", "SELECT 1.0"] {
        assert!(!names_live(sql), "{sql}");
    }
}

#[test]
fn a_question_without_end_is_ended_by_whoever_asks_to_stop() {
    let control = Arc::new(Control::default());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.db");
    make(&path, PROJECTS);
    let session = Session::open(Arc::new(Bytes(std::fs::read(path).unwrap())), "db", control.clone()).unwrap();
    let sql = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        control.stop();
    });
    assert_eq!(ask(&session, sql, &[]).unwrap_err().class(), Class::Interrupted);
    stopper.join().unwrap();
}

#[test]
fn a_database_that_is_none_is_unsound() {
    for bytes in [vec![7; 5000], [&crate::engine::sqlite::HEADER[..], &[7; 5000]].concat()] {
        let answer = Session::open(Arc::new(Bytes(bytes)), "db", Arc::default())
            .and_then(|session| ask(&session, "SELECT * FROM sqlite_schema", &[]));
        assert!(matches!(answer, Err(AskError::Unsound { .. })), "{answer:?}");
    }
}
