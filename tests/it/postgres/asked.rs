//! A captured database asked with SQL: every value as it was, and no more read than the question needs.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use strongroom::base::record::Value;
use strongroom::engine::postgres::layout::Table;
use strongroom::engine::postgres::records::value::{Kind, unescaped};
use strongroom::engine::sqlite::ask::{Cell, Rows};
use strongroom::format::manifest::Manifest;
use strongroom::ops::error::OpError;
use strongroom::ops::places::Places;
use strongroom::ops::query::{Query, Report, Request, Statement};

use super::{bytes, capture, tables};
use crate::support::postgres::cluster;
use crate::support::program::Home;
use crate::support::vaults::Lab;

#[derive(Default)]
struct Taken {
    columns: Vec<String>,
    rows: Vec<Vec<Value>>,
}

impl Rows for Taken {
    fn columns(&mut self, names: &[String]) -> io::Result<()> {
        self.columns = names.to_vec();
        Ok(())
    }

    fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        self.rows.push(cells.iter().map(|cell| Value::from(*cell)).collect());
        Ok(())
    }
}

fn try_ask(lab: &Lab, manifest: &Manifest, sql: &str) -> Result<(Taken, Report), OpError> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let (statement, control) = (Statement::Sql(sql.to_owned()), Arc::default());
    let (attach, values, configured) = (Vec::new(), Vec::new(), Vec::new());
    let places = Places::of(unlocked.vault());
    let request = Request { manifest, part: None, attach, statement, values, configured, places, control };
    let query = Query::open(&unlocked, request)?;
    let mut taken = Taken::default();
    let report = query.answer(&mut taken)?;
    Ok((taken, report))
}

