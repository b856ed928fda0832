//! Recoveries into several databases that are broken off: by a kill, by a reader, by a database that refuses its commit.

use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;

use strongroom::base::control::Control;
use strongroom::ops::recover;
use strongroom::record::plan::{OnConflict, Options};

use super::*;
use crate::recover::killed::{self, die, inside};

#[test]
fn a_recovery_into_two_databases_that_is_killed_at_any_step_is_all_or_nothing_after_the_next_command() {
    let home = firm();
    let whole = state(&home);
    lose(&home);
    let harmed = state(&home);
    for (step, written) in [("one is committed", false)].into_iter().chain(killed::STEPS) {
        let status = child(&home, step).output().unwrap().status;
        assert_eq!(status.signal(), Some(9), "{step} was not reached");
        if step == "one is committed" {
            let between = state(&home);
            assert!(between != harmed && between.len() < whole.len(), "both or none are committed");
        }
        let ran = home.ok(&["undo", "--list"]);
        let half = ran.err.contains("was broken off half way: what was written is taken back");
        assert_eq!(half, step == "one is committed", "{step}: {}", ran.err);
        assert_eq!(&state(&home), if written { &whole } else { &harmed }, "killed at {step}");
        let last = home.json(&["undo", "--list"])["actions"].as_array().unwrap().last().unwrap().clone();
        assert_eq!((&last["state"], last["undone_by"].is_null()), (&"done".into(), written), "{last}");
        if written {
            home.ok(&["undo"]);
            assert_eq!(state(&home), harmed, "taken back after {step}");
        }
    }
    home.ok(&RECOVER);
    assert_eq!(state(&home), whole);
}

#[test]
fn a_recovery_into_two_databases_that_is_killed_at_any_moment_is_all_or_nothing() {
    let home = firm();
    let whole = state(&home);
    lose(&home);
    let harmed = state(&home);
    for round in 0..15u64 {
        let mut child = home.command(&RECOVER);
        let mut child = child.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(10 + round * 8));
        let _ = child.kill();
        child.wait().unwrap();
        home.ok(&["undo", "--list"]);
        let now = state(&home);
        assert!(now == whole || now == harmed, "round {round}: {now:#?}");
        if now == whole {
            home.ok(&["undo"]);
            assert_eq!(state(&home), harmed);
        }
    }
}

/// The second database will refuse its commit: a label that something newer has gets its old code back.
fn contrary(home: &Home) {
    lose(home);
    run(
        &home.path("app/crm.db"),
        "INSERT INTO labels VALUES(7, 'new code', '7'); INSERT INTO labelled VALUES(1, 'new code')",
    );
}

const OVERWRITE: [&str; 7] = ["recover", "latest", "project", "7", "--trust-keys", "--on-conflict", "overwrite"];

#[test]
fn what_one_database_has_is_taken_back_when_another_refuses_to_commit() {
    let home = firm();
    contrary(&home);
    let harmed = state(&home);
    let error = home.run(&OVERWRITE);
    assert_eq!(error.code, 1, "{}", error.err);
    assert!(error.err.contains("error: everything was taken back: ") && error.err.contains("crm.db"), "{}", error.err);
    assert_eq!(state(&home), harmed);
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    let last = list.last().unwrap();
    assert_eq!((&last["state"], &last["undone_by"]), (&"done".into(), &last["id"]), "{last}");
    run(&home.path("app/crm.db"), "DELETE FROM labelled");
    home.ok(&OVERWRITE);
    assert_ne!(state(&home), harmed);
}

/// Not a test of its own: between two commits somebody changes a row that the first has; or what is half is taken back,
/// and that is killed when it is done and not yet noted.
#[test]
fn another_process() {
    let Some(inside) = inside() else { return };
    let control = Arc::<Control>::default();
    match std::env::var("STRONGROOM_TEST_STEP").unwrap().as_str() {
        "newer" => {
            let shop = place("STRONGROOM_TEST_WORK").unwrap().join("app/shop.db");
            control.watch(move |_| run(&shop, "UPDATE documents SET title = 'newer' WHERE id = 71"));
            let options = Options { on_conflict: OnConflict::Overwrite, trust_keys: true, ..Options::default() };
            let error = inside.recover(options, &|_| {}, control).unwrap_err();
            println!("{}\n{}", strongroom::base::error::one_line(&error), {
                use strongroom::base::error::Explain;
                error.hint().unwrap()
            });
        }
        "undo" => {
            control.watch(|_| die());
            inside.undo(control).unwrap();
        }
        _ => {
            control.watch(|_| die());
            let patience = (Duration::from_secs(5), &control);
            recover::settle(&inside.unlocked, &inside.actions, &inside.config.sources, patience).unwrap();
        }
    }
}

