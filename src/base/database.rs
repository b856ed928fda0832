//! What is known of a captured database without opening it: the facts that stand in a manifest.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::path::EntryPath;

/// The fact that free pages were captured as zeros, whatever they held.
pub const FREE_PAGES: &str = "free pages";

/// The fact that a database was not checked, which takes longer than reading it.
pub const UNCHECKED: (&str, &str) = ("check", "left out");

/// The fact that it could not be captured since. Only hosts remember it: it stands in no manifest.
const CARRIED: &str = "not captured since";

/// A database among what a source captured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// Which entry of the listing it is.
    pub path: EntryPath,
    /// Whose it is: `sqlite`, `postgres`.
    pub engine: String,
    /// Rows per table.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub rows: BTreeMap<String, u64>,
    /// Bytes per table, where the engine tells.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bytes: BTreeMap<String, u64>,
    /// Which migration it has seen last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<Revision>,
    /// What the engine's own check complained about. A database that is not sound is kept all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// What else the engine says of it: words with values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
}

impl Database {
    /// The same, remembered beyond a capture that could not have it.
    #[must_use]
    pub fn carried(mut self) -> Self {
        self.facts.insert(CARRIED.to_owned(), String::new());
        self
    }

    /// Could the last capture not have it?
    pub fn is_carried(&self) -> bool {
        self.facts.contains_key(CARRIED)
    }

    /// Did the engine's own check find nothing wrong?
    pub fn is_sound(&self) -> bool {
        self.damage.is_none() && !self.facts.contains_key(UNCHECKED.0)
    }
}

/// A migration, as the tool that runs migrations names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// `alembic`, `django`, …
    pub tool: String,
    pub id: String,
}
