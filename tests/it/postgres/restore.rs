//! Databases given back: into folders, new databases, in place; and taken back.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::support::postgres::{Cluster, PASSWORD, cluster};
use crate::support::program::Home;

/// A home whose configuration names a database, which is there already.
pub fn home_of(cluster: &Cluster, database: &str) -> Home {
    let home = Home::new();
    home.write("strongroom.toml", home_config(&cluster.url(database)));
    home
}

/// The fixture's database, with settings of its own.
fn everything(cluster: &Cluster) -> String {
    let name = cluster.database();
    cluster.load(&name, &Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/postgres/everything.sql"));
    cluster
        .sql(&name, &format!("ALTER DATABASE {name} SET work_mem = '5MB'; COMMENT ON DATABASE {name} IS 'all of it'"));
    cluster.sql(&name, &format!("ALTER ROLE clerk IN DATABASE {name} SET search_path = app, public"));
    name
}

/// Everything pg_dump says of a database but its name; and every row, in an order of its own.
fn content(cluster: &Cluster, database: &str) -> String {
    let dump = in_any_order(&cluster.dump(database, &[]));
    let rows = "SELECT c.oid::regclass, (xpath('/row/n/text()', query_to_xml(format('SELECT count(*) || ''|'' || \
        md5(coalesce(string_agg(t::text, E''\\n'' ORDER BY t::text COLLATE \"C\"), '''')) AS n FROM ONLY %s t', \
        c.oid::regclass), true, true, '')))[1]::text \
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'm') \
        AND n.nspname !~ '^pg_' AND n.nspname <> 'information_schema' AND c.relispopulated \
        AND c.relname <> 'nothing' ORDER BY c.oid::regclass::text COLLATE \"C\"";
    let rows = format!("SET row_security = off; {rows}");
    let objects = "SELECT loid, pageno, md5(data) FROM pg_largeobject ORDER BY 1, 2";
    let settings = "SELECT setrole::regrole, setconfig FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase \
        WHERE datname = current_database() ORDER BY 1; SELECT shobj_description(oid, 'pg_database'), datconnlimit, \
        encoding, datcollate, datctype, datdba::regrole FROM pg_database WHERE datname = current_database()";
    let more: Vec<String> = [rows.as_str(), objects, settings].iter().map(|sql| cluster.sql(database, sql)).collect();
    format!("{dump}\n{}", more.join("\n"))
}

/// Rows of a table that has a key come back in the key's order: within a table, theirs means nothing.
fn in_any_order(dump: &str) -> String {
    let (mut lines, mut rows, mut copies) = (Vec::new(), Vec::new(), false);
    for line in dump.lines() {
        match line {
            "\\." => {
                rows.sort_unstable();
                lines.append(&mut rows);
                copies = false;
            }
            _ if copies => rows.push(line),
            _ => copies = line.starts_with("COPY ") && line.ends_with(" FROM stdin;"),
        }
        if rows.is_empty() {
            lines.push(line);
        }
    }
    lines.join("\n")
}

pub fn assert_same(cluster: &Cluster, one: &str, other: &str) {
    let (one, other) = (content(cluster, one), content(cluster, other));
    let line = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    assert!(one == other, "{line:?} ({} and {} bytes)", one.len(), other.len());
}

fn databases(cluster: &Cluster) -> Vec<String> {
    let list = cluster.sql("postgres", "SELECT datname FROM pg_database ORDER BY 1");
    list.lines().map(str::to_owned).collect()
}

pub fn made_by_us(cluster: &Cluster) -> Vec<String> {
    databases(cluster).into_iter().filter(|name| name.contains("_strongroom_")).collect()
}

#[test]
fn a_database_with_everything_comes_back_the_same_in_a_new_one() {
    let cluster = cluster();
    let name = everything(cluster);
    let mut home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let before = content(cluster, &name);
    home.set("PGPASSWORD", PASSWORD);
    let report = &home.json(&["restore", "latest", "db", "--to", &cluster.url_over_tcp("everything_new")])["report"];
    assert_eq!(report["checked"], report["tables"]);
    assert_eq!((report["replaced"].clone(), report["large_objects"].as_u64()), (Value::Bool(false), Some(2)));
    assert!(before == content(cluster, &name), "the original is as it was");
    assert_same(cluster, &name, "everything_new");
    assert_eq!(made_by_us(cluster), Vec::<String>::new());
    // A second capture of it is the same snapshot: nothing has to be stored for its rows.
    home.write("strongroom.toml", home_config(&cluster.url("everything_new")));
    let taken = home.json(&["backup"]);
    let source = &taken["sources"][0];
    assert!(source["bytes_new"].as_u64() < source["bytes"].as_u64().map(|bytes| bytes / 5), "{source}");
}

fn home_config(url: &str) -> String {
    format!("[source.db]\nkind = \"postgres\"\nurl = \"{url}\"\n")
}

#[test]
fn psql_alone_loads_what_is_restored_to_a_folder() {
    let cluster = cluster();
    let name = everything(cluster);
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    home.ok(&["restore", "latest", "--to", "out"]);
    let loaded = cluster.database();
    cluster.load(&loaded, &home.path("out/load.sql"));
    assert_same(cluster, &name, &loaded);
}

#[test]
fn a_database_that_is_not_empty_is_only_replaced_when_asked_to() {
    let cluster = cluster();
    let (name, other) = (everything(cluster), cluster.database());
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    cluster.sql(&other, "CREATE TABLE precious (id int); INSERT INTO precious VALUES (1)");
    let url = cluster.url(&other);
    let said = home.fails(2, &["restore", "latest", "db", "--to", &url]);
    assert!(said.contains("is not empty") && said.contains("--clean"), "{said}");
    assert_eq!(cluster.sql(&other, "SELECT id FROM precious"), "1");
    let report = &home.json(&["restore", "latest", "db", "--to", &url, "--clean"])["report"];
    assert_eq!(report["replaced"], true);
    assert_same(cluster, &name, &other);
    // One that is empty is simply filled.
    let empty = cluster.database();
    assert_eq!(home.json(&["restore", "latest", "--to", &cluster.url(&empty)])["report"]["replaced"], false);
    assert_same(cluster, &name, &empty);
    assert_eq!(made_by_us(cluster), Vec::<String>::new());
}

#[test]
fn a_user_who_may_not_create_databases_replaces_what_is_in_one_in_one_transaction() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql("postgres", "CREATE ROLE tenant LOGIN PASSWORD 'secret'");
    cluster.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO tenant"));
    let mut home = Home::new();
    home.set("PGPASSWORD", "secret");
    let url = format!("postgres://tenant@127.0.0.1:{}/{name}", cluster.port());
    home.write("strongroom.toml", home_config(&url));
    let fill = "CREATE TABLE t (id serial PRIMARY KEY, x text); INSERT INTO t (x) SELECT 'x' || n FROM generate_series(1, 1000) n; \
        CREATE TABLE u (t int REFERENCES t); INSERT INTO u VALUES (5); CREATE SCHEMA more; CREATE VIEW more.v AS SELECT 1; \
        SELECT lo_from_bytea(99, 'abc')";
    cluster.sql(&name, &format!("SET ROLE tenant; {fill}"));
    let before = cluster.dump(&name, &[]);
    home.ok(&["backup"]);
    cluster.sql(
        &name,
        "SET ROLE tenant; DROP TABLE u; UPDATE t SET x = 'lost'; CREATE TABLE more.w (); SELECT lo_unlink(99)",
    );
    let refused = home.fails(1, &["restore", "latest", "--in-place", "--no-safety"]);
    assert!(refused.contains("may not create databases") && refused.contains("--clean"), "{refused}");
    home.ok(&["restore", "latest", "--to", &url, "--clean", "--no-safety"]);
    assert!(cluster.dump(&name, &[]) == before, "{}", cluster.dump(&name, &["-s"]));
    // What fails half way has changed nothing.
    cluster.sql(&name, "SET ROLE tenant; UPDATE t SET x = 'again'");
    cluster.sql(&name, "SET ROLE postgres; CREATE SCHEMA foreign_to_tenant; CREATE TABLE foreign_to_tenant.t ()");
    let after = cluster.dump(&name, &[]);
    home.fails(1, &["restore", "latest", "--to", &url, "--clean", "--no-safety"]);
    assert!(cluster.dump(&name, &[]) == after);
}

