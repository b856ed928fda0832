//! A live schema that has gone on since the snapshot: every change is handled, or refused by name.

use strongroom::record::model::Rename;
use strongroom::record::plan::Act;

use super::rules::{alter, ask, delete_acme, number, office, on, plan_of, run};
use super::*;

fn harmed(change: &str) -> Bench {
    let bench = office();
    delete_acme(&bench);
    alter(&bench, change);
    bench
}

fn renamed(table: &str, column: Option<&str>, now: &str) -> Rename {
    let column = column.map(str::to_owned);
    Rename { source: "db".parse().unwrap(), table: table.to_owned(), column, now: now.to_owned() }
}

fn noted(plan: &Plan, words: &str) {
    assert!(plan.notes.iter().any(|note| note.contains(words)), "{words}: {:?}", plan.notes);
}

#[test]
fn a_column_that_is_gone_is_told_and_does_not_come_back() {
    let bench = harmed("ALTER TABLE clauses DROP COLUMN body");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    noted(&done.plan, "clauses.body is gone");
    assert_eq!(ask(&bench, "SELECT count(*) FROM clauses WHERE document = 21"), "Integer(2)");
}

#[test]
fn columns_that_came_since_stay_empty_or_become_their_default() {
    let bench = harmed(
        "ALTER TABLE documents ADD COLUMN summary TEXT; ALTER TABLE documents ADD COLUMN state TEXT NOT NULL DEFAULT 'draft'",
    );
    let done = bench.recover("projects", &[number(2)]).unwrap();
    noted(&done.plan, "documents.summary is new: it stays empty");
    noted(&done.plan, "documents.state is new: it becomes 'draft'");
    assert_eq!(
        ask(&bench, "SELECT state || coalesce(summary, ' -') FROM documents WHERE id = 21"),
        "Text(\"draft -\")"
    );
    assert_eq!(plan_of(&bench, "projects", number(2)).unwrap().writes(), 0);
}

/// Notes must have an author now.
const AUTHORS: &str = "ALTER TABLE notes RENAME TO old; \
    CREATE TABLE notes (id INTEGER PRIMARY KEY, document INTEGER, number INTEGER, note TEXT, author TEXT NOT NULL, \
    FOREIGN KEY (document, number) REFERENCES clauses(document, number) ON DELETE CASCADE); \
    INSERT INTO notes SELECT *, 'nobody' FROM old; DROP TABLE old";

#[test]
fn a_column_that_must_have_a_value_is_refused_until_one_is_given() {
    let mut bench = harmed(AUTHORS);
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert_eq!(plan.refusals.len(), 1, "{:?}", plan.refusals);
    assert!(plan.refusals[0].what.contains("notes.author"), "{:?}", plan.refusals);
    assert!(plan.refusals[0].hint.contains("--set notes.author=VALUE"), "{:?}", plan.refusals);
    bench.options.set = vec!["notes.author=me".parse().unwrap()];
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT group_concat(author) FROM notes ORDER BY id"), "Text(\"nobody,me,me\")");
    assert_eq!(plan_of(&bench, "projects", number(2)).unwrap().writes(), 0, "what was given is no difference");
}

#[test]
fn a_row_that_is_only_linked_again_needs_no_value_for_what_came_since() {
    let bench = harmed(
        "ALTER TABLE people RENAME TO old; \
         CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT NOT NULL, \
         home INTEGER REFERENCES projects(id) ON DELETE SET NULL, mail TEXT NOT NULL); \
         INSERT INTO people SELECT *, 'x' FROM old; DROP TABLE old",
    );
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT group_concat(id) FROM people WHERE home = 2"), "Text(\"1,2\")");
}

#[test]
fn rows_that_are_there_need_no_value_for_what_came_since() {
    let bench = office();
    run(&bench, "DELETE FROM clauses WHERE document = 21 AND number = 2");
    run(
        &bench,
        "INSERT INTO clauses VALUES (21, 2, 'two'); INSERT INTO notes VALUES (2, 21, 2, NULL); \
                 DELETE FROM document_tags WHERE document = 21",
    );
    alter(&bench, AUTHORS);
    let done = bench.recover("documents", &[number(21)]).unwrap();
    assert!(done.plan.refusals.is_empty(), "{:?}", done.plan.refusals);
    assert_eq!(ask(&bench, "SELECT count(*) FROM document_tags WHERE document = 21"), "Integer(1)");
}

#[test]
fn renamed_tables_and_columns_are_found_by_their_new_names() {
    let mut bench = harmed(
        "ALTER TABLE documents RENAME TO papers; ALTER TABLE papers RENAME COLUMN project TO owner; \
         ALTER TABLE projects RENAME COLUMN name TO title",
    );
    bench.model.renames = vec![
        renamed("documents", None, "papers"),
        renamed("documents", Some("project"), "owner"),
        renamed("projects", Some("name"), "title"),
    ];
    let before = bench.dump();
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT group_concat(id) FROM papers WHERE owner = 2"), "Text(\"21,22,23\")");
    assert_eq!(ask(&bench, "SELECT title FROM projects WHERE id = 2"), "Text(\"Acme\")");
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), before);
}

#[test]
fn values_become_what_their_column_holds_now_or_are_refused() {
    let number_now = |of: &str| {
        format!(
            "ALTER TABLE invoices RENAME TO old; CREATE TABLE invoices (number TEXT PRIMARY KEY, \
             project INTEGER NOT NULL REFERENCES projects(id), total {of}); INSERT INTO invoices \
             SELECT number, project, CAST(total AS INTEGER) FROM old; DROP TABLE old"
        )
    };
    let bench = harmed(&number_now("TEXT"));
    let done = bench.recover("projects", &[number(2)]).unwrap();
    noted(&done.plan, "invoices.total was REAL and is TEXT now");
    assert_eq!(ask(&bench, "SELECT total FROM invoices WHERE number = 'A-1'"), "Text(\"10.5\")");
    assert_eq!(plan_of(&bench, "projects", number(2)).unwrap().writes(), 0);
    let bench = harmed(&number_now("INTEGER"));
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(plan.refusals.iter().any(|one| one.what.contains("10.5")), "{:?}", plan.refusals);
}

#[test]
fn a_table_that_is_gone_is_refused_if_it_was_asked_for_and_told_if_not() {
    let bench = harmed("DROP TABLE notes; DROP TABLE clauses");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    noted(&done.plan, "there is no table clauses any more");
    assert!(on(&done.plan, "notes").iter().all(|step| matches!(step.act, Act::Leave { .. })));
    assert_eq!(ask(&bench, "SELECT count(*) FROM documents WHERE project = 2"), "Integer(3)");
    let plan = plan_of(&bench, "clauses", vec![number(21)[0].clone(), number(1)[0].clone()]).unwrap();
    assert!(plan.refusals[0].what.contains("there is no table clauses"), "{:?}", plan.refusals);
}

#[test]
fn a_table_with_another_key_is_refused() {
    let bench = harmed(
        "DROP TABLE document_tags; CREATE TABLE document_tags (id INTEGER PRIMARY KEY, document INTEGER, tag INTEGER)",
    );
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(plan.refusals.iter().any(|one| one.what.contains("another key")), "{:?}", plan.refusals);
}
