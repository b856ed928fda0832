//! Hard schemas of PostgreSQL, live data that has gone on, and a server that is lost.

use super::*;

#[test]
fn rows_of_partitions_types_of_ones_own_and_odd_names_come_back() {
    let bench = Bench::new(
        KEEPER,
        r#"CREATE SCHEMA app; CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN app.code AS varchar(4) NOT NULL;
           CREATE TABLE "Odd ""name" (id uuid PRIMARY KEY, mood app.mood, code app.code, span tstzrange, c char(4),
               net inet, at time, i interval, doc json, x xml, bits bit(3));
           CREATE TABLE app.parts (id integer, day date, v text, of uuid REFERENCES "Odd ""name" ON DELETE CASCADE,
               PRIMARY KEY (id, day)) PARTITION BY RANGE (day);
           CREATE TABLE app.parts_1 PARTITION OF app.parts FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
           CREATE TABLE app.parts_2 PARTITION OF app.parts DEFAULT;
           INSERT INTO "Odd ""name" VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'ok', 'x', '[2024-01-01,2024-01-02)',
               'ab', '10.0.0.1/8', '10:00', '1 mon 2 days', '{"a":  1}', '<a/>', B'101');
           INSERT INTO app.parts SELECT n, '2024-01-25'::date + n, 'v' || n, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'
               FROM generate_series(1, 20) n"#,
    );
    let parts = "SELECT string_agg(p::text, ';' ORDER BY id) FROM app.parts p";
    let (whole, rows) = (bench.dump(), bench.ask(parts));
    bench.run(r#"DELETE FROM "Odd ""name""#);
    let key = vec![Value::text("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")];
    let done = bench.recover("Odd \"name", std::slice::from_ref(&key)).unwrap();
    assert_eq!((bench.dump(), bench.ask(parts)), (whole.clone(), rows));
    assert_eq!(bench.recover("Odd \"name", &[key]).unwrap().plan.writes(), 0);
    bench.undo(&done).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM app.parts"), "0");
}

#[test]
fn images_made_since_a_day_are_what_they_were_then_where_that_is_asked_for() {
    let mut bench = Bench::new(
        KEEPER,
        "CREATE TABLE images (id bigserial PRIMARY KEY, path text, created_at timestamptz NOT NULL);
         INSERT INTO images (path, created_at) SELECT 'i' || n, '2024-01-09 23:53'::timestamptz + n * interval '1 day'
             FROM generate_series(1, 20) n",
    );
    let whole = bench.dump();
    bench.run("DELETE FROM images WHERE id > 15; UPDATE images SET path = 'broken' WHERE id IN (9, 12)");
    let harmed = bench.dump();
    let condition = "created_at > '2024-01-19' -- of that day";
    let done = bench.recover_where("images", condition).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM images WHERE path = 'broken'"), "2");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), harmed);
    bench.options.on_conflict = strongroom::record::plan::OnConflict::Overwrite;
    let done = bench.recover_where("images", condition).unwrap();
    assert_eq!(bench.ask("SELECT string_agg(id::text, ' ') FROM images WHERE path = 'broken'"), "9");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), harmed);
    bench.recover_where("images", "true").unwrap();
    assert_eq!(bench.dump(), whole);
}

#[test]
fn a_condition_is_one_and_only_reads() {
    let bench = Bench::new(KEEPER, "CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1)");
    let live = bench.open();
    let table = live.tables().unwrap().swap_remove(0);
    for condition in ["true); DROP TABLE p; --", "true\n); DELETE FROM p; SELECT (1", "nextval('x') = 1"] {
        assert!(live.matching(&table, Some(condition), &[0], &mut |_| Ok(())).is_err(), "{condition}");
    }
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "1");
}

