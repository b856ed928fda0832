//! Rows that refer to a key by a value that is the same to SQLite and written in another way.

use proptest::prelude::*;
use strongroom::base::record::{Key, Letters, Numbers, Value};
use strongroom::record::plan::Act;

use super::rules::{alter, ask, plan_of, run};
use super::*;

/// A key, a value of it, a column that refers to it, and the same value as that keeps it.
type Spelling = (&'static str, &'static str, &'static str, &'static str);

const SPELLINGS: [Spelling; 27] = [
    ("INTEGER", "17", "TEXT", "'17'"),
    ("INTEGER", "17", "TEXT", "'017'"),
    ("INTEGER", "17", "TEXT", "'17.0'"),
    ("INTEGER", "17", "TEXT", "' 17'"),
    ("INTEGER", "17", "TEXT", "'1.7e1'"),
    ("INTEGER", "17", "", "'017'"),
    ("INTEGER", "17", "", "17.0"),
    ("INTEGER", "17", "", "17"),
    ("TEXT", "'17'", "INTEGER", "17"),
    ("TEXT", "'17.0'", "REAL", "17"),
    ("REAL", "1.5", "TEXT", "'1.50'"),
    ("NUMERIC", "1.5", "TEXT", "'+1.5'"),
    ("NUMERIC", "'x'", "TEXT", "'x'"),
    ("NUMERIC", "17", "BLOB", "17"),
    ("BLOB", "17", "INTEGER", "17"),
    ("", "17", "REAL", "17"),
    ("TEXT COLLATE RTRIM", "'ab'", "TEXT", "'ab   '"),
    ("TEXT COLLATE RTRIM", "'ab  '", "TEXT", "'ab'"),
    ("TEXT COLLATE RTRIM", "'ab '", "TEXT COLLATE NOCASE", "'ab  '"),
    ("TEXT COLLATE NOCASE", "'ab'", "TEXT", "'AB'"),
    ("INTEGER COLLATE NOCASE", "17", "TEXT", "'017'"),
    ("INTEGER", "9007199254740993", "TEXT", "'9007199254740993'"),
    ("TEXT", "'ab'", "BLOB", "CAST(x'6162' AS TEXT)"),
    ("TEXT", "''", "TEXT", "''"),
    ("BLOB", "x'00ff'", "BLOB", "x'00ff'"),
    ("TEXT", "CAST(x'610062' AS TEXT)", "TEXT", "CAST(x'610062' AS TEXT)"),
    ("TEXT", "CAST(x'61ff' AS TEXT)", "TEXT", "CAST(x'61ff' AS TEXT)"),
];

/// Two rows of `p`; rows of `c` and `g` that refer to the second, which refers to one of `c`.
fn bench((key, value, kind, same): Spelling, on_delete: &str) -> Bench {
    let first = if kind == "REAL" { "1.0" } else { "1" };
    Bench::new(&format!(
        "CREATE TABLE p(id {key} PRIMARY KEY, name TEXT, best INTEGER REFERENCES c(id) ON DELETE SET NULL); \
         CREATE TABLE c(id INTEGER PRIMARY KEY, pid {kind} REFERENCES p(id) ON DELETE {on_delete}, t TEXT); \
         CREATE TABLE g(pid {kind} REFERENCES p(id) ON DELETE CASCADE, n INTEGER, t TEXT, PRIMARY KEY(pid, n)); \
         CREATE INDEX c_pid ON c(pid); \
         INSERT INTO p VALUES({first}, 'the first of them', NULL), ({value}, 'quite another one', 7); \
         INSERT INTO c VALUES(7, {same}, 'a line of it'), (8, {same}, 'one more line'), (9, 1, 'a line of the first'); \
         INSERT INTO g VALUES({same}, 1, 'a part'), (1, 1, 'a part of the first')"
    ))
}

fn key_of(bench: &Bench, sql: &str) -> Key {
    let connection = Connection::open(bench.live()).unwrap();
    vec![connection.query_row(sql, [], |row| Ok(Value::from(row.get_ref(0)?))).unwrap()]
}

/// Deletes the second row of `p` as its references say, whatever SQLite makes of them.
fn lose(bench: &Bench, on_delete: &str) -> (Key, Vec<String>) {
    let key = key_of(bench, "SELECT id FROM p WHERE name = 'quite another one'");
    let children = match on_delete {
        "CASCADE" => "DELETE FROM c WHERE id IN (7, 8)",
        _ => "UPDATE c SET pid = NULL WHERE id IN (7, 8)",
    };
    alter(
        bench,
        &format!("{children}; DELETE FROM g WHERE t = 'a part'; DELETE FROM p WHERE name = 'quite another one'"),
    );
    (key, bench.dump())
}

