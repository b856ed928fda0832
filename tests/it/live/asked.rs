//! An undo without an id: it says what it takes back, and whoever did something else since is asked.

use std::fs;

use super::{app, harm};
use crate::support::program::Home;

fn restored() -> Home {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    home
}

fn content(home: &Home) -> String {
    fs::read_to_string(home.path("app/docs/a.txt")).unwrap()
}

#[test]
fn an_undo_without_an_id_names_what_it_takes_back() {
    let home = restored();
    let ran = home.ok(&["undo"]);
    let first = ran.out.lines().next().unwrap();
    assert!(first.starts_with("taking back ") && first.contains("the restore of "), "{first}");
    assert!(first.ends_with(&format!("app at {}", home.path("app").display())), "{first}");
    // By its id it is named already.
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    let ran = home.ok(&["undo", list[1]["id"].as_str().unwrap()]);
    assert!(!ran.out.contains("taking back"), "{}", ran.out);
}

#[test]
fn an_undo_without_an_id_of_what_was_not_the_last_is_refused_where_nobody_can_be_asked() {
    let home = restored();
    home.ok(&["backup", "app"]);
    let said = home.fails(1, &["undo"]);
    assert!(said.contains("nobody can be asked whether the restore of") && said.contains("a backup, "), "{said}");
    assert_eq!(content(&home), "alpha\n");
    // The hint runs as it is printed.
    let hint = said.split("take it back with ").nth(1).unwrap().trim();
    home.shell(hint);
    assert_eq!(content(&home), "spoiled\n");
}

#[test]
fn an_undo_without_an_id_goes_on_where_that_is_agreed_beforehand() {
    let home = restored();
    home.ok(&["backup", "app"]);
    home.ok(&["undo", "--yes"]);
    assert_eq!(content(&home), "spoiled\n");
}

#[test]
fn an_older_restore_is_not_taken_back_in_silence_after_one_that_failed_or_was_taken_back() {
    let home = restored();
    home.write("app/docs/deep/c.txt", "spoiled again\n");
    home.ok(&["restore", "latest", "app:docs/deep/c.txt", "--in-place"]);
    home.ok(&["undo"]);
    let said = home.fails(1, &["undo"]);
    assert!(said.contains("since then there was an undo, "), "{said}");
    assert_eq!(content(&home), "alpha\n");
    // What is as the first left it again, since the undo was taken back, is the last one's doing.
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    home.ok(&["undo", list[2]["id"].as_str().unwrap()]);
    home.ok(&["undo"]);
}

#[test]
fn a_person_at_a_terminal_is_asked_whether_an_older_restore_is_meant() {
    let home = restored();
    // The last command's doing is taken back without a question.
    home.ok(&["backup", "app"]);
    for answer in ["n\n", "\n"] {
        let ran = home.at_terminal(&["undo"], answer);
        assert_eq!(ran.code, 1, "{}", ran.out);
        assert!(ran.out.contains("Take it back? [y/N]") && ran.out.contains("nothing was taken back"), "{}", ran.out);
        assert_eq!(content(&home), "alpha\n");
    }
    let ran = home.at_terminal(&["undo"], "y\n");
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(ran.out.contains("since then there was a backup, "), "{}", ran.out);
    assert_eq!(content(&home), "spoiled\n");
}

#[test]
fn nobody_is_asked_about_the_last_command_s_doing() {
    let home = restored();
    let ran = home.at_terminal(&["undo"], "");
    assert_eq!(ran.code, 0, "{}", ran.out);
    assert!(!ran.out.contains("[y/N]") && ran.out.contains("taking back "), "{}", ran.out);
    assert_eq!(content(&home), "spoiled\n");
}
