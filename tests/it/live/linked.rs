//! Names of one plain file (hard links): whatever happened to some of them, each gets what the snapshot says, and those that
//! are one file there are one file again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::support::program::Home;
use crate::support::vaults::Random;

/// The time that everything has, whatever is done to it.
fn age(path: &Path) {
    let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    File::options().write(true).open(path).unwrap().set_modified(then).unwrap();
}

/// Some bytes change, size and time do not.
fn rot(path: &Path) {
    File::options().write(true).open(path).unwrap().write_all_at(b"ROT!", 0).unwrap();
    age(path);
}

fn plant(path: &Path, content: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, content).unwrap();
    age(path);
}

fn read(home: &Home, name: &str) -> String {
    fs::read_to_string(home.path(name)).unwrap()
}

/// Are these names one file?
fn is_one(home: &Home, names: &[&str]) -> bool {
    let numbers: BTreeSet<u64> = names.iter().map(|name| fs::metadata(home.path(name)).unwrap().ino()).collect();
    numbers.len() == 1
}

/// A file with a name in a folder and two beside it, and a backup of it.
fn linked() -> Home {
    let home = Home::new();
    plant(&home.path("app/a"), "good bytes");
    fs::create_dir(home.path("app/d")).unwrap();
    for name in ["app/b", "app/d/c"] {
        fs::hard_link(home.path("app/a"), home.path(name)).unwrap();
    }
    home.ok(&["backup", "app"]);
    home
}

const ALL: [&str; 3] = ["app/a", "app/b", "app/d/c"];

#[test]
fn a_file_whose_bytes_alone_changed_is_given_back_under_each_of_its_names_and_taken_back_under_each() {
    let home = linked();
    rot(&home.path("app/b"));
    let dry = home.json(&["restore", "latest", "--in-place", "--dry-run"]);
    assert_eq!(changes(&dry).len(), 3, "{dry}");
    let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
    assert_eq!(report["files"], 3, "{report}");
    for name in ALL {
        assert_eq!(read(&home, name), "good bytes", "{name}");
    }
    assert!(is_one(&home, &ALL));
    home.ok(&["undo"]);
    for name in ALL {
        assert_eq!(read(&home, name), "ROT! bytes", "{name}");
    }
    assert!(is_one(&home, &ALL));
}

#[test]
fn names_of_which_only_some_are_asked_for_are_one_file_still_and_the_others_are_not_touched() {
    let home = linked();
    fs::hard_link(home.path("app/a"), home.path("app/d/d")).unwrap();
    home.ok(&["backup", "app"]);
    // Nothing is to be done where all of it is right.
    home.ok(&["restore", "latest", "app:d", "--in-place"]);
    assert!(is_one(&home, &["app/a", "app/d/c", "app/d/d"]));
    rot(&home.path("app/b"));
    home.ok(&["restore", "latest", "app:d", "--in-place"]);
    assert_eq!(
        ["app/a", "app/b", "app/d/c", "app/d/d"].map(|name| read(&home, name)),
        ["ROT! bytes", "ROT! bytes", "good bytes", "good bytes"]
    );
    assert!(is_one(&home, &["app/a", "app/b"]) && is_one(&home, &["app/d/c", "app/d/d"]));
    home.ok(&["undo"]);
    assert_eq!((read(&home, "app/d/c"), read(&home, "app/d/d")), ("ROT! bytes".into(), "ROT! bytes".into()));
    // Asked for one by one, in any order, they are one file again; as well beside.
    home.ok(&["restore", "latest", "app:d/d", "app:d/c", "app:b", "app:a", "--in-place"]);
    assert!(is_one(&home, &["app/a", "app/b", "app/d/c", "app/d/d"]));
    assert_eq!(read(&home, "app/b"), "good bytes");
    home.ok(&["restore", "latest", "app:d", "--to", "out"]);
    assert!(is_one(&home, &["out/d/c", "out/d/d"]));
    plant(&home.path("out/d/c"), "newer text");
    home.ok(&["restore", "latest", "app:d/d", "app:d/c", "app:b", "--to", "out"]);
    assert!(is_one(&home, &["out/d/c", "out/d/d", "out/b"]));
    assert_eq!(read(&home, "out/d/c"), "good bytes");
}

