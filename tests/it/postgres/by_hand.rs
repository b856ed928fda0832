//! Databases restored without strongroom, by the script for standard tools, and loaded with psql alone.

use std::fs;

use super::captured_home;
use super::everything::{SCHEMA, assert_loaded};
use crate::support::postgres::cluster;
use crate::support::program::{Home, by_standard_tools};

#[test]
fn a_database_with_everything_comes_back_with_standard_tools_and_psql() {
    let (cluster, (home, name)) = (cluster(), captured_home(SCHEMA));
    let said = by_standard_tools(&home, &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    let loaded = cluster.database();
    cluster.load(&loaded, &home.path("out/load.sql"));
    assert_loaded(&name, &loaded);
    let large = "SELECT md5(lo_get(4711)), length(lo_get(4711)), length(lo_get(4712))";
    assert_eq!(cluster.sql(&loaded, large), cluster.sql(&name, large));
}

#[test]
fn definitions_that_psql_would_run_as_commands_make_no_script() {
    let body = "CREATE TABLE kept (id integer PRIMARY KEY); INSERT INTO kept VALUES (1);
        CREATE FUNCTION f() RETURNS text LANGUAGE sql AS $$ SELECT '\n\\! touch ran\n' $$;";
    let (home, _) = captured_home(body);
    let said = by_standard_tools(&home, &[]);
    assert_eq!(said.code, 3, "{}", said.err);
    assert!(said.err.contains("pre-data.sql, line ") && said.err.contains("begins with a backslash"), "{}", said.err);
    assert!(!home.path("out/load.sql").exists(), "{}", said.err);
    assert_eq!(fs::read_to_string(home.path("out/data/public/kept.copy")).unwrap(), "1\n");
}

#[test]
fn a_script_for_psql_runs_no_commands_wherever_they_stand_in_a_definition() {
    // In a line of its own a command is seen; behind something else only psql itself can tell what is one.
    let (cluster, (home, _)) = (cluster(), captured_home("CREATE TABLE t (id integer)"));
    assert_eq!(by_standard_tools(&home, &[]).code, 0);
    let script = fs::read_to_string(home.path("out/load.sql")).unwrap();
    let forged = script.replacen("CREATE TABLE public.t", "SELECT 1 \\! touch ran\n;CREATE TABLE public.t", 1);
    assert_ne!(script, forged);
    home.write("out/load.sql", forged);
    let mut psql = cluster.command("psql", &cluster.database());
    let ended = psql.args(["-X", "-f", "load.sql"]).current_dir(home.path("out")).output().unwrap();
    assert!(!ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert!(!home.path("out/ran").exists(), "psql ran a command");
}

#[test]
fn the_newest_snapshot_is_the_newest_that_is_no_safety_snapshot() {
    let home = Home::new();
    home.write("app/a.txt", "before");
    home.write("strongroom.toml", "[source.app]\nkind = 'files'\npath = 'app'\n");
    home.ok(&["init", "--quiet"]);
    home.ok(&["backup", "--quiet"]);
    home.write("app/a.txt", "of the safety snapshot");
    home.ok(&["restore", "latest", "--in-place"]);
    let said = by_standard_tools(&home, &[]);
    assert_eq!(said.code, 0, "{}", said.err);
    assert!(said.err.contains("passed over: the safety snapshot "), "{}", said.err);
    assert_eq!(fs::read_to_string(home.path("out/a.txt")).unwrap(), "before");
    // By its id it is restored all the same.
    let id = said.err.split("the safety snapshot ").nth(1).unwrap().split_whitespace().next().unwrap().to_owned();
    fs::remove_dir_all(home.path("out")).unwrap();
    assert_eq!(by_standard_tools(&home, &[&id]).code, 0);
    assert_eq!(fs::read_to_string(home.path("out/a.txt")).unwrap(), "of the safety snapshot");
}

#[test]
fn rows_that_a_recovery_touched_come_back_as_lines() {
    let (home, name) =
        captured_home("CREATE TABLE p (id integer PRIMARY KEY, name text); INSERT INTO p VALUES (1, 'one')");
    cluster().sql(&name, "DELETE FROM p");
    let done = home.json(&["recover", "latest", "p", "1"]);
    let said = by_standard_tools(&home, &[done["report"]["safety"].as_str().unwrap()]);
    assert_eq!(said.code, 0, "{}", said.err);
    let lines = fs::read_to_string(home.path("out/db-rows.jsonl")).unwrap();
    assert_eq!(lines, "{\"table\":\"p\",\"key\":[1],\"row\":null}\n");
}
