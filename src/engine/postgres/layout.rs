//! The files a captured database is made of (docs/format.md §6): their names, and the lines of those that are lists.
//!
//! Never reads a database.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::base::record::{OnDelete, name};

/// The folder of rows: it sorts before everything else, so that what must be read last can be.
pub const DATA: &str = "data";
pub const DATABASE: &str = "database.sql";
pub const GLOBALS: &str = "globals.sql";
pub const LARGE_OBJECTS: &str = "large-objects";
pub const LOAD: &str = "load.sql";
pub const POST_DATA: &str = "post-data.sql";
pub const PRE_DATA: &str = "pre-data.sql";
pub const SEQUENCES: &str = "sequences.jsonl";
pub const TABLES: &str = "tables.jsonl";

/// A name longer than this, as it is written in a path, is cut.
const LONGEST: usize = 200;

/// A schema's and a thing's name in it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Qualified {
    pub schema: String,
    pub name: String,
}

impl Qualified {
    /// As SQL takes it, whatever is in it.
    pub fn quoted(&self) -> String {
        format!("{}.{}", quoted(&self.schema), quoted(&self.name))
    }

    /// For people and for facts: no two are shown the same.
    pub fn shown(&self) -> String {
        format!("{}.{}", name::part(&self.schema), name::part(&self.name))
    }

    /// The file of a table's rows.
    pub fn rows_path(&self) -> String {
        format!("{DATA}/{}/{}.copy", part(&self.schema), part(&self.name))
    }

    /// The file that says where in it which rows are.
    pub fn segments_path(&self) -> String {
        format!("{DATA}/{}/{}.segments", part(&self.schema), part(&self.name))
    }
}

/// A column of a file of rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    pub name: String,
    #[serde(rename = "type")]
    pub kind: String,
}

/// A line of `tables.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    #[serde(flatten)]
    pub name: Qualified,
    pub path: String,
    pub columns: Vec<Column>,
    /// What the rows are sorted by; nothing where they are in physical order.
    #[serde(default)]
    pub key: Vec<String>,
    /// The partitioned table at the top, of a partition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root: Option<Qualified>,
    /// Which of its rows these are, of a configuration table of an extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub condition: Option<String>,
    /// How it hangs together with others; of a partition, what holds for the table at the top.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shape: Option<Shape>,
    pub rows: u64,
    pub bytes: u64,
}

/// What holds for a table beside its columns.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// What tells its rows apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub key: Vec<String>,
    /// Other columns that no two rows may share.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unique: Vec<Vec<String>>,
    /// Columns that may not be empty.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub required: BTreeSet<String>,
    /// Columns that the server has a value for where none is given, and which.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub defaults: BTreeMap<String, String>,
    /// Columns whose text is the same in small and capital letters.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub ignores_case: BTreeSet<String>,
    /// Columns whose collation takes texts for the same that are written in different ways.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub collated: BTreeSet<String>,
    /// Columns of enumerations.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub enumerated: BTreeSet<String>,
    /// The types under those of columns whose type is a domain.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub bases: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<Reference>,
    /// The tables it inherits from. A partition inherits from none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub inherits: Vec<Qualified>,
    /// Triggers that fire.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<String>,
}

/// Columns that refer to those of another table; of a partitioned one, to the table at the top.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub columns: Vec<String>,
    #[serde(flatten)]
    pub to: Qualified,
    pub to_columns: Vec<String>,
    pub on_delete: OnDelete,
    /// The partitions whose rows refer, where it is declared on some only; otherwise all do.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub parts: BTreeSet<Qualified>,
    /// The partitions whose rows are referred to, where it leads to some only.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub to_parts: BTreeSet<Qualified>,
}

/// A line of `sequences.jsonl`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sequence {
    #[serde(flatten)]
    pub name: Qualified,
    pub last_value: i64,
    pub is_called: bool,
    pub increment: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owned_by: Option<Owner>,
}

/// The column that owns a sequence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    pub schema: String,
    pub table: String,
    pub column: String,
}

/// A name as SQL takes it.
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text as SQL takes it, whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let doubled = text.replace('\'', "''");
    if text.contains('\\') { format!("E'{}'", doubled.replace('\\', "\\\\")) } else { format!("'{doubled}'") }
}

/// The path of a large object's content.
pub fn large_object_path(oid: u32) -> String {
    format!("{LARGE_OBJECTS}/{oid}")
}

/// A name as a part of a path.
fn part(name: &str) -> String {
    let mut written = String::new();
    for (at, character) in name.char_indices() {
        match character {
            '/' | '\\' | '%' | '\0'..='\x1f' | '\x7f' => written += &format!("%{:02X}", u32::from(character)),
            '.' if at == 0 => written += "%2E",
            _ => written.push(character),
        }
    }
    if written.len() <= LONGEST {
        return written;
    }
    let mut cut = LONGEST;
    while !written.is_char_boundary(cut) {
        cut -= 1;
    }
    format!("{}%{}", &written[..cut], hex::encode(&Sha256::digest(name)[..8]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(schema: &str, name: &str) -> String {
        Qualified { schema: schema.into(), name: name.into() }.rows_path()
    }

    #[test]
    fn a_name_cannot_leave_its_folder_or_take_anothers_place() {
        assert_eq!(path("public", "Wörter"), "data/public/Wörter.copy");
        assert_eq!(path("..", "a/../b"), "data/%2E./a%2F..%2Fb.copy");
        assert_eq!(path("%2E.", "new\nline"), "data/%252E./new%0Aline.copy");
        assert_eq!(path("s", "a\\b'c"), "data/s/a%5Cb'c.copy");
        let long = "/".repeat(63);
        assert!(path("s", &long).len() == "data/s/".len() + 63 * 3 + ".copy".len());
        let longer = |end: &str| path("s", &format!("{}{end}", "ß/".repeat(50)));
        assert!(longer("a").len() < 240 && longer("a") != longer("b"));
    }

    #[test]
    fn names_and_texts_are_quoted_whatever_is_in_them() {
        assert_eq!(Qualified { schema: "a\"b".into(), name: "c d".into() }.quoted(), "\"a\"\"b\".\"c d\"");
        assert_eq!((literal("it's"), literal("a\\'")), ("'it''s'".into(), "E'a\\\\'''".into()));
    }

    #[test]
    fn no_two_tables_are_shown_the_same() {
        let shown = |schema: &str, name: &str| Qualified { schema: schema.into(), name: name.into() }.shown();
        assert_eq!(shown("app", "users"), "app.users");
        assert_eq!([shown("a", "b.c"), shown("a.b", "c")], ["a.\"b.c\"", "\"a.b\".c"]);
        assert_eq!(shown("a", "say \"b\""), "a.\"say \"\"b\"\"\"");
    }

    #[test]
    fn a_table_is_one_line_without_what_it_does_not_have() {
        let table = Table {
            name: Qualified { schema: "public".into(), name: "t".into() },
            path: "data/public/t.copy".into(),
            columns: vec![Column { name: "id".into(), kind: "bigint".into() }],
            key: vec!["id".into()],
            root: None,
            condition: None,
            shape: None,
            rows: 2,
            bytes: 4,
        };
        let line = r#"{"schema":"public","name":"t","path":"data/public/t.copy","columns":[{"name":"id","type":"bigint"}],"key":["id"],"rows":2,"bytes":4}"#;
        assert_eq!(serde_json::to_string(&table).unwrap(), line);
        assert_eq!(serde_json::from_str::<Table>(line).unwrap(), table);
    }
}
