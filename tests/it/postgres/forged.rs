//! Snapshots that somebody forged, and databases whose owner means harm: nothing of them is ever a command.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use strongroom::base::capture::{Capture, EntrySink};
use strongroom::base::control::Control;
use strongroom::base::database::Database;
use strongroom::base::error::Explain;
use strongroom::base::path::EntryPath;
use strongroom::engine::postgres::restore::{ReadBack, What};
use strongroom::engine::postgres::settings::Settings;
use strongroom::format::manifest::Manifest;
use strongroom::ops::backup::Planned;
use strongroom::ops::error::OpError;
use strongroom::ops::restore;
use strongroom::ops::restore::server::{self, Request};
use strongroom::ops::show::Part;
use strongroom::source::files::{FilesOptions, FilesSource};
use strongroom::source::{Source, SourceError};

use super::restore::{assert_same, home_of, made_by_us};
use super::{backup, capture, source_of, text};
use crate::support::postgres::{Cluster, cluster};
use crate::support::vaults::{self, Lab};

/// A folder that a snapshot calls a captured database.
#[derive(Debug)]
struct Forged(FilesSource);

impl Source for Forged {
    fn kind(&self) -> &'static str {
        "postgres"
    }

    fn root(&self) -> String {
        "postgres://me@nowhere:5432/app".to_owned()
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        self.0.capture(capture, sink)?;
        sink.database(Database {
            path: EntryPath::root(),
            engine: "postgres".to_owned(),
            rows: BTreeMap::new(),
            bytes: BTreeMap::new(),
            revision: None,
            damage: None,
            facts: BTreeMap::from([("encoding".to_owned(), "UTF8".to_owned())]),
        });
        Ok(())
    }

    fn estimate(&self, _: &Control) {}
}

fn forged(lab: &Lab, folder: &Path) -> Manifest {
    let options = FilesOptions { path: folder.to_owned(), ..FilesOptions::default() };
    let source = Box::new(Forged(FilesSource::new(options).unwrap()));
    backup(lab, Planned { name: "db".parse().unwrap(), source }).unwrap().manifest
}

fn into(lab: &Lab, manifest: &Manifest, url: &str, clean: bool) -> Result<server::Report, OpError> {
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    let to = Settings::of_url(url, &|_| None).unwrap();
    let (what, read_back, control) = (What::default(), ReadBack::Must, Arc::default());
    let request = Request { part: None, to, what, clean, workers: Some(2), read_back, homes: None, control };
    server::restore(&unlocked, manifest, &request)
}

/// A captured database as files, which a forger goes on from.
fn honest(lab: &Lab, to: &str) -> PathBuf {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(&name, "CREATE TABLE t (id int PRIMARY KEY, x text); INSERT INTO t VALUES (1, 'one'), (2, 'two')");
    let manifest = capture(lab, &cluster.url(&name));
    let folder = lab.path(to);
    let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
    assert_eq!(vaults::restore(&unlocked, &manifest, &folder).unwrap().issues, []);
    folder
}

/// The path of a file that is there once something hostile was run, by psql or by the server.
fn mark(cluster: &Cluster) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    cluster.folder().join(format!("ran-{}", COUNT.fetch_add(1, Ordering::Relaxed)))
}

/// The text without what keeps psql from running commands: a forger leaves that out.
fn open(text: &str) -> String {
    let kept = |line: &&str| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict");
    text.lines().filter(kept).map(|line| format!("{line}\n")).collect()
}

