//! Single records given back to a live database, with their files; and taking that back, whatever happens on the way.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rusqlite::Connection;
use rusqlite::types::Value as Cell;
use serde_json::Value;

use crate::support::program::Home;

pub mod across;
mod fired;
mod into;
pub mod killed;
mod linked;
mod links;
mod refused;
mod reuse;
mod written;

const SCHEMA: &str = "
    CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL);
    CREATE TABLE projects(id INTEGER PRIMARY KEY, name TEXT NOT NULL, owner INTEGER NOT NULL REFERENCES users(id),
        created_at TEXT);
    CREATE TABLE documents(id INTEGER PRIMARY KEY, project_id INTEGER NOT NULL REFERENCES projects(id) ON DELETE CASCADE,
        title TEXT, before INTEGER REFERENCES documents(id) ON DELETE CASCADE);
    CREATE TABLE tags(id INTEGER PRIMARY KEY, name TEXT UNIQUE);
    CREATE TABLE document_tags(document INTEGER REFERENCES documents(id) ON DELETE CASCADE,
        tag INTEGER REFERENCES tags(id), PRIMARY KEY(document, tag)) WITHOUT ROWID;
    CREATE TABLE invoices(id INTEGER PRIMARY KEY, project_id INTEGER REFERENCES projects(id) ON DELETE SET NULL);
    CREATE TABLE log(what TEXT, project_id INTEGER REFERENCES projects(id) ON DELETE CASCADE);
    CREATE INDEX documents_project ON documents(project_id);";

const CONFIG: &str = "app = 'shop'
    [source.db]\nkind = 'sqlite'\npath = 'app/shop.db'
    [source.documents]\nkind = 'files'\npath = 'app/documents'
    [entity.project]\nsource = 'db'\ntable = 'projects'\nfiles = [{ source = 'documents', path = '{id}/**' }]";

/// An app with nine projects, their documents as rows and as files, and a snapshot of it.
fn shop() -> Home {
    let home = Home::new();
    home.write("strongroom.toml", CONFIG);
    let mut sql = SCHEMA.to_owned();
    for n in 1..4 {
        sql += &format!("INSERT INTO users VALUES({n}, 'u{n}@example.org'); INSERT INTO tags VALUES({n}, 'tag {n}');");
    }
    for project in 1..10 {
        let owner = project % 3 + 1;
        sql += &format!("INSERT INTO projects VALUES({project}, 'project {project}', {owner}, '2026-01-0{project}');");
        sql += &format!("INSERT INTO invoices VALUES({project}, {project});");
        sql += &format!("INSERT INTO log VALUES('made', {project}); INSERT INTO log VALUES('made', {project});");
        for number in 0..6 {
            let id = project * 10 + number;
            let before = if number == 0 { "NULL".to_owned() } else { (id - 1).to_string() };
            sql += &format!("INSERT INTO documents VALUES({id}, {project}, 'document {id}', {before});");
            sql += &format!("INSERT INTO document_tags VALUES({id}, {});", id % 3 + 1);
            home.write(&format!("app/documents/{project}/deep/{id}.txt"), format!("document {id}\n").repeat(20));
        }
    }
    fs::create_dir_all(home.path("app")).unwrap();
    run(&home.path("app/shop.db"), &sql);
    home.ok(&["backup"]);
    home
}

fn run(file: &Path, sql: &str) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(sql).unwrap();
}

/// Every row of every table, and every file.
fn state(home: &Home) -> Vec<String> {
    let connection = Connection::open(home.path("app/shop.db")).unwrap();
    let mut lines = Vec::new();
    for table in ["users", "projects", "documents", "tags", "document_tags", "invoices", "log"] {
        let mut statement = connection.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let width = statement.column_count();
        let rows =
            statement.query_map([], |row| (0..width).map(|at| row.get::<_, Cell>(at)).collect::<Result<Vec<_>, _>>());
        let mut rows: Vec<String> = rows.unwrap().map(|row| format!("{table} {:?}", row.unwrap())).collect();
        rows.sort();
        lines.extend(rows);
    }
    let mut violations = connection.prepare("PRAGMA foreign_key_check").unwrap();
    assert!(violations.query([]).unwrap().next().unwrap().is_none(), "a row refers to nothing");
    lines.extend(files(&home.path("app/documents")));
    lines
}

