//! Which statements a restore runs: those of the kinds that pg_dump writes, and of `database.sql` what a backup writes.
//!
//! A snapshot may be forged. What is permitted can still do whatever the role may that restores (docs/threat-model.md);
//! what is refused here has no business among definitions.

use crate::engine::postgres::database::NAME;
use crate::engine::postgres::layout::quoted;
use crate::engine::postgres::restore::statements::Words;

/// What a session is set to for the statements that follow.
const SETTINGS: [&str; 14] = [
    "check_function_bodies",
    "client_min_messages",
    "default_table_access_method",
    "default_tablespace",
    "default_toast_compression",
    "default_with_oids",
    "escape_string_warning",
    "idle_in_transaction_session_timeout",
    "lock_timeout",
    "row_security",
    "standard_conforming_strings",
    "statement_timeout",
    "transaction_timeout",
    "xmloption",
];

/// What is made, by the words behind CREATE and what may stand between.
const CREATED: [&str; 31] = [
    "ACCESS METHOD",
    "AGGREGATE",
    "CAST",
    "COLLATION",
    "CONVERSION",
    "DOMAIN",
    "EVENT TRIGGER",
    "EXTENSION",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "LANGUAGE",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "POLICY",
    "PROCEDURE",
    "PUBLICATION",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH",
    "TRANSFORM",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
];
/// What is changed, by the words behind ALTER.
const ALTERED: [&str; 31] = [
    "AGGREGATE",
    "COLLATION",
    "CONVERSION",
    "DEFAULT PRIVILEGES",
    "DOMAIN",
    "EVENT TRIGGER",
    "FOREIGN DATA WRAPPER",
    "FOREIGN TABLE",
    "FUNCTION",
    "INDEX",
    "LANGUAGE",
    "LARGE OBJECT",
    "MATERIALIZED VIEW",
    "OPERATOR",
    "POLICY",
    "PROCEDURAL LANGUAGE",
    "PROCEDURE",
    "PUBLICATION",
    "ROUTINE",
    "RULE",
    "SCHEMA",
    "SEQUENCE",
    "SERVER",
    "STATISTICS",
    "SUBSCRIPTION",
    "TABLE",
    "TEXT SEARCH",
    "TRIGGER",
    "TYPE",
    "USER MAPPING",
    "VIEW",
];
/// What belongs to a whole server, and is no part of a database.
const OF_A_SERVER: [&str; 5] = ["DATABASE", "PARAMETER", "ROLE", "SUBSCRIPTION", "TABLESPACE"];

/// Is it of a kind that pg_dump writes into definitions?
pub fn is_definition(sql: &str) -> bool {
    let mut words = Words(sql);
    if words.word("SET") {
        return is_setting(words);
    }
    if words.word("CREATE") {
        words.words(&["OR", "REPLACE"]);
        let between = ["UNLOGGED", "UNIQUE", "CONSTRAINT", "TRUSTED", "PROCEDURAL", "DEFAULT", "RECURSIVE"];
        while between.iter().any(|word| words.word(word)) {}
        return one_of(&mut words, &CREATED);
    }
    if words.word("ALTER") {
        return one_of(&mut words, &ALTERED);
    }
    if words.words(&["COMMENT", "ON"]) {
        return words.word("SUBSCRIPTION") || !one_of(&mut words, &OF_A_SERVER);
    }
    if words.word("GRANT") || words.word("REVOKE") {
        words.words(&["GRANT", "OPTION", "FOR"]);
        return is_about_object(words);
    }
    words.words(&["RESET", "SESSION", "AUTHORIZATION"]) && words.0 == ";"
        || words.words(&["SECURITY", "LABEL"])
        || words.words(&["REFRESH", "MATERIALIZED", "VIEW"])
        || is_search_path(sql)
        || is_large_object(sql)
}

fn one_of(words: &mut Words<'_>, kinds: &[&str]) -> bool {
    kinds.iter().any(|kind| words.words(&kind.split(' ').collect::<Vec<_>>()))
}

