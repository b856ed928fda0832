//! A snapshot compared with what a server holds now: row by row, as with a later snapshot, and all of one moment.

use std::collections::BTreeSet;
use std::process::{Child, Stdio};

use serde_json::Value;

use super::captured_home;
use crate::support::postgres::cluster;
use crate::support::program::Home;

/// What is told of the tables: each table's counts, and the rows that are named.
fn tables(home: &Home, arguments: &[&str]) -> Vec<Value> {
    let found = home.json(&[&["diff"], arguments].concat());
    found["databases"].as_array().unwrap().iter().flat_map(|one| one["tables"].as_array().unwrap().clone()).collect()
}

/// Live data is compared first, and then the same is kept and compared as a snapshot.
fn as_between_snapshots(home: &Home, more: &[&str]) -> Vec<Value> {
    let live = tables(home, &[&["latest", "live"], more].concat());
    // Much may be gone, which is an alarm.
    let ran = home.run(&["backup", "--quiet"]);
    assert!(ran.code == 0 || (ran.code == 3 && ran.err.starts_with("alarm: ")), "{}", ran.err);
    let kept = tables(home, &[&["latest~1", "latest"], more].concat());
    assert_eq!(serde_json::json!(live), serde_json::json!(kept));
    live
}

#[test]
fn live_rows_are_told_as_those_of_a_later_snapshot() {
    let (home, name) = captured_home(
        "CREATE TABLE t (a text, b int, memo text, PRIMARY KEY (a, b)); CREATE TABLE days (day date PRIMARY KEY, n int);
         CREATE TABLE sums (x numeric PRIMARY KEY, n int); CREATE TABLE stamps (at timestamptz, f float8, n int, PRIMARY KEY (at, f));
         CREATE TABLE bytes (k bytea PRIMARY KEY, n int); CREATE TABLE short (k char(8) PRIMARY KEY, n int);
         CREATE TYPE mood AS ENUM ('sad', 'ok', 'glad'); CREATE TABLE moods (m mood, n int, t text, PRIMARY KEY (m, n));
         CREATE TABLE loose (x int); CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE same (id int PRIMARY KEY, t text);
         CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
         CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
         CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
         CREATE TABLE shaped (id int PRIMARY KEY, old text, stays text); CREATE TABLE rekeyed (id int PRIMARY KEY, other int UNIQUE NOT NULL);
         CREATE TABLE far (id int PRIMARY KEY, body text);
         INSERT INTO t SELECT 'k' || n % 10, n, repeat(md5(n::text), 3) FROM generate_series(1, 20000) n;
         INSERT INTO days SELECT '2024-01-01'::date + n, n FROM generate_series(-900000, 500, 50) n;
         INSERT INTO sums SELECT (n - 2500) * 12345678901234567890.125, n FROM generate_series(1, 5000) n;
         INSERT INTO sums VALUES ('NaN', 0);
         INSERT INTO stamps SELECT '2024-01-01'::timestamptz + n * interval '0.37 s', (n - 2000) * 0.1, n FROM generate_series(1, 4000) n;
         INSERT INTO stamps VALUES ('infinity', 'NaN', 0), ('-infinity', '-Infinity', 0), ('0044-03-15 BC', '1e300', 0);
         INSERT INTO bytes SELECT decode(md5(n::text), 'hex'), n FROM generate_series(1, 4000) n;
         INSERT INTO short SELECT 's' || n, n FROM generate_series(1, 4000) n;
         INSERT INTO moods SELECT (ARRAY['sad', 'ok', 'glad']::mood[])[1 + n % 3], n, md5(n::text) FROM generate_series(1, 20000) n;
         INSERT INTO loose SELECT n % 100 FROM generate_series(1, 30000) n;
         INSERT INTO same SELECT n, md5(n::text) FROM generate_series(1, 10000) n;
         INSERT INTO parted SELECT n, '2024-01-01'::date + n % 730 FROM generate_series(1, 3000) n;
         INSERT INTO shaped SELECT n, 'a', 'b' FROM generate_series(1, 100) n; INSERT INTO rekeyed SELECT n, -n FROM generate_series(1, 50) n;
         INSERT INTO far SELECT n, repeat(md5(n::text), 90000) FROM generate_series(1, 3) n",
    );
    assert_eq!(tables(&home, &["latest", "live"]), Vec::<Value>::new());
    cluster().sql(
        &name,
        "UPDATE t SET memo = 'new' WHERE b IN (7, 19999); DELETE FROM t WHERE b = 500; INSERT INTO t VALUES ('k0', 30000, NULL);
         UPDATE days SET n = 0 WHERE n = 100; DELETE FROM days WHERE n = -900000; INSERT INTO days VALUES ('4000-01-01 BC', 7), ('infinity', 8);
         DELETE FROM sums WHERE n IN (10, 2500); UPDATE sums SET n = -1 WHERE x = 'NaN'; INSERT INTO sums VALUES ('Infinity', 5), (-0.125, 6);
         UPDATE stamps SET n = -n WHERE n % 1000 = 3; DELETE FROM stamps WHERE f = 'NaN'; INSERT INTO stamps VALUES ('2024-01-01 00:00:00.05+00', -0.5, 9);
         DELETE FROM bytes WHERE n < 5; INSERT INTO bytes VALUES ('', 1), ('\\xffff', 2); UPDATE short SET n = 0 WHERE k = 's17'; DELETE FROM short WHERE k = 's1';
         UPDATE moods SET t = 'x' WHERE n IN (1, 2, 3); DELETE FROM moods WHERE n = 19998;
         DELETE FROM loose WHERE x = 5; INSERT INTO loose VALUES (6), (600); DROP TABLE gone;
         CREATE TABLE fresh (id int); INSERT INTO fresh VALUES (1), (2);
         DELETE FROM parted WHERE id = 77; UPDATE parted SET day = '2024-06-06' WHERE id = 400; DROP TABLE parted_2;
         CREATE TABLE parted_3 PARTITION OF parted FOR VALUES FROM ('2026-01-01') TO ('2027-01-01'); INSERT INTO parted VALUES (1, '2026-02-02');
         ALTER TABLE shaped DROP COLUMN old, ADD COLUMN fresh text; UPDATE shaped SET stays = 'c' WHERE id = 3;
         ALTER TABLE rekeyed DROP CONSTRAINT rekeyed_pkey;
         UPDATE far SET body = body || 'x' WHERE id = 2; INSERT INTO far SELECT 4, repeat('y', 3000000)",
    );
    let found = as_between_snapshots(&home, &[]);
    let names: Vec<&str> = found.iter().map(|table| table["name"].as_str().unwrap()).collect();
    let expected = [
        "bytes", "days", "far", "fresh", "gone", "loose", "moods", "parted", "rekeyed", "shaped", "short", "stamps",
        "sums", "t",
    ];
    assert_eq!(names, expected);
    let of = |name: &str| found.iter().find(|table| table["name"] == name).unwrap().clone();
    let counts = |name: &str| ["removed", "added", "changed"].map(|key| of(name)[key].as_u64().unwrap());
    assert_eq!(counts("far"), [0, 1, 1]);
    assert_eq!(of("far")["rows"][0], serde_json::json!({ "change": "changed", "key": [2], "columns": ["body"] }));
    assert_eq!(counts("stamps"), [1, 1, 4]);
    assert_eq!(counts("sums"), [2, 2, 1]);
    assert_eq!(counts("days"), [1, 2, 1]);
    assert_eq!(of("days")["rows"][0]["key"], serde_json::json!(["4000-01-01 BC"]));
    assert_eq!(counts("bytes"), [4, 2, 0]);
    assert_eq!(counts("short"), [1, 0, 1]);
    assert_eq!(counts("moods"), [1, 0, 3]);
    assert_eq!(counts("loose"), [300, 2, 0]);
    assert_eq!((of("shaped")["columns_added"][0].as_str(), counts("shaped")), (Some("fresh"), [0, 0, 1]));
    assert_eq!(counts("rekeyed"), [50, 50, 0]);
    assert_eq!(of("gone")["whole"], "removed");
}

