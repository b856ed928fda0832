//! What triggers do while a record comes back to a server, and that an undo takes it back with it.

use std::fmt::Write;

use super::*;
use crate::records::random::Dice;
use crate::support::program::Home;

/// An app whose orders count, log, sum up and clear drafts, all by triggers.
const SCHEMA: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'glad');
    CREATE TABLE customers (id int PRIMARY KEY, name char(6) UNIQUE, orders int NOT NULL DEFAULT 0, "Odd name" mood[] DEFAULT '{sad,glad}',
        seen timestamptz DEFAULT '2024-01-01 12:00+00', raw bytea DEFAULT '\x00ff', paid boolean DEFAULT true,
        shouted text GENERATED ALWAYS AS (upper(name)) STORED);
    CREATE TABLE orders (id int PRIMARY KEY, customer int NOT NULL REFERENCES customers, cents int);
    CREATE TABLE audit (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, what text, of int);
    CREATE TABLE totals (day text, kind text, cents bigint, doc jsonb DEFAULT '{"b": 1, "a": null}', PRIMARY KEY (day, kind));
    CREATE TABLE outbox (message json, at int);
    CREATE TABLE drafts (id int PRIMARY KEY, of int);
    CREATE TABLE lines (id int PRIMARY KEY, draft int NOT NULL REFERENCES drafts ON DELETE CASCADE);
    CREATE TABLE events (id int, day date NOT NULL DEFAULT '2024-02-02', PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
    CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2024-01-01') TO ('2024-07-01');
    CREATE TABLE events_2 (day date NOT NULL DEFAULT '2024-08-02', id int NOT NULL);
    ALTER TABLE events ATTACH PARTITION events_2 FOR VALUES FROM ('2024-07-01') TO ('2025-01-01');
    CREATE FUNCTION ordered() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (what, of) VALUES ('ordered', NEW.id), ('twice', NEW.id);
        UPDATE customers SET orders = orders + 1 WHERE id = NEW.customer;
        INSERT INTO totals VALUES ('today', 'all', NEW.cents) ON CONFLICT (day, kind) DO UPDATE SET cents = totals.cents + excluded.cents;
        INSERT INTO totals VALUES ('never', 'all', 1) ON CONFLICT DO NOTHING;
        INSERT INTO outbox VALUES ('{"it": "was"}', (SELECT count(*) FROM outbox));
        DELETE FROM drafts WHERE of = NEW.id;
        UPDATE drafts SET id = id + 1000 WHERE of = -NEW.id;
        INSERT INTO events SELECT max(id) + 1 FROM events; UPDATE events SET day = '2024-09-09' WHERE id = 1;
        RETURN NULL; END $$;
    CREATE TRIGGER ordered AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION ordered();
    CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
        NEW.name := btrim(NEW.name) || '!'; INSERT INTO audit (what, of) VALUES ('counted', NEW.orders); RETURN NEW; END $$;
    CREATE TRIGGER counted BEFORE UPDATE OF orders ON customers FOR EACH ROW EXECUTE FUNCTION counted();
    CREATE FUNCTION logged() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        UPDATE audit SET what = what || '+' WHERE of = NEW.of AND id > NEW.id; RETURN NULL; END $$;
    CREATE TRIGGER logged AFTER INSERT ON audit FOR EACH ROW WHEN (NEW.what = 'ordered') EXECUTE FUNCTION logged();
    CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (what, of) VALUES ('late', NEW.id); RETURN NULL; END $$;
    CREATE CONSTRAINT TRIGGER late AFTER INSERT ON orders DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION late();
    INSERT INTO customers (id, name) VALUES (1, 'a'), (2, 'b');
    INSERT INTO totals VALUES ('never', 'all', 0); INSERT INTO events VALUES (1);
    INSERT INTO orders VALUES (5, 1, 500), (6, 2, 600);
"#;

fn app(cluster: &Cluster, url: impl Fn(&str) -> String) -> (Home, String) {
    let (home, name) = (Home::new(), cluster.database());
    cluster.sql(&name, SCHEMA);
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", url(&name)));
    home.ok(&["backup", "--quiet"]);
    cluster.sql(
        &name,
        "DELETE FROM orders WHERE id = 5; UPDATE events SET day = '2024-03-03' WHERE id = 1;
         INSERT INTO drafts VALUES (1, 5), (2, 9), (3, -5); INSERT INTO lines VALUES (10, 1), (11, 1), (12, 2)",
    );
    (home, name)
}

/// Everything there is, but for the numbers that sequences are at, and where in a table its rows lie.
fn state(cluster: &Cluster, name: &str) -> Vec<String> {
    let dump = cluster.dump(name, &["--inserts"]);
    let mut lines: Vec<String> = dump.lines().filter(|line| !line.contains("setval")).map(str::to_owned).collect();
    lines.sort();
    lines
}

const RECOVER: [&str; 6] = ["recover", "latest", "orders", "5", "--triggers", "on"];

#[test]
fn an_undo_takes_back_what_triggers_did_in_any_table() {
    let cluster = cluster();
    let (home, name) = app(cluster, |name| cluster.url(name));
    let before = state(cluster, &name);
    let plan = home.ok(&[&RECOVER[..], &["--dry-run"]].concat()).out;
    assert!(plan.contains("what triggers do to rows of outbox that are there twice"), "{plan}");
    home.ok(&RECOVER);
    let done = state(cluster, &name);
    assert_eq!(cluster.sql(&name, "SELECT cents FROM totals WHERE day = 'today'"), "1600");
    assert_eq!(cluster.sql(&name, "SELECT name, orders FROM customers WHERE id = 1"), "a!!   |2");
    assert_eq!(cluster.sql(&name, "SELECT day FROM events WHERE id = 1"), "2024-09-09");
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM audit WHERE what IN ('late', 'twice+')"), "6");
    assert_eq!(cluster.sql(&name, "SELECT string_agg(id::text, ',' ORDER BY id) FROM drafts"), "2,1003");
    let schema =
        |lines: &[String]| lines.iter().filter(|line| !line.starts_with("INSERT")).cloned().collect::<Vec<_>>();
    assert_eq!(schema(&done), schema(&before), "no trigger of ours is left");
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &name), before);
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    home.ok(&["undo", list.last().unwrap()["id"].as_str().unwrap()]);
    assert_eq!(state(cluster, &name), done);
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &name), before);
    // What is newer is not lost silently.
    home.ok(&RECOVER);
    cluster.sql(&name, "UPDATE totals SET cents = cents + 1 WHERE day = 'today'");
    let refused = home.fails(1, &["undo"]);
    assert!(refused.contains("totals 'today','all' is newer"), "{refused}");
    home.ok(&["undo", "--force"]);
    assert_eq!(cluster.sql(&name, "SELECT cents FROM totals WHERE day = 'today'"), "1100");
}

