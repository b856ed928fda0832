//! Files of a record that are replaced, removed or come upon something else: nothing is lost that is in no snapshot, and no
//! database is given back beside a log that is not its own.

use std::os::unix::fs::symlink;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use strongroom::ops::restore::in_place::Step;
use strongroom::record::plan::{OnConflict, Options};

use super::killed::inside;
use super::*;

const OVERWRITE: [&str; 6] = ["recover", "latest", "project", "7", "--on-conflict", "overwrite"];

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).unwrap()
}

#[test]
fn a_linked_file_is_kept_safe_before_it_is_replaced_whatever_letters_are_in_its_name() {
    let home = shop();
    let names = ["in\\voice.txt", "\\", "a\\*", "{a,b}", "[x]", "*", "?", "a,b", "!", "}", "]"];
    let all = |content: &str| {
        names.iter().for_each(|name| home.write(&format!("app/documents/7/{name}"), format!("{content} {name}")))
    };
    all("old");
    home.ok(&["backup"]);
    all("newer");
    home.ok(&OVERWRITE);
    names.iter().for_each(|name| assert_eq!(read(&home, &format!("app/documents/7/{name}")), format!("old {name}")));
    home.ok(&["undo"]);
    names.iter().for_each(|name| assert_eq!(read(&home, &format!("app/documents/7/{name}")), format!("newer {name}")));
}

#[test]
fn a_linked_file_is_kept_safe_before_it_is_replaced_though_backups_would_leave_it_out() {
    let home = shop();
    home.write("strongroom.toml", CONFIG.replace("'app/documents'", "'app/documents'\ncachedirs = true"));
    home.write("app/documents/7/deep/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n");
    home.ok(&["backup"]);
    // What is left out by now is overwritten all the same, and so has to be kept.
    home.write("strongroom.toml", CONFIG.replace("'app/documents'", "'app/documents'\nexclude = ['71.txt']"));
    for number in [70, 71] {
        home.write(&format!("app/documents/7/deep/{number}.txt"), "newer");
    }
    let newer = state(&home);
    home.ok(&OVERWRITE);
    assert!(read(&home, "app/documents/7/deep/71.txt").starts_with("document 71"));
    home.ok(&["undo"]);
    assert_eq!(state(&home), newer);
}

#[test]
fn very_many_linked_files_are_replaced_and_taken_back() {
    let home = shop();
    // The text of all their paths together is what matters.
    let deep = format!("app/documents/7{}", format!("/{}", "d".repeat(200)).repeat(15));
    let all = |content: &str| (0..400).for_each(|number| home.write(&format!("{deep}/{number}"), content));
    all("old");
    home.ok(&["backup"]);
    all("newer");
    home.ok(&OVERWRITE);
    assert_eq!(read(&home, &format!("{deep}/399")), "old");
    home.ok(&["undo"]);
    assert_eq!(read(&home, &format!("{deep}/399")), "newer");
}

#[test]
fn the_text_of_a_key_stands_for_itself_in_the_pattern_of_its_files() {
    let home = Home::new();
    let config = |pattern: &str| {
        home.write(
            "strongroom.toml",
            format!(
                "app = 'shop'
                [source.db]\nkind = 'sqlite'\npath = 'shop.db'
                [source.documents]\nkind = 'files'\npath = 'documents'
                [entity.user]\nsource = 'db'\ntable = 'users'\nfiles = [{{ source = 'documents', path = '{pattern}' }}]"
            ),
        );
    };
    config("*/{slug}/**");
    let names = ["vic\\tim", "victim", "*", "[v]ictim", "{a,b}", "a", "\\", "?"];
    run(&home.path("shop.db"), "CREATE TABLE users(slug TEXT PRIMARY KEY, name TEXT)");
    for name in names {
        run(&home.path("shop.db"), &format!("INSERT INTO users VALUES('{name}', 'User named {name}')"));
        home.write(&format!("documents/2026/{name}/file"), format!("old {name}"));
    }
    home.ok(&["backup"]);
    for pattern in ["*/{slug}/**", "2026/{slug}/**"] {
        config(pattern);
        for name in names {
            run(&home.path("shop.db"), &format!("DELETE FROM users WHERE slug = '{name}'"));
            names.iter().for_each(|name| home.write(&format!("documents/2026/{name}/file"), "newer"));
            fs::remove_file(home.path(&format!("documents/2026/{name}/file"))).unwrap();
            home.ok(&["recover", "latest", "user", name, "--on-conflict", "overwrite"]);
            for other in names {
                let expected = if name == other { format!("old {name}") } else { "newer".to_owned() };
                assert_eq!(
                    read(&home, &format!("documents/2026/{other}/file")),
                    expected,
                    "{pattern}: {name}, {other}"
                );
            }
        }
    }
}