#[test]
fn what_loses_a_row_while_it_is_made_takes_nothings_place() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql("postgres", "CREATE ROLE eaten LOGIN PASSWORD 'secret'");
    cluster.sql("postgres", &format!("ALTER DATABASE {name} OWNER TO eaten"));
    let mut home = Home::new();
    home.set("PGPASSWORD", "secret");
    let url = format!("postgres://eaten@127.0.0.1:{}/{name}", cluster.port());
    home.write("strongroom.toml", home_config(&url));
    // A view that is filled again deletes what it looks at.
    let fill = "CREATE TABLE t (id int); \
        CREATE FUNCTION eat() RETURNS int LANGUAGE sql AS 'DELETE FROM public.t WHERE id = 1 RETURNING 1'; \
        CREATE MATERIALIZED VIEW hungry AS SELECT eat(); INSERT INTO t VALUES (1), (2)";
    cluster.sql(&name, &format!("SET ROLE eaten; {fill}"));
    home.ok(&["backup"]);
    cluster.sql(&name, "INSERT INTO t VALUES (3)");
    let said = home.fails(1, &["restore", "latest", "--to", &url, "--clean", "--no-safety"]);
    assert!(said.contains("public.t has not the 2 rows that were captured"), "{said}");
    assert_eq!(cluster.sql(&name, "SELECT string_agg(id::text, ',' ORDER BY id) FROM t"), "1,2,3");
}

