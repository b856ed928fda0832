//! Sources that are gone, empty or out of reach: told, recorded, and no reason to lose the others.

use super::*;

/// An app of documents and a database, with a configuration.
fn app() -> Home {
    let home = small();
    sql(&home, "app/data/s.db", "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)");
    configure(&home, "app/data/s.db", "");
    home.ok(&["init"]);
    home
}

/// Documents, and a database or those that a glob names.
fn configure(home: &Home, databases: &str, more: &str) {
    let text = format!(
        "vault = \"kept\"\napp = \"shop\"\n[source.docs]\nkind = \"files\"\npath = \"app/docs\"\n{more}\n\
         [source.db]\nkind = \"sqlite\"\npath = \"{databases}\"\n{more}\n"
    );
    home.write("strongroom.toml", text);
}

fn sql(home: &Home, path: &str, sql: &str) {
    let path = home.path(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    rusqlite::Connection::open(path).unwrap().execute_batch(sql).unwrap();
}

/// Runs what ends with 3. Returns what it said, and the newest snapshot.
fn incomplete(home: &Home, arguments: &[&str]) -> (String, serde_json::Value) {
    let ran = home.run(arguments);
    assert_eq!(ran.code, 3, "{arguments:?}: {}{}", ran.out, ran.err);
    (ran.err, home.json(&["show", "latest"]))
}

fn source<'m>(manifest: &'m serde_json::Value, name: &str) -> &'m serde_json::Value {
    manifest["sources"].as_array().unwrap().iter().find(|source| source["name"] == name).unwrap()
}

fn short(manifest: &serde_json::Value) -> String {
    manifest["id"].as_str().unwrap()[..8].to_owned()
}

#[test]
fn a_glob_that_matches_nothing_any_more_is_an_alarm_that_names_the_snapshot_before() {
    let home = app();
    configure(&home, "app/data/*.db", "");
    let first = home.json(&["backup"]);
    fs::remove_file(home.path("app/data/s.db")).unwrap();
    // As long as it is so, and whichever snapshot came since.
    for _ in 0..2 {
        let (said, manifest) = incomplete(&home, &["backup"]);
        assert!(said.contains("alarm: db: no file matches ") && said.contains("app/data/*.db"), "{said}");
        assert!(said.contains(&format!("the snapshot before is {}", short(&first))), "{said}");
        assert_eq!(manifest["alarms"][0]["what"], "empty");
        assert_eq!(manifest["alarms"][0]["snapshot"], first["id"]);
        assert!(said.contains("allow_empty = true under [source.db]"), "{said}");
    }
    sql(&home, "app/data/s.db", "CREATE TABLE t (a)");
    // The database is there again, and its two rows are not.
    let (said, _) = incomplete(&home, &["backup"]);
    assert!(said.contains("table t had 2 rows and has 0"), "{said}");
    assert_eq!(home.run(&["backup"]).code, 0);
}

#[test]
fn a_folder_emptied_like_a_lost_mount_is_an_alarm() {
    let home = app();
    let first = home.json(&["backup"]);
    fs::remove_dir_all(home.path("app/docs")).unwrap();
    fs::create_dir_all(home.path("app/docs/lost+found")).unwrap();
    let (said, manifest) = incomplete(&home, &["backup", "docs"]);
    assert!(said.contains("alarm: docs: there is nothing in it, where there were 2 files"), "{said}");
    assert!(said.contains(&short(&first)), "{said}");
    assert_eq!(manifest["alarms"][0]["kept"], home.json(&["show", first["id"].as_str().unwrap()])["object"]);
    assert_eq!(manifest["complete"], true, "what there was is there");
    assert!(home.ok(&["snapshots"]).out.contains("alarm"));
    assert!(home.ok(&["show", "latest"]).out.contains("alarm: docs: there is nothing in it"));
}

