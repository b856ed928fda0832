//! Databases with several names: what SQLite keeps beside one of them belongs to all, and nothing is lost, spoiled or called whole
//! that is not.

use super::*;

const COUNT: &str = "SELECT count(*) FROM t";

/// Makes a database with a log that an app has open, and a second name of it; fifty of its rows are in the log only.
fn logged(home: &Home, name: &str, other: &str) -> Connection {
    for path in [name, other].into_iter().filter(|path| !path.is_empty()) {
        fs::create_dir_all(home.path(path).parent().unwrap()).unwrap();
    }
    let app = Connection::open(home.path(name)).unwrap();
    let sql = "PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE INDEX tx ON t(x);
               INSERT INTO t VALUES(1, 'first'); PRAGMA wal_checkpoint(TRUNCATE)";
    app.execute_batch(sql).unwrap();
    if !other.is_empty() {
        fs::hard_link(home.path(name), home.path(other)).unwrap();
    }
    for _ in 0..50 {
        app.execute_batch("INSERT INTO t(x) VALUES('committed')").unwrap();
    }
    app
}

fn count(connection: &Connection) -> i64 {
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    connection.query_row(COUNT, [], |row| row.get(0)).unwrap()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = walkdir::WalkDir::new(folder).min_depth(1).sort_by_file_name().into_iter().map(Result::unwrap);
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn restored(home: &Home, name: &str) -> Vec<String> {
    let out = home.path("out");
    if out.exists() {
        fs::remove_dir_all(&out).unwrap();
    }
    home.ok(&["restore", "latest", "--to", "out"]);
    let there = names(&out);
    assert_eq!(count(&Connection::open(out.join(name)).unwrap()), 51, "{there:?}");
    there
}

const GLOB: &str = "[source.app]\nkind = 'sqlite'\npath = 'app/*.db'\n";

#[test]
fn committed_rows_are_captured_whichever_name_of_their_database_comes_first() {
    for (other, configured) in [("app/a.db", false), ("app/z.db", false), ("app/a.db", true), ("app/z.db", true)] {
        let home = Home::new();
        let _app = logged(&home, "app/shop.db", other);
        if configured {
            home.write("strongroom.toml", format!("app = 'shop'\n{GLOB}"));
        }
        let backup: &[&str] = if configured { &["backup"] } else { &["backup", "app"] };
        home.ok(backup);
        let mut both = ["shop.db", other.trim_start_matches("app/")];
        both.sort_unstable();
        for name in both {
            assert_eq!(restored(&home, name), both);
        }
        home.ok(&["verify", "--deep"]);
        home.ok(&["diff", "latest", "live"]);
        // Also when it is met again.
        home.ok(backup);
        restored(&home, "shop.db");
    }
}

#[test]
fn a_restore_in_place_and_its_undo_write_by_the_name_that_an_app_has_open() {
    let home = Home::new();
    let app = logged(&home, "app/shop.db", "app/backup-of-shop.db");
    home.ok(&["backup", "app"]);
    app.execute_batch("DELETE FROM t WHERE id % 3 = 0; INSERT INTO t(x) VALUES('newer')").unwrap();
    let before = count(&app);
    let there = names(&home.path("app"));
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(count(&app), 51);
    assert_eq!(count(&Connection::open(home.path("app/shop.db")).unwrap()), 51);
    assert_eq!(names(&home.path("app")), there);
    home.ok(&["undo"]);
    assert_eq!(count(&app), before);
    app.execute_batch("INSERT INTO t(x) VALUES('still open')").unwrap();
    drop(app);
    assert_eq!(count(&Connection::open(home.path("app/shop.db")).unwrap()), before + 1);
    assert_eq!(names(&home.path("app")), ["backup-of-shop.db", "shop.db"]);
}

#[test]
fn of_a_database_with_logs_beside_two_names_nothing_is_called_whole_or_changed() {
    let home = Home::new();
    let app = logged(&home, "app/shop.db", "app/backup-of-shop.db");
    home.write("app/f", "x\n");
    home.ok(&["backup", "app"]);
    home.write("app/f", "y\n");
    home.write("app/backup-of-shop.db-wal", "what another app wrote");
    let ran = home.run(&["backup", "app"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("both have a log"), "{}", ran.err);
    app.execute_batch("DELETE FROM t").unwrap();
    for arguments in [&["restore", "latest~1", "--in-place"][..], &["restore", "latest~1", "--in-place", "--no-safety"]]
    {
        let ran = home.run(arguments);
        assert!(ran.code != 0 && (ran.err.contains("both have a log")), "{}: {}{}", ran.code, ran.out, ran.err);
        assert_eq!(count(&app), 0);
    }
    let log = fs::read_to_string(home.path("app/backup-of-shop.db-wal")).unwrap();
    assert_eq!(log, "what another app wrote");
}

#[test]
fn a_log_that_may_stand_beside_a_name_outside_of_the_source_is_told() {
    let home = Home::new();
    let app = logged(&home, "app/shop.db", "elsewhere/other.db");
    let ran = home.run(&["backup", "app"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("2 names, of which 1 could not be found"), "{}", ran.err);
    restored_incomplete(&home);
    // Without a log, locks hold for all names.
    app.query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(())).unwrap();
    home.ok(&["backup", "app"]);
}

fn restored_incomplete(home: &Home) {
    home.run(&["restore", "latest", "--to", "out"]);
    assert_eq!(count(&Connection::open(home.path("out/shop.db")).unwrap()), 51);
}

#[test]
fn a_log_beside_a_name_in_another_folder_is_captured_with_that_name_and_told_of_the_other() {
    let home = Home::new();
    let _app = logged(&home, "app/live/shop.db", "app/archive/shop.db");
    let ran = home.run(&["backup", "app"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("archive/shop.db") && ran.err.contains("beside which another log stands"), "{}", ran.err);
    home.run(&["restore", "latest", "--to", "out"]);
    assert_eq!(count(&Connection::open(home.path("out/live/shop.db")).unwrap()), 51);
    assert_eq!(names(&home.path("out/live")), ["shop.db"]);
}

#[test]
fn a_log_with_several_names_is_never_given_back_beside_its_database() {
    for in_source in [true, false] {
        let home = Home::new();
        let _app = logged(&home, "app/shop.db", "");
        let hourly = if in_source { "app/hourly.d" } else { "hourly.d" };
        fs::create_dir_all(home.path(hourly)).unwrap();
        for end in ["-wal", "-shm"] {
            let name = format!("shop.db{end}");
            fs::hard_link(home.path("app").join(&name), home.path(hourly).join(&name)).unwrap();
        }
        home.ok(&["backup", "app"]);
        let expected: &[&str] =
            if in_source { &["hourly.d", "shop.db-shm", "shop.db-wal", "shop.db"] } else { &["shop.db"] };
        assert_eq!(restored(&home, "shop.db"), expected);
        home.ok(&["verify", "--deep"]);
    }
    // Snapshots by hard links of all of it are one file with one log.
    let home = Home::new();
    let _app = logged(&home, "app/live/shop.db", "");
    crate::support::program::shell(&home.path("app"), "cp -al live hourly");
    home.ok(&["backup", "app"]);
    assert_eq!(restored(&home, "live/shop.db"), ["hourly", "shop.db", "live", "shop.db"]);
}

#[test]
fn links_with_two_names_are_no_obstacle_to_a_restore_and_its_undo() {
    let home = Home::new();
    home.write("app/f", "x\n");
    std::os::unix::fs::symlink("q", home.path("app/a")).unwrap();
    rustix::fs::link(home.path("app/a"), home.path("app/b")).unwrap();
    assert!(fs::symlink_metadata(home.path("app/b")).unwrap().file_type().is_symlink());
    home.ok(&["backup", "app"]);
    for gone in [false, true] {
        home.write("app/f", "yy\n");
        if gone {
            fs::remove_file(home.path("app/b")).unwrap();
        }
        home.ok(&["restore", "latest", "--in-place"]);
        assert_eq!(fs::read_link(home.path("app/b")).unwrap(), Path::new("q"));
        home.ok(&["undo"]);
        assert_eq!(fs::read_to_string(home.path("app/f")).unwrap(), "yy\n");
        assert_eq!(fs::symlink_metadata(home.path("app/b")).is_err(), gone);
    }
    // Without the name that carries it, it comes back as a link of its own.
    home.ok(&["restore", "latest", "app:b", "--to", "out"]);
    assert_eq!(fs::read_link(home.path("out/b")).unwrap(), Path::new("q"));
}

#[test]
fn what_an_app_demands_of_its_values_is_no_damage_and_costs_nothing() {
    let home = Home::new();
    let text = "CREATE TABLE t(x CHECK(length(replace(hex(zeroblob(450000000)), '0', '1')) > x AND x > 5));
                PRAGMA ignore_check_constraints = ON; INSERT INTO t VALUES(1), (2), (3)";
    fs::create_dir(home.path("app")).unwrap();
    sql(&home.path("app/shop.db"), text);
    // Of what hex makes of that nothing fits.
    let program = home.command(&["backup", "app"]);
    let line = format!("ulimit -v 4000000; {} backup app 2>&1", program.get_program().to_str().unwrap());
    let said = home.shell(&line);
    assert!(!said.contains("damage"), "{said}");
    home.ok(&["verify", "--deep"]);
    home.ok(&["query", "latest", "SELECT count(*) FROM t"]);
    let app = Connection::open(home.path("app/shop.db")).unwrap();
    app.execute_batch("DELETE FROM t").unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(app.query_row(COUNT, [], |row| row.get::<_, i64>(0)).unwrap(), 3);
}

#[test]
fn a_log_that_begins_anew_with_the_length_and_time_it_had_is_noticed() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let file = home.path("app/shop.db");
    let app = Connection::open(&file).unwrap();
    let text = "PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0; CREATE TABLE t(x); INSERT INTO t VALUES('a');
                PRAGMA wal_checkpoint(PASSIVE); UPDATE t SET x = 'b'; PRAGMA wal_checkpoint(PASSIVE)";
    app.execute_batch(text).unwrap();
    let log = home.path("app/shop.db-wal");
    let old = std::time::SystemTime::now() - Duration::from_secs(3600);
    let age = |path: &Path| fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    let length = fs::metadata(&log).unwrap().len();
    age(&log);
    // Long enough ago for the time of the change of the database to be relied on.
    let settled = std::time::Instant::now();
    while settled.elapsed() < Duration::from_millis(1100) {
        std::thread::sleep(Duration::from_millis(50));
    }
    home.ok(&["backup", "app"]);
    app.execute_batch("UPDATE t SET x = 'new'").unwrap();
    assert_eq!(fs::metadata(&log).unwrap().len(), length, "SQLite begins the log anew");
    age(&log);
    home.ok(&["backup", "app"]);
    assert!(home.ok(&["query", "latest", "SELECT x FROM t"]).out.contains("new"));
}

#[test]
fn a_database_in_a_folder_whose_name_looks_like_a_pattern_is_kept_safe_and_not_another_one() {
    let home = Home::new();
    let open = |name: &str| {
        fs::create_dir_all(home.path(name)).unwrap();
        Connection::open(home.path(name).join("shop.db")).unwrap()
    };
    let (meant, other) = (open("app[1]"), open("app1"));
    other.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('of another')").unwrap();
    meant.execute_batch("CREATE TABLE t(x); INSERT INTO t VALUES('old')").unwrap();
    home.ok(&["backup", "app[1]/shop.db"]);
    meant.execute_batch("UPDATE t SET x = 'newer'").unwrap();
    let now = || meant.query_row("SELECT x FROM t", [], |row| row.get::<_, String>(0)).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(now(), "old");
    home.ok(&["undo"]);
    assert_eq!(now(), "newer");
}

fn inode(home: &Home, name: &str) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(home.path(name)).unwrap().ino()
}

/// Makes a database that an app has open, with one row, and a backup of it.
fn backed_up_open(home: &Home, mode: &str) -> Connection {
    fs::create_dir_all(home.path("app")).unwrap();
    let app = Connection::open(home.path("app/shop.db")).unwrap();
    app.query_row(&format!("PRAGMA journal_mode = {mode}"), [], |_| Ok(())).unwrap();
    app.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES('old')").unwrap();
    app.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    home.ok(&["backup", "app"]);
    app
}

#[test]
fn an_undo_takes_a_database_back_whose_new_name_comes_before_its_first_and_keeps_it_one_file() {
    for (mode, part) in [("WAL", ""), ("WAL", "app:shop.db"), ("DELETE", ""), ("DELETE", "app:shop.db")] {
        let home = Home::new();
        let app = backed_up_open(&home, mode);
        app.execute_batch("INSERT INTO t(x) VALUES('newer work')").unwrap();
        fs::hard_link(home.path("app/shop.db"), home.path("app/backup-of-shop.db")).unwrap();
        let restore = ["restore", "latest", "--in-place", part];
        home.ok(&restore[..if part.is_empty() { 3 } else { 4 }]);
        assert_eq!(count(&app), 1, "{mode} {part}");
        let foreseen = home.ok(&["undo", "--dry-run"]);
        home.ok(&["undo"]);
        assert_eq!(count(&app), 2, "{mode} {part}: {}", foreseen.out);
        assert!(foreseen.out.contains("shop.db"), "{}", foreseen.out);
        app.execute_batch("INSERT INTO t(x) VALUES('still open')").unwrap();
        drop(app);
        for name in ["app/shop.db", "app/backup-of-shop.db"] {
            assert_eq!(count(&Connection::open(home.path(name)).unwrap()), 3, "{mode} {part} {name}");
        }
        assert_eq!(inode(&home, "app/shop.db"), inode(&home, "app/backup-of-shop.db"), "{mode} {part}");
    }
}

#[test]
fn a_database_that_may_be_in_use_by_a_name_elsewhere_is_no_success_in_place_and_its_undo_can_be_repeated() {
    let home = Home::new();
    drop(backed_up_open(&home, "WAL"));
    fs::create_dir(home.path("elsewhere")).unwrap();
    fs::hard_link(home.path("app/shop.db"), home.path("elsewhere/shop.db")).unwrap();
    let app = Connection::open(home.path("elsewhere/shop.db")).unwrap();
    app.execute_batch("INSERT INTO t(x) VALUES('unwanted')").unwrap();
    for arguments in [&["restore", "latest", "--in-place", "--dry-run"][..], &["restore", "latest", "--in-place"]] {
        let ran = home.run(arguments);
        assert!(
            ran.code == 3 && ran.err.contains("left alone: it is one file with 2 names"),
            "{} {}",
            ran.code,
            ran.err
        );
        assert_eq!(count(&app), 2);
    }
    // An undo that leaves all of it alone has taken nothing back.
    drop(app);
    fs::remove_file(home.path("elsewhere/shop.db")).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    fs::hard_link(home.path("app/shop.db"), home.path("elsewhere/shop.db")).unwrap();
    for arguments in [&["undo", "-y", "--force", "--dry-run"][..], &["undo", "-y", "--force"]] {
        let ran = home.run(arguments);
        assert!(ran.code == 3 && ran.err.contains("left alone"), "{} {}{}", ran.code, ran.out, ran.err);
        assert!(!ran.out.contains("took back"), "{}", ran.out);
    }
    fs::remove_file(home.path("elsewhere/shop.db")).unwrap();
    home.ok(&["undo", "-y"]);
    assert_eq!(count(&Connection::open(home.path("app/shop.db")).unwrap()), 2);
}

#[test]
fn a_later_name_of_a_database_is_given_back_into_the_file_that_an_app_has_open() {
    let home = Home::new();
    let app = backed_up_open(&home, "DELETE");
    fs::hard_link(home.path("app/shop.db"), home.path("app/z.db")).unwrap();
    home.ok(&["backup", "app"]);
    app.execute_batch("INSERT INTO t(x) VALUES('unwanted')").unwrap();
    let file = inode(&home, "app/z.db");
    home.ok(&["restore", "latest", "app:z.db", "--in-place"]);
    assert_eq!((count(&app), inode(&home, "app/z.db"), inode(&home, "app/shop.db")), (1, file, file));
    home.ok(&["undo"]);
    assert_eq!((count(&app), inode(&home, "app/z.db")), (2, file));
    // The same where another database has its place by now.
    fs::remove_file(home.path("app/z.db")).unwrap();
    let other = Connection::open(home.path("app/z.db")).unwrap();
    other.execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x); CREATE TABLE more(x)").unwrap();
    let file = inode(&home, "app/z.db");
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!((count(&other), count(&app), inode(&home, "app/z.db")), (1, 1, file));
    home.ok(&["undo"]);
    assert_eq!((count(&other), count(&app), inode(&home, "app/z.db")), (0, 2, file));
    other.execute_batch("INSERT INTO more VALUES(1)").unwrap();
}