/// A project with a database of its own, which an app has open; three rows of it are in the snapshot.
fn with_database(home: &Home, mode: &str) -> Connection {
    let app = Connection::open(home.path("app/documents/7/data.db")).unwrap();
    app.execute_batch(&format!("PRAGMA journal_mode = {mode}; CREATE TABLE t(id INTEGER PRIMARY KEY, x)")).unwrap();
    app.execute_batch("CREATE INDEX tx ON t(x); INSERT INTO t(x) VALUES('a'), ('b'), ('c')").unwrap();
    if mode == "WAL" {
        app.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    }
    home.ok(&["backup"]);
    app
}

fn rows(connection: &Connection) -> i64 {
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    connection.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap()
}

fn rows_of_others(home: &Home) -> i64 {
    rows(&Connection::open(home.path("app/documents/7/data.db")).unwrap())
}

#[test]
fn a_linked_database_is_never_replaced_as_a_file_and_told_with_a_way_to_have_it_back() {
    for mode in ["WAL", "DELETE"] {
        let home = shop();
        let app = with_database(&home, mode);
        app.execute_batch("INSERT INTO t(x) VALUES('d')").unwrap();
        if mode == "WAL" {
            app.execute_batch("PRAGMA wal_checkpoint(FULL); INSERT INTO t(x) VALUES('in the log')").unwrap();
        }
        let now = rows(&app);
        run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
        let ran = home.run(&OVERWRITE);
        assert_eq!(ran.code, 3, "{mode}: {}{}", ran.out, ran.err);
        let hint = ran.err.split("strongroom restore ").nth(1).expect("a command").lines().next().unwrap();
        assert!(ran.err.contains("documents/7/data.db") && hint.contains("--in-place"), "{}", ran.err);
        assert_eq!((rows(&app), rows_of_others(&home)), (now, now), "{mode}");
        // The rows of the record came back, and go again, without the database.
        home.ok(&["undo"]);
        assert_eq!((rows(&app), rows_of_others(&home)), (now, now), "{mode}");
        // The way that is told is one.
        home.ok(&[&["restore"], &hint.split(' ').collect::<Vec<_>>()[..]].concat());
        assert_eq!((rows(&app), rows_of_others(&home)), (3, 3), "{mode}");
        // Now it is as it was.
        home.ok(&OVERWRITE);
    }
}

#[test]
fn a_linked_database_whose_log_holds_newer_rows_is_not_told_as_there() {
    let home = shop();
    let app = with_database(&home, "WAL");
    app.execute_batch("INSERT INTO t(x) VALUES('in the log')").unwrap();
    let ran = home.run(&["--quiet", "recover", "latest", "project", "7", "--on-conflict", "overwrite"]);
    assert!(ran.code == 3 && ran.err.contains("documents/7/data.db"), "{}{}", ran.out, ran.err);
    let ran = home.ok(&["recover", "latest", "project", "7"]);
    assert!(ran.out.contains("data.db  it holds something else"), "{}", ran.out);
    // By any of its names.
    drop(app);
    fs::rename(home.path("app/documents/7/data.db"), home.path("app/documents/7/used.db")).unwrap();
    fs::hard_link(home.path("app/documents/7/used.db"), home.path("app/documents/7/data.db")).unwrap();
    home.ok(&["restore", "latest", "documents:7/data.db", "--in-place"]);
    let app = Connection::open(home.path("app/documents/7/used.db")).unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('in the log')").unwrap();
    assert_eq!(home.run(&OVERWRITE).code, 3);
    assert_eq!(rows(&app), 4);
}