#[test]
fn a_source_that_never_had_anything_is_told_unless_it_may_be_empty() {
    let home = Home::new();
    fs::create_dir_all(home.path("new")).unwrap();
    let ran = home.run(&["backup", "new"]);
    assert!(ran.code == 3 && ran.err.contains("alarm: new: there is nothing in it\n"), "{} {}", ran.code, ran.err);
    let ran = home.ok(&["backup", "new", "--allow-empty"]);
    assert!(ran.err.is_empty(), "{}", ran.err);
    let text = "[source.new]\nkind = \"files\"\npath = \"new\"\nallow_empty = true\n\
                [source.db]\nkind = \"sqlite\"\npath = \"new/*.db\"\nallow_empty = true\n";
    home.write("strongroom.toml", text);
    let manifest = home.json(&["backup"]);
    assert_eq!((&manifest["alarms"], &manifest["complete"]), (&serde_json::Value::Null, &true.into()));
    assert_eq!(home.ok(&["show", "latest", "db"]).out, "");
    assert_eq!(home.json(&["show", "latest", "db"])["entries"], serde_json::json!([]));
    assert_eq!(home.json(&["restore", "latest", "--to", "out"])["report"]["issues_count"], 0);
    assert!(home.path("out/new").is_dir());
    home.ok(&["restore", "latest", "--in-place"]);
}

#[test]
fn a_source_that_may_be_empty_and_was_not_is_an_alarm_once() {
    let home = small();
    for n in 0..20 {
        home.write(&format!("app/docs/{n}"), "x");
    }
    home.ok(&["backup", "app/docs", "--allow-empty"]);
    fs::remove_dir_all(home.path("app/docs")).unwrap();
    fs::create_dir(home.path("app/docs")).unwrap();
    let (said, _) = incomplete(&home, &["backup", "app/docs", "--allow-empty"]);
    assert!(said.contains("alarm: docs: 22 files before, 0 now"), "{said}");
    home.ok(&["backup", "app/docs", "--allow-empty"]);
}

#[test]
fn many_files_or_bytes_that_are_gone_are_an_alarm_and_the_share_can_be_set() {
    let home = small();
    let plant = || {
        for n in 0..40 {
            home.write(&format!("app/docs/{n}"), "x");
        }
        home.write("app/docs/large", vec![7; 3 << 20]);
    };
    let take = |shares: &str| {
        let text = format!("[source.docs]\nkind = \"files\"\npath = \"app/docs\"\n[alarm]\n{shares}");
        home.write("strongroom.toml", text);
        home.run(&["backup"])
    };
    let lose = || (0..15).for_each(|n| fs::remove_file(home.path(&format!("app/docs/{n}"))).unwrap());
    plant();
    assert_eq!(take("").code, 0);
    lose();
    let ran = take("");
    assert!(
        ran.code == 3 && ran.err.contains("alarm: docs: 43 files before, 28 now; the snapshot before is "),
        "{}",
        ran.err
    );
    assert_eq!(take("").code, 0, "what is gone is told once");
    fs::remove_file(home.path("app/docs/large")).unwrap();
    let ran = take("");
    assert!(ran.code == 3 && ran.err.contains("alarm: docs: 3.1 MB before, "), "{}", ran.err);
    plant();
    assert_eq!(take("").code, 0);
    lose();
    fs::remove_file(home.path("app/docs/large")).unwrap();
    assert_eq!(take("files_lost = \"50%\"\nbytes_lost = \"100%\"\n").code, 0);
    assert_eq!(take("files_lost = \"many\"\n").code, 2);
}

#[test]
fn a_database_that_is_gone_from_among_others_or_has_no_row_left_is_an_alarm() {
    let home = app();
    configure(&home, "app/data/*.db", "");
    let many = "CREATE TABLE t (a); WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30) INSERT INTO t SELECT i FROM n";
    sql(&home, "app/data/second.db", many);
    home.ok(&["backup"]);
    fs::remove_file(home.path("app/data/second.db")).unwrap();
    sql(&home, "app/data/s.db", "DELETE FROM t");
    let (said, _) = incomplete(&home, &["backup"]);
    assert!(said.contains("alarm: db/second.db: the database is gone, with 30 rows"), "{said}");
    assert!(said.contains("alarm: db/s.db: table t had 2 rows and has 0"), "{said}");
}

