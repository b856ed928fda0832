//! Several commands at one place at the same time: one changes it, the others wait or say that they did not.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::time::Duration;

use super::{app, assert_same, copy, harm, snapshots};
use crate::support::program::Home;

/// A restore that is under way until there is a file `go`, or the folder itself is gone.
fn slow_restore(home: &Home) -> Child {
    home.write(
        "strongroom.toml",
        "[source.app]\nkind = \"files\"\npath = \"app\"\n\
         [hooks]\nbefore_restore = 'touch started; while [ -e started ] && [ ! -e go ]; do sleep 0.02; done'\n",
    );
    let mut command = home.command(&["restore", "latest", "--app", "app", "--in-place"]);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while !home.path("started").exists() {
        std::thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn a_second_command_at_a_place_that_is_being_restored_waits_or_ends_with_11() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    home.ok(&["undo"]);
    home.ok(&["restore", "latest", "--in-place"]);
    fs::create_dir(home.path("app/inner")).unwrap();
    home.write("app/inner/file", "x\n");
    home.ok(&["backup", "app/inner", "--app", "inner"]);
    harm_again(&home);
    copy(&home, "before");
    let count = snapshots(&home).len();
    let mut slow = slow_restore(&home);
    for command in [
        vec!["restore", "latest", "--app", "app", "--in-place", "--wait", "0", "--no-hooks"],
        vec!["restore", "latest", "--app", "inner", "--in-place", "--wait", "0", "--no-hooks"],
        vec!["undo", "--wait", "0", "--no-hooks"],
    ] {
        let said = home.fails(11, &command);
        assert!(said.contains("is being changed by strongroom restore (process "), "{command:?}: {said}");
    }
    assert_eq!(snapshots(&home).len(), count, "nobody else made a safety snapshot");
    // A backup waits, and captures what is there when the restore is done.
    let mut backup = home.command(&["backup"]);
    let mut backup = backup.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(backup.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert!(said.starts_with("waiting for strongroom restore (process "), "{said}");
    home.write("go", "");
    assert!(slow.wait().unwrap().success() && backup.wait().unwrap().success());
    assert_eq!(home.ok(&["show", "latest", "app:docs/a.txt", "--cat"]).out, "alpha\n");
}

#[test]
fn nobody_waits_for_a_restore_that_was_killed() {
    let home = app();
    copy(&home, "whole");
    harm(&home);
    let mut slow = slow_restore(&home);
    slow.kill().unwrap();
    slow.wait().unwrap();
    fs::remove_file(home.path("app/foreign.txt")).unwrap();
    home.ok(&["restore", "latest", "--in-place", "--wait", "0", "--no-hooks"]);
    assert_same(&home, "whole");
    home.write("go", "");
}

#[test]
fn a_backup_that_a_hook_of_a_restore_makes_does_not_wait_for_that_restore() {
    let home = app();
    harm(&home);
    let program = home.command(&[]).get_program().to_str().unwrap().to_owned();
    home.write(
        "strongroom.toml",
        format!(
            "[source.app]\nkind = \"files\"\npath = \"app\"\n[hooks]\nbefore_restore = '{program} backup --tag before'\n"
        ),
    );
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(home.ok(&["show", "tag:before", "app:docs/a.txt", "--cat"]).out, "spoiled\n");
}

/// Something to be restored once more.
fn harm_again(home: &Home) {
    home.write("app/docs/a.txt", "spoiled again\n");
}

#[test]
fn sources_that_hold_the_same_are_said_once_where_they_do() {
    let home = app();
    let both = |exclude: &str| {
        home.write(
            "strongroom.toml",
            format!(
                "[source.app]\nkind = \"files\"\npath = \"app\"\n{exclude}\n\
                 [source.shop]\nkind = \"sqlite\"\npath = \"app/*.db\"\n"
            ),
        );
    };
    both("");
    let said = home.ok(&["backup"]).err;
    assert_eq!(said.matches("app and shop both hold ").count(), 1, "{said}");
    assert!(said.starts_with("warning: ") && said.contains("/app/shop.db: "), "{said}");
    let vault = home.path("other-vault");
    assert!(home.ok(&["--vault", vault.to_str().unwrap(), "init"]).err.contains("app and shop both hold "));
    both("exclude = [\"*.db\"]");
    // That it is not captured twice any more is an alarm, once.
    let said = home.run(&["backup"]).err;
    assert!(said.starts_with("alarm: app/shop.db: the database is gone") && !said.contains("both hold"), "{said}");
    assert_eq!(home.ok(&["backup"]).err, "");
}
