//! What the owner of a database sets it to decides nothing: whoever is connected runs no function of the owner's, and reads and
//! writes every value as it is.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::restore::home_of;
use crate::support::postgres::{Cluster, PASSWORD, cluster};
use crate::support::program::Home;

/// What psql answers whatever the database is set to.
fn plainly(cluster: &Cluster, database: &str, sql: &str) -> String {
    let mut psql = cluster.command("psql", database);
    let options = "-c search_path=pg_catalog -c statement_timeout=0 -c lock_timeout=0 -c default_transaction_read_only=off \
        -c client_encoding=UTF8 -c exit_on_error=off -c default_transaction_isolation=read\\ committed -c array_nulls=on \
        -c quote_all_identifiers=off -c IntervalStyle=iso_8601 -c DateStyle=ISO -c TimeZone=UTC -c xmloption=content \
        -c bytea_output=hex -c extra_float_digits=3 -c lc_monetary=C";
    psql.env("PGOPTIONS", options).args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]);
    let done = psql.output().unwrap();
    assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim_end().to_owned()
}

/// Every function that our code names (`{words}`), and the operators that it uses, again in a schema of the owner's that stands
/// first in the path: each writes into the server's log when it is a superuser who runs it.
const EVIL: &str = r#"
    CREATE SCHEMA evil;
    CREATE FUNCTION evil.run(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN RAISE LOG 'HOSTILE in % ran %', current_database(), what; END IF;
    END $$;
    DO $do$ DECLARE one record; body text := 'BEGIN PERFORM evil.run(%L); RETURN NULL; END'; BEGIN
        FOR one IN SELECT p.proname, pg_get_function_identity_arguments(p.oid) AS given, pg_get_function_result(p.oid) AS result
            FROM pg_proc p WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
                AND p.proname = ANY ('{words}') ORDER BY p.oid LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION evil.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L', one.proname, one.given, one.result, format(body, one.proname));
            EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
        FOR one IN SELECT o.oprname, format_type(o.oprleft, NULL) AS l, format_type(o.oprright, NULL) AS r, format_type(o.oprresult, NULL) AS result,
                row_number() OVER () AS n FROM pg_operator o WHERE o.oprleft <> 0
                AND o.oprname IN ('=', '<>', '<', '>', '<=', '>=', '~', '!~', '||', '+', '-', '->>') ORDER BY o.oid LOOP
            BEGIN
                EXECUTE format('CREATE FUNCTION evil.op%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS %L', one.n, one.l, one.r, one.result,
                    format(body, 'operator ' || one.oprname || ' of ' || one.l));
                EXECUTE format('CREATE OPERATOR evil.%s (leftarg = %s, rightarg = %s, procedure = evil.op%s)', one.oprname, one.l, one.r, one.n);
            EXCEPTION WHEN OTHERS THEN NULL; END;
        END LOOP;
    END $do$;
    CREATE TYPE evil.text AS ENUM ('not', 'a', 'text'); CREATE TYPE evil.int8 AS ENUM ('no', 'number');
    CREATE TYPE evil.mood AS ENUM ('sad', 'glad', 'v1');
    CREATE FUNCTION evil.cast(evil.mood) RETURNS pg_catalog.text LANGUAGE plpgsql AS $$ BEGIN PERFORM evil.run('a cast'); RETURN 'cast'; END $$;
    CREATE CAST (evil.mood AS pg_catalog.text) WITH FUNCTION evil.cast(evil.mood) AS IMPLICIT;
    CREATE TABLE public.alembic_version (version_num evil.mood PRIMARY KEY); INSERT INTO public.alembic_version VALUES ('v1');
    CREATE TABLE public.feelings (mood evil.mood PRIMARY KEY, why pg_catalog.text);
    INSERT INTO public.feelings VALUES ('sad', 'rain'), ('glad', 'sun');
    CREATE TABLE public.t (id pg_catalog.int4 PRIMARY KEY, x pg_catalog.text, parent pg_catalog.int4 REFERENCES public.t);
    INSERT INTO public.t VALUES (1, 'a', NULL), (2, 'b', 1), (3, 'c', 2);
"#;

/// Every word of the code that speaks to servers.
fn words() -> String {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut waiting = vec![source.join("engine"), source.join("source/postgres"), source.join("record")];
    let mut words = BTreeSet::new();
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let is_letter = |letter: char| letter == '_' || letter.is_ascii_lowercase() || letter.is_ascii_digit();
        words.extend(text.split(|letter| !is_letter(letter)).filter(|word| word.len() > 1).map(str::to_owned));
    }
    words.into_iter().collect::<Vec<_>>().join(",")
}

