//! Floor 2: what can be captured.
//!
//! Owns the trait every kind of source fulfils and the list of kinds. A kind is one file or folder here and one
//! word in the list; it reads its own configuration table. Never knows the vault: what it captures goes into an
//! [`EntrySink`].

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::capture::{Capture, EntrySink};
use crate::base::control::Control;
use crate::base::error::{Class, Explain, Explained, reason};
use crate::base::text;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::settings::Settings as Connection;

pub mod settings;

/// Something that can be captured.
pub trait Source: fmt::Debug + Send + Sync {
    /// The word it has in `SOURCES`, in the configuration and in manifests.
    fn kind(&self) -> &'static str;

    /// What is captured, for people: a path, a database's name. Never a secret.
    fn root(&self) -> String;

    /// Under what the host remembers a capture: what was captured in another way is no help.
    fn memory(&self) -> String {
        self.root()
    }

    /// The server it is captured from, and how to get there.
    fn server(&self) -> Option<&Connection> {
        None
    }

    /// What is there and is not captured, by name: whatever takes the place of all of it removes that.
    fn leaves_out(&self, _control: &Arc<Control>) -> Result<Vec<String>, SourceError> {
        Ok(Vec::new())
    }

    /// May there be nothing in it? Otherwise that is told.
    fn may_be_empty(&self) -> bool {
        false
    }

    /// What there is, in words, when there is nothing in it.
    fn nothing(&self) -> String {
        "there is nothing in it".to_owned()
    }

    /// Would it capture what lies at this path, as far as its configuration tells?
    fn covers(&self, _path: &Path) -> bool {
        false
    }

    /// The paths that it names, without links: its root, or the files that a pattern means now.
    fn names(&self) -> Vec<PathBuf> {
        Vec::new()
    }

    /// Hands everything to `sink`, in path order.
    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError>;

    /// Adds what there is to do to the control's expectations. Only for progress: may be wrong, or do nothing.
    fn estimate(&self, control: &Control);
}

/// A kind of source: its word, and how one is made of its configuration table.
#[derive(Debug)]
pub struct KindOf {
    pub name: &'static str,
    pub configure: Configure,
}

/// Makes a source of its table. Relative paths in it are relative to the folder `base`.
pub type Configure = fn(table: &toml::Table, base: &Path) -> Result<Box<dyn Source>, ConfigError>;

/// Declares the module of every kind and lists them in `SOURCES`. `cargo fmt` does not follow modules declared here.
macro_rules! sources {
    [$($kind:ident),* $(,)?] => {
        $(pub mod $kind;)*

        /// Every kind of source there is.
        pub static SOURCES: &[KindOf] =
            &[$(KindOf { name: stringify!($kind), configure: $kind::configure }),*];
    };
}

sources![files, postgres, sqlite];

/// Makes a source of its configuration table, by its `kind`.
pub fn configure(table: &toml::Table, base: &Path) -> Result<Box<dyn Source>, ConfigError> {
    let kind = match table.get("kind") {
        Some(toml::Value::String(kind)) => kind,
        Some(_) => return Err(ConfigError::Type { key: "kind".into(), expected: "a word" }),
        None => return Err(ConfigError::Missing { key: "kind" }),
    };
    match SOURCES.iter().find(|known| known.name == kind) {
        Some(known) => (known.configure)(table, base),
        None => {
            let nearest = text::nearest(kind, SOURCES.iter().map(|known| known.name));
            Err(ConfigError::UnknownKind { kind: kind.clone(), nearest })
        }
    }
}

/// A configuration table that does not describe a source. The caller knows which table, and on which line.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("unknown kind of source {kind:?}")]
    UnknownKind { kind: String, nearest: Option<&'static str> },
    #[error("unknown key {key:?}")]
    UnknownKey { key: String, nearest: Option<&'static str> },
    #[error("{key:?} is missing")]
    Missing { key: &'static str },
    #[error("{key:?} is not {expected}")]
    Type { key: String, expected: &'static str },
    #[error("{key:?}: {problem}")]
    Value { key: &'static str, problem: String },
}

impl ConfigError {
    /// The key to point at; for a missing one, the key that should be there.
    pub fn key(&self) -> &str {
        match self {
            ConfigError::UnknownKind { .. } => "kind",
            ConfigError::UnknownKey { key, .. } | ConfigError::Type { key, .. } => key,
            ConfigError::Missing { key } | ConfigError::Value { key, .. } => key,
        }
    }
}

impl Explain for ConfigError {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        match self {
            ConfigError::UnknownKey { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest:?}?")),
            ConfigError::UnknownKind { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest:?}?")),
            ConfigError::UnknownKind { nearest: None, .. } => {
                let kinds: Vec<&str> = SOURCES.iter().map(|known| known.name).collect();
                Some(format!("the kinds are: {}", kinds.join(", ")))
            }
            _ => None,
        }
    }
}

/// Why a capture ended before its time. What could not be read on the way is no error but a skip.
#[derive(Debug)]
pub enum SourceError {
    /// Somebody asked the operation to stop.
    Interrupted,
    /// There is nothing to capture at the place the source names.
    Root { path: PathBuf, cause: io::Error },
    /// The content of one file could not be read to its end. Goes to the sink, and comes back from it.
    Content { path: String, cause: io::Error },
    /// A server did not give what was asked of it.
    Postgres(PostgresError),
    /// The system gives no threads to work with.
    Threads(io::Error),
    /// The taker of the entries failed.
    Sink(Explained),
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::Interrupted => f.write_str("interrupted"),
            SourceError::Root { path, cause } => write!(f, "cannot capture {}: {}", path.display(), reason(cause)),
            SourceError::Content { path, cause } => write!(f, "cannot read {path}: {}", reason(cause)),
            SourceError::Postgres(error) => fmt::Display::fmt(error, f),
            SourceError::Threads(cause) => write!(f, "cannot start threads: {}", reason(cause)),
            SourceError::Sink(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl SourceError {
    /// Is nothing there any more?
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Root { cause, .. } if cause.kind() == io::ErrorKind::NotFound)
    }
}

impl From<PostgresError> for SourceError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Interrupted => SourceError::Interrupted,
            error => SourceError::Postgres(error),
        }
    }
}

impl Error for SourceError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            SourceError::Interrupted => None,
            SourceError::Root { cause, .. } | SourceError::Content { cause, .. } => Some(cause),
            SourceError::Postgres(error) => error.source(),
            SourceError::Threads(cause) => Some(cause),
            SourceError::Sink(error) => error.source(),
        }
    }
}

impl Explain for SourceError {
    fn class(&self) -> Class {
        match self {
            SourceError::Interrupted => Class::Interrupted,
            SourceError::Postgres(error) => error.class(),
            SourceError::Sink(error) => error.class(),
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            SourceError::Root { cause, .. } if cause.kind() == io::ErrorKind::NotFound => {
                Some("check the path; relative ones are relative to the configuration file".to_owned())
            }
            SourceError::Root { cause, .. } if cause.kind() == io::ErrorKind::IsADirectory => {
                Some("it was to be a file: a container that finds nothing to mount makes a folder, for one".to_owned())
            }
            SourceError::Postgres(error) => error.hint(),
            SourceError::Sink(error) => error.hint(),
            _ => None,
        }
    }
}