#[test]
fn a_later_name_is_not_linked_to_a_first_one_that_is_left_alone() {
    let home = linked();
    let text = |exclude: &str| format!("[source.app]\nkind = \"files\"\npath = \"app\"\n{exclude}");
    home.write("strongroom.toml", text(""));
    home.ok(&["backup"]);
    home.write("strongroom.toml", text("exclude = [\"/a\"]\n"));
    for apart in [false, true] {
        if apart {
            fs::remove_file(home.path("app/b")).unwrap();
            plant(&home.path("app/b"), "some other");
        }
        plant(&home.path("app/a"), "newer text");
        for arguments in [&["restore", "latest", "--in-place", "--dry-run"][..], &["restore", "latest", "--in-place"]] {
            let ran = home.run(arguments);
            assert!(ran.code == 3 && ran.err.contains("app/a: left alone"), "{} {}{}", ran.code, ran.out, ran.err);
        }
        assert_eq!(ALL.map(|name| read(&home, name)), ["newer text", "good bytes", "good bytes"]);
        assert!(is_one(&home, &["app/b", "app/d/c"]));
    }
}

#[test]
fn without_a_safety_snapshot_nothing_is_linked_to_a_name_that_holds_something_else() {
    let home = linked();
    fs::remove_file(home.path("app/b")).unwrap();
    plant(&home.path("app/b"), "some other");
    rot(&home.path("app/a"));
    home.ok(&["restore", "latest", "app:b", "--in-place", "--no-safety"]);
    assert_eq!(ALL.map(|name| read(&home, name)), ["ROT! bytes", "good bytes", "ROT! bytes"]);
}

#[test]
fn times_that_are_trusted_leave_a_file_as_it_is_under_all_of_its_names_or_under_none() {
    let home = linked();
    for gone in [false, true] {
        rot(&home.path("app/b"));
        if gone {
            fs::remove_file(home.path("app/a")).unwrap();
        }
        home.ok(&["restore", "latest", "--in-place", "--trust-times"]);
        assert_eq!((read(&home, "app/a"), read(&home, "app/d/c")), (read(&home, "app/b"), read(&home, "app/b")));
        assert!(is_one(&home, &ALL));
    }
}

#[test]
fn a_link_with_two_names_that_leads_elsewhere_is_given_back_under_both() {
    let home = Home::new();
    fs::create_dir(home.path("app")).unwrap();
    let make = |target: &str| {
        let then = "touch -h -d @1700000000 app/l";
        crate::support::program::shell(&home.path("."), &format!("ln -s {target} app/l; {then}; ln app/l app/m"));
    };
    make("one");
    home.ok(&["backup", "app"]);
    fs::remove_file(home.path("app/l")).unwrap();
    fs::remove_file(home.path("app/m")).unwrap();
    make("two");
    home.ok(&["restore", "latest", "--in-place"]);
    let leads = |name: &str| fs::read_link(home.path(name)).unwrap().to_str().unwrap().to_owned();
    assert_eq!((leads("app/l"), leads("app/m")), ("one".into(), "one".into()));
    home.ok(&["undo"]);
    assert_eq!((leads("app/l"), leads("app/m")), ("two".into(), "two".into()));
}

