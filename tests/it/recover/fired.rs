//! What triggers do while a record comes back, and that an undo takes it back with it.

use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::types::Value as Cell;

use crate::support::program::Home;

/// An app whose orders count, log, sum up, clear drafts and feed a search index, all by triggers.
const SCHEMA: &str = "
    CREATE TABLE customers(id INTEGER PRIMARY KEY, name TEXT UNIQUE, orders INTEGER NOT NULL DEFAULT 0,
        shouted TEXT GENERATED ALWAYS AS (upper(name)) STORED);
    CREATE TABLE orders(id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers, cents INTEGER);
    CREATE TABLE audit(id INTEGER PRIMARY KEY AUTOINCREMENT, what TEXT, of INTEGER);
    CREATE TABLE totals(day TEXT, kind TEXT, cents INTEGER, PRIMARY KEY(day, kind)) WITHOUT ROWID;
    CREATE TABLE outbox(message BLOB);
    CREATE TABLE latest(slot TEXT PRIMARY KEY, of INTEGER UNIQUE, note TEXT);
    CREATE TABLE drafts(id INTEGER PRIMARY KEY, of INTEGER);
    CREATE TABLE lines(id INTEGER PRIMARY KEY, draft INTEGER NOT NULL REFERENCES drafts ON DELETE CASCADE);
    CREATE VIRTUAL TABLE search USING fts5(body);
    CREATE TRIGGER ordered AFTER INSERT ON orders BEGIN
        INSERT INTO audit(what, of) VALUES('ordered', NEW.id);
        UPDATE customers SET orders = orders + 1 WHERE id = NEW.customer;
        INSERT INTO totals VALUES('today', 'all', NEW.cents) ON CONFLICT DO UPDATE SET cents = cents + excluded.cents;
        INSERT INTO outbox VALUES(x'00ff');
        REPLACE INTO latest VALUES('newest', NEW.id, 'by trigger');
        UPDATE OR REPLACE latest SET of = NEW.id + 1 WHERE slot = 'newest';
        DELETE FROM drafts WHERE of = NEW.id;
        UPDATE drafts SET id = id + 1000 WHERE of = -NEW.id;
        INSERT INTO search VALUES('order ' || NEW.id);
    END;
    CREATE TRIGGER counted AFTER UPDATE OF orders ON customers BEGIN
        INSERT INTO audit(what, of) VALUES('counted to ' || NEW.orders, NEW.id);
        UPDATE customers SET name = name || '!' WHERE id = NEW.id;
    END;
    CREATE TRIGGER cleared AFTER DELETE ON lines BEGIN
        INSERT INTO audit(what, of) VALUES('line gone', OLD.id);
        DELETE FROM audit WHERE what = 'noise';
    END;
    INSERT INTO customers(id, name) VALUES(1, 'a'), (2, 'b');
    INSERT INTO orders VALUES(5, 1, 500), (6, 2, 600);
    INSERT INTO latest VALUES('other', 6, 'kept'), ('third', 70, 'kept');
    INSERT INTO audit(what, of) VALUES('noise', 1), ('noise', 2);";

const TABLES: [&str; 9] =
    ["customers", "orders", "audit", "totals", "outbox", "latest", "drafts", "lines", "sqlite_schema"];

fn app() -> Home {
    let home = Home::new();
    home.write("strongroom.toml", "[source.db]\nkind = 'sqlite'\npath = 'app.db'");
    run(&home.path("app.db"), SCHEMA);
    home.ok(&["backup", "--quiet"]);
    run(
        &home.path("app.db"),
        "DELETE FROM orders WHERE id = 5; INSERT INTO drafts VALUES(1, 5), (2, 9), (3, -5); INSERT INTO lines VALUES(10, 1), (11, 1), (12, 2)",
    );
    home
}

fn run(file: &Path, sql: &str) {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(sql).unwrap();
}

