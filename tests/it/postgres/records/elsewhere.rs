//! New keys that would put rows into other partitions, whose rows refer to other things: they come back bound as they were, or
//! not at all.

use super::*;
use crate::postgres::captured_home;

const CUSTOMERS: &str = "CREATE TABLE customer (id integer PRIMARY KEY, name text NOT NULL);
    INSERT INTO customer VALUES (1, 'Mary'), (2, 'Patricia');";

/// Notes of customers and of others. What `of` means is said by where a note lies: those of one partition are bound to customers.
fn notes(partitions: &str) -> String {
    format!(
        "{CUSTOMERS} CREATE TABLE note (id integer PRIMARY KEY, of integer, created_at timestamptz NOT NULL, text text)
            PARTITION BY {partitions};
         INSERT INTO note VALUES (8, 1, '2024-01-20 10:00:01', 'of something else'), (10, 2, '2024-01-20 10:00:02', 'b');"
    )
}

const ODD_ARE_CUSTOMERS: &str =
    "LIST (id); CREATE TABLE note_odd PARTITION OF note FOR VALUES IN (1, 3, 5, 7, 9, 11, 13, 15);
    CREATE TABLE note_even PARTITION OF note DEFAULT;
    ALTER TABLE note_odd ADD FOREIGN KEY (of) REFERENCES customer ON DELETE CASCADE";

const NEW_ARE_CUSTOMERS: &str = "RANGE (id); CREATE TABLE note_old PARTITION OF note FOR VALUES FROM (0) TO (11);
    CREATE TABLE note_new PARTITION OF note FOR VALUES FROM (11) TO (1000);
    ALTER TABLE note_new ADD FOREIGN KEY (of) REFERENCES customer ON DELETE CASCADE";

/// Somebody's note under the number of one that is deleted.
const NEWCOMER: &str =
    "DELETE FROM note WHERE id = 8; INSERT INTO note VALUES (8, 2, '2025-06-07 08:09:10', 'another')";

const ONE: [&str; 5] = ["recover", "latest", "note", "8", "--remap-keys"];

#[test]
fn a_new_number_leaves_a_row_in_a_partition_whose_rows_refer_to_the_same_things() {
    let (home, name) = captured_home(&notes(ODD_ARE_CUSTOMERS));
    cluster().sql(&name, NEWCOMER);
    home.ok(&ONE);
    let place = "SELECT tableoid::regclass || ' ' || id FROM note WHERE text = 'of something else'";
    assert_eq!(cluster().sql(&name, place), "note_even 12");
    assert!(home.ok(&ONE).out.contains("nothing to do"));
}

#[test]
fn a_row_that_every_new_number_would_hang_below_a_customer_is_left_out_and_told() {
    let (home, name) = captured_home(&notes(NEW_ARE_CUSTOMERS));
    cluster().sql(&name, NEWCOMER);
    let before = dump(&session("postgres", &name));
    for (code, more) in [(3, &["--dry-run"][..]), (1, &[])] {
        let ran = home.run(&[&ONE[..], more].concat());
        let said = ran.err;
        assert_eq!(ran.code, code, "{said}");
        assert!(said.contains("note 8 is another record now"), "{said}");
        assert!(said.contains("note_new") && said.contains("of refers to customer"), "{said}");
        assert_eq!(dump(&session("postgres", &name)), before);
    }
    // A row that refers to nothing is not hung below anything.
    cluster().sql(&name, "INSERT INTO note VALUES (9, NULL, '2024-01-20 10:00:03', 'of nothing')");
    home.ok(&["backup", "--quiet"]);
    cluster().sql(&name, "UPDATE note SET created_at = '2025-06-07 08:09:10', text = 'a third' WHERE id = 9");
    home.ok(&["recover", "latest", "note", "9", "--remap-keys"]);
    let place = "SELECT tableoid::regclass || ' ' || id FROM note WHERE text = 'of nothing'";
    assert_eq!(cluster().sql(&name, place), "note_new 11");
}

