//! References that are declared on partitions, on heirs, or lead to a partition: what counts is whose rows they bind.

use super::*;
use crate::postgres::captured_home;
use crate::support::program::Home;

/// Customers with rentals and thirty payments, which lie in partitions of months, one of them in two halves.
const SHOP: &str = "CREATE TABLE customer (id integer PRIMARY KEY, name text NOT NULL);
    CREATE TABLE rental (id integer PRIMARY KEY, customer_id integer NOT NULL REFERENCES customer ON DELETE CASCADE);
    CREATE TABLE payment (id integer NOT NULL, customer_id integer NOT NULL, rental_id integer, day date NOT NULL,
        amount numeric(5,2), PRIMARY KEY (day, id)) PARTITION BY RANGE (day);
    CREATE TABLE payment_1 PARTITION OF payment FOR VALUES FROM ('2024-01-01') TO ('2024-02-01');
    CREATE TABLE payment_2 PARTITION OF payment FOR VALUES FROM ('2024-02-01') TO ('2024-03-01') PARTITION BY RANGE (id);
    CREATE TABLE payment_2_low PARTITION OF payment_2 FOR VALUES FROM (0) TO (20);
    CREATE TABLE payment_2_high PARTITION OF payment_2 FOR VALUES FROM (20) TO (1000);
    CREATE TABLE payment_rest PARTITION OF payment DEFAULT;
    INSERT INTO customer VALUES (1, 'Mary'), (2, 'Patricia');
    INSERT INTO rental SELECT n, 1 + n % 2 FROM generate_series(1, 60) n;
    INSERT INTO payment SELECT n, 1 + n % 2, n, '2024-01-10'::date + n, n / 10.0 FROM generate_series(1, 60) n;";

/// What makes the rows of a table refer to a customer and to a rental.
fn referring(table: &str) -> String {
    format!(
        "ALTER TABLE {table} ADD FOREIGN KEY (customer_id) REFERENCES customer ON DELETE CASCADE;
         ALTER TABLE {table} ADD FOREIGN KEY (rental_id) REFERENCES rental;"
    )
}

/// A home with a snapshot of a database, and the database before and after a loss.
struct Lost {
    home: Home,
    name: String,
    whole: Vec<String>,
    harmed: Vec<String>,
}

fn rows(name: &str) -> Vec<String> {
    dump(&session("postgres", name))
}

impl Lost {
    fn new(schema: &str, loss: &str) -> Self {
        let (home, name) = captured_home(schema);
        let whole = rows(&name);
        cluster().sql(&name, loss);
        let harmed = rows(&name);
        assert_ne!(whole, harmed);
        Self { home, name, whole, harmed }
    }

    /// Says a relation in the configuration.
    fn relation(&self, from: &str, to: &str) {
        let config = std::fs::read_to_string(self.home.path("strongroom.toml")).unwrap();
        self.home.write("strongroom.toml", format!("{config}[[relation]]\nfrom = '{from}'\nto = '{to}'\n"));
    }

    /// What was lost comes back, row for row; a second time there is nothing to do; and it can be taken back.
    fn comes_back(&self, recover: &[&str], what: &str) {
        let done = self.home.ok(recover);
        assert_eq!(rows(&self.name), self.whole, "{what}: {}", done.out);
        let again = self.home.ok(recover);
        assert!(again.out.contains("nothing to do"), "{what}: {}", again.out);
        self.home.ok(&["undo"]);
        assert_eq!(rows(&self.name), self.harmed, "{what}: taken back");
    }
}

/// Customers whose payments lie in a table and in two that inherit from it, one of them from the other.
const HEIRS: &str = "CREATE TABLE customer (id integer PRIMARY KEY, name text);
    CREATE TABLE payment (id integer PRIMARY KEY, customer_id integer NOT NULL, amount numeric);
    CREATE TABLE payment_1 (PRIMARY KEY (id)) INHERITS (payment);
    CREATE TABLE payment_2 (more text, PRIMARY KEY (id)) INHERITS (payment_1);
    INSERT INTO customer VALUES (1, 'Mary'), (2, 'Patricia');
    INSERT INTO payment VALUES (1, 1, 1), (2, 2, 2); INSERT INTO payment_1 VALUES (3, 1, 3), (4, 2, 4);
    INSERT INTO payment_2 VALUES (5, 1, 5, 'x'), (6, 2, 6, 'y');";

const ONE: [&str; 4] = ["recover", "latest", "customer", "1"];
const LOSE_ONE: &str = "BEGIN; DELETE FROM payment WHERE customer_id = 1; DELETE FROM customer WHERE id = 1; COMMIT";