/// Every row, with its number where that is not its key.
fn state(home: &Home) -> Vec<String> {
    let connection = Connection::open(home.path("app.db")).unwrap();
    let mut lines = Vec::new();
    for table in TABLES {
        let number = if ["outbox", "customers"].contains(&table) { "rowid, " } else { "" };
        let mut statement = connection.prepare(&format!("SELECT {number}* FROM {table}")).unwrap();
        let width = statement.column_count();
        let row = |row: &rusqlite::Row<'_>| (0..width).map(|at| row.get::<_, Cell>(at)).collect::<Result<Vec<_>, _>>();
        let rows = statement.query_map([], row).unwrap().map(|row| format!("{table} {:?}", row.unwrap()));
        lines.extend(rows.collect::<Vec<_>>());
    }
    lines.sort();
    lines
}

/// Files that lie beside actions.
fn beside(home: &Home, end: &str) -> Vec<PathBuf> {
    let (mut folders, mut found) = (vec![home.path("").join("../home")], Vec::new());
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => found.extend(entry.path().extension().is_some_and(|is| is == end).then(|| entry.path())),
            }
        }
    }
    found
}

const RECOVER: [&str; 6] = ["recover", "latest", "orders", "5", "--triggers", "on"];

#[test]
fn an_undo_takes_back_what_triggers_did_in_any_table() {
    let home = app();
    let before = state(&home);
    let plan = home.ok(&[&RECOVER[..], &["--dry-run"]].concat()).out;
    assert!(plan.contains("triggers of orders fire: ordered"), "{plan}");
    assert!(plan.contains("what triggers do to search is not taken back by undo"), "{plan}");
    home.ok(&RECOVER);
    let done = state(&home);
    for expected in [
        "orders [Integer(5), Integer(1), Integer(500)]",
        "totals [Text(\"today\"), Text(\"all\"), Integer(1600)]",
        "latest [Text(\"newest\"), Integer(6), Text(\"by trigger\")]",
        "customers [Integer(1), Integer(1), Text(\"a!!\"), Integer(2), Text(\"A!!\")]",
        "drafts [Integer(1003), Integer(-5)]",
    ] {
        assert!(done.iter().any(|line| line == expected), "{expected}: {done:#?}");
    }
    assert!(!done.iter().any(|line| line.contains("other")), "another row had its place: {done:#?}");
    home.ok(&["undo"]);
    assert_eq!(state(&home), before);
    // And what was taken back comes again, and goes again.
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    let id = list.last().unwrap()["id"].as_str().unwrap().to_owned();
    home.ok(&["undo", &id]);
    assert_eq!(state(&home), done);
    home.ok(&["undo"]);
    assert_eq!(state(&home), before);
    home.ok(&RECOVER);
    home.ok(&["undo"]);
    assert_eq!(state(&home), before);
}

#[test]
fn what_somebody_did_to_a_row_that_a_trigger_touched_is_not_lost_silently() {
    let home = app();
    home.ok(&RECOVER);
    run(&home.path("app.db"), "UPDATE totals SET cents = cents + 1");
    let newer = state(&home);
    let refused = home.fails(1, &["undo"]);
    assert!(refused.contains("totals 'today','all' is newer"), "{refused}");
    assert_eq!(state(&home), newer);
    home.ok(&["undo", "--force"]);
    assert!(state(&home).contains(&"totals [Text(\"today\"), Text(\"all\"), Integer(1100)]".to_owned()));
}

#[test]
fn what_triggers_did_is_in_a_file_that_only_its_owner_can_read_and_nothing_else_is_left() {
    use std::os::unix::fs::PermissionsExt;
    let home = app();
    home.ok(&RECOVER);
    let fired = beside(&home, "fired");
    let [fired] = &fired[..] else { panic!("{fired:?}") };
    assert_eq!(fs::metadata(fired).unwrap().permissions().mode() & 0o777, 0o600);
    let tables: std::collections::BTreeSet<String> = fs::read_to_string(fired)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["table"].as_str().unwrap().to_owned())
        .collect();
    let expected = ["audit", "customers", "drafts", "latest", "lines", "outbox", "totals"];
    assert_eq!(tables, expected.map(str::to_owned).into());
}