/// What the server has noted of the owner's functions in a database that a superuser ran.
fn ran(cluster: &Cluster, database: &str) -> Vec<String> {
    let log = fs::read_to_string(cluster.folder().join("server.log")).unwrap();
    let mark = format!("HOSTILE in {database} ran ");
    log.lines().filter_map(|line| Some(line.split_once(&mark)?.1.to_owned())).collect()
}

#[test]
fn a_superuser_runs_no_function_of_the_owner_of_a_database_whatever_command_it_is() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster
        .sql("postgres", &format!("CREATE ROLE owner_of_{name} LOGIN; ALTER DATABASE {name} OWNER TO owner_of_{name}"));
    let own = |sql: &str| format!("SET SESSION AUTHORIZATION owner_of_{name}; {sql}");
    cluster.sql(&name, &format!("GRANT ALL ON SCHEMA public TO owner_of_{name}"));
    cluster.sql(&name, &own(&EVIL.replace("words", &words())));
    let path = "ALTER DATABASE {} SET search_path = evil, pg_catalog, public".replace("{}", &name);
    cluster.sql("postgres", &own(&path));
    // It would be noticed.
    cluster.sql(&name, "SELECT current_setting('work_mem')");
    let before = ran(cluster, &name).len();
    assert_eq!(before, 1);
    let home = home_of(cluster, &name);
    let quiet = |what: &str| {
        let ran = ran(cluster, &name).split_off(before);
        assert!(ran.is_empty(), "{what}: {ran:?}");
    };
    home.ok(&["backup"]);
    quiet("backup");
    home.ok(&["diff", "latest", "live"]);
    quiet("diff");
    plainly(cluster, &name, "DELETE FROM public.t; DELETE FROM public.feelings");
    home.ok(&["query", "latest", "SELECT * FROM t EXCEPT SELECT * FROM live.t"]);
    quiet("query");
    assert_eq!(home.json(&["find", "t", "2"])["live"], false);
    assert_eq!(home.json(&["find", "feelings", "sad"])["live"], false);
    quiet("find a key");
    assert_eq!(home.json(&["find", "--table", "t", "--where", "id = 1 AND x LIKE 'a%'"])["live"], false);
    quiet("find by a condition");
    home.ok(&["recover", "latest", "t", "3"]);
    quiet("recover");
    home.ok(&["recover", "latest", "feelings", "sad"]);
    quiet("recover of a row with a type of the owner's");
    assert_eq!(plainly(cluster, &name, "SELECT string_agg(x, '' ORDER BY id) FROM public.t"), "abc");
    assert_eq!(plainly(cluster, &name, "SELECT mood, why FROM public.feelings"), "sad|rain");
    home.ok(&["undo"]);
    home.ok(&["undo", "--yes"]);
    quiet("undo");
    home.ok(&["recover", "latest", "t", "2", "--triggers", "on"]);
    quiet("recover with triggers, of which there are none");
    home.ok(&["restore", "latest", "--in-place"]);
    quiet("restore in place");
    home.ok(&["backup"]);
    assert_eq!(plainly(cluster, &name, "SELECT string_agg(x, '' ORDER BY id) FROM public.t"), "abc");
    quiet("backup of what was restored");
}

/// A value of each kind whose text is read or written in more than one way.
const VALUES: &str = r#"
    CREATE TYPE mood AS ENUM ('sad', 'NULL');
    CREATE TABLE t (id int PRIMARY KEY, tags text[], deep text[], moods mood[], iv interval, ivs interval[], x xml, m money, ts timestamptz, zone timetz,
        d date, r float8, s real, b bytea, note text, rel regclass, kind regtype, span tstzrange, j jsonb, bits bit varying(9), n numeric(20, 6), ok boolean);
    INSERT INTO t VALUES (1, '{NULL,a,"NULL"}', '{{NULL,"null"},{b,"\\"}}', '{NULL,"NULL",sad}', '-1 day -02:03:04', '{-1 day +02:03:04,NULL}', '<a/>b', '1234.56',
        '2020-06-01 12:00+00', '04:05:06+05:45', '2020-02-03', 0.1 + 0.2, 0.3, '\x00ff5c27', E'a\\''b\\n', 't', 'mood', '[2020-02-03 00:00+00,2020-03-04 01:02:03+00)',
        '{"a": null}', '0101', 0.000001, true);
    INSERT INTO t (id, tags) VALUES (2, '{"NULL"}'), (3, '{}'), (4, NULL);
    CREATE TABLE refers (id int PRIMARY KEY, t int REFERENCES t); INSERT INTO refers VALUES (1, 1);
