//! What belongs to a record and what does not: each rule, on a schema that has every hard case (fixtures/sqlite/records.sql).

use strongroom::base::record::{OnDelete, Value};
use strongroom::record::closure::Why;
use strongroom::record::identity::Standing;
use strongroom::record::model::{Columns, Relation};
use strongroom::record::plan::{Act, Step};

use super::*;

pub const SCHEMA: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/sqlite/records.sql"));

/// The schema's database, and what the configuration says of its comments.
pub fn office() -> Bench {
    let mut bench = Bench::new(SCHEMA);
    bench.model.relations = vec![comments_on("project", "projects"), comments_on("document", "documents")];
    bench
}

fn comments_on(kind: &str, table: &str) -> Relation {
    let columns = |table: &str, column: &str| Columns { table: table.to_owned(), columns: vec![column.to_owned()] };
    Relation {
        to_source: None,
        source: "db".parse().unwrap(),
        from: columns("comments", "target_id"),
        to: columns(table, "id"),
        when: vec![("target_type".to_owned(), kind.to_owned())],
        on_delete: OnDelete::Cascade,
    }
}

/// Runs SQL as an app would, with references checked.
pub fn run(bench: &Bench, sql: &str) {
    let connection = Connection::open(bench.live()).unwrap();
    let sql = format!("PRAGMA foreign_keys = ON; BEGIN; PRAGMA defer_foreign_keys = ON; {sql}; COMMIT");
    connection.execute_batch(&sql).unwrap_or_else(|error| panic!("{error}: {sql}"));
}

/// Changes the schema.
pub fn alter(bench: &Bench, sql: &str) {
    let connection = Connection::open(bench.live()).unwrap();
    connection.execute_batch(&format!("PRAGMA foreign_keys = OFF; {sql}")).unwrap_or_else(|error| panic!("{error}"));
}

/// Deletes project 2 as its app does: bills and comments first, the rest goes with it.
pub fn delete_acme(bench: &Bench) {
    run(
        bench,
        "DELETE FROM invoices WHERE project = 2; \
         DELETE FROM comments WHERE (target_type, target_id) IN (VALUES ('project', '2'), ('document', '22')); \
         DELETE FROM projects WHERE id = 2",
    );
}

pub fn number(number: i64) -> Key {
    vec![Value::Integer(number)]
}

pub fn plan_of(bench: &Bench, table: &str, key: Key) -> Result<Plan, RecordError> {
    let seeds =
        |graph: &Graph, at: usize| Seeds::Keys { columns: graph.tables[at].key.clone(), keys: vec![key.clone()] };
    bench.plan(table, &seeds)
}

/// The steps of a plan on one table.
pub fn on<'p>(plan: &'p Plan, table: &str) -> Vec<&'p Step> {
    plan.steps.iter().filter(|step| plan.tables[step.table].name == table).collect()
}

/// The one value that SQL answers.
pub fn ask(bench: &Bench, sql: &str) -> String {
    let connection = Connection::open(bench.live()).unwrap();
    let found = connection.query_row(sql, [], |row| Ok(format!("{:?}", row.get::<_, rusqlite::types::Value>(0)?)));
    found.unwrap_or_else(|error| panic!("{error}: {sql}"))
}

/// Recovers a row; live must be as the snapshot was, the way back lead back, and a second recovery do nothing.
fn comes_back_whole(bench: &Bench, whole: &[String], table: &str, key: Key) -> Done {
    let harmed = bench.dump();
    assert_ne!(harmed, whole);
    let done = bench.recover(table, std::slice::from_ref(&key)).unwrap();
    assert_eq!(bench.dump(), whole, "{:#?}", done.plan);
    bench.undo(&done).unwrap();
    assert_eq!(bench.dump(), harmed, "undone");
    let done = bench.recover(table, std::slice::from_ref(&key)).unwrap();
    assert_eq!(bench.dump(), whole);
    assert_eq!(plan_of(bench, table, key).unwrap().writes(), 0);
    done
}

