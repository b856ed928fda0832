//! What an undo takes for somebody's newer work, and what it leaves behind.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use rusqlite::Connection;
use strongroom::ops::restore::in_place::Step;

use super::once::{captured_alone, give_back, take_back, take_back_told};
use super::{ORDERS, app, assert_same, copy, harm, number, snapshots, sql};
use crate::support::program::Home;
use crate::support::vaults::Lab;

#[test]
fn an_undo_that_was_killed_goes_on_when_it_is_run_again() {
    for stop in ["database given back", "saved"] {
        let lab = Lab::in_folder();
        let folder = lab.path("app");
        fs::create_dir(&folder).unwrap();
        let database = folder.join("s.db");
        sql(&database, "CREATE TABLE t (x); INSERT INTO t VALUES ('first')");
        fs::write(folder.join("f"), "first\n").unwrap();
        let manifest = captured_alone(&lab, &folder);
        sql(&database, "INSERT INTO t VALUES ('newer')");
        fs::write(folder.join("f"), "newer\n").unwrap();
        give_back(&lab, &manifest, None);
        let told = |step: Step| {
            if matches!(step, Step::Reached(at) if at == stop) {
                panic!("the process ends here");
            }
        };
        assert!(catch_unwind(AssertUnwindSafe(|| take_back_told(&lab, &told))).is_err());
        take_back(&lab).unwrap_or_else(|error| panic!("{stop}: {error}"));
        assert_eq!(number(&database, "SELECT count(*) FROM t"), 2, "{stop}");
        assert_eq!(fs::read_to_string(folder.join("f")).unwrap(), "newer\n");
        let actions = strongroom::ops::actions::Actions::new(lab.path("actions")).list().unwrap();
        assert!(actions.iter().rev().skip(1).all(|action| action.undone_by.is_some()), "{stop}: {actions:#?}");
    }
}

#[test]
fn another_name_of_a_restored_file_is_no_obstacle_to_undo() {
    let home = app();
    home.write("app/docs/b.txt", "newer\n");
    home.ok(&["restore", "latest", "--in-place"]);
    fs::hard_link(home.path("app/docs/b.txt"), home.path("app/docs/a-name.txt")).unwrap();
    home.ok(&["undo"]);
    assert_eq!(fs::read_to_string(home.path("app/docs/b.txt")).unwrap(), "newer\n");
    assert_eq!(fs::read_to_string(home.path("app/docs/a-name.txt")).unwrap(), "beta\n");
}

#[test]
fn a_database_that_is_as_it_was_before_the_restore_is_no_obstacle_to_undo() {
    let home = app();
    harm(&home);
    copy(&home, "harmed");
    home.ok(&["restore", "latest", "--in-place"]);
    fs::copy(home.path("harmed/shop.db"), home.path("app/shop.db")).unwrap();
    sql(&home.path("app/shop.db"), "PRAGMA user_version = 0");
    home.ok(&["undo"]);
    assert_same(&home, "harmed");
}

#[test]
fn an_undo_that_is_refused_makes_no_safety_snapshot() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    let count = snapshots(&home).len();
    home.write("app/docs/b.txt", "newer work\n");
    let said = home.run(&["undo"]);
    assert!(said.code == 1 && said.err.contains("app/docs/b.txt"), "{}{}", said.out, said.err);
    assert!(said.out.lines().count() == 1 && said.out.starts_with("taking back "), "{}", said.out);
    home.ok(&["restore", "latest", "app:docs/b.txt", "--in-place"]);
    let count_then = snapshots(&home).len();
    sql(&home.path("app/shop.db"), "INSERT INTO orders VALUES(9999, 'newer work')");
    let first = home.json(&["undo", "--list"])["actions"][0]["id"].as_str().unwrap().to_owned();
    assert!(home.run(&["undo", &first]).err.contains("app/shop.db"));
    assert_eq!((count_then, snapshots(&home).len()), (count + 1, count + 1));
}

