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
