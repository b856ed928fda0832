//! Restores that are killed, cut off and told to stop, and the runbook.

use std::path::Path;
use std::process::{Child, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::restore::{home_of, made_by_us};
use crate::support::postgres::{Cluster, cluster};
use crate::support::program::Home;

const STATE: &str = "SELECT count(*), sum(hashtext(t::text)), (SELECT count(*) FROM child) FROM t";

/// A database that takes a moment to restore, its snapshot, and what is left of it afterwards.
fn scene(cluster: &Cluster) -> (Home, String, String) {
    let name = cluster.database();
    cluster.sql(
        &name,
        "CREATE TABLE t (id bigserial PRIMARY KEY, a text, b int, c timestamptz DEFAULT now()); \
         INSERT INTO t (a, b) SELECT md5(n::text), n % 1000 FROM generate_series(1, 60000) n; \
         CREATE INDEX ON t (a); CREATE INDEX ON t (b, c); \
         CREATE TABLE child (t bigint REFERENCES t); INSERT INTO child SELECT 1 + n % 60000 FROM generate_series(1, 30000) n",
    );
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let snapshot = home.json(&["snapshots"])["snapshots"][0]["id"].as_str().unwrap().to_owned();
    cluster.sql(&name, "DELETE FROM child; DELETE FROM t WHERE id % 3 = 0");
    (home, name, snapshot)
}

fn begin(home: &Home, arguments: &[&str]) -> Child {
    home.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn a_restore_that_is_killed_at_any_moment_leaves_one_database_or_the_other() {
    let cluster = cluster();
    let (home, name, snapshot) = scene(cluster);
    let lost = cluster.sql(&name, STATE);
    let arguments = ["restore", snapshot.as_str(), "--in-place", "--no-safety"];
    let clock = Instant::now();
    home.ok(&arguments);
    let took = clock.elapsed();
    let good = cluster.sql(&name, STATE);
    assert_ne!(good, lost);
    home.ok(&["undo", "--no-safety", "--force"]);
    let (mut halves, mut swapped) = (0, 0);
    const ROUNDS: u32 = 16;
    for round in 1..=ROUNDS {
        let mut child = begin(&home, &arguments);
        // The last two have time to spare, however busy the machine is.
        sleep(took * round / if round + 2 > ROUNDS { ROUNDS / 4 } else { ROUNDS - 1 });
        child.kill().unwrap();
        child.wait().unwrap();
        let now = cluster.sql(&name, STATE);
        assert!(now == lost || now == good, "{round}: {now}");
        halves += usize::from(!made_by_us(cluster).is_empty());
        let last = home.json(&["undo", "--list"])["actions"].as_array().unwrap().last().cloned().unwrap();
        let is_open = last["kind"] == "restore" && last["undone_by"].is_null();
        // A swap is never made before it is written down.
        assert!(is_open || now == lost, "{round}: {last}");
        if is_open {
            home.ok(&["undo", "--no-safety", "--force"]);
            swapped += usize::from(now == good);
        }
        assert_eq!(cluster.sql(&name, STATE), lost, "{round}");
    }
    assert!(halves > 2 && swapped > 0, "{halves} half made, {swapped} swapped");
    // The next run clears away what is left.
    home.ok(&["restore", &snapshot, "--to", &cluster.url("cleared")]);
    assert_eq!(made_by_us(cluster), Vec::<String>::new());
    let mut child = begin(&home, &arguments);
    while made_by_us(cluster).is_empty() {
        assert!(child.try_wait().unwrap().is_none());
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let left = made_by_us(cluster);
    let remark = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname ~ '_strongroom_'";
    assert!(left.len() == 1 && cluster.sql("postgres", remark).contains("restored by strongroom"), "{left:?}");
    let report = &home.json(&["restore", &snapshot, "--to", &cluster.url("fresh")])["report"];
    assert_eq!(report["swept"][0], left[0].as_str());
    assert_eq!(cluster.sql("fresh", STATE), good);
    assert_eq!(made_by_us(cluster), Vec::<String>::new());
}

#[test]
fn a_restore_that_is_cut_off_or_told_to_stop_clears_away_what_it_made() {
    let cluster = cluster();
    let (home, name, snapshot) = scene(cluster);
    let lost = cluster.sql(&name, STATE);
    for (delay, cut) in [(0, true), (150, true), (400, true), (0, false), (150, false), (400, false)] {
        let mut child = begin(&home, &["restore", &snapshot, "--in-place"]);
        while made_by_us(cluster).is_empty() && child.try_wait().unwrap().is_none() {
            sleep(Duration::from_millis(2));
        }
        sleep(Duration::from_millis(delay));
        if cut {
            let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname ~ '_strongroom_'";
            cluster.sql("postgres", sql);
        } else {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        }
        let code = child.wait().unwrap().code();
        let now = cluster.sql(&name, STATE);
        if now == lost {
            assert_eq!(code, Some(if cut { 1 } else { 130 }), "{delay}");
        } else {
            // It had come too far to be stopped.
            assert_eq!(code, Some(0), "{delay}");
            home.ok(&["undo", "--force"]);
        }
        assert_eq!(cluster.sql(&name, STATE), lost, "{delay}");
        assert_eq!(made_by_us(cluster), Vec::<String>::new(), "{delay}");
    }
}

#[test]
fn the_commands_of_the_runbook_do_what_it_says() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql(&name, "CREATE TABLE orders (id serial PRIMARY KEY, total int); INSERT INTO orders (total) SELECT 5 FROM generate_series(1, 300)");
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    cluster.sql(&name, "DELETE FROM orders WHERE id > 100");
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/runbooks/restore-postgres.md"));
    let page = page.unwrap();
    let blocks = page.split("<!-- test -->\n```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let script: String = blocks.collect();
    assert!(script.lines().count() >= 10, "{script}");
    let shell = home.command(&[]);
    let program = Path::new(shell.get_program()).parent().unwrap().to_owned();
    let mut bash = std::process::Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).current_dir(home.path("")).env_clear();
    bash.envs(shell.get_envs().filter_map(|(name, value)| Some((name, value?))));
    bash.env("PGHOST", cluster.folder()).env("PGPORT", cluster.port().to_string()).env("PGUSER", "postgres");
    let tools = cluster.command("psql", "x");
    let tools = Path::new(tools.get_program()).parent().unwrap().to_owned();
    let path = format!("{}:{}:{}", program.display(), tools.display(), std::env::var("PATH").unwrap());
    let output = bash.env("PATH", path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let count = "SELECT count(*) FROM orders";
    assert_eq!(cluster.sql(&name, count), "300");
    assert_eq!((cluster.sql("app_look", count), cluster.sql("app_moved", count)), ("300".into(), "300".into()));
}