/// Definitions that run something if anybody lets them.
const HOSTILE: [&str; 22] = [
    "\\! touch MARK",
    "\\o |cat > MARK\nSELECT 1;\n\\o",
    "\\copy public.t TO PROGRAM 'touch MARK'",
    "SELECT 1 \\g |cat > MARK",
    "SELECT 'x' AS x \\gset\n\\setenv A b\n\\! touch MARK",
    "COPY public.t FROM stdin;\n3\tthree\n\\.\n\\! touch MARK",
    "COPY public.t FROM stdin;\n\\! touch MARK\n\\.",
    "COPY public.t TO PROGRAM 'touch MARK';",
    "copy (select 1) to program 'touch MARK';",
    "DO $$ BEGIN EXECUTE 'COPY (SELECT 1) TO PROGRAM ''touch MARK'''; END $$;",
    "/* a */ COPY (SELECT 1) TO PROGRAM 'touch MARK';",
    "COMMENT ON TABLE public.t IS U&'a\\'; COPY (SELECT 1) TO PROGRAM 'touch MARK'; --';",
    "COMMENT ON TABLE public.t IS E'a'\n'b\\'; COPY (SELECT 1) TO PROGRAM $q$touch MARK$q$; --';\nCOPY (SELECT 1) TO PROGRAM 'touch MARK';",
    "COMMENT ON TABLE public.t IS $1$ $1$; COPY (SELECT 1) TO PROGRAM 'touch MARK';",
    "COMMENT ON TABLE public.t IS 'a' /* */*/ '; COPY (SELECT 1) TO PROGRAM 'touch MARK'; -- ' */;",
    "SET standard_conforming_strings = off;\nCOMMENT ON TABLE public.t IS 'a\\'';\nCOPY (SELECT 1) TO PROGRAM 'touch MARK'; --';",
    "-- a comment\r\\! touch MARK",
    "CREATE FUNCTION public.f() RETURNS int LANGUAGE sql BEGIN ATOMIC; SELECT 1; END;\nCOPY (SELECT 1) TO PROGRAM 'touch MARK';",
    "SELECT pg_catalog.set_config('search_path', (SELECT pg_catalog.lo_export(pg_catalog.lo_from_bytea(0, 'x'), 'MARK'))::text, false);",
    "CREATE DATABASE strongroom_forged;",
    "CREATE ROLE strongroom_forged SUPERUSER;",
    "ALTER SYSTEM SET work_mem = '7MB';",
];

#[test]
fn a_forged_snapshot_restores_nothing_and_runs_nothing() {
    let (cluster, lab) = (cluster(), Lab::in_memory());
    let folder = honest(&lab, "files");
    let original = |file: &str| fs::read_to_string(folder.join(file)).unwrap();
    let target = cluster.url("forged_new");
    // As it is, it can be restored.
    into(&lab, &forged(&lab, &folder), &target, false).unwrap();
    assert_eq!(cluster.sql("forged_new", "SELECT string_agg(x, ',' ORDER BY id) FROM t"), "one,two");
    cluster.sql("postgres", "DROP DATABASE forged_new");
    for file in ["pre-data.sql", "post-data.sql", "database.sql"] {
        let text = original(file);
        for hostile in HOSTILE {
            let mark = mark(cluster);
            let hostile = hostile.replace("MARK", mark.to_str().unwrap());
            fs::write(folder.join(file), format!("{}{hostile}\n", open(&text))).unwrap();
            let done = into(&lab, &forged(&lab, &folder), &target, false);
            assert!(!mark.exists(), "{file}: {hostile}");
            let error = done.map(|_| ()).expect_err(&hostile);
            assert!(!error.to_string().contains('\n'), "{error:?}");
            assert_eq!(made_by_us(cluster), Vec::<String>::new(), "{file}: {hostile}");
            let left = "SELECT count(*) FROM pg_database WHERE datname ~ 'forged'; SELECT count(*) FROM pg_roles WHERE rolname ~ 'forged'";
            assert_eq!(cluster.sql("postgres", left), "0\n0", "{file}: {hostile}");
        }
        fs::write(folder.join(file), text).unwrap();
    }
}

#[test]
fn a_forged_file_that_psql_would_obey_is_told_of_when_it_is_restored_to_a_folder() {
    let lab = Lab::in_memory();
    let folder = honest(&lab, "files");
    let told = |number: u32| {
        let manifest = forged(&lab, &folder);
        let unlocked = lab.unlock(&lab.store, &lab.folders).unwrap();
        // By its name: of a database without tables it is asked whether it is meant.
        let parts = vec![Part { source: Some("db".to_owned()), path: EntryPath::root() }];
        let to = lab.path(&format!("out-{number}"));
        let request = restore::Request { parts, to, numeric_ids: false, control: Arc::default() };
        let report = restore::restore(&unlocked, &manifest, &request).unwrap();
        report.issues.into_iter().map(|issue| issue.path).collect::<Vec<_>>()
    };
    assert_eq!(told(0), Vec::<String>::new());
    for (number, file) in
        ["globals.sql", "pre-data.sql", "post-data.sql", "database.sql", "load.sql"].iter().enumerate()
    {
        let text = fs::read_to_string(folder.join(file)).unwrap();
        fs::write(folder.join(file), format!("{text}\\! true\n")).unwrap();
        assert_eq!(told(1 + number as u32), [*file]);
        fs::write(folder.join(file), text).unwrap();
    }
}