fn is_setting(mut words: Words<'_>) -> bool {
    if words.words(&["SESSION", "AUTHORIZATION"]) {
        return words.name().is_some() && words.0 == ";";
    }
    let (Some(name), rest) = (words.name(), words.0) else { return false };
    let Some(value) = rest.strip_prefix(" = ").and_then(|rest| rest.strip_suffix(';')) else { return false };
    match name {
        "client_encoding" => ["'UTF8'", "'SQL_ASCII'"].contains(&value),
        // It decides how texts are read from here on.
        "standard_conforming_strings" => ["on", "off"].contains(&value),
        name => SETTINGS.contains(&name),
    }
}

/// Privileges on something; without ON, it would be a role that is handed out.
fn is_about_object(mut words: Words<'_>) -> bool {
    loop {
        if words.word("ON") {
            return !one_of(&mut words, &OF_A_SERVER);
        }
        let Some(privilege) = words.name() else { return false };
        if !privilege.bytes().all(|byte| byte.is_ascii_uppercase()) || ["TO", "FROM"].contains(&privilege) {
            return false;
        }
        if words.0.starts_with('(') && !words.brackets() {
            return false;
        }
        words.0 = words.0.strip_prefix(',').unwrap_or(words.0);
    }
}

fn is_search_path(sql: &str) -> bool {
    sql == "SELECT pg_catalog.set_config('search_path', '', false);"
}

