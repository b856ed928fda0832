//! Actions that changed nothing stand in nobody's way; what is not touched is no obstacle; what is lacking is told.

use std::fs;
use std::path::PathBuf;

use rusqlite::Connection;

use super::{app, harm, snapshots, sql};
use crate::support::program::Home;

fn actions(home: &Home) -> Vec<serde_json::Value> {
    home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone()
}

/// The file that an action is written down in.
fn record(home: &Home, id: &str) -> PathBuf {
    let all = home.path("../home/.local/share/strongroom/actions");
    let vaults = fs::read_dir(&all).unwrap_or_else(|error| panic!("{}: {error}", all.display()));
    vaults.map(|vault| vault.unwrap().path().join(format!("{id}.json"))).find(|file| file.exists()).unwrap()
}

#[test]
fn an_action_that_was_broken_off_before_it_changed_anything_does_not_stand_in_the_way_of_undo() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "app:docs/b.txt", "--in-place"]);
    home.ok(&["restore", "latest", "app:docs/a.txt", "--in-place"]);
    // As an earlier version left it when its path was mistyped: it can never be taken back.
    let id = actions(&home)[1]["id"].as_str().unwrap().to_owned();
    let file = record(&home, &id);
    let text = fs::read_to_string(&file).unwrap();
    let text =
        text.rsplit_once("\nblake3 ").unwrap().0.replace("\"done\"", "\"begun\"").replace("docs/a.txt", "docs/a.tx");
    fs::write(&file, text).unwrap();
    assert_eq!(actions(&home)[1]["state"], "begun");
    let said = home.fails(1, &["undo"]);
    let said = said.lines().find(|line| line.starts_with("error")).unwrap();
    assert!(said.contains(&id) && said.contains("before anything was changed"), "{said}");
    // Another one is meant now, and that is asked.
    assert!(home.fails(1, &["undo"]).contains("since then there was"));
    home.ok(&["undo", "--yes"]);
    assert!(!home.path("app/docs/b.txt").exists());
}

#[test]
fn a_restore_that_found_nothing_to_do_is_not_what_undo_takes_back() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    let ran = home.ok(&["restore", "latest", "app:docs", "--in-place"]);
    assert!(ran.out.contains("it was so already: nothing to undo"), "{}", ran.out);
    let ran = home.ok(&["recover", "latest", "--file", "readme.md"]);
    assert!(ran.out.contains("it was so already: nothing to undo"), "{}", ran.out);
    let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
    assert!(report.get("action").is_none() && report["databases"].as_array().unwrap().len() <= 1, "{report:#}");
    assert_eq!(actions(&home).len(), 1);
    home.ok(&["undo"]);
    assert!(!home.path("app/docs/b.txt").exists());
}

#[test]
fn a_restore_that_changes_only_a_mode_can_be_taken_back() {
    use std::os::unix::fs::PermissionsExt;
    let home = app();
    let mode = |mode| fs::set_permissions(home.path("app/docs/a.txt"), fs::Permissions::from_mode(mode)).unwrap();
    mode(0o600);
    let ran = home.ok(&["restore", "latest", "app:docs/a.txt", "--in-place"]);
    assert!(ran.out.contains("undo: strongroom undo"), "{}", ran.out);
    home.ok(&["undo"]);
    assert_eq!(fs::metadata(home.path("app/docs/a.txt")).unwrap().permissions().mode() & 0o777, 0o600);
}

/// Two databases that a glob names.
fn databases() -> Home {
    let home = Home::new();
    fs::create_dir(home.path("data")).unwrap();
    for name in ["data/a.db", "data/b.db"] {
        sql(&home.path(name), "CREATE TABLE t (x); INSERT INTO t VALUES ('captured')");
    }
    home.write("strongroom.toml", "app = \"shop\"\n[source.db]\nkind = \"sqlite\"\npath = \"data/*.db\"\n");
    home.ok(&["init"]);
    home
}

/// What was a database is something that cannot be captured.
fn spoil(home: &Home) {
    fs::remove_file(home.path("data/b.db")).unwrap();
    fs::create_dir(home.path("data/b.db")).unwrap();
}

fn value(home: &Home, name: &str) -> String {
    Connection::open(home.path(name)).unwrap().query_row("SELECT x FROM t", [], |row| row.get(0)).unwrap()
}

