//! What cannot be looked at just now, and what is asked for and is nowhere: neither is an answer.

use rusqlite::Connection;

use super::*;

const CONFIG: &str = "app = \"shop\"\n[source.db]\nkind = \"sqlite\"\npath = \"app/s.db\"\n\
                      [source.docs]\nkind = \"files\"\npath = \"app/docs\"\n";

/// Documents, and a database that somebody has open. Captured once.
fn shop() -> (Home, Connection) {
    let home = small();
    home.write("strongroom.toml", CONFIG);
    let database = Connection::open(home.path("app/s.db")).unwrap();
    database.execute_batch("CREATE TABLE t (id INTEGER PRIMARY KEY, a)").unwrap();
    (1..=50).for_each(|n| assert_eq!(database.execute("INSERT INTO t VALUES (?, 'x')", [n]), Ok(1)));
    home.ok(&["backup"]);
    (home, database)
}

#[test]
fn a_locked_database_is_no_loss_and_nobody_is_told_to_disarm_the_alarm() {
    let (home, database) = shop();
    let whole = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    // A folder with a database among other files goes the same way.
    home.ok(&["backup", "app"]);
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    for command in [&["backup", "--wait", "1"][..], &["backup", "app", "--wait", "1"]] {
        let ran = home.run(command);
        assert_eq!(ran.code, 3, "{command:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("is locked by another process"), "{command:?}: {}", ran.err);
        assert!(!ran.err.contains("alarm") && !ran.err.contains("allow_empty"), "{command:?}: {}", ran.err);
    }
    // The snapshots without it are not among those that have it, and a list of nothing is no answer.
    let listed = home.json(&["snapshots", "--source", "db"]);
    let ids: Vec<_> = listed["snapshots"].as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap()).collect();
    assert_eq!(ids, [whole.as_str()]);
    let without = home.run(&["--json", "snapshots", "--app", "shop"]);
    let without: serde_json::Value = serde_json::from_str(&without.out).unwrap();
    let lacks = |one: &&serde_json::Value| one["sources"][0]["name"] == "db" && one["id"] != whole.as_str();
    let without = without["snapshots"].as_array().unwrap().iter().find(lacks).unwrap()["id"].as_str().unwrap();
    let ran = home.run(&["show", without, "db"]);
    assert!(ran.code == 3 && ran.err.contains("db was not captured: "), "{} {}", ran.code, ran.err);
    // What it loses until it can be captured again is told then.
    database.execute_batch("DELETE FROM t; COMMIT").unwrap();
    for command in [&["backup"][..], &["backup", "app"]] {
        let ran = home.run(command);
        assert!(ran.code == 3 && ran.err.contains("table t had 50 rows and has 0"), "{command:?}: {}", ran.err);
        let names = ran.err.contains(&format!("the snapshot before is {}", &whole[..8]));
        assert!(names || !ran.err.contains("the snapshot before"), "{command:?}: {}", ran.err);
    }
}

#[test]
fn live_data_that_cannot_be_looked_at_is_told_with_the_reason() {
    let (home, database) = shop();
    database.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let ran = home.run(&["find", "t", "7"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    assert!(ran.out.contains("live data could not be looked at"), "{}", ran.out);
    assert!(ran.err.contains("s.db: ") && ran.err.contains("locked"), "{}", ran.err);
    let found = home.run(&["--json", "find", "t", "7"]);
    assert!(found.code == 3 && found.out.contains("\"live\": null") && found.out.contains("\"live_unseen\": "));
    let said = home.fails(11, &["query", "latest", "SELECT * FROM t EXCEPT SELECT * FROM live.t"]);
    assert!(said.contains("locked") && said.contains("hint: "), "{said}");
    drop(database);
    fs::remove_file(home.path("app/s.db")).unwrap();
    assert!(home.ok(&["find", "t", "7"]).out.contains("live data is not here"));
}

#[test]
fn an_app_a_host_or_a_source_that_no_snapshot_has_is_a_mistake() {
    let (home, _database) = shop();
    for (option, known) in [("--app", "there are shop"), ("--host", "there are "), ("--source", "there are db, docs")] {
        for command in [&["snapshots"][..], &["show", "latest"], &["diff", "latest"], &["verify", "latest"]] {
            let arguments = [command, &[option, "nope"]].concat();
            let said = home.fails(2, &arguments);
            assert!(said.contains(" nope") && said.contains(known), "{arguments:?}: {said}");
        }
        let said = home.fails(2, &["verify", option, "shop"]);
        assert!(said.contains("choose a snapshot"), "{said}");
    }
    for (command, what) in [
        (&["find", "t", "7", "--app", "nope"][..], "app nope"),
        (&["find", "t", "7", "--source", "nope"], "source nope"),
        (&["query", "latest", ".tables", "--app", "nope"], "app nope"),
        (&["query", "latest", ".schema nope"], "no such table: nope"),
    ] {
        let said = home.fails(2, command);
        assert!(said.contains(what), "{command:?}: {said}");
    }
    assert_eq!(home.run(&["--json", "query", "latest", ".schema nope"]).code, 2);
    assert!(home.ok(&["query", "latest", ".schema t"]).out.contains("CREATE TABLE t"));
}

#[test]
fn a_table_that_is_nowhere_has_no_row_that_differs_and_is_a_mistake() {
    let (home, database) = shop();
    database.execute_batch("INSERT INTO t VALUES (51, 'y')").unwrap();
    let first = home.json(&["show", "latest"])["id"].as_str().unwrap().to_owned();
    home.ok(&["backup"]);
    for command in [
        &["diff", &first, "latest", "--table", "typo"][..],
        &["diff", "latest", "live", "--table", "typo"],
        &["diff", &first, "live", "--table", "typo", "--source", "db"],
        &["--json", "diff", &first, "live", "--table", "typo"],
    ] {
        let ran = home.run(command);
        assert_eq!(ran.code, 2, "{command:?}: {}{}", ran.out, ran.err);
        assert!(ran.err.contains("has a table typo"), "{command:?}: {}", ran.err);
    }
    assert!(home.ok(&["diff", &first, "latest", "--table", "T"]).out.contains("51"));
    // One that is new in live data is there.
    database.execute_batch("CREATE TABLE fresh (a); INSERT INTO fresh VALUES (1)").unwrap();
    assert!(home.ok(&["diff", "latest", "live", "--table", "fresh"]).out.contains("the table is new"));
}
