//! Records whose rows lie in a server's database and in a file, tied by relations of the configuration.

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::Connection;
use strongroom::engine::postgres::settings::Settings;

use super::records::dump;
use crate::recover::across::rows;
use crate::recover::{child, process};
use crate::support::postgres::{Cluster, cluster};
use crate::support::program::Home;

/// An account of project 7, and of project 8: as the server writes it, and as others do.
const ACCOUNT: [&str; 2] = ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a07", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a08"];

const SHOP: &str = concat!(
    include_str!("../../../fixtures/postgres/shop.sql"),
    "CREATE TABLE accounts (id uuid PRIMARY KEY, project_id integer NOT NULL REFERENCES projects ON DELETE CASCADE);
     INSERT INTO accounts SELECT ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a0' || n)::uuid, n FROM generate_series(1, 9) n;"
);

const CRM: &str = "
    CREATE TABLE contracts(id INTEGER PRIMARY KEY, project_ref TEXT NOT NULL);
    CREATE TABLE notes(id INTEGER PRIMARY KEY, contract_id INTEGER REFERENCES contracts(id) ON DELETE CASCADE);
    CREATE TABLE leads(id INTEGER PRIMARY KEY, project_ref TEXT);
    CREATE TABLE logins(id INTEGER PRIMARY KEY, account TEXT NOT NULL);
    CREATE TABLE badges(id INTEGER PRIMARY KEY, account TEXT NOT NULL);
    CREATE TABLE labels(id INTEGER PRIMARY KEY, code TEXT UNIQUE, project_ref TEXT);
    CREATE TABLE labelled(id INTEGER PRIMARY KEY, code TEXT REFERENCES labels(code));";

const RELATIONS: &str = "
    [entity.project]\nsource = 'db'\ntable = 'projects'
    [entity.badge]\nsource = 'crm'\ntable = 'badges'
    [[relation]]\nfrom = 'crm.contracts.project_ref'\nto = 'db.projects.id'
    [[relation]]\nfrom = 'crm.labels.project_ref'\nto = 'db.projects.id'
    [[relation]]\nfrom = 'crm.leads.project_ref'\nto = 'db.projects.id'\non_delete = 'set-null'
    [[relation]]\nfrom = 'crm.logins.account'\nto = 'db.accounts.id'
    [[relation]]\nfrom = 'crm.badges.account'\nto = 'db.accounts.id'\non_delete = 'restrict'";

/// A shop on a server, what its sellers keep in a file, and a snapshot of both.
fn firm(cluster: &Cluster) -> (Home, String) {
    let (home, name) = (Home::new(), cluster.database());
    cluster.sql(&name, SHOP);
    home.write("app/readme", "");
    let mut crm = CRM.to_owned();
    for n in 1..10 {
        crm += &format!("INSERT INTO contracts VALUES({n}, '{n}'); INSERT INTO notes VALUES({n}, {n});");
        crm += &format!("INSERT INTO leads VALUES({n}, '{n}'); INSERT INTO labels VALUES({n}, 'code {n}', '{n}');");
        crm += &format!("INSERT INTO logins VALUES({n}, 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a0{n}');");
        crm += &format!("INSERT INTO badges VALUES({n}, 'A0EEBC999C0B4EF8BB6D6BB9BD380A0{n}');");
    }
    run(&home.path("app/crm.db"), &crm);
    home.write(
        "strongroom.toml",
        format!(
            "app = 'shop'\n[source.db]\nkind = 'postgres'\nurl = '{}'\n\
             [source.crm]\nkind = 'sqlite'\npath = 'app/crm.db'\n{RELATIONS}",
            cluster.url(&name)
        ),
    );
    home.ok(&["backup"]);
    (home, name)
}

fn run(file: &Path, sql: &str) {
    let connection = Connection::open(file).unwrap();
    connection.execute_batch("PRAGMA foreign_keys = ON").unwrap();
    connection.execute_batch(sql).unwrap();
}

