//! Databases that were damaged when they were captured: told by whoever gives them back or reads from them.

use std::fs;
use std::os::unix::fs::FileExt;

use rusqlite::Connection;

use crate::support::program::Home;

/// How a database is damaged: SQLite opens it and its check complains, or it is shorter than it says.
const WAYS: [&str; 2] = ["spoilt", "cut short"];

/// A sound snapshot and a damaged one.
struct Scene {
    home: Home,
    sound: String,
    damaged: String,
}

fn backup(home: &Home, code: i32) -> String {
    let ran = home.run(&["--json", "backup", "app"]);
    assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
    let manifest: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    manifest["id"].as_str().unwrap()[..8].to_owned()
}

fn scene(way: &str) -> Scene {
    let home = Home::new();
    home.write("app/notes.txt", "notes");
    home.write("app/docs/a.txt", "a");
    let database = home.path("app/c.db");
    let rows = "CREATE TABLE t(id INTEGER PRIMARY KEY, v TEXT); CREATE TABLE u(id INTEGER PRIMARY KEY, of REFERENCES t); \
        WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 5000) \
        INSERT INTO t SELECT x, printf('row %d %050d', x, x) FROM n";
    Connection::open(&database).unwrap().execute_batch(rows).unwrap();
    let sound = backup(&home, 0);
    let file = fs::File::options().write(true).open(&database).unwrap();
    match way {
        "spoilt" => file.write_all_at(&[0x5a; 9000], 40 * 4096).unwrap(),
        _ => file.set_len(40 * 4096).unwrap(),
    }
    let damaged = backup(&home, 3);
    Scene { home, sound, damaged }
}

#[test]
fn a_database_that_was_damaged_when_it_was_captured_is_told_by_whoever_gives_it_back_or_reads_from_it() {
    for way in WAYS {
        let Scene { home, sound, damaged } = scene(way);
        let told = format!("warning: app:c.db of {damaged} was damaged when it was captured: ");
        let where_else = format!("; snapshot {sound} has it sound");
        let commands: [&[&str]; 9] = [
            &["restore", "latest", "--to", "out", "--dry-run"],
            &["restore", "latest", "--to", "out"],
            &["restore", "latest", "app:c.db", "--to", "other"],
            &["restore", "latest", "--in-place", "--dry-run"],
            &["restore", "latest", "app:c.db", "--in-place", "--accept-damage"],
            &["recover", "latest", "--file", "app:c.db", "--dry-run"],
            &["show", "latest", "app:c.db", "--cat"],
            &["diff", "latest~1", "latest"],
            &["diff", "latest"],
        ];
        for command in commands {
            for quiet in [&["-q"][..], &[]] {
                let ran = home.run(&[quiet, command].concat());
                assert_eq!(ran.code, 3, "{way}: {command:?}: {}", ran.err);
                let lines: Vec<&str> = ran.err.lines().filter(|line| line.starts_with(&told)).collect();
                assert!(lines.len() == 1 && lines[0].ends_with(&where_else), "{way}: {command:?}: {}", ran.err);
            }
        }
        // It is still what latest means; and what is no part of it is nobody's alarm.
        assert_eq!(fs::read(home.path("out/c.db")).unwrap(), fs::read(home.path("app/c.db")).unwrap());
        for part in ["app:notes.txt", "app:docs"] {
            assert_eq!(home.ok(&["restore", "latest", part, "--to", part]).err, "");
        }
        assert_eq!(home.ok(&["restore", &sound, "--to", "whole"]).err, "");
        // What would not be sound is given back only to those who accept that.
        home.write("app/c.db", fs::read(home.path("whole/c.db")).unwrap());
        for dry in [&["--dry-run"][..], &[]] {
            let ran = home.run(&[&["restore", "latest", "--in-place", "-q"], dry].concat());
            let error = ran.err.lines().any(|line| line.starts_with("error: "));
            assert!(ran.code == 1 && error && ran.err.starts_with(&told), "{way}: {dry:?}: {} {}", ran.code, ran.err);
        }
    }
}

#[test]
fn rows_of_a_database_that_was_damaged_when_it_was_captured_come_with_a_warning() {
    let Scene { home, sound, damaged } = scene("spoilt");
    let told = format!("warning: app:c.db of {damaged} was damaged when it was captured: ");
    Connection::open(home.path("app/c.db")).unwrap().execute_batch("DELETE FROM t WHERE id = 1").unwrap();
    let attached = format!("old={damaged}");
    let commands: [&[&str]; 6] = [
        &["query", "latest", "SELECT v FROM t WHERE id = 1"],
        &["query", "latest", ".tables"],
        &["query", &sound, "--attach", &attached, "SELECT v FROM t WHERE id = 1"],
        &["recover", "latest", "t", "1", "--dry-run"],
        &["recover", "latest", "t", "1", "--export", "csv", "out"],
        &["recover", "latest", "t", "1"],
    ];
    for command in commands {
        let ran = home.run(&[&["-q"], command].concat());
        assert!(ran.code == 3 && ran.err.starts_with(&told), "{command:?}: {} {}", ran.code, ran.err);
        assert_eq!(ran.err.lines().count(), 1, "{command:?}: {}", ran.err);
    }
    assert!(fs::read_to_string(home.path("out/t.csv")).unwrap().contains("row 1 "));
    home.ok(&["query", &sound, "SELECT v FROM t WHERE id = 1"]);
}