#[test]
fn what_refers_by_an_equal_value_of_another_form_comes_back_with_its_record_and_goes_with_it() {
    for spelling in SPELLINGS {
        for deferring in [true, false] {
            let mut bench = bench(spelling, "CASCADE");
            bench.deferring = deferring;
            let whole = bench.dump();
            let (key, harmed) = lose(&bench, "CASCADE");
            assert_eq!(ask(&bench, "SELECT count(*) FROM c"), "Integer(1)", "{spelling:?}");
            let done = bench.recover("p", &[key]).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
            assert!(done.plan.is_whole() && done.plan.notes.is_empty(), "{spelling:?}: {:?}", done.plan);
            assert_eq!(bench.dump(), whole, "{spelling:?}");
            bench.undo(&done).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
            assert_eq!(bench.dump(), harmed, "{spelling:?}");
        }
    }
}

#[test]
fn a_newer_row_that_refers_by_an_equal_value_of_another_form_keeps_an_undo_from_removing_what_it_refers_to() {
    for spelling in SPELLINGS {
        let bench = bench(spelling, "CASCADE");
        let (key, _) = lose(&bench, "CASCADE");
        let done = bench.recover("p", &[key]).unwrap();
        let same = spelling.3;
        run(&bench, &format!("INSERT INTO c VALUES(70, {same}, 'newer work')"));
        let before = bench.dump();
        let error = bench.undo(&done).expect_err(&format!("{spelling:?}: it was taken back"));
        assert!(matches!(error, RecordError::Refers { .. }), "{spelling:?}: {error}");
        assert_eq!(bench.dump(), before, "{spelling:?}");
    }
}

#[test]
fn a_row_finds_what_it_refers_to_by_an_equal_value_of_another_form_on_either_side() {
    for spelling in SPELLINGS {
        let bench = bench(spelling, "CASCADE");
        let whole = bench.dump();
        // The record is there: the row alone comes back.
        run(&bench, "DELETE FROM c WHERE id = 8");
        let harmed = bench.dump();
        let done = bench.recover("c", &[vec![Value::Integer(8)]]).unwrap();
        assert!(done.plan.is_whole() && done.plan.notes.is_empty(), "{spelling:?}: {:?}", done.plan);
        assert_eq!((done.plan.writes(), bench.dump()), (1, whole.clone()), "{spelling:?}");
        bench.undo(&done).unwrap();
        assert_eq!(bench.dump(), harmed, "{spelling:?}");
        // It is gone too: it comes back because the row needs it.
        let (_, _) = lose(&bench, "CASCADE");
        let done = bench.recover("c", &[vec![Value::Integer(8)]]).unwrap();
        let inserted = done.plan.steps.iter().filter(|step| step.act == Act::Insert).count();
        assert!(done.plan.is_whole() && inserted >= 2, "{spelling:?}: {:?}", done.plan);
        assert!(!done.plan.steps.iter().any(|step| step.dangling), "{spelling:?}: {:?}", done.plan);
    }
}

#[test]
fn a_row_that_was_let_go_refers_again_by_the_value_that_it_was_written_with() {
    for spelling in SPELLINGS {
        let bench = bench(spelling, "SET NULL");
        let whole = bench.dump();
        let (key, harmed) = lose(&bench, "SET NULL");
        let done = bench.recover("p", &[key]).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
        assert!(done.plan.is_whole(), "{spelling:?}: {:?}", done.plan);
        assert_eq!(bench.dump(), whole, "{spelling:?}");
        bench.undo(&done).unwrap();
        assert_eq!(bench.dump(), harmed, "{spelling:?}");
    }
}

#[test]
fn what_refers_by_text_follows_a_record_that_gets_a_new_number() {
    for spelling in SPELLINGS.iter().filter(|spelling| spelling.0 == "INTEGER" && spelling.1 == "17") {
        let mut bench = bench(*spelling, "CASCADE");
        let (key, _) = lose(&bench, "CASCADE");
        run(&bench, "INSERT INTO p VALUES(17, 'somebody else altogether', 9)");
        bench.options.remap_keys = true;
        let done = bench.recover("p", &[key]).unwrap_or_else(|error| panic!("{spelling:?}: {error}"));
        assert!(done.plan.is_whole(), "{spelling:?}: {:?}", done.plan);
        let lines = "SELECT group_concat(c.id) FROM c, p WHERE p.id = c.pid AND p.name = 'quite another one'";
        assert_eq!(ask(&bench, lines), "Text(\"7,8\")", "{spelling:?}: {:?}", bench.dump());
        let parts = "SELECT count(*) FROM g, p WHERE p.id = g.pid AND p.name = 'quite another one'";
        assert_eq!(ask(&bench, parts), "Integer(1)", "{spelling:?}: {:?}", bench.dump());
    }
}

