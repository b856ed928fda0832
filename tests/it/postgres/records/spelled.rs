//! Rows that refer to a key by a value that is the same to the server and written in another way: all of them come back, or
//! the plan says that it cannot know and the command ends with 3.

use super::*;
use crate::postgres::captured_home;
use crate::support::program::Home;

/// What is made first, the type of a key, three values of it — the first record's, the second's, and the second's as others
/// write it — and whether such rows are known without asking the server.
type Spelling = (&'static str, &'static str, [&'static str; 3], bool);

const CASES: &str = "CREATE COLLATION nd (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
const PAIR: &str = "CREATE TYPE pair AS (a numeric, b text)";
const MOOD: &str = "CREATE TYPE mood AS ENUM ('sad', 'glad')";
const POSITIVE: &str = "CREATE DOMAIN positive AS numeric CHECK (value > 0)";

const SPELLINGS: [Spelling; 26] = [
    ("SELECT 1", "numeric", ["'1.0'", "'2.00'", "'2.0'"], true),
    ("SELECT 1", "char(5)", ["'a'", "'b  '", "'b'"], true),
    ("SELECT 1", "float8", ["1.5", "'-0'", "'0'"], true),
    ("SELECT 1", "float8", ["1.5", "'NaN'", "'nan'"], true),
    ("SELECT 1", "timestamptz", ["'2020-01-01'", "'0044-03-15 12:00 BC'", "'0044-03-15 12:00:00 BC'"], true),
    ("SELECT 1", "date", ["'-infinity'", "'infinity'", "'infinity'"], true),
    ("SELECT 1", "inet", ["'10.0.0.1'", "'10.0.0.2/32'", "'10.0.0.2'"], true),
    ("SELECT 1", "bytea", ["'\\x00'", "'\\xff00'", "'\\xFF00'"], true),
    ("SELECT 1", "timetz", ["'1:00+00'", "'24:00:00+00'", "'24:00+00'"], true),
    ("SELECT 1", "money", ["'1'", "'-2.5'", "'-2.50'"], true),
    ("SELECT 1", "bit varying", ["'1'", "'0010'", "'0010'"], true),
    ("SELECT 1", "name", ["'1'", "'x y'", "'x y'"], true),
    (
        "SELECT 1",
        "uuid",
        [
            "'00000000-0000-0000-0000-000000000000'",
            "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'",
            "'{a0eebc999c0b4ef8bb6d6bb9bd380a11}'",
        ],
        true,
    ),
    ("SELECT 1", "int8", ["1", "-9223372036854775808", "'-9223372036854775808'"], true),
    ("SELECT 1", "pg_lsn", ["'0/1'", "'FF/2'", "'ff/2'"], true),
    (MOOD, "mood", ["'sad'", "'glad'", "'glad'"], true),
    (POSITIVE, "positive", ["1", "2.0", "2.00"], true),
    ("SELECT 1", "interval", ["'3 days'", "'1 day'", "'1 day'"], true),
    ("SELECT 1", "jsonb", ["'1'", "'[2, 3]'", "'[2,3]'"], true),
    ("SELECT 1", "interval", ["'3 days'", "'1 day'", "'24:00:00'"], false),
    ("SELECT 1", "jsonb", ["'1'", "'2.00'", "'2.0'"], false),
    ("SELECT 1", "numeric[]", ["'{1}'", "'{2.0,NULL}'", "'{2.00,NULL}'"], false),
    ("SELECT 1", "numrange", ["'[1,2)'", "'[3.0,4)'", "'[3,4.0)'"], false),
    (CASES, "text COLLATE nd", ["'a'", "'Bé'", "'bÉ'"], false),
    (PAIR, "pair", ["'(1,x)'", "'(2.0,)'", "'(2.00,)'"], false),
    ("CREATE EXTENSION citext", "citext", ["'a'", "'Bé'", "'bÉ'"], true),
];

fn made((setup, kind, [first, second, same], _): &Spelling, on_delete: &str) -> String {
    format!(
        "{setup}; CREATE TABLE p (id {kind} PRIMARY KEY, name text NOT NULL); \
         CREATE TABLE c (id int PRIMARY KEY, pid {kind} REFERENCES p (id) ON DELETE {on_delete}, t text); \
         CREATE TABLE g (pid {kind} REFERENCES p (id) ON DELETE CASCADE, n int, t text, PRIMARY KEY (pid, n)); \
         INSERT INTO p VALUES ({first}, 'the first of them'), ({second}, 'quite another one'); \
         INSERT INTO c VALUES (1, {second}, 'a line of it'), (2, {same}, 'one more line'), (3, {first}, 'of the first'); \
         INSERT INTO g VALUES ({second}, 1, 'a part'), ({same}, 2, 'one more part'), ({first}, 3, 'of the first')"
    )
}

const LOSE: &str = "DELETE FROM p WHERE name = 'quite another one'";
const MISSING: [&str; 4] = ["recover", "latest", "--missing", "p"];

fn rows(name: &str) -> Vec<String> {
    dump(&session("postgres", name))
}

/// What is said of what was done, with something left out.
fn told(home: &Home, arguments: &[&str]) -> String {
    let ran = home.run(arguments);
    assert_eq!(ran.code, 3, "{arguments:?}: {ran:?}");
    ran.err
}

/// Undoes it where a newer row refers to what came back.
fn refuses_newer(home: &Home, name: &str, spelling: &Spelling) {
    let same = spelling.2[2];
    cluster().sql(name, &format!("INSERT INTO c VALUES (7, {same}, 'newer work')"));
    let before = rows(name);
    let said = home.fails(1, &["undo", "--yes"]);
    assert!(said.contains("c 7 is newer") && said.contains("refer to"), "{spelling:?}: {said}");
    assert_eq!(rows(name), before, "{spelling:?}");
    cluster().sql(name, "DELETE FROM c WHERE id = 7");
}

#[test]
fn what_refers_by_an_equal_value_of_another_form_comes_back_where_that_is_known() {
    for spelling in SPELLINGS.iter().filter(|spelling| spelling.3) {
        let (home, name) = captured_home(&made(spelling, "CASCADE"));
        let whole = rows(&name);
        cluster().sql(&name, LOSE);
        let harmed = rows(&name);
        home.ok(&MISSING);
        assert_eq!(rows(&name), whole, "{spelling:?}");
        refuses_newer(&home, &name, spelling);
        home.ok(&["undo", "--yes"]);
        assert_eq!(rows(&name), harmed, "{spelling:?}");
    }
}

#[test]
fn what_may_refer_by_an_equal_value_of_another_form_is_told_of_with_3() {
    for spelling in SPELLINGS.iter().filter(|spelling| !spelling.3) {
        let (home, name) = captured_home(&made(spelling, "CASCADE"));
        cluster().sql(&name, LOSE);
        let harmed = rows(&name);
        let said = told(&home, &[&MISSING[..], &["--dry-run"]].concat());
        assert!(said.contains("c.pid refers to p by values"), "{spelling:?}: {said}");
        let said = told(&home, &MISSING);
        for words in ["c.pid refers to p by values", "g.pid refers to p by values", "1 row of c is written"] {
            assert!(said.contains(words), "{spelling:?}: {said}");
        }
        let key = spelling.2[1].trim_matches('\'');
        told(&home, &["recover", "latest", "p", key, "--export", "json", "out"]);
        refuses_newer(&home, &name, spelling);
        home.ok(&["undo", "--yes"]);
        assert_eq!(rows(&name), harmed, "{spelling:?}");
    }
}

#[test]
fn a_row_finds_what_it_refers_to_by_an_equal_value_of_another_form_in_live_data() {
    let is_asked = |spelling: &&Spelling| !spelling.3 || ["numeric", "char(5)", "citext"].contains(&spelling.1);
    for spelling in SPELLINGS.iter().filter(is_asked) {
        let (home, name) = captured_home(&made(spelling, "SET NULL"));
        let whole = rows(&name);
        cluster().sql(&name, "DELETE FROM c WHERE id < 3");
        // What it refers to is there, which the server knows.
        let done = home.run(&["recover", "latest", "--missing", "c", "--json"]);
        assert!(done.code == 0 || !spelling.3, "{spelling:?}: {done:?}");
        // A type of somebody's own is not compared by the server for us: what it refers to is not known to be there.
        if spelling.1 != "pair" {
            assert_eq!(rows(&name), whole, "{spelling:?}: {done:?}");
        }
        // It is let go, and refers again.
        cluster().sql(&name, LOSE);
        let done = home.run(&MISSING);
        match spelling.3 {
            true => assert_eq!((done.code, rows(&name)), (0, whole), "{spelling:?}: {done:?}"),
            false => assert_eq!(done.code, 3, "{spelling:?}: {done:?}"),
        }
    }
}

#[test]
fn keys_of_two_types_find_each_other_or_are_told_of() {
    // The types of a key and of what refers to it, and a value in both; whether that is known without asking the server.
    let cases = [
        ("numeric(10,2)", "17.00", "int", "17", true),
        ("int", "17", "bigint", "17", true),
        ("text", "'ab'", "varchar(9)", "'ab'", true),
        ("char(4)", "'ab'", "char(9)", "'ab'", true),
        ("text", "'ab'", "char(9)", "'ab'", false),
        ("date", "'2024-02-03'", "timestamp", "'2024-02-03'", false),
        ("float4", "0.1", "float8", "0.1::float4", false),
        ("inet", "'10.0.0.1'", "cidr", "'10.0.0.1/32'", false),
    ];
    for (kind, value, other, same, is_known) in cases {
        let (home, name) = captured_home(&format!(
            "CREATE TABLE p (id {kind} PRIMARY KEY, name text NOT NULL); \
             CREATE TABLE c (id int PRIMARY KEY, pid {other} REFERENCES p (id) ON DELETE CASCADE, t text); \
             INSERT INTO p VALUES ({value}, 'quite another one'); INSERT INTO c VALUES (1, {same}, 'a line of it')"
        ));
        let whole = rows(&name);
        cluster().sql(&name, LOSE);
        assert_eq!(rows(&name).len(), 0, "{kind} {other}");
        let done = home.run(&MISSING);
        match is_known {
            true => assert_eq!((done.code, rows(&name)), (0, whole), "{kind} {other}: {done:?}"),
            false => assert_eq!(done.code, 3, "{kind} {other}: {done:?}"),
        }
    }
}