#[test]
fn a_restore_that_is_not_read_back_says_so_and_misses_what_reading_back_finds() {
    let cluster = cluster();
    let name = cluster.database();
    // A view that is filled again deletes what it looks at.
    cluster.sql(
        &name,
        "CREATE TABLE t (id int); \
         CREATE FUNCTION eat() RETURNS int LANGUAGE sql AS 'DELETE FROM public.t WHERE id = 1 RETURNING 1'; \
         CREATE MATERIALIZED VIEW hungry AS SELECT eat(); INSERT INTO t VALUES (1), (2)",
    );
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let (eaten, unseen) = (cluster.url("eaten_new"), cluster.url("unseen_new"));
    let said = home.fails(4, &["restore", "latest", "--to", &eaten]);
    assert!(said.contains("public.t"), "{said}");
    let rewritten =
        "CREATE OR REPLACE FUNCTION eat() RETURNS int LANGUAGE sql AS 'UPDATE public.t SET id = id + 1 RETURNING 1'";
    cluster.sql(&name, rewritten);
    home.ok(&["backup"]);
    home.fails(4, &["restore", "latest", "--to", &cluster.url("rewritten_new")]);
    let said = home.ok(&["restore", "latest~1", "--to", &unseen, "--no-check"]).out;
    assert!(said.contains("2 rows") && said.contains("counted and not read back"), "{said}");
    assert_eq!(cluster.sql("unseen_new", "SELECT string_agg(id::text, ',') FROM t"), "2");
    let told = home.json(&["restore", "latest", "--to", &cluster.url("unseen_too"), "--no-check"]);
    assert_eq!(told["report"]["checked"], 0);
    home.fails(2, &["restore", "latest", "--to", "folder", "--no-check"]);
}

