//! Keys that other records have now, in every place a key can stand: nothing is hung below a record that may be another.

use strongroom::base::record::{OnDelete, Value};
use strongroom::record::model::{Columns, Relation};
use strongroom::record::plan::{Act, OnConflict, Taken};

use super::rules::{alter, ask, number, on, plan_of, run};
use super::*;

/// Orders as many shops have them: nothing says when they were made, and the number is the highest and one.
const SHOP: &str = "
    CREATE TABLE customers (id INTEGER PRIMARY KEY, company TEXT NOT NULL, city TEXT);
    CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id), ship_to TEXT,
        freight REAL);
    CREATE TABLE lines (\"order\" INTEGER NOT NULL REFERENCES orders(id) ON DELETE CASCADE, product INTEGER NOT NULL,
        quantity INTEGER, PRIMARY KEY (\"order\", product));
    CREATE TABLE parcels (id INTEGER PRIMARY KEY, \"order\" INTEGER REFERENCES orders(id) ON DELETE SET NULL, label TEXT);
    INSERT INTO customers VALUES (1, 'Rattlesnake Canyon Grocery', 'Albuquerque'), (2, 'Wolski Zajazd', 'Warszawa');
    INSERT INTO orders VALUES (11076, 2, 'ul. Filtrowa 68', 38.28), (11077, 1, '2817 Milton Dr.', 8.53);
    INSERT INTO lines VALUES (11076, 6, 20), (11077, 2, 24), (11077, 3, 4), (11077, 64, 2);
    INSERT INTO parcels VALUES (1, 11077, 'first parcel to Albuquerque'), (2, 11077, 'second parcel to Albuquerque');";

const STRANGER: &str = "DELETE FROM orders WHERE id = 11077;
    INSERT INTO orders VALUES (11077, 2, 'ul. Filtrowa 68', 12.04); INSERT INTO lines VALUES (11077, 7, 1)";

fn shop(since: &str) -> Bench {
    let bench = Bench::new(SHOP);
    run(&bench, since);
    bench
}

fn lines_of(bench: &Bench, order: i64) -> String {
    ask(
        bench,
        &format!(
            "SELECT group_concat(product, ' ') FROM (SELECT product FROM lines WHERE \"order\" = {order} ORDER BY 1)"
        ),
    )
}

#[test]
fn an_order_whose_number_another_has_now_is_refused_and_its_lines_are_not_hung_below_that_one() {
    for on_conflict in [OnConflict::Skip, OnConflict::Overwrite, OnConflict::FillNull] {
        let mut bench = shop(STRANGER);
        bench.options.on_conflict = on_conflict;
        let plan = plan_of(&bench, "orders", number(11077)).unwrap();
        assert!(plan.refusals.iter().any(|one| one.what.contains("orders 11077")), "{:?}", plan.refusals);
        assert!(on(&plan, "lines").iter().all(|step| !step.act.writes()), "{:#?}", plan.steps);
        assert!(on(&plan, "parcels").iter().all(|step| !step.act.writes()), "{:#?}", plan.steps);
    }
}

#[test]
fn an_order_gets_a_new_number_with_its_lines_and_the_parcels_that_outlived_it() {
    for deferring in [true, false] {
        let mut bench = shop(STRANGER);
        (bench.deferring, bench.options.remap_keys) = (deferring, true);
        let before = bench.dump();
        let done = bench.recover("orders", &[number(11077)]).unwrap();
        assert_eq!(lines_of(&bench, 11077), "Text(\"7\")");
        assert_eq!(lines_of(&bench, 11078), "Text(\"2 3 64\")");
        assert_eq!(ask(&bench, "SELECT count(*) FROM parcels WHERE \"order\" = 11078"), "Integer(2)");
        let again = plan_of(&bench, "orders", number(11077)).unwrap();
        assert!(again.writes() == 0 && again.is_whole(), "{again:#?}");
        bench.undo(&done).unwrap();
        assert_eq!(bench.dump(), before);
    }
}

#[test]
fn another_record_of_the_same_day_is_not_taken_for_the_old_one_however_the_day_is_written() {
    for (kind, day) in [
        ("TEXT", "'2024-01-20'"),
        ("DATETIME", "'2024-01-20 00:00:00'"),
        ("TIMESTAMP", "'2024-01-20T00:00Z'"),
        ("TIMESTAMP", "'2024-01-19T23:00:00.000Z'"),
        ("TEXT", "'January 20, 2024'"),
        ("REAL", "julianday('2024-01-20')"),
        ("INTEGER", "1705708800"),
        ("INTEGER", "1705708800000"),
        ("DATETIME", "20240120"),
    ] {
        let bench = Bench::new(&format!(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT, city TEXT, budget INT, created_at {kind});
             CREATE TABLE c (id INTEGER PRIMARY KEY, p INTEGER NOT NULL REFERENCES p(id) ON DELETE CASCADE, t TEXT);
             INSERT INTO p VALUES (1, 'first', 'Rome', 5, {day}), (17, 'Alpha', 'Berlin', 1000, {day});
             INSERT INTO c VALUES (1, 1, 'x'), (2, 17, 'of Alpha'), (3, 17, 'of Alpha, too');"
        ));
        let other = format!("INSERT INTO p VALUES (17, 'Quite Other', 'Tokyo', 7, {day})");
        run(&bench, &format!("DELETE FROM c WHERE p = 17; DELETE FROM p WHERE id = 17; {other}"));
        let plan = plan_of(&bench, "p", number(17)).unwrap();
        assert!(plan.refusals.iter().any(|one| one.what.contains("p 17")), "{kind} {day}: {:#?}", plan.steps);
        assert!(on(&plan, "c").iter().all(|step| !step.act.writes()), "{kind} {day}: {:#?}", plan.steps);
    }
}

#[test]
fn what_belongs_to_a_record_and_is_another_now_stays_out_and_so_does_what_hangs_on_it() {
    let bench = shop(
        "DELETE FROM lines WHERE \"order\" = 11077; DELETE FROM orders WHERE customer = 1; DELETE FROM customers WHERE id = 1;
         INSERT INTO orders VALUES (11077, 2, 'ul. Filtrowa 68', 12.04)",
    );
    let done = bench.recover("customers", &[number(1)]).unwrap();
    let order = on(&done.plan, "orders")[0];
    assert_eq!((order.taken, order.is_missing()), (Some(Taken::Another), true), "{order:#?}");
    assert!(!done.plan.is_whole());
    assert_eq!(ask(&bench, "SELECT count(*) FROM lines WHERE \"order\" = 11077"), "Integer(0)");
    assert_eq!(ask(&bench, "SELECT count(*) FROM customers WHERE id = 1"), "Integer(1)");
    let again = plan_of(&bench, "customers", number(1)).unwrap();
    assert!(again.writes() == 0 && !again.is_whole() && again.refusals.is_empty(), "it ends as before: {again:#?}");
}

#[test]
fn the_next_order_of_the_same_customer_is_not_taken_for_the_old_one_because_it_goes_to_the_same_address() {
    let address = "'2817 Milton Drive', 'Albuquerque', 'New Mexico', '87110', 'United States'";
    let other = "'12 Orchestra Terrace', 'Walla Walla', 'Washington', '99362', 'United States'";
    let bench = Bench::new(&format!(
        "CREATE TABLE customers (id INTEGER PRIMARY KEY, company TEXT NOT NULL);
         CREATE TABLE orders (id INTEGER PRIMARY KEY, customer INTEGER NOT NULL REFERENCES customers(id), street TEXT,
            city TEXT, region TEXT, postcode TEXT, country TEXT, freight REAL, note TEXT);
         CREATE TABLE lines (\"order\" INTEGER NOT NULL REFERENCES orders(id) ON DELETE CASCADE, product INTEGER NOT NULL,
            PRIMARY KEY (\"order\", product));
         INSERT INTO customers VALUES (1, 'Rattlesnake Canyon Grocery'), (2, 'Lazy K Kountry Store');
         INSERT INTO orders VALUES (1, 1, {address}, 8.53, 'leave it at the gate'), (2, 2, {other}, 3.25, NULL),
            (3, 2, {other}, 7.5, NULL), (4, 1, {address}, 21.5, 'ring twice, the bell is broken');
         INSERT INTO lines VALUES (4, 7), (4, 8);"
    ));
    let next = format!("INSERT INTO orders VALUES (4, 1, {address}, 11.75, 'a present, no bill')");
    run(&bench, &format!("DELETE FROM lines; DELETE FROM orders WHERE id = 4; {next}"));
    let plan = plan_of(&bench, "orders", number(4)).unwrap();
    assert!(plan.refusals.iter().any(|one| one.what.contains("orders 4")), "{:#?}", plan.steps);
    assert!(on(&plan, "lines").iter().all(|step| !step.act.writes()), "{:#?}", plan.steps);
    // The same order, sent elsewhere for more, has its own note still.
    run(
        &bench,
        &format!(
            "DELETE FROM orders WHERE id = 4; INSERT INTO orders VALUES (4, 1, {address}, 30, 'ring twice, the bell is broken')"
        ),
    );
    let plan = plan_of(&bench, "orders", number(4)).unwrap();
    assert!(plan.refusals.is_empty(), "{:?}", plan.refusals);
    assert!(on(&plan, "lines").iter().all(|step| step.act == Act::Insert), "{:#?}", plan.steps);
}

const OWNED: &str = "
    CREATE TABLE users (id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, created_at TEXT NOT NULL);
    CREATE TABLE kinds (id INTEGER PRIMARY KEY, label TEXT);
    CREATE TABLE projects (id INTEGER PRIMARY KEY, owner INTEGER NOT NULL REFERENCES users(id), title TEXT,
        kind INTEGER REFERENCES kinds(id) ON DELETE SET NULL);
    INSERT INTO users VALUES (1, 'ada@example.org', '2024-01-01 10:11:12'), (2, 'bo@example.org', '2024-01-02 11:12:13');
    INSERT INTO kinds VALUES (1, 'gardening'), (2, 'housekeeping');
    INSERT INTO projects VALUES (1, 1, 'the first of them', 1), (2, 2, 'the second of them', 2);";

/// User 2 and the project are gone, and another user has the number 2.
const NEWCOMER: &str = "DELETE FROM projects WHERE id = 2; DELETE FROM users WHERE id = 2;
    INSERT INTO users VALUES (2, 'cy@example.org', '2024-05-05 12:13:14')";

#[test]
fn a_project_does_not_come_back_below_another_user_who_has_the_number_of_its_owner() {
    let mut bench = Bench::new(OWNED);
    run(&bench, NEWCOMER);
    let before = bench.dump();
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(bench.dump(), before);
    assert_eq!(on(&done.plan, "users")[0].taken, Some(Taken::Another));
    assert!(on(&done.plan, "projects")[0].is_missing() && !done.plan.is_whole());
    bench.options.remap_keys = true;
    let done = bench.recover("projects", &[number(2)]).unwrap();
    let owner = "SELECT email FROM projects JOIN users ON users.id = owner WHERE projects.id = 2";
    assert_eq!(ask(&bench, owner), "Text(\"bo@example.org\")");
    assert!(done.plan.is_whole());
    let again = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(again.writes() == 0 && again.is_whole(), "{again:#?}");
}

#[test]
fn a_reference_that_may_be_empty_does_not_lead_to_another_record() {
    let bench = Bench::new(OWNED);
    run(
        &bench,
        "DELETE FROM projects WHERE id = 2; DELETE FROM kinds WHERE id = 2; INSERT INTO kinds VALUES (2, 'astronomy')",
    );
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT kind FROM projects WHERE id = 2"), "Null");
    // One value, and it differs: it may have been changed, and nobody can tell.
    assert!(
        done.plan.doubts.iter().any(|doubt| doubt.contains("kinds 2 may be another record now")),
        "{:?}",
        done.plan
    );
    let again = plan_of(&bench, "projects", number(2)).unwrap();
    assert_eq!((again.writes(), &again.doubts.len()), (0, &1), "a second run says the same: {again:#?}");
}

#[test]
fn a_row_under_the_number_of_one_that_outlived_the_record_is_not_linked_to_it() {
    let bench = shop(
        "DELETE FROM orders WHERE id = 11077; DELETE FROM parcels; INSERT INTO parcels VALUES (1, NULL, 'a box for somebody else')",
    );
    let done = bench.recover("orders", &[number(11077)]).unwrap();
    assert_eq!(ask(&bench, "SELECT \"order\" FROM parcels WHERE id = 1"), "Null");
    assert!(
        !done.plan.is_whole() && done.plan.doubts[0].contains("parcels 1 may be another record"),
        "{:?}",
        done.plan.doubts
    );
}

#[test]
fn a_reference_that_led_nowhere_does_not_lead_to_a_record_that_came_since() {
    let bench = Bench::new(OWNED);
    alter(&bench, "INSERT INTO projects VALUES (3, 3, 'nobody owns it', NULL)");
    bench.keep();
    run(
        &bench,
        "DELETE FROM projects WHERE id = 3; INSERT INTO users VALUES (3, 'di@example.org', '2024-06-06 13:14:15')",
    );
    let before = bench.dump();
    let done = bench.recover("projects", &[number(3)]).unwrap();
    assert_eq!(bench.dump(), before);
    let project = on(&done.plan, "projects")[0];
    assert!(
        project.is_missing() && matches!(&project.act, Act::Leave { why } if why.contains("users 3")),
        "{project:#?}"
    );
}

#[test]
fn rows_that_only_the_configuration_ties_follow_a_record_to_its_new_number() {
    let mut bench = Bench::new(
        "CREATE TABLE projects (id INTEGER PRIMARY KEY, title TEXT, created_at TEXT);
         CREATE TABLE notes (id INTEGER PRIMARY KEY, project INTEGER, text TEXT);
         INSERT INTO projects VALUES (1, 'one', '2024-01-01 10:00:01'), (2, 'two', '2024-01-02 10:00:01');
         INSERT INTO notes VALUES (1, 2, 'a note of the old project'), (2, 2, 'another note of the old project');",
    );
    let columns = |table: &str, column: &str| Columns { table: table.to_owned(), columns: vec![column.to_owned()] };
    bench.model.relations = vec![Relation {
        source: "db".parse().unwrap(),
        to_source: None,
        from: columns("notes", "project"),
        to: columns("projects", "id"),
        when: Vec::new(),
        on_delete: OnDelete::Cascade,
    }];
    bench.options.remap_keys = true;
    // The app forgets its notes: one is left, and would be the new project's.
    run(
        &bench,
        "DELETE FROM projects WHERE id = 2; DELETE FROM notes WHERE id = 2; INSERT INTO projects VALUES (2, 'new', '2024-07-07 10:00:01')",
    );
    let before = bench.dump();
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT group_concat(project) FROM notes"), "Text(\"3,3\")", "{:#?}", done.plan.steps);
    let again = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(again.writes() == 0 && again.is_whole(), "{again:#?}");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_row_that_an_app_has_updated_wholly_is_not_certain_and_can_be_said_to_be_the_same() {
    let mut bench = Bench::new(OWNED);
    run(&bench, "UPDATE kinds SET label = 'astronomy' WHERE id = 2");
    let plan = plan_of(&bench, "kinds", number(2)).unwrap();
    assert!(plan.refusals[0].what.contains("may be another record"), "{:?}", plan.refusals);
    assert!(plan.refusals[0].hint.contains("--trust-keys"), "{:?}", plan.refusals);
    (bench.options.trust_keys, bench.options.on_conflict) = (true, OnConflict::Overwrite);
    bench.recover("kinds", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT label FROM kinds WHERE id = 2"), "Text(\"housekeeping\")");
    // What was made at another time is another record, whatever anybody says of keys.
    run(&bench, NEWCOMER);
    let plan = plan_of(&bench, "users", number(2)).unwrap();
    assert!(plan.refusals[0].what.contains("is another record now"), "{:?}", plan.refusals);
}

#[test]
fn a_key_that_is_random_or_that_people_give_says_itself_which_record_it_is() {
    let uuid = "0191a3f0-6d1c-7cc1-b2a3-0f8a5a3c9e11";
    let bench = Bench::new(&format!(
        "CREATE TABLE carts (id TEXT PRIMARY KEY, state TEXT); INSERT INTO carts VALUES ('{uuid}', 'open');
         CREATE TABLE countries (code TEXT PRIMARY KEY, name TEXT); INSERT INTO countries VALUES ('CH', 'Switzerland');"
    ));
    run(&bench, "UPDATE carts SET state = 'paid'; UPDATE countries SET name = name || ' (Confoederatio Helvetica)'");
    assert!(plan_of(&bench, "carts", vec![Value::text(uuid)]).unwrap().is_whole());
}

#[test]
fn a_reference_that_led_nowhere_all_along_keeps_no_row_from_being_linked_again() {
    let bench = shop("DELETE FROM orders WHERE id = 11077");
    alter(
        &bench,
        "ALTER TABLE parcels ADD COLUMN payer INTEGER REFERENCES customers(id); UPDATE parcels SET payer = 99",
    );
    let done = bench.recover("orders", &[number(11077)]).unwrap();
    assert_eq!(done.plan.steps.iter().filter(|step| matches!(step.act, Act::Relink { .. })).count(), 2);
}
