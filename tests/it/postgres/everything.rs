//! A database with everything pg_dump keeps: all of it is in a snapshot, and psql alone loads it.

use std::fs;
use std::path::Path;

use super::{backup, capture, database, paths, sequences, source_of, tables, text};
use crate::support::postgres::cluster;
use crate::support::program::Home;
use crate::support::vaults::{Lab, restore};

/// What the tests below look for. Roles belong to the whole server, which is this process's own.
pub const SCHEMA: &str = r#"
DO $$ BEGIN CREATE ROLE clerk; CREATE ROLE auditor; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
CREATE EXTENSION citext; CREATE EXTENSION hstore;
CREATE SCHEMA app; CREATE SCHEMA "odd/na%me ""x""";
COMMENT ON SCHEMA app IS 'it''s the application';
CREATE TYPE app.mood AS ENUM ('sad', 'ok'); CREATE DOMAIN app.short AS text CHECK (length(VALUE) < 100);
CREATE TABLE app.users (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, email citext UNIQUE, name app.short NOT NULL,
    loud text GENERATED ALWAYS AS (upper(name)) STORED, mood app.mood, tags hstore, prices numeric[], born date,
    seen timestamptz, raw bytea, score double precision, wait interval, doc jsonb, tree xml);
INSERT INTO app.users (email, name, mood, tags, prices, born, seen, raw, score, wait, doc, tree)
    SELECT 'u' || n || '@x.org', E'na\tme\\ ' || n || E'\nline', 'ok', hstore('a', n::text), ARRAY[n / 3.0, NULL],
        '2020-01-01'::date + n, '2020-01-01 00:00:00.123456+00'::timestamptz + n * interval '1 hour',
        decode(md5(n::text), 'hex'), n / 7.0, n * interval '1 day 2 hours', jsonb_build_object('n', n), '<a/>'
    FROM generate_series(1, 500) n;
