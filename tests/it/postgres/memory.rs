//! Rows of any length in bounded memory: the real program, watched from outside.

use std::time::Duration;

use crate::support::postgres::cluster;
use crate::support::program::Home;

/// The most memory a running program has had, in MiB.
fn watched(home: &Home, arguments: &[&str]) -> u64 {
    let mut child = home.command(arguments).spawn().unwrap();
    let mut peak = 0;
    let status = loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        peak = peak.max(line.map_or(0, |line| line.split_whitespace().next().unwrap().parse::<u64>().unwrap() / 1024));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{arguments:?}");
    peak
}

#[test]
fn rows_of_fifty_megabytes_take_no_more_memory_than_others() {
    let (cluster, home, name) = (cluster(), Home::new(), cluster().database());
    // Half of them as bytes, which take twice the room when they are written as text.
    cluster.sql(&name, "CREATE TABLE huge (id int PRIMARY KEY, document text, raw bytea)");
    cluster.sql(&name, "ALTER TABLE huge ALTER document SET STORAGE EXTERNAL, ALTER raw SET STORAGE EXTERNAL");
    let block = "(SELECT string_agg(md5((n * id)::text), '') FROM generate_series(1, 1638400 / 8) n)";
    for id in 1..=4 {
        let sql = format!(
            "INSERT INTO huge SELECT id, repeat({block}, 8), convert_to(repeat({block}, 4), 'UTF8') FROM (SELECT {id} AS id) one"
        );
        cluster.sql(&name, &sql);
    }
    assert_eq!(cluster.sql(&name, "SELECT length(document) FROM huge WHERE id = 1"), "52428800");
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["init"]);
    let peak = watched(&home, &["backup", "--quiet"]);
    assert!(peak < 192, "{peak} MiB");
    for sql in
        ["SELECT id, length(document), length(raw) FROM huge WHERE raw > x'00' ORDER BY id DESC", "SELECT * FROM huge"]
    {
        let peak = watched(&home, &["query", "latest", sql]);
        assert!(peak < 192, "{sql}: {peak} MiB");
    }
    let said = home.json(&["query", "latest", "SELECT sum(length(document)), sum(length(raw)) FROM huge"]);
    assert_eq!(said["rows"], serde_json::json!([[4 * 52_428_800, 4 * 26_214_400]]));
    let rows = home.ok(&["show", "latest", "db:data/public/huge.copy", "--cat"]).bytes;
    let expected =
        cluster.sql(&name, "SET bytea_output = hex; COPY (SELECT id, document, raw FROM huge ORDER BY id) TO STDOUT");
    assert!(rows == format!("{expected}\n").into_bytes());
}
