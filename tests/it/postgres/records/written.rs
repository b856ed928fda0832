//! Records written down as statements, and run by psql in another database.

use super::*;
use crate::support::program::Home;

/// Every kind of value that is written in a way of its own, under names that have to be quoted.
const SCHEMA: &str = r#"
    CREATE SCHEMA "Odd ""schema"; CREATE TYPE mood AS ENUM ('sad', 'it''s \ glad');
    CREATE TABLE "Odd ""schema"."T 1" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, "select" text, raw bytea, paid boolean,
        born date, seen timestamptz, at timestamp, gap interval, doc json, docb jsonb, ratio float8, small real, amount numeric(30, 10),
        list text[], deep int[][], moods mood[], m mood, code uuid, padded char(5), x xml, cash money, bits bit varying(9), ip inet, r int4range,
        twice bigint GENERATED ALWAYS AS (length("select") * 2) STORED);
    CREATE TABLE plain (id int PRIMARY KEY, parent bigint REFERENCES "Odd ""schema"."T 1", up int REFERENCES plain DEFERRABLE);
    INSERT INTO "Odd ""schema"."T 1" ("select", raw, paid, born, seen, at, gap, doc, docb, ratio, small, amount, list, deep, moods, m, code, padded, x, cash, bits, ip, r)
        VALUES (E'it''s \\n a "word"\n\twith ü and \\', '\x00ff5c27', true, '0044-03-15 BC', '2024-01-01 12:00:00.123456+02', 'infinity',
            '-1 year -2 days +03:04:05.6', '{"a": "\\ '' \u00e9"}', '{"b": [1, null]}', 'NaN', 0.1, -123456789.0123456789,
            ARRAY['a,b', '"q"', '\', NULL, ''], '{{1,2},{3,4}}', ARRAY['it''s \ glad', 'sad']::mood[], 'sad',
            'c4ca4238-a0b9-2382-0dcc-509a6f75849b', 'ab', '<a b="1">&amp;</a>', -12.5, B'0101', '10.0.0.1/8', '[1,5)'),
        ('', '', false, 'infinity', '-infinity', '2024-02-29 23:59:59', '0', 'null', 'null', '-Infinity', 'Infinity', 'NaN', '{}', NULL, '{}', NULL, NULL, '', '', 0, '', '::1', 'empty'),
        (NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 1e300, 1e-30, 0, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
    INSERT INTO "Odd ""schema"."T 1" ("select", list) VALUES (E'one\r\ntwo\r\r\nthree\r', ARRAY[E'a\r\nb']);
    INSERT INTO plain VALUES (1, 1, NULL), (2, NULL, 1), (3, 3, 2);
"#;

#[test]
fn statements_run_in_psql_give_every_value_again() {
    let (cluster, home) = (cluster(), Home::new());
    let (name, other) = (cluster.database(), cluster.database());
    cluster.sql(&name, SCHEMA);
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["backup", "--quiet"]);
    home.write("schema.sql", cluster.dump(&name, &["--schema-only"]));
    cluster.load(&other, &home.path("schema.sql"));
    home.ok(&["recover", "latest", "--table", "Odd \"schema.T 1", "--where", "1 = 1", "--export", "sql", "out"]);
    let written = std::fs::read_to_string(home.path("out/records.sql")).unwrap();
    assert!(written.contains("OVERRIDING SYSTEM VALUE") && !written.contains("twice"), "{written}");
    assert!(written.contains("'\\x00ff5c27'") && written.contains(", true, "), "{written}");
    // Whatever the database itself says of backslashes and dates.
    cluster.sql(&other, &format!("ALTER DATABASE {other} SET standard_conforming_strings = off; ALTER DATABASE {other} SET DateStyle = 'SQL, DMY'"));
    cluster.load(&other, &home.path("out/records.sql"));
    cluster.sql(&other, &format!("ALTER DATABASE {other} RESET ALL"));
    // What was written first is of no matter.
    for table in ["\"Odd \"\"schema\".\"T 1\"", "plain"] {
        let rows = |name: &str| cluster.sql(name, &format!("SELECT * FROM {table} ORDER BY id"));
        let expected = rows(&name);
        assert!(expected.lines().count() >= 3);
        assert_eq!(rows(&other), expected);
    }
}

#[test]
fn a_file_that_is_not_there_is_not_made_for_tables_of_a_server_and_that_is_said() {
    let (cluster, home) = (cluster(), Home::new());
    let name = cluster.database();
    cluster.sql(&name, "CREATE TABLE plain (id int PRIMARY KEY); INSERT INTO plain VALUES (1)");
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["backup", "--quiet"]);
    let said = home.fails(2, &["recover", "latest", "plain", "1", "--into", "x.db"]);
    assert!(said.contains("x.db is not there") && said.contains("hint: make it with its tables first"), "{said}");
    assert!(!home.path("x.db").exists());
}
