//! What can go wrong with the rows of a live database of a server.

use std::time::Duration;

use crate::base::error::{Class, Explain, Explained};
use crate::engine::postgres::error::PostgresError;

/// Whatever was written is taken back, unless the error says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("{database} stayed locked for {} s: {reason}", .waited.as_secs())]
    Busy { database: String, waited: Duration, reason: String },
    #[error("{database} does not take a row of {table}: {reason}")]
    Refused { database: String, table: String, reason: String },
    #[error("{database} would hold rows that refer to nothing: {reason}")]
    Reference { database: String, reason: String },
    #[error("triggers of {table} cannot be kept from firing: {reason}")]
    Triggers { table: String, reason: String },
    #[error("the rule {rule} of {table} would make something else of what is written")]
    Rule { table: String, rule: String, ours: bool },
    #[error("{text:?} is no {kind}: {reason}")]
    Typed { text: String, kind: String, reason: String },
    #[error("{database}: the transaction {transaction} has not ended yet")]
    Going { database: String, transaction: String },
    #[error("{table} has no key, and more than one row is {key}")]
    Twins { table: String, key: String },
    #[error("what {database} lacks cannot be made: {statement}: {reason}")]
    Unmade { database: String, statement: String, reason: String },
    #[error("there is no table {table} in {database} any more")]
    Gone { database: String, table: String },
    #[error(transparent)]
    Server(#[from] PostgresError),
}

impl From<LiveError> for Explained {
    fn from(error: LiveError) -> Self {
        Box::new(error)
    }
}

impl Explain for LiveError {
    fn class(&self) -> Class {
        match self {
            Self::Busy { .. } | Self::Going { .. } => Class::Busy,
            Self::Typed { .. } => Class::Usage,
            Self::Server(error) => error.class(),
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Busy { .. } => {
                "somebody holds a lock: wait and run this again, with a longer --wait, or stop the app"
            }
            Self::Refused { .. } => "nothing was written; give the column another value with --set TABLE.COLUMN=VALUE",
            Self::Reference { .. } => "nothing was written; see the plan with --dry-run",
            Self::Triggers { .. } => {
                "take the owner of the table, or a superuser; or let them fire, as for the app: --triggers on"
            }
            Self::Rule { ours: true, .. } => "nothing was written; with --triggers off rules are switched off, too",
            Self::Rule { .. } => "nothing was written; let the owner of the table, or a superuser, do this",
            Self::Going { .. } => "wait until the server has noticed that nobody is there any more",
            Self::Twins { .. } => "nothing was written; such rows cannot be told apart: change them with psql",
            Self::Unmade { .. } => {
                "nothing was written; make the tables first: strongroom restore SNAPSHOT SOURCE --schema-only --to URL"
            }
            Self::Gone { .. } => "something changes the schema: let it finish, and try again",
            Self::Typed { .. } => return None,
            Self::Server(PostgresError::Hidden { .. }) => "take a user with BYPASSRLS, or the owner of the table",
            Self::Server(PostgresError::Denied { .. }) => {
                "nothing was written; let the owner of the tables do this, or GRANT what is missing"
            }
            Self::Server(error) => return error.hint(),
        };
        Some(hint.to_owned())
    }
}
