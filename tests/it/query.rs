//! `query` as people and scripts meet it.

use std::fs;

use rusqlite::Connection;

use crate::support::program::Home;

const SCHEMA: &str = "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT, logo BLOB); \
    CREATE VIEW named AS SELECT name FROM projects WHERE name IS NOT NULL; \
    INSERT INTO projects VALUES (1, 'Acme merger', NULL), (2, 'Zoo', x'00ff'), (3, NULL, NULL)";

fn database(home: &Home, name: &str) -> Connection {
    let path = home.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    Connection::open(path).unwrap()
}

fn shop() -> (Home, Connection) {
    let home = Home::new();
    let live = database(&home, "app/shop.db");
    live.execute_batch(&format!("PRAGMA journal_mode = WAL; {SCHEMA}")).unwrap();
    home.write("app/readme.md", "not a database, but a file\n");
    home.ok(&["backup", "app"]);
    (home, live)
}

#[test]
fn a_snapshot_is_asked_and_compared_with_what_is_there_now() {
    let (home, live) = shop();
    let found = home.ok(&["query", "latest", "SELECT id, name FROM projects WHERE name LIKE 'Acme%'"]);
    assert_eq!((&*found.out, &*found.err), ("  id  name\n   1  Acme merger\n", ""));
    live.execute_batch("DELETE FROM projects WHERE id = 1; INSERT INTO projects VALUES (9, 'new', NULL)").unwrap();
    let before = fs::read(home.path("app/shop.db")).unwrap();
    let sql = "SELECT id, name FROM projects EXCEPT SELECT id, name FROM live.projects";
    assert_eq!(home.ok(&["query", "latest", sql]).out, "  id  name\n   1  Acme merger\n");
    home.ok(&["backup", "app"]);
    let sql = "SELECT id FROM before.projects EXCEPT SELECT id FROM projects";
    assert_eq!(home.ok(&["query", "latest", "--attach", "before=latest~1", sql]).out, "  id\n   1\n");
    assert!(fs::read(home.path("app/shop.db")).unwrap() == before, "the live file was written");
}

#[test]
fn the_answer_is_written_in_the_format_that_is_asked_for() {
    let (home, _live) = shop();
    let sql = "SELECT * FROM projects WHERE id < 3";
    let csv = home.ok(&["--quiet", "query", "latest", sql, "--format", "csv"]);
    assert_eq!(csv.out, "id,name,logo\r\n1,Acme merger,\r\n2,Zoo,x'00ff'\r\n");
    let markdown = home.ok(&["query", "latest", sql, "--format", "markdown"]);
    assert!(markdown.out.ends_with("| 2 | Zoo | x'00ff' |\n"), "{}", markdown.out);
    let json = home.json(&["query", "latest", sql]);
    assert_eq!(json["columns"], serde_json::json!(["id", "name", "logo"]));
    assert_eq!(json["rows"][1], serde_json::json!([2, "Zoo", { "base64": "AP8=" }]));
    assert_eq!(json["database"], "app:shop.db");
    let tables = home.json(&["query", "latest", ".tables"]);
    let names: Vec<&str> = tables["rows"].as_array().unwrap().iter().map(|row| row[1].as_str().unwrap()).collect();
    assert_eq!(names, ["named", "projects"]);
    let schema = home.ok(&["query", "latest", ".schema projects"]);
    assert_eq!(schema.out, "CREATE TABLE projects (id INTEGER PRIMARY KEY, name TEXT, logo BLOB);\n");
}

#[test]
fn values_are_bound_by_place_and_by_name() {
    let (home, _live) = shop();
    let sql = "SELECT name FROM projects WHERE id = ? OR name = :name ORDER BY id";
    let found = home.json(&["query", "latest", sql, "--bind", "1", "--bind", "name=Zoo"]);
    assert_eq!(found["rows"], serde_json::json!([["Acme merger"], ["Zoo"]]));
    let said = home.fails(2, &["query", "latest", sql, "--bind", "1"]);
    assert!(said.contains(":name has no value") && said.contains("--bind"), "{said}");
}

#[test]
fn a_value_for_a_parameter_that_is_not_there_is_a_mistake_and_no_value_of_another() {
    let (home, _live) = shop();
    for (sql, value) in
        [("SELECT * FROM projects WHERE id = :id", "idd=1"), ("SELECT :a", "b=1"), ("SELECT @a", ":b=1")]
    {
        let said = home.fails(2, &["query", "latest", sql, "--bind", value]);
        assert!(said.contains("the statement has no parameter ") && said.contains("it has "), "{sql}: {said}");
    }
    // What is no name is a value, and so is anything for a parameter without one.
    for (sql, value) in [("SELECT ?", "b=1"), ("SELECT :a", "x y=1"), ("SELECT :a", "a=b=1")] {
        let found = home.json(&["query", "latest", sql, "--bind", value]);
        assert_eq!(found["rows"][0][0], value.strip_prefix("a=").unwrap_or(value), "{sql}");
    }
}

