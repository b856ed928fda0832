//! Live data on a file system that is read-only: nothing is changed, and nothing says that something was.

use std::fs;

use super::sql;
use crate::support::disk::Disk;
use crate::support::program::Home;

/// How often that is said.
fn times(text: &str, what: &str) -> usize {
    text.matches(what).count()
}

/// What was there is restored where nobody can write: that is said once, and the next undo is of what was done before.
fn is_refused(home: &Home, disk: &Disk, part: &str) {
    home.write("disk/other", "newer");
    home.ok(&["restore", "latest", "disk:other", "--in-place"]);
    let done = home.json(&["undo", "--list"])["actions"].as_array().unwrap().len();
    disk.remount("ro");
    let foretold = home.fails(1, &["restore", "latest", part, "--in-place", "--dry-run"]);
    let said = home.fails(1, &["restore", "latest", part, "--in-place", "-q"]);
    assert_eq!(said, foretold);
    assert!(times(&said, "read-only") == 1 && !said.contains("taken back"), "{said}");
    let list = home.ok(&["undo", "--list"]).out;
    let last = list.lines().last().unwrap();
    assert!(list.lines().count() <= done || last.ends_with("failed, nothing changed"), "{list}");
    disk.remount("rw");
    home.ok(&["undo", "--yes"]);
    assert_eq!(fs::read_to_string(home.path("disk/other")).unwrap(), "newer");
}

#[test]
fn a_restore_onto_a_read_only_file_system_changes_nothing_and_undo_passes_it_over() {
    let home = Home::new();
    let Some(disk) = Disk::mount(home.path("disk"), "4m") else { return };
    home.write("disk/x/a", "captured");
    home.write("disk/other", "captured");
    home.ok(&["backup", "disk"]);
    fs::remove_dir_all(home.path("disk/x")).unwrap();
    is_refused(&home, &disk, "disk:x");
}

#[test]
fn a_database_on_a_read_only_file_system_is_not_said_to_be_changed() {
    let home = Home::new();
    let Some(disk) = Disk::mount(home.path("disk"), "4m") else { return };
    sql(&home.path("disk/c.db"), "CREATE TABLE t (x); INSERT INTO t VALUES ('captured')");
    home.write("disk/other", "captured");
    home.ok(&["backup", "disk"]);
    sql(&home.path("disk/c.db"), "UPDATE t SET x = 'newer'");
    is_refused(&home, &disk, "disk:c.db");
}

#[test]
fn a_read_only_file_system_within_a_source_is_not_said_to_be_changed() {
    let home = Home::new();
    let Some(disk) = Disk::mount(home.path("app/disk"), "4m") else { return };
    home.write("app/disk/x/a", "captured");
    home.write("app/disk/y", "captured");
    home.ok(&["backup", "app"]);
    fs::remove_dir_all(home.path("app/disk/x")).unwrap();
    disk.remount("ro");
    let said = home.fails(1, &["restore", "latest", "app:disk", "--in-place", "-q"]);
    assert!(times(&said, "read-only") == 1 && !said.contains("taken back"), "{said}");
    let list = home.ok(&["undo", "--list"]).out;
    assert!(list.trim_end().ends_with("failed, nothing changed"), "{list}");
    assert!(home.fails(1, &["undo"]).contains("there is nothing to take back"));
}