#[test]
fn a_source_that_is_gone_costs_only_itself() {
    let home = app();
    let whole = home.json(&["backup"]);
    fs::remove_file(home.path("app/data/s.db")).unwrap();
    let (said, manifest) = incomplete(&home, &["backup"]);
    assert!(said.contains("not captured: db: cannot capture ") && said.contains("no such file"), "{said}");
    assert_eq!(manifest["complete"], false);
    assert!(source(&manifest, "db")["failed"].as_str().unwrap().contains("no such file"));
    assert_eq!(source(&manifest, "docs")["files"], 2);
    let short = short(&manifest);
    // Every command makes sense of such a snapshot.
    assert!(home.ok(&["show", "latest"]).out.contains("db: not captured: "));
    let named = home.fails(1, &["show", &short, "db"]);
    assert!(
        named.contains(&format!("snapshot {short}: db was not captured")) && named.contains("--source db"),
        "{named}"
    );
    assert!(home.ok(&["snapshots"]).out.contains("incomplete"));
    assert!(!home.ok(&["snapshots", "--source", "db"]).out.contains(&short));
    assert_eq!(home.json(&["show", "latest", "--source", "db"])["id"], whole["id"]);
    assert_eq!(home.json(&["verify", "--read-data"])["sound"], true);
    let ran = home.run(&["diff", "latest~1", "latest"]);
    assert!(ran.code == 3 && ran.err.contains("not compared: db: it was not captured"), "{} {}", ran.code, ran.err);
    assert!(ran.out.contains("docs: no change") && !ran.out.contains("- db"), "{}", ran.out);
    let ran = home.run(&["diff", "latest~1", "live"]);
    assert!(ran.code == 3 && ran.err.contains("not compared: db: cannot capture"), "{} {}", ran.code, ran.err);
    let ran = home.run(&["restore", "latest", "--to", "out"]);
    assert!(
        ran.code == 3 && ran.err.contains("not restored as it was: db: was not captured"),
        "{} {}",
        ran.code,
        ran.err
    );
    assert_eq!(fs::read(home.path("out/docs/a.txt")).unwrap(), b"alpha\n");
    assert!(home.fails(1, &["restore", &short, "db", "--to", "other"]).contains("db was not captured"));
    home.write("app/docs/a.txt", "changed\n");
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert!(ran.code == 3 && ran.err.contains("not restored as it was: db"), "{} {}", ran.code, ran.err);
    assert_eq!(fs::read(home.path("app/docs/a.txt")).unwrap(), b"alpha\n");
    assert!(home.fails(1, &["restore", &short, "db", "--in-place"]).contains("db was not captured"));
    home.ok(&["undo"]);
    home.ok(&["restore", "latest", "db", "--source", "db", "--in-place"]);
    home.ok(&["diff", "latest", "live", "--source", "db"]);
    // It is remembered as it was when it was there.
    sql(&home, "app/data/s.db", "DELETE FROM t");
    let (said, _) = incomplete(&home, &["backup"]);
    assert!(said.contains("table t had 2 rows and has 0"), "{said}");
}

#[test]
fn an_unreachable_server_costs_only_itself() {
    let home = small();
    let text = "app = \"shop\"\n[source.users]\nkind = \"postgres\"\nurl = \"postgres://me@127.0.0.1:1/shop\"\n\
                [source.docs]\nkind = \"files\"\npath = \"app/docs\"\n";
    home.write("strongroom.toml", text);
    let (said, manifest) = incomplete(&home, &["backup"]);
    assert!(said.contains("not captured: users: cannot reach the server at 127.0.0.1:1"), "{said}");
    assert_eq!(source(&manifest, "docs")["files"], 2);
    assert!(source(&manifest, "users")["failed"].is_string());
    assert_eq!(home.json(&["verify", "--read-data"])["sound"], true);
    let ran = home.run(&["restore", "latest", "--to", "out"]);
    assert!(ran.code == 3 && home.path("out/docs/b.txt").exists(), "{} {}", ran.code, ran.err);
    // Alone it is an error, and there is no snapshot.
    home.fails(1, &["backup", "users"]);
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 1);
}

