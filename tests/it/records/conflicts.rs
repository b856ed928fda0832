//! Live data that has something else: what each way of deciding does, and that nothing is written where live data moved.

use strongroom::base::record::{OnDelete, Value};
use strongroom::record::model::{Columns, Relation};
use strongroom::record::plan::{Act, OnConflict};

use super::rules::{ask, delete_acme, number, office, on, plan_of, run};
use super::*;

/// Project 2 is there still, with another name and no country; its front page is gone.
fn changed() -> Bench {
    let bench = office();
    run(
        &bench,
        "UPDATE projects SET name = 'Acme Ltd', country = NULL, front_page = NULL WHERE id = 2; \
         DELETE FROM documents WHERE id = 21; DELETE FROM comments WHERE id = 2",
    );
    bench
}

const PROJECT: &str =
    "SELECT name || ' ' || coalesce(country, '-') || ' ' || coalesce(front_page, '-') FROM projects WHERE id = 2";

#[test]
fn what_differs_is_told_column_by_column_and_left_by_default() {
    let bench = changed();
    let done = bench.recover("projects", &[number(2)]).unwrap();
    let project = on(&done.plan, "projects")[0];
    let columns: Vec<&str> = project.differs.iter().map(|one| one.column.as_str()).collect();
    assert_eq!(columns, ["name", "country", "front_page"]);
    assert!(matches!(project.act, Act::Leave { .. }));
    assert_eq!(ask(&bench, PROJECT), "Text(\"Acme Ltd - -\")");
    assert_eq!(ask(&bench, "SELECT count(*) FROM documents WHERE project = 2"), "Integer(3)", "the rest came back");
}

#[test]
fn overwriting_makes_live_data_what_the_snapshot_holds_and_is_taken_back() {
    let mut bench = changed();
    let (before, whole) = (bench.dump(), office().dump());
    bench.options.on_conflict = OnConflict::Overwrite;
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(bench.dump(), whole);
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), before);
}

#[test]
fn filling_writes_only_what_is_empty() {
    let mut bench = changed();
    bench.options.on_conflict = OnConflict::FillNull;
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, PROJECT), "Text(\"Acme Ltd ch 21\")");
}

#[test]
fn where_nothing_may_differ_the_plan_refuses() {
    let mut bench = changed();
    bench.options.on_conflict = OnConflict::Abort;
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert_eq!(plan.refusals.len(), 1, "{:?}", plan.refusals);
    assert!(plan.refusals[0].what.contains("projects 2"), "{:?}", plan.refusals);
}

/// Project 2 is gone, and its number was given to another one, with a document under a number of the old one.
fn reused() -> Bench {
    let bench = office();
    delete_acme(&bench);
    run(
        &bench,
        "INSERT INTO projects VALUES (2, 'Newcomer', NULL, NULL, '2025-05-05'); \
         INSERT INTO documents (id, project, title) VALUES (50, 2, 'new')",
    );
    bench
}

#[test]
fn a_key_that_another_record_has_now_is_refused() {
    let bench = reused();
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(plan.refusals.iter().any(|one| one.what.contains("another record")), "{:?}", plan.refusals);
    assert!(plan.refusals[0].hint.contains("--remap-keys"), "{:?}", plan.refusals);
}

#[test]
fn a_record_gets_a_new_key_and_everything_that_belongs_to_it_refers_to_that() {
    for deferring in [true, false] {
        let mut bench = reused();
        bench.deferring = deferring;
        bench.options.remap_keys = true;
        let before = bench.dump();
        let done = bench.recover("projects", &[number(2)]).unwrap();
        assert_eq!(ask(&bench, "SELECT name FROM projects WHERE id = 2"), "Text(\"Newcomer\")");
        assert_eq!(ask(&bench, "SELECT id FROM projects WHERE name = 'Acme'"), "Integer(4)");
        for (sql, expected) in [
            ("SELECT group_concat(id) FROM documents WHERE project = 4", "21,22,23"),
            ("SELECT group_concat(id) FROM documents WHERE project = 2", "50"),
            ("SELECT group_concat(number) FROM invoices WHERE project = 4", "A-1"),
            ("SELECT group_concat(id) FROM comments WHERE target_type = 'project' AND target_id = '4'", "1"),
            ("SELECT group_concat(id) FROM people WHERE home = 4", "1,2"),
        ] {
            assert_eq!(ask(&bench, sql), format!("Text({expected:?})"), "{sql}");
        }
        assert_eq!(ask(&bench, "SELECT count(*) FROM audit WHERE project = 4"), "Integer(3)");
        bench.undo(&done).unwrap();
        assert_eq!(bench.dump(), before);
    }
}

