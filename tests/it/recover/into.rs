//! Records given back to another database than their own, which may lack their tables, or not be there at all.

use rusqlite::Connection;

use super::{run, shop};

fn tables(file: &std::path::Path) -> Vec<String> {
    let connection = Connection::open(file).unwrap();
    let mut statement =
        connection.prepare("SELECT type || ' ' || name FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY 1").unwrap();
    statement.query_map([], |row| row.get(0)).unwrap().map(Result::unwrap).collect()
}

fn count(file: &std::path::Path, table: &str) -> i64 {
    let connection = Connection::open(file).unwrap();
    connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).unwrap()
}

const INTO: [&str; 6] = ["recover", "latest", "project", "7", "--into", "other.db"];

#[test]
fn a_database_that_is_not_there_is_made_with_the_tables_it_needs() {
    use std::os::unix::fs::PermissionsExt;
    let home = shop();
    let file = home.path("other.db");
    let plan = home.ok(&[&INTO[..], &["--dry-run"]].concat()).out;
    assert!(plan.contains("table projects is made; an undo leaves it there, empty"), "{plan}");
    assert!(!file.exists(), "a plan makes nothing");
    home.ok(&INTO);
    let expected = [
        "index documents_project",
        "table document_tags",
        "table documents",
        "table log",
        "table projects",
        "table tags",
        "table users",
    ];
    assert_eq!(tables(&file), expected);
    let counts = ["users", "projects", "documents", "tags", "document_tags", "log"].map(|name| count(&file, name));
    assert_eq!(counts, [1, 1, 6, 3, 6, 2]);
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    run(&file, "PRAGMA foreign_key_check");
    assert!(home.ok(&INTO).out.contains("nothing to do"));
    home.ok(&["undo"]);
    assert_eq!(count(&file, "projects") + count(&file, "documents") + count(&file, "users"), 0);
    home.ok(&INTO);
    assert_eq!(count(&file, "documents"), 6);
}

#[test]
fn only_the_tables_that_are_missing_are_made_and_a_plan_does_it_later() {
    let home = shop();
    let file = home.path("other.db");
    run(
        &file,
        "CREATE TABLE users(id INTEGER PRIMARY KEY, email TEXT UNIQUE NOT NULL, more TEXT); INSERT INTO users VALUES(2, 'u2@example.org', 'x')",
    );
    home.ok(&[&INTO[..], &["--plan-out", "plan.json"]].concat());
    assert_eq!(tables(&file), ["table users"]);
    home.ok(&["recover", "--plan", "plan.json"]);
    assert_eq!(count(&file, "documents"), 6);
    assert_eq!(count(&file, "users WHERE more = 'x'"), 1);
}

#[test]
fn without_into_a_table_that_is_gone_stays_gone_and_a_folder_that_is_not_there_is_told() {
    let home = shop();
    run(
        &home.path("app/shop.db"),
        "PRAGMA foreign_keys = OFF; DROP TABLE document_tags; DELETE FROM documents WHERE project_id = 7",
    );
    let ran = home.run(&["recover", "latest", "project", "7"]);
    assert!(ran.out.contains("there is no table document_tags any more"), "{}{}", ran.out, ran.err);
    assert!(!tables(&home.path("app/shop.db")).contains(&"table document_tags".to_owned()));
    home.fails(1, &["recover", "latest", "project", "7", "--into", "nowhere/other.db"]);
    assert!(!home.path("nowhere").exists());
}

#[test]
fn a_row_that_is_refused_leaves_no_database_behind() {
    let home = shop();
    run(&home.path("app/shop.db"), "UPDATE projects SET owner = owner");
    let refused = home.run(&[&INTO[..], &["--set", "projects.owner=99"]].concat());
    assert_eq!(refused.code, 1, "{}{}", refused.out, refused.err);
    assert!(!home.path("other.db").exists());
}