fn ask(lab: &Lab, manifest: &Manifest, sql: &str) -> (Vec<Vec<Value>>, Report) {
    let (taken, report) = try_ask(lab, manifest, sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    (taken.rows, report)
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

fn everything() -> (Lab, Manifest) {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.load(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postgres/everything.sql"));
    let manifest = capture(&lab, &cluster.url(&name));
    (lab, manifest)
}

#[test]
fn every_value_of_every_type_is_exactly_what_the_server_wrote() {
    let (lab, manifest) = everything();
    let mut expected: BTreeMap<String, (Vec<String>, Vec<Vec<Value>>)> = BTreeMap::new();
    for table in tables(&lab, &manifest).iter().filter(|table| !table.columns.is_empty()) {
        let name = table.root.as_ref().unwrap_or(&table.name);
        let columns: Vec<String> = table.columns.iter().map(|column| column.name.clone()).collect();
        let entry = expected.entry(name.quoted()).or_insert_with(|| (columns, Vec::new()));
        entry.1.extend(rows_of(table, &bytes(&lab, &manifest, &table.path)));
    }
    assert!(expected.len() > 12 && expected["\"app\".\"measures\""].1.len() == 1000);
    for (name, (columns, rows)) in expected {
        let list = columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(", ");
        let (found, _) = ask(&lab, &manifest, &format!("SELECT {list} FROM {name}"));
        assert!(found == rows, "{name}: {:?} is not {:?}", found.first(), rows.first());
    }
    let types =
        "SELECT typeof(id), typeof(raw), typeof(score), typeof(prices), typeof(seen), typeof(kind) FROM app.users";
    let (found, _) = ask(&lab, &manifest, &format!("{types} WHERE id = 10"));
    assert_eq!(found[0], ["integer", "blob", "real", "text", "text", "text"].map(Value::text));
    let (found, _) = ask(&lab, &manifest, "SELECT score, ratio, born, seen FROM app.users WHERE name = 'nulls'");
    assert_eq!(found[0], ["NaN", "-Infinity", "-infinity", "infinity"].map(Value::text));
}

fn rows_of(table: &Table, file: &[u8]) -> Vec<Vec<Value>> {
    let bases = table.shape.as_ref().map(|shape| shape.bases.clone()).unwrap_or_default();
    let kinds: Vec<Kind> =
        table.columns.iter().map(|column| Kind::of(bases.get(&column.name).unwrap_or(&column.kind))).collect();
    let field = |(field, kind): (&[u8], &Kind)| unescaped(field).map_or(Value::Null, |text| kind.value(&text));
    let rows = file.split_inclusive(|&byte| byte == b'\n').map(|row| row.strip_suffix(b"\n").unwrap());
    rows.map(|row| row.split(|&byte| byte == b'\t').zip(&kinds).map(field).collect()).collect()
}

fn numbers(rows: &[Vec<Value>]) -> Vec<i64> {
    rows.iter().map(|row| if let Value::Integer(number) = row[0] { number } else { panic!("{row:?}") }).collect()
}

#[test]
fn joins_aggregates_and_conditions_say_what_the_server_says() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(
        &name,
        "CREATE EXTENSION citext; CREATE SCHEMA app;
         CREATE TABLE users (id int PRIMARY KEY, email citext UNIQUE, paid boolean, balance numeric, code uuid, note text);
         CREATE TABLE app.orders (tenant text, id bigint, user_id int REFERENCES users, cents int, at timestamptz, PRIMARY KEY (tenant, id));
         INSERT INTO users SELECT n, 'U' || n || '@x.org', n % 3 = 0, (n - 500) * 0.37, md5(n::text)::uuid, CASE WHEN n % 7 > 0 THEN repeat('é', n % 50) END
             FROM generate_series(1, 1000) n;
         INSERT INTO app.orders SELECT 't' || n % 9, n, 1 + n * 7 % 1000, n % 501, '2024-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, 30000) n;",
    );
    let manifest = capture(&lab, &cluster.url(&name));
    // The same words to both.
    for sql in [
        "SELECT count(*) FROM users",
        "SELECT id FROM public.users WHERE paid = (1 = 1) AND balance > 100 ORDER BY id",
        "SELECT id FROM users WHERE balance IN ('-0.37', 0, '3.7') ORDER BY balance",
        "SELECT id FROM users WHERE id IN (7, 5000, 42) OR id BETWEEN 990 AND 2000 ORDER BY id DESC",
        "SELECT id FROM users WHERE note IS NULL AND id < 50 ORDER BY id",
        "SELECT id FROM users WHERE code = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b'",
        "SELECT id FROM users WHERE email = 'u77@X.ORG'",
        "SELECT u.id FROM users u JOIN app.orders o ON o.user_id = u.id WHERE o.tenant = 't3' AND o.id > 29000 ORDER BY o.id",
        "SELECT sum(o.cents) FROM users u JOIN app.orders o ON o.user_id = u.id WHERE u.paid AND o.at >= '2024-02-01'",
        "SELECT id FROM app.orders WHERE tenant = 't4' AND id = 22 OR tenant = 't1' AND id IN (10, 11, 19) ORDER BY id",
        "SELECT id FROM app.orders WHERE (tenant, id) > ('t8', 29980) ORDER BY tenant, id",
        "SELECT max(id) FROM app.orders GROUP BY tenant ORDER BY 1",
        "SELECT id FROM app.orders o WHERE NOT EXISTS (SELECT 1 FROM users u WHERE u.id = o.user_id AND u.id > 3) ORDER BY id",
        "SELECT count(DISTINCT balance) FROM users",
        "SELECT id FROM users WHERE length(note) = 49 UNION SELECT cents FROM app.orders WHERE cents > 498 ORDER BY 1",
    ] {
        let expected: Vec<i64> = cluster.sql(&name, sql).lines().map(|line| line.parse().unwrap()).collect();
        let (found, _) = ask(&lab, &manifest, sql);
        assert!(!expected.is_empty() && numbers(&found) == expected, "{sql}: {found:?} is not {expected:?}");
    }
}

#[test]
fn what_is_looked_up_by_its_key_or_its_parent_reads_a_small_part() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), super::segments::filled());
    let manifest = capture(&lab, &cluster.url(&name));
    let stored = manifest.sources[0].bytes_stored;
    let (all, full) = ask(&lab, &manifest, "SELECT count(*), sum(length(memo)) FROM items");
    assert_eq!(all[0][0], Value::Integer(200_000));
    assert!(full.fetched > stored / 2);
    let fixed = ask(&lab, &manifest, "SELECT count(*) FROM items WHERE id = -1").1.fetched;
    println!("{fixed} of {stored} bytes for nothing");
    let code = cluster.sql(&name, "SELECT code FROM items WHERE id = 4242");
    for (sql, rows, part) in [
        ("SELECT * FROM items WHERE id = 4242".to_owned(), 1, 25),
        ("SELECT * FROM items WHERE id IN (17, 100000, 199999)".to_owned(), 3, 15),
        ("SELECT * FROM items WHERE id BETWEEN 5000 AND 5100".to_owned(), 101, 25),
        ("SELECT * FROM items WHERE parent = 777".to_owned(), 100, 8),
        // Nothing is ordered by it: now and then a part is read that only might have had it.
        (format!("SELECT * FROM items WHERE code = '{code}'"), 1, 5),
        ("SELECT i.* FROM parents p JOIN items i ON i.parent = p.id WHERE p.id = 42".to_owned(), 100, 7),
    ] {
        let (found, report) = ask(&lab, &manifest, &sql);
        assert_eq!(found.len(), rows, "{sql}");
        println!("{sql}: {} of {stored} bytes", report.fetched);
        assert!(report.fetched - fixed < stored / part, "{sql}: {} of {stored} bytes", report.fetched);
    }
}

