//! What can be wrong with a server: one line that says so, one that says what to do, and the exit code.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::postgres::cluster;
use crate::support::program::Home;

/// A home whose configuration captures the database behind a URL.
fn home(url: &str) -> Home {
    let home = Home::new();
    home.write("strongroom.toml", format!("[source.db]\nkind = 'postgres'\nurl = '{url}'\n"));
    home.ok(&["init"]);
    home
}

fn fails(home: &Home, code: i32, error: &str, hint: &str) {
    let ran = home.run(&["backup"]);
    let lines: Vec<&str> =
        ran.err.lines().filter(|line| line.starts_with("error:") || line.starts_with("hint:")).collect();
    assert_eq!((ran.code, lines.len()), (code, 2), "{}", ran.err);
    assert!(lines[0].contains(error) && lines[1].contains(hint), "{lines:?}");
    assert!(!format!("{}{}", ran.err, ran.out).contains("secret"), "{}", ran.err);
    assert_eq!(home.json(&["snapshots"]).as_array().map(Vec::len).unwrap_or_default(), 0);
}

#[test]
fn what_keeps_one_out_is_told() {
    let (cluster, name) = (cluster(), cluster().database());
    let port = cluster.port();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fails(
        &home(&format!("postgres://me@127.0.0.1:{nobody}/{name}")),
        1,
        "cannot reach the server at 127.0.0.1",
        "running",
    );
    fails(
        &home(&format!("postgres://postgres:secret@127.0.0.1:{port}/{name}")),
        1,
        "does not let postgres in",
        "PGPASSWORD",
    );
    fails(&home(&format!("postgres://postgres@127.0.0.1:{port}/{name}")), 1, "does not let postgres in", "PGPASSWORD");
    fails(&home(&cluster.url("missing")), 1, "has no database missing", "psql -l");
    fails(
        &home(&format!("postgres://me@127.0.0.1:{port}/{name}?sslmode=require")),
        1,
        "no encrypted connection",
        "sslmode=disable",
    );
}

#[test]
fn a_password_comes_from_the_environment_or_the_password_file_and_is_shown_nowhere() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster
        .sql(&name, "CREATE ROLE reader LOGIN SUPERUSER PASSWORD 'secret:word'; CREATE TABLE t (id int PRIMARY KEY)");
    let url = format!("postgres://reader@127.0.0.1:{}/{name}", cluster.port());
    let mut with_variable = home(&url);
    with_variable.set("PGPASSWORD", "secret:word");
    with_variable.ok(&["backup"]);
    let with_file = home(&url);
    let file = with_file.path("../home/.pgpass");
    fs::write(&file, format!("127.0.0.1:{}:*:reader:secret\\:word\n", cluster.port())).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    with_file.ok(&["backup"]);
    let mut expanded = Home::new();
    expanded.set("DATABASE_URL", format!("postgres://reader:secret%3Aword@127.0.0.1:{}/{name}", cluster.port()));
    expanded.write("strongroom.toml", "[source.db]\nkind = 'postgres'\nurl = '${DATABASE_URL}'\n");
    expanded.ok(&["init"]);
    let ran = expanded.ok(&["--verbose", "backup"]);
    let shown = expanded.ok(&["--json", "show", "latest"]);
    assert!(!format!("{}{}{}", ran.out, ran.err, shown.out).contains("secret"), "{}{}", ran.err, shown.out);
}

#[test]
fn a_password_on_a_command_line_is_refused_and_not_repeated() {
    let (cluster, name) = (cluster(), cluster().database());
    let home = home(&cluster.url(&name));
    cluster.sql(&name, "CREATE TABLE things (id int PRIMARY KEY)");
    home.ok(&["backup"]);
    for url in [
        format!("postgres://postgres:secret@127.0.0.1:{}/other", cluster.port()),
        format!("postgresql+asyncpg://postgres:secret@127.0.0.1:{}/other", cluster.port()),
        format!("postgres:///other?host={}&user=postgres&password=secret", cluster.folder().display()),
    ] {
        for arguments in
            [&["restore", "latest", "--to", &url][..], &["recover", "latest", "things", "1", "--into", &url]]
        {
            let said = home.fails(2, arguments);
            assert!(
                said.contains("tells a password") && said.contains("PGPASSWORD") && said.contains("~/.pgpass"),
                "{said}"
            );
            assert!(!said.contains("secret"), "{said}");
        }
    }
    let said = home.fails(2, &["--vault", "s3://me:secret@bucket/x", "snapshots"]);
    assert!(said.contains("AWS_SECRET_ACCESS_KEY") && !said.contains("secret@") && !said.contains("me:"), "{said}");
}

#[test]
fn rows_that_would_be_hidden_and_tables_that_may_not_be_read_are_errors() {
    let (cluster, name) = (cluster(), cluster().database());
    cluster.sql(
        &name,
        "CREATE TABLE a (id int PRIMARY KEY); CREATE TABLE b (id int PRIMARY KEY); CREATE ROLE poor LOGIN; \
        GRANT SELECT ON a TO poor",
    );
    let url = cluster.url(&name).replace("postgres@", "poor@");
    fails(&home(&url), 1, "permission denied for table b", "pg_read_all_data");
    cluster.sql(
        &name,
        "GRANT pg_read_all_data TO poor; ALTER TABLE b ENABLE ROW LEVEL SECURITY; \
        CREATE POLICY none ON b USING (false); INSERT INTO b VALUES (1)",
    );
    fails(&home(&url), 1, "row level security would hide rows", "BYPASSRLS");
    cluster.sql(&name, "ALTER ROLE poor BYPASSRLS");
    let rich = home(&url);
    rich.ok(&["backup"]);
}
