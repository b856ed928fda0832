//! The command line as its users meet it: what is printed where, and how each run ends.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};

use crate::support::program::Home;

mod absent;
mod apps;
mod backup;
mod choosing;
mod discover;
mod harmed;
mod hints;
mod keys;
mod kindness;
mod output;
mod quiet;
mod reading;
mod spoken;
mod unreached;
mod vanished;

fn small() -> Home {
    let home = Home::new();
    home.write("app/readme.md", "one\n");
    home.write("app/docs/a.txt", "alpha\n");
    home.write("app/docs/b.txt", "beta\n");
    home
}

fn backed_up() -> Home {
    let home = small();
    home.ok(&["backup", "app"]);
    home
}

#[test]
fn the_first_backup_makes_a_vault_and_an_identity_and_says_where() {
    let home = small();
    let ran = home.ok(&["backup", "app"]);
    assert!(ran.err.contains("made vault") && ran.err.contains("made identity"), "{}", ran.err);
    assert!(ran.err.contains("keep a copy of the identity elsewhere"), "{}", ran.err);
    assert_eq!(fs::metadata(home.identity()).unwrap().mode() & 0o777, 0o600);
    assert!(ran.out.contains("3 files") && ran.out.contains("snapshot "), "{}", ran.out);
    let again = home.ok(&["backup", "app"]);
    assert!(again.err.is_empty() && again.out.contains("nothing new"), "{}{}", again.err, again.out);
}

#[test]
fn nothing_but_the_result_is_printed_when_piped_and_nothing_at_all_when_quiet() {
    let home = small();
    let ran = home.ok(&["backup", "app"]);
    assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}') && !ran.err.contains('\r'));
    let quiet = home.ok(&["--quiet", "backup", "app"]);
    assert!(quiet.out.is_empty() && quiet.err.is_empty());
}

#[test]
fn every_command_prints_one_document_with_json_and_errors_too() {
    let home = backed_up();
    home.write("app/docs/a.txt", "changed\n");
    home.ok(&["backup", "app"]);
    assert_eq!(home.json(&["snapshots"])["snapshots"].as_array().unwrap().len(), 2);
    assert_eq!(home.json(&["show", "latest"])["complete"], true);
    let listing = home.json(&["show", "latest", "app"]);
    assert_eq!(listing["entries"].as_array().unwrap().len(), 5);
    let changes = home.json(&["diff", "latest~1", "latest"]);
    assert_eq!(changes["changes"][0]["path"], "docs/a.txt");
    assert_eq!(home.json(&["verify"])["sound"], true);
    assert_eq!(home.json(&["verify", "--read-data"])["sound"], true);
    assert_eq!(home.json(&["verify", "--stored"])["sound"], true);
    assert_eq!(home.json(&["restore", "latest", "--to", "out"])["report"]["files"], 3);
    assert!(home.json(&["completions", "bash"])["script"].as_str().unwrap().contains("strongroom"));
    assert!(home.json(&["man"])["page"].as_str().unwrap().contains("strongroom"));
    let ran = home.run(&["--json", "show", "latest~7"]);
    let document: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((ran.code, document["code"].as_u64()), (1, Some(1)));
    assert!(ran.err.starts_with("error: ") && document["hint"].is_string());
}

#[test]
fn help_has_examples_and_completions_and_manuals_come_for_all() {
    let home = Home::new();
    let help = home.ok(&["--help"]).out;
    assert!(help.contains("Examples:"));
    for command in ["init", "backup", "snapshots", "show", "diff", "verify", "restore", "undo", "completions", "man"] {
        assert!(help.contains(command));
        assert!(home.ok(&[command, "--help"]).out.contains("Example"), "{command}");
        assert!(home.ok(&["man", command]).out.contains(".TH"), "{command}");
    }
    for shell in ["bash", "zsh", "fish"] {
        assert!(home.ok(&["completions", shell]).out.contains("strongroom"));
    }
    home.fails(2, &["man", "nothing"]);
    assert_eq!(home.run(&["nothing"]).code, 2);
}