#[test]
fn the_owner_of_the_tables_is_enough_and_tables_of_others_are_told() {
    let cluster = cluster();
    cluster.sql("postgres", "CREATE ROLE fired_owner LOGIN PASSWORD 'x'");
    let as_owner = |name: &str| format!("postgres://fired_owner@127.0.0.1:{}/{name}", cluster.port());
    let (home, name) = app(cluster, |name| cluster.url(name));
    cluster.sql(
        &name,
        "CREATE TABLE theirs (id int); INSERT INTO theirs VALUES (1);
         DO $$ DECLARE one record; BEGIN
             FOR one IN SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p') AND relname <> 'theirs' LOOP
                 EXECUTE format('ALTER TABLE %I OWNER TO fired_owner', one.relname); END LOOP;
             FOR one IN SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace LOOP
                 EXECUTE format('ALTER FUNCTION %I OWNER TO fired_owner', one.proname); END LOOP; END $$;
         GRANT SELECT ON theirs TO fired_owner; GRANT USAGE ON SCHEMA public TO fired_owner",
    );
    let before = state(cluster, &name);
    let mut home = home;
    home.set("PGPASSWORD", "x");
    let into = as_owner(&name);
    let recover = [&RECOVER[..], &["--into", &into]].concat();
    let plan = home.ok(&[&recover[..], &["--dry-run"]].concat()).out;
    assert!(plan.contains("what triggers do to public.theirs is not taken back by undo"), "{plan}");
    home.ok(&recover);
    assert_ne!(state(cluster, &name), before);
    home.set("PGPASSWORD", "x");
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &name), before);
}

