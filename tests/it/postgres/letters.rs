//! Names that only capital letters, dots or quotes tell apart: tables, schemas and columns, and never one for another.

use serde_json::{Value, json};

use super::captured_home;
use crate::support::postgres::cluster;
use crate::support::program::Home;

/// `p` and `P`, and what refers to each.
const LETTERS: &str = "CREATE TABLE p (id int PRIMARY KEY, n text); CREATE TABLE \"P\" (id int PRIMARY KEY, n text);
    CREATE TABLE c (k int PRIMARY KEY, r int REFERENCES \"P\" ON DELETE CASCADE);
    CREATE TABLE d (k int PRIMARY KEY, r int REFERENCES p ON DELETE CASCADE);
    INSERT INTO p VALUES (1, 'a'), (17, 'lower'); INSERT INTO \"P\" VALUES (1, 'A'), (17, 'UPPER');
    INSERT INTO c VALUES (1, 17); INSERT INTO d VALUES (1, 17);";
const SCHEMAS: &str =
    "CREATE SCHEMA s; CREATE SCHEMA \"S\"; CREATE TABLE s.t (id int PRIMARY KEY, n text); CREATE TABLE \"S\".t (id int PRIMARY KEY, n text);
    CREATE TABLE c (k int PRIMARY KEY, r int REFERENCES \"S\".t ON DELETE CASCADE);
    INSERT INTO s.t VALUES (17, 'lower'); INSERT INTO \"S\".t VALUES (17, 'UPPER'); INSERT INTO c VALUES (1, 17);";
const DOTS: &str =
    "CREATE SCHEMA a; CREATE SCHEMA \"a.b\"; CREATE TABLE a.\"b.c\" (id int PRIMARY KEY, n text); CREATE TABLE \"a.b\".c (id int PRIMARY KEY, n text);
    CREATE TABLE r (k int PRIMARY KEY, r int REFERENCES \"a.b\".c ON DELETE CASCADE); CREATE TABLE \"x.y\" (id int PRIMARY KEY, n text);
    INSERT INTO a.\"b.c\" VALUES (17, 'one'); INSERT INTO \"a.b\".c VALUES (17, 'two'), (18, 'x'); INSERT INTO r VALUES (1, 17);
    INSERT INTO \"x.y\" VALUES (17, 'dot')";
const CHILD: &str =
    "CREATE TABLE p (id int PRIMARY KEY, n text); CREATE TABLE c (\"Id\" int REFERENCES p ON DELETE CASCADE, id int PRIMARY KEY, t text);
    INSERT INTO p VALUES (1, 'a'), (17, 'b'); INSERT INTO c VALUES (17, 1, 'x'), (1, 2, 'y')";
const PARENT: &str =
    "CREATE TABLE p (id int, \"ID\" int PRIMARY KEY, n text); CREATE TABLE c (k int PRIMARY KEY, r int REFERENCES p ON DELETE SET NULL, t text);
    INSERT INTO p VALUES (17, 1, 'a'), (1, 17, 'b'); INSERT INTO c VALUES (5, 17, 'x'), (6, 1, 'y')";

/// Everything that some tables hold.
fn dump(name: &str, tables: &str) -> String {
    let one = |table: &str| format!("SELECT '{table} ' || string_agg(x::text, ' ' ORDER BY x::text) FROM {table} x");
    tables.split(", ").map(|table| cluster().sql(name, &one(table)) + "\n").collect()
}

#[test]
fn what_is_gone_of_a_table_comes_back_into_it_and_not_into_one_whose_name_only_looks_like_it() {
    let p = "p, \"P\", c, d";
    let dots = "a.\"b.c\", \"a.b\".c, r, \"x.y\"";
    for (made, tables, gone, asked) in [
        (LETTERS, p, "DELETE FROM p WHERE id = 17", &["p", "17"][..]),
        (LETTERS, p, "DELETE FROM \"P\" WHERE id = 17", &["P", "17"]),
        (LETTERS, p, "DELETE FROM p WHERE id = 17", &["--missing", "p"]),
        (LETTERS, p, "DELETE FROM \"P\" WHERE id = 17", &["--missing", "P"]),
        (LETTERS, p, "DELETE FROM p WHERE id = 17", &["--table", "p", "--where", "n = 'lower'"]),
        (SCHEMAS, "s.t, \"S\".t, c", "DELETE FROM \"S\".t", &["S.t", "17"]),
        (SCHEMAS, "s.t, \"S\".t, c", "DELETE FROM s.t", &["s.t", "17"]),
        (DOTS, dots, "DELETE FROM \"a.b\".c WHERE id = 17", &["\"a.b\".c", "17"]),
        (DOTS, dots, "DELETE FROM a.\"b.c\"", &["--missing", "a.\"b.c\""]),
        (DOTS, dots, "DELETE FROM \"x.y\"", &["x.y", "17"]),
        (CHILD, "p, c", "DELETE FROM p WHERE id = 17", &["p", "17"]),
        (PARENT, "p, c", "DELETE FROM p WHERE \"ID\" = 17", &["p", "17"]),
        (
            PARENT,
            "p, c",
            "UPDATE p SET id = 5 WHERE \"ID\" = 17",
            &["p", "17", "--trust-keys", "--on-conflict", "overwrite"],
        ),
    ] {
        let (home, name) = captured_home(made);
        let before = dump(&name, tables);
        cluster().sql(&name, gone);
        let after = dump(&name, tables);
        assert_ne!(before, after, "{gone}");
        home.ok(&[&["recover", "latest"], asked].concat());
        assert_eq!(dump(&name, tables), before, "{asked:?}");
        home.ok(&["undo", "--yes"]);
        assert_eq!(dump(&name, tables), after, "undo of {asked:?}");
    }
}

#[test]
fn a_name_that_fits_several_tables_or_columns_is_refused_with_all_of_them() {
    let (home, name) = captured_home(&format!(
        "CREATE TABLE \"Users\" (id int PRIMARY KEY, \"Name\" text, \"NAME\" text); CREATE TABLE \"USERS\" (id int PRIMARY KEY);
        INSERT INTO \"Users\" VALUES (1, 'two', 'b'); INSERT INTO \"USERS\" VALUES (1); {DOTS}"
    ));
    cluster().sql(
        &name,
        "DELETE FROM \"Users\"; DELETE FROM \"USERS\"; DELETE FROM r; DELETE FROM a.\"b.c\"; DELETE FROM \"a.b\".c",
    );
    let users = ["USERS, Users", "write one as it stands there"];
    let dots = ["a.\"b.c\"", "\"a.b\".c"];
    let refused = |arguments: &[&str], said: [&str; 2]| {
        let ran = home.run(arguments);
        assert_eq!(ran.code, 1, "{arguments:?}: {}{}", ran.out, ran.err);
        assert!(said.iter().all(|one| ran.err.contains(one)), "{arguments:?}: {}", ran.err);
    };
    refused(&["recover", "latest", "users", "1"], users);
    refused(&["recover", "latest", "--missing", "users"], users);
    refused(&["recover", "latest", "a.b.c", "17"], dots);
    refused(&["recover", "latest", "Users", "1", "--set", "users.id=3"], users);
    refused(&["recover", "latest", "Users", "1", "--set", "Users.name=3"], ["Name, NAME", "write one"]);
    refused(&["find", "users", "1"], users);
    refused(&["find", "a.b.c", "17"], dots);
    refused(&["diff", "latest", "live", "--table", "a.b.c"], dots);
    home.run(&["backup", "--quiet"]);
    refused(&["diff", "latest~1", "latest", "--table", "users"], users);
    // What the configuration says of one of them is told of that one, or refused too.
    let plain = std::fs::read_to_string(home.path("strongroom.toml")).unwrap();
    for (more, said) in [
        ("[entity.person]\nsource = 'db'\ntable = 'users'\n", users),
        ("[[relation]]\nfrom = 'db.r.k'\nto = 'db.a.b.c.id'\n", dots),
        ("[entity.person]\nsource = 'db'\ntable = 'Users'\nkey = ['name']\n", ["Name, NAME", "write one"]),
    ] {
        home.write("strongroom.toml", format!("{plain}{more}"));
        refused(&["recover", "latest~1", "Users", "1", "--dry-run"], said);
    }
    let told = "[entity.person]\nsource = 'db'\ntable = 'Users'\nkey = ['NAME']\n[[relation]]\nfrom = 'db.Users.Name'\nto = 'db.\"a.b\".c.n'\n";
    home.write("strongroom.toml", format!("{plain}{told}"));
    let plan = home.ok(&["recover", "latest~1", "person", "b", "--dry-run"]).out;
    assert!(["Users", "\"a.b\".c"].iter().all(|one| plan.contains(one)) && !plan.contains("b.c\""), "{plan}");
}

#[test]
fn a_record_is_looked_for_in_the_table_of_its_name_only() {
    let (home, name) = captured_home(LETTERS);
    cluster().sql(&name, "DELETE FROM p WHERE id = 17");
    let live = |table: &str| home.json(&["find", table, "17"])["live"].clone();
    assert_eq!([live("p"), live("P")], [json!(false), json!(true)]);
    home.ok(&["backup", "--quiet"]);
    let changes = |table: &str| home.json(&["find", table, "17"])["changes"].as_array().unwrap().len();
    assert_eq!([changes("p"), changes("P")], [2, 1]);
    // A table that is gone is not another one by now.
    cluster().sql(&name, "DROP TABLE d, p");
    home.run(&["backup", "--quiet"]);
    assert_eq!(home.json(&["find", "p", "1"])["live"], json!(false));
    let ran = home.run(&["recover", "latest", "p", "1"]);
    assert!(ran.code == 1 && ran.err.contains("there is no table p any more"), "{}{}", ran.out, ran.err);
}

#[test]
fn a_recovery_is_taken_back_from_its_own_table_or_not_at_all() {
    let (home, name) = captured_home(LETTERS);
    cluster().sql(&name, "DELETE FROM p WHERE id = 17");
    home.ok(&["recover", "latest", "p", "17"]);
    cluster().sql(&name, "DROP TABLE d, p");
    let ran = home.run(&["undo", "--yes"]);
    assert!(ran.code != 0, "{}{}", ran.out, ran.err);
    assert_eq!(dump(&name, "\"P\", c"), "\"P\" (1,A) (17,UPPER)\nc (1,17)\n");
}

/// What is told of tables that differ, by their names.
fn told(home: &Home, arguments: &[&str]) -> Vec<(String, Value)> {
    let found = home.json(&[&["diff"], arguments].concat());
    let tables =
        found["databases"].as_array().unwrap().iter().flat_map(|one| one["tables"].as_array().unwrap().clone());
    let counts = |table: &Value| json!([table["added"], table["removed"], table["changed"]]);
    tables.map(|table| (table["name"].as_str().unwrap().to_owned(), counts(&table))).collect()
}

#[test]
fn tables_whose_names_look_alike_are_compared_each_with_itself() {
    let (home, name) = captured_home(&format!("{LETTERS} {DOTS}"));
    assert!(told(&home, &["latest", "live"]).is_empty());
    cluster().sql(&name, "DELETE FROM p WHERE id = 17; UPDATE \"a.b\".c SET n = 'TWO' WHERE id = 17; INSERT INTO a.\"b.c\" VALUES (19, 'new')");
    home.ok(&["backup", "--quiet"]);
    let row = |name: &str, counts: [u64; 3]| (name.to_owned(), json!(counts));
    let all = [row("\"a.b\".c", [0, 0, 1]), row("a.\"b.c\"", [1, 0, 0]), row("d", [0, 1, 0]), row("p", [0, 1, 0])];
    for two in [["latest~1", "latest"], ["latest~1", "live"]] {
        assert_eq!(told(&home, &two), all, "{two:?}");
        let one = |table: &str| told(&home, &[&two[..], &["--table", table]].concat());
        assert_eq!(one("p"), [row("p", [0, 1, 0])], "{two:?}");
        assert!(one("P").is_empty(), "{two:?}");
        assert_eq!(one("\"a.b\".c"), [row("\"a.b\".c", [0, 0, 1])], "{two:?}");
    }
}

#[test]
fn a_question_takes_no_table_or_column_for_another() {
    let (home, _) = captured_home(&format!(
        "{LETTERS} {SCHEMAS}",
        SCHEMAS = SCHEMAS.replace("TABLE c ", "TABLE e ").replace("INTO c ", "INTO e ")
    ));
    let ask = |sql: &str| home.json(&["query", "latest", sql])["rows"].clone();
    let tables =
        ask(".tables").as_array().unwrap().iter().map(|row| row[1].as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let of = |letter: &str| tables.iter().find(|name| name.starts_with(&format!("{letter}_"))).unwrap().clone();
    assert_eq!(ask(&format!("SELECT n FROM {} WHERE id = 17", of("p"))), json!([["lower"]]));
    assert_eq!(ask(&format!("SELECT n FROM {} WHERE id = 17", of("P"))), json!([["UPPER"]]));
    for sql in ["SELECT * FROM p", "SELECT * FROM \"P\"", "SELECT * FROM S.t", "SELECT * FROM s.t"] {
        let ran = home.run(&["query", "latest", sql]);
        assert!(ran.code == 2 && ran.err.contains("hint: "), "{sql}: {}{}", ran.out, ran.err);
    }
    let (home, name) = captured_home(PARENT);
    let ran = home.run(&["query", "latest", "SELECT id FROM p"]);
    assert!(ran.code == 2 && ran.err.contains("no such column: id"), "{}", ran.err);
    assert_eq!(home.json(&["query", "latest", "SELECT n FROM p WHERE id_2 = 17"])["rows"], json!([["a"]]));
    assert!(home.ok(&["query", "latest", ".schema p"]).out.contains("/* here id_2 */"));
    cluster().sql(&name, "DELETE FROM p");
    let ran = home.run(&["recover", "latest", "--table", "p", "--where", "id = 17"]);
    assert!(ran.code != 0 && ran.err.contains("no such column: id"), "{}", ran.err);
}
