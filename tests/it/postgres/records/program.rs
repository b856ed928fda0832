//! The program itself, on an app with a PostgreSQL database and files.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Instant;
use std::{fs, thread};

use super::*;
use crate::recover::child;
use crate::recover::killed::STEPS;
use crate::support::postgres::PASSWORD;
use crate::support::program::Home;

const SCHEMA: &str = include_str!("../../../../fixtures/postgres/shop.sql");

/// An app with nine projects, and a snapshot of it.
fn shop(cluster: &Cluster) -> (Home, String) {
    let (home, name) = (Home::new(), cluster.database());
    cluster.sql(&name, SCHEMA);
    home.write("strongroom.toml", config(&cluster.url(&name)));
    for id in 0..4 {
        home.write(&format!("app/documents/7/deep/{}.txt", 70 + id), format!("document {id}\n").repeat(20));
    }
    home.write("app/documents/8/80.txt", "another's");
    home.ok(&["backup"]);
    (home, name)
}

fn config(url: &str) -> String {
    format!(
        "app = 'shop'\n[source.db]\nkind = 'postgres'\nurl = '{url}'\n\
         [source.documents]\nkind = 'files'\npath = 'app/documents'\n\
         [entity.project]\nsource = 'db'\ntable = 'projects'\n\
         files = [{{ source = 'documents', path = '{{id}}/**' }}]\n"
    )
}

/// Every row of every table, and every file.
fn state(cluster: &Cluster, home: &Home, name: &str) -> Vec<String> {
    let settings = settings(cluster, "postgres", name);
    let mut lines = dump(&settings.connect(&Arc::default()).unwrap());
    let mut folders = vec![home.path("app/documents")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap().is_dir() {
                true => folders.push(entry.path()),
                false => {
                    let content = String::from_utf8(fs::read(entry.path()).unwrap()).unwrap();
                    lines.push(format!("{}: {content}", entry.path().display()));
                }
            }
        }
    }
    lines.sort();
    lines
}

fn lose(cluster: &Cluster, home: &Home, name: &str) {
    cluster.sql(name, "DELETE FROM projects WHERE id = 7");
    fs::remove_dir_all(home.path("app/documents/7")).unwrap();
}

/// Is the password in any file of the home?
fn is_anywhere(folder: &Path, text: &str) -> bool {
    fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).any(|path| match path.is_dir() {
        true => is_anywhere(&path, text),
        false => String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).contains(text),
    })
}

#[test]
fn a_project_comes_back_with_rows_and_files_and_goes_again_and_no_file_has_the_password() {
    let cluster = cluster();
    let (mut home, name) = shop(cluster);
    let whole = state(cluster, &home, &name);
    lose(cluster, &home, &name);
    let harmed = state(cluster, &home, &name);
    // From here on the server asks for a password, which stands in a variable only.
    home.write("strongroom.toml", config(&format!("postgres://postgres@127.0.0.1:{}/{name}", cluster.port())));
    home.set("PGPASSWORD", PASSWORD);
    let dry = home.ok(&["recover", "latest", "project", "7", "--dry-run"]);
    assert!(dry.out.contains(&format!("into postgres://postgres@127.0.0.1:{}/{name}", cluster.port())), "{}", dry.out);
    assert!(dry.out.contains("triggers of projects do not fire (--triggers on): told"), "{}", dry.out);
    assert_eq!(state(cluster, &home, &name), harmed);
    home.ok(&["recover", "latest", "project", "7", "--plan-out", "plan.json"]);
    let report = home.json(&["recover", "--plan", "plan.json"])["report"].clone();
    assert_eq!(
        (report["inserted"].clone(), report["relinked"].clone(), report["files"].clone()),
        (6.into(), 1.into(), 4.into())
    );
    assert_eq!(state(cluster, &home, &name), whole);
    assert!(home.ok(&["recover", "latest", "project", "7"]).out.contains("nothing to do"));
    let found = home.json(&["find", "project", "7"]);
    assert_eq!(found["live"], true, "{found}");
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &home, &name), harmed);
    assert_eq!(home.json(&["find", "project", "7"])["live"], false);
    home.ok(&["recover", "latest", "--missing", "project"]);
    assert_eq!(state(cluster, &home, &name), whole);
    assert!(!is_anywhere(&home.path("").join(".."), PASSWORD), "a file has the password");
    let list = home.json(&["undo", "--list"]).to_string();
    assert!(list.contains("\"transaction\"") && list.contains("postgres://postgres@127.0.0.1"), "{list}");
    // The numbers go on where they were.
    cluster.sql(&name, "INSERT INTO projects (name, owner, created_at) VALUES ('next', 1, now())");
}