#[test]
fn a_trigger_that_empties_a_table_keeps_the_record_from_coming_back() {
    let cluster = cluster();
    let (home, name) = app(cluster, |name| cluster.url(name));
    cluster.sql(
        &name,
        "CREATE FUNCTION emptied() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN TRUNCATE outbox; RETURN NULL; END $$;
         CREATE TRIGGER zz_emptied AFTER INSERT ON orders FOR EACH STATEMENT EXECUTE FUNCTION emptied()",
    );
    let before = state(cluster, &name);
    let refused = home.fails(1, &RECOVER);
    assert!(refused.contains("a trigger empties outbox, which could not be taken back"), "{refused}");
    assert_eq!(state(cluster, &name), before);
}

/// Tables that refer to each other, one of them in partitions, with what only one row can hold, and triggers on them.
fn schema(dice: &mut Dice) -> String {
    let mut sql = String::new();
    for (at, key) in ["int", "text", "int", "bigint GENERATED BY DEFAULT AS IDENTITY"].into_iter().enumerate() {
        let unique = if at != 2 && dice.is(50) { "UNIQUE" } else { "" };
        let parent = match at {
            1 if dice.is(60) => "int REFERENCES t0 ON DELETE CASCADE",
            2 if dice.is(60) => "text REFERENCES t1 ON DELETE CASCADE",
            3 if dice.is(60) => "int REFERENCES t0 ON DELETE SET NULL",
            2 => "text",
            _ => "int",
        };
        let parts = if at == 2 { " PARTITION BY RANGE (k)" } else { "" };
        let _ = writeln!(sql, "CREATE TABLE t{at} (k {key} PRIMARY KEY, u int {unique}, v text, p {parent}){parts};");
        if at == 2 {
            let _ = writeln!(
                sql,
                "CREATE TABLE t2a PARTITION OF t2 FOR VALUES FROM (0) TO (4); CREATE TABLE t2b PARTITION OF t2 DEFAULT;"
            );
        }
        let _ = writeln!(
            sql,
            "INSERT INTO t{at} SELECT n, n * 10, 'v' || n, {} FROM generate_series(1, 5) n;",
            if at == 0 { "NULL" } else { "1" }
        );
    }
    for number in 0..2 + dice.roll(6) {
        let when = ["BEFORE", "AFTER", "AFTER"][dice.roll(3) as usize];
        let what = if number == 0 { "INSERT" } else { ["INSERT", "INSERT", "UPDATE", "DELETE"][dice.roll(4) as usize] };
        let table = if number == 0 { 0 } else { dice.roll(4) };
        let bodies: String = (0..=dice.roll(3)).map(|_| body(dice)).collect();
        let _ = writeln!(
            sql,
            "CREATE FUNCTION f{number}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF pg_trigger_depth() < 4 THEN {bodies} END IF; \
             RETURN CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END; END $$; \
             CREATE TRIGGER w{number} {when} {what} ON t{table} FOR EACH ROW EXECUTE FUNCTION f{number}();"
        );
    }
    sql
}