fn files(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(folder).sort_by_file_name() {
        let entry = entry.unwrap();
        let content =
            if entry.file_type().is_file() { fs::read_to_string(entry.path()).unwrap() } else { String::new() };
        found.push(format!("{} {}", entry.path().display(), content.len()));
    }
    found
}

fn lose(home: &Home, project: u32) {
    run(&home.path("app/shop.db"), &format!("DELETE FROM projects WHERE id = {project}"));
    fs::remove_dir_all(home.path(&format!("app/documents/{project}"))).unwrap();
}

#[test]
fn a_deleted_project_comes_back_with_its_rows_and_files_and_undo_takes_exactly_that_back() {
    let home = shop();
    let whole = state(&home);
    lose(&home, 7);
    let harmed = state(&home);
    let plan = home.ok(&["recover", "latest", "project", "7", "--dry-run"]).out;
    assert!(plan.contains("nothing was written") && plan.contains("files come back"), "{plan}");
    assert!(plan.lines().all(|line| line.chars().count() <= 80), "{plan}");
    assert_eq!(state(&home), harmed);
    let ran = home.ok(&["recover", "latest", "project", "7"]).out;
    assert!(ran.contains("safety snapshot") && ran.contains("undo: strongroom undo"), "{ran}");
    assert_eq!(state(&home), whole);
    let again = home.json(&["recover", "latest", "project", "7"]);
    assert!(again["report"]["action"].is_null(), "{again}");
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
    // An undo is an action like any other.
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    home.ok(&["undo", list[1]["id"].as_str().unwrap()]);
    assert_eq!(state(&home), whole);
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
    home.ok(&["recover", "latest", "--missing", "project"]);
    assert_eq!(state(&home), whole);
    home.ok(&["verify", "--read-data"]);
}

#[test]
fn newer_work_is_not_taken_back_silently() {
    let home = shop();
    lose(&home, 7);
    home.ok(&["recover", "latest", "project", "7"]);
    run(&home.path("app/shop.db"), "UPDATE documents SET title = 'newer' WHERE id = 73");
    assert!(home.fails(1, &["undo"]).contains("documents 73 is newer"));
    run(&home.path("app/shop.db"), "UPDATE documents SET title = 'document 73' WHERE id = 73");
    run(&home.path("app/shop.db"), "INSERT INTO documents VALUES(1000, 7, 'newer', NULL)");
    assert!(home.fails(1, &["undo", "--force"]).contains("documents 1000 is newer and refers to"));
    run(&home.path("app/shop.db"), "DELETE FROM documents WHERE id = 1000");
    home.write("app/documents/7/deep/71.txt", "newer");
    assert!(home.fails(1, &["undo"]).contains("changed since"));
    home.ok(&["undo", "--force"]);
    assert!(!home.path("app/documents/7").exists());
}

#[test]
fn a_plan_can_be_looked_at_and_done_later_unless_live_data_moved() {
    let home = shop();
    let whole = state(&home);
    lose(&home, 7);
    home.ok(&["recover", "latest", "project", "7", "--plan-out", "plan.json"]);
    home.ok(&["recover", "--plan", "plan.json"]);
    assert_eq!(state(&home), whole);
    home.ok(&["undo"]);
    home.write("app/documents/7/deep/70.txt", "somebody was faster");
    let error = home.fails(1, &["recover", "--plan", "plan.json"]);
    assert!(
        error.contains("live data has changed since the plan was made: the file documents:7/deep/70.txt"),
        "{error}"
    );
    fs::remove_dir_all(home.path("app/documents/7")).unwrap();
    run(&home.path("app/shop.db"), "UPDATE invoices SET project_id = 1 WHERE id = 7");
    let error = home.fails(1, &["recover", "--plan", "plan.json"]);
    assert!(error.contains("live data has changed since the plan was made: invoices 7"), "{error}");
    home.write("other.json", "{}");
    assert!(home.fails(2, &["recover", "--plan", "other.json"]).contains("cannot use the plan"));
}