#[test]
fn a_project_comes_back_with_all_that_belongs_to_it_whichever_way_references_are_checked() {
    for deferring in [true, false] {
        let mut bench = office();
        bench.deferring = deferring;
        let whole = bench.dump();
        delete_acme(&bench);
        let done = comes_back_whole(&bench, &whole, "projects", number(2));
        let inserted = |table: &str| on(&done.plan, table).iter().filter(|step| step.act == Act::Insert).count();
        let tables = ["projects", "documents", "document_tags", "clauses", "notes", "comments", "audit", "invoices"];
        assert_eq!(tables.map(inserted), [1, 3, 3, 2, 2, 2, 3, 1]);
        // Ada and Bo outlived it and refer to it again; desk 1 held the default meanwhile.
        let again = |table: &str| on(&done.plan, table).iter().map(|step| step.key.clone()).collect::<Vec<_>>();
        assert_eq!((again("people"), again("desks")), (vec![number(1), number(2)], vec![number(1)]));
        assert!(on(&done.plan, "people").iter().all(|step| step.act == Act::Relink { columns: vec!["home".into()] }));
    }
}

#[test]
fn what_only_the_configuration_ties_to_a_record_is_left_where_it_says_nothing() {
    let mut bench = office();
    bench.model.relations.clear();
    delete_acme(&bench);
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(on(&plan, "comments").is_empty());
}

#[test]
fn a_parent_that_is_gone_comes_back_alone_and_one_that_is_there_is_not_looked_into() {
    let bench = office();
    run(&bench, "DELETE FROM tags WHERE id = 1");
    delete_acme(&bench);
    let done = bench.recover("projects", &[number(2)]).unwrap();
    let tags = on(&done.plan, "tags");
    assert_eq!(tags.len(), 1, "tag 2 is there and no part of the plan");
    assert_eq!((&tags[0].key, &tags[0].act), (&number(1), &Act::Insert));
    assert_eq!(tags[0].why, Why::Needed("document_tags".to_owned()));
    // The tag was on document 31 of another project too: that is not of project 2.
    assert_eq!(ask(&bench, "SELECT count(*) FROM document_tags WHERE document = 31"), "Integer(0)");
    assert!(on(&done.plan, "countries").is_empty(), "the country is there, in letters of another case");
}

#[test]
fn a_parent_that_may_be_absent_is_not_brought_back() {
    let bench = office();
    delete_acme(&bench);
    run(&bench, "DELETE FROM people WHERE id = 1");
    let done = bench.recover("people", &[number(1)]).unwrap();
    assert_eq!(done.plan.writes(), 1);
    assert_eq!(on(&done.plan, "people")[0].emptied, ["home"]);
    assert_eq!(ask(&bench, "SELECT home FROM people WHERE id = 1"), "Null");
}

#[test]
fn a_part_of_a_tree_comes_back_with_what_is_below_it_and_not_above() {
    let bench = office();
    let whole = bench.dump();
    run(
        &bench,
        "DELETE FROM document_tags WHERE document = 22; DELETE FROM comments WHERE id = 2; \
                 DELETE FROM documents WHERE id = 22",
    );
    let done = comes_back_whole(&bench, &whole, "documents", number(22));
    assert_eq!(on(&done.plan, "documents").len(), 2);
    assert!(on(&done.plan, "projects").is_empty());
}