#[test]
fn payments_come_back_with_their_customer_wherever_their_reference_is_declared() {
    let leaves = ["payment_1", "payment_2_low", "payment_2_high", "payment_rest"];
    let halves = ["payment_1", "payment_2", "payment_rest"];
    for (what, on) in [("root", &["payment"][..]), ("leaves", &leaves), ("sub-partitions", &halves)] {
        let references: String = on.iter().map(|table| referring(table)).collect();
        let lost = Lost::new(&format!("{SHOP}{references}"), LOSE_ONE);
        lost.comes_back(&ONE, what);
    }
}

#[test]
fn rows_of_a_partition_whose_rows_do_not_refer_are_no_part_of_a_record() {
    // Numbers below `of` mean what the kind of the row says: only customers' notes are bound to customers.
    let schema = "CREATE TABLE customer (id integer PRIMARY KEY, name text);
        CREATE TABLE film (id integer PRIMARY KEY, name text);
        CREATE TABLE note (id integer NOT NULL, kind text NOT NULL, of integer NOT NULL, text text,
            PRIMARY KEY (id, kind)) PARTITION BY LIST (kind);
        CREATE TABLE note_c PARTITION OF note FOR VALUES IN ('customer');
        CREATE TABLE note_f PARTITION OF note FOR VALUES IN ('film');
        CREATE TABLE note_rest PARTITION OF note DEFAULT;
        ALTER TABLE note_c ADD FOREIGN KEY (of) REFERENCES customer ON DELETE CASCADE;
        ALTER TABLE note_f ADD FOREIGN KEY (of) REFERENCES film ON DELETE CASCADE;
        INSERT INTO customer VALUES (1, 'Mary'), (2, 'Patricia'); INSERT INTO film VALUES (1, 'Jaws'), (3, 'Alien');
        INSERT INTO note VALUES (1, 'customer', 1, 'late'), (2, 'film', 1, 'sharks'), (3, 'other', 1, 'a'),
            (4, 'customer', 2, 'b'), (5, 'film', 3, 'c'), (6, 'other', 99, 'refers to nothing');";
    let lost = Lost::new(schema, "DELETE FROM customer WHERE id = 1");
    lost.comes_back(&ONE, "the customer");
    cluster()
        .sql(&lost.name, "INSERT INTO customer VALUES (1, 'Mary'); INSERT INTO note VALUES (1, 'customer', 1, 'late')");
    assert_eq!(rows(&lost.name), lost.whole);
    // Notes of films and others that were deleted meanwhile belong to no customer, and need none.
    cluster()
        .sql(&lost.name, "DELETE FROM note WHERE of IN (1, 99) AND kind <> 'film'; DELETE FROM customer WHERE id = 1");
    lost.home.ok(&ONE);
    let notes = "SELECT string_agg(id::text, ' ' ORDER BY id) FROM note";
    assert_eq!(cluster().sql(&lost.name, notes), "1 2 4 5");
    let other = ["recover", "latest", "--table", "note", "--where", "of = 99"];
    let said = lost.home.ok(&other);
    assert!(!said.out.contains("customer"), "{}", said.out);
    assert_eq!(cluster().sql(&lost.name, notes), "1 2 4 5 6");
    // What one of them does need comes with it.
    cluster().sql(&lost.name, "DELETE FROM film WHERE id = 3");
    lost.home.ok(&["recover", "latest", "--table", "note", "--where", "id = 5"]);
    assert_eq!(cluster().sql(&lost.name, "SELECT name FROM film WHERE id = 3"), "Alien");
}

#[test]
fn rows_of_an_heir_come_back_by_the_heirs_own_references() {
    for on in [&["payment", "payment_1", "payment_2"][..], &["payment_1", "payment_2"], &["payment_2"]] {
        let refer = |table: &&str| {
            format!("ALTER TABLE {table} ADD FOREIGN KEY (customer_id) REFERENCES customer ON DELETE CASCADE;")
        };
        let references: String = on.iter().map(refer).collect();
        let lost = Lost::new(&format!("{HEIRS}{references}"), "DELETE FROM customer WHERE id = 1");
        lost.comes_back(&ONE, &on.join(", "));
    }
}

#[test]
fn a_relation_of_a_table_holds_for_the_rows_of_its_heirs_too() {
    let lost = Lost::new(HEIRS, "DELETE FROM payment WHERE customer_id = 1; DELETE FROM customer WHERE id = 1");
    lost.relation("db.payment.customer_id", "db.customer.id");
    lost.comes_back(&ONE, "by a relation");
}

