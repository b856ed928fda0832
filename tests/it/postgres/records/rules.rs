//! What a server has that a file has not: sequences, roles, policies, triggers that belong to others.

use super::*;

#[test]
fn a_number_that_only_the_server_gives_comes_back_and_its_sequence_is_past_it() {
    let bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text, \
             twice text GENERATED ALWAYS AS (name || name) STORED);
         CREATE TABLE s (id serial PRIMARY KEY, p bigint REFERENCES p ON DELETE CASCADE);
         INSERT INTO p (name) VALUES ('a'), ('b'), ('c');
         INSERT INTO s (p) SELECT id FROM p",
    );
    let whole = bench.dump();
    // What the sequences know is lost too, as where tables were made anew.
    bench.run("DELETE FROM p WHERE id = 3; ALTER TABLE p ALTER id RESTART; ALTER SEQUENCE s_id_seq RESTART");
    let done = bench.recover("p", &[number(3)]).unwrap();
    assert_eq!(bench.dump(), whole);
    bench.run("INSERT INTO p (name) VALUES ('d'); INSERT INTO s (p) VALUES (4)");
    assert_eq!(bench.ask("SELECT string_agg(id::text, ' ' ORDER BY id) FROM p"), "1 2 3 4");
    let newer = said(bench.undo(&done).map(|_| ()).and_then(|()| bench.recover("p", &[number(3)])).and_then(|done| {
        bench.run("INSERT INTO s (p) VALUES (3)");
        bench.undo(&done)
    }));
    assert!(newer.contains("is newer and refers to what would be removed"), "{newer}");
    assert_eq!(bench.ask("SELECT count(*) FROM s WHERE p = 3"), "2");
}

#[test]
fn an_undo_does_not_take_along_what_came_since_by_a_cascade() {
    let bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id integer PRIMARY KEY);
         CREATE TABLE c (id integer PRIMARY KEY, p integer REFERENCES p ON DELETE CASCADE);
         INSERT INTO p VALUES (1), (2); INSERT INTO c VALUES (1, 1)",
    );
    bench.run("DELETE FROM p WHERE id = 1");
    let done = bench.recover("p", &[number(1)]).unwrap();
    bench.run("INSERT INTO c VALUES (9, 1)");
    let before = bench.dump();
    let refused = said(bench.undo(&done));
    assert!(refused.contains("c 9 is newer and refers to what would be removed of p"), "{refused}");
    assert_eq!(bench.dump(), before);
}

#[test]
fn triggers_stay_still_for_the_owner_and_are_as_they_were_afterwards() {
    let bench = Bench::new(KEEPER, TRIGGERS);
    bench.run("ALTER TABLE p DISABLE TRIGGER ALL; DELETE FROM p; ALTER TABLE p ENABLE TRIGGER USER");
    bench.run("ALTER TABLE p DISABLE TRIGGER asleep; ALTER TABLE p ENABLE ALWAYS TRIGGER watchful");
    bench.recover("p", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT string_agg(v, ' ') FROM p"), "one");
    let states = "SELECT string_agg(tgname::text || tgenabled::text, ' ' ORDER BY tgname) FROM pg_trigger WHERE NOT tgisinternal";
    assert_eq!(bench.ask(states), "asleepD loudO watchfulA");
}

const TRIGGERS: &str = "CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS \
        $$ BEGIN NEW.v := upper(NEW.v); RETURN NEW; END $$;
    CREATE TABLE p (id integer PRIMARY KEY, v text);
    INSERT INTO p VALUES (1, 'one');
    CREATE TRIGGER loud BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TRIGGER asleep BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION shout();
    CREATE TRIGGER watchful BEFORE INSERT ON p FOR EACH ROW EXECUTE FUNCTION shout()";

#[test]
fn triggers_fire_where_that_is_asked_for() {
    let mut bench = Bench::new(KEEPER, TRIGGERS);
    bench.run("DELETE FROM p");
    bench.options.triggers = true;
    bench.recover("p", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT string_agg(v, ' ') FROM p"), "ONE");
}

#[test]
fn triggers_of_tables_that_belong_to_another_are_a_refusal_with_a_way_out() {
    let mut bench = Bench::new("postgres", TRIGGERS);
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON p TO {KEEPER}");
    bench.run(&format!("DELETE FROM p; {grant}"));
    session("postgres", bench.kept_name()).batch(&grant).unwrap();
    bench.user = KEEPER;
    let error = bench.recover("p", &[number(1)]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("cannot be kept from firing"), "{error}");
    assert!(strongroom::base::error::Explain::hint(&error).unwrap().contains("--triggers on"));
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "0");
    bench.options.triggers = true;
    bench.recover("p", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "1");
}

#[test]
fn rows_that_a_policy_hides_are_an_error_and_not_missing() {
    let bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id integer PRIMARY KEY, v text); INSERT INTO p VALUES (1, 'one'), (2, 'two')",
    );
    bench.run("ALTER TABLE p ENABLE ROW LEVEL SECURITY; ALTER TABLE p FORCE ROW LEVEL SECURITY");
    bench.run("CREATE POLICY odd ON p USING (id % 2 = 1)");
    let error = said(bench.recover("p", &[number(2)]));
    assert!(error.contains("row level security would hide rows"), "{error}");
}