/// A vault of one database, made by the program.
pub(super) fn home(sql: &str) -> (Home, String) {
    let (cluster, home, name) = (cluster(), Home::new(), cluster().database());
    cluster.sql(&name, sql);
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["init"]);
    home.ok(&["backup", "--quiet"]);
    (home, name)
}

const SHOP: &str = "CREATE SCHEMA app; CREATE SCHEMA \"Odd \"\"one\";
    CREATE TABLE users (id int PRIMARY KEY, name varchar(20) NOT NULL DEFAULT 'x', \"Group\" numeric(5,2));
    CREATE TABLE app.users (id int PRIMARY KEY, owner int REFERENCES users ON DELETE CASCADE);
    CREATE TABLE \"Odd \"\"one\".\"the table\" (\"a b\" text);
    INSERT INTO users VALUES (1, 'Ann', 1.50), (2, 'Bob', NULL); INSERT INTO app.users VALUES (7, 2);
    INSERT INTO \"Odd \"\"one\".\"the table\" VALUES ('here')";

#[test]
fn tables_are_called_as_people_call_them() {
    let (home, _) = home(SHOP);
    for (sql, expected) in [
        ("SELECT name FROM users WHERE id = 1", "Ann"),
        ("SELECT name FROM public.users WHERE id = 1", "Ann"),
        ("SELECT u.name FROM app.users a JOIN users u ON u.id = a.owner", "Bob"),
        ("SELECT \"a b\" FROM \"Odd \"\"one\".\"the table\"", "here"),
        ("SELECT \"A B\" FROM \"the table\"", "here"),
        ("SELECT \"Group\" FROM users WHERE \"Group\" = 1.5", "1.50"),
    ] {
        assert_eq!(home.json(&["query", "latest", sql])["rows"], serde_json::json!([[expected]]), "{sql}");
    }
    let found = home.json(&["query", "latest", "SELECT name FROM users WHERE id = :id", "--bind", "id=2"]);
    assert_eq!(found["rows"], serde_json::json!([["Bob"]]));
    let tables = home.json(&["query", "latest", ".tables"]);
    let expected = serde_json::json!([
        ["public", "users", "table", 3],
        ["Odd \"one", "the table", "table", 1],
        ["app", "users", "table", 2]
    ]);
    assert_eq!(tables["rows"], expected);
    let schema = home.ok(&["query", "latest", ".schema app.users"]).out;
    let expected = "CREATE TABLE app.users (\n    id integer NOT NULL,\n    owner integer,\n    PRIMARY KEY (id),\n    \
        FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE\n);\n";
    assert_eq!(schema, expected);
    let schema = home.ok(&["query", "latest", ".schema"]).out;
    assert!(schema.contains("name character varying(20) NOT NULL DEFAULT 'x'::character varying"), "{schema}");
    assert!(schema.contains("\"Group\" numeric(5,2)") && schema.contains("\"Odd \"\"one\".\"the table\""), "{schema}");
}

#[test]
fn nothing_is_written_and_nothing_else_is_opened() {
    let (home, _) = home(SHOP);
    for (sql, expected) in [
        ("DELETE FROM users", "this statement writes"),
        ("INSERT INTO app.users VALUES (1, 1)", "this statement writes"),
        ("CREATE TABLE t (x)", "this statement writes"),
        ("DROP TABLE users", "this statement writes"),
        ("ATTACH '/tmp/x.db' AS x", "--attach NAME=SNAPSHOT"),
        ("SELECT * FROM user", "did you mean users?"),
        ("SELECT nam FROM users", "no such column: nam"),
    ] {
        let said = home.fails(2, &["query", "latest", sql]);
        assert!(said.contains(expected) && said.contains("hint: "), "{sql}: {said}");
    }
}

#[test]
fn two_snapshots_are_compared_in_one_question() {
    let (home, name) = home(SHOP);
    cluster().sql(
        &name,
        "UPDATE users SET name = 'Eve' WHERE id = 2; INSERT INTO users VALUES (3, 'New', 0); DELETE FROM app.users",
    );
    home.ok(&["backup", "--quiet"]);
    let ask = |sql: &str| home.json(&["query", "latest", "--attach", "before=latest~1", sql])["rows"].clone();
    let changed = "SELECT u.id, b.name, u.name FROM users u JOIN before.users b USING (id) WHERE b.name <> u.name";
    assert_eq!(ask(changed), serde_json::json!([[2, "Bob", "Eve"]]));
    assert_eq!(ask("SELECT id FROM before.\"app.users\" EXCEPT SELECT id FROM app.users"), serde_json::json!([[7]]));
}

#[test]
fn a_record_is_found_in_the_snapshots_that_hold_it_and_only_changed_tables_are_read() {
    let (home, name) = home(SHOP);
    let change = |sql: &str| {
        cluster().sql(&name, sql);
        home.ok(&["backup", "--quiet"]);
    };
    change("INSERT INTO app.users VALUES (8, 1)");
    change("UPDATE users SET name = 'Eve' WHERE id = 2");
    change("DELETE FROM app.users; DELETE FROM users WHERE id = 2");
    let found = home.json(&["find", "users", "2"]);
    let changes: Vec<&str> =
        found["changes"].as_array().unwrap().iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["there", "changed", "gone"], "{found}");
    assert_eq!(found["changes"][1]["columns"], serde_json::json!(["name"]));
    assert_eq!((&found["snapshots"], &found["read"]), (&serde_json::json!(4), &serde_json::json!(3)));
    let found = home.json(&["find", "--table", "app.users", "--where", "owner = 1"]);
    let changes: Vec<&str> =
        found["changes"].as_array().unwrap().iter().map(|one| one["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["there", "gone"], "{found}");
}

#[test]
fn a_deep_verify_reads_every_row_of_a_captured_database() {
    let cluster = cluster();
    let (home, name) = home(
        "CREATE TABLE t (id int PRIMARY KEY, at date); INSERT INTO t SELECT n, '2024-01-01' FROM generate_series(1, 50000) n",
    );
    cluster.load(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postgres/everything.sql"));
    home.ok(&["backup", "--quiet"]);
    let report = home.json(&["verify", "--deep", "latest"]);
    assert_eq!(report["deep"]["findings"], serde_json::json!([]));
    assert_eq!(report["deep"]["databases"]["checked"], 1);
    let found = home.ok(&["verify", "--deep"]);
    assert!(found.out.contains("databases  1 of 1") && found.out.contains("sound"), "{}", found.out);
}

#[test]
fn more_schemas_than_sqlite_takes_and_names_that_it_uses_itself_have_a_place() {
    let more: String =
        (1..=14).map(|n| format!("CREATE SCHEMA s{n}; CREATE TABLE s{n}.t{n} AS SELECT {n} AS n;")).collect();
    let odd = "CREATE SCHEMA main; CREATE TABLE main.own AS SELECT 'main' AS n; CREATE SCHEMA temp; CREATE TABLE temp.own AS SELECT 'temp' AS n; \
        CREATE SCHEMA \"S1\"; CREATE TABLE \"S1\".t AS SELECT 'S1' AS n; CREATE TABLE \"Case\" AS SELECT 1 AS \"n\", 2 AS \"N\"; \
        CREATE TABLE \"case\" AS SELECT 3 AS n; CREATE TABLE sqlite_odd AS SELECT 4 AS n";
    let (home, _) = home(&format!("{more}{odd}"));
    let tables = home.json(&["query", "latest", ".tables"])["rows"].clone();
    let tables: Vec<(String, String)> = tables
        .as_array()
        .unwrap()
        .iter()
        .map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_str().unwrap().to_owned()))
        .collect();
    assert_eq!(tables.len(), 20, "{tables:?}");
    for (schema, name) in &tables {
        let sql = format!("SELECT count(*) FROM \"{schema}\".\"{name}\"");
        assert_eq!(home.json(&["query", "latest", &sql])["rows"], serde_json::json!([[1]]), "{sql}");
    }
    for sql in ["SELECT n FROM s10.t10", "SELECT n FROM t11", "SELECT n FROM \"s1.t1\""] {
        home.ok(&["query", "latest", "--attach", "before=latest", "--attach", "again=latest", sql]);
    }
    let found = home.json(&["query", "latest", "--attach", "before=latest", "SELECT n FROM before.\"s14.t14\""]);
    assert_eq!(found["rows"], serde_json::json!([[14]]));
    assert_eq!(home.json(&["query", "latest", "SELECT n FROM main.own"])["rows"], serde_json::json!([["main"]]));
    assert_eq!(home.json(&["query", "latest", "SELECT n_1, N_2 FROM Case_1"])["rows"], serde_json::json!([[1, 2]]));
    assert!(tables.contains(&("public".into(), "case_2".into())), "{tables:?}");
}

#[test]
fn what_differs_between_two_snapshots_is_named_row_by_row() {
    let (home, name) = home(
        "CREATE TABLE t (a text, b int, memo text, PRIMARY KEY (a, b)); CREATE TABLE days (day date PRIMARY KEY, n int);
         CREATE TABLE loose (x int); CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE same (id int PRIMARY KEY);
         INSERT INTO t SELECT 'k' || n % 10, n, repeat(md5(n::text), 3) FROM generate_series(1, 20000) n;
         INSERT INTO days SELECT '2024-01-01'::date + n, n FROM generate_series(1, 500) n;
         INSERT INTO loose SELECT n % 100 FROM generate_series(1, 1000) n; INSERT INTO same VALUES (1)",
    );
    cluster().sql(
        &name,
        "UPDATE t SET memo = 'new' WHERE b IN (7, 19999); DELETE FROM t WHERE b = 500; INSERT INTO t VALUES ('k0', 30000, NULL);
         UPDATE days SET n = 0 WHERE n = 3; DELETE FROM days WHERE n = 4; DELETE FROM loose WHERE x = 5; INSERT INTO loose VALUES (6);
         DROP TABLE gone; CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1)",
    );
    home.ok(&["backup", "--quiet"]);
    let found = home.json(&["diff", "latest~1", "latest"]);
    let tables: Vec<String> = found["databases"][0]["tables"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| {
            format!(
                "{} -{} +{} ~{} {}",
                one["name"].as_str().unwrap(),
                one["removed"],
                one["added"],
                one["changed"],
                one["whole"]
            )
        })
        .collect();
    let expected = [
        "days -1 +0 ~1 null",
        "fresh -0 +1 ~0 \"added\"",
        "gone -0 +0 ~0 \"removed\"",
        "loose -10 +1 ~0 null",
        "t -1 +1 ~2 null",
    ];
    assert_eq!(tables, expected);
    let rows = home.ok(&["diff", "latest~1", "latest", "--table", "t"]).out;
    for expected in ["- t (k0, 500)", "+ t (k0, 30000)", "M t (k7, 7)  memo", "M t (k9, 19999)  memo"] {
        assert!(rows.contains(expected), "{rows}");
    }
}
