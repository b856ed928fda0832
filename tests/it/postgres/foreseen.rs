//! What a restore of a database or its undo would do, told without doing it; and what a configuration asks for in vain.

use super::captured_home;
use super::restore::made_by_us;
use crate::support::postgres::cluster;

const SQL: &str = "CREATE TABLE orders (id int PRIMARY KEY); INSERT INTO orders VALUES (1), (2); \
    CREATE TABLE notes (id int PRIMARY KEY); INSERT INTO notes VALUES (1)";

fn databases_like(name: &str) -> String {
    cluster().sql("postgres", &format!("SELECT datname FROM pg_database WHERE datname LIKE '{name}%' ORDER BY 1"))
}

#[test]
fn a_dry_run_of_a_database_names_the_tables_that_differ_and_makes_nothing() {
    let (home, name) = captured_home(SQL);
    cluster().sql(&name, "DELETE FROM orders WHERE id = 2");
    let (before, snapshots) = (databases_like(&name), home.json(&["snapshots"]));
    let dry = home.json(&["restore", "latest", "--in-place", "--dry-run"]);
    let server = &dry["foreseen"]["servers"][0];
    assert_eq!((&server["database"], &server["change"]), (&name.as_str().into(), &"content".into()), "{dry:#}");
    assert_eq!(server["tables"], serde_json::json!(["public.orders"]), "{dry:#}");
    let said = home.ok(&["restore", "latest", "--in-place", "--dry-run"]).out;
    assert!(said.contains(&format!("db: {name} would be replaced; 1 table differs: public.orders\n")), "{said}");
    assert_eq!((databases_like(&name), home.json(&["snapshots"])), (before, snapshots));
    assert_eq!(cluster().sql(&name, "SELECT count(*) FROM orders"), "1");
    assert_eq!(made_by_us(cluster()), Vec::<String>::new());
}

#[test]
fn a_dry_run_names_a_table_whose_columns_are_others_and_goes_on() {
    let (home, name) = captured_home(
        "CREATE TABLE a (id int PRIMARY KEY, email text); CREATE TABLE b (id int PRIMARY KEY); \
        CREATE TABLE c (id int PRIMARY KEY, n int); CREATE TABLE d (id int PRIMARY KEY)",
    );
    cluster()
        .sql(&name, "ALTER TABLE a RENAME email TO mail; ALTER TABLE b ADD x text; ALTER TABLE c ALTER n TYPE text");
    let dry = home.json(&["restore", "latest", "--in-place", "--dry-run"]);
    let tables = serde_json::json!(["public.a", "public.b", "public.c"]);
    assert_eq!(dry["foreseen"]["servers"][0]["tables"], tables, "{dry:#}");
    home.ok(&["restore", "latest", "--in-place"]);
    assert!(
        home.json(&["restore", "latest", "--in-place", "--dry-run"])["foreseen"]["servers"][0].get("tables").is_none()
    );
}

#[test]
fn a_dry_run_of_an_undo_names_the_database_that_would_come_back_and_refuses_newer_work() {
    let (home, name) = captured_home(SQL);
    cluster().sql(&name, "DELETE FROM orders WHERE id = 2");
    let restored = home.json(&["restore", "latest", "--in-place"]);
    let kept = restored["report"]["swapped"][0]["kept"].as_str().unwrap().to_owned();
    let dry = home.json(&["undo", "--dry-run"]);
    assert_eq!(dry["foreseen"]["servers"][0]["kept"], kept.as_str(), "{dry:#}");
    assert_eq!(cluster().sql(&name, "SELECT count(*) FROM orders"), "2");
    cluster().sql(&name, "INSERT INTO notes VALUES (77)");
    let refused = home.fails(1, &["undo"]);
    assert!(refused.contains("db/public.notes"), "{refused}");
    assert_eq!(home.fails(1, &["undo", "--dry-run"]), refused);
}

#[test]
fn a_dry_run_into_a_server_says_whether_a_database_would_be_made_and_is_refused_as_the_restore_is() {
    let (home, name) = captured_home(SQL);
    let new = format!("{name}_look");
    let dry = home.json(&["restore", "latest", "--to", &cluster().url(&new), "--dry-run"]);
    assert_eq!(dry["foreseen"]["servers"][0]["change"], "added", "{dry:#}");
    assert_eq!(databases_like(&new), "");
    let other = cluster().database();
    cluster().sql(&other, "CREATE TABLE precious (id int)");
    let arguments = ["restore", "latest", "--to", &cluster().url(&other)];
    let refused = home.fails(2, &arguments);
    assert_eq!(home.fails(2, &[&arguments[..], &["--dry-run"]].concat()), refused);
    let dry = home.json(&[&arguments[..], &["--clean", "--dry-run"]].concat());
    assert_eq!(dry["foreseen"]["servers"][0]["change"], "content", "{dry:#}");
    assert_eq!(cluster().sql(&other, "SELECT count(*) FROM precious"), "0");
}

