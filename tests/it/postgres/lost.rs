//! A connection that is lost half-way makes no snapshot, whichever it is; nor does an interrupt.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use strongroom::base::control::Control;
use strongroom::base::error::{Class, Explain};
use strongroom::ops::backup;

use super::{capture, source_of, tables};
use crate::support::postgres::cluster;
use crate::support::vaults::{self, Lab, snapshots};

fn filled() -> String {
    let (cluster, name) = (cluster(), cluster().database());
    let sql = "CREATE TABLE items (id int PRIMARY KEY, memo text); \
        INSERT INTO items SELECT n, md5(n::text) || md5((n + 1)::text) || md5((n + 2)::text) FROM generate_series(1, 600000) n; ANALYZE";
    cluster.sql(&name, sql);
    name
}

struct Ended<'e>(&'e AtomicBool);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Takes a backup while `meanwhile` is done again and again until it says that it has succeeded.
fn backup_while(
    lab: &Lab,
    url: &str,
    control: &Arc<Control>,
    meanwhile: impl Fn() -> bool + Sync,
) -> Result<(), (Class, String)> {
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended.load(Ordering::SeqCst) && !meanwhile() {
                std::hint::spin_loop();
            }
        });
        // Whatever comes of it, a panic too: nobody waits for ever.
        let _ended = Ended(&ended);
        let vault = lab.vault(&lab.store, &lab.folders);
        let any = vaults::request(std::path::Path::new("/"), false);
        let request = backup::Request { sources: vec![source_of(url, "")], control: control.clone(), ..any };
        let result = backup::backup(&vault, &request);
        result.map(|_| ()).map_err(|error| {
            let words = error.to_string();
            assert!(!words.contains('\n') && error.hint().is_none_or(|hint| !hint.contains('\n')), "{words}");
            (error.class(), words)
        })
    })
}

#[test]
fn a_connection_lost_at_any_moment_makes_no_snapshot_and_the_next_backup_is_whole() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), filled());
    let moments = [
        ("rows", "application_name = 'strongroom' AND query LIKE 'COPY%' AND state = 'active'"),
        ("the moment", "application_name = 'strongroom' AND query NOT LIKE 'COPY%' AND state = 'idle in transaction'"),
        ("definitions", "application_name LIKE 'pg_dump%'"),
    ];
    for (what, which) in moments {
        let sql = format!(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = '{name}' AND {which}"
        );
        let hit = (0..10).find_map(|_| {
            let killed = AtomicBool::new(false);
            let kill = || {
                let hit = cluster.sql("postgres", &sql) != "0";
                killed.fetch_or(hit, Ordering::SeqCst);
                hit
            };
            let result = backup_while(&lab, &cluster.url(&name), &Arc::default(), kill);
            // Some are over before they can be hit.
            killed.load(Ordering::SeqCst).then_some(result)
        });
        let (class, words) = hit.unwrap_or_else(|| panic!("{what}: never hit")).expect_err(what);
        assert_eq!(class, Class::Failed, "{what}: {words}");
        let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
        let whole =
            |snapshot: &strongroom::vault::snapshots::Snapshot| tables(&lab, &snapshot.manifest)[0].rows == 600_000;
        assert!(snapshots(&unlocked).iter().all(whole), "{what}: half a snapshot");
        assert_eq!(tables(&lab, &capture(&lab, &cluster.url(&name)))[0].rows, 600_000);
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'";
    assert_eq!(cluster.sql("postgres", left), "0", "sessions are left behind");
}

#[test]
fn an_interrupt_ends_a_capture_even_while_the_server_is_silent() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), filled());
    // Somebody holds a table, so the first connection waits.
    let mut holder = cluster
        .command("psql", &name)
        .args(["-Xqc", "BEGIN; LOCK TABLE items IN ACCESS EXCLUSIVE MODE; SELECT pg_sleep(60)"])
        .spawn()
        .unwrap();
    let waiting =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom' AND wait_event_type = 'Lock'";
    let control = Arc::<Control>::default();
    let stopped_at = std::sync::Mutex::new(None);
    let stop = || {
        let waits = cluster.sql("postgres", waiting) != "0";
        if waits {
            control.stop();
            *stopped_at.lock().unwrap() = Some(Instant::now());
        }
        waits
    };
    let (class, _) = backup_while(&lab, &cluster.url(&name), &control, stop).unwrap_err();
    assert_eq!(class, Class::Interrupted);
    let took = stopped_at.lock().unwrap().unwrap().elapsed();
    assert!(took < Duration::from_secs(5), "{took:?}");
    holder.kill().unwrap();
    holder.wait().unwrap();
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom'";
    assert_eq!(cluster.sql("postgres", left), "0", "a session still waits");
}

#[test]
fn a_table_that_somebody_rewrites_at_the_beginning_is_captured_whole() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(&name, "CREATE TABLE items (id int, memo text); INSERT INTO items SELECT n, md5(n::text) FROM generate_series(1, 5000) n");
    // What empties and rewrites tables keeps to no snapshot: a moment begun before its locks would see no rows.
    let rewrite = || {
        let sql = "BEGIN; CREATE TABLE IF NOT EXISTS other (id int); ALTER TABLE items ALTER id TYPE bigint; ALTER TABLE items ALTER id TYPE int; COMMIT; DROP TABLE other";
        cluster.sql(&name, sql);
        std::thread::sleep(Duration::from_millis(400));
        false
    };
    for _ in 0..5 {
        backup_while(&lab, &cluster.url(&name), &Arc::default(), rewrite).unwrap();
        let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
        let newest = snapshots(&unlocked).pop().unwrap();
        let items = tables(&lab, &newest.manifest).into_iter().find(|table| table.name.name == "items").unwrap();
        assert_eq!(items.rows, 5000);
    }
}