INSERT INTO app.users (name, score, born, seen) VALUES ('nulls', 'NaN', '-infinity', 'infinity');
CREATE TABLE app.posts (a int, b text COLLATE "C", user_id bigint REFERENCES app.users DEFERRABLE, body text, PRIMARY KEY (b, a));
INSERT INTO app.posts SELECT n % 10, chr(65 + n % 26) || n, 1 + n % 500, repeat('x', n % 50) FROM generate_series(1, 3000) n;
CREATE INDEX posts_body ON app.posts (body);
CREATE TABLE app.nothing (); INSERT INTO app.nothing DEFAULT VALUES; INSERT INTO app.nothing DEFAULT VALUES;
CREATE TABLE app.keyless (x int, y text); INSERT INTO app.keyless VALUES (2, 'b'), (1, NULL), (2, 'b');
CREATE TABLE "odd/na%me ""x"""."a.b/c ""d""" ("Column ""1""" int PRIMARY KEY, "it's" text);
INSERT INTO "odd/na%me ""x"""."a.b/c ""d""" VALUES (1, '\N'), (2, NULL), (3, '\.');
CREATE TABLE app.measures (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE app.measures_20 PARTITION OF app.measures FOR VALUES FROM ('2020-01-01') TO ('2021-01-01') PARTITION BY LIST (id);
CREATE TABLE app.measures_20_1 PARTITION OF app.measures_20 FOR VALUES IN (1);
CREATE TABLE app.measures_rest PARTITION OF app.measures DEFAULT;
INSERT INTO app.measures VALUES (1, '2020-05-05'), (7, '2022-01-01'), (8, '2023-01-01');
CREATE TABLE app.base (id serial PRIMARY KEY, what text); CREATE TABLE app.child (extra text) INHERITS (app.base);
INSERT INTO app.base (what) VALUES ('base'); INSERT INTO app.child (what, extra) VALUES ('child', 'more');
CREATE UNLOGGED TABLE app.scratch (id int); INSERT INTO app.scratch VALUES (1);
CREATE SEQUENCE app.tickets INCREMENT 5 START 100; SELECT nextval('app.tickets'), nextval('app.tickets');
CREATE VIEW app.names AS SELECT name FROM app.users;
CREATE MATERIALIZED VIEW app.moods AS SELECT mood, count(*) FROM app.users GROUP BY 1;
CREATE FUNCTION app.touch() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.what := NEW.what || '!'; RETURN NEW; END $$;
CREATE TRIGGER touch BEFORE INSERT ON app.base FOR EACH ROW EXECUTE FUNCTION app.touch();
CREATE FUNCTION app.watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN END $$;
CREATE EVENT TRIGGER watch ON ddl_command_end EXECUTE FUNCTION app.watch();
ALTER TABLE app.posts ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON app.posts USING (user_id = 1);
CREATE PUBLICATION news FOR TABLE app.users;
CREATE STATISTICS app.body_stats ON a, b FROM app.posts;
GRANT SELECT ON app.users TO clerk; GRANT USAGE ON SCHEMA app TO clerk;
ALTER DEFAULT PRIVILEGES IN SCHEMA app GRANT SELECT ON TABLES TO auditor;
COMMENT ON COLUMN app.users.name IS 'who';
SELECT lo_from_bytea(4711, decode(repeat('00ff', 700000), 'hex')); SELECT lo_from_bytea(4712, '');
ALTER LARGE OBJECT 4711 OWNER TO clerk; GRANT SELECT ON LARGE OBJECT 4711 TO auditor; COMMENT ON LARGE OBJECT 4711 IS 'a picture';
"#;

fn made() -> String {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql(&name, SCHEMA);
    cluster.sql(&name, &format!("ALTER DATABASE {name} SET work_mem = '5MB'"));
    cluster.sql(&name, &format!("ALTER DATABASE {name} SET search_path = \"$user\", app"));
    cluster.sql(&name, &format!("COMMENT ON DATABASE {name} IS 'it''s all'; GRANT TEMP ON DATABASE {name} TO clerk"));
    name
}

#[test]
fn everything_is_captured_and_psql_alone_loads_it() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), made());
    let manifest = capture(&lab, &cluster.url(&name));
    assert_eq!(manifest.sources[0].skipped, []);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let to = lab.path("restored");
    assert_eq!(restore(&unlocked, &manifest, &to).unwrap().issues, []);
    let loaded = cluster.database();
    cluster.load(&loaded, &to.join("load.sql"));
    assert_loaded(&name, &loaded);
    let settings = "SELECT setconfig, shobj_description(oid, 'pg_database'), \
        (SELECT array_agg(a::text ORDER BY a::text) FROM unnest(datacl) a) FROM pg_database LEFT JOIN pg_db_role_setting ON setdatabase = oid \
        WHERE datname = current_database()";
    assert_eq!(cluster.sql(&loaded, settings), cluster.sql(&name, settings));
    assert_eq!(cluster.sql(&loaded, "SELECT count(*) FROM app.moods"), "2");
    assert_eq!(cluster.sql(&loaded, "SELECT md5(lo_get(4711)), length(lo_get(4712))").split('|').nth(1), Some("0"));
}

/// One database holds what the other does.
pub fn assert_loaded(name: &str, loaded: &str) {
    let cluster = cluster();
    let (before, after) = (cluster.dump(name, &["-s"]), cluster.dump(loaded, &["-s"]));
    assert!(before == after, "{}", first_difference(&before, &after));
    // Rows lie in the order of their keys now.
    let rows = |name: &str| {
        let dump = cluster.dump(name, &["-a"]);
        let mut lines: Vec<String> = dump.lines().map(str::to_owned).collect();
        lines.sort();
        lines.join("\n")
    };
    let (before, after) = (rows(name), rows(loaded));
    assert!(before == after, "{}", first_difference(&before, &after));
}

fn first_difference(one: &str, other: &str) -> String {
    let pairs = one.lines().zip(other.lines());
    let line = pairs.clone().position(|(one, other)| one != other);
    format!("{line:?}: {:?}", line.and_then(|line| pairs.clone().nth(line)))
}

