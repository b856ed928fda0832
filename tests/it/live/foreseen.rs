//! What a restore or an undo would do, told without doing it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{app, copy, harm, number, snapshots, sql};
use crate::support::program::{Home, differences};

/// The bytes of every file of a folder, and nothing for folders.
fn tree(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                folders.push(path);
                found.insert(name, Vec::new());
            } else {
                found.insert(name, fs::read(path).unwrap());
            }
        }
    }
    found
}

/// The paths that are announced to be made, changed or removed.
fn announced(dry: &Value) -> BTreeSet<String> {
    let changes = dry["changes"].as_array().unwrap().iter().filter(|change| change["change"] != "metadata");
    changes.map(|change| change["path"].as_str().unwrap().to_owned()).collect()
}

/// The paths that are other ones.
fn other(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> BTreeSet<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

/// Runs twice, first to look: that changes nothing at all, and what it announces is what happens.
fn foreseen(home: &Home, folder: &str, arguments: &[&str]) -> Value {
    let (before, made) = (tree(&home.path(folder)), snapshots(home).len());
    copy(home, "untouched");
    let dry = home.json(&[arguments, &["--dry-run"]].concat());
    assert_eq!(differences(&home.path("app"), &home.path("untouched")), "");
    fs::remove_dir_all(home.path("untouched")).unwrap();
    assert_eq!(tree(&home.path(folder)), before);
    assert_eq!(snapshots(home).len(), made, "a dry run needs no safety snapshot");
    home.ok(arguments);
    let after = tree(&home.path(folder));
    assert_eq!(announced(&dry), other(&before, &after));
    dry
}

#[test]
fn a_dry_run_of_a_restore_in_place_announces_what_then_happens_and_changes_nothing() {
    let home = app();
    harm(&home);
    let dry = foreseen(&home, "app", &["restore", "latest", "--in-place"]);
    let source = &dry["foreseen"]["sources"][0];
    let counts = ["added", "content", "metadata", "removed", "same"].map(|name| source[name].as_u64().unwrap());
    // b.txt, deep and what is in it come; a.txt and the database change; the mode of readme.md does; two folders stay.
    assert_eq!(counts, [3, 2, 1, 0, 2], "{dry:#}");
    assert_eq!((&dry["dry_run"], &dry["foreseen"]["issues_count"]), (&true.into(), &0.into()));
    assert_eq!(home.json(&["undo", "--list"])["actions"].as_array().unwrap().len(), 1, "only the restore itself");
    // Afterwards there is nothing left to do.
    let ran = home.ok(&["restore", "latest", "--in-place", "--dry-run"]);
    let place = format!("  in place         app at {}\n", home.path("app").display());
    assert_eq!(ran.out, format!("{place}app: 8 there already\nnothing was written\n"));
}

#[test]
fn a_dry_run_reads_a_database_with_a_log_without_touching_it() {
    let home = app();
    let database = home.path("app/shop.db");
    sql(&database, "PRAGMA journal_mode = wal; DELETE FROM orders WHERE id % 3 = 0");
    let old = SystemTime::now() - Duration::from_secs(60);
    fs::File::options().write(true).open(&database).unwrap().set_modified(old).unwrap();
    let dry = foreseen(&home, "app", &["restore", "latest", "--in-place"]);
    assert_eq!(announced(&dry), BTreeSet::from(["shop.db".to_owned()]));
}

#[test]
fn a_dry_run_into_a_folder_that_holds_something_announces_what_then_happens() {
    let home = app();
    home.write("out/docs/a.txt", "another\n");
    home.write("out/docs/b.txt", "beta\n");
    home.write("out/mine.txt", "mine\n");
    home.write("out/shop.db-wal", "of another database");
    let dry = foreseen(&home, "out", &["restore", "latest", "--to", "out"]);
    let changes = dry["changes"].as_array().unwrap();
    let of = |path: &str| changes.iter().find(|change| change["path"] == path).map(|change| change["change"].clone());
    assert_eq!(of("docs/a.txt"), Some("content".into()));
    assert_eq!(of("docs/b.txt"), Some("metadata".into()), "its time is another");
    assert_eq!((of("shop.db"), of("shop.db-wal")), (Some("added".into()), Some("removed".into())));
    assert_eq!(of("mine.txt"), None);
}

#[test]
fn a_dry_run_makes_no_folder() {
    let home = app();
    let ran = home.ok(&["restore", "latest", "--to", "new/deep", "--dry-run"]);
    assert!(ran.out.contains("  + app/docs/a.txt\n") && ran.out.contains("app: 8 to make\n"), "{}", ran.out);
    assert!(!home.path("new").exists());
}

#[test]
fn a_dry_run_of_an_undo_announces_what_then_happens_and_changes_nothing() {
    let home = app();
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    let dry = foreseen(&home, "app", &["undo"]);
    let removed = dry["changes"].as_array().unwrap().iter().filter(|change| change["change"] == "removed");
    let removed: BTreeSet<&str> = removed.map(|change| change["path"].as_str().unwrap()).collect();
    assert_eq!(removed, BTreeSet::from(["docs/b.txt", "docs/deep", "docs/deep/c.txt"]));
}

#[test]
fn a_dry_run_of_an_undo_names_the_folder_that_the_restore_made() {
    let home = app();
    fs::remove_dir_all(home.path("app")).unwrap();
    home.ok(&["restore", "latest", "--in-place"]);
    let dry = home.json(&["undo", "--dry-run"]);
    let removed = announced(&dry);
    assert!(removed.contains(".") && removed.contains("shop.db") && removed.contains("docs/deep"), "{dry:#}");
    assert!(home.path("app/shop.db").exists());
    home.ok(&["undo"]);
    assert!(!home.path("app").exists());
}

#[test]
fn a_dry_run_of_an_undo_of_a_recovery_tells_rows_and_files() {
    let home = Home::new();
    home.write("app/docs/7.txt", "seven\n");
    sql(
        &home.path("app/shop.db"),
        "CREATE TABLE orders(id INTEGER PRIMARY KEY, text TEXT); INSERT INTO orders VALUES (7, 'x')",
    );
    let (app, vault) = (home.path("app"), home.vault());
    let config = format!(
        "vault = \"{}\"\n[source.app]\nkind = \"files\"\npath = \"{}\"\n\
         [entity.order]\nsource = \"app\"\ntable = \"orders\"\nfiles = [{{ source = \"app\", path = \"docs/{{id}}.txt\" }}]\n",
        vault.display(),
        app.display()
    );
    home.write("strongroom.toml", config);
    home.ok(&["init"]);
    home.ok(&["backup"]);
    sql(&home.path("app/shop.db"), "DELETE FROM orders");
    fs::remove_file(home.path("app/docs/7.txt")).unwrap();
    home.ok(&["recover", "latest", "order", "7"]);
    let before = tree(&home.path("app"));
    let dry = home.json(&["undo", "--dry-run"]);
    assert_eq!(tree(&home.path("app")), before);
    assert_eq!(dry["foreseen"]["rows"], serde_json::json!([{ "table": "orders", "rows": 1 }]));
    assert_eq!(announced(&dry), BTreeSet::from(["docs/7.txt".to_owned()]));
    // What the undo itself refuses is refused.
    sql(&home.path("app/shop.db"), "UPDATE orders SET text = 'newer'");
    let refused = home.fails(1, &["undo"]);
    assert_eq!(home.fails(1, &["undo", "--dry-run"]), refused);
    assert_eq!(number(&home.path("app/shop.db"), "SELECT count(*) FROM orders"), 1);
}

#[test]
fn a_dry_run_is_refused_as_the_command_itself_is() {
    let home = app();
    let alike = |code: i32, arguments: &[&str]| {
        let refused = home.fails(code, arguments);
        assert_eq!(home.fails(code, &[arguments, &["--dry-run"]].concat()), refused);
    };
    alike(1, &["undo"]);
    alike(2, &["restore", "latest", "--to", "."]);
    alike(1, &["restore", "latest", ":nothing", "--in-place"]);
    alike(1, &["restore", "latest", ":nothing", "--to", "out"]);
    harm(&home);
    home.ok(&["restore", "latest", "--in-place"]);
    home.write("app/docs/b.txt", "newer\n");
    alike(1, &["undo"]);
    alike(2, &["undo", "--no-safety"]);
    home.write("file", "x");
    alike(2, &["restore", "latest", "--to", "file"]);
}

#[test]
fn a_dry_run_says_what_would_be_left_alone_and_ends_with_3() {
    let home = app();
    let config = |exclude: &str| {
        format!(
            "vault = \"{}\"\n[source.app]\nkind = \"files\"\npath = \"{}\"\n{exclude}",
            home.vault().display(),
            home.path("app").display()
        )
    };
    home.write("strongroom.toml", config("exclude = [\"readme.md\"]\n"));
    home.write("app/readme.md", "left out now\n");
    let dry = home.run(&["restore", "latest", "--in-place", "--dry-run"]);
    assert_eq!(dry.code, 3, "{}{}", dry.out, dry.err);
    let real = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(real.code, 3);
    let line = real.err.lines().find_map(|line| line.strip_prefix("not restored as it was: ")).unwrap();
    assert!(dry.err.contains(&format!("would not be restored as it was: {line}\n")), "{}{}", dry.err, real.err);
}
