//! Why a question has no answer, in words for people.

use std::io;

use crate::base::error::{Class, Explain, Explained};
use crate::base::text;
use crate::engine::sqlite::error::words;

#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// What the database is read from.
    #[error("{}", with_cause(&**.0))]
    Content(Explained),
    #[error("{message}")]
    Sql { message: String, hint: String },
    #[error("this statement writes, and snapshots are never written")]
    Writes,
    #[error("not allowed here: {what}")]
    Refused { what: String },
    #[error("there is more than one statement")]
    Several,
    #[error("there is no statement that answers anything")]
    Nothing,
    #[error("{what}")]
    Parameters { what: String },
    #[error("{label} is not sound: {reason}")]
    Unsound { label: String, reason: String },
    #[error("the live database {place} cannot be asked: {}", .why.reason)]
    NoLive { place: String, why: Absent },
    #[error("{name} has the text encoding {other}, and what it is asked beside has {one}")]
    Encodings { name: String, one: &'static str, other: &'static str },
    #[error("the live database is locked: {reason}")]
    Busy { reason: String },
    #[error("the answer needs more than {} of temporary data", text::size(*limit))]
    Full { limit: u64 },
    #[error("SQLite: {0}")]
    Sqlite(String),
    #[error("cannot write the answer")]
    Output(#[source] io::Error),
    #[error("interrupted")]
    Interrupted,
}

const LET_GO: &str = "something holds it exclusively: let it finish, or stop it";

/// Why there is no live database.
#[derive(Clone, Debug)]
pub struct Absent {
    reason: String,
    class: Class,
    hint: Option<String>,
}

impl Absent {
    pub fn because(reason: &str) -> Self {
        Self { reason: reason.to_owned(), class: Class::Failed, hint: None }
    }

    /// Somebody holds it just now.
    pub fn busy(reason: &str) -> Self {
        Self { reason: reason.to_owned(), class: Class::Busy, hint: Some(LET_GO.to_owned()) }
    }

    #[must_use]
    pub fn hinting(self, hint: &str) -> Self {
        Self { hint: Some(hint.to_owned()), ..self }
    }

    pub fn of(error: &dyn Explain) -> Self {
        Self { reason: with_cause(error), class: error.class(), hint: error.hint() }
    }
}

/// An error of another floor with its cause: the seam it came through carries only one of them.
fn with_cause(error: &dyn Explain) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// SQLite's own message, without the statement that rusqlite repeats.
pub fn message(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqlInputError { msg, sql, offset, .. } => match usize::try_from(*offset) {
            Ok(at) if at > 0 && at <= sql.len() && !msg.starts_with("no such") => {
                format!("{msg}, at letter {}", at + 1)
            }
            _ => msg.clone(),
        },
        other => words(other),
    }
}

impl Explain for AskError {
    fn class(&self) -> Class {
        match self {
            Self::Content(error) => error.class(),
            Self::Sql { .. } | Self::Writes | Self::Refused { .. } | Self::Several | Self::Nothing => Class::Usage,
            Self::Parameters { .. } => Class::Usage,
            Self::Busy { .. } => Class::Busy,
            Self::Interrupted => Class::Interrupted,
            Self::NoLive { why, .. } => why.class,
            Self::Encodings { .. } | Self::Unsound { .. } | Self::Full { .. } | Self::Sqlite(_) | Self::Output(_) => {
                Class::Failed
            }
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Content(error) => return error.hint(),
            Self::Sql { hint, .. } => hint,
            Self::Writes => "restore the database with strongroom restore, and write to the copy",
            Self::Refused { .. } => "further snapshots are attached with --attach NAME=SNAPSHOT",
            Self::Several => "ask one at a time",
            Self::Nothing => "write a SELECT, .tables or .schema",
            Self::Parameters { .. } => "give values with --bind VALUE or --bind NAME=VALUE",
            Self::Encodings { .. } => {
                "SQLite cannot compare them: ask them one at a time, or restore both and compare them"
            }
            Self::Unsound { .. } => "it was captured like this; an earlier snapshot may be sound",
            Self::Busy { .. } => LET_GO,
            Self::Full { .. } => "narrow the question, or restore the database and ask the copy",
            Self::NoLive { why, .. } => return why.hint.clone(),
            Self::Sqlite(_) | Self::Output(_) | Self::Interrupted => return None,
        };
        Some(hint.to_owned())
    }
}