fn is_large_object(sql: &str) -> bool {
    let number = sql.strip_prefix("SELECT pg_catalog.lo_create('").and_then(|rest| rest.strip_suffix("');"));
    number.is_some_and(|number| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// A statement of `database.sql`, for a database of this name. None: no backup writes it.
pub fn of_database(sql: &str, name: &str) -> Option<String> {
    let mut words = Words(sql);
    let mut is_known = false;
    let at = if words.words(&["ALTER", "DATABASE"]) {
        let at = placeholder(&mut words)?;
        is_known |= words.words(&["CONNECTION", "LIMIT"]) || words.word("SET");
        at
    } else if words.words(&["ALTER", "ROLE"]) && words.name().is_some() && words.words(&["IN", "DATABASE"]) {
        let at = placeholder(&mut words)?;
        is_known |= words.word("SET");
        at
    } else if words.words(&["COMMENT", "ON", "DATABASE"]) {
        let at = placeholder(&mut words)?;
        is_known |= words.word("IS");
        at
    } else if words.word("GRANT") || words.word("REVOKE") {
        let privilege = words.name()?;
        let at = (words.words(&["ON", "DATABASE"])).then(|| placeholder(&mut words))??;
        is_known |= privilege.bytes().all(|byte| byte.is_ascii_uppercase()) && (words.word("TO") || words.word("FROM"));
        at
    } else {
        return None;
    };
    let at = sql.len() - at;
    is_known.then(|| format!("{}{}{}", &sql[..at], quoted(name), &sql[at + NAME.len()..]))
}

/// Takes off what stands for the name of the database. Says how far from the end it began.
fn placeholder(words: &mut Words<'_>) -> Option<usize> {
    let rest = words.0.trim_start();
    words.0 = rest.strip_prefix(NAME)?;
    Some(rest.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_pg_dump_writes_is_permitted_and_what_it_never_writes_is_not() {
        for sql in [
            "SET statement_timeout = 0;",
            "SET client_encoding = 'UTF8';",
            "SET standard_conforming_strings = on;",
            "SET default_tablespace = '';",
            "SET SESSION AUTHORIZATION \"a b\";",
            "RESET SESSION AUTHORIZATION;",
            "SELECT pg_catalog.set_config('search_path', '', false);",
            "SELECT pg_catalog.lo_create('4711');",
            "CREATE UNLOGGED TABLE s.t (\n    a integer\n);",
            "CREATE OR REPLACE TRUSTED PROCEDURAL LANGUAGE plperl;",
            "CREATE UNIQUE INDEX i ON s.t USING btree (a);",
            "CREATE CONSTRAINT TRIGGER t AFTER INSERT ON s.t FOR EACH ROW EXECUTE FUNCTION f();",
            "CREATE USER MAPPING FOR me SERVER s;",
            "CREATE FOREIGN DATA WRAPPER w;",
            "ALTER DEFAULT PRIVILEGES FOR ROLE a IN SCHEMA app GRANT SELECT ON TABLES  TO b;",
            "ALTER LARGE OBJECT 4711 OWNER TO me;",
            "ALTER TABLE ONLY s.t ATTACH PARTITION s.p DEFAULT;",
            "COMMENT ON EXTENSION citext IS 'x';",
            "SECURITY LABEL FOR dummy ON TABLE t IS 'x';",
            "GRANT SELECT(a),INSERT(\"b ON\"),UPDATE ON TABLE s.t TO PUBLIC;",
            "REVOKE GRANT OPTION FOR ALL ON SCHEMA public FROM x;",
            "REFRESH MATERIALIZED VIEW s.v;",
        ] {
            assert!(is_definition(sql), "{sql}");
        }
        for sql in [
            "COPY t TO PROGRAM 'x';",
            "COPY t FROM stdin;",
            "copy t to program 'x';",
            "DO $$ BEGIN END $$;",
            "LOAD 'x';",
            "ALTER SYSTEM SET work_mem = '7MB';",
            "ALTER ROLE x SUPERUSER;",
            "ALTER DATABASE x OWNER TO y;",
            "CREATE ROLE x SUPERUSER;",
            "CREATE USER x SUPERUSER;",
            "CREATE DATABASE x;",
            "CREATE TABLESPACE x LOCATION '/x';",
            "DROP DATABASE x;",
            "DROP TABLE x;",
            "GRANT postgres TO me;",
            "GRANT \"a ON b\" TO me;",
            "GRANT ALL ON DATABASE x TO me;",
            "REVOKE x FROM me;",
            "SELECT pg_catalog.lo_create('1'), pg_catalog.lo_export(1, 'x');",
            "SELECT 1;",
            "SET client_encoding = 'SJIS';",
            "SET standard_conforming_strings TO off;",
            "SET ROLE x;",
            "SET session_preload_libraries = 'x';",
            "INSERT INTO t VALUES (1);",
            "UPDATE pg_catalog.pg_class SET relname = 'x';",
            "BEGIN;",
            "COMMENT ON DATABASE x IS 'y';",
            "CALL x();",
            ";",
        ] {
            assert!(!is_definition(sql), "{sql}");
        }
    }

    #[test]
    fn what_belongs_to_a_database_is_said_of_that_database_only() {
        for (sql, told) in [
            ("ALTER DATABASE :\"DBNAME\" CONNECTION LIMIT 5;", "ALTER DATABASE \"a\"\"b\" CONNECTION LIMIT 5;"),
            (
                "ALTER DATABASE :\"DBNAME\" SET \"x\" TO ':\"DBNAME\"';",
                "ALTER DATABASE \"a\"\"b\" SET \"x\" TO ':\"DBNAME\"';",
            ),
            (
                "ALTER ROLE \"IN DATABASE\" IN DATABASE :\"DBNAME\" SET \"x\" TO 'y';",
                "ALTER ROLE \"IN DATABASE\" IN DATABASE \"a\"\"b\" SET \"x\" TO 'y';",
            ),
            ("COMMENT ON DATABASE :\"DBNAME\" IS 'x';", "COMMENT ON DATABASE \"a\"\"b\" IS 'x';"),
            ("REVOKE ALL ON DATABASE :\"DBNAME\" FROM PUBLIC;", "REVOKE ALL ON DATABASE \"a\"\"b\" FROM PUBLIC;"),
            ("GRANT TEMPORARY ON DATABASE :\"DBNAME\" TO clerk;", "GRANT TEMPORARY ON DATABASE \"a\"\"b\" TO clerk;"),
        ] {
            assert_eq!(of_database(sql, "a\"b").as_deref(), Some(told));
        }
        for sql in [
            "ALTER DATABASE postgres SET \"x\" TO 'y';",
            "ALTER DATABASE :\"DBNAME\" RENAME TO x;",
            "ALTER DATABASE :\"DBNAME\" OWNER TO x;",
            "ALTER ROLE x SUPERUSER;",
            "ALTER ROLE x SET a TO 'b';",
            "ALTER ROLE x IN DATABASE y SET a TO 'b';",
            "GRANT postgres TO me;",
            "GRANT ALL ON DATABASE postgres TO me;",
            "COMMENT ON DATABASE postgres IS 'x';",
            "CREATE TABLE t (a integer);",
            "COPY t TO PROGRAM 'x';",
        ] {
            assert_eq!(of_database(sql, "app"), None, "{sql}");
        }
    }
}
