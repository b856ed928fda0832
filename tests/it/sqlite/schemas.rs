//! Databases as they are in the wild: fixtures/sqlite, each with questions that must be answered the same.

use std::fs;
use std::path::{Path, PathBuf};

use super::{ask, assert_sound, bytes, capture, open};
use crate::support::vaults::Lab;

pub fn fixtures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/sqlite");
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|end| end == "sql"));
    files.sort();
    assert!(files.len() >= 7, "{files:?}");
    files
}

pub fn queries(fixture: &Path) -> Vec<String> {
    let text = fs::read_to_string(fixture).unwrap();
    let queries: Vec<String> =
        text.lines().filter_map(|line| line.strip_prefix("-- query: ")).map(str::to_owned).collect();
    assert!(!queries.is_empty(), "{} asks nothing", fixture.display());
    queries
}

#[test]
fn every_schema_comes_back_page_for_page_and_answers_the_same() {
    for fixture in fixtures() {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        let connection = open(&live);
        connection.execute_batch(&fs::read_to_string(&fixture).unwrap()).unwrap();
        // What is still in a log goes into the file: then the file is what must come back.
        ask(&connection, "PRAGMA wal_checkpoint(TRUNCATE)");
        let manifest = capture(&lab, &live);
        assert!(manifest.complete(), "{}", fixture.display());
        let captured = bytes(&lab, &manifest, "");
        assert!(captured == fs::read(&live).unwrap(), "{}", fixture.display());
        let copy = lab.path("copy.db");
        fs::write(&copy, captured).unwrap();
        assert_sound(&copy);
        for query in queries(&fixture) {
            let answer = ask(&connection, &query);
            assert!(!answer.is_empty(), "{}: {query}", fixture.display());
            assert_eq!(ask(&open(&copy), &query), answer, "{}: {query}", fixture.display());
        }
    }
}
