//! Others who change the schema while a capture begins: they are let through, and it begins again.

use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use strongroom::base::control::Control;
use strongroom::base::error::{Class, Explain};
use strongroom::ops::backup::{self, Report};
use strongroom::ops::error::OpError;

use super::{source_of, tables};
use crate::support::postgres::{Cluster, cluster};
use crate::support::vaults::{self, Lab};

fn backup_with(lab: &Lab, url: &str, more: &str, control: &Arc<Control>) -> Result<Report, OpError> {
    let any = vaults::request(std::path::Path::new("/"), false);
    let request = backup::Request { sources: vec![source_of(url, more)], control: control.clone(), ..any };
    backup::backup(&lab.vault(&lab.store, &lab.folders), &request)
}

fn psql(cluster: &Cluster, name: &str, sql: &str) -> Child {
    cluster.command("psql", name).args(["-Xqc", sql]).spawn().unwrap()
}

/// So many sessions of a database have the table to themselves, or wait for that.
fn exclusive(cluster: &Cluster, name: &str, granted: bool) -> usize {
    let sql = format!(
        "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted = {granted} AND relation = 'items'::regclass"
    );
    cluster.sql(name, &sql).parse().unwrap()
}

#[test]
fn a_schema_change_that_queues_behind_the_first_locks_is_let_through_and_the_capture_begins_again() {
    ["tables locked", "connections joined"].into_iter().for_each(let_through);
}

fn let_through(at: &'static str) {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(&name, "CREATE TABLE items (id int); INSERT INTO items SELECT generate_series(1, 100)");
    let (control, begun) = (Arc::<Control>::default(), AtomicBool::new(false));
    let database = name.clone();
    // It waits for the locks of the capture, and pg_dump would wait behind it for ever.
    control.watch(move |place| {
        if place == at && !begun.swap(true, Ordering::SeqCst) {
            let mut change = psql(cluster, &database, "ALTER TABLE items ALTER id TYPE bigint");
            while exclusive(cluster, &database, false) == 0 {
                assert!(change.try_wait().unwrap().is_none(), "nothing was in its way");
            }
            std::thread::spawn(move || assert!(change.wait().unwrap().success()));
        }
    });
    let manifest = backup_with(&lab, &cluster.url(&name), "", &control).unwrap().manifest;
    let items = &tables(&lab, &manifest)[0];
    assert_eq!((items.rows, items.columns[0].kind.as_str()), (100, "bigint"), "it came before the capture");
}

#[test]
fn a_table_that_somebody_keeps_is_waited_for_without_keeping_another_and_it_is_said_who_has_it() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(&name, "CREATE TABLE before (id int); CREATE TABLE items (id int); INSERT INTO items VALUES (1)");
    let mut holder = psql(cluster, &name, "BEGIN; LOCK TABLE items; SELECT pg_sleep(60)");
    while exclusive(cluster, &name, true) == 0 {}
    let control = Arc::<Control>::default();
    std::thread::scope(|scope| {
        let backup = scope.spawn(|| backup_with(&lab, &cluster.url(&name), "", &control));
        let told = loop {
            assert!(!backup.is_finished(), "it did not wait");
            if let Some(told) = control.waits_for() {
                break told;
            }
        };
        assert!(told.contains("public.items") && told.contains("psql"), "{told}");
        let waits = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'strongroom' AND wait_event_type = 'Lock' AND datname = current_database()";
        while cluster.sql(&name, waits) != "1" {}
        // Whoever wants another table has it at once.
        cluster.sql(&name, "BEGIN; LOCK TABLE before NOWAIT");
        holder.kill().unwrap();
        cluster.sql(&name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(60)%' AND pid <> pg_backend_pid() AND datname = current_database()");
        let manifest = backup.join().unwrap().unwrap().manifest;
        assert_eq!(tables(&lab, &manifest)[1].rows, 1);
    });
    holder.wait().unwrap();
    assert_eq!(control.waits_for(), None);
}

#[test]
fn patience_ends_where_the_configuration_says_and_names_who_was_waited_for() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    cluster.sql(&name, "CREATE TABLE items (id int)");
    let mut holder = psql(cluster, &name, "BEGIN; LOCK TABLE items; SELECT pg_sleep(61)");
    while exclusive(cluster, &name, true) == 0 {}
    for seconds in [0, 1] {
        let more = format!("wait_for_locks = {seconds}");
        let error = backup_with(&lab, &cluster.url(&name), &more, &Arc::default()).map(|_| ()).unwrap_err();
        assert_eq!(error.class(), Class::Busy, "{error}");
        let (words, hint) = (error.to_string(), error.hint().unwrap());
        assert!(words.contains("public.items") && words.contains("(psql)"), "{words}");
        assert!(hint.contains("wait_for_locks"), "{hint}");
    }
    holder.kill().unwrap();
    holder.wait().unwrap();
    cluster.sql(&name, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(61)%' AND pid <> pg_backend_pid()");
}
