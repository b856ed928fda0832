//! Giving data back where it lives, and taking that back.

mod asked;
mod at_once;
mod damaged;
mod foreseen;
mod linked;
mod metadata;
mod names;
mod nothing;
mod odd;
mod once;
mod read_only;
mod rot;
mod undone;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rusqlite::Connection;
use serde_json::Value;

use crate::support::program::{Home, blocks, differences, page};

fn sql(file: &Path, text: &str) {
    let connection = Connection::open(file).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection.execute_batch(text).unwrap();
}

fn number(file: &Path, text: &str) -> i64 {
    Connection::open(file).unwrap().query_row(text, [], |row| row.get(0)).unwrap()
}

/// An app of files and a database, and a snapshot of it.
fn app() -> Home {
    app_in(Home::new())
}

fn app_in(home: Home) -> Home {
    home.write("app/readme.md", "one\n");
    home.write("app/docs/a.txt", "alpha\n");
    home.write("app/docs/b.txt", "beta\n");
    home.write("app/docs/deep/c.txt", "gamma\n");
    sql(
        &home.path("app/shop.db"),
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, text TEXT); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL
         SELECT i + 1 FROM n WHERE i < 3000) INSERT INTO orders SELECT i, hex(randomblob(50)) FROM n",
    );
    home.ok(&["backup", "app"]);
    home
}

const ORDERS: &str = "SELECT count(*) FROM orders";

/// Loses some of it, changes some and adds some.
fn harm(home: &Home) {
    sql(&home.path("app/shop.db"), "DELETE FROM orders WHERE id % 3 = 0");
    home.write("app/docs/a.txt", "spoiled\n");
    home.write("app/foreign.txt", "mine\n");
    fs::remove_file(home.path("app/docs/b.txt")).unwrap();
    fs::remove_dir_all(home.path("app/docs/deep")).unwrap();
    fs::set_permissions(home.path("app/readme.md"), fs::Permissions::from_mode(0o600)).unwrap();
}

fn copy(home: &Home, name: &str) {
    let status = std::process::Command::new("cp").arg("-a").arg(home.path("app")).arg(home.path(name)).status();
    assert!(status.unwrap().success());
}

/// Are two trees the same, databases by what they hold?
fn assert_same(home: &Home, name: &str) {
    let changed = differences(&home.path("app"), &home.path(name));
    let other: Vec<&str> = changed.lines().filter(|line| !line.contains("shop.db") && !line.ends_with("./")).collect();
    assert!(other.is_empty(), "{other:#?}");
    let rows = "SELECT group_concat(id || text) FROM (SELECT * FROM orders ORDER BY id)";
    let all = |folder: &str| -> String {
        let file = home.path(folder).join("shop.db");
        Connection::open(file).unwrap().query_row(rows, [], |row| row.get(0)).unwrap()
    };
    assert_eq!(all("app"), all(name));
    let sound: String = Connection::open(home.path("app/shop.db"))
        .unwrap()
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(sound, "ok");
}

fn snapshots(home: &Home) -> Vec<Value> {
    home.json(&["snapshots"])["snapshots"].as_array().unwrap().clone()
}

#[test]
fn a_restore_in_place_gives_back_what_was_lost_and_undo_takes_exactly_that_back() {
    let home = app();
    harm(&home);
    copy(&home, "harmed");
    let connected = Connection::open(home.path("app/shop.db")).unwrap();
    assert_eq!(connected.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 2000);
    let ran = home.ok(&["restore", "latest", "--in-place"]);
    assert!(ran.out.contains("safety snapshot  ") && ran.out.contains("undo: strongroom undo"), "{}", ran.out);
    assert!(ran.out.contains("pages written, integrity ok"), "{}", ran.out);
    assert_eq!(connected.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 3000);
    drop(connected);
    assert_eq!(fs::read_to_string(home.path("app/docs/a.txt")).unwrap(), "alpha\n");
    assert_eq!(fs::read_to_string(home.path("app/docs/deep/c.txt")).unwrap(), "gamma\n");
    assert_eq!(fs::read_to_string(home.path("app/foreign.txt")).unwrap(), "mine\n");
    assert_eq!(fs::metadata(home.path("app/readme.md")).unwrap().permissions().mode() & 0o777, 0o644);
    copy(&home, "restored");
    let ran = home.ok(&["undo"]);
    assert!(ran.out.contains("took back the restore of") && ran.out.contains("undo: strongroom undo "), "{}", ran.out);
    assert_same(&home, "harmed");
    assert!(!home.path("app/docs/b.txt").exists() && !home.path("app/docs/deep").exists());
    assert!(home.fails(1, &["undo"]).contains("there is nothing to take back"));
    // The undo is an action like any other.
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    assert_eq!(list.len(), 2);
    assert_eq!((&list[0]["undone_by"], &list[1]["undoes"]), (&list[1]["id"], &list[0]["id"]));
    home.ok(&["undo", list[1]["id"].as_str().unwrap()]);
    assert_same(&home, "restored");
    home.ok(&["undo"]);
    assert_same(&home, "harmed");
    home.ok(&["verify", "--read-data"]);
}