#[test]
fn what_cannot_be_taken_back_because_it_is_newer_is_told_by_name_and_can_still_be_undone() {
    let home = firm();
    contrary(&home);
    let harmed = state(&home);
    let ran = process(&home, "recover::across::broken_off::another_process", "newer").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert!(said.contains("and that cannot be taken back now: documents 71 is newer"), "{said}");
    let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
    let last = list.last().unwrap();
    assert_eq!((&last["state"], last["undone_by"].is_null()), (&"begun".into(), true), "{last}");
    let id = last["id"].as_str().unwrap();
    assert!(said.contains(&format!("strongroom undo {id} --force")), "{said}");
    let ran = home.ok(&["undo", "--list"]);
    assert!(ran.err.contains("cannot be finished yet: documents 71 is newer"), "{}", ran.err);
    home.ok(&["undo", id, "--force"]);
    assert_eq!(state(&home), harmed);
    assert!(!home.ok(&["undo", "--list"]).err.contains("broken off"));
}

#[test]
fn what_waits_for_a_reader_waits_before_anything_is_committed() {
    let home = firm();
    lose(&home);
    let harmed = state(&home);
    // It commits last, and cannot as long as somebody reads.
    let reader = Connection::open(home.path("app/crm.db")).unwrap();
    reader.execute_batch("BEGIN").unwrap();
    reader.query_row("SELECT count(*) FROM leads", [], |row| row.get::<_, i64>(0)).unwrap();
    let error = home.run(&[&RECOVER[..], &["--wait", "1"]].concat());
    assert_eq!(error.code, 11, "{}", error.err);
    assert!(error.err.contains("crm.db") && !error.err.contains("taken back"), "{}", error.err);
    drop(reader);
    assert_eq!(state(&home), harmed);
    home.ok(&RECOVER);
}

#[test]
fn three_databases_are_all_or_nothing_wherever_it_is_killed_between_them() {
    let home = firm();
    let bills = "CREATE TABLE bills(id INTEGER PRIMARY KEY, contract TEXT);
        INSERT INTO bills VALUES(1, '70'), (2, '71'), (3, '80')";
    run(&home.path("app/billing.db"), bills);
    let billing = "\n[source.billing]\nkind = 'sqlite'\npath = 'app/billing.db'\n\
        [[relation]]\nfrom = 'billing.bills.contract'\nto = 'crm.contracts.id'";
    home.write("strongroom.toml", format!("{SOURCES}{RECORDS}{billing}"));
    home.ok(&["backup"]);
    let all = |home: &Home| [state(home), rows(&home.path("app/billing.db"))].concat();
    let whole = all(&home);
    lose(&home);
    run(&home.path("app/billing.db"), "DELETE FROM bills WHERE contract IN ('70', '71')");
    let harmed = all(&home);
    for step in ["one is committed", "one is committed 2"] {
        assert_eq!(child(&home, step).output().unwrap().status.signal(), Some(9), "{step}");
        let ran = home.ok(&["undo", "--list"]);
        assert!(ran.err.contains("was broken off half way"), "{step}: {}", ran.err);
        assert_eq!(all(&home), harmed, "{step}");
    }
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(all(&home), whole);
    home.ok(&["undo"]);
    assert_eq!(all(&home), harmed);
}

#[test]
fn taking_back_what_is_half_can_itself_be_killed() {
    let home = firm();
    lose(&home);
    let harmed = state(&home);
    assert_eq!(child(&home, "one is committed").output().unwrap().status.signal(), Some(9));
    let killed = process(&home, "recover::across::broken_off::another_process", "settle").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9));
    let ran = home.ok(&["undo", "--list"]);
    assert!(ran.err.contains("broken off"), "{}", ran.err);
    assert_eq!(state(&home), harmed);
    assert!(!home.ok(&["undo", "--list"]).err.contains("broken off"));
}

#[test]
fn an_undo_that_is_killed_between_two_commits_is_taken_back_too() {
    let home = firm();
    lose(&home);
    let harmed = state(&home);
    home.ok(&RECOVER);
    let whole = state(&home);
    let killed = process(&home, "recover::across::broken_off::another_process", "undo").output().unwrap();
    assert_eq!(killed.status.signal(), Some(9), "{}", String::from_utf8_lossy(&killed.stderr));
    let between = state(&home);
    assert!(between != whole && between != harmed);
    let ran = home.ok(&["undo", "--list"]);
    assert!(ran.err.contains("was broken off half way: what was written is taken back"), "{}", ran.err);
    assert_eq!(state(&home), whole);
    home.ok(&["undo"]);
    assert_eq!(state(&home), harmed);
}
