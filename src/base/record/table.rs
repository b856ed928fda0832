//! Tables, their columns and keys, and what refers to what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::record::{Key, Row, Value};

/// What columns are called that people know a row by, the best first.
const TITLES: [&str; 11] = [
    "name",
    "title",
    "label",
    "subject",
    "full_name",
    "display_name",
    "email",
    "username",
    "filename",
    "file_name",
    "slug",
];

/// Stands among wanted columns for the part of a table that a row lies in, by name: a partition, say. Asked only of stores
/// whose references tell of parts.
pub const PART: usize = usize::MAX;

/// A table as one state of a database has it. Columns that are computed are left out: they follow the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// Which columns tell its rows apart.
    pub key: Vec<usize>,
    /// The key is a number the store gives every row, which is its first column; there is no other.
    pub numbered: bool,
    /// Other columns that no two rows may share.
    pub unique: Vec<Vec<usize>>,
    pub references: Vec<Reference>,
    /// Tables whose rows these are too, where one inherits from another: what holds for rows of theirs holds for these.
    pub inherits: Vec<String>,
    /// What the store does on its own when rows are written.
    pub triggers: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Column {
    pub name: String,
    /// As it was declared.
    pub kind: String,
    /// It may not be empty.
    pub required: bool,
    /// The store has a value for it where none is given.
    pub default: Option<String>,
    /// Text in it is the same in small and capital letters.
    pub ignores_case: bool,
}

/// Rows of one table that belong to rows of another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Columns of the table that refers.
    pub columns: Vec<usize>,
    /// The table that is referred to, by name.
    pub to: String,
    /// Its columns, by name.
    pub to_columns: Vec<String>,
    pub on_delete: OnDelete,
    /// The parts of the table whose rows refer; where there are none, all rows do.
    pub parts: BTreeSet<String>,
    /// The parts of the other table whose rows are referred to; where there are none, all may be.
    pub to_parts: BTreeSet<String>,
}

/// What becomes of a row when the one it refers to is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnDelete {
    /// It goes too.
    Cascade,
    /// It keeps the other from going.
    Restrict,
    /// It stays, and refers to nothing.
    SetNull,
    /// It stays, and refers to what its columns hold by default.
    SetDefault,
}

impl OnDelete {
    /// Does a row outlive the one it refers to?
    pub fn survives(self) -> bool {
        matches!(self, Self::SetNull | Self::SetDefault)
    }
}

impl Table {
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name.eq_ignore_ascii_case(name))
    }

    pub fn key_of(&self, row: &Row) -> Key {
        pick(row, &self.key)
    }

    pub fn key_names(&self) -> Vec<&str> {
        self.names(&self.key)
    }

    /// The same table, with these columns compared as those that they refer to are.
    pub fn referring(&self, columns: &[usize], to: &Table, to_columns: &[usize]) -> Self {
        let mut table = self.clone();
        for (at, to_at) in columns.iter().zip(to_columns) {
            table.columns[*at].ignores_case |= to.columns[*to_at].ignores_case;
        }
        table
    }

    /// The column by which people know its rows, going by what it is called; nothing where the key says it already.
    pub fn title(&self) -> Option<usize> {
        TITLES.iter().find_map(|name| self.column(name)).filter(|at| !self.key.contains(at))
    }

    pub fn names(&self, columns: &[usize]) -> Vec<&str> {
        columns.iter().map(|&at| self.columns[at].name.as_str()).collect()
    }
}

/// Does a row lie in one of these parts, or anywhere where there are none?
pub fn lies_in(parts: &BTreeSet<String>, part: &Value) -> bool {
    let is_one = |text: &[u8]| std::str::from_utf8(text).is_ok_and(|name| parts.contains(name));
    parts.is_empty() || matches!(part, Value::Text(text) if is_one(text))
}

/// The values of some columns.
pub fn pick(row: &[Value], columns: &[usize]) -> Vec<Value> {
    columns.iter().map(|&at| row[at].clone()).collect()
}