#[test]
fn one_table_is_told_row_by_row_and_a_summary_counts_them() {
    let (home, name) = captured_home(
        "CREATE TABLE t (id int PRIMARY KEY, memo text); INSERT INTO t SELECT n, md5(n::text) FROM generate_series(1, 30000) n;
         CREATE TABLE u (id int PRIMARY KEY); INSERT INTO u VALUES (1)",
    );
    cluster().sql(&name, "UPDATE t SET memo = 'new' WHERE id % 3000 = 1; DELETE FROM t WHERE id = 9000; DELETE FROM u; INSERT INTO t VALUES (0, '')");
    let rows = home.ok(&["diff", "latest", "live", "--table", "T"]).out;
    for expected in
        ["- t 9000\n", "+ t 0\n", "M t 3001  memo\n", "M t 27001  memo\n", "db.t  1 removed  1 added  10 changed"]
    {
        assert!(rows.contains(expected), "{rows}");
    }
    assert!(!rows.contains("db.u"), "{rows}");
    let summary = home.ok(&["diff", "latest", "live", "--summary"]).out;
    assert!(
        summary.contains("db.t  1 removed  1 added  10 changed") && summary.contains("db.u  1 removed"),
        "{summary}"
    );
    assert_eq!(as_between_snapshots(&home, &["--table", "t"])[0]["rows"].as_array().unwrap().len(), 12);
}