#[test]
fn a_key_that_was_used_again_is_refused_and_can_be_given_anew() {
    let home = shop();
    lose(&home, 7);
    run(&home.path("app/shop.db"), "INSERT INTO projects VALUES(7, 'another', 1, '2026-05-01')");
    let error = home.fails(1, &["recover", "latest", "project", "7"]);
    assert!(error.contains("projects 7 is another record now") && error.contains("--remap-keys"), "{error}");
    home.ok(&["recover", "latest", "project", "7", "--remap-keys"]);
    let connection = Connection::open(home.path("app/shop.db")).unwrap();
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM documents WHERE project_id = 10"), 6);
    assert_eq!(one("SELECT count(*) FROM documents WHERE project_id = 7"), 0);
    assert_eq!(one("SELECT project_id FROM invoices WHERE id = 7"), 10);
    // Its files lie under its new number, and none among those of the other record.
    assert!(!home.path("app/documents/7").exists());
    assert_eq!(files(&home.path("app/documents/10")).len(), files(&home.path("app/documents/6")).len());
    let recovered = state(&home);
    home.ok(&["recover", "latest", "project", "7", "--remap-keys"]);
    assert_eq!(state(&home), recovered, "a second run changes nothing");
    home.ok(&["undo"]);
    assert_eq!(one("SELECT count(*) FROM projects WHERE id > 9"), 0);
    assert!(!home.path("app/documents/10").exists());
}

#[test]
fn a_reference_in_a_key_follows_the_new_key_there_and_back() {
    let home = shop();
    run(&home.path("app/shop.db"), "DELETE FROM tags WHERE id > 3");
    run(
        &home.path("app/shop.db"),
        "PRAGMA foreign_keys = OFF; DELETE FROM tags WHERE id = 2; DELETE FROM document_tags WHERE tag = 2;
         INSERT INTO tags VALUES(9, 'tag 2')",
    );
    lose(&home, 7);
    let harmed = state(&home);
    home.ok(&["recover", "latest", "project", "7", "--remap-keys"]);
    let connection = Connection::open(home.path("app/shop.db")).unwrap();
    let one = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(one("SELECT count(*) FROM document_tags WHERE document BETWEEN 70 AND 75"), 6);
    assert_eq!(one("SELECT count(*) FROM document_tags WHERE document BETWEEN 70 AND 75 AND tag = 9"), 2);
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
}

#[test]
fn what_ties_two_records_together_does_not_bring_back_one_that_nobody_asked_for() {
    let home = shop();
    lose(&home, 7);
    let harmed = state(&home);
    // The tag is there; the documents that had it went with their project.
    let ran = home.ok(&["recover", "latest", "tags", "1"]);
    assert!(ran.out.contains("2 rows of document_tags left out"), "{}", ran.out);
    assert_eq!(state(&home), harmed);
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(home.json(&["recover", "latest", "tags", "1"])["plan"]["notes"].as_array().unwrap().len(), 0);
}