#[test]
fn live_data_that_has_another_schema_takes_what_it_can_without_loss() {
    let mut bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id integer PRIMARY KEY, n text, at timestamp, old text, name varchar(10), price numeric(8,2));
         INSERT INTO p VALUES (1, '17', '2024-01-20 10:00', 'gone', 'name', 1.5), (2, 'x', NULL, NULL, 'n', 2)",
    );
    bench.run(
        "DELETE FROM p; ALTER TABLE p ALTER id TYPE bigint, ALTER n TYPE integer USING n::integer,
             ALTER at TYPE timestamptz, DROP old, ALTER name TYPE text, ALTER price TYPE numeric(10,4),
             ADD fresh text DEFAULT 'new', ADD must text NOT NULL",
    );
    let (kept, live) = (bench.before(), bench.open());
    let all = |_: &Graph, _: usize| Seeds::Where("true".to_owned());
    let plan = bench.plan_with((&kept, &live), "p", &all).unwrap();
    let refused: Vec<&str> = plan.refusals.iter().map(|refusal| refusal.what.as_str()).collect();
    assert!(refused.iter().any(|what| what.contains("p.must is new and must have a value")), "{refused:?}");
    assert!(refused.iter().any(|what| what.contains("n: 'x' is no integer")), "{refused:?}");
    bench.options.set = vec!["p.must=given".parse().unwrap()];
    bench.recover_where("p", "id = 1").unwrap();
    assert_eq!(bench.ask("SELECT p::text FROM p"), "(1,17,\"2024-01-20 10:00:00+00\",name,1.5000,new,given)");
    assert_eq!(bench.recover_where("p", "id = 1").unwrap().plan.writes(), 0);
}

#[test]
fn a_key_that_was_used_again_gets_a_new_number_with_all_that_refers_to_it() {
    let mut bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name text, created_at timestamptz);
         CREATE TABLE c (id serial PRIMARY KEY, p integer NOT NULL REFERENCES p ON DELETE CASCADE);
         INSERT INTO p (name, created_at) VALUES ('first', '2024-01-01'); INSERT INTO c (p) VALUES (1), (1)",
    );
    bench.run("DELETE FROM p; INSERT INTO p VALUES (1, 'other', '2024-06-01')");
    bench.options.remap_keys = true;
    bench.recover("p", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT string_agg(name || id, ' ' ORDER BY id) FROM p"), "other1 first2");
    assert_eq!(bench.ask("SELECT string_agg(p::text, ' ') FROM c"), "2 2");
    bench.run("INSERT INTO p (name) VALUES ('next')");
    assert_eq!(bench.ask("SELECT id FROM p WHERE name = 'next'"), "3");
    assert_eq!(bench.recover("p", &[number(1)]).unwrap().plan.writes(), 0);
}

#[test]
fn a_circle_of_required_references_needs_a_superuser_and_is_checked_by_us() {
    let sql = "CREATE TABLE a (id integer PRIMARY KEY, b integer NOT NULL);
        CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a ON DELETE CASCADE);
        BEGIN; INSERT INTO a VALUES (1, 1); INSERT INTO b VALUES (1, 1);
        ALTER TABLE a ADD FOREIGN KEY (b) REFERENCES b ON DELETE CASCADE; COMMIT";
    let mut bench = Bench::new(KEEPER, sql);
    let whole = bench.dump();
    bench.run("DELETE FROM a");
    assert!(said(bench.recover("a", &[number(1)])).contains("circle of required references"));
    bench.user = "postgres";
    let done = bench.recover("a", &[number(1)]).unwrap();
    assert_eq!(bench.dump(), whole);
    // Nobody but us would notice that a row goes which something refers to.
    let mut live = bench.open();
    let tables = live.tables().unwrap();
    let table = tables.iter().find(|table| table.name == "a").unwrap();
    let rules = strongroom::base::record::Rules {
        triggers: false,
        references: false,
        circles: true,
        tables: &["a".to_owned()],
        outlived: &[],
    };
    live.begin(rules).unwrap();
    assert!(live.delete(table, &number(1)).unwrap());
    let error = live.commit().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("b 1 refers to a row of a"), "{error}");
    live.roll_back();
    live.begin(rules).unwrap();
    live.insert(table, &[0, 1], &[Value::Integer(2), Value::Integer(9)]).unwrap();
    let error = live.commit().map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("a 2 refers to a row of b"), "{error}");
    live.roll_back();
    assert_eq!(bench.dump(), whole);
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), Vec::<String>::new());
}

