//! What can go wrong while a database is given back. Whenever one of these is told, the live database is as it was.

use std::path::PathBuf;
use std::time::Duration;
use std::{error, fmt, io};

use rusqlite::ErrorCode;

use crate::base::error::{Class, Explain, Explained, reason};
use crate::engine::sqlite::error::words;

#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    #[error("this build of SQLite lacks the table of its own pages")]
    NoPageTable,
    #[error("{} is not an SQLite database", .path.display())]
    NotADatabase { path: PathBuf },
    #[error("{} is damaged: SQLite cannot open it", .path.display())]
    Unreadable { path: PathBuf, source: rusqlite::Error },
    #[error("the snapshot's database cannot be given back: {what}")]
    Snapshot { what: String },
    #[error("the snapshot's content cannot be read")]
    Content { source: Cause },
    #[error("{} stayed locked for {} s", .path.display(), .waited.as_secs())]
    Busy { path: PathBuf, waited: Duration },
    #[error("{} was written to while it was being given back", .path.display())]
    Written { path: PathBuf },
    #[error("{} has another {what} than the snapshot, and an app has it open", .path.display())]
    InUse { path: PathBuf, what: &'static str },
    #[error("{} has another text encoding than the snapshot", .path.display())]
    Encoding { path: PathBuf },
    #[error("{} would not be sound: {findings}", .path.display())]
    Unsound { path: PathBuf, findings: String },
    #[error("cannot {action} {}: {reason}", .path.display())]
    Sqlite { action: &'static str, path: PathBuf, reason: String },
    #[error("cannot {action} {}: {}", .path.display(), reason(source))]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl ApplyError {
    /// The snapshot's content cannot be read, for this reason.
    pub fn content(reason: Explained) -> Self {
        Self::Content { source: Cause(reason) }
    }
}

impl Explain for ApplyError {
    fn class(&self) -> Class {
        match self {
            Self::Busy { .. } | Self::Written { .. } | Self::InUse { .. } => Class::Busy,
            Self::Content { source } => source.0.class(),
            Self::Interrupted => Class::Interrupted,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoPageTable => "build with LIBSQLITE3_FLAGS=SQLITE_ENABLE_DBPAGE_VTAB, as .cargo/config.toml does",
            Self::NotADatabase { .. } | Self::Unreadable { .. } => {
                "stop the app, move the file away with its -wal and -journal, and run this again"
            }
            Self::Snapshot { .. } => "restore it as a file, with --to",
            Self::Busy { .. } => {
                "somebody holds a lock: wait and run this again, with a longer --wait, or stop the app"
            }
            Self::Written { .. } => "nothing was changed: run this again",
            Self::InUse { .. } => "stop the app and run this again, or restore with --to",
            Self::Encoding { .. } => "stop the app, move the database away and run this again, or restore with --to",
            Self::Unsound { .. } => {
                "nothing was changed; look at it with restore --to, or take it with --accept-damage"
            }
            Self::Content { source } => return source.0.hint(),
            Self::Sqlite { .. } | Self::Io { .. } | Self::Interrupted => return None,
        };
        Some(hint.to_owned())
    }
}

/// Says of SQLite's errors what they mean for a live database.
pub(super) struct Told<'p> {
    pub path: &'p std::path::Path,
    pub wait: Duration,
}

impl Told<'_> {
    pub fn sqlite(&self, action: &'static str) -> impl Fn(rusqlite::Error) -> ApplyError {
        let (path, waited) = (self.path.to_owned(), self.wait);
        move |source| {
            let path = path.clone();
            match source.sqlite_error_code() {
                Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => ApplyError::Busy { path, waited },
                Some(ErrorCode::NotADatabase) => ApplyError::NotADatabase { path },
                Some(ErrorCode::DatabaseCorrupt) => ApplyError::Unreadable { path, source },
                _ => ApplyError::Sqlite { action, path, reason: words(&source) },
            }
        }
    }

    pub fn io(&self, action: &'static str) -> impl Fn(io::Error) -> ApplyError {
        let path = self.path.to_owned();
        move |source| ApplyError::Io { action, path: path.clone(), source }
    }
}

/// An error that came through a seam, as the source of another.
pub struct Cause(pub Explained);

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl error::Error for Cause {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        self.0.source()
    }
}
