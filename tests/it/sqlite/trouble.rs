//! Databases that cannot be captured as they should be: told, never passed over, and kept where they can be.

use std::fs;
use std::os::unix::fs::FileExt;

use super::{assert_sound, backup, bytes, capture, open, restored, some_rows, source_of};
use crate::support::vaults::Lab;

fn damage(path: &std::path::Path, at: u64) {
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[0x5a; 700], at).unwrap();
}

#[test]
fn a_database_with_a_damaged_page_is_kept_and_told() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3000);
    damage(&live, 5 * 4096);
    let manifest = capture(&lab, &live);
    assert!(!manifest.complete());
    let found = manifest.sources[0].databases[0].damage.clone().expect("the damage is told");
    assert!(manifest.sources[0].skipped[0].reason.contains(&found));
    assert!(bytes(&lab, &manifest, "") == fs::read(&live).unwrap());
    // It is looked at again as long as it is damaged.
    assert!(!capture(&lab, &live).complete());
}

#[test]
fn a_database_that_sqlite_cannot_even_open_is_kept_as_it_lies_there() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3000);
    damage(&live, 18);
    let manifest = capture(&lab, &live);
    assert!(!manifest.complete() && manifest.sources[0].databases[0].damage.is_some());
    assert!(bytes(&lab, &manifest, "") == fs::read(&live).unwrap());
}

#[test]
fn a_database_cut_short_is_kept_and_told() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3000);
    let length = fs::metadata(&live).unwrap().len();
    fs::File::options().write(true).open(&live).unwrap().set_len(length / 2).unwrap();
    let manifest = capture(&lab, &live);
    assert!(!manifest.complete() && manifest.sources[0].databases[0].damage.is_some());
    assert!(bytes(&lab, &manifest, "").starts_with(&fs::read(&live).unwrap()));
}

#[test]
fn a_database_that_another_process_has_to_itself_is_told_and_the_rest_goes_on() {
    let lab = Lab::in_memory();
    let root = lab.path("app");
    fs::create_dir_all(&root).unwrap();
    some_rows(&root.join("a.db"), 10);
    some_rows(&root.join("b.db"), 10);
    let holder = open(&root.join("a.db"));
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let manifest = capture(&lab, &root.join("*.db"));
    let told: Vec<_> =
        manifest.sources[0].skipped.iter().map(|skip| format!("{}: {}", skip.path, skip.reason)).collect();
    assert_eq!(told, ["a.db: is locked by another process"]);
    assert_eq!(manifest.sources[0].databases.len(), 1);
    drop(holder);
    assert!(capture(&lab, &root.join("*.db")).complete());
}

#[test]
fn a_hot_journal_of_a_process_that_died_is_rolled_back_not_captured() {
    let lab = Lab::in_memory();
    let live = lab.path("live.db");
    some_rows(&live, 3000);
    let before = fs::read(&live).unwrap();
    // A copy made in the middle of a transaction that has spilled: what a crash leaves.
    let writer = open(&live);
    writer.execute_batch("PRAGMA cache_size = 5; BEGIN; UPDATE t SET body = 'torn' || id").unwrap();
    let crashed = lab.path("crashed.db");
    fs::copy(lab.path("live.db-journal"), lab.path("crashed.db-journal")).unwrap();
    fs::copy(&live, &crashed).unwrap();
    drop(writer);
    assert!(fs::read(&crashed).unwrap() != before, "nothing was spilled");
    let manifest = capture(&lab, &crashed);
    assert!(manifest.complete(), "{:?}", manifest.sources[0].skipped);
    let copy = restored(&lab, &manifest, "copy.db");
    assert_sound(&copy);
    assert_eq!(super::ask(&open(&copy), "SELECT count(*) FROM t WHERE body LIKE 'torn%'"), ["Integer(0)"]);
}

#[test]
fn a_database_that_is_not_there_is_a_clear_error() {
    let lab = Lab::in_memory();
    let Err(error) = backup(&lab, source_of(&lab.path("none.db"), "")) else { panic!("captured nothing") };
    assert!(error.to_string().contains("none.db"), "{error}");
}
