//! What is to be done, row by row: something a person can read, keep, and have done later.
//!
//! Owns the form of a plan (docs/scripting.md). Holds keys and what differs, never whole rows: those stay in the snapshot.

use serde::{Deserialize, Serialize};

use crate::base::id::SnapshotId;
use crate::base::record::{Key, Value};
use crate::record::closure::Why;
use crate::record::drift::Given;

/// The form of plans that this version writes and reads.
pub const VERSION: u32 = 1;

/// What is to be done to live data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Plan {
    pub version: u32,
    pub snapshot: SnapshotId,
    /// The database, as the command line names it.
    pub database: String,
    /// What was asked for, in words.
    pub asked: String,
    pub options: Options,
    pub tables: Vec<TablePlan>,
    /// What comes back or is changed, in the order of writing: what others refer to comes first.
    pub steps: Vec<Step>,
    /// What should be known before it is done.
    pub notes: Vec<String>,
    /// What is not certain, or is missing when it is done: one line for each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub doubts: Vec<String>,
    /// Why it cannot be done; and the way out.
    pub refusals: Vec<Refusal>,
}

/// What was decided by whoever asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Options {
    pub on_conflict: OnConflict,
    pub remap_keys: bool,
    /// Rows under one key are the same record even where too little says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub trust_keys: bool,
    pub triggers: bool,
    /// Tables that live data lacks are made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub make_tables: bool,
    #[serde(default, skip_serializing_if = "Vec::is_empty", with = "given")]
    pub set: Vec<Given>,
}

/// What is done where live data has something else.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnConflict {
    /// Live data stays as it is.
    #[default]
    Skip,
    /// Live data becomes what the snapshot holds.
    Overwrite,
    /// Only what is empty in live data is filled.
    FillNull,
    /// Nothing at all is done.
    Abort,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    pub what: String,
    pub hint: String,
    /// Live data has no such table.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_table: bool,
}

/// A table of the plan.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TablePlan {
    /// As the snapshot calls it.
    pub name: String,
    /// As live data calls it; nothing where it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub live: Option<String>,
    pub key: Vec<String>,
    /// What would fire if rows were written by the app.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<String>,
}

/// What is done with one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its place among the plan's tables.
    pub table: usize,
    /// Its key in the snapshot.
    pub key: Key,
    /// What people know it by, where a column says: the beginning of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Its key in live data, where that is another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<Key>,
    pub why: Why,
    #[serde(flatten)]
    pub act: Act,
    /// What live data held under its key when the plan was made: a digest, or nothing. It is not done to anything else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
    /// Live data has another record under its key, or may have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken: Option<Taken>,
    /// Where live data has something else.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub differs: Vec<Difference>,
    /// References that are left empty, by their columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub emptied: Vec<String>,
    /// References that are filled in only when all rows are there, by their columns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later: Vec<String>,
    /// It refers to something that the snapshot lacks too.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dangling: bool,
    /// It is in a circle of references none of which may be empty.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub circular: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "act")]
pub enum Act {
    /// It is not there, and is added.
    Insert,
    /// It is there and gets these columns of the snapshot.
    Update { columns: Vec<String> },
    /// It is there, and refers again to what came back, by these columns.
    Relink { columns: Vec<String> },
    /// It is there as the snapshot has it.
    Keep,
    /// It is left as it is, or is not given back.
    Leave {
        #[serde(rename = "reason")]
        why: String,
    },
}

/// Whose a key is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Taken {
    /// It is another record's.
    Another,
    /// It is not certain that the record is the same.
    Unsure,
}

impl Act {
    pub fn writes(&self) -> bool {
        matches!(self, Self::Insert | Self::Update { .. } | Self::Relink { .. })
    }
}

/// A column in which live data has something else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    pub column: String,
    pub kept: Glimpse,
    pub live: Glimpse,
}

/// A value, or how to tell it from others if it is long.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Glimpse {
    Long { bytes: u64, sha256: String },
    Value(Value),
}

impl std::fmt::Display for Glimpse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => value.fmt(f),
            Self::Long { bytes, sha256 } => {
                write!(f, "{} ({}…)", crate::base::text::size(*bytes), &sha256[..sha256.len().min(8)])
            }
        }
    }
}

impl Step {
    pub fn new(table: usize, key: Key, why: Why, act: Act) -> Self {
        let (title, into, seen, differs, emptied, later) = (None, None, None, Vec::new(), Vec::new(), Vec::new());
        let (taken, dangling, circular) = (None, false, false);
        Self { table, key, title, into, why, act, seen, taken, differs, emptied, later, dangling, circular }
    }

    /// Is what the snapshot has missing in live data when the plan is done?
    pub fn is_missing(&self) -> bool {
        matches!(self.act, Act::Leave { .. }) && (self.seen.is_none() || self.taken.is_some())
    }

    /// Its key in live data.
    pub fn live_key(&self) -> &Key {
        self.into.as_ref().unwrap_or(&self.key)
    }
}

impl Plan {
    /// Is everything as the snapshot has it when the plan is done, but for what has changed since?
    pub fn is_whole(&self) -> bool {
        self.refusals.is_empty() && self.doubts.is_empty() && !self.steps.iter().any(Step::is_missing)
    }

    /// Rows that will be written.
    pub fn writes(&self) -> u64 {
        self.steps.iter().filter(|step| step.act.writes()).count() as u64
    }
}

/// A key as a person writes it.
pub fn shown(key: &[Value]) -> String {
    key.iter().map(Value::to_string).collect::<Vec<_>>().join(",")
}

/// What was given, as the command line has it.
mod given {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::record::drift::Given;

    pub fn serialize<S: Serializer>(given: &[Given], serializer: S) -> Result<S::Ok, S::Error> {
        let line = |one: &Given| format!("{}.{}={}", one.table, one.column, one.value);
        given.iter().map(line).collect::<Vec<_>>().serialize(serializer)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Given>, D::Error> {
        let lines = Vec::<String>::deserialize(deserializer)?;
        lines.iter().map(|line| line.parse().map_err(serde::de::Error::custom)).collect()
    }
}
