//! Something else stands where a source, a folder, a file or a database was: that costs only itself, is named, and nothing
//! behind a link is touched.

use std::os::unix::fs::symlink;
use std::process::Child;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use rustix::fs::{CWD, FileType, Mode, RenameFlags, mknodat, renameat_with};

use super::*;
use crate::support::disk::not_tested;
use crate::support::program::Ran;

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

/// A folder with a file and a small database, and a snapshot of it.
fn small() -> Home {
    let home = Home::new();
    home.write("app/f", "x\n");
    sql(&home.path("app/s.db"), "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    home.ok(&["backup", "app"]);
    home.write("app/f", "y\n");
    home
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).unwrap()
}

/// Runs what must end by itself within a minute, which is for ever.
fn ends(home: &Home, arguments: &[&str]) -> Ran {
    let mut child: Child = home.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ran::of(child.wait_with_output().unwrap())
}

/// What is not as it was kept, but for the time of the topmost folder.
fn changed(home: &Home) -> Vec<String> {
    let all = differences(&home.path("app"), &home.path("before"));
    all.lines().filter(|line| !line.ends_with(" ./")).map(str::to_owned).collect()
}

/// While something is done, a folder and a link exchange their places as fast as can be.
fn changing_places(one: &Path, two: &Path, meanwhile: impl FnOnce()) {
    let stop = AtomicBool::new(false);
    struct Stop<'s>(&'s AtomicBool);
    impl Drop for Stop<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Relaxed);
        }
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                renameat_with(CWD, one, CWD, two, RenameFlags::EXCHANGE).unwrap();
            }
        });
        // Also when it fails.
        let _stop = Stop(&stop);
        meanwhile();
    });
}

type Put = fn(&Home, &Path);

const ODD: [(&str, Put); 5] = [
    ("a link", |_, path| symlink("nowhere", path).unwrap()),
    ("a folder", |_, path| fs::create_dir(path).unwrap()),
    ("a FIFO", |_, path| fifo(path)),
    ("a file stands there that is no database", |_, path| fs::write(path, "text\n").unwrap()),
    ("a link", |home, path| symlink(home.path("app/f"), path).unwrap()),
];