#[test]
fn what_keeps_psql_from_running_commands_cannot_be_undone_by_a_snapshot() {
    let (cluster, lab) = (cluster(), Lab::in_memory());
    let folder = honest(&lab, "files");
    let text = fs::read_to_string(folder.join("pre-data.sql")).unwrap();
    let word = text.lines().find_map(|line| line.strip_prefix("\\restrict ")).unwrap_or("none").to_owned();
    let mark = mark(cluster);
    let (inside, again) = (format!("\\unrestrict {word}\n"), format!("\\restrict {word}\n"));
    let run = format!("\\! touch {}\n", mark.display());
    for forged_text in [
        text.replacen("CREATE TABLE", &format!("{inside}{run}CREATE TABLE"), 1),
        text.replacen("CREATE TABLE", &format!("{inside}{again}CREATE TABLE"), 1),
        format!("{}{inside}{run}", open(&text)),
        format!("{inside}{}", open(&text)),
        format!("{text}{again}{inside}"),
        format!("{text}CREATE TABLE public.more ();\n"),
        format!("\\restrict a;b\n{}\\unrestrict a;b\n", open(&text)),
    ] {
        fs::write(folder.join("pre-data.sql"), &forged_text).unwrap();
        into(&lab, &forged(&lab, &folder), &cluster.url("forged_open"), false).map(|_| ()).expect_err(&forged_text);
        assert!(!mark.exists(), "{forged_text}");
    }
}

#[test]
fn a_role_that_replaces_what_is_in_a_database_runs_nothing_of_a_forged_snapshot_either() {
    let (cluster, lab) = (cluster(), Lab::in_memory());
    let folder = honest(&lab, "files");
    let name = cluster.database();
    cluster.sql("postgres", "CREATE ROLE lodger LOGIN");
    cluster.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO lodger"));
    cluster.sql(&name, "SET ROLE lodger; CREATE TABLE precious (id int); INSERT INTO precious VALUES (1)");
    let url = cluster.url(&name).replace("postgres@", "lodger@");
    let text = open(&fs::read_to_string(folder.join("pre-data.sql")).unwrap()).replace("postgres", "lodger");
    for hostile in &HOSTILE[..7] {
        let mark = mark(cluster);
        let hostile = hostile.replace("MARK", mark.to_str().unwrap());
        fs::write(folder.join("pre-data.sql"), format!("{text}{hostile}\n")).unwrap();
        into(&lab, &forged(&lab, &folder), &url, true).map(|_| ()).expect_err(&hostile);
        assert!(!mark.exists(), "{hostile}");
        assert_eq!(cluster.sql(&name, "SELECT id FROM precious"), "1");
    }
    fs::write(folder.join("pre-data.sql"), &text).unwrap();
    into(&lab, &forged(&lab, &folder), &url, true).unwrap();
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM t"), "2");
}

#[test]
fn what_a_forged_list_says_of_tables_is_never_a_command() {
    let (cluster, lab) = (cluster(), Lab::in_memory());
    let folder = honest(&lab, "files");
    let list = fs::read_to_string(folder.join("tables.jsonl")).unwrap();
    let mark = mark(cluster);
    let program = format!("TO PROGRAM 'touch {}' --", mark.display());
    for (field, value) in [
        ("condition", format!("WHERE true) {program}")),
        ("path", format!("data/public/t.copy' {program}")),
        ("name", format!("t\" {program}")),
        ("schema", format!("public\".t {program}")),
    ] {
        let mut table: serde_json::Value = serde_json::from_str(list.trim()).unwrap();
        table[field] = value.into();
        fs::write(folder.join("tables.jsonl"), format!("{table}\n")).unwrap();
        let done = into(&lab, &forged(&lab, &folder), &cluster.url("forged_list"), false);
        assert!(!mark.exists(), "{field}: {done:?}");
        cluster.sql("postgres", "DROP DATABASE IF EXISTS forged_list");
    }
}

