//! Servers that are reached or kept in another way: encrypted, and a standby.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use strongroom::base::error::Explain;

use super::{backup, capture, database, source_of, tables, text};
use crate::support::postgres::Cluster;
use crate::support::vaults::Lab;

/// A certificate for a name, signed by nobody but itself, where the server can read it.
fn certificate(folder: &std::path::Path, name: &str) {
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", &format!("/CN={name}")])
        .args(["-addext", &format!("subjectAltName=DNS:{name}"), "-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "server.key", "-out", "server.crt"])
        .current_dir(folder)
        .output()
        .expect("openssl is missing: run scripts/services.sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    fs::set_permissions(folder.join("server.key"), fs::Permissions::from_mode(0o600)).unwrap();
    if let Some(user) = uzers::get_user_by_name("postgres").filter(|_| rustix::process::geteuid().is_root()) {
        for name in ["server.key", "server.crt"] {
            std::os::unix::fs::chown(folder.join(name), Some(user.uid()), None).unwrap();
        }
    }
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

#[test]
fn an_encrypted_connection_is_checked_as_far_as_is_asked() {
    let keys = tempfile::tempdir().unwrap();
    certificate(keys.path(), "localhost");
    let file = |name: &str| keys.path().join(name).display().to_string();
    let settings = [format!("ssl_cert_file={}", file("server.crt")), format!("ssl_key_file={}", file("server.key"))];
    let cluster = Cluster::start(&["ssl=on", &settings[0], &settings[1]]);
    let (lab, name) = (Lab::in_memory(), cluster.database());
    cluster.sql(&name, "CREATE TABLE t (id int PRIMARY KEY, memo text); INSERT INTO t SELECT n, repeat('x', 100) FROM generate_series(1, 50000) n");
    let url =
        |host: &str, more: &str| cluster.url_with_password(&name).replace("127.0.0.1", host) + &format!("?{more}");
    let trusted = format!("sslrootcert={}", file("server.crt"));
    for good in [
        url("127.0.0.1", "sslmode=prefer"),
        url("127.0.0.1", "sslmode=require"),
        url("127.0.0.1", &format!("sslmode=verify-ca&{trusted}")),
        url("localhost", &format!("sslmode=verify-full&{trusted}")),
    ] {
        assert_eq!(tables(&lab, &capture(&lab, &good))[0].rows, 50_000, "{good}");
    }
    let nowhere = file("none.crt");
    for (bad, hint) in [
        (url("127.0.0.1", &format!("sslmode=verify-full&{trusted}")), "sslmode=verify-ca"),
        (url("localhost", "sslmode=verify-full"), "sslrootcert=FILE"),
        (url("localhost", &format!("sslmode=verify-full&sslrootcert={nowhere}")), "check sslrootcert"),
    ] {
        let error = backup(&lab, source_of(&bad, "")).map(|_| ()).unwrap_err();
        assert!(error.to_string().starts_with("no encrypted connection to"), "{bad}: {error}");
        assert!(error.hint().is_some_and(|text| text.contains(hint)), "{bad}: {:?}", error.hint());
    }
    let used =
        "SELECT bool_or(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'strongroom'";
    assert_ne!(cluster.sql(&name, used), "f", "sessions are left behind");
}

#[test]
fn a_standby_is_captured_and_says_that_it_is_one() {
    let primary = Cluster::start(&["wal_level=replica", "fsync=off"]);
    let (lab, name) = (Lab::in_memory(), primary.database());
    primary.sql(
        &name,
        "CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t SELECT generate_series(1, 1000); \
        CREATE UNLOGGED TABLE u (id int); INSERT INTO u VALUES (1); CREATE SEQUENCE s; SELECT nextval('s')",
    );
    let standby = primary.standby();
    let deadline = Instant::now() + Duration::from_secs(30);
    primary.sql(&name, "INSERT INTO t VALUES (0)");
    while standby.sql(&name, "SELECT count(*) FROM t") != "1001" {
        assert!(Instant::now() < deadline, "the standby does not follow");
        std::thread::sleep(Duration::from_millis(50));
    }
    let manifest = capture(&lab, &standby.url(&name));
    assert_eq!(tables(&lab, &manifest).iter().map(|table| table.name.name.as_str()).collect::<Vec<_>>(), ["t"]);
    assert_eq!(text(&lab, &manifest, "data/public/t.copy").lines().count(), 1001);
    let facts = &database(&manifest).facts;
    assert_eq!(facts["in recovery"], "yes");
    assert!(facts.contains_key("replication lag") && facts.contains_key("wal position"), "{facts:?}");
    let skipped = &manifest.sources[0].skipped;
    assert_eq!(skipped.len(), 1, "{skipped:?}");
    assert!(skipped[0].path == "data/public/u.copy" && skipped[0].reason.contains("standby"));
}