"#;

/// All that a person may set, each to something else than it is; and what decides how values are read, to the worst.
fn settings(cluster: &Cluster) -> Vec<String> {
    let kept = "'enable_seqscan', 'enable_indexscan', 'enable_sort', 'log_executor_stats', 'array_nulls'";
    let sql = format!(
        "SELECT name || ' = ' || CASE WHEN vartype = 'bool' THEN CASE setting WHEN 'on' THEN 'off' ELSE 'on' END \
            ELSE '''' || (SELECT value FROM unnest(enumvals) WITH ORDINALITY v (value, place) WHERE value <> setting ORDER BY place DESC LIMIT 1) || '''' END \
         FROM pg_settings WHERE context = 'user' AND vartype IN ('bool', 'enum') AND name !~ '^debug_|^enable_|^transaction_' AND name NOT IN ({kept}) ORDER BY 1"
    );
    let found = cluster.sql("postgres", &sql);
    let worst = [
        "array_nulls = off",
        "IntervalStyle = sql_standard",
        "DateStyle = 'SQL, DMY'",
        "TimeZone = 'Asia/Kathmandu'",
        "extra_float_digits = -15",
        "bytea_output = escape",
        "lc_monetary = 'C.UTF-8'",
        "lc_numeric = 'C.UTF-8'",
        "client_encoding = 'LATIN1'",
        "search_path = ''",
        "gin_fuzzy_search_limit = 1",
        "statement_timeout = 1",
        "lock_timeout = 1",
        "default_transaction_isolation = serializable",
        "default_text_search_config = 'simple'",
        "work_mem = '64kB'",
        "temp_buffers = 100",
        "timezone_abbreviations = 'India'",
        "backslash_quote = off",
        "session_replication_role = replica",
    ];
    let all: Vec<String> = found.lines().map(str::to_owned).chain(worst.into_iter().map(str::to_owned)).collect();
    assert!(all.len() > 40, "{all:?}");
    all
}

#[test]
fn values_are_the_same_whatever_a_database_and_a_role_are_set_to() {
    let (cluster, name) = (cluster(), cluster().database());
    let role = format!("settled_{name}");
    cluster.sql(&name, &format!("CREATE ROLE {role} LOGIN SUPERUSER; {VALUES}"));
    let url = cluster.url(&name).replace("postgres@", &format!("{role}@"));
    let home = Home::new();
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{url}'\nglobals = false\n"));
    home.ok(&["init", "--quiet"]);
    home.ok(&["backup"]);
    let rows = "SELECT t, tags[1] IS NULL, moods[1] IS NULL, ivs[2] IS NULL, extract(epoch FROM iv), m::numeric FROM public.t ORDER BY id";
    let expected = plainly(cluster, &name, rows);
    // One after another: of the database, of the role, and of the role in the database.
    for whose in [format!("DATABASE {name}"), format!("ROLE {role}"), format!("ROLE {role} IN DATABASE {name}")] {
        let set: Vec<String> =
            settings(cluster).into_iter().map(|setting| format!("ALTER {whose} SET {setting}")).collect();
        plainly(cluster, "postgres", &set.join("; "));
        home.ok(&["backup"]);
        let between = home.ok(&["diff", "latest~1", "latest"]).out;
        assert!(!between.contains("db.t") && !between.contains("db.refers"), "{whose}: {between}");
        let live = home.ok(&["diff", "latest", "live"]).out;
        assert!(live.contains("db: no change"), "{whose}: {live}");
        plainly(cluster, &name, "DELETE FROM public.refers; DELETE FROM public.t WHERE id < 3");
        assert_eq!(home.json(&["find", "t", "1"])["live"], false);
        assert_eq!(home.json(&["find", "--table", "t", "--where", "id = 3"])["live"], true);
        let asked = home.json(&[
            "query",
            "latest",
            "SELECT count(*) FROM t a WHERE NOT EXISTS (SELECT 1 FROM live.t b WHERE a.id = b.id AND a.tags IS b.tags)",
        ]);
        assert_eq!(asked["rows"], serde_json::json!([[2]]), "{whose}");
        home.ok(&["recover", "latest", "t", "1"]);
        home.ok(&["recover", "latest", "t", "2"]);
        assert_eq!(plainly(cluster, &name, rows), expected, "{whose}");
        assert_eq!(plainly(cluster, &name, "SELECT t FROM public.refers"), "1", "{whose}");
        home.ok(&["undo"]);
        home.ok(&["undo", "--yes"]);
        assert_eq!(plainly(cluster, &name, "SELECT string_agg(id::text, ',' ORDER BY id) FROM public.t"), "3,4");
        let report = home.json(&["restore", "latest", "--in-place"])["report"].clone();
        assert!(report.to_string().contains("\"checked\":2"), "{whose}: {report}");
        assert_eq!(plainly(cluster, &name, rows), expected, "{whose}");
        plainly(cluster, "postgres", &format!("ALTER {whose} RESET ALL"));
    }
}

