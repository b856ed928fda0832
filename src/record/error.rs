//! What can go wrong with records. Whenever one of these is told, live data is as it was.

use crate::base::error::{Class, Explain, Explained};
use crate::base::record::Table;
use crate::base::record::name::Meant;
use crate::base::text::{counted, nearest, shell_word};

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("there is no entity or table {name} in {place}")]
    NoTable { name: String, place: String, nearest: Option<String> },
    #[error("{table} has no column {column}")]
    NoColumn { table: String, column: String, nearest: Option<String> },
    #[error("{name} may mean several {what} of {place}: {}", .fitting.join(", "))]
    Several { what: &'static str, name: String, place: String, fitting: Vec<String> },
    #[error("relation: {what}")]
    Relation { what: String },
    #[error("{table} {key} is not in the snapshot")]
    NoRecord { table: String, key: String },
    #[error("no row of {table} fits {condition}")]
    NoRows { table: String, condition: String },
    #[error("{table} has a key of {wanted}, and {given} was given")]
    KeyLength { table: String, wanted: String, given: String },
    #[error("{table} has no key, and holds {key} more than once")]
    Twins { table: String, key: String },
    #[error("more than {} would come back; {table} has the most of them, {}", counted(*.budget, "row"), counted(*.most, "row"))]
    Budget { budget: u64, table: String, most: u64 },
    #[error("live data has changed since the plan was made: {table} {key}")]
    Moved { table: String, key: String },
    #[error("{table} {key} would refer to {to}, which is not there")]
    Dangling { table: String, key: String, to: String },
    #[error("{table} {key} is in a circle of required references")]
    Circle { table: String, key: String },
    #[error("{table} {key} is not in the snapshot any more as the plan has it")]
    NotAsPlanned { table: String, key: String },
    #[error("{table} {key} would not hold in {column} what the snapshot has: the database makes something else of it")]
    Altered { table: String, key: String, column: String },
    #[error("{table} {key} would lie in {part}: {what}")]
    Elsewhere { table: String, key: String, part: String, what: String },
    #[error("--set {given}: {why}")]
    Set { given: String, why: String },
    #[error("{table} {key} is newer than what would be taken back")]
    Newer { table: String, key: String },
    #[error("{table} {key} is newer and refers to what would be removed of {to}")]
    Refers { table: String, key: String, to: String },
    #[error(
        "{table} {key} is newer and may refer to what would be removed of {to}: its {columns} can equal another value"
    )]
    MayRefer { table: String, key: String, to: String, columns: String },
    #[error("it is not known whether what was written lasts: {reason}")]
    Unknown { reason: String },
    #[error("{other} refused to commit what {lasting} had already: {reason}")]
    Apart { lasting: String, other: String, reason: String },
    #[error("two tables are called {table}: one of {first}, one of {other}")]
    SameName { table: String, first: String, other: String },
    #[error("triggers touch more than {}; {table} is the table they were at", counted(*.most, "row"))]
    Fired { table: String, most: u64 },
    #[error("cannot keep or read what rows held: {0}")]
    Image(String),
    #[error("{0}")]
    Store(Passed),
}

impl RecordError {
    /// Nothing or several columns are called so.
    pub fn no_column(table: &Table, column: &str) -> Self {
        if let Meant::Several(places) = table.columns_meant(column) {
            let fitting = table.names(&places).into_iter().map(str::to_owned).collect();
            let (name, place) = (column.to_owned(), table.name.clone());
            return Self::Several { what: "columns", name, place, fitting };
        }
        let known = table.columns.iter().map(|one| one.name.as_str());
        let nearest = nearest(column, known).map(str::to_owned);
        Self::NoColumn { table: table.name.clone(), column: column.to_owned(), nearest }
    }

    pub fn store(error: Explained) -> Self {
        Self::Store(Passed(error))
    }
}

impl From<Explained> for RecordError {
    fn from(error: Explained) -> Self {
        Self::store(error)
    }
}

impl Explain for RecordError {
    fn class(&self) -> Class {
        match self {
            Self::NoTable { .. } | Self::NoColumn { .. } | Self::Relation { .. } => Class::Usage,
            Self::KeyLength { .. } | Self::Set { .. } | Self::SameName { .. } => Class::Usage,
            Self::Store(error) => error.0.class(),
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::NoTable { nearest: Some(nearest), .. } | Self::NoColumn { nearest: Some(nearest), .. } => {
                return Some(format!("did you mean {nearest}?"));
            }
            Self::NoTable { .. } => "list the tables with strongroom query SNAPSHOT .tables",
            Self::NoColumn { table, .. } => {
                let schema = shell_word(&format!(".schema {table}"));
                return Some(format!("list its columns with strongroom query SNAPSHOT {schema}"));
            }
            Self::Several { what, fitting, .. } => {
                let first = shell_word(&fitting[0]);
                return Some(format!(
                    "capital letters and quotes tell these {what} apart; write one as it stands there: {first}"
                ));
            }
            Self::NoRecord { table, key } => {
                let (table, key) = (shell_word(table), shell_word(key));
                return Some(format!("see which snapshots hold it with strongroom find {table} {key}"));
            }
            Self::NoRows { .. } => "try the condition with strongroom query",
            Self::Twins { .. } => {
                "such rows cannot be told apart; restore the database beside the live one with --to, and copy them from there"
            }
            Self::Budget { .. } => "see the plan of fewer records, or allow more with --limit ROWS",
            Self::Moved { .. } => "nothing was written; run it again to see the plan as it is now",
            Self::Dangling { .. } | Self::Circle { .. } => "nothing was written; see the plan with --dry-run",
            Self::Newer { .. } => "nothing was changed; --force takes it back all the same, and what is newer with it",
            Self::Refers { .. } | Self::MayRefer { .. } => {
                "nothing was changed; delete that row or let it refer to something else, then undo again"
            }
            Self::SameName { .. } => "give the source another name, or leave others out with --alone",
            Self::Unknown { .. } | Self::Apart { .. } => {
                "the next strongroom undo --list asks the database, and finishes it or says that nothing was changed"
            }
            Self::Fired { .. } => "nothing was written; without --triggers on no trigger fires",
            Self::Image(_) => return None,
            Self::NotAsPlanned { .. } => "make the plan again",
            Self::Altered { .. } => {
                "nothing was written; take it out with --export, and see what a type or a rule makes of it"
            }
            Self::Elsewhere { .. } => {
                "nothing was written; recover it without --remap-keys, or take it out with --export"
            }
            Self::Set { .. } => "write --set TABLE.COLUMN=VALUE",
            Self::KeyLength { .. } => "give one value for each column of the key, with commas between them",
            Self::Relation { .. } => "see [[relation]] in docs/design.md",
            Self::Store(error) => return error.0.hint(),
        };
        Some(hint.to_owned())
    }
}

/// An error of a store, as it came.
pub struct Passed(pub Explained);

impl std::fmt::Debug for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Debug::fmt(&self.0, f)
    }
}

impl std::fmt::Display for Passed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(&self.0, f)
    }
}