#[test]
fn what_stands_where_a_database_was_is_named_and_the_rest_is_restored_and_undone() {
    for (what, put) in ODD {
        let home = small();
        let database = home.path("app/s.db");
        fs::remove_file(&database).unwrap();
        put(&home, &database);
        copy(&home, "before");
        let diff = ends(&home, &["diff", "latest", "live"]);
        assert_eq!(diff.code, 3, "{what}: {}{}", diff.out, diff.err);
        assert!(diff.out.contains("M app/s.db") && diff.out.contains("app:"), "{}", diff.out);
        let ran = ends(&home, &["restore", "latest", "--in-place"]);
        assert_eq!(ran.code, 3, "{what}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("app/s.db: left alone") && ran.err.contains(what), "{what}: {}", ran.err);
        assert_eq!(read(&home, "app/f"), "x\n");
        assert_eq!(fs::symlink_metadata(&database).unwrap().file_type(), {
            fs::symlink_metadata(home.path("before/s.db")).unwrap().file_type()
        });
        home.ok(&["undo"]);
        assert_eq!(changed(&home), [""; 0], "{what}");
    }
}

#[test]
fn what_stands_where_a_folder_was_is_named_once_and_nothing_behind_a_link_is_touched() {
    for (what, put) in [ODD[0], ODD[2], ODD[3]] {
        let home = Home::new();
        home.write("app/d/deep/f", "x\n");
        sql(&home.path("app/d/s.db"), "CREATE TABLE t(a)");
        home.write("app/e", "e\n");
        home.write("nowhere/deep/f", "mine\n");
        home.write("nowhere/s.db", "mine\n");
        home.ok(&["backup", "app"]);
        home.write("app/e", "changed\n");
        fs::rename(home.path("app/d"), home.path("kept")).unwrap();
        put(&home, &home.path("app/d"));
        if what == "a link" {
            fs::remove_file(home.path("app/d")).unwrap();
            symlink("../nowhere", home.path("app/d")).unwrap();
        }
        copy(&home, "before");
        let ran = ends(&home, &["restore", "latest", "--in-place"]);
        assert_eq!(ran.code, 3, "{what}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("app/d: left alone, with all that was in it"), "{}", ran.err);
        assert!(!ran.err.contains("deep") && !ran.err.contains("d/s.db"), "{}", ran.err);
        assert_eq!(read(&home, "app/e"), "e\n");
        assert_eq!((read(&home, "nowhere/deep/f"), read(&home, "nowhere/s.db")), ("mine\n".into(), "mine\n".into()));
        home.ok(&["undo"]);
        assert_eq!(changed(&home), [""; 0], "{what}");
    }
}

#[test]
fn a_restore_that_cannot_give_its_second_source_back_changes_none() {
    for order in [["app/docs", "app/s.db"], ["app/s.db", "app/docs"]] {
        let home = Home::new();
        home.write("app/docs/f", "d\n");
        sql(&home.path("app/s.db"), "CREATE TABLE t(a)");
        home.ok(&["backup", order[0], order[1]]);
        sql(&home.path("app/s.db"), "INSERT INTO t VALUES(1)");
        fs::rename(home.path("app/docs"), home.path("kept")).unwrap();
        home.write("app/docs", "not a folder\n");
        let error = home.fails(1, &["restore", "latest", "--in-place"]);
        assert!(error.contains("app/docs is not a folder") && error.contains("nothing was changed"), "{error}");
        assert_eq!(number(&home.path("app/s.db"), "SELECT count(*) FROM t"), 1);
        assert_eq!(snapshots(&home).len(), 1, "nothing was to be kept safe");
        // The others come back when they are named.
        home.ok(&["restore", "latest", "s.db", "--in-place"]);
        assert_eq!(number(&home.path("app/s.db"), "SELECT count(*) FROM t"), 0);
        home.ok(&["undo"]);
        assert_eq!(number(&home.path("app/s.db"), "SELECT count(*) FROM t"), 1);
    }
}

#[test]
fn a_folder_that_is_a_link_now_is_refused_in_place_and_nothing_behind_it_is_touched() {
    let home = Home::new();
    home.write("app/f", "x\n");
    sql(&home.path("app/s.db"), "CREATE TABLE t(a)");
    home.write("other/f", "mine\n");
    sql(&home.path("other/s.db"), "CREATE TABLE t(a); INSERT INTO t VALUES(1)");
    home.ok(&["backup", "app"]);
    fs::rename(home.path("app"), home.path("kept")).unwrap();
    symlink("other", home.path("app")).unwrap();
    let error = home.fails(1, &["restore", "latest", "--in-place"]);
    assert!(error.contains("leads to") && error.contains("--to"), "{error}");
    assert_eq!(read(&home, "other/f"), "mine\n");
    assert_eq!(number(&home.path("other/s.db"), "SELECT count(*) FROM t"), 1);
    // The same place by the same name is no news.
    fs::remove_file(home.path("app")).unwrap();
    fs::rename(home.path("kept"), home.path("app")).unwrap();
    home.write("app/f", "y\n");
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(read(&home, "app/f"), "x\n");
}

#[test]
fn a_source_that_an_administrator_names_by_a_link_is_restored_where_that_leads() {
    let home = Home::new();
    home.write("disk/app/f", "x\n");
    sql(&home.path("disk/s.db"), "CREATE TABLE t(a)");
    symlink("disk/app", home.path("app")).unwrap();
    symlink("disk/s.db", home.path("s.db")).unwrap();
    home.ok(&["backup", "app", "s.db"]);
    home.write("disk/app/f", "y\n");
    sql(&home.path("disk/s.db"), "INSERT INTO t VALUES(1)");
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(read(&home, "disk/app/f"), "x\n");
    assert_eq!(number(&home.path("disk/s.db"), "SELECT count(*) FROM t"), 0);
    assert!(home.path("app").is_symlink() && home.path("s.db").is_symlink());
    home.ok(&["undo"]);
    assert_eq!(number(&home.path("disk/s.db"), "SELECT count(*) FROM t"), 1);
}

#[test]
fn a_fifo_beside_a_database_costs_only_that_database() {
    for end in ["-journal", "-wal"] {
        let home = Home::new();
        home.write("app/f", "x\n");
        sql(&home.path("app/s.db"), "CREATE TABLE t(a)");
        sql(&home.path("app/t.db"), "CREATE TABLE t(a)");
        fifo(&home.path(&format!("app/s.db{end}")));
        let ran = ends(&home, &["backup", "app"]);
        assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains(&format!("s.db{end} is a FIFO")), "{}", ran.err);
        assert_eq!(ends(&home, &["query", "latest", "SELECT count(*) FROM t", "--source", "app:t.db"]).code, 0);
    }
}

#[test]
fn folders_and_links_that_change_places_all_the_time_lead_no_restore_elsewhere() {
    let home = Home::new();
    home.write("app/d/f", "x\n");
    sql(&home.path("app/d/s.db"), "CREATE TABLE t(a); INSERT INTO t VALUES('snapshot')");
    home.ok(&["backup", "app"]);
    home.write("other/f", "mine\n");
    sql(&home.path("other/s.db"), "CREATE TABLE t(a); INSERT INTO t VALUES('marker')");
    symlink(home.path("other"), home.path("app/link")).unwrap();
    let (one, two) = (home.path("app/d"), home.path("app/link"));
    changing_places(&one, &two, || {
        for round in 0..8 {
            // What becomes of the app's own files is up to chance.
            ends(&home, &["restore", "latest", "--in-place", "--no-safety"]);
            let value: String = Connection::open(home.path("other/s.db"))
                .unwrap()
                .query_row("SELECT a FROM t", [], |row| row.get(0))
                .unwrap();
            assert_eq!((value.as_str(), read(&home, "other/f").as_str()), ("marker", "mine\n"), "round {round}");
            assert_eq!(fs::read_dir(home.path("other")).unwrap().count(), 2, "round {round}");
        }
    });
}

#[test]
fn databases_of_other_text_encodings_are_told_apart_and_not_compared_row_by_row() {
    let home = small();
    home.ok(&["backup", "app"]);
    fs::remove_file(home.path("app/s.db")).unwrap();
    sql(&home.path("app/s.db"), "PRAGMA encoding = 'UTF-16'; CREATE TABLE t(a); INSERT INTO t VALUES(2)");
    for after in ["live", "snapshot"] {
        let after = if after == "live" { "live" } else { "latest" };
        let before = if after == "live" { "latest" } else { "latest~1" };
        let ran = home.run(&["diff", before, after]);
        assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
        assert!(ran.err.contains("rows not compared: app/s.db") && ran.err.contains("text encoding"), "{}", ran.err);
        assert!(ran.out.contains("M app/s.db") && ran.out.contains("app: 1 changed"), "{}", ran.out);
        home.ok(&["backup", "app"]);
    }
}

#[test]
fn a_database_that_an_app_made_anew_in_another_text_encoding_costs_only_itself() {
    let home = small();
    fs::remove_file(home.path("app/s.db")).unwrap();
    sql(&home.path("app/s.db"), "PRAGMA encoding = 'UTF-16'; CREATE TABLE t(a); INSERT INTO t VALUES(2), (3)");
    copy(&home, "before");
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("app/s.db: left alone: its text encoding is another one"), "{}", ran.err);
    assert_eq!(read(&home, "app/f"), "x\n");
    assert_eq!(number(&home.path("app/s.db"), "SELECT count(*) FROM t"), 2);
    home.ok(&["undo"]);
    assert_eq!(changed(&home), [""; 0]);
}