#[test]
fn somebody_else_who_holds_the_table_is_waited_for_and_then_told() {
    let bench = Bench::new(KEEPER, "CREATE TABLE p (id integer PRIMARY KEY); INSERT INTO p VALUES (1)");
    bench.run("DELETE FROM p");
    let other = session(KEEPER, bench.live_name());
    other.batch("BEGIN; LOCK TABLE p IN ROW EXCLUSIVE MODE").unwrap();
    let kept = bench.before();
    let mut live =
        Live::open(&settings(cluster(), KEEPER, bench.live_name()), Duration::from_millis(300), &Arc::default())
            .unwrap();
    let error = bench.recover_with((&kept, &mut live), "p", &[number(1)]).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("stayed locked"), "{error}");
    assert_eq!(strongroom::base::error::Explain::class(&error), strongroom::base::error::Class::Busy);
    other.batch("ROLLBACK").unwrap();
    bench.recover_with((&kept, &mut live), "p", &[number(1)]).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "1");
}

#[test]
fn rows_that_keep_each_other_from_going_go_again_with_an_undo() {
    let bench = Bench::new(
        KEEPER,
        "CREATE TABLE p (id integer PRIMARY KEY, next integer REFERENCES p ON DELETE RESTRICT DEFERRABLE);
         INSERT INTO p VALUES (1, NULL), (2, 1); UPDATE p SET next = 2 WHERE id = 1",
    );
    let whole = bench.dump();
    bench.run("UPDATE p SET next = NULL; DELETE FROM p");
    let done = bench.recover("p", &[number(1)]).unwrap();
    assert_eq!(bench.dump(), whole);
    bench.undo(&done).unwrap();
    assert_eq!(bench.ask("SELECT count(*) FROM p"), "0");
}

const RULED: &str = "CREATE TABLE p (id integer PRIMARY KEY, v text); CREATE TABLE q (id integer, v text);
    INSERT INTO p VALUES (1, 'one'), (2, 'two');
    CREATE RULE elsewhere AS ON INSERT TO p DO INSTEAD INSERT INTO q VALUES (NEW.*);
    CREATE RULE never AS ON DELETE TO p DO INSTEAD NOTHING; ALTER TABLE p ENABLE ALWAYS RULE never;
    CREATE RULE asleep AS ON UPDATE TO p DO INSTEAD NOTHING; ALTER TABLE p DISABLE RULE asleep";

#[test]
fn rules_make_nothing_else_of_what_is_written_and_are_as_they_were_afterwards() {
    for user in [KEEPER, "postgres"] {
        let bench = Bench::new(user, RULED);
        bench.run("TRUNCATE p");
        let rules = || {
            bench.ask("SELECT string_agg(rulename || ev_enabled::text, ' ' ORDER BY rulename) FROM pg_rewrite WHERE ev_class = 'p'::regclass")
        };
        let before = rules();
        assert_eq!(before, "asleepD elsewhereO neverA");
        let done = bench.recover("p", &[number(1)]).unwrap();
        assert_eq!(bench.ask("SELECT v || (SELECT count(*) FROM q) FROM p"), "one0", "{user}");
        assert_eq!(rules(), before);
        bench.undo(&done).unwrap();
        assert_eq!(bench.ask("SELECT count(*) FROM p"), "0", "{user}");
        assert_eq!(rules(), before);
    }
}

#[test]
fn a_rule_is_a_refusal_by_name_where_triggers_are_to_fire_or_the_table_is_anothers() {
    let mut bench = Bench::new("postgres", RULED);
    let grant = format!("GRANT SELECT, INSERT, UPDATE, DELETE ON p TO {KEEPER}");
    bench.run(&format!("TRUNCATE p; {grant}"));
    session("postgres", bench.kept_name()).batch(&grant).unwrap();
    bench.options.triggers = true;
    let error = said(bench.recover("p", &[number(1)]));
    assert!(error.contains("the rule \"elsewhere\" of \"public\".\"p\""), "{error}");
    (bench.options.triggers, bench.user) = (false, KEEPER);
    let error = bench.recover("p", &[number(1)]).map(|_| ()).unwrap_err();
    assert!(strongroom::base::error::Explain::hint(&error).unwrap().contains("the owner of the table"), "{error}");
    assert_eq!(bench.ask("SELECT (SELECT count(*) FROM p) + (SELECT count(*) FROM q)"), "0");
}