/// One thing that a trigger does.
fn body(dice: &mut Dice) -> String {
    let (table, row, other) = (dice.roll(4), 1 + dice.roll(6), 1 + dice.roll(6));
    let otherwise = match dice.roll(4) {
        0 => "",
        1 => " ON CONFLICT DO NOTHING",
        _ => " ON CONFLICT (k) DO UPDATE SET v = excluded.v || '+'",
    };
    match dice.roll(8) {
        0 | 1 => format!("INSERT INTO t{table} VALUES ('{}', {}, 'new', NULL){otherwise};", row + 3, other * 10 + 1),
        2 => format!(
            "INSERT INTO t{table} SELECT n, n * 10, 'more', NULL FROM generate_series({row}, {row} + 3) n{otherwise};"
        ),
        3 => format!("UPDATE t{table} SET u = {} WHERE k = '{row}';", other * 10 + 2),
        4 => format!("UPDATE t{table} SET u = 6000 - u WHERE u < 60;"),
        5 => format!("UPDATE t{table} SET k = '{}' WHERE k = '{row}';", other + 2),
        6 => format!("UPDATE t{table} SET v = v || '!' WHERE k <> '{row}';"),
        _ => format!("DELETE FROM t{table} WHERE k = '{row}' OR u = {};", other * 10),
    }
}

/// Some cases. Says in how many of them triggers did more than the plan, and how many an undo refused.
fn cases(user: &'static str, seeds: std::ops::Range<u64>) -> (u64, u64) {
    let mut bench = Bench::empty(user);
    bench.options.triggers = true;
    let sessions = [session("postgres", &bench.kept), session("postgres", &bench.live)];
    let (mut fired, mut refused) = (0, 0);
    for seed in seeds {
        let mut dice = Dice(seed);
        let sql = schema(&mut dice);
        let told = |what: &str| format!("seed {seed}, {user}: {what}\n{sql}");
        for session in &sessions {
            let fresh = format!("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION {user}");
            session.batch(&format!("SET client_min_messages = error; {fresh}; SET ROLE {user}")).unwrap();
            session.batch(&sql).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
            session.batch("RESET ROLE").unwrap();
        }
        let (gone, live) = (1 + dice.roll(5) as i64, &sessions[1]);
        if live.batch(&format!("DELETE FROM t0 WHERE k = {gone}")).is_err() {
            continue;
        }
        let before = dump(live);
        let done = match bench.recover("t0", &[number(gone)]) {
            Ok(done) => done,
            Err(_) => {
                assert_eq!(dump(live), before, "{}", told("nothing is written"));
                continue;
            }
        };
        let after = dump(live);
        let undone = match bench.undo(&done) {
            // The server looks after references and keys itself for whoever may not tell it not to.
            Err(_) if user != "postgres" => {
                assert_eq!(dump(live), after, "{}", told("nothing is taken back"));
                refused += 1;
                continue;
            }
            undone => undone.unwrap_or_else(|error| panic!("{}", told(&error.to_string()))),
        };
        assert_eq!(dump(live), before, "{}", told("taken back"));
        if user == "postgres" {
            let again = bench.undo(&undone).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
            assert_eq!(dump(live), after, "{}", told("the undo taken back"));
            bench.undo(&again).unwrap_or_else(|error| panic!("{}", told(&error.to_string())));
            assert_eq!(dump(live), before, "{}", told("taken back again"));
        }
        fired += u64::from(done.trace.written.len() as u64 > done.plan.writes());
    }
    (fired, refused)
}

#[test]
fn whatever_triggers_do_is_taken_back() {
    let start = std::env::var("STRONGROOM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = start.map_or(0..60, |seed: u64| seed..seed + 1);
    let (fired, _) = cases("postgres", seeds.clone());
    assert!(fired > 15 || start.is_some(), "triggers did something in {fired} cases only");
    let (fired, refused) = cases(KEEPER, seeds);
    assert!((fired > 10 && refused * 4 < fired) || start.is_some(), "{fired} were taken back, {refused} could not be");
}
