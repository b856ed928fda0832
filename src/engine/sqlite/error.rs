//! What can go wrong with a live database, in words for people.

use std::io;
use std::path::{Path, PathBuf};

use rusqlite::ErrorCode;

use crate::base::error::{Class, Explain};
use crate::engine::sqlite::vfs::system::FOLDERS;

#[derive(Debug, thiserror::Error)]
pub enum SqliteError {
    #[error("{} is locked by another process", .file.display())]
    Busy { file: PathBuf, source: rusqlite::Error },
    #[error("{} is not a sound SQLite database: {reason}", .file.display())]
    Unsound { file: PathBuf, reason: String },
    #[error("cannot read {}: {reason}", .file.display())]
    Read { file: PathBuf, reason: String },
    #[error("interrupted")]
    Interrupted,
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    #[error("this build of SQLite cannot read databases by page")]
    Build,
}

impl SqliteError {
    /// Sorts SQLite's error by what a person can do about it.
    pub fn of(file: &Path, error: rusqlite::Error) -> Self {
        let file = file.to_owned();
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::Busy { file, source: error },
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Unsound { file, reason: words(&error) },
            Some(ErrorCode::OperationInterrupted) => Self::Interrupted,
            _ => Self::Read { file, reason: words(&error) },
        }
    }
}

/// SQLite's own message, without the number that rusqlite may put before it.
pub fn words(error: &rusqlite::Error) -> String {
    unnamed(message(error))
}

/// A message without the name by which this process reaches the file, which says nothing to people.
fn unnamed(mut message: String) -> String {
    if let Some(at) = message.find(FOLDERS) {
        let before = message[..at].trim_end_matches("file:").trim_end_matches([':', ' ']);
        message.truncate(before.len());
    }
    message
}

fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqliteFailure(failure, None) => failure.to_string().to_lowercase(),
        other => other.to_string(),
    }
}

impl Explain for SqliteError {
    fn class(&self) -> Class {
        match self {
            Self::Busy { .. } => Class::Busy,
            Self::Interrupted => Class::Interrupted,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Busy { .. } => {
                Some("something holds it exclusively: let it finish, or wait for longer with --wait SECONDS".to_owned())
            }
            Self::Build => {
                Some("build strongroom from its own folder, whose .cargo/config.toml asks for it".to_owned())
            }
            _ => None,
        }
    }
}