#[test]
fn a_linked_database_that_is_gone_does_not_come_back_beside_a_log_that_was_left() {
    let home = shop();
    let app = with_database(&home, "WAL");
    app.execute_batch("DELETE FROM t WHERE x = 'a'").unwrap();
    let folder = home.path("app/documents/7");
    fs::copy(folder.join("data.db-wal"), home.path("log")).unwrap();
    drop(app);
    fs::remove_file(folder.join("data.db")).unwrap();
    fs::copy(home.path("log"), folder.join("data.db-wal")).unwrap();
    run(&home.path("app/shop.db"), "DELETE FROM projects WHERE id = 7");
    let ran = home.run(&["recover", "latest", "project", "7"]);
    assert!(ran.code == 3 && ran.err.contains("documents/7/data.db"), "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("data.db-wal"), "{}", ran.err);
    assert!(!folder.join("data.db").exists());
    fs::remove_file(folder.join("data.db-wal")).unwrap();
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(rows_of_others(&home), 3);
    // It goes again, but not from under an app that has it open.
    let app = Connection::open(folder.join("data.db")).unwrap();
    assert_eq!(rows(&app), 3);
    for arguments in [&["undo"][..], &["undo", "--force"]] {
        let error = home.fails(11, arguments);
        assert!(error.contains("data.db would be removed"), "{error}");
    }
    drop(app);
    home.ok(&["undo"]);
    assert!(!folder.join("data.db").exists());
}

#[test]
fn a_log_that_was_captured_as_a_file_is_not_given_back_beside_a_database_of_another_moment() {
    let home = shop();
    home.write("strongroom.toml", CONFIG.replace("'app/documents'", "'app/documents'\nplain = true"));
    let app = with_database(&home, "WAL");
    app.execute_batch("INSERT INTO t(x) VALUES('in the log')").unwrap();
    home.ok(&["backup"]);
    app.execute_batch("INSERT INTO t(x) VALUES('later')").unwrap();
    drop(app);
    assert!(!home.path("app/documents/7/data.db-wal").exists());
    let ran = home.run(&["recover", "latest", "project", "7"]);
    assert!(!home.path("app/documents/7/data.db-wal").exists(), "{}", ran.out);
    assert_eq!(rows_of_others(&home), 5);
    assert_eq!(home.run(&OVERWRITE).code, 3);
    assert_eq!(rows_of_others(&home), 5);
    // All of it comes back where nothing of it is there.
    fs::remove_dir_all(home.path("app/documents/7")).unwrap();
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(rows_of_others(&home), 4);
}

#[test]
fn an_undo_removes_only_what_the_recovery_put_there() {
    type Change = fn(&Path);
    let file = "app/documents/7/deep/70.txt";
    let link = "app/documents/7/link";
    let changes: [(&str, Change); 4] = [
        (file, |path| symlink("/somewhere/else", path).unwrap()),
        (file, |path| fs::create_dir(path).unwrap()),
        (link, |path| symlink("elsewhere", path).unwrap()),
        (link, |path| fs::write(path, "mine").unwrap()),
    ];
    let home = shop();
    symlink("deep", home.path(link)).unwrap();
    home.ok(&["backup"]);
    for (path, change) in changes {
        lose(&home, 7);
        home.ok(&["recover", "latest", "project", "7"]);
        fs::remove_file(home.path(path)).unwrap();
        change(&home.path(path));
        let error = home.fails(1, &["undo", "--yes"]);
        assert!(error.contains(path.strip_prefix("app/").unwrap()), "{error}");
        assert!(fs::symlink_metadata(home.path(path)).is_ok());
    }
}

/// Not a test of its own: recovers project 7, and at a step somebody writes to one of its files.
#[test]
fn somebody_writes_meanwhile() {
    let Some(inside) = inside() else { return };
    let file = place("STRONGROOM_TEST_WORK").unwrap().join("app/documents/7/deep/70.txt");
    let is_killed = std::env::var("STRONGROOM_TEST_STEP").unwrap() == "killed";
    let told = |reached: Step| match reached {
        Step::Safe(_) => fs::write(&file, "written after the safety snapshot").unwrap(),
        Step::Reached("committed") if is_killed => super::killed::die(),
        _ => {}
    };
    let options = Options { on_conflict: OnConflict::Overwrite, ..Options::default() };
    inside.recover(options, &told, Arc::default()).unwrap();
}

#[test]
fn a_linked_file_that_is_written_after_the_safety_snapshot_is_left_alone_and_told() {
    for step in ["whole", "killed"] {
        let home = shop();
        let whole = state(&home);
        lose(&home, 7);
        home.write("app/documents/7/deep/70.txt", "before");
        home.write("app/documents/7/deep/71.txt", "before");
        let ran = process(&home, "recover::linked::somebody_writes_meanwhile", step).output().unwrap();
        if step == "killed" {
            assert_eq!(ran.status.signal(), Some(9));
            let told = home.run(&["undo", "--list"]);
            assert!(told.err.contains("documents/7/deep/70.txt") && told.err.contains("left alone"), "{}", told.err);
        } else {
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        }
        assert_eq!(read(&home, "app/documents/7/deep/70.txt"), "written after the safety snapshot", "{step}");
        assert!(read(&home, "app/documents/7/deep/71.txt").starts_with("document 71"), "{step}");
        // An undo has nothing to do with it, and counts it not.
        let undone = home.json(&["undo"]);
        assert_eq!((&undone["report"]["files"], &undone["report"]["removed"]), (&1.into(), &4.into()), "{undone}");
        assert_eq!(read(&home, "app/documents/7/deep/70.txt"), "written after the safety snapshot", "{step}");
        assert_eq!(read(&home, "app/documents/7/deep/71.txt"), "before", "{step}");
        home.ok(&OVERWRITE);
        assert_eq!(state(&home), whole);
    }
}

#[test]
fn a_linked_file_that_appears_while_its_record_comes_back_is_left_alone_and_not_taken_back() {
    let home = shop();
    lose(&home, 7);
    home.write("app/documents/7/deep/71.txt", "before");
    let ran = process(&home, "recover::linked::somebody_writes_meanwhile", "whole").output().unwrap();
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(read(&home, "app/documents/7/deep/70.txt"), "written after the safety snapshot");
    home.ok(&["undo"]);
    assert_eq!(read(&home, "app/documents/7/deep/70.txt"), "written after the safety snapshot");
}
