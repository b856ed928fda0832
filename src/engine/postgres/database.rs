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

const GRANTS: &str = "SELECT coalesce(quote_ident(r.rolname), 'PUBLIC'), a.privilege_type, a.is_grantable \
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
        let value = if LISTS.contains(&name) && !value.is_empty() { value.to_owned() } else { literal(value) };
        // A name of an extension's setting has a dot between its parts.
        let name: Vec<String> = name.split('.').map(quoted).collect();
        script += &format!("ALTER {whose} SET {} TO {value};\n", name.join("."));
    }
    if itself.get(2) {
        let owner: String = itself.get(3);
        script += &format!("REVOKE ALL ON DATABASE {NAME} FROM PUBLIC;\n");
        script += &format!("REVOKE ALL ON DATABASE {NAME} FROM {};\n", quoted(&owner));
        for row in session.query(GRANTS, &[])? {
            let (whom, what, grantable): (String, String, bool) = (row.get(0), row.get(1), row.get(2));
            let option = if grantable { " WITH GRANT OPTION" } else { "" };
            script += &format!("GRANT {what} ON DATABASE {NAME} TO {whom}{option};\n");
        }
    }
    Ok(script)
}