#[test]
fn only_the_part_asked_for_is_touched() {
    let home = app();
    harm(&home);
    let report = home.json(&["restore", "latest", "app:docs", "--in-place"])["report"].clone();
    assert_eq!(report["databases"].as_array().unwrap().len(), 0);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 2000);
    assert_eq!(fs::read_to_string(home.path("app/docs/b.txt")).unwrap(), "beta\n");
    assert_eq!(fs::metadata(home.path("app/readme.md")).unwrap().permissions().mode() & 0o777, 0o600);
    let report = home.json(&["restore", "latest", "app:shop.db", "--in-place"])["report"].clone();
    let database = &report["databases"][0];
    assert_eq!((&database["path"], &database["way"]), (&"app/shop.db".into(), &"pages".into()));
    assert_eq!(database["checked"]["result"], "sound");
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3000);
    assert!(home.fails(1, &["restore", "latest", "app:nothing", "--in-place"]).contains("nothing is not in app"));
}

#[test]
fn a_source_that_is_one_database_goes_back_where_it_lives() {
    let home = app();
    home.ok(&["backup", "app/shop.db", "--app", "one"]);
    sql(&home.path("app/shop.db"), "DROP TABLE orders");
    home.ok(&["restore", "latest", "--app", "one", "--in-place"]);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3000);
    fs::remove_file(home.path("app/shop.db")).unwrap();
    let report = home.json(&["restore", "latest", "--app", "one", "--in-place"])["report"].clone();
    assert_eq!((&report["databases"][0]["way"], &report["safety"]), (&"created".into(), &Value::Null));
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3000);
    home.ok(&["undo"]);
    assert!(!home.path("app/shop.db").exists());
}

#[test]
fn what_is_lost_altogether_comes_back_and_undo_removes_it_again() {
    let home = app();
    copy(&home, "before");
    fs::remove_dir_all(home.path("app")).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    assert_same(&home, "before");
    home.write("app/new.txt", "newer work\n");
    home.run(&["undo"]);
    assert_eq!(fs::read_to_string(home.path("app/new.txt")).unwrap(), "newer work\n");
    assert!(!home.path("app/docs").exists() && !home.path("app/shop.db").exists());
}

#[test]
fn an_undo_that_would_lose_newer_work_is_refused_until_it_is_forced() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    home.write("app/docs/b.txt", "newer work\n");
    let said = home.run(&["undo"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("1 path changed since") && said.err.contains("app/docs/b.txt"), "{}", said.err);
    assert_eq!(fs::read_to_string(home.path("app/docs/b.txt")).unwrap(), "newer work\n");
    home.ok(&["restore", "latest", "app:docs/b.txt", "--in-place"]);
    let second = home.json(&["undo", "--list"])["actions"][1]["id"].as_str().unwrap().to_owned();
    sql(&home.path("app/shop.db"), "INSERT INTO orders VALUES(9999, 'newer work')");
    let first = home.json(&["undo", "--list"])["actions"][0]["id"].as_str().unwrap().to_owned();
    let said = home.run(&["undo", &first]);
    assert!(said.err.contains("app/shop.db"), "{}", said.err);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3001);
    let report = home.json(&["undo", &first, "--force"]);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 2000);
    // Even then nothing is lost: it is in the safety snapshot.
    let safety = report["report"]["safety"].as_str().unwrap().to_owned();
    home.ok(&["restore", &safety, "--to", "kept"]);
    assert_eq!(number(&home.path("kept/shop.db"), ORDERS), 3001);
    assert!(!second.is_empty() && home.fails(1, &["undo", &first]).contains("was taken back already"));
}

#[test]
fn an_app_that_reads_and_writes_a_database_without_changing_it_is_no_obstacle_to_undo() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    sql(&home.path("app/shop.db"), "SELECT * FROM orders; PRAGMA journal_mode = WAL; PRAGMA journal_mode = DELETE");
    home.ok(&["undo"]);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 2000);
}