/// Names, texts and bodies that look like commands as soon as somebody takes them for lines.
fn hostile_database(cluster: &Cluster, mark: &Path) -> String {
    let name = cluster.database();
    let run = format!("\n\\! touch {}\n", mark.display());
    let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    let (table, column, schema) = (quoted(&format!("x{run}")), quoted("c\r\\! true"), quoted("s\n\\q\n"));
    cluster.sql(
        &name,
        &format!(
            "CREATE SCHEMA {schema}; \
             CREATE TABLE {schema}.{table} (id serial PRIMARY KEY, {column} text, \"a\"\"b;--\" text DEFAULT E'\\\\; '';{run}'); \
             INSERT INTO {schema}.{table} ({column}) VALUES (E'\\\\.'), (E'{run}'), (NULL); \
             COMMENT ON TABLE {schema}.{table} IS E'{run}\\\\unrestrict x\\n--\\n-- Name: y; Type: TABLE\\n--\\nDROP TABLE z;'; \
             CREATE FUNCTION lines() RETURNS text LANGUAGE plpgsql AS $f$ DECLARE x text; BEGIN /*{run}*/ RETURN $q$ ; '\" $q$; END $f$; \
             CREATE FUNCTION atomic(n int) RETURNS int LANGUAGE sql BEGIN ATOMIC SELECT 1; SELECT CASE WHEN $1 > 0 THEN 2 ELSE 3 END; END; \
             CREATE VIEW {schema}.{column} AS SELECT E'{run}'::text AS {table}; \
             CREATE TABLE many (a int, b int); \
             CREATE RULE twofold AS ON INSERT TO many DO ALSO (DELETE FROM many WHERE a = 1; DELETE FROM many WHERE b = 2); \
             CREATE INDEX {table} ON many (a) WHERE b::text <> E'{run}'; \
             CREATE TYPE {schema}.mood AS ENUM (E'{run}', ';'); \
             SELECT lo_from_bytea(5, E'\\\\x00')"
        ),
    );
    cluster.sql(&name, &format!("ALTER DATABASE {name} SET search_path = {schema}, \"$user\", {table}"));
    cluster.sql(&name, &format!("COMMENT ON DATABASE {name} IS E'{run}'"));
    name
}

#[test]
fn names_and_texts_that_look_like_commands_are_captured_and_restored_exactly() {
    let cluster = cluster();
    let mark = mark(cluster);
    let name = hostile_database(cluster, &mark);
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let report = &home.json(&["restore", "latest", "db", "--to", &cluster.url("hostile_new")])["report"];
    assert_eq!(report["checked"], report["tables"]);
    assert_same(cluster, &name, "hostile_new");
    // psql takes the files for what they are, too.
    home.ok(&["restore", "latest", "--to", "out"]);
    let loaded = cluster.database();
    cluster.load(&loaded, &home.path("out/load.sql"));
    assert_same(cluster, &name, &loaded);
    assert!(!mark.exists(), "something was run");
}

#[test]
fn a_database_whose_catalog_speaks_to_psql_is_not_captured() {
    let (cluster, lab, name) = (cluster(), Lab::in_memory(), cluster().database());
    let mark = mark(cluster);
    cluster.sql(&name, "CREATE VIEW v AS SELECT 1 AS a");
    // Its superuser may make the server say whatever he wants. What psql is to end a dump with was once a digest of all
    // but this line, which a first capture told him.
    let say = |word: &str| {
        let text = format!(" SELECT 1 AS a;\n\\unrestrict {word}\n\\! touch {}\nSELECT 1", mark.display());
        cluster.sql(
            &name,
            &format!("CREATE OR REPLACE FUNCTION pg_catalog.pg_get_viewdef(oid) RETURNS text LANGUAGE sql STABLE AS $x$ SELECT $y${text}$y$::text $x$"),
        );
        backup(&lab, source_of(&cluster.url(&name), "")).map(|report| report.manifest)
    };
    for _ in 0..2 {
        let word = match say("nothing") {
            Err(error) => {
                assert!(error.hint().is_some() && error.to_string().contains("psql"), "{error}");
                continue;
            }
            Ok(manifest) => text(&lab, &manifest, "pre-data.sql"),
        };
        let word = word.lines().find_map(|line| line.strip_prefix("\\restrict ")).unwrap().to_owned();
        let Ok(manifest) = say(&word) else { continue };
        let done = into(&lab, &manifest, &cluster.url("spoken_new"), false);
        assert!(!mark.exists(), "it was run: {done:?}");
        panic!("it was captured: {done:?}");
    }
}