/// Orders with lines that lie in partitions by the number of their order.
fn orders(lines: &str) -> String {
    format!(
        "CREATE TABLE product (id integer PRIMARY KEY, name text);
         INSERT INTO product SELECT n, 'product ' || n FROM generate_series(1, 5) n;
         CREATE TABLE orders (id integer PRIMARY KEY, created_at timestamptz NOT NULL);
         {lines};
         CREATE TABLE line_old PARTITION OF line FOR VALUES FROM (0) TO (11);
         CREATE TABLE line_new PARTITION OF line FOR VALUES FROM (11) TO (1000);
         ALTER TABLE line ADD FOREIGN KEY (of) REFERENCES orders ON DELETE CASCADE;
         INSERT INTO orders VALUES (8, '2024-01-20 10:00:01'), (10, '2024-01-20 10:00:02');
         INSERT INTO line VALUES (8, 1, 3), (8, 2, 4), (10, 1, 5)"
    )
}

const BY_KEY: &str =
    "CREATE TABLE line (of integer, n integer, item integer, PRIMARY KEY (of, n)) PARTITION BY RANGE (of)";
const WITHOUT_KEY: &str =
    "CREATE TABLE line (of integer NOT NULL, n integer NOT NULL, item integer NOT NULL) PARTITION BY RANGE (of)";
/// What the server computes by an expression is not computed for a plan.
const BY_EXPRESSION: &str =
    "CREATE TABLE line (of integer NOT NULL, n integer NOT NULL, item integer NOT NULL) PARTITION BY RANGE ((of + 0))";

const OTHER_ORDER: &str = "DELETE FROM orders WHERE id = 8; INSERT INTO orders VALUES (8, '2025-06-07 08:09:10')";

#[test]
fn rows_that_follow_a_new_number_into_a_partition_with_other_references_are_refused() {
    let recover = ["recover", "latest", "orders", "8", "--remap-keys"];
    for (lines, is_foreseen) in [(BY_KEY, true), (WITHOUT_KEY, true), (BY_EXPRESSION, false)] {
        for bound in ["line_new", "line_old"] {
            let references = format!("ALTER TABLE {bound} ADD FOREIGN KEY (item) REFERENCES product");
            let (home, name) = captured_home(&format!("{}; {references}", orders(lines)));
            cluster().sql(&name, OTHER_ORDER);
            let before = dump(&session("postgres", &name));
            let said = home.fails(1, &recover);
            assert!(said.contains("line 8,") && said.contains("line_new"), "{lines}, {bound}: {said}");
            assert!(said.contains("item refers to product"), "{lines}, {bound}: {said}");
            assert_eq!(dump(&session("postgres", &name)), before, "{lines}, {bound}");
            if is_foreseen {
                let ran = home.run(&[&recover[..], &["--dry-run"]].concat());
                assert_eq!(ran.code, 3, "{}", ran.err);
                assert!(ran.err.contains("item refers to product"), "{}", ran.err);
            }
        }
        // Where both partitions have it, it is the same reference.
        let references = "ALTER TABLE line_old ADD FOREIGN KEY (item) REFERENCES product;
            ALTER TABLE line_new ADD FOREIGN KEY (item) REFERENCES product";
        let (home, name) = captured_home(&format!("{}; {references}", orders(lines)));
        cluster().sql(&name, OTHER_ORDER);
        home.ok(&recover);
        assert_eq!(cluster().sql(&name, "SELECT count(*) FROM line_new WHERE of = 11"), "2");
        assert!(home.ok(&recover).out.contains("nothing to do"));
    }
}

#[test]
fn what_only_the_new_partition_asks_of_its_rows_is_told_by_the_server_and_nothing_is_changed() {
    let rules = ["UNIQUE (item)", "CHECK (item < 4)", "ALTER COLUMN item SET NOT NULL"];
    for rule in rules {
        let add = if rule.starts_with("ALTER") { rule.to_owned() } else { format!("ADD {rule}") };
        let (home, name) = captured_home(&format!(
            "{}; INSERT INTO line VALUES (8, 3, NULL); ALTER TABLE line_new {add};
             INSERT INTO orders VALUES (9, '2024-01-20 10:00:03'); INSERT INTO line VALUES (9, 1, 1)",
            orders(BY_KEY)
        ));
        let held = "INSERT INTO orders VALUES (20, '2025-06-07 08:09:11'); INSERT INTO line VALUES (20, 1, 3)";
        cluster().sql(&name, &format!("{OTHER_ORDER}; {held}"));
        let before = dump(&session("postgres", &name));
        let said = home.fails(1, &["recover", "latest", "orders", "8", "--remap-keys"]);
        assert!(said.contains("line"), "{rule}: {said}");
        assert_eq!(dump(&session("postgres", &name)), before, "{rule}");
    }
}
