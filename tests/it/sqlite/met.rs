//! Databases that `files` comes across, and those that a glob names.

use std::fs;
use std::path::Path;

use strongroom::format::manifest::Manifest;
use strongroom::ops::backup::Planned;
use strongroom::source;

use super::{ask, assert_sound, backup, bytes, grow, open, some_rows, source_of};
use crate::support::vaults::{self, Lab};

fn files(path: &Path, more: &str) -> Planned {
    let table = format!("kind = 'files'\npath = '{}'\n{more}", path.display());
    Planned {
        name: "docs".parse().unwrap(),
        source: source::configure(&table.parse().unwrap(), Path::new("/")).unwrap(),
    }
}

fn names(lab: &Lab, manifest: &Manifest) -> Vec<String> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let mut names = Vec::new();
    let part = strongroom::ops::show::Part::whole();
    strongroom::ops::show::list(&unlocked, manifest, &part, |entry| {
        names.push(entry.path.to_string());
        Ok(())
    })
    .unwrap();
    names
}

fn app(lab: &Lab) -> std::path::PathBuf {
    let root = lab.path("app");
    fs::create_dir_all(root.join("data/more")).unwrap();
    some_rows(&root.join("data/app.db"), 500);
    fs::write(root.join("data/app.db-old"), "not a companion").unwrap();
    fs::write(root.join("notes-wal"), "a log of nothing").unwrap();
    fs::write(root.join("readme"), "text").unwrap();
    some_rows(&root.join("data/more/other.sqlite"), 10);
    root
}

#[test]
fn a_plain_backup_of_a_folder_captures_the_databases_in_it_as_databases() {
    let lab = Lab::in_memory();
    let root = app(&lab);
    let live = open(&root.join("data/app.db"));
    ask(&live, "PRAGMA journal_mode = WAL");
    ask(&live, "PRAGMA wal_autocheckpoint = 0");
    grow(&live, 5);
    assert!(root.join("data/app.db-wal").exists() && root.join("data/app.db-shm").exists());
    let manifest = backup(&lab, files(&root, "")).unwrap().manifest;
    assert!(manifest.complete(), "{:?}", manifest.sources[0].skipped);
    let expected =
        [".", "data", "data/app.db", "data/app.db-old", "data/more", "data/more/other.sqlite", "notes-wal", "readme"];
    assert_eq!(names(&lab, &manifest), expected);
    let databases: Vec<String> = manifest.sources[0].databases.iter().map(|found| found.path.to_string()).collect();
    assert_eq!(databases, ["data/app.db", "data/more/other.sqlite"]);
    let copy = lab.path("copy.db");
    fs::write(&copy, bytes(&lab, &manifest, "data/app.db")).unwrap();
    assert_eq!(ask(&open(&copy), "SELECT count(*) FROM t"), ["Integer(505)"]);
    // Again, with nothing changed and with something changed in the log only.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    backup(&lab, files(&root, "")).unwrap();
    let second = backup(&lab, files(&root, "")).unwrap().manifest;
    assert_eq!((second.bytes_read, names(&lab, &second).len()), (0, expected.len()));
    grow(&live, 1);
    let third = backup(&lab, files(&root, "")).unwrap().manifest;
    assert_eq!(third.sources[0].databases[0].rows["t"], 506);
    assert_eq!(names(&lab, &third), expected);
}

#[test]
fn a_plain_capture_takes_databases_as_the_files_they_are() {
    let lab = Lab::in_memory();
    let root = app(&lab);
    let manifest = backup(&lab, files(&root, "plain = true")).unwrap().manifest;
    assert!(manifest.complete() && manifest.sources[0].databases.is_empty());
    assert!(bytes(&lab, &manifest, "data/app.db") == fs::read(root.join("data/app.db")).unwrap());
    // What was captured the other way is captured again, though nothing has changed.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    backup(&lab, files(&root, "plain = true")).unwrap();
    let recognised = backup(&lab, files(&root, "")).unwrap().manifest;
    assert_eq!(recognised.sources[0].databases.len(), 2);
    let plain = backup(&lab, files(&root, "plain = true")).unwrap().manifest;
    assert!(plain.sources[0].databases.is_empty());
}

#[test]
fn a_glob_captures_the_databases_it_names_and_the_folders_on_the_way() {
    let lab = Lab::in_memory();
    let root = app(&lab);
    fs::create_dir_all(root.join("empty/deep")).unwrap();
    fs::write(root.join("data/fake.db"), "text that calls itself a database").unwrap();
    fs::write(root.join("data/zero.db"), "").unwrap();
    let manifest = backup(&lab, source_of(&root.join("**/*.{db,sqlite}"), "")).unwrap().manifest;
    assert_eq!(names(&lab, &manifest), [".", "data", "data/app.db", "data/more", "data/more/other.sqlite"]);
    let told: Vec<_> =
        manifest.sources[0].skipped.iter().map(|skip| format!("{}: {}", skip.path, skip.reason)).collect();
    assert_eq!(told, ["data/fake.db: is not a SQLite database", "data/zero.db: is empty: no database yet"]);
    assert!(!manifest.complete());
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    vaults::restore(&unlocked, &manifest, &lab.path("out")).unwrap();
    assert_sound(&lab.path("out/data/more/other.sqlite"));
}

#[test]
fn a_database_that_becomes_another_file_and_back_is_captured_as_what_it_is() {
    let lab = Lab::in_memory();
    let root = lab.path("app");
    fs::create_dir_all(&root).unwrap();
    let live = root.join("x");
    for number in 0..4 {
        let _ = fs::remove_file(&live);
        match number % 2 {
            0 => some_rows(&live, 100),
            _ => fs::write(&live, "only text").unwrap(),
        }
        let manifest = backup(&lab, files(&root, "")).unwrap().manifest;
        assert_eq!(manifest.sources[0].databases.len(), 1 - number % 2);
        assert!(bytes(&lab, &manifest, "x") == fs::read(&live).unwrap());
    }
}