#[test]
fn the_files_say_what_they_hold() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), made());
    let manifest = capture(&lab, &cluster.url(&name));
    let tables = tables(&lab, &manifest);
    let table = |name: &str| tables.iter().find(|table| table.name.name == name).unwrap_or_else(|| panic!("{name}"));
    let users = table("users");
    assert!(!users.columns.iter().any(|column| column.name == "loud"), "generated columns are not copied");
    assert_eq!((users.key.as_slice(), users.rows), (&["id".to_owned()][..], 501));
    assert_eq!(users.columns[3].kind, "app.mood");
    let posts = table("posts");
    assert_eq!(posts.key, ["b", "a"]);
    assert_eq!(
        posts.columns.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(),
        ["b", "a", "user_id", "body"]
    );
    assert_eq!(table("measures_20_1").root.as_ref().unwrap().shown(), "app.measures");
    assert_eq!((table("base").rows, table("child").rows, table("nothing").rows), (1, 1, 2));
    assert!(table("keyless").key.is_empty() && table("scratch").rows == 1);
    assert!(!tables.iter().any(|table| table.name.name == "measures" || table.name.name == "moods"));
    let odd = table("a.b/c \"d\"");
    assert_eq!(odd.path, "data/odd%2Fna%25me \"x\"/a.b%2Fc \"d\".copy");
    assert_eq!(text(&lab, &manifest, &odd.path), "1\t\\\\N\n2\t\\N\n3\t\\\\.\n");
    assert_eq!(text(&lab, &manifest, "data/app/keyless.copy"), "2\tb\n1\t\\N\n2\tb\n");
    let rows = text(&lab, &manifest, &posts.path);
    let keys: Vec<&str> = rows.lines().map(|row| row.split('\t').next().unwrap()).collect();
    assert!(keys.is_sorted() && rows.len() as u64 == posts.bytes && keys.len() as u64 == posts.rows);
    let tickets = sequences(&lab, &manifest).into_iter().find(|sequence| sequence.name.name == "tickets").unwrap();
    assert_eq!((tickets.last_value, tickets.is_called, tickets.increment), (105, true, 5));
    let identity =
        sequences(&lab, &manifest).into_iter().find(|sequence| sequence.name.name == "users_id_seq").unwrap();
    assert_eq!(identity.owned_by.unwrap().column, "id");
    assert!(text(&lab, &manifest, "globals.sql").contains("CREATE ROLE clerk"));
    assert!(paths(&lab, &manifest).contains(&"large-objects/4711".to_owned()));
}

#[test]
fn the_manifest_tells_of_the_database_without_opening_it() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), made());
    cluster.sql(&name, "CREATE TABLE public.alembic_version (version_num text); INSERT INTO public.alembic_version VALUES ('b2'), ('a1')");
    let manifest = capture(&lab, &cluster.url_with_password(&name));
    let database = database(&manifest);
    assert_eq!((database.engine.as_str(), database.path.is_root()), ("postgres", true));
    assert_eq!((database.rows["app.users"], database.rows["app.posts"]), (501, 3000));
    assert!(database.bytes["app.users"] > 10_000);
    let revision = database.revision.as_ref().unwrap();
    assert_eq!((revision.tool.as_str(), revision.id.as_str()), ("alembic", "a1,b2"));
    for (fact, value) in [("encoding", "UTF8"), ("collate", "C.UTF-8"), ("database", &name), ("owner", "postgres")] {
        assert_eq!(database.facts[fact], value);
    }
    for fact in ["server", "wal position", "snapshot", "duration", "size", "tables"] {
        assert!(!database.facts[fact].is_empty(), "{fact}");
    }
    assert!(database.facts["extensions"].contains("citext 1."));
    assert!(!database.facts.contains_key("in recovery"));
    let told = serde_json::to_string(&manifest).unwrap();
    assert!(!told.contains("p@ss") && !told.contains("p%40ss") && told.contains("postgres://postgres@127.0.0.1"));
}