#[test]
fn what_was_made_since_a_day_is_overwritten_with_what_it_was_and_nothing_else_is_touched() {
    let cluster = cluster();
    let (home, name) = shop(cluster);
    let whole = state(cluster, &home, &name);
    cluster.sql(&name, "UPDATE images SET path = 'broken' WHERE id IN (20, 30); DELETE FROM images WHERE id > 40");
    let harmed = state(cluster, &home, &name);
    let seed = ["recover", "latest", "--table", "images", "--where", "created_at > '2024-01-19'"];
    let skipped = home.json(&seed)["report"].clone();
    assert_eq!((skipped["inserted"].clone(), skipped["updated"].clone()), (5.into(), 0.into()), "{skipped}");
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &home, &name), harmed);
    home.ok(&[&seed[..], &["--on-conflict", "overwrite"]].concat());
    assert_eq!(state(cluster, &home, &name), whole);
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &home, &name), harmed);
}

#[test]
fn records_go_into_another_database_and_with_triggers_the_whole_one_is_kept_safe() {
    let cluster = cluster();
    let (mut home, name) = shop(cluster);
    let other = cluster.database();
    let definitions = cluster.dump(&name, &["--schema-only"]);
    home.write("schema.sql", &definitions);
    cluster.load(&other, &home.path("schema.sql"));
    cluster.sql(&other, "INSERT INTO public.users (email) SELECT 'u' || n FROM generate_series(1, 3) n");
    home.set("PGPASSWORD", PASSWORD);
    let into = cluster.url_over_tcp(&other);
    home.ok(&["recover", "latest", "project", "7", "--into", &into, "--plan-out", "plan.json"]);
    let plan = fs::read_to_string(home.path("plan.json")).unwrap();
    assert!(plan.contains(&format!("/{other}?sslmode=")) && !plan.contains("p%40ss"), "{plan}");
    home.ok(&["recover", "latest", "project", "7", "--into", &cluster.url(&other)]);
    assert_eq!(cluster.sql(&other, "SELECT string_agg(name, ' ') FROM projects"), "Greenwich");
    home.ok(&["undo"]);
    assert_eq!(cluster.sql(&other, "SELECT count(*) FROM projects"), "0");
    lose(cluster, &home, &name);
    let done = home.json(&["recover", "latest", "project", "7", "--triggers", "on"])["report"].clone();
    assert_eq!(cluster.sql(&name, "SELECT string_agg(what, ' ') FROM log"), "made 7");
    let safety = done["safety"].as_str().unwrap();
    let count = home.ok(&["query", safety, "SELECT count(*) FROM projects", "--source", "db", "--format", "csv"]).out;
    assert!(count.trim_end().ends_with('8'), "{count}");
}

#[test]
fn a_recovery_that_is_killed_at_any_step_is_finished_or_taken_back_by_the_next_command() {
    let cluster = cluster();
    let (home, name) = shop(cluster);
    let whole = state(cluster, &home, &name);
    lose(cluster, &home, &name);
    let harmed = state(cluster, &home, &name);
    for (step, written) in STEPS {
        let status = child(&home, step).output().unwrap().status;
        assert_eq!(status.signal(), Some(9), "{step} was not reached");
        // The server takes a moment to notice.
        let deadline = Instant::now() + Duration::from_secs(10);
        let list = loop {
            let list = home.json(&["undo", "--list"])["actions"].as_array().unwrap().clone();
            if list.last().unwrap()["state"] == "done" || Instant::now() > deadline {
                break list;
            }
            thread::sleep(Duration::from_millis(50));
        };
        let expected = if written { &whole } else { &harmed };
        assert_eq!(&state(cluster, &home, &name), expected, "killed at {step}");
        let last = list.last().unwrap();
        assert_eq!((last["state"].clone(), last["undone_by"].is_null()), ("done".into(), written), "{last}");
        if written {
            home.ok(&["undo"]);
            assert_eq!(state(cluster, &home, &name), harmed, "taken back after {step}");
        }
    }
    home.ok(&["recover", "latest", "project", "7"]);
    assert_eq!(state(cluster, &home, &name), whole);
}