#[test]
fn files_that_hold_something_else_are_told_and_replaced_only_when_asked() {
    let home = shop();
    let whole = state(&home);
    home.write("app/documents/3/deep/31.txt", "spoiled");
    fs::remove_file(home.path("app/documents/3/deep/32.txt")).unwrap();
    let ran = home.ok(&["recover", "latest", "project", "3"]);
    assert!(ran.out.contains("it holds something else"), "{}", ran.out);
    assert_eq!(fs::read_to_string(home.path("app/documents/3/deep/31.txt")).unwrap(), "spoiled");
    home.ok(&["recover", "latest", "project", "3", "--on-conflict", "overwrite"]);
    assert_eq!(state(&home), whole);
    home.ok(&["undo"]);
    assert_eq!(fs::read_to_string(home.path("app/documents/3/deep/31.txt")).unwrap(), "spoiled");
    assert!(home.fails(1, &["recover", "latest", "--file", "deep"]).contains("deep is not in any source"));
    home.ok(&["recover", "latest", "--file", "31.txt"]);
    assert_eq!(state(&home), whole);
}

#[test]
fn find_tells_since_when_a_record_is_gone_and_reads_only_databases_that_changed() {
    let home = shop();
    home.write("app/documents/1/new.txt", "new");
    home.ok(&["backup"]);
    run(&home.path("app/shop.db"), "UPDATE projects SET name = 'renamed' WHERE id = 7");
    home.ok(&["backup"]);
    lose(&home, 7);
    home.ok(&["backup"]);
    let found = home.json(&["find", "project", "7"]);
    let changes: Vec<&str> =
        found["changes"].as_array().unwrap().iter().map(|change| change["change"].as_str().unwrap()).collect();
    assert_eq!(changes, ["there", "changed", "gone"]);
    assert_eq!(found["changes"][1]["columns"], serde_json::json!(["name"]));
    assert_eq!((&found["live"], &found["snapshots"], &found["read"]), (&false.into(), &4.into(), &3.into()));
    let last = found["last"].as_str().unwrap();
    home.ok(&["recover", last, "project", "7"]);
    assert_eq!(home.json(&["find", "project", "7"])["live"], true);
    let nowhere = home.ok(&["find", "project", "99"]).out;
    assert!(nowhere.starts_with("project 99 · in no snapshot · not in live data"), "{nowhere}");
    lose(&home, 7);
    let asked = home.ok(&["find", "--table", "projects", "--where", "id = 7 AND name <> 'x'"]).out;
    let way = format!("recover {} --table projects --where \"id = 7 AND name <> 'x'\"", &last[..8]);
    assert!(asked.contains(&way), "{asked}");
}

#[test]
fn the_rows_of_a_recovery_lie_beside_its_action_and_those_of_an_older_version_in_it() {
    let home = shop();
    lose(&home, 7);
    let lost = state(&home);
    home.ok(&["recover", "latest", "project", "7"]);
    let listed = &home.json(&["undo", "--list"])["actions"][0];
    assert!(listed["recovered"].get("written").is_none(), "{listed}");
    // As it was before: one file.
    let mut folders = fs::read_dir(home.vault().with_file_name("actions")).unwrap().map(|entry| entry.unwrap().path());
    let folder = folders.find(|folder| !folder.ends_with("turns")).unwrap();
    let id = listed["id"].as_str().unwrap();
    let read = |end: &str| -> Value {
        let bytes = fs::read(folder.join(format!("{id}.{end}"))).unwrap();
        // A digest of it follows.
        serde_json::Deserializer::from_slice(&bytes).into_iter().next().unwrap().unwrap()
    };
    let (mut action, trace) = (read("json"), read("trace"));
    action["recovered"].as_object_mut().unwrap().remove("beside").unwrap();
    action["recovered"]["written"] = trace["written"].clone();
    fs::write(folder.join(format!("{id}.json")), action.to_string()).unwrap();
    fs::remove_file(folder.join(format!("{id}.trace"))).unwrap();
    home.ok(&["undo"]);
    assert_eq!(state(&home), lost);
}

