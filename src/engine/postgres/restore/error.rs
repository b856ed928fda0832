//! What can go wrong with a restore into a server.

use crate::base::error::{Class, Explain, Explained};
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::restore::statements::Refused;

#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Postgres(#[from] PostgresError),
    #[error("{0}")]
    Content(Explained),
    #[error("{path} is not in the snapshot, or is no such file")]
    Absent { path: String },
    #[error("cannot read {path}")]
    List { path: String, source: serde_json::Error },
    #[error("{table} is not in the snapshot")]
    NoTable { table: String },
    #[error("the server took {found} rows of {table}: the snapshot holds {expected}")]
    Count { table: String, expected: u64, found: u64 },
    #[error("{} not what was captured, first {}", crate::base::text::counted(tables.len() as u64, "table"), .tables[0])]
    Differs { tables: Vec<String> },
    #[error("database {name} is there already and is not empty")]
    Occupied { name: String },
    #[error("{table} has rows already")]
    NotEmpty { table: String },
    #[error("{user} may not create databases on {server}")]
    MayNotCreate { user: String, server: String },
    #[error("{name} is what servers are administered through")]
    Administrative { name: String },
    #[error("{name} stays in use: {reason}")]
    InUse { name: String, reason: String },
    #[error("there is no database {name} any more")]
    Gone { name: String },
    #[error("{statement}: {source}")]
    Statement { statement: String, source: PostgresError },
    #[error("a definition is not text")]
    NotText,
    #[error("{path}, {why}")]
    NoDefinitions { path: String, why: Refused },
    #[error("{path} holds a statement that is no definition: {statement}")]
    Foreign { path: String, statement: String },
}

impl From<Explained> for LoadError {
    fn from(error: Explained) -> Self {
        Self::Content(error)
    }
}

impl Explain for LoadError {
    fn class(&self) -> Class {
        match self {
            Self::Postgres(error) => error.class(),
            Self::Content(error) => error.class(),
            Self::Statement { source, .. } => source.class(),
            Self::NoTable { .. } | Self::Occupied { .. } | Self::NotEmpty { .. } | Self::Administrative { .. } => {
                Class::Usage
            }
            Self::InUse { .. } => Class::Busy,
            Self::Differs { .. } | Self::Count { .. } => Class::Damaged,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Postgres(error) => return error.hint(),
            Self::Content(error) => return error.hint(),
            Self::Statement { source: PostgresError::NoObject { .. }, .. } => {
                "load roles and tablespaces first: strongroom restore SNAPSHOT SOURCE:globals.sql --to DIR, look at it, then psql -f DIR/globals.sql"
            }
            Self::Statement { source: PostgresError::Denied { .. }, .. } => {
                "let a role restore that may do what the definitions say, or the owner of all of it"
            }
            Self::Statement { source, .. } => return source.hint(),
            Self::NoDefinitions { .. } | Self::Foreign { .. } => {
                "nothing was run: no backup writes this. If you trust it all the same, restore it --to a folder, and read the head of load.sql there"
            }
            Self::NoTable { .. } => {
                "strongroom show SNAPSHOT lists its tables; write schema.table, a part with a dot in it in double quotes"
            }
            Self::Occupied { .. } => {
                "name a database that is not there yet, or add --clean to replace what is in this one"
            }
            Self::NotEmpty { .. } => "nothing was changed; --data-only fills tables that are empty",
            Self::MayNotCreate { .. } => {
                "ALTER ROLE … CREATEDB lets it; or, with --to, add --clean --no-safety: that replaces what is in a database"
            }
            Self::Administrative { .. } => "name another database",
            Self::InUse { .. } => {
                "stop what uses it, or let the role end others' sessions: GRANT pg_signal_backend TO it"
            }
            Self::Differs { .. } | Self::Count { .. } => {
                "nothing live was changed; --accept-damage goes on all the same, for a server that writes values otherwise"
            }
            _ => return None,
        };
        Some(hint.to_owned())
    }
}