#[test]
fn a_later_name_is_not_linked_to_a_first_one_whose_content_is_damaged_in_the_vault() {
    let home = Home::new();
    plant(&home.path("app/a"), "");
    fs::write(home.path("app/a"), Random::new(3).bytes(3 << 20)).unwrap();
    fs::hard_link(home.path("app/a"), home.path("app/b")).unwrap();
    home.ok(&["backup", "app"]);
    let line = "find . -type f -size +500k | while read f; do chmod u+w $f; \
                for at in 100000 300000 600000; do printf '#damage#' | dd of=$f bs=1 seek=$at conv=notrunc status=none; done; done";
    crate::support::program::shell(&home.vault(), line);
    for to in [false, true] {
        fs::remove_file(home.path("app/b")).unwrap();
        plant(&home.path("app/a"), "newer text");
        plant(&home.path("app/b"), "some other");
        let (folder, how) = if to { ("out", &["--to", "out"][..]) } else { ("app", &["--in-place"][..]) };
        fs::rename(home.path("app"), home.path(folder)).unwrap();
        let ran = home.run(&[&["restore", "latest"], how].concat());
        let texts = ["a", "b"].map(|name| read(&home, &format!("{folder}/{name}")));
        assert_eq!(texts, ["newer text", "some other"], "{} {}{}", ran.code, ran.out, ran.err);
        assert!(ran.code != 0 && ran.err.contains("another name of a, which was not restored"), "{}", ran.err);
    }
}

/// So many trees are tried.
const ROUNDS: u64 = 40;
const NAMES: [&str; 8] = ["a", "b", "c", "d/a", "d/b", "d/c", "e/x", "f"];
const TEXTS: [&str; 3] = ["first text", "other text", "third text"];

/// What stands under a name.
#[derive(Clone, Debug, PartialEq)]
struct Standing {
    text: String,
    file: u64,
    time: i64,
}

type Tree = BTreeMap<&'static str, Standing>;

fn tree(home: &Home) -> Tree {
    let standing = |name: &&'static str| {
        let path = home.path("app").join(name);
        let there = fs::metadata(&path).ok()?;
        Some((*name, Standing { text: fs::read_to_string(&path).unwrap(), file: there.ino(), time: there.mtime() }))
    };
    NAMES.iter().filter_map(standing).collect()
}

/// The paths that would become others, or are to be.
fn changes(dry: &Value) -> BTreeSet<&str> {
    let changes = dry["changes"].as_array().unwrap().iter().filter(|change| change["change"] != "metadata");
    changes.map(|change| change["path"].as_str().unwrap()).collect()
}

/// A tree with random links, all of one size and time.
fn build(home: &Home, random: &mut Random) {
    let _ = fs::remove_dir_all(home.path("app"));
    for folder in ["app/d", "app/e"] {
        fs::create_dir_all(home.path(folder)).unwrap();
    }
    let mut there: Vec<&str> = vec!["a"];
    plant(&home.path("app/a"), TEXTS[0]);
    for name in &NAMES[1..] {
        let path = home.path("app").join(name);
        match random.below(5) {
            0 => continue,
            1 | 2 => plant(&path, TEXTS[random.below(3)]),
            _ => fs::hard_link(home.path("app").join(there[random.below(there.len())]), path).unwrap(),
        }
        there.push(name);
    }
}

/// Something happens to a random name.
fn happen(home: &Home, random: &mut Random) {
    let there: Vec<&str> = tree(home).into_keys().collect();
    if there.is_empty() {
        return;
    }
    let name = |random: &mut Random| home.path("app").join(there[random.below(there.len())]);
    let (path, other) = (name(random), home.path("app").join(NAMES[random.below(NAMES.len())]));
    match random.below(7) {
        0 | 1 => rot(&path),
        2 => fs::remove_file(&path).unwrap(),
        // It becomes a file of its own, with the same bytes or with others.
        3 | 4 => {
            let text = if random.below(2) == 0 { fs::read_to_string(&path).unwrap() } else { TEXTS[1].to_owned() };
            fs::remove_file(&path).unwrap();
            plant(&path, &text);
        }
        5 if path != other => {
            let _ = fs::remove_file(&other);
            fs::hard_link(&path, &other).unwrap();
        }
        _ => plant(&path, "a text that is longer"),
    }
}