/// What the fixture has nothing of: the other kinds of definitions that pg_dump writes.
const RARE: &str = r#"
    DO $$ BEGIN CREATE ROLE grantor; CREATE ROLE grantee; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
    CREATE SCHEMA rare; CREATE TABLE rare.t (id int, j jsonb); GRANT SELECT ON rare.t TO grantor WITH GRANT OPTION;
    GRANT USAGE ON SCHEMA rare TO grantor; SET ROLE grantor; GRANT SELECT ON rare.t TO grantee; RESET ROLE;
    CREATE TYPE rare.shell; CREATE TYPE rare.pair AS (a int, b text); CREATE TABLE rare.typed OF rare.pair;
    CREATE TYPE rare.span AS RANGE (subtype = float8, multirange_type_name = rare.spans);
    CREATE TEXT SEARCH DICTIONARY rare.d (TEMPLATE = simple, STOPWORDS = english, ACCEPT = false);
    CREATE TEXT SEARCH TEMPLATE rare.tt (INIT = dsimple_init, LEXIZE = dsimple_lexize);
    CREATE TEXT SEARCH PARSER rare.p (START = prsd_start, GETTOKEN = prsd_nexttoken, END = prsd_end, LEXTYPES = prsd_lextype, HEADLINE = prsd_headline);
    CREATE TEXT SEARCH CONFIGURATION rare.c (PARSER = pg_catalog.default);
    ALTER TEXT SEARCH CONFIGURATION rare.c ADD MAPPING FOR asciiword WITH rare.d, simple;
    CREATE CONVERSION rare.conv FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE DEFAULT CONVERSION rare.usual FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE FOREIGN DATA WRAPPER w OPTIONS (a 'it''s'); CREATE SERVER s FOREIGN DATA WRAPPER w OPTIONS (b ';');
    CREATE USER MAPPING FOR PUBLIC SERVER s OPTIONS (c 'd'); GRANT USAGE ON FOREIGN SERVER s TO grantee;
    GRANT USAGE ON FOREIGN DATA WRAPPER w TO grantee; CREATE FOREIGN TABLE rare.far (id int OPTIONS (x 'y')) SERVER s OPTIONS (q 'r');
    CREATE ACCESS METHOD heap2 TYPE TABLE HANDLER heap_tableam_handler;
    CREATE FUNCTION rare.lt(rare.pair, rare.pair) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a < ($2).a';
    CREATE FUNCTION rare.cmp(rare.pair, rare.pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a - ($2).a';
    CREATE OPERATOR rare.<< (LEFTARG = rare.pair, RIGHTARG = rare.pair, FUNCTION = rare.lt, RESTRICT = scalarltsel);
    CREATE OPERATOR FAMILY rare.f USING btree;
    CREATE OPERATOR CLASS rare.oc FOR TYPE rare.pair USING btree FAMILY rare.f AS OPERATOR 1 rare.<<, FUNCTION 1 rare.cmp(rare.pair, rare.pair);
    ALTER OPERATOR FAMILY rare.f USING btree ADD OPERATOR 1 <(int, bigint), FUNCTION 1 btint48cmp(int, bigint);
    CREATE FUNCTION rare.cast(rare.pair) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1).a';
    CREATE CAST (rare.pair AS int) WITH FUNCTION rare.cast(rare.pair) AS ASSIGNMENT;
    CREATE FUNCTION rare.hyp(internal) RETURNS internal LANGUAGE internal IMMUTABLE AS 'jsonb_subscript_handler';
    CREATE TRANSFORM FOR rare.pair LANGUAGE sql (FROM SQL WITH FUNCTION rare.hyp(internal));
    CREATE AGGREGATE rare.most(anyarray) (SFUNC = array_larger, STYPE = anyarray, SORTOP = >);
    CREATE PROCEDURE rare.p(INOUT a int DEFAULT CASE WHEN true THEN 1 END) LANGUAGE sql BEGIN ATOMIC SELECT CASE WHEN a > 0 THEN 1 END; SELECT 2; END;
    GRANT USAGE ON TYPE rare.pair TO grantee;
    CREATE RECURSIVE VIEW rare.r (n) AS VALUES (1) UNION ALL SELECT n + 1 FROM r WHERE n < 5;
    CREATE VIEW rare.checked WITH (security_barrier) AS SELECT * FROM rare.t WHERE id > 0 WITH LOCAL CHECK OPTION;
    ALTER VIEW rare.checked ALTER COLUMN id SET DEFAULT 7;
    CREATE VIEW rare.one AS SELECT 1 AS a; CREATE VIEW rare.two AS SELECT a FROM rare.one; CREATE OR REPLACE VIEW rare.one AS SELECT a FROM (SELECT 1 AS a) x;
    CREATE FUNCTION rare.fired() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
    CREATE CONSTRAINT TRIGGER later AFTER INSERT ON rare.t DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION rare.fired('a;', E'b\\');
    CREATE TRIGGER changed AFTER UPDATE ON rare.t REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION rare.fired();
    ALTER TABLE rare.t ENABLE ALWAYS TRIGGER changed; ALTER TRIGGER changed ON rare.t DEPENDS ON EXTENSION plpgsql;
    CREATE RULE quiet AS ON DELETE TO rare.t WHERE old.id = 5 DO INSTEAD NOTHING; ALTER TABLE rare.t DISABLE RULE quiet;
    CREATE INDEX deep ON rare.t ((j -> 'a;')) WHERE id <> ALL (ARRAY[1, 2]); CREATE STATISTICS rare.st (ndistinct) ON id, j FROM rare.t;
    ALTER STATISTICS rare.st SET STATISTICS 99; ALTER TABLE rare.t ALTER id SET STATISTICS 5, ALTER j SET STORAGE EXTERNAL;
    CREATE SUBSCRIPTION sub CONNECTION 'host=nowhere' PUBLICATION p WITH (connect = false, slot_name = NONE); COMMENT ON SUBSCRIPTION sub IS 'a;b';
    CREATE PUBLICATION rare_news FOR TABLE rare.t (id) WHERE (id > 5);
    CREATE DOMAIN rare.positive AS int CONSTRAINT over CHECK (VALUE > 0); COMMENT ON CONSTRAINT over ON DOMAIN rare.positive IS 'x';
    CREATE DOMAIN rare.loose AS int; ALTER DOMAIN rare.loose ADD CONSTRAINT later CHECK (VALUE > 0) NOT VALID;
    COMMENT ON OPERATOR rare.<< (rare.pair, rare.pair) IS 'o'; COMMENT ON CAST (rare.pair AS int) IS 'c';
    COMMENT ON TEXT SEARCH PARSER rare.p IS 'p'; COMMENT ON ACCESS METHOD heap2 IS 'h'; COMMENT ON TRANSFORM FOR rare.pair LANGUAGE sql IS 't';
    CREATE TABLE rare.heaped (id int) USING heap2; CREATE SEQUENCE rare.small AS smallint CYCLE MAXVALUE 9;
    ALTER DEFAULT PRIVILEGES FOR ROLE grantor GRANT USAGE ON SCHEMAS TO grantee; REVOKE ALL ON SCHEMA public FROM PUBLIC;
    CREATE TABLE rare.parted (id int, x text DEFAULT 'p') PARTITION BY HASH (id);
    CREATE TABLE rare.part (x text DEFAULT 'q', id int); ALTER TABLE rare.parted ATTACH PARTITION rare.part FOR VALUES WITH (MODULUS 1, REMAINDER 0);
    CREATE TABLE rare.made (a int GENERATED BY DEFAULT AS IDENTITY, b text COMPRESSION pglz COLLATE "C" DEFAULT E'\\;''');
"#;

#[test]
fn rare_kinds_of_definitions_come_back_and_none_of_them_is_foreign() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(&name, RARE);
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    home.ok(&["restore", "latest", "db", "--to", &cluster.url("rare_new")]);
    assert_same(cluster, &name, "rare_new");
}