#[test]
fn a_database_that_stays_locked_ends_with_eleven_and_nothing_is_changed() {
    let home = app();
    harm(&home);
    copy(&home, "harmed");
    let holder = Connection::open(home.path("app/shop.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let said = home.run(&["restore", "latest", "--in-place", "--wait", "1"]);
    assert_eq!(said.code, 11, "{}", said.err);
    assert!(said.err.contains("stayed locked for 1 s") && said.err.contains("hint: "), "{}", said.err);
    drop(holder);
    assert_same(&home, "harmed");
    let list = home.ok(&["undo", "--list"]).out;
    assert!(list.contains("nothing was done to live data"), "{list}");
    assert!(home.fails(1, &["undo"]).contains("there is nothing to take back"));
}

#[test]
fn the_newest_snapshot_is_not_the_safety_snapshot_of_what_was_lost() {
    let home = app();
    let first = snapshots(&home)[0]["id"].clone();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    let all = snapshots(&home);
    assert_eq!((all.len(), &all[1]["reason"]), (2, &"safety".into()));
    assert_eq!(home.json(&["show", "latest"])["id"], first);
    assert_eq!(home.json(&["show", all[1]["id"].as_str().unwrap()])["id"], all[1]["id"]);
    assert!(home.ok(&["snapshots"]).out.contains("safety"));
}

#[test]
fn what_the_safety_snapshot_leaves_out_is_left_alone() {
    let home = app();
    let text = |exclude: &str| format!("[source.app]\nkind = \"files\"\npath = \"app\"\n{exclude}");
    home.write("app/cache.bin", "warm\n");
    home.write("strongroom.toml", text(""));
    home.ok(&["backup"]);
    home.write("strongroom.toml", text("exclude = [\"cache.bin\"]\n"));
    home.write("app/cache.bin", "hot\n");
    home.write("app/readme.md", "two\n");
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("app/cache.bin: left alone"), "{}", ran.err);
    assert_eq!(fs::read_to_string(home.path("app/cache.bin")).unwrap(), "hot\n");
    assert_eq!(fs::read_to_string(home.path("app/readme.md")).unwrap(), "one\n");
    home.ok(&["undo"]);
    assert_eq!(fs::read_to_string(home.path("app/cache.bin")).unwrap(), "hot\n");
    assert_eq!(fs::read_to_string(home.path("app/readme.md")).unwrap(), "two\n");
}

#[test]
fn without_a_safety_snapshot_there_is_no_way_back_and_that_is_said() {
    let home = app();
    harm(&home);
    let ran = home.ok(&["restore", "latest", "--in-place", "--no-safety"]);
    assert!(ran.err.contains("there is no undo") && !ran.out.contains("strongroom undo"), "{}{}", ran.out, ran.err);
    assert_eq!(snapshots(&home).len(), 1);
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3000);
    assert!(home.fails(1, &["undo"]).contains("without a safety snapshot"));
    assert_eq!(home.run(&["restore", "latest", "--in-place", "--to", "x"]).code, 2);
    assert_eq!(home.run(&["restore", "latest"]).code, 2);
}

#[test]
fn a_restore_that_is_killed_at_any_moment_is_known_and_taken_back() {
    let home = app();
    for n in 0..400 {
        home.write(&format!("app/many/{n}.txt"), format!("{n}\n").repeat(500));
    }
    home.ok(&["backup", "app"]);
    let snapshot = snapshots(&home)[1]["id"].as_str().unwrap().to_owned();
    harm(&home);
    for n in 0..400 {
        home.write(&format!("app/many/{n}.txt"), "lost\n");
    }
    copy(&home, "harmed");
    let mut halves = 0;
    for round in 0..12u64 {
        let mut child = home.command(&["restore", &snapshot, "--in-place"]);
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        // The first line says where; the second one comes when the safety snapshot is made.
        let mut out = std::io::BufReader::new(child.stdout.take().unwrap());
        for _ in 0..2 {
            std::io::BufRead::read_line(&mut out, &mut String::new()).unwrap();
        }
        std::thread::sleep(Duration::from_micros(round * 2500));
        child.kill().unwrap();
        child.wait().unwrap();
        let open = home.json(&["undo", "--list"])["actions"].as_array().unwrap().last().cloned();
        match open.filter(|action| action["undone_by"].is_null() && action["kind"] == "restore") {
            None => {}
            Some(action) => {
                halves += u64::from(action["state"] == "begun");
                let report = home.json(&["undo"]);
                assert_eq!(report["undone"], action["id"]);
            }
        }
        // One that was killed before it was written down has changed nothing, and left nothing.
        assert_same(&home, "harmed");
    }
    assert!(halves > 0, "none was killed half way");
}