#[test]
fn a_capture_of_what_has_not_changed_adds_nothing_and_has_the_same_listing() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), made());
    let first = capture(&lab, &cluster.url(&name));
    let second = capture(&lab, &cluster.url(&name));
    let (first, second) = (&first.sources[0], &second.sources[0]);
    assert_eq!((second.bytes_new, second.bytes), (0, first.bytes));
    assert_eq!(second.listing, first.listing);
}

#[test]
fn a_comparison_with_the_live_database_names_the_tables_that_changed() {
    let (cluster, name, home) = (cluster(), made(), Home::new());
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n", cluster.url(&name)));
    home.ok(&["init"]);
    home.ok(&["backup"]);
    let same = home.ok(&["diff", "latest", "live"]).out;
    assert!(!same.contains("db/"), "{same}");
    cluster.sql(&name, "UPDATE app.keyless SET y = 'c' WHERE x = 1");
    let changed = home.ok(&["diff", "latest", "live"]).out;
    assert!(changed.contains("data/app/keyless.copy") && !changed.contains("users"), "{changed}");
}

#[test]
fn schemas_and_rows_are_captured_as_the_configuration_chooses() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), made());
    let more = "exclude_schemas = ['odd*']\nexclude_tables = ['app.posts', 'measures_*']\nglobals = false";
    let manifest = backup(&lab, source_of(&cluster.url(&name), more)).unwrap().manifest;
    let paths = paths(&lab, &manifest);
    assert!(!paths.iter().any(|path| path.contains("odd") || path.contains("posts") || path.contains("globals")));
    let definitions = text(&lab, &manifest, "pre-data.sql");
    assert!(definitions.contains("CREATE TABLE app.posts") && !definitions.contains("odd/na"));
    let more = "schemas = ['app']\ntables = ['users']\nworkers = 1";
    let manifest = backup(&lab, source_of(&cluster.url(&name), more)).unwrap().manifest;
    let copied: Vec<String> =
        super::paths(&lab, &manifest).into_iter().filter(|path| path.ends_with(".copy")).collect();
    assert_eq!(copied, ["data/app/users.copy"]);
}

#[test]
fn configuration_tables_of_an_extension_hold_what_the_user_added() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    // As an extension of somebody's own would: made inside a script that CREATE EXTENSION runs.
    let folder = cluster.command("pg_config", "postgres").arg("--sharedir").output().unwrap().stdout;
    let folder = Path::new(std::str::from_utf8(&folder).unwrap().trim()).join("extension");
    let own = format!("strongroom_test_{}", std::process::id());
    let control = folder.join(format!("{own}.control"));
    if fs::write(&control, "default_version = '1'\nrelocatable = true\n").is_err() {
        eprintln!("{} cannot be written to: an extension of one's own cannot be installed there", folder.display());
        return;
    }
    let script = folder.join(format!("{own}--1.sql"));
    let sql = "CREATE TABLE config (id int PRIMARY KEY, standard bool, what text); INSERT INTO config VALUES (1, true, 'built in'); \
        CREATE TABLE inner_state (id int); \
        SELECT pg_extension_config_dump('config', 'WHERE NOT standard');";
    fs::write(&script, sql).unwrap();
    let made = std::panic::catch_unwind(|| {
        cluster.sql(&name, &format!("CREATE EXTENSION {own}; INSERT INTO config VALUES (2, false, 'mine'); INSERT INTO inner_state VALUES (1)"));
    });
    let manifest = made.map(|()| capture(&lab, &cluster.url(&name)));
    fs::remove_file(control).unwrap();
    fs::remove_file(script).unwrap();
    let manifest = manifest.unwrap();
    assert_eq!(text(&lab, &manifest, "data/public/config.copy"), "2\tf\tmine\n");
    let tables = tables(&lab, &manifest);
    assert_eq!(tables.len(), 1);
    assert_eq!(tables[0].condition.as_deref(), Some("WHERE NOT standard"));
}
