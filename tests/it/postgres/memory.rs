//! Rows of any length in bounded memory: the real program, watched from outside.

use std::time::Duration;

use super::captured_home;
use crate::support::postgres::cluster;
use crate::support::program::Home;

/// The most memory a running program has had, in MiB. What it says is in a file `out`.
fn watched(home: &Home, arguments: &[&str]) -> u64 {
    let out = std::fs::File::create(home.path("out")).unwrap();
    let mut child = home.command(arguments).stdout(out).spawn().unwrap();
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

#[test]
fn a_live_table_is_gone_through_in_little_memory() {
    let (home, name) = captured_home("CREATE TABLE t (id int PRIMARY KEY, memo text)");
    cluster().sql(&name, "INSERT INTO t SELECT n, repeat(md5(n::text), 10) FROM generate_series(1, 400000) n");
    for (sql, expected) in [
        ("SELECT count(*), sum(length(memo)) FROM live.t", serde_json::json!([[400_000, 128_000_000]])),
        (
            "SELECT count(*), max(length(memo)) FROM (SELECT * FROM live.t ORDER BY id)",
            serde_json::json!([[400_000, 320]]),
        ),
        ("SELECT id, length(memo) FROM live.t WHERE memo > 'f' LIMIT 1 OFFSET 20000", serde_json::Value::Null),
    ] {
        let peak = watched(&home, &["--json", "query", "latest", sql]);
        assert!(peak < 64, "{sql}: {peak} MiB");
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(home.path("out")).unwrap()).unwrap();
        assert!(expected.is_null() || said["rows"] == expected, "{sql}: {said}");
    }
}

#[test]
fn every_row_that_differs_is_written_and_none_is_held() {
    let (home, name) = captured_home(
        "CREATE TABLE t (k text COLLATE \"C\" PRIMARY KEY, n int); CREATE TABLE u (id int PRIMARY KEY);
         INSERT INTO t SELECT (SELECT string_agg(md5((n * 100 + m)::text), '') FROM generate_series(1, 30) m), 0 FROM generate_series(1, 80000) n",
    );
    cluster().sql(&name, "UPDATE t SET n = 1; INSERT INTO u VALUES (1)");
    for sides in [["latest", "live"], ["latest~1", "latest"]] {
        let peak = watched(&home, &["--json", "diff", sides[0], sides[1], "--table", "t"]);
        let said: serde_json::Value = serde_json::from_slice(&std::fs::read(home.path("out")).unwrap()).unwrap();
        let [table] = &said["databases"][0]["tables"].as_array().unwrap()[..] else { panic!("other tables, too") };
        assert_eq!((&table["name"], &table["changed"]), (&"t".into(), &80_000.into()));
        let rows = table["rows"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[79_999]["columns"]), (80_000, &serde_json::json!(["n"])));
        // Rows are told as rows, and not as the files they are kept in.
        assert!(said["changes"].as_array().unwrap().iter().all(|change| change["path"] != "data"));
        println!("{sides:?}: {peak} MiB");
        assert!(peak < 144, "{sides:?}: {peak} MiB");
        home.ok(&["backup", "--quiet"]);
    }
}