#[test]
fn a_row_of_the_record_that_came_back_without_its_reference_gets_it_with_what_it_refers_to() {
    let bench = Bench::new(
        "CREATE TABLE houses (id INTEGER PRIMARY KEY); \
         CREATE TABLE rooms (id INTEGER PRIMARY KEY, house INTEGER REFERENCES houses(id) ON DELETE CASCADE, \
             name TEXT); \
         CREATE TABLE keys (id INTEGER PRIMARY KEY, room INTEGER REFERENCES rooms(id) ON DELETE CASCADE, \
             house INTEGER REFERENCES houses(id) ON DELETE SET NULL, note TEXT, cut TEXT); \
         INSERT INTO houses VALUES (1); INSERT INTO rooms VALUES (2, 1, 'the blue room in the north'); \
         INSERT INTO keys VALUES (7, 2, 1, 'spare', 'brass, with seven teeth')",
    );
    run(&bench, "DELETE FROM houses");
    run(
        &bench,
        "INSERT INTO rooms VALUES (2, NULL, 'the blue room in the north'); \
                 INSERT INTO keys VALUES (7, 2, NULL, 'lost', 'brass, with seven teeth')",
    );
    let done = bench.recover("houses", &[number(1)]).unwrap();
    let keys = on(&done.plan, "keys");
    assert_eq!(keys[0].act, Act::Relink { columns: vec!["house".into()] });
    assert_eq!(keys[0].differs.iter().map(|one| one.column.as_str()).collect::<Vec<_>>(), ["note"]);
    assert_eq!(ask(&bench, "SELECT house || note FROM keys"), "Text(\"1lost\")", "what else has changed stays");
    bench.undo(&done).unwrap();
    assert_eq!(ask(&bench, "SELECT house FROM keys"), "Null");
}

#[test]
fn a_row_that_refers_to_something_else_now_is_left_and_told() {
    let bench = office();
    run(&bench, "UPDATE people SET name = 'Augusta Ada King, Countess of Lovelace' WHERE id = 1");
    bench.keep();
    delete_acme(&bench);
    run(&bench, "UPDATE people SET home = 3 WHERE id = 1; DELETE FROM people WHERE id = 2");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    let people = on(&done.plan, "people");
    assert_eq!(people.len(), 1, "who was deleted on his own stays gone: {people:?}");
    assert!(matches!(&people[0].act, Act::Leave { why } if why.contains("home")), "{:?}", people[0].act);
    assert_eq!(ask(&bench, "SELECT home FROM people WHERE id = 1"), "Integer(3)");
}

#[test]
fn a_parent_comes_back_whose_key_is_written_in_letters_of_another_case() {
    let bench = office();
    delete_acme(&bench);
    run(&bench, "DELETE FROM countries WHERE code = 'CH'");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(on(&done.plan, "countries")[0].key, vec![Value::text("CH")]);
    assert_eq!(ask(&bench, "SELECT code FROM countries WHERE name = 'Switzerland'"), "Text(\"CH\")");
}

#[test]
fn a_row_whose_key_has_letters_of_another_case_now_is_the_same_row() {
    let bench = office();
    run(&bench, "UPDATE countries SET code = 'ch' WHERE code = 'CH'");
    let plan = plan_of(&bench, "countries", vec![Value::text("CH")]).unwrap();
    let country = on(&plan, "countries")[0];
    assert!(!country.act.writes() && country.seen.is_some(), "{country:?}");
    bench.apply(plan).unwrap();
}

#[test]
fn what_belongs_to_a_text_key_is_found_in_letters_of_another_case() {
    let bench = office();
    let whole = bench.dump();
    delete_acme(&bench);
    run(&bench, "DELETE FROM countries WHERE code = 'CH'");
    let done = bench.recover("countries", &[vec![Value::text("CH")]]).unwrap();
    assert_eq!(on(&done.plan, "projects").len(), 1);
    assert_eq!(bench.dump(), whole);
}

#[test]
fn triggers_do_not_fire_unless_they_are_let() {
    let mut bench = office();
    delete_acme(&bench);
    let plan = plan_of(&bench, "projects", number(2)).unwrap();
    assert!(plan.notes.iter().any(|note| note.contains("documents_are_audited")), "{:?}", plan.notes);
    let done = bench.apply(plan).unwrap();
    let added = "SELECT count(*) FROM audit WHERE what LIKE 'added %'";
    assert_eq!(ask(&bench, added), "Integer(0)");
    bench.undo(&done).unwrap();
    bench.options.triggers = true;
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, added), "Integer(3)");
}