#[test]
fn only_definitions_only_rows_and_only_some_tables() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql(
        &name,
        "CREATE TABLE users (id serial PRIMARY KEY, name text); INSERT INTO users (name) SELECT n::text FROM generate_series(1, 50) n; \
         CREATE TABLE posts (id serial PRIMARY KEY, user_id int REFERENCES users, body text); \
         INSERT INTO posts (user_id) SELECT 1 + n % 50 FROM generate_series(1, 200) n; \
         CREATE FUNCTION shout() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW.body := 'shout'; RETURN NEW; END $$; \
         CREATE TRIGGER shout BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION shout(); \
         CREATE TRIGGER asleep BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION shout(); \
         CREATE TRIGGER ever BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION shout(); \
         CREATE TRIGGER replica BEFORE INSERT ON posts FOR EACH ROW EXECUTE FUNCTION shout(); \
         ALTER TABLE posts DISABLE TRIGGER asleep, ENABLE ALWAYS TRIGGER ever, ENABLE REPLICA TRIGGER replica; \
         CREATE TABLE a_child (user_id int REFERENCES users); INSERT INTO a_child VALUES (3)",
    );
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let to = |name: &str| cluster.url(name);
    home.ok(&["restore", "latest", "--to", &to("bare"), "--schema-only"]);
    assert_eq!(cluster.sql("bare", "SELECT count(*) FROM users"), "0");
    assert_eq!(cluster.dump("bare", &["-s"]), cluster.dump(&name, &["-s"]));
    home.ok(&["restore", "latest", "--to", &to("bare"), "--data-only"]);
    assert!(cluster.dump("bare", &[]) == cluster.dump(&name, &[]));
    let said = home.fails(2, &["restore", "latest", "--to", &to("bare"), "--data-only"]);
    assert!(said.contains("has rows already"), "{said}");
    let some = ["restore", "latest", "--to", &to("some"), "--table", "public.posts"];
    let ran = home.run(&some);
    assert_eq!((ran.code, ran.err.contains("not valid")), (3, true), "{}", ran.err);
    assert_eq!(cluster.sql("some", "SELECT (SELECT count(*) FROM posts), (SELECT count(*) FROM users)"), "200|0");
    assert_eq!(cluster.sql("some", "SELECT nextval('posts_id_seq')"), "201");
    let missing = home.fails(2, &["restore", "latest", "--to", &to("none"), "--table", "public.none"]);
    assert!(missing.contains("public.none is not in the snapshot"), "{missing}");
    assert!(!databases(cluster).contains(&"none".to_owned()));
    home.fails(2, &["restore", "latest", "--to", "folder", "--schema-only"]);
}

