//! What can be wrong with bytes.

use crate::base::error::{Class, Explain};

/// Bytes that are not what they should be. The caller adds which object they came from.
#[derive(Debug, thiserror::Error)]
pub enum FormatError {
    #[error("{what} is cut short")]
    Truncated { what: &'static str },
    #[error("{what} is malformed: {why}")]
    Malformed { what: &'static str, why: String },
    #[error("{what} has been altered")]
    Altered { what: &'static str },
    #[error("{what} asks for {asked} bytes, more than the {limit} allowed")]
    TooLarge { what: &'static str, asked: u64, limit: u64 },
    #[error("{what} is of format {found}; this version reads formats up to {known}")]
    Newer { what: &'static str, found: u64, known: u64 },
    #[error("no identity opens {what}")]
    NoIdentity { what: &'static str },
}

impl FormatError {
    pub fn malformed(what: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed { what, why: why.to_string() }
    }
}

impl Explain for FormatError {
    fn class(&self) -> Class {
        match self {
            Self::Newer { .. } => Class::Failed,
            Self::NoIdentity { .. } => Class::NoIdentity,
            _ => Class::Damaged,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Newer { .. } => Some("use a newer strongroom".into()),
            _ => None,
        }
    }
}
