//! Records given back to another database of a server, which may lack their tables.

use super::*;
use crate::postgres::captured_home;
use crate::support::program::Home;

const SHOP: &str = "CREATE SCHEMA app; CREATE FUNCTION noted() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN new; END $$;
    CREATE TABLE users (id serial PRIMARY KEY, email text UNIQUE NOT NULL CHECK (email <> ';(''')); COMMENT ON TABLE users IS 'people; CREATE';
    CREATE TABLE app.\"Big projects\" (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, owner int NOT NULL REFERENCES users,
        parent bigint REFERENCES app.\"Big projects\", name varchar(20) DEFAULT 'it''s', size int GENERATED ALWAYS AS (length(name)) STORED);
    CREATE INDEX big_by_owner ON app.\"Big projects\" (owner) WHERE name <> 'x';
    CREATE TABLE documents (project bigint REFERENCES app.\"Big projects\" ON DELETE CASCADE, n int, body text, PRIMARY KEY (project, n));
    CREATE TABLE unrelated (id int PRIMARY KEY, owner int REFERENCES users);
    CREATE TRIGGER noted BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION noted();
    INSERT INTO users (email) VALUES ('a'), ('b'), ('c'); INSERT INTO app.\"Big projects\" (owner, name) VALUES (1, 'one'), (2, 'two');
    INSERT INTO app.\"Big projects\" (owner, parent, name) VALUES (3, 2, 'three'); UPDATE app.\"Big projects\" SET parent = 3 WHERE id = 2;
    INSERT INTO documents SELECT p, n, repeat('x', n) FROM generate_series(1, 3) p, generate_series(1, 5) n";

/// A vault of a database, and another database.
fn home(sql: &str) -> (Home, String) {
    (captured_home(sql).0, cluster().database())
}

const PROJECT: [&str; 5] = ["recover", "latest", "app.Big projects", "2", "--into"];

fn tables(name: &str) -> String {
    let sql = "SELECT coalesce(string_agg(n.nspname || '.' || c.relname, ' ' ORDER BY n.nspname COLLATE \"C\", c.relname COLLATE \"C\"), '')
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'S') AND n.nspname IN ('public', 'app')";
    cluster().sql(name, sql)
}

#[test]
fn tables_that_another_database_lacks_are_made_with_their_keys_and_references() {
    let (home, other) = home(SHOP);
    let into = cluster().url(&other);
    let plan = home.ok(&[&PROJECT[..], &[&into, "--dry-run"]].concat()).out;
    for table in ["users", "app.Big projects", "documents"] {
        assert!(plan.contains(&format!("table {table} is made; an undo leaves it there, empty")), "{plan}");
    }
    assert!(!plan.contains("unrelated") && tables(&other).is_empty(), "{plan}");
    home.ok(&[&PROJECT[..], &[&into]].concat());
    let made = "app.Big projects app.Big projects_id_seq public.documents public.users public.users_id_seq";
    assert_eq!(tables(&other), made);
    let ask = |sql: &str| cluster().sql(&other, sql);
    assert_eq!(
        ask("SELECT string_agg(id || name || parent || size, ' ' ORDER BY id) FROM app.\"Big projects\""),
        "2two33 3three25"
    );
    assert_eq!(ask("SELECT count(*) FROM documents"), "10");
    let constraints = "SELECT string_agg(contype::text, '' ORDER BY contype) FROM pg_constraint WHERE contype IN ('p', 'u', 'f', 'c') AND connamespace <> 'pg_catalog'::regnamespace
        AND connamespace <> 'information_schema'::regnamespace";
    assert_eq!(ask(constraints), "cfffpppu");
    assert_eq!(ask("SELECT count(*) FROM pg_indexes WHERE indexname = 'big_by_owner'"), "1");
    assert_eq!(ask("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal"), "0");
    assert!(ask("INSERT INTO users (email) VALUES ('new') RETURNING id").starts_with('4'));
    assert!(ask("INSERT INTO app.\"Big projects\" (owner) VALUES (4) RETURNING id || name").starts_with("4it's"));
    ask("DELETE FROM app.\"Big projects\" WHERE id = 4; DELETE FROM users WHERE id = 4");
    assert!(home.ok(&[&PROJECT[..], &[&into]].concat()).out.contains("nothing to do"));
    home.ok(&["undo"]);
    assert_eq!(
        ask(
            "SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM app.\"Big projects\") + (SELECT count(*) FROM documents)"
        ),
        "0"
    );
    assert_eq!(tables(&other), made);
    home.ok(&[&PROJECT[..], &[&into]].concat());
    assert_eq!(ask("SELECT count(*) FROM documents"), "10");
}

#[test]
fn only_missing_tables_are_made_and_a_plan_does_it_later() {
    let (home, other) = home(SHOP);
    let into = cluster().url(&other);
    cluster().sql(
        &other,
        "CREATE TABLE users (id int PRIMARY KEY, email text, more text); INSERT INTO users VALUES (2, 'b', 'x')",
    );
    home.ok(&[&PROJECT[..], &[&into, "--plan-out", "plan.json"]].concat());
    assert_eq!(tables(&other), "public.users");
    home.ok(&["recover", "--plan", "plan.json"]);
    assert_eq!(
        cluster().sql(&other, "SELECT string_agg(id || coalesce(more, ''), ' ' ORDER BY id) FROM users"),
        "2x 3"
    );
    assert_eq!(cluster().sql(&other, "SELECT count(*) FROM documents"), "10");
}

#[test]
fn what_cannot_be_made_is_refused_by_name_and_nothing_is_changed() {
    let (home, other) = home(
        "CREATE TYPE mood AS ENUM ('ok', 'sad'); CREATE TABLE users (id int PRIMARY KEY); CREATE TABLE notes (id int PRIMARY KEY, owner int REFERENCES users, mood mood);
         CREATE TABLE parted (id int PRIMARY KEY, owner int REFERENCES users) PARTITION BY RANGE (id); CREATE TABLE parted_1 PARTITION OF parted DEFAULT;
         INSERT INTO users VALUES (1); INSERT INTO notes VALUES (5, 1, 'sad'); INSERT INTO parted VALUES (6, 1)",
    );
    let into = cluster().url(&other);
    let said = home.fails(1, &["recover", "latest", "notes", "5", "--into", &into]);
    assert!(
        said.contains("CREATE TABLE public.notes") && said.contains("public.mood") && said.contains("--schema-only"),
        "{said}"
    );
    assert_eq!(tables(&other), "");
    let ran = home.run(&["recover", "latest", "parted", "6", "--into", &into]);
    let said = format!("{}{}", ran.out, ran.err);
    assert!(ran.code == 1 && said.contains("there is no table parted") && said.contains("--schema-only"), "{said}");
    assert_eq!(tables(&other), "");
    cluster().sql(&other, "CREATE TYPE mood AS ENUM ('ok', 'sad')");
    home.ok(&["recover", "latest", "notes", "5", "--into", &into]);
    assert_eq!(cluster().sql(&other, "SELECT mood FROM notes"), "sad");
}