#[test]
fn the_database_that_a_source_lives_in_is_restored_into_by_no_name_without_a_way_back() {
    let (home, name) = captured_home(SQL);
    cluster().sql(&name, "INSERT INTO orders VALUES (77)");
    let url = cluster().url(&name);
    let by_address = cluster().url_with_password(&name);
    let (_, address) = by_address.split_once('@').unwrap();
    let mut home = home;
    home.set("PGPASSWORD", crate::support::postgres::PASSWORD);
    let tcp = format!("postgres://postgres@{address}");
    let urls = [url.clone(), tcp.clone(), tcp.replace("127.0.0.1", "localhost")];
    let snapshots = home.json(&["snapshots"]);
    for (forget, more) in [(false, "--clean"), (false, "--data-only"), (true, "--clean")] {
        if forget {
            // The host remembers it, whether a configuration names it or not.
            std::fs::remove_file(home.path("strongroom.toml")).unwrap();
        }
        for url in &urls {
            let said = home.fails(2, &["restore", "latest", "db", "--to", url, more]);
            assert!(said.contains("is the live database of db") && said.contains("db --in-place"), "{said}");
        }
        home.fails(2, &["restore", "latest", "--to", &url, more, "--dry-run"]);
    }
    assert_eq!(cluster().sql(&name, "SELECT count(*) FROM orders"), "3");
    assert_eq!(home.json(&["snapshots"]), snapshots);
    // Another database of that server is nobody's, and one of its name that is gone has nothing to lose.
    home.ok(&["restore", "latest", "db", "--to", &cluster().url(&format!("{name}_b"))]);
    cluster().sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"));
    home.ok(&["restore", "latest", "db", "--to", &url]);
}

#[test]
fn a_pattern_of_tables_or_schemas_that_fits_nothing_is_told_and_the_rest_is_captured() {
    let (home, name) = captured_home(SQL);
    let config = |more: &str| format!("[source.db]\nkind = 'postgres'\nurl = '{}'\n{more}\n", cluster().url(&name));
    home.write("strongroom.toml", config("schemas = ['public', 'sales']\ntables = ['orders', 'public.ordres*']"));
    let ran = home.run(&["backup"]);
    assert_eq!(ran.code, 3, "{}{}", ran.out, ran.err);
    for (key, pattern) in [("tables", "public.ordres*"), ("schemas", "sales")] {
        let line = format!("db/{key}: nothing in the database fits {pattern}");
        assert!(ran.err.lines().any(|said| said.contains(&line)), "{}", ran.err);
    }
    assert_eq!(home.json(&["query", "latest", "SELECT id FROM orders"])["rows"].as_array().unwrap().len(), 2);
    // What is kept safe is kept whatever the configuration asks for in vain; what leaves something out may name nothing.
    cluster().sql(&name, "DELETE FROM orders");
    let ran = home.run(&["restore", "latest", "--in-place", "--accept-left-out"]);
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    home.write("strongroom.toml", config("exclude_tables = ['gone_*']"));
    home.ok(&["backup"]);
}

#[test]
fn what_a_source_leaves_out_is_not_removed_by_a_restore_in_place_unless_that_is_accepted() {
    let sql = "CREATE SCHEMA app; CREATE SCHEMA billing; CREATE TABLE app.u (id int PRIMARY KEY); INSERT INTO app.u VALUES (1), (2);
        CREATE TABLE billing.invoice (id int PRIMARY KEY); INSERT INTO billing.invoice VALUES (7);
        CREATE TABLE app.log_1 (id int PRIMARY KEY); INSERT INTO app.log_1 VALUES (9)";
    for (limit, names) in [
        ("schemas = ['app']", "billing"),
        ("exclude_schemas = ['billing']", "billing"),
        ("exclude_tables = ['log_*']", "app.log_1"),
        ("tables = ['u']", "app.log_1"),
    ] {
        let (home, name) = captured_home(sql);
        let config = std::fs::read_to_string(home.path("strongroom.toml")).unwrap();
        home.write("strongroom.toml", format!("{config}\n{limit}\n"));
        home.ok(&["backup"]);
        cluster().sql(&name, "DELETE FROM app.u");
        for more in [&["--dry-run"][..], &[]] {
            let said = home.fails(1, &[&["restore", "latest", "--in-place"], more].concat());
            assert!(said.contains("what db leaves out") && said.contains(names), "{limit}: {said}");
        }
        home.ok(&["restore", "latest", "--in-place", "--accept-left-out"]);
        assert_eq!(cluster().sql(&name, "SELECT count(*) FROM app.u"), "2");
        let said = home.fails(1, &["undo", "--forget"]);
        assert!(said.contains("is in no snapshot") && said.contains("DROP DATABASE"), "{said}");
        home.ok(&["undo"]);
        let there = "SELECT (SELECT count(*) FROM billing.invoice) + (SELECT count(*) FROM app.log_1) + (SELECT count(*) FROM app.u)";
        assert_eq!(cluster().sql(&name, there), "2", "{limit}");
    }
}