#[test]
fn a_file_that_got_a_further_name_did_not_change_its_content() {
    let home = Home::new();
    home.write("app/f", "x\n");
    home.write("app/g", "y\n");
    home.ok(&["backup", "app"]);
    fs::hard_link(home.path("app/f"), home.path("app/a")).unwrap();
    let told = |ran: &Ran| (ran.out.contains("+ app/a"), ran.out.contains("m app/f"), ran.out.contains("M app/"));
    let ran = home.ok(&["diff", "latest", "live"]);
    assert_eq!(told(&ran), (true, true, false), "{}", ran.out);
    home.ok(&["backup", "app"]);
    let ran = home.ok(&["diff", "latest~1", "latest"]);
    assert_eq!(told(&ran), (true, true, false), "{}", ran.out);
    // Other bytes are other bytes, by whatever name.
    fs::remove_file(home.path("app/g")).unwrap();
    fs::hard_link(home.path("app/f"), home.path("app/g")).unwrap();
    assert!(home.ok(&["diff", "latest", "live"]).out.contains("M app/g"));
}

#[test]
fn a_configuration_or_secret_that_a_pipe_never_brings_is_waited_for_until_a_signal_ends_it() {
    use rustix::process::{Pid, Signal, kill_process};
    let home = small();
    fifo(&home.path("pipe"));
    let pipe = home.path("pipe");
    for arguments in
        [["--config", pipe.to_str().unwrap(), "snapshots"], ["--identity", pipe.to_str().unwrap(), "snapshots"]]
    {
        let mut child = home.command(&arguments).stderr(Stdio::null()).spawn().unwrap();
        let pid = Pid::from_child(&child);
        // Whoever waits at the other end sees that it is waited for: the signal comes while it is.
        let writer = fs::File::options().write(true).open(&pipe).unwrap();
        kill_process(pid, Signal::TERM).unwrap();
        let since = Instant::now();
        while child.try_wait().unwrap().is_none() {
            if since.elapsed() > Duration::from_secs(60) {
                child.kill().unwrap();
                panic!("{arguments:?} cannot be ended");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(writer);
    }
}

#[test]
fn a_link_of_another_user_in_the_place_of_a_source_is_followed_only_to_what_is_theirs() {
    if !rustix::process::geteuid().is_root() {
        return not_tested("links of other users: only root can make them");
    }
    let home = Home::new();
    home.write("own/f", "of root\n");
    home.write("theirs/f", "of the user\n");
    std::os::unix::fs::chown(home.path("theirs"), Some(1000), Some(1000)).unwrap();
    for (to, followed) in [("theirs", true), ("own", false)] {
        let _ = fs::remove_file(home.path("app"));
        symlink(to, home.path("app")).unwrap();
        std::os::unix::fs::lchown(home.path("app"), Some(1000), Some(1000)).unwrap();
        let ran = home.run(&["backup", "app"]);
        assert_eq!(ran.code == 0, followed, "{to}: {}{}", ran.out, ran.err);
        assert_eq!(ran.err.contains("a link of user 1000 leads to"), !followed, "{}", ran.err);
    }
    assert_eq!(snapshots(&home).len(), 1);
    // Nor is anything written through one.
    fs::remove_file(home.path("app")).unwrap();
    symlink("own", home.path("out")).unwrap();
    std::os::unix::fs::lchown(home.path("out"), Some(1000), Some(1000)).unwrap();
    let error = home.fails(1, &["restore", "latest", "--to", "out"]);
    assert!(error.contains("a link of user 1000 leads to"), "{error}");
    assert_eq!(read(&home, "own/f"), "of root\n");
}

#[test]
fn folders_and_links_that_change_places_all_the_time_lead_no_undo_and_no_recovery_elsewhere() {
    let home = Home::new();
    home.write("app/d/f", "x\n");
    sql(&home.path("app/d/s.db"), "CREATE TABLE t(id INTEGER PRIMARY KEY, a); INSERT INTO t VALUES(1, 'snapshot')");
    home.ok(&["backup", "app"]);
    home.write("app/d/f", "y\n");
    sql(&home.path("app/d/s.db"), "UPDATE t SET a = 'later'");
    home.ok(&["restore", "latest", "--in-place"]);
    home.write("other/f", "mine\n");
    sql(&home.path("other/s.db"), "CREATE TABLE t(id INTEGER PRIMARY KEY, a)");
    symlink(home.path("other"), home.path("app/link")).unwrap();
    let (one, two) = (home.path("app/d"), home.path("app/link"));
    changing_places(&one, &two, || {
        for round in 0..6 {
            // What becomes of the app's own files is up to chance.
            ends(&home, &["undo", "--force"]);
            ends(&home, &["recover", "latest", "--table", "t", "--where", "id = 1", "--source", "app:d/s.db"]);
            ends(&home, &["recover", "latest", "--file", "app:d/f"]);
            assert_eq!(number(&home.path("other/s.db"), "SELECT count(*) FROM t"), 0, "round {round}");
            assert_eq!(read(&home, "other/f"), "mine\n", "round {round}");
            assert_eq!(fs::read_dir(home.path("other")).unwrap().count(), 2, "round {round}");
        }
    });
}

#[test]
fn what_is_no_regular_file_in_the_place_of_an_object_is_told_and_nothing_is_waited_for() {
    let home = small();
    for folder in ["packs", "catalogs", "snapshots", "keys"] {
        let objects = walkdir::WalkDir::new(home.vault().join(folder)).into_iter().map(Result::unwrap);
        let object = objects.filter(|entry| entry.file_type().is_file()).map(walkdir::DirEntry::into_path).next();
        let object = object.unwrap_or_else(|| panic!("no {folder}"));
        let kept = home.path("kept");
        fs::rename(&object, &kept).unwrap();
        fifo(&object);
        for arguments in [&["verify", "--read-data"][..], &["restore", "latest", "--to", "out"]] {
            let ran = ends(&home, arguments);
            assert_ne!(ran.code, 0, "{folder}, {arguments:?}: {}{}", ran.out, ran.err);
            assert!(!ran.err.is_empty(), "{folder}, {arguments:?}: {}", ran.out);
        }
        fs::remove_file(&object).unwrap();
        fs::rename(&kept, &object).unwrap();
    }
    home.ok(&["verify", "--read-data"]);
}