#[test]
fn what_cannot_be_read_for_damage_names_the_newest_snapshot_that_has_it_sound_and_a_command_that_runs() {
    for way in WAYS {
        let Scene { home, sound, .. } = scene(way);
        fs::write(home.path("app/c.db"), home.run(&["show", &sound, "app:c.db", "--cat"]).bytes).unwrap();
        let commands: [&[&str]; 3] = [
            &["query", "latest", "SELECT count(v) FROM t WHERE v <> ?", "--bind", "row 1"],
            &["recover", "latest", "--table", "t", "--where", "v LIKE 'row 4000 %'"],
            &["recover", "latest", "--table", "t", "--where", "v LIKE 'row 4000 %'", "--export", "json", "out"],
        ];
        for command in commands {
            let ran = home.run(command);
            assert_eq!(ran.code, 1, "{way}: {command:?}: {}{}", ran.out, ran.err);
            let hint = format!("hint: it was captured like this; snapshot {sound} has it sound: ");
            let again = ran.err.lines().find_map(|line| line.strip_prefix(&hint));
            let again = again.unwrap_or_else(|| panic!("{way}: {command:?}: {}", ran.err));
            assert!(again.contains(&sound), "{again}");
            assert!(!home.shell(again).is_empty(), "{again}");
        }
    }
}

#[test]
fn find_lists_the_snapshots_beside_one_whose_database_is_damaged_and_says_that_it_could_not_look_into_that() {
    for way in WAYS {
        let Scene { home, sound, damaged } = scene(way);
        let condition = ["find", "--table", "t", "--where", "v LIKE 'row 4000 %'"];
        let key = ["find", "t", "4000"];
        for find in [&condition[..], &key[..]] {
            fs::remove_file(home.path("app/c.db")).unwrap_or_default();
            let ran = home.run(find);
            assert_eq!(ran.code, 3, "{way}: {find:?}: {}{}", ran.out, ran.err);
            let told = format!("could not be looked into as a whole: snapshot {damaged} of ");
            assert!(ran.err.starts_with(&told) && ran.err.lines().count() == 1, "{way}: {}", ran.err);
            assert!(!ran.out.contains("gone\n") && ran.out.contains(&sound), "{way}: {}", ran.out);
            let document: serde_json::Value =
                serde_json::from_str(&home.run(&[&["--json"], find].concat()).out).unwrap();
            assert!(document["unread"][0]["snapshot"].as_str().unwrap().starts_with(&damaged), "{document:#}");
            assert!(document["last"].as_str().unwrap().starts_with(&sound), "{document:#}");
            assert_eq!(document["changes"].as_array().unwrap().len(), 1, "{document:#}");
        }
        // What is there again is told, and changes since the last that could be looked into.
        home.ok(&["restore", &sound, "app:c.db", "--to", "app", "--no-safety"]);
        let whole = Connection::open(home.path("app/c.db")).unwrap();
        whole.execute_batch("UPDATE t SET v = 'row 4000 newer' WHERE id = 4000").unwrap();
        let newest = backup(&home, 0);
        let document: serde_json::Value =
            serde_json::from_str(&home.run(&[&["--json"], &condition[..]].concat()).out).unwrap();
        assert_eq!(document["changes"][1]["change"], "changed", "{document:#}");
        assert!(document["last"].as_str().unwrap().starts_with(&newest), "{document:#}");
    }
}

#[test]
fn a_deep_check_that_names_a_database_as_damaged_does_not_end_with_success() {
    for way in WAYS {
        let Scene { home, sound, damaged } = scene(way);
        let ran = home.run(&["verify", "latest", "--deep", "-q"]);
        let told = format!("damaged when it was captured: app:c.db of {damaged}: ");
        assert!(ran.code == 3 && ran.err.starts_with(&told), "{way}: {} {}", ran.code, ran.err);
        let ran = home.run(&["verify", "latest", "--deep"]);
        assert!(ran.code == 3 && !ran.out.contains("nothing damaged"), "{way}: {}", ran.out);
        let ran = home.run(&["--json", "verify", "latest", "--deep"]);
        let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        assert!(document["sound"] == true && document["deep"]["findings"][0]["weight"] == "known", "{document:#}");
        assert_eq!(home.ok(&["verify", &sound, "--deep", "-q"]).err, "");
        home.ok(&["verify"]);
        // A reference to nothing is its owner's business: worth a word, and no trouble.
        fs::write(home.path("app/c.db"), home.run(&["show", &sound, "app:c.db", "--cat"]).bytes).unwrap();
        Connection::open(home.path("app/c.db"))
            .unwrap()
            .execute_batch("PRAGMA foreign_keys = OFF; INSERT INTO u VALUES (1, 9999)")
            .unwrap();
        backup(&home, 0);
        assert!(home.ok(&["verify", "latest", "--deep"]).err.contains("as captured: app:c.db of "));
        assert_eq!(home.ok(&["verify", "latest", "--deep", "-q"]).err, "");
    }
}

#[test]
fn an_empty_file_where_a_database_was_is_told_however_many_backups_ago_it_was_emptied() {
    let Scene { home, sound, .. } = scene("spoilt");
    home.write("app/c.db", "");
    assert_eq!(home.run(&["backup", "app"]).code, 3);
    home.write("app/notes.txt", "newer");
    let newest = backup(&home, 0);
    let told =
        format!("warning: app:c.db of {newest} is an empty file; snapshot {sound} has it as a database with rows\n");
    let commands: [&[&str]; 4] = [
        &["restore", "latest", "app:c.db", "--in-place", "--dry-run"],
        &["restore", "latest", "app:c.db", "--in-place"],
        &["restore", "latest", "--to", "out"],
        &["recover", "latest", "--file", "app:c.db"],
    ];
    for command in commands {
        let ran = home.run(&[&["-q"], command].concat());
        assert!(ran.code == 3 && ran.err == told, "{command:?}: {} {}", ran.code, ran.err);
    }
    assert_eq!(home.ok(&["restore", "latest", "app:notes.txt", "--to", "other"]).err, "");
}
