//! Which migration a database has seen last, by the tables that tools for migrations keep.
//!
//! Owns the list of tools, in SQL that every engine here understands. Never speaks to a database itself.

use crate::base::database::Revision;

/// A tool for migrations.
struct Tool {
    name: &'static str,
    /// It is used where this table is there.
    known_by: &'static str,
    /// Where it keeps what has been done.
    table: &'static str,
    /// Asks the table, `{}`, for the last migration; what is in several rows belongs together.
    sql: &'static str,
}

const fn tool(name: &'static str, table: &'static str, sql: &'static str) -> Tool {
    Tool { name, known_by: table, table, sql }
}

const TOOLS: [Tool; 11] = [
    tool("alembic", "alembic_version", "SELECT version_num FROM {} ORDER BY 1"),
    tool("django", "django_migrations", "SELECT app || '.' || name FROM {} ORDER BY id DESC LIMIT 1"),
    tool(
        "prisma",
        "_prisma_migrations",
        "SELECT migration_name FROM {} WHERE finished_at IS NOT NULL AND rolled_back_at IS NULL ORDER BY finished_at DESC, migration_name DESC LIMIT 1",
    ),
    tool(
        "flyway",
        "flyway_schema_history",
        "SELECT coalesce(version, description) FROM {} WHERE success ORDER BY installed_rank DESC LIMIT 1",
    ),
    tool("knex", "knex_migrations", "SELECT name FROM {} ORDER BY id DESC LIMIT 1"),
    tool("sqlx", "_sqlx_migrations", "SELECT version FROM {} WHERE success ORDER BY version DESC LIMIT 1"),
    tool("diesel", "__diesel_schema_migrations", "SELECT version FROM {} ORDER BY version DESC LIMIT 1"),
    tool("laravel", "migrations", "SELECT migration FROM {} ORDER BY batch DESC, id DESC LIMIT 1"),
    tool("goose", "goose_db_version", "SELECT version_id FROM {} ORDER BY id DESC LIMIT 1"),
    Tool {
        name: "rails",
        known_by: "ar_internal_metadata",
        table: "schema_migrations",
        sql: "SELECT max(version) FROM {}",
    },
    tool("schema_migrations", "schema_migrations", "SELECT max(version) FROM {}"),
];

/// Tables that may say it.
pub fn tables() -> impl Iterator<Item = &'static str> {
    TOOLS.iter().flat_map(|tool| [tool.known_by, tool.table])
}

/// The first tool whose table is there and answers. `place` names a table as SQL takes it, if there is one; `ask` answers
/// with the first column of each row. A table of that name that is somebody else's answers nothing.
pub fn find(
    place: impl Fn(&str) -> Option<String>,
    mut ask: impl FnMut(&str) -> Option<Vec<String>>,
) -> Option<Revision> {
    TOOLS.iter().find_map(|tool| {
        place(tool.known_by)?;
        let rows = ask(&tool.sql.replace("{}", &place(tool.table)?))?;
        let id = rows.join(",");
        (!id.is_empty()).then(|| Revision { tool: tool.name.to_owned(), id })
    })
}