#[test]
fn a_database_is_given_back_in_place_while_it_is_used_and_taken_back() {
    let cluster = cluster();
    let name = everything(cluster);
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let good = content(cluster, &name);
    cluster.sql(&name, "DELETE FROM app.posts; ALTER TABLE app.users DROP COLUMN doc; CREATE TABLE app.newer (id int)");
    let spoilt = content(cluster, &name);
    // Somebody holds it open, and comes again as soon as he is sent away.
    let mut user = cluster.command("psql", &name);
    let again = "psql=$0; trap 'kill $! 2>/dev/null; exit' TERM; while :; do \"$psql\" -Xqc 'SELECT pg_sleep(60)' & wait $!; done";
    let variables: Vec<_> = user.get_envs().map(|(name, value)| (name.to_owned(), value.unwrap().to_owned())).collect();
    let program = user.get_program().to_owned();
    user = std::process::Command::new("sh");
    user.args(["-c", again]).arg(program).envs(variables);
    let mut user = user.stderr(std::process::Stdio::null()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
    rustix::process::kill_process(rustix::process::Pid::from_child(&user), rustix::process::Signal::TERM).unwrap();
    user.wait().unwrap();
    let swapped = &report["swapped"][0];
    let kept = swapped["kept"].as_str().unwrap().to_owned();
    assert!(kept.starts_with(&format!("{name}_before_")) && report["safety"].is_string(), "{report}");
    assert!(content(cluster, &name) == good);
    assert_eq!(content(cluster, &kept).lines().count(), spoilt.lines().count());
    // What was written since is not thrown away unasked.
    cluster.sql(&name, "INSERT INTO app.keyless VALUES (77, 'newer')");
    let said = home.fails(1, &["undo"]);
    assert!(said.contains("changed since") && said.contains("db/app.keyless"), "{said}");
    cluster.sql(&name, "DELETE FROM app.keyless WHERE x = 77");
    let undone = home.json(&["undo"])["report"].clone();
    assert!(content(cluster, &name) == spoilt);
    // The undo can be undone.
    home.json(&["undo", undone["action"].as_str().unwrap()]);
    assert!(content(cluster, &name) == good);
    assert_eq!(made_by_us(cluster), Vec::<String>::new());
}

#[test]
fn a_long_table_is_filled_and_read_back_in_parts_and_nothing_that_changed_is_missed() {
    let cluster = cluster();
    let name = cluster.database();
    // Longer than two parts; dates and negative numbers are no texts whose order could be mistaken.
    cluster.sql(
        &name,
        "CREATE TABLE long (day date, n int, x text, since date, PRIMARY KEY (day, n)); \
         INSERT INTO long SELECT '1999-12-30'::date + n / 100, 50 - n % 100, repeat(md5(n::text), 34) FROM generate_series(1, 70000) n; \
         UPDATE long SET since = '0044-03-15 BC' WHERE n = 1 AND day = '2000-10-01'",
    );
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    let report = home.json(&["restore", "latest", "--to", &cluster.url("long_again")])["report"].clone();
    assert_eq!((&report["rows"], &report["checked"]), (&70000.into(), &1.into()));
    // As many transactions as parts, also where a date that has no binary form makes one of them begin again.
    assert_eq!(cluster.sql("long_again", "SELECT count(DISTINCT xmin::text), min(since) FROM long"), "3|0044-03-15 BC");
    home.ok(&["restore", "latest", "--in-place"]);
    let somewhere = "(SELECT day, n FROM long ORDER BY day, n OFFSET 50000 LIMIT 1)";
    for (change, back) in [
        (
            format!("UPDATE long SET x = 'y' || substr(x, 2) WHERE (day, n) = {somewhere}"),
            format!(
                "UPDATE long SET x = substr(md5((100 * (day - '1999-12-30') + 50 - n)::text), 1, 1) || substr(x, 2) WHERE (day, n) = {somewhere}"
            ),
        ),
        ("INSERT INTO long VALUES ('2030-01-01', 1, 'z')".into(), "DELETE FROM long WHERE day = '2030-01-01'".into()),
        ("INSERT INTO long VALUES ('1970-01-01', 1, 'a')".into(), "DELETE FROM long WHERE day = '1970-01-01'".into()),
    ] {
        cluster.sql(&name, &change);
        let said = home.fails(1, &["undo"]);
        assert!(said.contains("changed since") && said.contains("db/public.long"), "{change}: {said}");
        cluster.sql(&name, &back);
    }
    home.ok(&["undo"]);
}

#[test]
fn what_is_kept_aside_is_dropped_on_demand_and_the_safety_snapshot_is_still_a_way_back() {
    let cluster = cluster();
    let name = cluster.database();
    cluster.sql(&name, "CREATE TABLE t AS SELECT 1 AS x");
    let home = home_of(cluster, &name);
    home.ok(&["backup"]);
    cluster.sql(&name, "UPDATE t SET x = 2");
    let kept =
        home.json(&["restore", "latest", "--in-place"])["report"]["swapped"][0]["kept"].as_str().unwrap().to_owned();
    assert_eq!(cluster.sql(&name, "SELECT x FROM t"), "1");
    assert!(databases(cluster).contains(&kept));
    assert_eq!(home.json(&["undo", "--forget"])["dropped"][0], kept.as_str());
    assert!(!databases(cluster).contains(&kept));
    home.fails(1, &["undo", "--forget"]);
    home.ok(&["undo"]);
    assert_eq!(cluster.sql(&name, "SELECT x FROM t"), "2");
    // Without a safety snapshot the old database is the way back.
    home.ok(&["restore", "latest", "--in-place", "--no-safety"]);
    home.ok(&["undo", "--force", "--no-safety"]);
    assert_eq!(cluster.sql(&name, "SELECT x FROM t"), "2");
    // One that is gone altogether comes back.
    cluster.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    home.ok(&["restore", "latest", "--in-place"]);
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM t"), "1");
    let folder = fs::read_dir(home.path("")).unwrap();
    assert!(folder.count() <= 2, "nothing is left in the folder of the app");
}
