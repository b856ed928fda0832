//! A server that speaks another language: nothing is decided by its words.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use strongroom::engine::postgres::settings::Settings;

use super::restore::{assert_same, home_of};
use crate::support::postgres::Cluster;

/// A server whose messages are in German; none where its translations or the means to make its locale are not installed.
fn german() -> Option<Cluster> {
    let locales = tempfile::Builder::new().prefix("strongroom-locales-").tempdir().unwrap().keep();
    fs::set_permissions(&locales, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let made = Command::new("localedef")
        .args(["-i", "de_DE", "-f", "UTF-8"])
        .arg(locales.join("de_DE.UTF-8"))
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        eprintln!("no German locale can be made here");
        return None;
    }
    let cluster = Cluster::start_with(&["lc_messages=de_DE.UTF-8"], &[("LOCPATH", locales.to_str().unwrap())]);
    let said = cluster.command("psql", "postgres").args(["-Xqc", "SELECT 1 / 0"]).output().unwrap();
    let said = String::from_utf8_lossy(&said.stderr).into_owned();
    if !said.contains("FEHLER") {
        eprintln!("the server has no German messages: {said}");
        return None;
    }
    Some(cluster)
}

const SCHEMA: &str = "CREATE TABLE big (id int PRIMARY KEY, x text); INSERT INTO big SELECT n, repeat('x', 100) FROM generate_series(1, 2000) n; \
    CREATE TABLE little (id int, big int REFERENCES big); INSERT INTO little SELECT n, n FROM generate_series(1, 10) n; \
    CREATE TABLE slow (id int); INSERT INTO slow VALUES (1); \
    CREATE FUNCTION later(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN \
        WHILE (pg_catalog.pg_stat_file('GO', true)).size IS NULL LOOP PERFORM pg_catalog.pg_sleep(0.01); END LOOP; RETURN $1; END $$; \
    CREATE INDEX slow_later ON slow (public.later(id))";

#[test]
fn captures_and_restores_do_not_depend_on_the_language_of_the_server() {
    let Some(cluster) = german() else { return };
    let name = cluster.database();
    // While this file is not there, an index takes its time.
    let go = cluster.folder().join("go");
    fs::write(&go, "").unwrap();
    cluster.sql(&name, &SCHEMA.replace("GO", go.to_str().unwrap()));
    let home = home_of(&cluster, &name);
    home.ok(&["backup"]);
    // Only some tables: the reference does not hold, which is told and no failure.
    let some = home.run(&["restore", "latest", "--to", &cluster.url("some"), "--table", "public.little"]);
    assert_eq!((some.code, some.err.contains("not valid")), (3, true), "{}", some.err);
    // Two that wait for each other while a reference is made: it is made again.
    fs::remove_file(&go).unwrap();
    let restored = std::thread::scope(|scope| {
        let restore = scope.spawn(|| home.run(&["restore", "latest", "--to", &cluster.url("whole"), "--workers", "1"]));
        deadlock(&cluster, &go, || restore.is_finished());
        restore.join().unwrap()
    });
    assert_eq!(restored.code, 0, "{}", restored.err);
    assert_same(&cluster, &name, "whole");
    // Somebody uses the database that is to be renamed and cannot be sent away: it is tried again, until he leaves.
    cluster.sql("postgres", "CREATE ROLE owner LOGIN CREATEDB");
    cluster.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO owner"));
    cluster.sql(&name, "ALTER TABLE big OWNER TO owner; ALTER TABLE little OWNER TO owner; DROP TABLE slow; ALTER FUNCTION later OWNER TO owner");
    home.write(
        "strongroom.toml",
        format!(
            "[source.db]\nkind = 'postgres'\nglobals = false\nurl = '{}'\n",
            cluster.url(&name).replace("postgres@", "owner@")
        ),
    );
    home.ok(&["backup"]);
    let mut user = cluster.command("psql", &name);
    let mut user = user.args(["-Xqc", "SELECT pg_sleep(6.5)"]).stdout(Stdio::null()).spawn().unwrap();
    let uses = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(6.5)%' AND pid <> pg_backend_pid()";
    while cluster.sql("postgres", uses) != "1" {
        assert!(user.try_wait().unwrap().is_none());
    }
    let ran = home.run(&["restore", "latest", "--in-place"]);
    assert_eq!(ran.code, 0, "{}", ran.err);
    user.wait().unwrap();
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM big"), "2000");
}

/// Takes a table that a reference refers to, and then the one that it is of, as soon as the restore has that one.
fn deadlock(cluster: &Cluster, go: &Path, is_over: impl Fn() -> bool) {
    let scratch = loop {
        let name = cluster.sql("postgres", "SELECT datname FROM pg_database WHERE datname ~ '^whole_strongroom_'");
        assert!(!is_over(), "it was over too soon");
        if !name.is_empty() {
            break name;
        }
    };
    let settings = Settings::of_url(&cluster.url(&scratch), &|_| None).unwrap();
    let session = settings.connect(&Default::default()).unwrap();
    let is = |sql: &str| {
        assert!(!is_over(), "it was over too soon");
        !session.query(sql, &[]).unwrap().is_empty()
    };
    while !is(
        "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX slow_later%' AND datname = current_database() AND state = 'active'",
    ) {}
    session.batch("BEGIN; LOCK TABLE public.big IN ROW EXCLUSIVE MODE").unwrap();
    fs::write(go, "").unwrap();
    while !is("SELECT 1 FROM pg_locks WHERE NOT granted AND relation = 'public.big'::regclass") {}
    // The restore waits longer, so it is the one that has to give way, unless the machine stands still for a second.
    let taken = session.batch("LOCK TABLE public.little IN ACCESS EXCLUSIVE MODE; COMMIT");
    assert!(taken.is_ok() || taken.is_err_and(|error| error.is_deadlock()));
}

#[test]
fn nothing_in_the_code_compares_what_a_server_or_a_tool_says() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting = vec![source.join("engine/postgres"), source.join("source/postgres"), source.join("ops/restore")];
    let mut found = Vec::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        if path.ends_with("tests.rs") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]").next().unwrap();
        let compares = [
            "reason.contains(",
            "to_string().contains(",
            "complaint.contains(",
            "message().contains(",
            "words.contains(\"",
        ];
        let lines = code.lines().filter(|line| compares.iter().any(|compares| line.contains(compares)));
        found.extend(lines.map(|line| format!("{}: {line}", path.display())));
    }
    assert_eq!(found, Vec::<String>::new());
}