#[test]
fn without_what_lies_beside_an_action_as_it_was_written_nothing_is_taken_back() {
    let home = app();
    let before = state(&home);
    home.ok(&RECOVER);
    home.ok(&["undo"]);
    let [older] = &beside(&home, "fired")[..] else { panic!() };
    let older = (older.clone(), fs::read(older).unwrap());
    home.ok(&RECOVER);
    let done = state(&home);
    let id = home.json(&["undo", "--list"])["actions"].as_array().unwrap().last().unwrap()["id"].clone();
    for end in ["trace", "fired"] {
        let file = older.0.with_file_name(id.as_str().unwrap()).with_extension(end);
        let whole = fs::read(&file).unwrap();
        let line = whole.iter().position(|byte| *byte == b'\n').unwrap();
        let mut altered = whole.clone();
        let digit = altered.iter().rposition(u8::is_ascii_digit).unwrap();
        altered[digit] = if altered[digit] == b'0' { b'1' } else { b'0' };
        for harm in [None, Some(Vec::new()), Some(whole[..=line].to_vec()), Some(altered), Some(older.1.clone())] {
            match &harm {
                None => fs::remove_file(&file).unwrap(),
                Some(bytes) => fs::write(&file, bytes).unwrap(),
            }
            for command in [&["undo", "--dry-run"][..], &["undo"], &["undo", "--force"]] {
                let said = home.fails(1, command);
                let fate = if harm.is_none() { "gone" } else { "damaged" };
                let expected = format!(
                    "{id}.{end} is {fate}: without it nobody knows which rows were written",
                    id = id.as_str().unwrap()
                );
                assert!(said.contains(&expected), "{command:?}: {said}");
                assert!(said.contains("\nhint: "), "{said}");
            }
            assert_eq!(state(&home), done);
            fs::write(&file, &whole).unwrap();
        }
    }
    home.ok(&["undo"]);
    assert_eq!(state(&home), before);
}

#[test]
fn what_a_trigger_replaces_without_a_note_is_refused_and_nothing_is_written() {
    for (index, key, refused) in [
        ("CREATE UNIQUE INDEX u ON s(k COLLATE NOCASE)", "'A'", false),
        ("CREATE UNIQUE INDEX u ON s(lower(k))", "'A'", true),
        ("CREATE UNIQUE INDEX u ON s(k) WHERE v <> 'z'", "'a'", true),
        ("CREATE UNIQUE INDEX u ON s(g)", "'A'", true),
        ("CREATE UNIQUE INDEX u ON s(k)", "'a'", false),
    ] {
        let home = Home::new();
        home.write("strongroom.toml", "[source.db]\nkind = 'sqlite'\npath = 'app.db'");
        let file = home.path("app.db");
        run(
            &file,
            &format!(
                "CREATE TABLE orders(id INTEGER PRIMARY KEY, cents INTEGER);
                 CREATE TABLE s(id INTEGER PRIMARY KEY, k TEXT, v TEXT, g TEXT GENERATED ALWAYS AS (upper(k)) STORED);
                 {index}; INSERT INTO orders VALUES(4, 1), (5, 500);
                 CREATE TRIGGER t AFTER INSERT ON orders BEGIN INSERT OR REPLACE INTO s(k, v) VALUES({key}, 'by trigger'); END;"
            ),
        );
        home.ok(&["backup", "--quiet"]);
        run(&file, "DELETE FROM orders WHERE id = 5; INSERT INTO s(id, k, v) VALUES(7, 'a', 'newer')");
        let rows = || {
            let connection = Connection::open(&file).unwrap();
            let sql = "SELECT group_concat(id || k || v) || (SELECT count(*) FROM orders) FROM s";
            connection.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap()
        };
        let before = rows();
        match refused {
            true => assert!(
                home.fails(1, &RECOVER).contains("takes rows out of s that an undo could not give back"),
                "{index}"
            ),
            false => {
                home.ok(&RECOVER);
                assert_ne!(rows(), before);
                home.ok(&["undo"]);
            }
        }
        assert_eq!(rows(), before, "{index}");
    }
}