#[test]
fn what_the_configuration_says_of_a_table_that_the_snapshot_does_not_have_is_told() {
    let home = shop();
    let wrong = "\n[entity.bill]\nsource = 'db'\ntable = 'invoice'\n[[relation]]\nfrom = 'db.log.project_id'\nto = 'db.projekts.id'";
    home.write("strongroom.toml", format!("{CONFIG}{wrong}"));
    lose(&home, 7);
    let plan = home.json(&["recover", "latest", "project", "7", "--dry-run"]);
    let notes = plan["plan"]["notes"].to_string();
    let table = |name: &str, nearest: &str| {
        format!("names table {name}, which the snapshot does not have; did you mean {nearest}?")
    };
    assert!(notes.contains(&format!("entity.bill {}", table("invoice", "invoices"))), "{notes}");
    assert!(notes.contains(&format!("a relation {}", table("projekts", "projects"))), "{notes}");
}

#[test]
fn records_are_written_down_so_that_others_can_read_and_run_them() {
    let home = shop();
    home.ok(&["recover", "latest", "project", "7", "--export", "sql", "out"]);
    run(&home.path("other.db"), SCHEMA);
    run(&home.path("other.db"), &fs::read_to_string(home.path("out/records.sql")).unwrap());
    let other = Connection::open(home.path("other.db")).unwrap();
    assert_eq!(other.query_row("SELECT count(*) FROM documents", [], |row| row.get::<_, i64>(0)).unwrap(), 6);
    assert_eq!(files(&home.path("out/files/documents/7")).len(), files(&home.path("app/documents/7")).len());
    home.ok(&["recover", "latest", "project", "7", "--export", "csv", "csv"]);
    let csv = fs::read_to_string(home.path("csv/documents.csv")).unwrap();
    assert!(csv.starts_with("id,project_id,title,before\n70,7,document 70,\n"), "{csv}");
    home.ok(&["recover", "latest", "project", "7", "--export", "json", "json"]);
    let json: Value = serde_json::from_str(&fs::read_to_string(home.path("json/documents.json")).unwrap()).unwrap();
    assert_eq!(json[0], serde_json::json!({"id": 70, "project_id": 7, "title": "document 70", "before": null}));
    assert!(home.fails(1, &["recover", "latest", "project", "7", "--export", "csv", "csv"]).contains("csv"));
}

#[test]
fn what_is_asked_wrongly_is_told_by_name() {
    let home = shop();
    assert!(home.fails(2, &["recover", "latest", "projct", "7"]).contains("did you mean"));
    assert!(home.fails(1, &["recover", "latest", "project", "99"]).contains("projects 99 is not in the snapshot"));
    assert!(home.fails(2, &["recover", "latest", "project"]).contains("which project?"));
    assert!(home.fails(2, &["recover", "latest"]).contains("nothing is asked for"));
    assert!(home.fails(1, &["recover", "latest", "project", "7", "--limit", "3"]).contains("more than 3 rows"));
    assert!(home.fails(2, &["recover", "latest", "document_tags", "7"]).contains("document, tag"));
    let ran = home.fails(2, &["recover", "latest", "--table", "projects", "--where", "nonsense >"]);
    assert!(ran.contains("error"), "{ran}");
    home.write("strongroom.toml", CONFIG.replace("'{id}/**'", "'{name}/../**'"));
    lose(&home, 7);
    assert!(home.fails(1, &["recover", "latest", "project", "7"]).contains("cannot be given back"));
    home.write("strongroom.toml", CONFIG.replace("source = 'db'", "source = 'nowhere'"));
    assert!(home.fails(2, &["recover", "latest", "project", "7"]).contains("there is no source nowhere"));
}

/// This test binary again, in a role.
pub fn child(home: &Home, step: &str) -> Command {
    process(home, "recover::killed::another_process", step)
}

/// This test binary again, in a role and with something to do in it.
pub fn process(home: &Home, role: &str, step: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([role, "--exact", "--nocapture"]);
    command.env("STRONGROOM_TEST_STEP", step).env("STRONGROOM_TEST_WORK", home.path(""));
    command.env("STRONGROOM_TEST_HOME", home.path("../home"));
    command
}

fn place(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from)
}
