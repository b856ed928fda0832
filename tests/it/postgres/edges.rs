//! Values at the edges of their types: through a snapshot and back into a server.

use super::restore::{assert_same, home_of};
use crate::support::postgres::cluster;

/// Every type that goes in by another way than as text, with all that is special about its values.
const EDGES: &str = r#"
CREATE TYPE mood AS ENUM ('sad', 'it''s ok'); CREATE DOMAIN money2 AS numeric(12, 2) CHECK (VALUE > -1000);
CREATE TABLE edges (id int PRIMARY KEY, small smallint, big bigint, number oid, yes boolean, single real, double double precision,
    exact numeric, rounded numeric(10, 3), price money2, word text, short varchar(5), padded char(4), plain json, doc jsonb,
    raw bytea, name uuid, day date, at timestamp, here timestamptz(3), feeling mood);
INSERT INTO edges (id) VALUES (0);
INSERT INTO edges VALUES
    (-2147483648, -32768, -9223372036854775808, 0, false, '-0', '-0', 0, 0, -999.99, '', '', '', 'null', 'null', '',
     '00000000-0000-0000-0000-000000000000', '-infinity', '-infinity', '-infinity', 'sad'),
    (2147483647, 32767, 9223372036854775807, 4294967295, true, 'NaN', 'NaN', 'NaN', 'NaN', 0.01, E'tab\tline\nback\\r\r\b\f\v',
     E'\\N', 'ä', '{"a":  1}', '{"b": "\\", "a": [1, 2.50]}', '\x00ff5c090a', 'ffffffff-ffff-ffff-ffff-ffffffffffff', 'infinity',
     'infinity', 'infinity', 'it''s ok'),
    (1, 1, -1, 1, true, 1.1, 0.1, '-0.00001234500', 1.5, 1, E'\\.', 'ß', ' x', '[]', '[]', '\xdeadbeef',
     'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '0001-01-01', '0001-01-01 00:00:00', '1969-12-31 23:59:59.999', 'sad'),
    (2, 2, 2, 2, false, '3.4028235e38', '1.7976931348623157e308', 1e100, 9999999.999, 9999999999.99, 'x', 'x', 'xxxx', '1', '1',
     '\x', gen_random_uuid(), '9999-12-31', '9999-12-31 23:59:59.999999', '2000-02-29 12:00:00', 'sad'),
    (3, 3, 3, 3, NULL, '1e-45', '5e-324', 10000000.00010000, -0.001, NULL, 'x', 'x', 'x', '2', '2', NULL, NULL, '1999-12-31',
     '2000-01-01 00:00:00.000001', '1999-12-31 23:59:59.999', NULL);
INSERT INTO edges (id, single, double, exact) SELECT n, random() * 1e-20, exp(random() * 600 - 300), random()::numeric * 10 ^ (n % 40 - 20)
    FROM generate_series(10, 3000) n;
INSERT INTO edges (id, exact) VALUES (5, 'infinity');
CREATE TABLE ancient (id int PRIMARY KEY, day date, at timestamp);
INSERT INTO ancient SELECT n, '2000-01-01'::date - n, '2000-01-01'::timestamp - n * interval '1 day' FROM generate_series(1, 2000) n;
INSERT INTO ancient VALUES (-1, '0044-03-15 BC', '0044-03-15 12:00 BC'), (-2, '12345-01-01', '12345-01-01 00:00');
CREATE TABLE long_rows (id int PRIMARY KEY, word text);
INSERT INTO long_rows SELECT n, repeat('x', CASE n WHEN 500 THEN 5000000 ELSE 10 END) FROM generate_series(1, 1000) n;
"#;

#[test]
fn values_at_the_edges_of_their_types_come_back_and_rows_need_no_vacuum() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql(&name, EDGES);
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let report = &home.json(&["restore", "latest", "db", "--to", &cluster.url("edges_new")])["report"];
    assert_eq!(report["checked"], 3);
    assert_same(cluster, &name, "edges_new");
    // Written as if they had always been there; what was given up half way has left nothing.
    cluster.sql("edges_new", "CREATE EXTENSION pageinspect");
    let thawed = "SELECT count(*), count(*) FILTER (WHERE t_infomask & 768 <> 768) \
        FROM generate_series(0, pg_relation_size('TABLE') / 8192 - 1) n, heap_page_items(get_raw_page('TABLE', n::int))";
    for (table, rows) in [("edges", 2998), ("ancient", 2002), ("long_rows", 1000)] {
        assert_eq!(cluster.sql("edges_new", &thawed.replace("TABLE", table)), format!("{rows}|0"), "{table}");
    }
}
