//! `database.sql`: what belongs to the database itself, whatever its name is going to be: settings, comment, grants.
//!
//! Written for psql, which knows as `:"DBNAME"` what it is connected to.

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{literal, quoted};

/// Stands for the database's name, quoted.
pub const NAME: &str = ":\"DBNAME\"";

/// Settings that are lists: kept as the names they are made of.
const LISTS: [&str; 6] = [
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
];

const SETTINGS: &str = "SELECT r.rolname::text, o.setting FROM pg_db_role_setting s \
    CROSS JOIN LATERAL unnest(s.setconfig) WITH ORDINALITY o (setting, place) \
    JOIN pg_database d ON d.oid = s.setdatabase LEFT JOIN pg_roles r ON r.oid = s.setrole \
    WHERE d.datname = current_database() AND (s.setrole = 0 OR r.oid IS NOT NULL) ORDER BY 1 NULLS FIRST, o.place";

const ITSELF: &str = "SELECT datconnlimit, shobj_description(oid, 'pg_database'), datacl IS NOT NULL, \
    pg_get_userbyid(datdba)::text FROM pg_database WHERE datname = current_database()";

const GRANTS: &str = "SELECT r.rolname::text, a.privilege_type, a.is_grantable \
    FROM pg_database d, aclexplode(d.datacl) a LEFT JOIN pg_roles r ON r.oid = a.grantee \
    WHERE d.datname = current_database() AND (a.grantee = 0 OR r.oid IS NOT NULL) ORDER BY 1, 2";

/// All of it, as statements that end their lines.
pub fn script(session: &mut Session) -> Result<String, PostgresError> {
    let mut script = String::new();
    let itself = &session.query(ITSELF, &[])?[0];
    let (limit, comment): (i32, Option<String>) = (itself.get(0), itself.get(1));
    if limit != -1 {
        script += &format!("ALTER DATABASE {NAME} CONNECTION LIMIT {limit};\n");
    }
    if let Some(comment) = comment {
        script += &format!("COMMENT ON DATABASE {NAME} IS {};\n", literal(&comment));
    }
    for row in session.query(SETTINGS, &[])? {
        let (role, setting): (Option<String>, String) = (row.get(0), row.get(1));
        let Some((name, value)) = setting.split_once('=') else { continue };
        let whose = match role {
            Some(role) => format!("ROLE {} IN DATABASE {NAME}", quoted(&role)),
            None => format!("DATABASE {NAME}"),
        };
        let value = if LISTS.contains(&name) { list(value) } else { literal(value) };
        // A name of an extension's setting has a dot between its parts.
        let name: Vec<String> = name.split('.').map(quoted).collect();
        script += &format!("ALTER {whose} SET {} TO {value};\n", name.join("."));
    }
    if itself.get(2) {
        let owner: String = itself.get(3);
        script += &format!("REVOKE ALL ON DATABASE {NAME} FROM PUBLIC;\n");
        script += &format!("REVOKE ALL ON DATABASE {NAME} FROM {};\n", quoted(&owner));
        for row in session.query(GRANTS, &[])? {
            let (whom, what, grantable): (Option<String>, String, bool) = (row.get(0), row.get(1), row.get(2));
            let (whom, option) = (
                whom.map_or_else(|| "PUBLIC".to_owned(), |whom| quoted(&whom)),
                if grantable { " WITH GRANT OPTION" } else { "" },
            );
            if !what.bytes().all(|byte| byte.is_ascii_uppercase()) {
                continue;
            }
            script += &format!("GRANT {what} ON DATABASE {NAME} TO {whom}{option};\n");
        }
    }
    Ok(script)
}

/// A list as a server keeps it, each of its names a text of its own: what is kept there need not be names.
pub(super) fn list(value: &str) -> String {
    let (mut names, mut is_quoted, mut letters) = (vec![String::new()], false, value.chars().peekable());
    while let Some(letter) = letters.next() {
        let last = names.last_mut().expect("BUG: there is one from the beginning");
        match letter {
            '"' if is_quoted && letters.next_if_eq(&'"').is_some() => last.push('"'),
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => names.push(String::new()),
            other if !is_quoted && other.is_whitespace() => {}
            other => last.push(other),
        }
    }
    names.iter().map(|name| literal(name)).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_texts_whatever_is_in_it() {
        assert_eq!(list("\"$user\", public"), "'$user', 'public'");
        assert_eq!(list(""), "''");
        assert_eq!(list("\"a, b\"\"c\""), "'a, b\"c'");
        assert_eq!(list("a; DROP TABLE b; --\n\\! true"), "E'a;DROPTABLEb;--\\\\!true'");
    }
}
