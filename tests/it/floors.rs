//! The house stands: imports point down, every file is part of it, no file grows without end.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Floors from the ground up. Those of one number are neighbours and do not know each other.
const FLOORS: [(&str, u8); 8] =
    [("base", 0), ("format", 1), ("engine", 1), ("store", 2), ("source", 2), ("vault", 3), ("record", 4), ("ops", 5)];
const CEILING: usize = 600;
/// Measurements that are run by hand.
const MEASUREMENTS: [&str; 2] = ["src/source/files/target/tests/many.rs", "src/source/files/tests/speed.rs"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file, named from the project's folder.
fn files() -> BTreeMap<String, String> {
    fn walk(folder: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                found.insert(name, fs::read_to_string(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&root().join("src"), &mut found);
    found
}

fn level(floor: &str) -> Option<u8> {
    FLOORS.iter().find(|(name, _)| *name == floor).map(|(_, level)| *level)
}

/// The floors that a file's code names after `crate::`.
fn imports(text: &str) -> BTreeSet<&str> {
    let names = text.split("crate::").skip(1).map(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        &rest[..end]
    });
    names.filter(|name| level(name).is_some()).collect()
}

/// What a file of the library imports and must not.
fn upward_imports(name: &str, text: &str) -> Vec<String> {
    let Some(own) = name.strip_prefix("src/").and_then(|rest| rest.split(['/', '.']).next()) else { return Vec::new() };
    let Some(floor) = level(own) else { return Vec::new() };
    let wrong = |other: &&str| **other != *own && level(other).is_some_and(|other| other >= floor);
    imports(text).into_iter().filter(wrong).map(|other| format!("{name} imports {other}")).collect()
}

#[test]
fn imports_point_down() {
    let files = files();
    let wrong: Vec<String> = files.iter().flat_map(|(name, text)| upward_imports(name, text)).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_upward_import_would_be_seen() {
    assert_eq!(upward_imports("src/format/pack.rs", "use crate::vault::Vault;"), ["src/format/pack.rs imports vault"]);
    assert_eq!(upward_imports("src/store/mod.rs", "use crate::source::Source;").len(), 1);
    assert!(upward_imports("src/vault/mod.rs", "use crate::store::Store; use crate::vault::host;").is_empty());
}

#[test]
fn the_command_line_uses_the_public_surface_only() {
    for (name, text) in files() {
        if name.starts_with("src/bin/") {
            assert!(imports(&text).is_empty(), "{name} imports a floor as its own");
        } else {
            assert!(!text.contains("strongroom::"), "{name} imports the command line's view of the library");
        }
    }
}

/// The modules that a file declares: by `mod x;` and in the lists of sources and commands.
fn declared(text: &str) -> Vec<String> {
    let mut modules = Vec::new();
    for line in text.lines().map(str::trim) {
        let line = line.strip_prefix("pub ").unwrap_or(line);
        if let Some(name) = line.strip_prefix("mod ").and_then(|rest| rest.strip_suffix(';')) {
            modules.push(name.to_owned());
        }
        if let Some(names) = line.strip_prefix("sources![").and_then(|rest| rest.strip_suffix("];")) {
            modules.extend(names.split(',').map(|name| name.trim().to_owned()));
        }
        let arm = line.strip_suffix(',').and_then(|line| line.split_once(" => "));
        let is_command = |variant: &str, module: &str| {
            variant.chars().all(char::is_alphanumeric) && module.chars().all(|c| c.is_ascii_lowercase() || c == '_')
        };
        modules
            .extend(arm.filter(|(variant, module)| is_command(variant, module)).map(|(_, module)| module.to_owned()));
    }
    modules
}

#[test]
fn no_file_lies_outside_the_tree_of_modules() {
    let files = files();
    let mut reached = BTreeSet::new();
    let mut waiting = vec!["src/lib.rs".to_owned(), "src/bin/strongroom/main.rs".to_owned()];
    while let Some(name) = waiting.pop() {
        let Some(text) = files.get(&name) else { continue };
        if !reached.insert(name.clone()) {
            continue;
        }
        let stem = name.strip_suffix(".rs").unwrap();
        let is_top = ["lib", "main", "mod"].iter().any(|top| stem.ends_with(&format!("/{top}")));
        let folder =
            if is_top { Path::new(&name).parent().unwrap().to_string_lossy().into_owned() } else { stem.to_owned() };
        for module in declared(text) {
            waiting.extend([format!("{folder}/{module}.rs"), format!("{folder}/{module}/mod.rs")]);
        }
    }
    let forgotten: Vec<_> = files.keys().filter(|name| !reached.contains(*name)).collect();
    assert!(forgotten.is_empty(), "{forgotten:#?}");
}

#[test]
fn no_file_is_too_long_or_named_for_nothing() {
    for (name, text) in files() {
        let lines = text.lines().count();
        let tests_only = name.ends_with("tests.rs") || name.contains("/tests/");
        assert!(lines <= CEILING || tests_only, "{name} has {lines} lines");
        for nothing in ["utils", "common", "helpers", "manager"] {
            assert!(!name.contains(nothing), "{name} is named for nothing");
        }
    }
}

#[test]
fn nothing_unfinished_stands_in_the_library_or_the_command_line() {
    for (name, text) in files() {
        let is_test = name.ends_with("tests.rs") || name.contains("/tests/");
        let code = if is_test { "" } else { text.split("#[cfg(test)]\nmod tests").next().unwrap() };
        for unfinished in [".unwrap()", "todo!(", "unimplemented!(", "dbg!("] {
            assert!(!code.contains(unfinished), "{name} has {unfinished}");
        }
        let ignored = text.contains("#[ignore") && !MEASUREMENTS.contains(&name.as_str());
        assert!(!ignored, "{name} ignores a test");
    }
}

#[test]
fn unsafe_code_stands_in_one_place() {
    let allowed = [
        "src/bin/strongroom/closed.rs",
        "src/bin/strongroom/memory.rs",
        "src/engine/sqlite/vfs.rs",
        "src/engine/sqlite/vtab.rs",
    ];
    for (name, text) in files() {
        let unsafe_at = text.contains("allow(unsafe_code)");
        assert!(!unsafe_at || allowed.contains(&name.as_str()) || name.starts_with("src/engine/sqlite/vfs/"), "{name}");
    }
}

#[test]
fn every_module_says_what_it_is() {
    for (name, text) in files() {
        let is_command = name.starts_with("src/bin/strongroom/commands/");
        let is_test = name.ends_with("tests.rs");
        assert!(text.starts_with("//!") || is_test || is_command, "{name} has no header");
    }
}
