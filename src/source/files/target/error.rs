//! What can go wrong while files are given back.

use std::{error, fmt, io};

use rustix::io::Errno;

use crate::base::error::{Class, Explain, Explained, reason};
use crate::base::path::{EntryPath, encode};

/// Why an entry, or with [`TargetError::is_fatal`] everything, could not be restored.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    #[error("cannot restore into {path}: it is not a folder")]
    NotAFolder { path: String },
    #[error("cannot restore into {path}: {}", reason(source))]
    Closed { path: String, source: io::Error },
    #[error("no space left to restore {path}")]
    Full { path: String, source: io::Error },
    #[error("cannot restore {path}: {}", reason(source))]
    ReadOnly { path: String, source: io::Error },
    #[error("cannot restore {path}: {what} is in the way")]
    InTheWay { path: String, what: String },
    #[error("cannot {action} {path}: {}", reason(source))]
    Io { action: &'static str, path: String, source: io::Error },
    #[error("cannot link {path}: its other name {first} is not there")]
    FirstName { path: String, first: String },
    #[error("the listing is wrong about {path}: {what}")]
    Listing { path: String, what: &'static str },
    #[error("cannot tell what {path} should hold")]
    Content { path: String, source: Cause },
}

impl TargetError {
    /// Does it end the whole restore, not just this entry?
    pub fn is_fatal(&self) -> bool {
        matches!(self, Self::NotAFolder { .. } | Self::Closed { .. } | Self::Full { .. } | Self::ReadOnly { .. })
    }

    /// What the system said, where it said anything.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Self::Closed { source, .. }
            | Self::Full { source, .. }
            | Self::ReadOnly { source, .. }
            | Self::Io { source, .. } => source.raw_os_error().map(Errno::from_raw_os_error),
            _ => None,
        }
    }

    /// The right variant for what the system said while doing `action` to `path`.
    pub(super) fn system(action: &'static str, path: &EntryPath, error: Errno) -> Self {
        let (path, source) = (path.to_string(), io::Error::from(error));
        match error {
            Errno::NOSPC | Errno::DQUOT => Self::Full { path, source },
            Errno::ROFS => Self::ReadOnly { path, source },
            _ => Self::Io { action, path, source },
        }
    }

    pub(super) fn in_the_way(path: &EntryPath, what: &[u8]) -> Self {
        Self::InTheWay { path: path.to_string(), what: encode(what) }
    }

    pub(super) fn listing(path: &EntryPath, what: &'static str) -> Self {
        Self::Listing { path: path.to_string(), what }
    }
}

impl Explain for TargetError {
    fn class(&self) -> Class {
        match self {
            Self::NotAFolder { .. } => Class::Usage,
            Self::Listing { .. } => Class::Damaged,
            Self::Content { source, .. } => source.0.class(),
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NotAFolder { .. } => "name a folder; it is made when it does not exist",
            Self::Closed { .. } => "name a folder you may write in",
            Self::Full { .. } => {
                "free some space and run the same command again: what is already restored is left alone"
            }
            Self::ReadOnly { .. } => "restore into a folder of another file system",
            Self::InTheWay { .. } => "move it away, or restore into an empty folder",
            Self::Content { source, .. } => return source.0.hint(),
            _ => return None,
        };
        Some(hint.into())
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