fn state(cluster: &Cluster, home: &Home, name: &str) -> Vec<String> {
    let settings = Settings::of_url(&cluster.url(name), &|_| None).unwrap();
    [dump(&settings.connect(&Arc::default()).unwrap()), rows(&home.path("app/crm.db"))].concat()
}

fn lose(cluster: &Cluster, home: &Home, name: &str) {
    cluster.sql(name, "DELETE FROM projects WHERE id = 7");
    let crm = "DELETE FROM contracts WHERE project_ref = '7'; DELETE FROM labels WHERE project_ref = '7';
        UPDATE leads SET project_ref = NULL WHERE project_ref = '7'; DELETE FROM logins WHERE id = 7";
    run(&home.path("app/crm.db"), crm);
}

const RECOVER: [&str; 4] = ["recover", "latest", "project", "7"];

#[test]
fn a_record_comes_back_from_a_server_and_from_a_file_whatever_kinds_its_references_are_of() {
    let cluster = cluster();
    let (home, name) = firm(cluster);
    let whole = state(cluster, &home, &name);
    lose(cluster, &home, &name);
    let harmed = state(cluster, &home, &name);
    let dry = home.ok(&[&RECOVER[..], &["--dry-run"]].concat()).out;
    assert!(dry.contains(&format!("/{name}")) && dry.contains("app/crm.db (crm)\n"), "{dry}");
    home.ok(&[&RECOVER[..], &["--plan-out", "plan.json"]].concat());
    let report = home.json(&["recover", "--plan", "plan.json"])["report"].clone();
    assert_eq!(report["relinked"], 2, "{report}");
    assert_eq!(state(cluster, &home, &name), whole);
    assert!(home.ok(&RECOVER).out.contains("nothing to do"));
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &home, &name), harmed);
    // Upwards, from text that writes a uuid otherwise: the account, its project, and nothing of the project's.
    run(&home.path("app/crm.db"), "DELETE FROM badges WHERE id = 7");
    let plan = home.json(&["recover", "latest", "badge", "7"])["plan"].clone();
    let keys: Vec<String> = plan["steps"].as_array().unwrap().iter().map(|step| step["key"][0].to_string()).collect();
    assert_eq!(keys, ["7", &format!("\"{}\"", ACCOUNT[0]), "7"], "{plan}");
    assert_eq!(cluster.sql(&name, &format!("SELECT project_id FROM accounts WHERE id = '{}'", ACCOUNT[0])), "7");
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM images WHERE project_id = 7"), "0");
}