/// Random paths that the snapshot has, or all of it.
fn asked(snapshot: &Tree, random: &mut Random) -> Vec<&'static str> {
    let mut parts: Vec<&'static str> = snapshot.keys().copied().chain(["d"]).collect();
    match random.below(2) {
        0 => Vec::new(),
        _ => (0..1 + random.below(4)).map(|_| parts.remove(random.below(parts.len()))).collect(),
    }
}

fn is_asked(parts: &[&str], name: &str) -> bool {
    parts.is_empty()
        || parts.iter().any(|part| name == *part || name.strip_prefix(part).is_some_and(|rest| rest.starts_with('/')))
}

/// Names that are one file in one tree are so in the other, and no others.
fn assert_same_links(one: &Tree, other: &Tree, about: &dyn Fn(&str) -> bool, context: &str) {
    let names: Vec<&&str> = one.keys().filter(|name| about(name)).collect();
    for a in &names {
        for b in &names {
            let is_one = |tree: &Tree| tree[**a].file == tree[**b].file;
            assert_eq!(is_one(one), is_one(other), "{context}: {a} and {b}\n{one:#?}\n{other:#?}");
        }
    }
}

/// Looks and runs: what was announced is what happens. The names are told that became other files or hold something else.
fn announced(home: &Home, arguments: &[&str], context: &str) -> (Value, Tree) {
    let before = tree(home);
    let dry = home.json(&[arguments, &["--dry-run"]].concat());
    assert_eq!(tree(home), before, "{context}");
    let report = home.json(arguments);
    let after = tree(home);
    let differs = |name: &&&str| before.get(**name) != after.get(**name);
    let expected: BTreeSet<&str> = NAMES.iter().filter(differs).copied().collect();
    assert_eq!(changes(&dry), expected, "{context}\n{before:#?}\n{after:#?}\n{dry:#}");
    (report, after)
}

fn round(home: &Home, seed: u64) {
    let mut random = Random::new(seed);
    build(home, &mut random);
    home.ok(&["backup", "app"]);
    let snapshot = tree(home);
    (0..1 + random.below(5)).for_each(|_| happen(home, &mut random));
    let (before, parts) = (tree(home), asked(&snapshot, &mut random));
    let context = format!("seed {seed}, asked for {parts:?}");
    let named: Vec<String> = parts.iter().map(|part| format!("app:{part}")).collect();
    let mut arguments = vec!["restore", "latest", "--in-place"];
    arguments.extend(named.iter().map(String::as_str));
    let (report, after) = announced(home, &arguments, &context);
    let is_meant = |name: &str| snapshot.contains_key(name) && is_asked(&parts, name);
    for name in NAMES {
        if is_meant(name) {
            let (is, was) = (&after[name], &snapshot[name]);
            assert_eq!((&is.text, is.time), (&was.text, was.time), "{context}: {name}\n{before:#?}");
        } else {
            assert_eq!(after.get(name), before.get(name), "{context}: {name}");
        }
    }
    assert_same_links(&snapshot, &after, &is_meant, &context);
    if report["report"]["action"].is_null() {
        assert_eq!(after, before, "{context}");
        return;
    }
    let (_, back) = announced(home, &["undo", "--yes"], &format!("{context}, undone"));
    let what = |tree: &Tree| -> BTreeMap<&str, (String, i64)> {
        tree.iter().map(|(name, standing)| (*name, (standing.text.clone(), standing.time))).collect()
    };
    assert_eq!(what(&back), what(&before), "{context}, undone");
    assert_same_links(&before, &back, &is_meant, &format!("{context}, undone"));
}

#[test]
fn whatever_happens_to_files_with_several_names_they_hold_what_they_held_and_are_linked_as_they_were() {
    let home = Home::new();
    (1..=ROUNDS).for_each(|seed| round(&home, seed));
}
