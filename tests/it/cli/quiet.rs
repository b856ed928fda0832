//! `--quiet` leaves out success, never trouble: what is said beside an exit code other than 0 is said all the same.

use super::*;

/// Runs the command in one home and quietly in another that is the same. Returns what both said on standard error.
fn said(plant: &dyn Fn() -> Home, code: i32, arguments: &[&str]) -> String {
    let (loud, quiet) = (plant().run(arguments), plant().run(&[&["--quiet"], arguments].concat()));
    assert_eq!(loud.code, code, "{arguments:?}: {}{}", loud.out, loud.err);
    assert_eq!(quiet.code, code, "{arguments:?}: {}{}", quiet.out, quiet.err);
    assert!(!quiet.err.is_empty(), "{arguments:?}: nothing was said");
    // Ids and folders differ between two homes, and nothing else.
    let telling = |text: &str| -> Vec<String> {
        text.lines()
            .map(|line| {
                line.split(['/', ' '])
                    .filter(|word| !word.starts_with(".tmp") && !word.contains(|c: char| c.is_ascii_digit()))
                    .collect()
            })
            .collect()
    };
    assert_eq!(telling(&quiet.err), telling(&loud.err), "{arguments:?}");
    quiet.err
}

fn database(home: &Home, sql: &str) {
    rusqlite::Connection::open(home.path("app/s.db")).unwrap().execute_batch(sql).unwrap();
}

/// A home with one vault and two snapshots, of which something is lost.
fn spoiled(what: &str) -> Home {
    let home = backed_up();
    home.write("app/readme.md", "two\n");
    home.ok(&["backup", "app"]);
    let objects = walkdir::WalkDir::new(home.vault().join(what)).sort_by_file_name().into_iter().map(Result::unwrap);
    let last = objects.filter(|entry| entry.file_type().is_file()).last().unwrap();
    let bytes = fs::read(last.path()).unwrap();
    fs::remove_file(last.path()).unwrap();
    fs::write(last.path(), &bytes[..bytes.len() / 2]).unwrap();
    home
}

#[test]
fn a_quiet_backup_names_what_it_could_not_capture() {
    let odd = || {
        let home = small();
        home.ok(&["backup", "app"]);
        fs::create_dir(home.path("app/s.db")).unwrap();
        let text = "[source.docs]\nkind = \"files\"\npath = \"app/docs\"\n[source.dbs]\nkind = \"sqlite\"\npath = \"app/*.db\"\n";
        home.write("strongroom.toml", text);
        home
    };
    let told = said(&odd, 3, &["backup"]);
    assert!(told.contains("dbs/s.db: is a folder, not a database"), "{told}");
    assert!(told.contains("no file matches"), "{told}");
}

#[test]
fn a_quiet_backup_raises_its_alarms() {
    let emptied = || {
        let home = small();
        database(&home, "CREATE TABLE t (a); INSERT INTO t VALUES (1), (2), (3), (4), (5), (6), (7), (8), (9), (10)");
        home.ok(&["backup", "app"]);
        database(&home, "DELETE FROM t");
        home
    };
    let told = said(&emptied, 3, &["backup", "app"]);
    assert!(told.contains("alarm: app/s.db: table t had 10 rows and has 0; the snapshot before is "), "{told}");
}

#[test]
fn quiet_commands_name_damage() {
    for (what, arguments) in [
        ("snapshots", &["snapshots"][..]),
        ("snapshots", &["verify"]),
        ("packs", &["verify"]),
        ("packs", &["verify", "--stored"]),
    ] {
        let home = spoiled(what);
        let (loud, quiet) = (home.run(arguments), home.run(&[&["--quiet"], arguments].concat()));
        assert_eq!((loud.code, quiet.code), (4, 4), "{arguments:?}: {}", loud.err);
        assert!(quiet.err == loud.err && quiet.err.contains("damaged: "), "{arguments:?}: {}", quiet.err);
    }
    let passed_over = spoiled("snapshots").run(&["-q", "show", "latest"]);
    assert!(passed_over.code == 3 && passed_over.err.contains("latest may be newer"), "{}", passed_over.err);
}

#[test]
fn a_quiet_restore_names_what_did_not_come_back() {
    let in_the_way = || {
        let home = backed_up();
        home.write("out/readme.md/x", "in the way\n");
        home
    };
    let told = said(&in_the_way, 3, &["restore", "latest", "--to", "out"]);
    assert!(told.contains("not restored as it was: readme.md"), "{told}");
}

#[test]
fn a_quiet_comparison_names_what_could_not_be_compared() {
    let gone = || {
        let home = small();
        home.ok(&["backup", "app/docs", "app/readme.md"]);
        fs::remove_file(home.path("app/readme.md")).unwrap();
        home
    };
    let told = said(&gone, 3, &["diff", "latest", "live"]);
    assert!(told.contains("not compared: readme.md: cannot capture"), "{told}");
}

#[test]
fn a_quiet_recovery_names_what_does_not_come_back() {
    let clash = || {
        let home = small();
        database(
            &home,
            "CREATE TABLE p (id INTEGER PRIMARY KEY, slug TEXT UNIQUE); INSERT INTO p VALUES (1, 'a'), (2, 'b')",
        );
        home.ok(&["backup", "app"]);
        database(&home, "DELETE FROM p WHERE id = 1; UPDATE p SET slug = 'a' WHERE id = 2");
        home
    };
    let told = said(&clash, 3, &["recover", "latest", "--missing", "p", "--dry-run"]);
    assert!(told.contains("does not come back: p 1: ") || told.contains("cannot be done: "), "{told}");
}

#[test]
fn a_quiet_discovery_names_what_it_found_and_cannot_capture() {
    let planted = || {
        let home = Home::new();
        home.write("app/docs/a.txt", "alpha\n");
        home.write("app/docker-compose.yml", "services:\n  db:\n    image: mongo:7\n");
        home
    };
    assert!(said(&planted, 0, &["init", "--discover", "app"]).contains("not captured: "));
}