#[test]
fn a_later_name_that_has_become_a_database_in_use_elsewhere_costs_only_itself() {
    let home = Home::new();
    let app = backed_up_open(&home, "DELETE");
    fs::hard_link(home.path("app/shop.db"), home.path("app/z.db")).unwrap();
    home.ok(&["backup", "app"]);
    app.execute_batch("INSERT INTO t(x) VALUES('unwanted')").unwrap();
    fs::remove_file(home.path("app/z.db")).unwrap();
    let other = Connection::open(home.path("app/z.db")).unwrap();
    other.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t(id INTEGER PRIMARY KEY, x)").unwrap();
    fs::hard_link(home.path("app/z.db"), home.path("elsewhere.db")).unwrap();
    for arguments in [&["restore", "latest", "--in-place", "--dry-run"][..], &["restore", "latest", "--in-place"]] {
        let ran = home.run(arguments);
        assert!(ran.code == 3 && ran.err.contains("app/z.db: left alone: it is one file"), "{} {}", ran.code, ran.err);
    }
    assert_eq!((count(&app), count(&other)), (1, 0));
}

#[test]
fn two_databases_that_have_become_one_file_are_not_both_called_restored() {
    let home = Home::new();
    drop(backed_up_open(&home, "DELETE"));
    let other = Connection::open(home.path("app/z.db")).unwrap();
    other
        .execute_batch("CREATE TABLE t(id INTEGER PRIMARY KEY, x); INSERT INTO t(x) VALUES('a'), ('b'), ('c')")
        .unwrap();
    drop(other);
    home.ok(&["backup", "app"]);
    fs::remove_file(home.path("app/z.db")).unwrap();
    fs::hard_link(home.path("app/shop.db"), home.path("app/z.db")).unwrap();
    for arguments in [&["restore", "latest", "--in-place", "--dry-run"][..], &["restore", "latest", "--in-place"]] {
        let ran = home.run(arguments);
        assert!(ran.code == 3 && ran.err.contains("app/z.db: left alone: it is one file with shop.db"), "{}", ran.err);
    }
    assert_eq!(count(&Connection::open(home.path("app/shop.db")).unwrap()), 1);
}

#[test]
fn a_database_with_odd_letters_in_its_name_is_compared_as_it_is_called_without_a_configuration_too() {
    let home = Home::new();
    home.write("strongroom.toml", format!("app = 'shop'\n{GLOB}"));
    fs::create_dir(home.path("app")).unwrap();
    for name in ["a\\b.db", "{a,b}.db", "[c].db", "plain.db"] {
        let app = Connection::open(home.path("app").join(name)).unwrap();
        app.execute_batch("CREATE TABLE t(x)").unwrap();
    }
    home.ok(&["backup"]);
    fs::remove_file(home.path("strongroom.toml")).unwrap();
    let ran = home.ok(&["diff", "latest", "live"]);
    assert!(ran.out.contains("no change"), "{}", ran.out);
}