#[test]
fn a_clash_of_what_no_two_may_share_leaves_the_row_and_what_needs_it() {
    let bench = office();
    delete_acme(&bench);
    run(&bench, "INSERT INTO projects VALUES (9, 'ACME', NULL, NULL, '2025-05-05')");
    let before = bench.dump();
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert!(
        done.plan.notes.iter().any(|note| note.contains("projects 9 holds the same name")),
        "{:?}",
        done.plan.notes
    );
    assert_eq!(done.plan.writes(), 0, "{:#?}", done.plan.steps);
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_clash_is_solved_by_another_value() {
    let mut bench = office();
    delete_acme(&bench);
    run(&bench, "INSERT INTO projects VALUES (9, 'ACME', NULL, NULL, '2025-05-05')");
    bench.options.set = vec!["projects.name=Acme again".parse().unwrap()];
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT name FROM projects WHERE id = 2"), "Text(\"Acme again\")");
    assert_eq!(ask(&bench, "SELECT count(*) FROM documents WHERE project = 2"), "Integer(3)");
}

#[test]
fn a_plan_that_live_data_has_left_behind_writes_nothing() {
    for moved in [
        "INSERT INTO projects VALUES (2, 'Newcomer', NULL, NULL, '2025-05-05')",
        "INSERT INTO audit (rowid, project, what) VALUES (4, 3, 'closed')",
        "UPDATE people SET home = 3 WHERE id = 2",
        "UPDATE desks SET project = 3 WHERE id = 1",
    ] {
        let bench = office();
        delete_acme(&bench);
        let plan = plan_of(&bench, "projects", number(2)).unwrap();
        run(&bench, moved);
        let before = bench.dump();
        let refused = bench.apply(plan).map(|_| ()).unwrap_err();
        assert!(matches!(refused, RecordError::Moved { .. }), "{moved}: {refused}");
        assert_eq!(bench.dump(), before, "{moved}");
    }
}

#[test]
fn a_parent_that_goes_between_plan_and_writing_takes_everything_back() {
    let bench = office();
    delete_acme(&bench);
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    run(&bench, "DELETE FROM tags WHERE id = 2");
    let before = bench.dump();
    bench.apply(plan).map(|_| ()).unwrap_err();
    assert_eq!(bench.dump(), before);
}

#[test]
fn what_was_written_since_is_not_taken_back_with_it() {
    let bench = office();
    delete_acme(&bench);
    let done = bench.recover("projects", &[number(2)]).unwrap();
    for newer in [
        "UPDATE documents SET title = 'front, revised' WHERE id = 21",
        "INSERT INTO documents (id, project, title) VALUES (60, 2, 'new')",
    ] {
        run(&bench, newer);
        let before = bench.dump();
        let refused = bench.undo(&done).unwrap_err();
        assert!(matches!(refused, RecordError::Newer { .. } | RecordError::Refers { .. }), "{newer}: {refused}");
        assert_eq!(bench.dump(), before, "{newer}");
        run(&bench, "UPDATE documents SET title = 'front' WHERE id = 21");
    }
}

#[test]
fn a_key_of_text_cannot_be_given_anew() {
    let mut bench = office();
    bench.options.remap_keys = true;
    bench.model.entities.insert(
        "invoice".to_owned(),
        strongroom::record::model::Entity {
            source: "db".parse().unwrap(),
            table: "invoices".to_owned(),
            key: Vec::new(),
            files: Vec::new(),
            immutable: vec!["total".to_owned()],
        },
    );
    run(&bench, "UPDATE invoices SET total = 99 WHERE number = 'A-1'");
    let plan = plan_of(&bench, "invoices", vec![Value::text("A-1")]).unwrap();
    assert!(plan.refusals.iter().any(|one| one.hint.contains("anew")), "{:?}", plan.refusals);
}

#[test]
fn a_row_that_had_outlived_what_it_refers_to_and_was_overwritten_is_no_newer_work() {
    let mut bench = Bench::new(
        "CREATE TABLE projects(id INTEGER PRIMARY KEY); INSERT INTO projects VALUES(1);
         CREATE TABLE notes(id INTEGER PRIMARY KEY, project INTEGER, text TEXT); INSERT INTO notes VALUES(1, 1, 'kept');",
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
    (bench.options.on_conflict, bench.options.trust_keys) = (OnConflict::Overwrite, true);
    run(&bench, "DELETE FROM projects; UPDATE notes SET text = 'newer'");
    let before = bench.dump();
    let done = bench.recover("projects", &[number(1)]).unwrap();
    assert_eq!(ask(&bench, "SELECT text FROM notes"), "Text(\"kept\")");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), before);
}