#[test]
fn without_a_configuration_the_server_is_found_where_the_snapshot_was_made_of() {
    let (home, name) = captured_home("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    cluster().sql(&name, "INSERT INTO t VALUES (2)");
    std::fs::remove_file(home.path("strongroom.toml")).unwrap();
    let found = home.ok(&["diff", "latest", "live"]).out;
    assert!(found.contains("db.t  1 added  2"), "{found}");
}

/// Moves money between accounts until it is killed.
pub(super) fn teller(name: &str) -> Child {
    let procedure = "CREATE PROCEDURE pg_temp.move() LANGUAGE plpgsql AS $$ DECLARE a int; BEGIN LOOP
             a := 1 + floor(random() * 400);
             UPDATE accounts SET cents = cents - 1 WHERE id = a;
             UPDATE accounts SET cents = cents + 1 WHERE id = a + 400;
             INSERT INTO transfers (giver) VALUES (a);
             COMMIT;
         END LOOP; END $$";
    let mut psql = cluster().command("psql", name);
    psql.args(["-Xq", "-c", procedure, "-c", "CALL pg_temp.move()"]).stdout(Stdio::null()).stderr(Stdio::null());
    psql.spawn().unwrap()
}

#[test]
fn what_is_told_of_a_running_bank_is_of_one_moment() {
    let (home, name) = captured_home(
        "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint); CREATE TABLE transfers (id bigserial PRIMARY KEY, giver int);
         INSERT INTO accounts SELECT n, 1000 FROM generate_series(1, 800) n",
    );
    let mut tellers: Vec<Child> = (0..2).map(|_| teller(&name)).collect();
    while cluster().sql(&name, "SELECT count(*) >= 20 FROM transfers") == "f" {
        assert!(tellers.iter_mut().all(|teller| teller.try_wait().unwrap().is_none()), "a teller has stopped");
    }
    let numbers = |table: &Value| -> BTreeSet<i64> {
        table["rows"].as_array().unwrap().iter().map(|row| row["key"][0].as_i64().unwrap()).collect()
    };
    for _ in 0..3 {
        let of = |arguments: &[&str]| tables(&home, &[&["latest", "live"], arguments].concat());
        let found = of(&[]);
        let named = |name: &str| found.iter().find(|table| table["name"] == name).unwrap();
        let added = named("transfers")["added"].as_u64().unwrap();
        let changed = numbers(named("accounts"));
        // Numbers come back in the order they were given but for what was not committed: those that are named are known.
        let kept = numbers(named("transfers"));
        assert!(added >= 20 && kept.len() as u64 == added.min(1000));
        if added <= 1000 {
            let list = kept.iter().map(i64::to_string).collect::<Vec<_>>().join(",");
            let sql = format!("SELECT DISTINCT giver FROM transfers WHERE id IN ({list})");
            let givers: BTreeSet<i64> = cluster().sql(&name, &sql).lines().map(|line| line.parse().unwrap()).collect();
            let both: BTreeSet<i64> = givers.iter().flat_map(|giver| [*giver, giver + 400]).collect();
            assert_eq!(changed, both);
        }
    }
    for teller in &mut tellers {
        teller.kill().unwrap();
        teller.wait().unwrap();
    }
}
