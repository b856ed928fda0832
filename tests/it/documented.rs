//! What the documents say of tests is true: the tests that they name are there.

use std::fs;
use std::path::{Path, PathBuf};

use crate::support::program::page;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(sources(&path)),
            false => found.extend(Some(path).filter(|path| path.extension().is_some_and(|end| end == "rs"))),
        }
    }
    found
}

/// What a page has between backticks and looks like the name of a test.
fn named(page: &str) -> Vec<&str> {
    let words = page.split('`').skip(1).step_by(2);
    let is_name = |word: &&str| {
        let is_plain =
            word.trim_end_matches('…').chars().all(|letter| letter.is_ascii_alphanumeric() || "_:".contains(letter));
        is_plain && (word.contains("::") || word.matches('_').count() >= 4)
    };
    words.filter(is_name).collect()
}

/// Is it a test, or a module of tests? Behind `…` a name goes on.
fn is_there(name: &str, files: &[(PathBuf, String)]) -> bool {
    let (module, test) = name.rsplit_once("::").unwrap_or(("", name));
    let function = match test.strip_suffix('…') {
        Some(beginning) => format!("fn {beginning}"),
        None => format!("fn {test}("),
    };
    let is_of = |path: &Path, module: &str| {
        let path = path.with_extension("");
        let path =
            if path.ends_with("tests") || path.ends_with("mod") { path.parent().unwrap().to_owned() } else { path };
        path.ends_with(module.replace("::", "/"))
    };
    files.iter().any(|(path, text)| {
        let is_test =
            |at: usize| text[..at].trim_end().lines().rev().take(3).any(|line| line.trim().starts_with("#[test]"));
        (is_of(path, module) && text.match_indices(&function).any(|(at, _)| is_test(at)))
            || (!module.is_empty() && is_of(path, &name.replace("::", "/")) && text.contains("#[test]"))
    })
}

#[test]
fn every_test_that_the_threat_model_names_is_there() {
    let files: Vec<(PathBuf, String)> = ["src", "tests"]
        .into_iter()
        .flat_map(|folder| sources(&root().join(folder)))
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect();
    let page = page("threat-model.md");
    let names = named(&page);
    assert!(names.len() > 30, "{names:#?}");
    let missing: Vec<&&str> = names.iter().filter(|name| !is_there(name, &files)).collect();
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(!is_there("postgres::forged::a_test_that_nobody_wrote", &files));
    for file in page.split('`').filter(|word| word.starts_with("tests/") || word.starts_with("src/")) {
        assert!(root().join(file).exists(), "{file}");
    }
}

#[test]
fn every_advisory_that_is_passed_over_stands_in_the_threat_model() {
    let settings: toml::Table = fs::read_to_string(root().join("deny.toml")).unwrap().parse().unwrap();
    let page = page("threat-model.md");
    let ignored = settings["advisories"]["ignore"].as_array().unwrap();
    for advisory in ignored {
        let id = advisory["id"].as_str().unwrap();
        assert!(page.contains(&format!("https://rustsec.org/advisories/{id}")), "{id}");
    }
    let check = fs::read_to_string(root().join("scripts/check.sh")).unwrap();
    assert!(check.contains("check advisories"));
}