#[test]
fn a_newer_row_that_only_the_configuration_ties_to_what_came_back_keeps_it_from_being_taken_back() {
    let bench = office();
    delete_acme(&bench);
    let done = bench.recover("projects", &[number(2)]).unwrap();
    run(&bench, "INSERT INTO comments VALUES (9, 'project', '2', 'welcome back')");
    let before = bench.dump();
    let refused = bench.undo(&done).unwrap_err();
    let words = "comments 9 is newer and refers to what would be removed of projects";
    assert_eq!(refused.to_string(), words);
    assert_eq!(bench.dump(), before);
    // One of another kind with the same number is none of its business.
    run(&bench, "UPDATE comments SET target_type = 'country' WHERE id = 9");
    bench.undo(&done).unwrap();
}

#[test]
fn a_row_that_had_outlived_what_it_refers_to_does_not_keep_it_from_being_taken_back() {
    let bench = office();
    delete_acme(&bench);
    // Neither was in the snapshot: one the schema ties to the project, the other only the configuration does.
    alter(&bench, "INSERT INTO comments VALUES (9, 'project', '2', 'left'); INSERT INTO audit VALUES (2, 'deleted')");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    bench.undo(&done).unwrap();
    assert_eq!(ask(&bench, "SELECT count(*) FROM comments WHERE id = 9"), "Integer(1)");
    assert_eq!(ask(&bench, "SELECT count(*) FROM audit WHERE what = 'deleted'"), "Integer(1)");
}

#[test]
fn a_newer_row_that_refers_in_letters_of_another_case_keeps_what_came_back_from_being_taken_back() {
    let bench = office();
    delete_acme(&bench);
    run(&bench, "DELETE FROM countries WHERE code = 'CH'");
    let done = bench.recover("projects", &[number(2)]).unwrap();
    run(&bench, "INSERT INTO projects VALUES (7, 'New', 'Ch', NULL, '2024-09-09')");
    let refused = bench.undo(&done).unwrap_err();
    assert_eq!(refused.to_string(), "projects 7 is newer and refers to what would be removed of countries");
}

#[test]
fn a_reference_that_leads_nowhere_in_the_snapshot_leads_nowhere_again_and_is_told() {
    let bench = office();
    alter(&bench, "INSERT INTO documents (id, project, title) VALUES (40, 99, 'orphan')");
    bench.keep();
    run(&bench, "DELETE FROM documents WHERE id = 40");
    let plan = plan_of(&bench, "documents", number(40)).unwrap();
    assert!(plan.steps[0].dangling && plan.notes.iter().any(|note| note.contains("lacks too")), "{plan:?}");
    bench.apply(plan).unwrap();
    assert_eq!(ask(&bench, "SELECT project FROM documents WHERE id = 40"), "Integer(99)");
}

#[test]
fn a_row_of_a_table_without_a_key_moves_aside_where_its_number_was_given_to_another() {
    let bench = office();
    delete_acme(&bench);
    // SQLite gives the number of a deleted row to the next one.
    run(&bench, "INSERT INTO audit (rowid, project, what) VALUES (4, 3, 'closed')");
    bench.recover("projects", &[number(2)]).unwrap();
    assert_eq!(ask(&bench, "SELECT count(*) FROM audit WHERE project = 2 AND what = 'edited'"), "Integer(2)");
    assert_eq!(ask(&bench, "SELECT what FROM audit WHERE rowid = 4"), "Text(\"closed\")");
    assert_eq!(plan_of(&bench, "projects", number(2)).unwrap().writes(), 0, "the row is known by what it holds");
}

#[test]
fn more_rows_than_are_allowed_is_a_refusal_that_names_the_table() {
    let bench = office();
    let kept = bench.session();
    let graph = Graph::read(&kept, &bench.model).unwrap();
    let projects = graph.named("projects", "it").unwrap();
    let seeds = Seeds::Where("id > 1".to_owned());
    let gone = &mut |_: &strongroom::record::graph::Link, values: &[Row]| Ok(vec![Standing::Gone; values.len()]);
    let refused = Walk::new(&graph, &kept, 8).run(projects, &seeds, gone).unwrap_err();
    assert!(matches!(&refused, RecordError::Budget { budget: 8, .. }), "{refused}");
    let closure = Walk::new(&graph, &kept, 100).run(projects, &seeds, gone).unwrap();
    assert!(closure.rows() < 100);
}