/// What a table says of a row that another one stands in the way of, where strongroom would not have noticed.
#[test]
fn no_row_gives_way_to_one_that_comes_back_because_its_table_says_so() {
    for (table, newer) in [
        ("id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT REPLACE, v", "b"),
        ("id INTEGER PRIMARY KEY, name TEXT UNIQUE ON CONFLICT IGNORE, v", "b"),
        ("id INTEGER PRIMARY KEY, name TEXT COLLATE NOCASE UNIQUE ON CONFLICT REPLACE, v", "B"),
        ("id INTEGER PRIMARY KEY, name TEXT COLLATE RTRIM UNIQUE ON CONFLICT REPLACE, v", "b  "),
        ("id INTEGER PRIMARY KEY, name TEXT, v, UNIQUE(name COLLATE RTRIM) ON CONFLICT REPLACE", "b "),
        ("id INTEGER PRIMARY KEY, name TEXT, v, UNIQUE(name COLLATE NOCASE) ON CONFLICT REPLACE", "B"),
        ("id INTEGER PRIMARY KEY, name TEXT, v, UNIQUE(name COLLATE NOCASE) ON CONFLICT IGNORE", "B"),
        (
            "id INTEGER PRIMARY KEY, name TEXT, v, \
             g TEXT GENERATED ALWAYS AS (lower(name)) STORED UNIQUE ON CONFLICT REPLACE",
            "B",
        ),
    ] {
        for triggers in [false, true] {
            let mut bench = Bench::new(&format!(
                "CREATE TABLE p ({table}); INSERT INTO p (id, name, v) VALUES (1, 'a', 'x'), (17, 'b', 'y')"
            ));
            bench.options.triggers = triggers;
            run(
                &bench,
                &format!("DELETE FROM p WHERE id = 17; INSERT INTO p (id, name, v) VALUES (20, '{newer}', 'NEW')"),
            );
            let before = bench.dump();
            match bench.recover("p", &[number(17)]) {
                Ok(done) => assert!(!done.plan.is_whole(), "{table}: {:#?}", done.plan),
                Err(error) => assert!(error.to_string().contains("UNIQUE"), "{table}: {error}"),
            }
            assert_eq!(bench.dump(), before, "{table}");
        }
    }
}

#[test]
fn no_row_gives_way_to_one_that_is_made_what_it_was_because_its_table_says_so() {
    for (unique, newer) in [
        ("UNIQUE ON CONFLICT REPLACE", "new"),
        ("UNIQUE ON CONFLICT IGNORE", "new"),
        ("COLLATE NOCASE UNIQUE ON CONFLICT REPLACE", "NEW"),
        ("UNIQUE", "new"),
    ] {
        let mut bench = Bench::new(&format!(
            "CREATE TABLE p (id INTEGER PRIMARY KEY, name TEXT {unique}, v, created_at TEXT);
             INSERT INTO p VALUES (1, 'a', 'x', '2024-01-20 10:11:12'), (17, 'old', 'y', '2024-01-20 10:11:13')"
        ));
        bench.options.on_conflict = OnConflict::Overwrite;
        run(&bench, "UPDATE p SET name = 'new', v = 'live' WHERE id = 17");
        let done = bench.recover("p", &[number(17)]).unwrap();
        run(&bench, &format!("INSERT INTO p VALUES (20, '{newer}', 'NEWER WORK', '2024-01-21 10:11:12')"));
        let before = bench.dump();
        let error = bench.undo(&done).unwrap_err().to_string();
        assert!(error.contains("UNIQUE"), "{unique}: {error}");
        assert_eq!(bench.dump(), before, "{unique}");
    }
}