#[test]
fn a_database_that_an_app_has_open_is_not_removed_by_undo() {
    for mode in ["WAL", "DELETE"] {
        let home = app();
        let live = home.path("app/shop.db");
        sql(&live, &format!("PRAGMA journal_mode = {mode}"));
        home.ok(&["backup", "app"]);
        fs::remove_file(&live).unwrap();
        home.ok(&["restore", "latest", "--in-place"]);
        let app = Connection::open(&live).unwrap();
        assert_eq!(app.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 3000);
        for force in [&["undo"][..], &["undo", "--force"]] {
            let said = home.fails(11, force);
            assert!(said.contains("app/shop.db would be removed, and another process has it open"), "{mode}: {said}");
        }
        app.execute_batch("INSERT INTO orders VALUES (9999, 'goes on')").unwrap();
        drop(app);
        sql(&live, "DELETE FROM orders WHERE id = 9999");
        home.ok(&["undo", "--force"]);
        let left = |side: &str| Path::new(&format!("{}{side}", live.display())).exists();
        assert!(!["", "-wal", "-shm", "-journal"].into_iter().any(left), "{mode}");
    }
}

#[test]
fn the_log_that_lay_where_a_database_was_made_anew_comes_back_with_undo() {
    let home = app();
    let live = home.path("app/shop.db");
    let side = |side: &str| home.path(&format!("app/shop.db{side}"));
    let connection = Connection::open(&live).unwrap();
    connection.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0").unwrap();
    home.ok(&["backup", "app"]);
    connection.execute_batch("DELETE FROM orders").unwrap();
    // As after a process that ended without closing its database.
    let log = fs::read(side("-wal")).unwrap();
    drop(connection);
    fs::remove_file(&live).unwrap();
    fs::write(side("-wal"), &log).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(number(&live, ORDERS), 3000);
    home.ok(&["undo"]);
    assert!(!live.exists());
    assert!(fs::read(side("-wal")).unwrap() == log);
    home.ok(&["undo", home.json(&["undo", "--list"])["actions"][1]["id"].as_str().unwrap()]);
    assert_eq!(number(&live, ORDERS), 3000);
}

#[test]
fn the_folders_that_a_restore_made_go_with_its_undo() {
    let home = app();
    fs::remove_dir_all(home.path("app")).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    home.ok(&["undo"]);
    assert!(!home.path("app").exists());
    let redone = home.json(&["undo", "--list"])["actions"][1]["id"].as_str().unwrap().to_owned();
    home.ok(&["undo", &redone]);
    fs::remove_dir_all(home.path("app/docs")).unwrap();
    home.ok(&["restore", "latest", "app:docs/deep/c.txt", "--in-place"]);
    assert!(home.path("app/docs/deep/c.txt").exists());
    home.ok(&["undo"]);
    assert!(!home.path("app/docs").exists() && home.path("app/readme.md").exists());
}

#[test]
fn a_point_in_time_is_never_what_a_restore_had_replaced() {
    let home = Home::new();
    home.write("one/f", "1\n");
    home.write("two/f", "2\n");
    let source = |name: &str| format!("[source.{name}]\nkind = 'files'\npath = '{name}'\n");
    home.write("strongroom.toml", source("one") + &source("two"));
    home.ok(&["backup"]);
    home.write("one/f", "changed\n");
    home.ok(&["restore", "latest", "one", "--in-place"]);
    fs::remove_dir_all(home.path("two")).unwrap();
    home.ok(&["restore", "@now", "--to", "out"]);
    let held = |path: &str| fs::read_to_string(home.path(path)).unwrap();
    assert_eq!((held("out/one/f"), held("out/two/f")), ("1\n".to_owned(), "2\n".to_owned()));
    // By its id it is found.
    let snapshots = home.json(&["snapshots"]);
    let safety = snapshots["snapshots"].as_array().unwrap().iter().find(|one| one["reason"] == "safety").unwrap();
    home.ok(&["restore", safety["id"].as_str().unwrap(), "--to", "before"]);
    assert_eq!(held("before/f"), "changed\n");
}
