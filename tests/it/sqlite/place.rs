//! A database given back where it lives: what is read for it, and what somebody writes meanwhile.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use strongroom::engine::sqlite::apply::{Checked, OnDamage, Way};
use strongroom::format::layout;
use strongroom::format::manifest::Manifest;
use strongroom::ops::actions::{Actions, Holding};
use strongroom::ops::hooks::Hooks;
use strongroom::ops::places::Places;
use strongroom::ops::restore::in_place::{self, Report, Request, Settings, Step};
use strongroom::store::Faults;
use strongroom::vault::commit::Label;

use super::{ask, capture, open, restored, some_rows};
use crate::support::vaults::Lab;

/// Gives the only source of a snapshot back; `saved` is called when the first safety snapshot is there, or there is none.
/// Says how many bytes were read of the vault.
fn give_back(lab: &Lab, manifest: &Manifest, safety: bool, saved: &dyn Fn()) -> (Report, u64) {
    let faults = Faults::new();
    let store = lab.store.clone().with_faults(faults.clone());
    let unlocked = lab.unlock(&store, &lab.folders).unwrap();
    let actions = Actions::new(lab.path("actions"));
    let label = Label {
        host: manifest.host.clone(),
        user: String::new(),
        app: manifest.app.clone(),
        tags: Vec::new(),
        labels: BTreeMap::new(),
        reason: String::new(),
        tool: String::new(),
    };
    let told = |step: Step| {
        if matches!(step, Step::Reached("saved") | Step::Safe(Holding::Unknown)) {
            saved();
        }
    };
    let settings = Settings {
        safety: safety.then_some(label),
        wait: Duration::from_secs(5),
        on_damage: OnDamage::Refuse,
        accept_left_out: false,
        numeric_ids: false,
        trust_times: false,
        actions: &actions,
        hooks: Hooks::default(),
        told: &told,
        control: Arc::default(),
    };
    let places = Places::of(unlocked.vault());
    let request = Request { parts: Vec::new(), configured: Vec::new(), places, settings };
    let report = in_place::restore(&unlocked, manifest, request).unwrap();
    (report, faults.bytes_read())
}

/// The database as the safety snapshot of a restore has it.
fn saved(lab: &Lab, report: &Report) -> PathBuf {
    let all = lab.unlock(&lab.store, &lab.folders).unwrap().snapshots().unwrap().readable;
    let found = all.iter().find(|snapshot| Some(snapshot.manifest.id) == report.safety).unwrap();
    restored(lab, &found.manifest, "saved.db")
}

fn rows(live: &Path) -> Vec<String> {
    ask(&open(live), "SELECT id, body FROM t ORDER BY id")
}

#[test]
fn a_restore_in_place_reads_what_the_live_database_does_not_hold_also_when_somebody_writes_meanwhile() {
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        some_rows(&live, 60_000);
        let app = open(&live);
        ask(&app, &format!("PRAGMA journal_mode = {mode}"));
        let manifest = capture(&lab, &live);
        let stored: u64 = lab.store.list(layout::PACKS).unwrap().iter().map(|object| object.size).sum();
        let wanted = rows(&live);
        for (safety, late) in [(true, false), (true, true), (false, true)] {
            app.execute("UPDATE t SET body = 'harmed' WHERE id BETWEEN 7000 AND 7040", []).unwrap();
            let write = || {
                if late {
                    open(&live).execute("UPDATE t SET body = 'late' WHERE id IN (1, 20000, 59999)", []).unwrap();
                }
            };
            let (report, read) = give_back(&lab, &manifest, safety, &write);
            let [database] = &report.given.databases[..] else { panic!("{report:?}") };
            assert_eq!((database.applied.way, &database.applied.checked), (Way::Pages, &Checked::Sound));
            // The pages of the rows, some of which began elsewhere, and the first one.
            assert!((3..20).contains(&database.applied.written), "{mode} {late}: {}", database.applied.written);
            assert!(rows(&live) == wanted, "{mode} {safety} {late}");
            assert!(read * 5 < stored, "{mode} {safety} {late}: {read} of {stored}");
            if safety {
                let kept = ask(&open(&saved(&lab, &report)), "SELECT count(*) FROM t WHERE body = 'late'");
                assert_eq!(kept, [if late { "Integer(3)" } else { "Integer(0)" }], "{mode}");
            }
        }
        // A host that remembers nothing reads everything, and comes to the same.
        fs::remove_dir_all(&lab.folders.cache).unwrap();
        app.execute("UPDATE t SET body = 'harmed' WHERE id = 9", []).unwrap();
        let (report, read) = give_back(&lab, &manifest, false, &|| ());
        assert_eq!((report.given.databases[0].applied.written, read > stored / 2), (2, true));
        assert!(rows(&live) == wanted);
    }
}

/// Where the process that writes finds the database.
const DATABASE: &str = "STRONGROOM_TEST_SCRIBE";

/// Writes one number after the other until it is killed. Not a test: run as a process of its own by the test below.
#[test]
#[ignore = "the process that writes, started by another test"]
fn scribe() {
    let Some(path) = std::env::var_os(DATABASE) else { return };
    let connection = open(Path::new(&path));
    ask(&connection, "PRAGMA synchronous = OFF");
    for number in 1.. {
        connection.execute("INSERT INTO log VALUES (?)", [number]).unwrap();
    }
}

#[test]
fn whatever_an_app_commits_until_its_database_is_given_back_is_in_the_safety_snapshot() {
    let number = |path: &Path, sql: &str| ask(&open(path), sql).remove(0);
    for mode in ["WAL", "DELETE"] {
        let lab = Lab::in_memory();
        let live = lab.path("live.db");
        some_rows(&live, 20_000);
        ask(&open(&live), &format!("PRAGMA journal_mode = {mode}"));
        open(&live).execute_batch("CREATE TABLE log (number INTEGER PRIMARY KEY)").unwrap();
        let manifest = capture(&lab, &live);
        for _ in 0..3 {
            open(&live).execute_batch("DELETE FROM log").unwrap();
            let mut scribe = Command::new(std::env::current_exe().unwrap());
            scribe.args(["--exact", "sqlite::place::scribe", "--ignored"]).env(DATABASE, &live).stdout(Stdio::null());
            let mut scribe = scribe.spawn().unwrap();
            while number(&live, "SELECT count(*) < 10 FROM log") == "Integer(1)" {}
            let (report, _) = give_back(&lab, &manifest, true, &|| ());
            while number(&live, "SELECT count(*) < 10 FROM log") == "Integer(1)" {}
            scribe.kill().unwrap();
            scribe.wait().unwrap();
            // None was written when the database was captured: what is there now came after it was given back.
            let next = number(&live, "SELECT min(number) - 1 FROM log");
            assert_eq!(number(&saved(&lab, &report), "SELECT max(number) FROM log"), next, "{mode}");
            assert_eq!(number(&live, "PRAGMA integrity_check"), "Text([111, 107])");
        }
    }
}
