//! Which migration a database has seen last, by the tables that tools for migrations keep.

use std::collections::BTreeMap;

use rusqlite::Connection;

use crate::base::database::Revision;
use crate::engine::sqlite::facts::quoted;

/// A tool, its table, and how to ask that for the last migration.
const TOOLS: [(&str, &str, &str); 11] = [
    (
        "alembic",
        "alembic_version",
        "SELECT group_concat(version_num, ',') FROM (SELECT version_num FROM {} ORDER BY 1)",
    ),
    ("django", "django_migrations", "SELECT app || '.' || name FROM {} ORDER BY id DESC LIMIT 1"),
    (
        "prisma",
        "_prisma_migrations",
        "SELECT migration_name FROM {} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY finished_at DESC, migration_name DESC LIMIT 1",
    ),
    (
        "flyway",
        "flyway_schema_history",
        "SELECT coalesce(version, description) FROM {} WHERE success ORDER BY installed_rank DESC LIMIT 1",
    ),
    ("knex", "knex_migrations", "SELECT name FROM {} ORDER BY id DESC LIMIT 1"),
    ("sqlx", "_sqlx_migrations", "SELECT version FROM {} WHERE success ORDER BY version DESC LIMIT 1"),
    ("diesel", "__diesel_schema_migrations", "SELECT version FROM {} ORDER BY version DESC LIMIT 1"),
    ("laravel", "migrations", "SELECT migration FROM {} ORDER BY batch DESC, id DESC LIMIT 1"),
    ("goose", "goose_db_version", "SELECT version_id FROM {} ORDER BY id DESC LIMIT 1"),
    ("rails", "ar_internal_metadata", "SELECT max(version) FROM schema_migrations"),
    ("schema_migrations", "schema_migrations", "SELECT max(version) FROM {}"),
];

/// The first tool whose table is there and answers. A table of that name that is somebody else's answers nothing.
pub fn find(connection: &Connection, tables: &BTreeMap<String, u64>) -> Option<Revision> {
    TOOLS.iter().filter(|(_, table, _)| tables.contains_key(*table)).find_map(|(tool, table, sql)| {
        let sql = sql.replace("{}", &quoted(table));
        let id: rusqlite::types::Value = connection.query_row(&sql, [], |row| row.get(0)).ok()?;
        let id = match id {
            rusqlite::types::Value::Text(text) => text,
            rusqlite::types::Value::Integer(number) => number.to_string(),
            _ => return None,
        };
        Some(Revision { tool: (*tool).to_owned(), id })
    })
}