#[test]
fn a_value_that_a_column_would_round_is_not_written() {
    let (home, name) = super::captured_home(
        "CREATE TABLE prices (id int PRIMARY KEY, price numeric(10, 4), at timestamp(6)); \
         INSERT INTO prices VALUES (1, 1.2345, '2024-01-01 00:00:00.123456'), (2, 1.2, '2024-01-01 00:00:00.5')",
    );
    let cluster = cluster();
    cluster.sql(
        &name,
        "DELETE FROM prices; ALTER TABLE prices ALTER price TYPE numeric(10, 2), ALTER at TYPE timestamp(3)",
    );
    let ran = home.run(&["recover", "latest", "prices", "1"]);
    let why = "prices 1: price: '1.2345' is no numeric(10,2): it would not be the same";
    assert!(ran.code == 1 && ran.err.contains(&format!("error: nothing was written: {why}")), "{}", ran.err);
    assert_eq!(cluster.sql(&name, "SELECT count(*) FROM prices"), "0");
    home.ok(&["recover", "latest", "prices", "2"]);
    assert_eq!(cluster.sql(&name, "SELECT * FROM prices"), "2|1.20|2024-01-01 00:00:00.5");
}

/// Stands before a server as a pooler that takes no options. Tells how many connections it has turned away.
fn pooler(cluster: &Cluster) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (port, server, refused) =
        (listener.local_addr().unwrap().port(), cluster.port(), Arc::<AtomicUsize>::default());
    let count = refused.clone();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), count) = (client, count.clone()) else { return };
            std::thread::spawn(move || passed_on(client, server, &count));
        }
    });
    (port, refused)
}

/// A message without a kind: its length, which counts itself, and the rest.
fn first_message(client: &mut TcpStream) -> Option<Vec<u8>> {
    let mut length = [0; 4];
    client.read_exact(&mut length).ok()?;
    let mut message = vec![0; u32::from_be_bytes(length) as usize - 4];
    client.read_exact(&mut message).ok()?;
    Some([&length[..], &message].concat())
}

fn passed_on(mut client: TcpStream, server: u16, refused: &AtomicUsize) -> Option<()> {
    let mut message = first_message(&mut client)?;
    if message.len() == 8 {
        // It would like an encrypted connection.
        client.write_all(b"N").ok()?;
        message = first_message(&mut client)?;
    }
    if message.windows(9).any(|some| some == b"\0options\0") {
        refused.fetch_add(1, Ordering::SeqCst);
        let fields = b"SFATAL\0VFATAL\0C08P01\0Munsupported startup parameter: options\0\0";
        let length = (fields.len() as u32 + 4).to_be_bytes();
        client.write_all(&[&b"E"[..], &length, fields].concat()).ok()?;
        return None;
    }
    let mut there = TcpStream::connect(("127.0.0.1", server)).ok()?;
    there.write_all(&message).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, there.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(std::net::Shutdown::Both);
    });
    let _ = std::io::copy(&mut there, &mut client);
    let _ = client.shutdown(std::net::Shutdown::Both);
    Some(())
}

#[test]
fn a_pooler_that_takes_no_options_is_told_everything_by_statements() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(&name, "CREATE TABLE t (id int PRIMARY KEY, tags text[]); INSERT INTO t VALUES (1, '{NULL,a}')");
    cluster.sql(
        &name,
        &format!("ALTER DATABASE {name} SET array_nulls = off; ALTER DATABASE {name} SET IntervalStyle = sql_standard"),
    );
    let (port, refused) = pooler(cluster);
    let mut home = Home::new();
    home.set("PGPASSWORD", PASSWORD);
    home.write(
        "strongroom.toml",
        format!("[source.db]\nkind = 'postgres'\nurl = 'postgres://postgres@127.0.0.1:{port}/{name}'\n"),
    );
    home.ok(&["init", "--quiet"]);
    home.ok(&["backup"]);
    plainly(cluster, &name, "DELETE FROM public.t");
    home.ok(&["recover", "latest", "t", "1"]);
    assert_eq!(plainly(cluster, &name, "SELECT tags[1] IS NULL FROM public.t"), "t");
    assert!(refused.load(Ordering::SeqCst) > 0);
}