#[test]
fn mistakes_and_attempts_to_write_end_with_2_and_a_way_out() {
    let (home, _live) = shop();
    for (sql, expected) in [
        ("SELECT * FROM project", "did you mean projects?"),
        ("SELECT nam FROM projects", "no such column: nam"),
        ("DELETE FROM projects", "this statement writes"),
        ("DELETE FROM live.projects", "this statement writes"),
        ("ATTACH '/tmp/x.db' AS x", "--attach NAME=SNAPSHOT"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        (".dump", "there are .tables and .schema"),
        ("", "no statement"),
    ] {
        let said = home.fails(2, &["query", "latest", sql]);
        assert!(said.contains(expected) && said.contains("hint: "), "{sql}: {said}");
    }
    let said = home.run(&["--json", "query", "latest", "DELETE FROM projects"]);
    assert_eq!(said.code, 2);
    assert_eq!(serde_json::from_str::<serde_json::Value>(&said.out).unwrap()["code"], 2);
    let said = home.fails(2, &["query", "latest", "--source", "app:readme.md", "SELECT 1"]);
    assert!(said.contains("app:readme.md is not a SQLite database"), "{said}");
    home.fails(1, &["query", "latest", "--source", "app:nothing.db", "SELECT 1"]);
}

#[test]
fn where_there_are_several_databases_one_is_named() {
    let (home, _live) = shop();
    database(&home, "app/data/other.db").execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (7)").unwrap();
    home.ok(&["backup", "app"]);
    let said = home.fails(2, &["query", "latest", "SELECT 1"]);
    assert!(said.contains("several databases") && said.contains("app:data/other.db, app:shop.db"), "{said}");
    let found = home.json(&["query", "latest", "--source", "app:data/other.db", "SELECT x FROM t"]);
    assert_eq!(found["rows"], serde_json::json!([[7]]));
    // `latest` is the newest with a database; where there is none, that is said.
    home.write("none/x.txt", "x");
    let none = home.json(&["backup", "none"])["id"].as_str().unwrap().to_owned();
    let ran = home.run(&["query", "latest", "SELECT 1"]);
    assert!(ran.code == 2 && ran.err.contains("several databases"), "{}", ran.err);
    assert!(home.fails(2, &["query", &none, "SELECT 1"]).contains("holds no database"));
}

#[test]
fn a_database_kept_as_a_plain_file_is_asked_and_its_log_is_missed_aloud() {
    let (home, live) = shop();
    home.ok(&["backup", "app", "--plain"]);
    let asked = ["query", "latest", "--source", "app:shop.db", "SELECT 1"];
    let said = home.ok(&asked).err;
    assert!(said.contains("warning: app:shop.db") && said.contains("shop.db-wal beside it is not seen"), "{said}");
    live.close().unwrap();
    home.ok(&["backup", "app", "--plain"]);
    let asked = ["query", "latest", "--source", "app:shop.db", "SELECT count(*) AS n FROM projects"];
    let found = home.ok(&asked);
    assert_eq!((&*found.out, &*found.err), ("  n\n  3\n", ""));
}

#[test]
fn what_is_too_wide_for_a_line_is_cut_and_said_so() {
    let (home, _live) = shop();
    let found = home.ok(&["query", "latest", "SELECT id, printf('%200c', 'x') AS wide FROM projects"]);
    assert!(found.out.lines().all(|line| line.chars().count() <= 80), "{}", found.out);
    assert!(found.err.contains("3 values cut to fit"), "{}", found.err);
}

#[test]
fn a_live_database_elsewhere_or_gone_is_told() {
    let (home, live) = shop();
    live.close().unwrap();
    fs::remove_file(home.path("app/shop.db")).unwrap();
    let said = home.run(&["query", "latest", "SELECT * FROM live.projects"]);
    assert!(said.code == 1 && said.err.contains("app/shop.db is not there"), "{}", said.err);
}

#[test]
fn verify_has_sqlite_check_the_databases_and_tells_what_is_known_from_what_is_damage() {
    let (home, live) = shop();
    let found = home.ok(&["verify", "--deep"]);
    assert!(found.out.contains("databases  1 of 1") && found.out.contains("sound"), "{}", found.out);
    let report = home.json(&["verify", "latest", "--deep"]);
    assert_eq!(report["deep"]["databases"]["checked"], 1);
    assert_eq!(report["deep"]["findings"], serde_json::json!([]));
    assert!(home.json(&["verify"])["deep"].is_null());
    live.execute_batch("CREATE INDEX by_name ON projects (name); PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    live.close().unwrap();
    // An index that has another name for a row: nothing but a thorough check finds it.
    for sql in [
        "CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'by_name'; PRAGMA writable_schema = ON; \
         DELETE FROM sqlite_schema WHERE name = 'by_name'",
        "UPDATE projects SET name = 'unseen' WHERE id = 2; PRAGMA writable_schema = ON; \
         INSERT INTO sqlite_schema SELECT * FROM kept",
    ] {
        database(&home, "app/shop.db").execute_batch(sql).unwrap();
    }
    home.ok(&["backup", "app"]);
    let found = home.run(&["verify", "--deep"]);
    assert_eq!(found.code, 4, "{}{}", found.out, found.err);
    assert!(found.err.contains("damaged: app:shop.db of") && found.err.contains("by_name"), "{}", found.err);
    assert_eq!(home.run(&["--json", "verify", "--deep"]).code, 4);
    home.ok(&["verify", "latest~1", "--deep"]);
    home.ok(&["verify"]);
}
