//! Tables, their columns and keys, and what refers to what.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::base::record::name::{self, Meant};
use crate::base::record::{Key, Letters, Numbers, Row, Value};

/// What columns are called that people know a row by, the best first: in small letters, with nothing between words.
const NAMES: [&str; 3] = ["name", "fullname", "displayname"];
/// A person's, of two columns.
const PERSONS: [[&str; 2]; 3] = [["firstname", "lastname"], ["givenname", "familyname"], ["forename", "surname"]];
/// The next best. A title may be a book's or an employee's: it comes behind a person's own names.
const OTHERS: [&str; 8] = ["title", "label", "subject", "email", "username", "login", "filename", "slug"];

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
    pub unique: Vec<Unique>,
    /// What else no two rows may share, by the names of indexes: it cannot be looked up ahead.
    pub unseen: Vec<String>,
    pub references: Vec<Reference>,
    /// Tables whose rows these are too, where one inherits from another: what holds for rows of theirs holds for these.
    pub inherits: Vec<String>,
    /// What the store does on its own when rows are written.
    pub triggers: Vec<String>,
    /// A name that differs from its own, or from one of its columns', in capital letters only is another one's.
    pub tells_case: bool,
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
    /// Which differences between its texts do not count.
    pub letters: Letters,
    /// How numbers and text that reads as one compare.
    pub numbers: Numbers,
    /// Values of it may be the same in ways that only the store knows: an interval of a day is one of 24 hours.
    pub is_loose: bool,
}

/// Columns that no two rows may share.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unique {
    pub columns: Vec<usize>,
    /// How each of them is compared for it, where that is not how the column itself is.
    pub letters: Vec<Letters>,
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
    /// The column of this name, or the only one that differs from it in capital letters.
    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns_meant(name).one()
    }

    /// The same, and which ones there are where a name fits several.
    pub fn columns_meant(&self, name: &str) -> Meant {
        name::meant(name, self.columns.iter().map(|column| column.name.as_str()))
    }

    pub fn key_of(&self, row: &Row) -> Key {
        pick(row, &self.key)
    }

    pub fn key_names(&self) -> Vec<&str> {
        self.names(&self.key)
    }

    /// The columns by which people know its rows, going by what they are called and by what tells rows apart: the best first.
    /// Columns of the key are none of them: it says those already.
    pub fn titles(&self) -> Vec<Vec<usize>> {
        let plain: Vec<String> = self.columns.iter().map(|column| squeezed(&column.name)).collect();
        let place = |word: &str| plain.iter().position(|name| name == word).filter(|at| !self.key.contains(at));
        let own = |word: &str| self.own(&plain, word);
        let names: Vec<usize> = NAMES.iter().filter_map(|word| place(word)).chain(own("name")).collect();
        let persons = PERSONS.iter().filter_map(|pair| Some(vec![place(pair[0])?, place(pair[1])?]));
        let others: Vec<usize> = own("title").into_iter().chain(OTHERS.iter().filter_map(|word| place(word))).collect();
        let unique = names.iter().chain(&others).filter(|at| self.unique.iter().any(|one| one.columns[..] == [**at]));
        let one = |at: &usize| vec![*at];
        let ordered = unique.map(one).chain(names.iter().map(one)).chain(persons).chain(others.iter().map(one));
        let mut titles: Vec<Vec<usize>> = Vec::new();
        for columns in ordered {
            if !titles.contains(&columns) {
                titles.push(columns);
            }
        }
        titles
    }

    /// A column that has the table's own name before a word, as `product_name` of `products` has.
    fn own(&self, plain: &[String], word: &str) -> Option<usize> {
        let table = squeezed(&name::parts(&self.name).pop().unwrap_or_default());
        let is_own = |name: &String| {
            let thing = name.strip_suffix(word).filter(|thing| !thing.is_empty());
            thing.is_some_and(|thing| table.starts_with(thing))
        };
        plain.iter().position(is_own).filter(|at| !self.key.contains(at))
    }

    pub fn names(&self, columns: &[usize]) -> Vec<&str> {
        columns.iter().map(|&at| self.columns[at].name.as_str()).collect()
    }
}

/// The table that has this very name, as references and what was written down earlier name it, and its place. Only a store
/// that does not tell capital letters may write it in others.
pub fn exactly<'t>(tables: impl IntoIterator<Item = &'t Table>, name: &str) -> Option<(usize, &'t Table)> {
    let mut alike = None;
    for (at, table) in tables.into_iter().enumerate() {
        if table.name == name {
            return Some((at, table));
        }
        if !table.tells_case && table.name.eq_ignore_ascii_case(name) {
            alike = alike.or(Some((at, table)));
        }
    }
    alike
}

/// A name in small letters with nothing between its words: schemas write one in many ways.
fn squeezed(name: &str) -> String {
    name.chars().filter(|letter| letter.is_alphanumeric()).flat_map(char::to_lowercase).collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rows of a table of these columns are known by, the best first. The first column is the key; one with `!`
    /// tells rows apart.
    fn titles(name: &str, columns: &[&str]) -> Vec<String> {
        let column = |name: &&str| Column { name: name.trim_end_matches('!').to_owned(), ..Column::default() };
        let table = Table {
            name: name.to_owned(),
            columns: columns.iter().map(column).collect(),
            key: vec![0],
            unique: (0..columns.len())
                .filter(|at| columns[*at].ends_with('!'))
                .map(|at| Unique { columns: vec![at], ..Unique::default() })
                .collect(),
            ..Table::default()
        };
        table.titles().iter().map(|title| table.names(title).join(" ")).collect()
    }

    #[test]
    fn a_row_is_known_by_what_is_called_a_name_and_by_what_only_one_row_has_first() {
        let first = |name: &str, columns: &[&str]| titles(name, columns).into_iter().next().unwrap_or_default();
        let employee = ["EmployeeId", "LastName", "FirstName", "Title", "ReportsTo", "City", "Email"];
        assert_eq!(titles("Employee", &employee), ["FirstName LastName", "Title", "Email"]);
        assert_eq!(first("Album", &["AlbumId", "Title", "ArtistId"]), "Title");
        assert_eq!(first("film", &["film_id", "description", "title"]), "title");
        assert_eq!(first("users", &["id", "title", "email!", "first_name", "last_name"]), "email");
        assert_eq!(first("users", &["id", "subject", "Display-Name", "login!", "name!"]), "name");
        assert_eq!(first("app.products", &["id", "label", "supplier_name", "product_name"]), "product_name");
        assert_eq!(first("contracts", &["id", "supplier_name", "subject"]), "subject");
        // However its columns lie.
        let mut turned = employee;
        turned[1..].reverse();
        assert_eq!(titles("Employee", &turned), titles("Employee", &employee));
        // What the key says already is said once, and of what has no name there is none.
        assert!(titles("tags", &["name", "colour"]).is_empty());
    }
}
