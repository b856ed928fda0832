//! Tables whose rows are cut by their keys: what does not change costs nothing, and is found without reading the rest.

use std::collections::BTreeMap;

use strongroom::base::entry::Entry;
use strongroom::base::path;
use strongroom::engine::postgres::segments::Segment;
use strongroom::format::manifest::Manifest;
use strongroom::ops::show::{self, Part};

use super::{bytes, capture, tables, text};
use crate::support::postgres::cluster;
use crate::support::vaults::Lab;

const ROWS: u32 = 200_000;

pub(super) fn filled() -> String {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(
        &name,
        &format!(
            "CREATE TABLE parents (id int PRIMARY KEY); INSERT INTO parents SELECT generate_series(1, 2000);
             CREATE TABLE items (id int PRIMARY KEY, parent int REFERENCES parents, code text, price numeric, memo text);
             INSERT INTO items SELECT n, 1 + (n - 1) / 100, md5(n::text), n / 3.0, repeat(md5((n * 7)::text), 3)
             FROM generate_series(1, {ROWS}) n ORDER BY md5(n::text);
             CREATE INDEX items_code ON items (code); ANALYZE;"
        ),
    );
    name
}

fn stored(manifest: &Manifest) -> u64 {
    manifest.sources[0].bytes_stored
}

#[test]
fn updates_cost_what_they_change_and_a_table_put_in_another_order_costs_nothing() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), filled());
    let capture = || capture(&lab, &cluster.url(&name));
    let first = capture();
    // One in a hundred rows, as an application touches them: the newest.
    cluster
        .sql(&name, &format!("UPDATE items SET memo = md5(id::text || 'x') || memo WHERE id > {}", ROWS - ROWS / 100));
    let second = capture();
    let changed = cluster
        .sql(&name, &format!("COPY (SELECT * FROM items WHERE id > {} ORDER BY id) TO STDOUT", ROWS - ROWS / 100));
    let compressed = zstd::bulk::compress(changed.as_bytes(), 3).unwrap().len() as u64;
    assert!(stored(&second) < 2 * compressed + (64 << 10), "{} of {compressed}", stored(&second));
    assert!(stored(&second) * 20 < stored(&first));
    for order in ["CLUSTER items USING items_code", "VACUUM FULL items", "CLUSTER items USING items_pkey"] {
        cluster.sql(&name, order);
        let new = capture().sources[0].bytes_new;
        // By which index a table is clustered is part of its definition.
        assert!(new <= if order.starts_with("VACUUM") { 0 } else { 4096 }, "{order}: {new}");
    }
}

#[test]
fn a_table_read_in_parts_is_the_same_as_one_read_in_one_go() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    // Large enough to be split, by a key of two columns.
    let sql = "CREATE TABLE big (a int, b text COLLATE \"C\", memo text, PRIMARY KEY (b, a));
        INSERT INTO big SELECT n, 'k' || (n / 1000), repeat(md5(n::text), 8) FROM generate_series(1, 150000) n ORDER BY md5(n::text);
        ANALYZE big; CREATE TABLE small (LIKE big INCLUDING ALL); INSERT INTO small SELECT * FROM big WHERE a < 100";
    cluster.sql(&name, sql);
    let expected = cluster.sql(&name, "COPY (SELECT b, a, memo FROM big ORDER BY b, a) TO STDOUT");
    for workers in [1, 2, 5] {
        let source = super::source_of(&cluster.url(&name), &format!("workers = {workers}"));
        let manifest = super::backup(&lab, source).unwrap().manifest;
        assert!(text(&lab, &manifest, "data/public/big.copy") == format!("{expected}\n"), "{workers} workers");
        assert_eq!(tables(&lab, &manifest)[0].rows, 150_000);
    }
    let selects =
        cluster.sql(&name, "SELECT seq_scan < 20 AND idx_scan > 10 FROM pg_stat_user_tables WHERE relname = 'big'");
    assert_eq!(selects, "t", "it was not read by ranges of its key");
}

fn segments(lab: &Lab, manifest: &Manifest, path: &str) -> Vec<Segment> {
    text(lab, manifest, path).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn segments_say_where_a_row_and_its_children_are() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), filled());
    let manifest = capture(&lab, &cluster.url(&name));
    let rows = bytes(&lab, &manifest, "data/public/items.copy");
    let segments = segments(&lab, &manifest, "data/public/items.segments");
    assert!(segments.len() > 50 && segments.iter().map(|segment| segment.rows).sum::<u64>() == u64::from(ROWS));
    let mut start = 0;
    let mut holding = BTreeMap::<usize, Vec<&str>>::new();
    for (at, segment) in segments.iter().enumerate() {
        let end = start + segment.bytes as usize;
        let part = std::str::from_utf8(&rows[start..end]).unwrap();
        let keys: Vec<&str> = part.lines().map(|row| row.split('\t').next().unwrap()).collect();
        assert_eq!(segment.first.as_deref(), Some(&[keys[0].to_owned()][..]));
        assert_eq!(segment.last.as_deref(), Some(&[keys[keys.len() - 1].to_owned()][..]));
        holding.insert(at, part.lines().map(|row| row.split('\t').nth(1).unwrap()).collect());
        start = end;
    }
    assert_eq!(start, rows.len());
    for parent in ["1", "777", "2000"] {
        let admitted = segments.iter().filter(|segment| segment.filters["parent"].admits(parent)).count();
        let there = holding.values().filter(|parents| parents.contains(&parent)).count();
        assert!(there <= admitted && admitted <= there + 2, "{parent}: {admitted} for {there}");
    }
    let code = cluster.sql(&name, "SELECT code FROM items WHERE id = 4242");
    let admitted = segments.iter().filter(|segment| segment.filters["code"].admits(&code)).count();
    assert!((1..10).contains(&admitted), "{admitted} segments for a code that is in one");
}

#[test]
fn extents_end_at_rows_and_carry_their_first_key() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), filled());
    cluster.sql(
        &name,
        "CREATE TABLE keyed (a text, b int, memo text, PRIMARY KEY (a, b)); \
        INSERT INTO keyed SELECT E'\\t%' || n, n, repeat(md5(n::text), 20) FROM generate_series(1, 3000) n",
    );
    let manifest = capture(&lab, &cluster.url(&name));
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    for (table, fields) in [("items", 1), ("keyed", 2)] {
        let wanted = format!("data/public/{table}.copy");
        let rows = bytes(&lab, &manifest, &wanted);
        let mut extents = Vec::new();
        let keep = |entry: Entry| {
            if entry.path.to_string() == wanted {
                assert_eq!(entry.content.depth, 0);
                extents = entry.content.extents;
            }
            Ok(())
        };
        show::list(&unlocked, &manifest, &Part::whole(), keep).unwrap();
        let mut start = 0;
        for extent in &extents {
            let part = &rows[start..start + extent.length as usize];
            let row = part.split(|&byte| byte == b'\n').next().unwrap();
            let key = row.split(|&byte| byte == b'\t').take(fields).collect::<Vec<_>>().join(&b'\t');
            assert_eq!(extent.first.as_deref(), Some(path::encode(&key).as_str()));
            assert!(part.ends_with(b"\n") && extent.length <= 1 << 20 && extent.offset == 0);
            start += part.len();
        }
        assert!(start == rows.len() && extents.len() > 5, "{table}: {} extents", extents.len());
    }
}
