//! What can go wrong with the rows of a live database.

use std::path::PathBuf;
use std::time::Duration;

use rusqlite::ErrorCode;

use crate::base::error::{Class, Explain};
use crate::engine::sqlite::error::words;

/// What can go wrong with the rows of a live database. Whatever was written is taken back.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    #[error("{} stayed locked for {} s", .path.display(), .waited.as_secs())]
    Busy { path: PathBuf, waited: Duration },
    #[error("{} does not take a row of {table}: {reason}", .path.display())]
    Refused { path: PathBuf, table: String, reason: String },
    #[error("{} would hold rows that refer to nothing", .path.display())]
    Reference { path: PathBuf },
    #[error("a trigger of {} takes rows out of {table} that an undo could not give back", .path.display())]
    Unnoted { path: PathBuf, table: String },
    #[error("cannot use {}: {reason}", .path.display())]
    Sqlite { path: PathBuf, reason: String },
}

impl RecordsError {
    pub(super) fn of(path: PathBuf, waited: Duration, table: Option<&str>, error: &rusqlite::Error) -> Self {
        let reason = words(error);
        match (error.sqlite_error_code(), table) {
            (Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked), _) => Self::Busy { path, waited },
            (Some(ErrorCode::ConstraintViolation), Some(table)) => {
                Self::Refused { path, table: table.to_owned(), reason }
            }
            (Some(ErrorCode::ConstraintViolation), None) => Self::Reference { path },
            _ => Self::Sqlite { path, reason },
        }
    }
}

impl Explain for RecordsError {
    fn class(&self) -> Class {
        match self {
            Self::Busy { .. } => Class::Busy,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Busy { .. } => {
                "somebody holds a lock: wait and run this again, with a longer --wait, or stop the app"
            }
            Self::Refused { .. } => "nothing was written; give the column another value with --set TABLE.COLUMN=VALUE",
            Self::Unnoted { .. } => "nothing was written; without --triggers on no trigger fires",
            Self::Reference { .. } => "nothing was written; see the plan with --dry-run",
            Self::Sqlite { .. } => return None,
        };
        Some(hint.to_owned())
    }
}