#[test]
fn rows_on_a_server_belong_to_those_of_a_file() {
    let cluster = cluster();
    let (home, name) = (Home::new(), cluster.database());
    cluster.sql(
        &name,
        &format!(
            "CREATE SCHEMA raw; CREATE TABLE raw.rooms (id bigint PRIMARY KEY);
             CREATE TABLE readings (id serial PRIMARY KEY, device uuid NOT NULL, room bigint REFERENCES raw.rooms);
             INSERT INTO raw.rooms VALUES (1), (2);
             INSERT INTO readings (device, room) VALUES ('{0}', 1), ('{0}', 2), ('{1}', 1)",
            ACCOUNT[0], ACCOUNT[1]
        ),
    );
    home.write("app/readme", "");
    let devices = "CREATE TABLE devices(id TEXT PRIMARY KEY, room INTEGER)";
    run(
        &home.path("app/shop.db"),
        &format!("{devices}; INSERT INTO devices VALUES('{}', 1), ('{}', 2)", ACCOUNT[0], ACCOUNT[1]),
    );
    home.write(
        "strongroom.toml",
        format!(
            "[source.db]\nkind = 'sqlite'\npath = 'app/shop.db'\n[source.metrics]\nkind = 'postgres'\nurl = '{}'\n\
             [entity.device]\nsource = 'db'\ntable = 'devices'\n\
             [[relation]]\nfrom = 'metrics.readings.device'\nto = 'db.devices.id'",
            cluster.url(&name)
        ),
    );
    home.ok(&["backup"]);
    let all = "SELECT string_agg(r::text, ' ' ORDER BY id) FROM readings r";
    let whole = (cluster.sql(&name, all), rows(&home.path("app/shop.db")));
    run(&home.path("app/shop.db"), &format!("DELETE FROM devices WHERE id = '{}'", ACCOUNT[0]));
    cluster.sql(
        &name,
        &format!("DELETE FROM readings WHERE device = '{}'; DELETE FROM raw.rooms WHERE id = 2", ACCOUNT[0]),
    );
    let plan = home.json(&["recover", "latest", "device", ACCOUNT[0]])["plan"].clone();
    let tables = plan["tables"].to_string();
    assert!(tables.contains("metrics.readings") && tables.contains("metrics.raw.rooms"), "{tables}");
    assert_eq!((cluster.sql(&name, all), rows(&home.path("app/shop.db"))), whole);
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM raw.rooms"), "2");
    home.ok(&["undo"]);
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM readings"), "1");
    cluster.sql(&name, &format!("DROP DATABASE IF EXISTS {name}_away"));
    home.write("strongroom.toml", fs::read_to_string(home.path("strongroom.toml")).unwrap().replace(&name, "nowhere"));
    let error = home.fails(1, &["recover", "latest", "device", ACCOUNT[0]]);
    assert!(error.contains("metrics, which a relation ties to it:"), "{error}");
}

#[test]
fn a_server_that_has_its_rows_gives_them_up_when_the_file_has_not_however_often_that_is_broken_off() {
    let cluster = cluster();
    let (home, name) = firm(cluster);
    let whole = state(cluster, &home, &name);
    lose(cluster, &home, &name);
    let harmed = state(cluster, &home, &name);
    for is_killed_twice in [false, true] {
        assert_eq!(child(&home, "one is committed").output().unwrap().status.signal(), Some(9));
        // The server goes first.
        assert_eq!(cluster.sql(&name, "SELECT count(*) FROM projects WHERE id = 7"), "1");
        assert!(!rows(&home.path("app/crm.db")).iter().any(|row| row.starts_with("notes [Integer(7)")));
        if is_killed_twice {
            let killed = process(&home, "recover::across::broken_off::another_process", "settle").output().unwrap();
            assert_eq!(killed.status.signal(), Some(9));
            assert_eq!(state(cluster, &home, &name), harmed);
        }
        let ran = home.ok(&["undo", "--list"]);
        assert!(ran.err.contains("was broken off half way: what was written is taken back"), "{}", ran.err);
        assert_eq!(state(cluster, &home, &name), harmed);
    }
    home.ok(&RECOVER);
    assert_eq!(state(cluster, &home, &name), whole);
    // The taking back of one is all or nothing in the same way.
    home.ok(&["undo"]);
    assert_eq!(state(cluster, &home, &name), harmed);
}

#[test]
fn a_server_that_has_its_rows_gives_them_up_when_the_file_refuses_its_own() {
    let cluster = cluster();
    let (home, name) = firm(cluster);
    lose(cluster, &home, &name);
    let newer = "INSERT INTO labels VALUES(7, 'new code', '7'); INSERT INTO labelled VALUES(1, 'new code')";
    run(&home.path("app/crm.db"), newer);
    let harmed = state(cluster, &home, &name);
    let ran = home.run(&[&RECOVER[..], &["--trust-keys", "--on-conflict", "overwrite"]].concat());
    assert!(ran.code == 1 && ran.err.contains("error: everything was taken back: "), "{}", ran.err);
    assert_eq!(state(cluster, &home, &name), harmed);
    assert!(!home.ok(&["undo", "--list"]).err.contains("broken off"));
}