/// Waits until somebody's commit hangs, for want of a server that follows.
fn hanging(cluster: &Cluster) -> bool {
    let deadline = Instant::now() + Duration::from_secs(20);
    let count = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";
    while cluster.sql("postgres", count) == "0" {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

const CUT: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'";

#[test]
fn a_server_that_is_lost_while_it_commits_is_asked_what_became_of_it() {
    let cluster = Cluster::start(&["synchronous_standby_names=nobody"]);
    let (home, name) = shop(&cluster);
    let whole = state(&cluster, &home, &name);
    lose(&cluster, &home, &name);
    let harmed = state(&cluster, &home, &name);
    cluster.sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = on"));
    // The connection goes, the program stays: it finds out at once.
    let mut running = home.command(&["recover", "latest", "project", "7"]);
    let running = running.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert!(hanging(&cluster));
    cluster.sql("postgres", CUT);
    let ended = running.wait_with_output().unwrap();
    assert!(ended.status.success(), "{}", String::from_utf8_lossy(&ended.stderr));
    assert_eq!(state(&cluster, &home, &name), whole);
    cluster.sql("postgres", &format!("ALTER DATABASE {name} RESET synchronous_commit"));
    home.ok(&["undo"]);
    assert_eq!(state(&cluster, &home, &name), harmed);
    // The program goes too: the next command finds out.
    cluster.sql("postgres", &format!("ALTER DATABASE {name} SET synchronous_commit = on"));
    let mut running = home.command(&["recover", "latest", "project", "7"]);
    let mut running = running.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    assert!(hanging(&cluster));
    running.kill().unwrap();
    running.wait().unwrap();
    cluster.sql("postgres", CUT);
    let said = home.ok(&["undo", "--list"]).err;
    assert!(said.contains("finished what was broken off"), "{said}");
    assert_eq!(state(&cluster, &home, &name), whole);
    cluster.sql("postgres", &format!("ALTER DATABASE {name} RESET synchronous_commit"));
    home.ok(&["undo"]);
    assert_eq!(state(&cluster, &home, &name), harmed);
}

#[test]
fn rows_that_nothing_tells_apart_are_refused_rather_than_given_back_once() {
    let (cluster, home) = (cluster(), Home::new());
    let name = cluster.database();
    cluster
        .sql(&name, "CREATE TABLE clicks (page text, at int); INSERT INTO clicks VALUES ('a', 1), ('a', 1), ('b', 2)");
    home.write("strongroom.toml", config(&cluster.url(&name)));
    home.write("app/documents/1.txt", "one");
    home.ok(&["backup"]);
    cluster.sql(&name, "DELETE FROM clicks");
    let said = home.fails(1, &["recover", "latest", "--table", "clicks", "--where", "true"]);
    assert!(said.contains("clicks has no key, and holds 'a',1 more than once"), "{said}");
    let said = home.fails(1, &["recover", "latest", "--missing", "clicks"]);
    assert!(said.contains("more than once"), "{said}");
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM clicks"), "0");
    home.ok(&["recover", "latest", "--table", "clicks", "--where", "page = 'b'"]);
    assert_eq!(cluster.sql(&name, "SELECT page FROM clicks"), "b");
    // Two of them by now: neither is the one to go.
    cluster.sql(&name, "INSERT INTO clicks VALUES ('b', 2)");
    let said = home.fails(1, &["undo"]);
    assert!(said.contains("clicks has no key, and more than one row is"), "{said}");
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM clicks"), "2");
}
