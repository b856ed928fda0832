//! What can go wrong with a use case, beyond what the floors below say themselves.

use std::error::Error;
use std::fmt;

use crate::base::error::{Class, Explain, Explained};

/// Any error of a floor below, or one of this floor's own.
#[derive(Debug)]
pub struct OpError(Explained);

impl OpError {
    pub fn into_explained(self) -> Explained {
        self.0
    }
}

impl<E: Explain> From<E> for OpError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for OpError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl OpError {
    pub fn class(&self) -> Class {
        self.0.class()
    }

    pub fn hint(&self) -> Option<String> {
        self.0.hint()
    }

    pub fn cause(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// Errors of this floor's own.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    #[error("snapshot {snapshot} has no source {source_name}")]
    NoSource { snapshot: String, source_name: String, sources: Vec<String> },
    #[error("snapshot {snapshot} has several sources; name one")]
    WhichSource { snapshot: String, sources: Vec<String> },
    #[error("{path} is not in {source_name} of snapshot {snapshot}")]
    NoPath { snapshot: String, source_name: String, path: String },
    #[error("{path} is not a file")]
    NotAFile { path: String },
    #[error("{source_name} is of kind {kind}, which this version cannot {verb}")]
    Kind { source_name: String, kind: String, verb: &'static str },
    #[error("cannot write the content of {path}")]
    Output { path: String, source: std::io::Error },
    #[error("there is nothing to back up")]
    Nothing,
    #[error("interrupted")]
    Interrupted,
}

impl Explain for Problem {
    fn class(&self) -> Class {
        match self {
            Self::WhichSource { .. } | Self::Nothing | Self::NotAFile { .. } => Class::Usage,
            Self::Interrupted => Class::Interrupted,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoSource { sources, .. } | Self::WhichSource { sources, .. } => {
                Some(format!("it has {}", sources.join(", ")))
            }
            Self::NoPath { snapshot, source_name, .. } => {
                Some(format!("list what it holds with strongroom show {snapshot} {source_name}"))
            }
            Self::Kind { .. } => Some("use a newer strongroom".into()),
            Self::Nothing => Some("name a path: strongroom backup PATH, or describe sources in strongroom.toml".into()),
            _ => None,
        }
    }
}