#[test]
fn a_clash_is_seen_as_the_index_compares_and_what_cannot_be_looked_up_is_told() {
    // What makes names unique, the name that live data has, and whether that is in the way of 'ab'.
    let cases = [
        ("name TEXT UNIQUE", "", "ab", true),
        ("name TEXT UNIQUE", "", "AB", false),
        ("name TEXT COLLATE RTRIM UNIQUE", "", "ab  ", true),
        ("name TEXT COLLATE NOCASE UNIQUE", "", "AB", true),
        ("name TEXT", "CREATE UNIQUE INDEX names ON p(name COLLATE NOCASE)", "AB", true),
        ("name TEXT", "CREATE UNIQUE INDEX names ON p(name COLLATE RTRIM)", "ab ", true),
        ("name TEXT, UNIQUE(name COLLATE RTRIM)", "", "ab ", true),
        ("name TEXT COLLATE NOCASE", "CREATE UNIQUE INDEX names ON p(name COLLATE BINARY)", "AB", false),
        ("name TEXT COLLATE NOCASE", "CREATE UNIQUE INDEX names ON p(name COLLATE RTRIM)", "ab ", true),
    ];
    for (column, index, live, clashes) in cases {
        let bench = Bench::new(&format!(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, {column}); {index}; INSERT INTO p(id, name) VALUES(17, 'ab')"
        ));
        run(&bench, &format!("DELETE FROM p; INSERT INTO p(id, name) VALUES(20, '{live}')"));
        let plan = plan_of(&bench, "p", vec![Value::Integer(17)]).unwrap();
        assert_eq!(plan.is_whole(), !clashes, "{column} {index}: {plan:?}");
        assert_eq!(plan.writes(), u64::from(!clashes), "{column} {index}: {plan:?}");
        bench.apply(plan).unwrap();
    }
    for (columns, index) in [
        ("name TEXT, low TEXT GENERATED ALWAYS AS (lower(name)) STORED", "ON p(low)"),
        ("name TEXT", "ON p(lower(name))"),
        ("name TEXT", "ON p(name) WHERE name > ''"),
    ] {
        let bench = Bench::new(&format!(
            "CREATE TABLE p(id INTEGER PRIMARY KEY, {columns}); CREATE UNIQUE INDEX names {index}; \
             INSERT INTO p(id, name) VALUES(17, 'ab')"
        ));
        run(&bench, "DELETE FROM p; INSERT INTO p(id, name) VALUES(20, 'ab')");
        let plan = plan_of(&bench, "p", vec![Value::Integer(17)]).unwrap();
        assert!(
            plan.notes.iter().any(|note| note.contains("unique indexes of p") && note.contains("names")),
            "{plan:?}"
        );
        let before = bench.dump();
        assert!(bench.apply(plan).is_err(), "{columns} {index}");
        assert_eq!(bench.dump(), before);
    }
}

/// A value as SQL writes it: numbers in many forms, words, and what is between.
fn literal() -> impl Strategy<Value = String> {
    let sign = prop_oneof![Just(""), Just("+"), Just("-")];
    let text = (" ?", sign, "0{0,2}", "[0-9]{0,3}", "(\\.[0-9]{0,2})?", "([eE][+-]?[0-2])?", "[ x]?")
        .prop_map(|(a, b, c, d, e, f, g)| format!("'{a}{b}{c}{d}{e}{f}{g}'"));
    prop_oneof![
        (-20i64..20).prop_map(|number| number.to_string()),
        (-40i64..40).prop_map(|number| format!("{:?}", number as f64 / 2.0)),
        text,
        "[aAbB]{0,2} {0,2}".prop_map(|word| format!("'{word}'")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What SQLite's own check of references says of two values is what their forms say.
    #[test]
    fn two_values_have_one_form_if_and_only_if_one_refers_to_the_other(
        key in prop_oneof![Just("NUMERIC"), Just("TEXT COLLATE NOCASE"), Just("TEXT COLLATE RTRIM"), Just("TEXT"), Just("INT")],
        value in literal(),
        same in literal(),
        is_text in any::<bool>(),
    ) {
        let connection = Connection::open_in_memory().unwrap();
        let kind = if is_text { "TEXT" } else { "" };
        let sql = format!("CREATE TABLE p(id {key} UNIQUE); CREATE TABLE c(pid {kind} REFERENCES p(id)); \
            PRAGMA foreign_keys = OFF; INSERT INTO p VALUES({value}); INSERT INTO c VALUES({same})");
        connection.execute_batch(&sql).unwrap();
        let one = |sql: &str| connection.query_row(sql, [], |row| Ok(Value::from(row.get_ref(0)?))).unwrap();
        let (parent, child) = (one("SELECT id FROM p"), one("SELECT pid FROM c"));
        let refers = connection.prepare("PRAGMA foreign_key_check").unwrap().query([]).unwrap().next().unwrap().is_none();
        let column = strongroom::base::record::Column {
            letters: match key.rsplit(' ').next().unwrap() {
                "NOCASE" => Letters::WithoutCase,
                "RTRIM" => Letters::WithoutEnd,
                _ => Letters::AsWritten,
            },
            numbers: if key.starts_with("TEXT") { Numbers::Text } else { Numbers::Machine },
            ..Default::default()
        };
        // How the zero below zero is written as text, versions of SQLite do not agree on.
        let is_known = !(key.starts_with("TEXT") && child == Value::Real(-0.0));
        if is_known {
            prop_assert_eq!(column.form(&parent) == column.form(&child), refers, "{} {} {}", parent, child, sql);
        }
    }
}
