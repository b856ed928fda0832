//! An undo of a recovery that is refused leaves nothing behind.

use super::{lose, run, shop};
use crate::support::program::Home;

fn kept(home: &Home) -> (usize, usize) {
    let count = |document: &serde_json::Value, what: &str| document[what].as_array().unwrap().len();
    (count(&home.json(&["snapshots"]), "snapshots"), count(&home.json(&["undo", "--list"]), "actions"))
}

#[test]
fn an_undo_of_a_recovery_that_is_refused_makes_no_snapshot_and_no_action() {
    let home = shop();
    lose(&home, 7);
    home.ok(&["recover", "latest", "project", "7"]);
    let before = kept(&home);
    let shop = home.path("app/shop.db");
    run(&shop, "UPDATE documents SET title = 'newer' WHERE id = 73");
    let said = home.run(&["undo"]);
    assert!(said.code == 1 && said.err.contains("documents 73 is newer"), "{} {}", said.code, said.err);
    assert!(said.out.lines().count() == 1 && said.out.starts_with("taking back "), "{}", said.out);
    run(&shop, "UPDATE documents SET title = 'document 73' WHERE id = 73");
    // What nobody can force is refused as early.
    run(&shop, "INSERT INTO documents VALUES(1000, 7, 'newer', NULL)");
    assert!(home.fails(1, &["undo", "--force"]).contains("documents 1000 is newer and refers to"));
    assert_eq!(kept(&home), before);
    run(&shop, "DELETE FROM documents WHERE id = 1000");
    home.ok(&["undo"]);
    let (snapshots, actions) = before;
    assert_eq!(kept(&home), (snapshots + 1, actions + 1));
    // The undo of an undo is no other.
    let id = home.json(&["undo", "--list"])["actions"][actions]["id"].as_str().unwrap().to_owned();
    run(&shop, "INSERT INTO documents VALUES(73, 1, 'newer', NULL)");
    assert!(home.fails(1, &["undo", &id]).contains("is newer"));
    assert_eq!(kept(&home), (snapshots + 1, actions + 1));
}

#[test]
fn a_plan_with_rows_that_differ_can_be_kept_and_done() {
    let home = shop();
    lose(&home, 7);
    run(&home.path("app/shop.db"), "UPDATE documents SET title = 'renamed' WHERE id = 31");
    for how in [&[][..], &["--on-conflict", "overwrite"]] {
        home.run(&[&["recover", "latest", "project", "3", "--plan-out", "plan.json"], how].concat());
        for command in [&["recover", "--plan", "plan.json", "--dry-run"][..], &["recover", "--plan", "plan.json"]] {
            let ran = home.run(command);
            assert!(
                [0, 3].contains(&ran.code) && !ran.err.contains("cannot use"),
                "{command:?}: {}{}",
                ran.out,
                ran.err
            );
        }
    }
}

#[test]
fn where_nothing_may_differ_a_file_that_does_keeps_everything_from_being_done() {
    let home = shop();
    lose(&home, 7);
    home.write("app/documents/7/deep/71.txt", "newer");
    let before = super::state(&home);
    let said = home.fails(1, &["recover", "latest", "project", "7", "--on-conflict", "abort"]);
    assert!(said.contains("holds something else") && said.contains("hint: decide with --on-conflict"), "{said}");
    assert_eq!(super::state(&home), before);
    let ran = home.run(&["recover", "latest", "--file", "71.txt", "--on-conflict", "skip"]);
    assert!(ran.code == 2 && ran.err.contains("--on-conflict"), "{} {}", ran.code, ran.err);
}

#[test]
fn a_value_that_is_given_takes_the_place_of_one_that_does_not_fit_any_more() {
    let home = Home::new();
    home.write("strongroom.toml", "[source.db]\nkind = 'sqlite'\npath = 'app.db'");
    let file = home.path("app.db");
    run(
        &file,
        "CREATE TABLE p(id INTEGER PRIMARY KEY, name TEXT, amount NUMERIC); INSERT INTO p VALUES(1, 'a', 1.5), (2, 'b', 2.25)",
    );
    home.ok(&["backup", "--quiet"]);
    run(
        &file,
        "CREATE TABLE q(id INTEGER PRIMARY KEY, name TEXT, amount INT); INSERT INTO q VALUES(1, 'a', 1); DROP TABLE p; ALTER TABLE q RENAME TO p",
    );
    let said = home.fails(1, &["recover", "latest", "p", "2"]);
    assert!(said.contains("hint: give it a value with --set p.amount=VALUE"), "{said}");
    home.ok(&["recover", "latest", "p", "2", "--set", "p.amount=2"]);
    let sql = "SELECT group_concat(name || amount) FROM p";
    let rows: String = rusqlite::Connection::open(&file).unwrap().query_row(sql, [], |row| row.get(0)).unwrap();
    assert_eq!(rows, "a1,b2");
}