#[test]
fn a_log_that_another_database_left_does_not_spoil_a_restored_one() {
    let home = app();
    for side in ["-wal", "-shm", "-journal"] {
        home.write(&format!("out/shop.db{side}"), "of another database");
    }
    home.write("out/notes-wal", "no log at all");
    let ran = home.ok(&["restore", "latest", "--to", "out"]);
    assert!(ran.err.contains("removed shop.db-wal, which another database had left there"), "{}", ran.err);
    assert_eq!(number(&home.path("out/shop.db"), ORDERS), 3000);
    assert!(home.path("out/notes-wal").exists() && !home.path("out/shop.db-journal").exists());
    // An app that has it open with a log of its own keeps it.
    let app = Connection::open(home.path("out/shop.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode = WAL; DELETE FROM orders WHERE id > 10").unwrap();
    let ran = home.run(&["restore", "latest", "--to", "out"]);
    assert_eq!(ran.code, 3, "{}", ran.err);
    assert!(ran.err.contains("shop.db: left alone: an app has it open"), "{}", ran.err);
    assert_eq!(app.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 10);
    drop(app);
    home.ok(&["restore", "latest", "--to", "out"]);
    assert_eq!(number(&home.path("out/shop.db"), ORDERS), 3000);
}

#[test]
fn hooks_run_around_a_restore_in_place_and_a_first_one_that_fails_stops_it() {
    let home = app();
    harm(&home);
    let config = |before: &str, after: &str| {
        let sources = "[source.app]\nkind = \"files\"\npath = \"app\"\n";
        home.write(
            "strongroom.toml",
            format!("{sources}[hooks]\nbefore_restore = '{before}'\nafter_restore = '{after}'\n"),
        );
    };
    config(
        "echo $STRONGROOM_HOOK $STRONGROOM_SOURCES >> told; echo loud",
        "echo $STRONGROOM_HOOK >> told; test -e app/docs/b.txt",
    );
    let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
    assert_eq!(fs::read_to_string(home.path("told")).unwrap(), "before_restore app\nafter_restore\n");
    assert_eq!((&report["hooks"][0]["name"], report["hooks"].as_array().unwrap().len()), (&"before_restore".into(), 2));
    home.ok(&["undo", "--no-hooks"]);
    config("exit 9", "echo again >> told");
    let said = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("before_restore failed: it ended with 9"), "{}", said.err);
    assert!(!home.path("app/docs/b.txt").exists());
    assert!(fs::read_to_string(home.path("told")).unwrap().ends_with("again\n"), "the app is started again");
    config("true", "exit 9");
    assert_eq!(home.run(&["restore", "latest", "--in-place"]).code, 3);
    assert!(home.path("app/docs/b.txt").exists());
    home.write("strongroom.toml", "[hooks]\nbefore_restor = 'x'\n");
    assert!(home.fails(2, &["restore", "latest", "--in-place"]).contains("unknown key before_restor"));
}

/// A database in use and its log, captured as the plain files they are: together they are the database.
#[test]
fn a_database_captured_with_its_log_beside_it_goes_back_as_both_say() {
    let home = app();
    let app = Connection::open(home.path("app/shop.db")).unwrap();
    app.execute_batch("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; DELETE FROM orders WHERE id > 500")
        .unwrap();
    assert_eq!(home.run(&["backup", "app"]).code, 3, "that many rows are gone is an alarm");
    app.execute_batch("DELETE FROM orders").unwrap();
    let ran = home.ok(&["restore", "latest", "--in-place"]);
    assert!(ran.out.contains("pages written, integrity ok"), "{}", ran.out);
    assert_eq!(app.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 500);
    app.execute_batch("PRAGMA wal_checkpoint(PASSIVE); INSERT INTO orders VALUES(9999, 'newer work')").unwrap();
    assert!(home.run(&["undo"]).err.contains("app/shop.db"), "what only the log holds counts");
    app.execute_batch("DELETE FROM orders WHERE id = 9999").unwrap();
    home.ok(&["undo", "--force"]);
    assert_eq!(app.query_row(ORDERS, [], |row| row.get::<_, i64>(0)).unwrap(), 0);
    let names = fs::read_dir(home.path("app")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
}

#[test]
fn the_commands_of_the_runbook_do_what_it_says() {
    let home = app();
    harm(&home);
    let script = blocks(&page("runbooks/restore-in-place.md")).concat();
    assert!(script.lines().count() >= 7, "{script}");
    home.shell(&script);
    assert_eq!(number(&home.path("look/shop.db"), ORDERS), 3000);
    // The undo takes back the second restore; the first one stands.
    assert_eq!(number(&home.path("app/shop.db"), ORDERS), 3000);
    assert!(!home.path("app/docs/b.txt").exists());
}