#[test]
fn a_backup_that_could_capture_nothing_makes_no_snapshot() {
    let home = app();
    fs::remove_dir_all(home.path("app")).unwrap();
    let said = home.fails(1, &["backup"]);
    assert!(said.contains("nothing could be captured: docs: cannot capture") && said.contains("; db: "), "{said}");
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 0);
}

#[test]
fn a_path_that_is_gone_costs_only_itself_and_a_word_that_is_no_source_is_a_mistake() {
    let home = small();
    let (said, manifest) = incomplete(&home, &["backup", "app/docs", "app/gone"]);
    assert!(said.contains("not captured: gone: "), "{said}");
    assert_eq!(source(&manifest, "docs")["files"], 2);
    home.fails(2, &["backup", "app/gone"]);
    let home = app();
    assert!(home.fails(2, &["backup", "docs", "bd"]).contains("one of the sources"));
}

#[test]
fn a_folder_in_place_of_a_database_is_told_and_the_rest_comes_back() {
    let home = app();
    home.ok(&["backup"]);
    fs::remove_file(home.path("app/data/s.db")).unwrap();
    fs::create_dir(home.path("app/data/s.db")).unwrap();
    let (said, manifest) = incomplete(&home, &["backup"]);
    assert!(said.contains("not captured: db: cannot capture ") && said.contains("is a directory"), "{said}");
    assert!(said.contains("hint: it was to be a file"), "{said}");
    assert!(source(&manifest, "db")["failed"].is_string());
    let ran = home.run(&["restore", "latest", "--to", "out"]);
    assert!(ran.code == 3 && home.path("out/docs/b.txt").exists(), "{} {}", ran.code, ran.err);
    // Text where a database was is told as well.
    fs::remove_dir(home.path("app/data/s.db")).unwrap();
    home.write("app/data/s.db", "text\n");
    let (said, _) = incomplete(&home, &["backup"]);
    assert!(
        said.contains("is not a SQLite database") && said.contains("alarm: db: there is no database in it"),
        "{said}"
    );
    let ran = home.run(&["restore", "latest", "--to", "out2"]);
    assert!(
        ran.code == 3 && ran.err.contains("db: was not captured: is not a SQLite database"),
        "{} {}",
        ran.code,
        ran.err
    );
    assert!(home.path("out2/docs/b.txt").exists());
    home.write("app/docs/a.txt", "changed\n");
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert!(ran.code == 3 && ran.err.contains("db: was not captured"), "{} {}", ran.code, ran.err);
    assert_eq!(fs::read(home.path("app/docs/a.txt")).unwrap(), b"alpha\n");
}

#[test]
fn what_is_no_file_among_globbed_databases_is_told() {
    let home = app();
    configure(&home, "app/data/*.db", "");
    fs::create_dir(home.path("app/data/folder.db")).unwrap();
    home.write("app/data/folder.db/x", "x");
    std::os::unix::fs::symlink("s.db", home.path("app/data/link.db")).unwrap();
    assert!(Command::new("mkfifo").arg(home.path("app/data/pipe.db")).status().unwrap().success());
    let (said, _) = incomplete(&home, &["backup", "db"]);
    for told in ["folder.db: is a folder", "link.db: is a link", "pipe.db: is a named pipe"] {
        assert!(said.contains(&format!("db/{told}, not a database")), "{said}");
    }
    // Where anything is meant, folders on the way are no surprise.
    for odd in ["folder.db/x", "link.db", "pipe.db"] {
        fs::remove_file(home.path("app/data").join(odd)).unwrap();
    }
    configure(&home, "app/data/**", "");
    home.ok(&["backup", "db"]);
}

