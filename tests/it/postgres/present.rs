//! A server's tables as they are now, beside captured ones in one question.

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom::base::record::name::part;

use super::asked::home;
use super::differences::teller;
use crate::support::postgres::cluster;
use crate::support::program::Home;

fn ask(home: &Home, sql: &str) -> Value {
    home.json(&["query", "latest", sql])["rows"].clone()
}

/// A statement that goes on in a session of its own until it is killed.
fn session(name: &str, sql: &str) -> Child {
    let mut psql = cluster().command("psql", name);
    psql.args(["-Xq", "-c", sql]).stdout(Stdio::null()).stderr(Stdio::null());
    psql.spawn().unwrap()
}

/// Waits until a condition holds on the server.
fn until(name: &str, condition: &str) {
    let begun = Instant::now();
    while cluster().sql(name, &format!("SELECT {condition}")) != "t" {
        assert!(begun.elapsed() < Duration::from_secs(30), "{condition}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn end(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn every_value_of_every_type_equals_what_was_captured_of_it() {
    let (home, name) = home("CREATE TABLE first (id int)");
    cluster().load(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postgres/everything.sql"));
    home.ok(&["backup", "--quiet"]);
    let tables = home.json(&["query", "latest", ".tables"])["rows"].clone();
    let mut compared = 0;
    for table in tables.as_array().unwrap() {
        let [schema, table] = [0, 1].map(|at| table[at].as_str().unwrap());
        let (own, written) = (part(table), format!("{}.{}", part(schema), part(table)));
        let live = if schema == "public" { own.into_owned() } else { written };
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let [captured, live] = [format!("{}.{}", quoted(schema), quoted(table)), format!("live.{}", quoted(&live))];
        let sql = format!(
            "SELECT (SELECT count(*) FROM (SELECT * FROM {captured} EXCEPT SELECT * FROM {live})),
                (SELECT count(*) FROM (SELECT * FROM {live} EXCEPT SELECT * FROM {captured})),
                (SELECT count(*) FROM {captured}) - (SELECT count(*) FROM {live}), (SELECT count(*) FROM {live})"
        );
        let found = ask(&home, &sql);
        assert_eq!([&found[0][0], &found[0][1], &found[0][2]], [0, 0, 0], "{captured}: {found}");
        compared += found[0][3].as_i64().unwrap();
    }
    assert!(compared > 1000, "{compared}");
    cluster().sql(&name, "UPDATE app.users SET score = 0.5 WHERE id = (SELECT min(id) FROM app.users)");
    let changed = "SELECT count(*) FROM (SELECT * FROM app.users EXCEPT SELECT * FROM live.\"app.users\")";
    assert_eq!(ask(&home, changed), json!([[1]]));
}

const SHOP: &str = "CREATE EXTENSION citext; CREATE SCHEMA app;
    CREATE TABLE users (id int PRIMARY KEY, email citext UNIQUE, paid boolean, balance numeric, code uuid, note text);
    CREATE TABLE app.orders (tenant text COLLATE \"und-x-icu\", id bigint, user_id int REFERENCES users, cents smallint, at timestamptz, PRIMARY KEY (tenant, id));
    CREATE TABLE parted (id int, day date, PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
    CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
    CREATE TABLE base (id int PRIMARY KEY); CREATE TABLE heir (more int) INHERITS (base);
    INSERT INTO base VALUES (1), (2); INSERT INTO heir VALUES (2, 20), (3, 30);
    INSERT INTO users SELECT n, 'U' || n || '@x.org', n % 3 = 0, (n - 500) * 0.37, md5(n::text)::uuid, CASE WHEN n % 7 > 0 THEN repeat('é', n % 50) END
        FROM generate_series(1, 1000) n;
    INSERT INTO app.orders SELECT (ARRAY['a', 'B', 'é', 't3', 'T3'])[1 + n % 5], n, CASE WHEN n % 11 > 0 THEN 1 + n * 7 % 1000 END, n % 501, '2024-01-01'::timestamptz + n * interval '1 hour' FROM generate_series(1, 30000) n;
    INSERT INTO parted SELECT n, '2024-01-01'::date + n % 730 FROM generate_series(1, 3000) n";

#[test]
fn questions_to_both_have_the_answers_that_captured_tables_alone_have() {
    let (home, _) = home(SHOP);
    for (live, sql) in [
        (1, "SELECT id FROM U WHERE balance IN ('-0.37', 0, '3.7') ORDER BY balance"),
        (1, "SELECT id FROM U WHERE id IN (7, 5000, 42) OR id BETWEEN 990 AND 2000 ORDER BY id DESC"),
        (1, "SELECT id FROM U WHERE id IN (7, 5000000000, -42, 2.5, 'x', 8.0, '9') ORDER BY id"),
        (1, "SELECT id FROM U WHERE id > -5000000000 AND id < 2.5 OR id >= '998' ORDER BY id"),
        (1, "SELECT id FROM U WHERE code = 'c4ca4238-a0b9-2382-0dcc-509a6f75849b' OR code = 'C4CA' OR code < '01'"),
        (1, "SELECT id FROM U WHERE code IN ('c4ca4238-a0b9-2382-0dcc-509a6f75849b', 'x') AND code > 'c4'"),
        (1, "SELECT id FROM U WHERE email = 'u77@X.ORG'"),
        (1, "SELECT count(*), count(note), sum(paid) FROM U"),
        (1, "SELECT id, note FROM U WHERE note = 'ééé' OR note IS NULL AND id < 30 ORDER BY id"),
        (1, "SELECT tenant, id FROM O WHERE tenant >= 'T3' AND id % 1000 = 7 ORDER BY tenant, id"),
        (1, "SELECT tenant, id FROM O WHERE tenant IN ('é', 'a', 'Z') AND id < 60 ORDER BY tenant, id"),
        (1, "SELECT id FROM O WHERE tenant = 't3' AND id = 23 OR tenant = 'a' AND id IN (10, 11, 15) ORDER BY id"),
        (1, "SELECT DISTINCT tenant FROM O ORDER BY tenant"),
        (1, "SELECT tenant, count(*), max(at) FROM O GROUP BY tenant ORDER BY 1"),
        (
            2,
            "SELECT u.id, o.id FROM U u JOIN O o ON o.user_id = u.id WHERE o.tenant = 'é' AND o.id > 29500 ORDER BY o.id",
        ),
        (2, "SELECT count(*) FROM O o LEFT JOIN U u ON u.id = o.user_id WHERE u.id IS NULL"),
        (2, "SELECT count(*) FROM U a JOIN U b ON b.id = a.id + 1 JOIN U c ON c.id = b.id + 1 WHERE a.id < 50"),
        (
            2,
            "SELECT id FROM U u WHERE NOT EXISTS (SELECT 1 FROM O o WHERE o.user_id = u.id AND o.cents > 490) ORDER BY id",
        ),
        (1, "SELECT id, day FROM P WHERE id IN (1, 2, 3000) OR day = '2025-02-03' ORDER BY id, day"),
        (1, "SELECT count(*), min(day), max(day) FROM P"),
        (1, "SELECT id FROM base ORDER BY id"),
        (1, "SELECT id, more FROM heir ORDER BY id"),
        (1, "SELECT id FROM U ORDER BY id LIMIT 3 OFFSET 500"),
    ] {
        let named = |sql: &str, live: &str| {
            let sql =
                sql.replace("FROM U", &format!("FROM {live}users")).replace("JOIN U", &format!("JOIN {live}users"));
            let orders = if live.is_empty() { "app.orders".to_owned() } else { format!("{live}\"app.orders\"") };
            let sql = sql.replace("FROM O", &format!("FROM {orders}")).replace("JOIN O", &format!("JOIN {orders}"));
            let sql = sql.replace("FROM P", &format!("FROM {live}parted"));
            sql.replace("FROM base", &format!("FROM {live}base")).replace("FROM heir", &format!("FROM {live}heir"))
        };
        let expected = ask(&home, &named(sql, ""));
        assert!(expected.as_array().is_some_and(|rows| !rows.is_empty()), "{sql}");
        assert_eq!(ask(&home, &named(sql, "live.")), expected, "{sql}");
        if live == 2 {
            // One side captured, the other one live.
            let mixed =
                named(&sql.replacen("FROM U", "FROM users", 1).replacen("FROM O", "FROM app.orders", 1), "live.");
            assert_eq!(ask(&home, &mixed), expected, "{mixed}");
        }
    }
}

#[test]
fn a_join_from_a_few_captured_rows_looks_the_others_up() {
    let (home, name) = home(
        "CREATE TABLE few (id int PRIMARY KEY, item int, code uuid); CREATE TABLE items (id int PRIMARY KEY, code uuid UNIQUE, memo text);
         INSERT INTO items SELECT n, md5(n::text)::uuid, repeat('x', 200) FROM generate_series(1, 100000) n;
         INSERT INTO few SELECT n, n * 1000, md5((n * 500)::text)::uuid FROM generate_series(1, 20) n; INSERT INTO few VALUES (21, NULL, NULL);
         ANALYZE items, few",
    );
    let read = || -> u64 {
        let sql = "SELECT seq_tup_read + coalesce(idx_tup_fetch, 0) FROM pg_stat_user_tables WHERE relname = 'items'";
        cluster().sql(&name, sql).parse().unwrap()
    };
    for (sql, rows) in [
        ("SELECT f.id, i.id FROM few f JOIN live.items i ON i.id = f.item", 20),
        ("SELECT f.id, i.id FROM few f LEFT JOIN live.items i ON i.id = f.item", 21),
        ("SELECT f.id, i.id FROM few f JOIN live.items i ON i.code = f.code", 20),
        ("SELECT id FROM live.items WHERE id IN (SELECT item FROM few)", 20),
        ("SELECT id, memo FROM live.items WHERE id BETWEEN 500 AND 520", 21),
        ("SELECT id FROM few WHERE EXISTS (SELECT 1 FROM live.items i WHERE i.id > 0 AND i.id = few.item)", 20),
    ] {
        let before = read();
        assert_eq!(ask(&home, sql).as_array().unwrap().len(), rows, "{sql}");
        let begun = Instant::now();
        // A session tells what it has read when it ends.
        while read() == before && begun.elapsed() < Duration::from_secs(20) {
            std::thread::sleep(Duration::from_millis(20));
        }
        let took = read() - before;
        assert!((1..500).contains(&took), "{sql}: {took} rows");
    }
}

#[test]
fn a_question_to_a_running_bank_is_answered_of_one_moment() {
    let (home, name) = home(
        "CREATE TABLE accounts (id int PRIMARY KEY, cents bigint); CREATE TABLE transfers (id bigserial PRIMARY KEY, giver int);
         CREATE INDEX ON transfers (giver); INSERT INTO accounts SELECT n, 1000 FROM generate_series(1, 800) n",
    );
    let tellers: Vec<Child> = (0..2).map(|_| teller(&name)).collect();
    until(&name, "count(*) >= 200 FROM transfers");
    let wrong = "SELECT (SELECT sum(cents) FROM live.accounts), (SELECT count(*) FROM live.transfers),
        (SELECT count(*) FROM live.accounts a WHERE a.id <= 400
            AND a.cents <> 1000 - (SELECT count(*) FROM live.transfers t WHERE t.giver = a.id)),
        (SELECT count(*) FROM live.accounts a JOIN live.accounts b ON b.id = a.id + 400 WHERE a.cents + b.cents <> 2000),
        (SELECT count(*) FROM live.transfers)";
    let mut known = 0;
    for _ in 0..3 {
        let found = ask(&home, wrong)[0].clone();
        let transfers = found[1].as_i64().unwrap();
        assert_eq!(found, json!([800_000, transfers, 0, 0, transfers]));
        assert!(transfers >= 200 && transfers >= known);
        known = transfers + 1;
    }
    let moved = "SELECT count(*) > 0 FROM accounts a JOIN live.accounts l USING (id) WHERE l.cents <> a.cents";
    assert_eq!(ask(&home, moved), json!([[1]]));
    tellers.into_iter().for_each(end);
}

#[test]
fn only_tables_that_are_named_are_locked_and_they_are_not_emptied_meanwhile() {
    let (home, name) = home(
        "CREATE TABLE named (id int PRIMARY KEY); CREATE TABLE other (id int PRIMARY KEY);
         INSERT INTO named SELECT generate_series(1, 1000); INSERT INTO other SELECT generate_series(1, 10)",
    );
    let held = "BEGIN; LOCK TABLE other IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)";
    let holder = session(&name, held);
    until(
        &name,
        "count(*) = 1 FROM pg_locks WHERE relation = 'other'::regclass AND mode = 'AccessExclusiveLock' AND granted",
    );
    assert_eq!(ask(&home, "SELECT count(*) FROM live.\"NAMED\""), json!([[1000]]));
    end(holder);
    // A long question, which comes to the table at its end.
    let counting =
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 8000000) SELECT count(*) FROM n";
    let sql = format!("SELECT ({counting}) > 0, (SELECT count(*) FROM live.named)");
    let mut asking = home.command(&["--json", "query", "latest", &sql]).stdout(Stdio::piped()).spawn().unwrap();
    // Both connections hold it: somebody who comes between them makes it begin anew.
    until(&name, "count(DISTINCT pid) = 2 FROM pg_locks WHERE relation = 'named'::regclass AND granted");
    let emptier = session(&name, "TRUNCATE named");
    until(&name, "count(*) = 1 FROM pg_locks WHERE relation = 'named'::regclass AND mode = 'AccessExclusiveLock'");
    assert!(asking.try_wait().unwrap().is_none(), "the question is answered already");
    let answer = asking.wait_with_output().unwrap();
    let answer: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(answer["rows"], json!([[1, 1000]]));
    until(&name, "count(*) = 0 FROM named");
    end(emptier);
}

#[test]
fn a_server_that_cannot_be_reached_is_named_and_asked_only_where_it_is_meant() {
    let (home, name) = home("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)");
    let url = cluster().url(&name);
    for (sql, expected) in [
        ("INSERT INTO live.t VALUES (2)", "this statement writes"),
        ("DELETE FROM live.t", "this statement writes"),
        ("SELECT * FROM live.nowhere", "no such table: live.nowhere"),
    ] {
        let said = home.fails(2, &["query", "latest", sql]);
        assert!(said.contains(expected) && said.contains("hint: "), "{sql}: {said}");
    }
    assert_eq!(cluster().sql(&name, "SELECT count(*) FROM t"), "1");
    std::fs::remove_file(home.path("strongroom.toml")).unwrap();
    assert_eq!(ask(&home, "SELECT id FROM live.t"), json!([[1]]));
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{url}'\n"));
    cluster().sql("postgres", &format!("ALTER DATABASE \"{name}\" RENAME TO \"{name}_gone\""));
    let said = home.fails(1, &["query", "latest", "SELECT * FROM live.t"]);
    assert!(said.contains("cannot be asked") && said.contains("has no database") && said.contains("hint: "), "{said}");
    assert_eq!(ask(&home, "SELECT id, 'at live.t' FROM t"), json!([[1, "at live.t"]]));
    assert_eq!(
        home.json(&["query", "latest", "--attach", "live=latest", "SELECT id FROM live.t"])["rows"],
        json!([[1]])
    );
}