#[test]
fn a_server_lost_before_the_end_takes_everything_back_and_says_so_later() {
    let bench = Bench::new(KEEPER, "CREATE TABLE p (id integer PRIMARY KEY)");
    let names = ["p".to_owned()];
    let rules = strongroom::base::record::Rules {
        triggers: false,
        references: true,
        circles: false,
        tables: &names,
        outlived: &[],
    };
    let end = |lost: bool| {
        let mut live = bench.open();
        let table = live.tables().unwrap().swap_remove(0);
        live.begin(rules).unwrap();
        live.insert(&table, &[0], &[Value::Integer(1)]).unwrap();
        let mark = live.mark().unwrap().unwrap();
        assert!(bench.open().lasted(&mark).is_err(), "it goes on");
        if lost {
            let others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                          WHERE datname = current_database() AND state = 'idle in transaction'";
            session("postgres", bench.live_name()).query(others, &[]).unwrap();
        }
        (live.commit().map(|_| ()), mark)
    };
    let (ended, mark) = end(true);
    assert!(ended.unwrap_err().to_string().contains("was lost"));
    // The server takes its time to end what it was told to end.
    let lasted = (0..100).find_map(|_| {
        std::thread::sleep(std::time::Duration::from_millis(100));
        bench.open().lasted(&mark).ok()
    });
    assert_eq!(lasted, Some(Some(false)));
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "0");
    let (ended, mark) = end(false);
    ended.unwrap();
    assert_eq!(bench.open().lasted(&mark).unwrap(), Some(true));
}

#[test]
fn rows_that_referred_to_nothing_before_a_recovery_do_so_again_after_its_undo() {
    let bench = Bench::new(
        "postgres",
        "CREATE TABLE a (id integer PRIMARY KEY); CREATE TABLE b (id integer PRIMARY KEY, a integer NOT NULL REFERENCES a);
         INSERT INTO a VALUES (1), (2); INSERT INTO b VALUES (5, 1), (6, 1), (7, 2)",
    );
    bench.run("SET session_replication_role = replica; DELETE FROM a WHERE id = 1");
    let done = bench.recover("a", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM a"), "2");
    bench.undo(&done).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM a"), "1");
    // One that is newer is no such row.
    let done = bench.recover("a", &[number(1)]).unwrap();
    bench.run("INSERT INTO b VALUES (8, 1)");
    assert!(bench.undo(&done).is_err_and(|error| error.to_string().contains("b 8")));
    assert_eq!(bench.ask("SELECT count(*) FROM a"), "2");
}

#[test]
fn references_of_a_type_that_minds_no_letters_hold_whatever_the_letters() {
    let bench = Bench::new(
        "postgres",
        "CREATE EXTENSION IF NOT EXISTS citext; CREATE TABLE people (email citext PRIMARY KEY, name text);
         CREATE TABLE notes (id integer PRIMARY KEY, email citext NOT NULL REFERENCES people);
         INSERT INTO people VALUES ('Ann@x', 'Ann'); INSERT INTO notes VALUES (1, 'ann@X'), (2, 'ANN@x')",
    );
    let whole = bench.dump();
    bench.run("DELETE FROM notes; DELETE FROM people");
    let done = bench.recover("people", &[vec![Value::text("Ann@x")]]).unwrap();
    assert_eq!(bench.dump(), whole);
    bench.run("UPDATE people SET name = 'other'");
    assert!(bench.undo(&done).is_err());
    bench.run("UPDATE people SET name = 'Ann'");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), Vec::<String>::new());
}
