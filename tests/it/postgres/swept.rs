//! What restores leave half made is cleared away by the next, and nothing else is.

use super::restore::home_of;
use crate::support::postgres::Cluster;

const REMARK: &str = "half restored by strongroom, whose next restore drops it";

fn has(cluster: &Cluster, name: &str) -> bool {
    cluster.sql("postgres", &format!("SELECT count(*) FROM pg_database WHERE datname = '{name}'")) == "1"
}

/// A cluster of its own: whoever else restores on a server clears it away, too.
fn scene() -> (Cluster, String) {
    let cluster = Cluster::start(&[]);
    let name = cluster.database();
    cluster.sql(&name, "CREATE TABLE t AS SELECT 1 AS x");
    (cluster, name)
}

#[test]
fn a_database_that_merely_has_the_name_of_something_half_made_survives() {
    let (cluster, name) = scene();
    let own = ["precious_strongroom_deadbeef", "worded_strongroom_0badcafe"];
    for own in own {
        cluster.sql("postgres", &format!("CREATE DATABASE {own}"));
        cluster.sql(own, "CREATE TABLE kept AS SELECT 1 AS x");
    }
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {} IS 'not {REMARK}'", own[1]));
    let home = home_of(&cluster, &name);
    home.ok(&["backup"]);
    let report = &home.json(&["restore", "latest", "--to", &cluster.url("fresh")])["report"];
    assert!(report["swept"].is_null(), "{report}");
    home.ok(&["restore", "latest", "--in-place"]);
    home.ok(&["undo"]);
    for own in own {
        assert_eq!(cluster.sql(own, "SELECT x FROM kept"), "1");
    }
}

#[test]
fn a_leftover_stays_while_somebody_is_at_it_and_while_the_restore_may_be_refused() {
    let (cluster, name) = scene();
    let left = "app_strongroom_deadbeef";
    cluster.sql("postgres", &format!("CREATE DATABASE {left}"));
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {left} IS '{REMARK}'"));
    let home = home_of(&cluster, &name);
    home.ok(&["backup"]);
    home.fails(2, &["restore", "latest", "--to", &cluster.url(&name)]);
    assert!(has(&cluster, left), "a restore that was refused has dropped something");
    // Somebody is at it: he holds the lock within it, whatever he is connected to besides.
    let mut holder = cluster.command("psql", left);
    let sql = "SELECT pg_advisory_lock(hashtextextended('half restored by strongroom', 0)); SELECT pg_sleep(60)";
    let mut holder = holder.args(["-Xqc", sql]).stdout(std::process::Stdio::null()).spawn().unwrap();
    let locked = format!(
        "SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database WHERE locktype = 'advisory' AND datname = '{left}'"
    );
    while cluster.sql("postgres", &locked) != "1" {
        assert!(holder.try_wait().unwrap().is_none());
    }
    home.ok(&["restore", "latest", "--to", &cluster.url("one")]);
    assert!(has(&cluster, left), "somebody was at it");
    cluster
        .sql("postgres", &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{left}'"));
    holder.wait().unwrap();
    while cluster.sql("postgres", &locked) != "0" {}
    let report = &home.json(&["restore", "latest", "--to", &cluster.url("two")])["report"];
    assert_eq!(report["swept"][0], left);
    assert!(!has(&cluster, left));
}

#[test]
fn what_takes_its_place_has_the_comment_it_was_captured_with_and_nothing_else() {
    let (cluster, name) = scene();
    let comment = |name: &str| {
        cluster.sql("postgres", &format!("SELECT coalesce(shobj_description(oid, 'pg_database'), 'none') FROM pg_database WHERE datname = '{name}'"))
    };
    let home = home_of(&cluster, &name);
    home.ok(&["backup"]);
    home.ok(&["restore", "latest", "--to", &cluster.url("bare")]);
    assert_eq!(comment("bare"), "none");
    cluster.sql("postgres", &format!("COMMENT ON DATABASE {name} IS E'it''s\nmine'"));
    home.ok(&["backup"]);
    home.ok(&["restore", "latest", "--to", &cluster.url("worded")]);
    assert_eq!(comment("worded"), "it's\nmine");
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(comment(&name), "it's\nmine");
    home.ok(&["undo"]);
    assert_eq!(comment(&name), "it's\nmine");
}