#[test]
fn cache_folders_that_are_left_out_are_told_counted_and_recorded() {
    let home = small();
    for folder in ["target", "docs/thumbs", "only-the-mark"] {
        home.write(&format!("app/{folder}/CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55\n");
    }
    home.write("app/target/debug/big", "x");
    home.write("app/docs/thumbs/1.png", "x");
    for arguments in [&["backup", "app"][..], &["-q", "backup", "app"]] {
        let said = home.ok(arguments).err;
        let line = "left out: app: 2 cache folders marked by a CACHEDIR.TAG: docs/thumbs, …";
        assert_eq!(said.matches("left out").count(), 1, "{said}");
        assert!(said.contains(line), "{said}");
    }
    let said = home.ok(&["-v", "backup", "app"]).err;
    assert!(said.contains("left out: app/docs/thumbs\n") && said.contains("left out: app/target\n"), "{said}");
    let manifest = home.json(&["show", "latest"]);
    let left_out = &manifest["sources"][0]["left_out"];
    assert_eq!(left_out[1], serde_json::json!({ "path": "target", "why": "cache" }));
    assert_eq!((&manifest["sources"][0]["left_out_count"], &manifest["complete"]), (&2.into(), &true.into()));
    assert!(home.ok(&["show", "latest"]).out.contains("app: 2 items left out on purpose"));
    assert!(home.ok(&["backup", "app", "--cachedirs"]).err.is_empty());
    // Who says so need not be told.
    assert!(home.ok(&["backup", "app", "--exclude", "target", "--exclude", "thumbs"]).err.is_empty());
}

#[test]
fn what_a_killed_restore_left_unfinished_is_left_out_and_told() {
    let home = small();
    home.write("app/docs/.strongroom-0123456789abcdef-7.partial", "half of it");
    home.write("app/.strongroom-00112233445566778899aabbccddeeff.partial/0", "staged");
    home.write("app/.strongroom-mine.partial", "a file of the app's own");
    let ran = home.ok(&["backup", "app"]);
    assert!(ran.err.contains("left out: app: 2 unfinished files of restores that were killed"), "{}", ran.err);
    let manifest = home.json(&["show", "latest"]);
    assert_eq!(manifest["sources"][0]["left_out"][1]["why"], "partial");
    assert_eq!(manifest["sources"][0]["files"], 4);
    home.ok(&["diff", "latest", "live"]);
    home.ok(&["restore", "latest", "--to", "out"]);
    assert!(home.path("out/.strongroom-mine.partial").exists());
    assert!(!home.path("out/docs/.strongroom-0123456789abcdef-7.partial").exists());
}

#[test]
fn a_closed_database_with_a_write_ahead_log_is_captured_without_a_trace() {
    let home = small();
    sql(&home, "app/s.db", "PRAGMA journal_mode = WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2)");
    let old = std::time::SystemTime::now() - std::time::Duration::from_secs(3600);
    let set = |path: &str| fs::File::open(home.path(path)).unwrap().set_modified(old).unwrap();
    set("app/s.db");
    set("app");
    let state = |path: &str| {
        let there = fs::metadata(home.path(path)).unwrap();
        (there.mtime(), there.mtime_nsec(), there.ctime(), there.ctime_nsec())
    };
    let before = (state("app"), state("app/s.db"));
    let manifest = home.json(&["backup", "app"]);
    assert_eq!((state("app"), state("app/s.db")), before);
    assert_eq!(manifest["sources"][0]["databases"][0]["rows"]["t"], 2);
    assert_eq!(manifest["sources"][0]["databases"][0]["facts"]["journal mode"], "wal");
    home.ok(&["restore", "latest", "--to", "out"]);
    assert_eq!(fs::read(home.path("out/s.db")).unwrap(), fs::read(home.path("app/s.db")).unwrap());
    // With a log that is still to be read it is captured as ever.
    let open = rusqlite::Connection::open(home.path("app/s.db")).unwrap();
    open.execute_batch("INSERT INTO t VALUES (3)").unwrap();
    set("app/s.db");
    assert_eq!(home.json(&["backup", "app"])["sources"][0]["databases"][0]["rows"]["t"], 3);
}
