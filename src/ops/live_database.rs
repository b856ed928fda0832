//! A live database that records are given back to, or taken from again: a file, or one of a server.
//!
//! Owns how it is named in plans and actions, which is never with a password, and opening it. A password is looked up
//! when it is needed: in the configuration, the environment or the password file.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path;
use crate::base::record::Change;
use crate::engine::postgres::records::Live as ServerLive;
use crate::engine::postgres::settings::{BadSettings, Settings};
use crate::engine::sqlite::records::Live as FileLive;
use crate::ops::backup::Planned;
use crate::ops::safety::place;
use crate::source::Source;
use crate::source::postgres::{PostgresSource, reach};
use crate::source::sqlite::SqliteSource;

#[derive(Clone, Debug)]
pub enum LiveDatabase {
    Sqlite(PathBuf),
    Postgres(Box<Settings>),
}

impl LiveDatabase {
    /// What a person or a plan names: a path, or a URL.
    pub fn of(text: &str) -> Result<Self, BadSettings> {
        match is_url(text) {
            true => Ok(Self::Postgres(Box::new(reach(text)?))),
            false => Ok(Self::Sqlite(PathBuf::from(text))),
        }
    }

    /// What an action names, which has paths in writing.
    pub(in crate::ops) fn of_action(text: &str) -> Result<Self, BadSettings> {
        if is_url(text) { Self::of(text) } else { Ok(Self::Sqlite(place(text))) }
    }

    /// As actions have it.
    pub(in crate::ops) fn written(&self) -> String {
        match self {
            Self::Sqlite(path) => path::encode(path.as_os_str().as_encoded_bytes()),
            Self::Postgres(settings) => settings.address(),
        }
    }

    /// The same, with what the configuration knows of how to get there.
    #[must_use]
    pub(in crate::ops) fn known(self, configured: &[Planned]) -> Self {
        let Self::Postgres(settings) = &self else { return self };
        let servers = configured.iter().filter_map(|planned| planned.source.server());
        let same = servers.into_iter().find(|known| known.shown() == settings.shown());
        same.map_or_else(|| self.clone(), |known| Self::Postgres(Box::new(known.clone())))
    }

    /// Opens it. A locked table or database is waited for.
    pub fn open(&self, wait: Duration, control: &Arc<Control>) -> Result<Box<dyn Change>, Explained> {
        let explain = |error| Box::new(error) as Explained;
        Ok(match self {
            Self::Sqlite(path) => Box::new(FileLive::open(path, wait).map_err(explain)?),
            Self::Postgres(settings) => {
                Box::new(ServerLive::open(settings, wait, control).map_err(|error| Box::new(error) as Explained)?)
            }
        })
    }

    /// Opens one that may not be there yet, if it is a file: it is made when something is written to it.
    pub(in crate::ops) fn open_or_make(
        &self,
        wait: Duration,
        control: &Arc<Control>,
    ) -> Result<Box<dyn Change>, Explained> {
        match self {
            Self::Sqlite(path) if self.is_missing() => {
                Ok(Box::new(FileLive::open_new(path, wait).map_err(|error| Box::new(error) as Explained)?))
            }
            _ => self.open(wait, control),
        }
    }

    /// A file that is not there, in a folder that is.
    pub(in crate::ops) fn is_missing(&self) -> bool {
        self.path().is_some_and(|path| {
            std::fs::symlink_metadata(path).is_err() && path.parent().is_some_and(|folder| folder.is_dir())
        })
    }

    /// What captures all of it.
    pub(in crate::ops) fn source(&self) -> Box<dyn Source> {
        match self {
            Self::Sqlite(path) => Box::new(SqliteSource::of(path.clone())),
            Self::Postgres(settings) => Box::new(PostgresSource::of(settings.as_ref().clone())),
        }
    }

    /// The file it is.
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Sqlite(path) => Some(path),
            Self::Postgres(_) => None,
        }
    }
}

fn is_url(text: &str) -> bool {
    let scheme = text.split_once("://").and_then(|(scheme, _)| scheme.split('+').next());
    matches!(scheme, Some("postgres" | "postgresql"))
}

/// For people.
impl fmt::Display for LiveDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "{}", path.display()),
            Self::Postgres(settings) => f.write_str(&settings.shown()),
        }
    }
}

impl PartialEq for LiveDatabase {
    fn eq(&self, other: &Self) -> bool {
        self.written() == other.written()
    }
}

impl Eq for LiveDatabase {}

impl Serialize for LiveDatabase {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Sqlite(path) => path.serialize(serializer),
            Self::Postgres(settings) => serializer.serialize_str(&settings.address()),
        }
    }
}

impl<'de> Deserialize<'de> for LiveDatabase {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::of(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}