#[test]
fn a_relation_and_declared_references_of_partitions_give_rows_back_in_an_order_that_the_server_takes() {
    // Only the rental is declared, at the partitions; the customer is said in the configuration.
    let rental = |table: &str| format!("ALTER TABLE {table} ADD FOREIGN KEY (rental_id) REFERENCES rental;");
    let references: String = ["payment_1", "payment_2_low", "payment_2_high", "payment_rest"].map(rental).concat();
    let lost = Lost::new(&format!("{SHOP}{references}"), LOSE_ONE);
    lost.relation("db.payment.customer_id", "db.customer.id");
    lost.comes_back(&ONE, "by a relation");
}

#[test]
fn triggers_of_partitions_are_told_with_those_of_the_table() {
    let bench = Bench::new(
        KEEPER,
        "CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NEW; END $$;
         CREATE TABLE p (id integer PRIMARY KEY) PARTITION BY LIST (id);
         CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1); CREATE TABLE p_2 PARTITION OF p DEFAULT;
         CREATE TRIGGER own BEFORE INSERT ON p_1 FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER everywhere AFTER INSERT ON p FOR EACH ROW EXECUTE FUNCTION f();",
    );
    let tables = bench.open().tables().unwrap();
    assert_eq!(tables[0].triggers, ["everywhere", "own"]);
}

#[test]
fn what_refers_to_one_partition_means_a_row_of_that_partition() {
    // Numbers are unique in each year only.
    let schema = "CREATE TABLE account (id integer PRIMARY KEY);
        CREATE TABLE orders (id integer NOT NULL, year integer NOT NULL, note text,
            account integer REFERENCES account ON DELETE CASCADE) PARTITION BY LIST (year);
        CREATE TABLE orders_1 PARTITION OF orders FOR VALUES IN (2023);
        CREATE TABLE orders_2 PARTITION OF orders FOR VALUES IN (2024);
        ALTER TABLE orders_1 ADD PRIMARY KEY (id); ALTER TABLE orders_2 ADD PRIMARY KEY (id);
        CREATE TABLE line_1 (id integer PRIMARY KEY, orders integer NOT NULL REFERENCES orders_1 ON DELETE CASCADE);
        CREATE TABLE line_2 (id integer PRIMARY KEY, orders integer NOT NULL REFERENCES orders_2 ON DELETE CASCADE);
        INSERT INTO account VALUES (7), (8);
        INSERT INTO orders VALUES (1, 2023, 'old', 7), (2, 2023, 'older', 7), (1, 2024, 'new', 8), (2, 2024, 'newer', 8);
        INSERT INTO line_1 VALUES (10, 1), (11, 2); INSERT INTO line_2 VALUES (20, 1), (21, 2);";
    let lost = Lost::new(schema, "DELETE FROM account WHERE id = 8");
    lost.comes_back(&["recover", "latest", "account", "8"], "an account");
    // Upwards the same: a line brings back the order of its own year.
    lost.home.ok(&["recover", "latest", "line_2", "21"]);
    let orders = "SELECT string_agg(note, ' ' ORDER BY note) FROM orders";
    assert_eq!(cluster().sql(&lost.name, orders), "newer old older");
    let lost = Lost::new(schema, "DELETE FROM orders WHERE year = 2024 AND id = 1");
    lost.comes_back(&["recover", "latest", "--table", "orders", "--where", "note = 'new'"], "an order");
}

#[test]
fn references_of_partitions_are_looked_after_by_us_where_the_server_does_not() {
    let schema = "CREATE TABLE a (id integer PRIMARY KEY);
        CREATE TABLE p (id integer NOT NULL, a integer NOT NULL) PARTITION BY LIST (id);
        CREATE TABLE p_1 PARTITION OF p FOR VALUES IN (1, 2); CREATE TABLE p_2 PARTITION OF p DEFAULT;
        ALTER TABLE p_1 ADD PRIMARY KEY (id), ADD FOREIGN KEY (a) REFERENCES a;
        INSERT INTO a VALUES (1); INSERT INTO p VALUES (1, 1), (3, 5)";
    let bench = Bench::new("postgres", schema);
    let mut live = bench.open();
    let tables = live.tables().unwrap();
    let named = |name: &str| tables.iter().find(|table| table.name == name).unwrap();
    let names = ["a".to_owned(), "p".to_owned()];
    let rules = strongroom::base::record::Rules {
        triggers: false,
        references: false,
        circles: true,
        tables: &names,
        outlived: &[],
    };
    live.begin(rules).unwrap();
    live.insert(named("p"), &[0, 1], &[Value::Integer(2), Value::Integer(9)]).unwrap();
    let error = live.commit().map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("refers to a row of a"), "{error}");
    live.roll_back();
    live.begin(rules).unwrap();
    live.insert(named("p"), &[0, 1], &[Value::Integer(4), Value::Integer(9)]).unwrap();
    live.commit().map(|_| ()).expect("rows of this partition refer to nothing");
}