#[test]
fn what_cannot_be_captured_beside_what_is_touched_does_not_keep_that_from_coming_back() {
    let home = databases();
    home.ok(&["backup"]);
    spoil(&home);
    sql(&home.path("data/a.db"), "UPDATE t SET x = 'newer'");
    home.ok(&["restore", "latest", "db:a.db", "--in-place"]);
    assert_eq!(value(&home, "data/a.db"), "captured");
    home.ok(&["undo"]);
    assert_eq!(value(&home, "data/a.db"), "newer");
}

#[test]
fn what_is_locked_and_not_in_the_snapshot_is_no_obstacle_and_the_dry_run_says_the_same() {
    let home = Home::new();
    home.write("app/a.txt", "captured");
    home.ok(&["backup", "app"]);
    home.write("app/a.txt", "newer");
    for name in ["app/new.db", "app/made/new.db"] {
        fs::create_dir_all(home.path("app/made")).unwrap();
        sql(&home.path(name), "CREATE TABLE t (x); INSERT INTO t VALUES ('newer')");
    }
    let held = ["app/new.db", "app/made/new.db"].map(|name| Connection::open(home.path(name)).unwrap());
    held.iter().for_each(|held| held.execute_batch("BEGIN EXCLUSIVE").unwrap());
    home.ok(&["restore", "latest", "--in-place", "--wait", "0", "--dry-run"]);
    home.ok(&["restore", "latest", "--in-place", "--wait", "0"]);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "captured");
    home.ok(&["undo", "--wait", "0"]);
    assert_eq!(fs::read_to_string(home.path("app/a.txt")).unwrap(), "newer");
    drop(held);
    assert_eq!(value(&home, "app/made/new.db"), "newer");
}

#[test]
fn a_restore_that_is_refused_for_want_of_a_safety_snapshot_leaves_none_behind() {
    let home = databases();
    home.ok(&["backup"]);
    sql(&home.path("data/a.db"), "UPDATE t SET x = 'newer'");
    let held = Connection::open(home.path("data/b.db")).unwrap();
    held.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let before = snapshots(&home);
    let ran = home.run(&["restore", "latest", "db", "--in-place", "--wait", "0"]);
    assert!(ran.code != 0 && ran.err.contains("b.db"), "{} {}{}", ran.code, ran.out, ran.err);
    drop(held);
    assert_eq!(value(&home, "data/a.db"), "newer");
    assert_eq!(snapshots(&home), before);
    assert_eq!(actions(&home).len(), 0);
}

#[test]
fn what_was_not_captured_of_what_is_asked_for_is_named_by_every_restore() {
    let home = databases();
    spoil(&home);
    assert_eq!(home.run(&["backup"]).code, 3);
    let line = "not restored as it was: db/b.db: when it was captured: is a folder, not a database";
    let ran = home.run(&["restore", "latest", "db", "--to", "out"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains(line) && home.path("out/a.db").exists(), "{}", ran.err);
    let ran = home.run(&["restore", "latest", "db", "--to", "out", "--dry-run"]);
    assert!(ran.code == 3 && ran.err.contains("db/b.db: when it was captured"), "{} {}", ran.code, ran.err);
    let ran = home.run(&["restore", "latest", "db", "--in-place", "--no-safety"]);
    assert!(ran.code == 3 && ran.err.contains(line), "{} {}", ran.code, ran.err);
    let ran = home.ok(&["restore", "latest", "db:a.db", "--to", "other"]);
    assert!(ran.err.is_empty(), "{}", ran.err);
}

#[test]
fn a_snapshot_of_a_source_that_had_lost_everything_is_not_what_latest_means_and_is_told() {
    let home = databases();
    let first = home.json(&["backup"])["id"].clone();
    for name in ["data/a.db", "data/b.db"] {
        sql(&home.path(name), "DROP TABLE t");
    }
    assert_eq!(home.run(&["backup"]).code, 3);
    let emptied = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    let ran = home.ok(&["restore", "latest", "db", "--to", "out"]);
    assert!(ran.err.contains("does not have what was asked for"), "{}", ran.err);
    assert_eq!(value(&home, "out/a.db"), "captured");
    // All of it, where there is nothing of it, is nothing.
    let said = home.fails(1, &["restore", "latest", "--in-place"]);
    assert!(said.contains("has nothing in this snapshot") && said.contains("--source db"), "{said}");
    // Whoever names it gets it, and is told.
    let ran = home.ok(&["restore", &emptied, "db", "--to", "empty"]);
    assert!(ran.err.contains("was taken with an alarm: db: "), "{}", ran.err);
    assert_ne!(first, emptied.as_str());
}
