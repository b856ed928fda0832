//! Which databases of a snapshot have a table: from what the manifest says, and from the database where it does not say.
//!
//! Owns when a database needs no naming: where only one can be meant. What was looked up once is not looked up again for
//! another snapshot whose source has the same listing.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::record::name::{joined, parts};
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::show::Part;
use crate::ops::side::Side;
use crate::vault::random::Desk;

/// Looks tables up in the databases of snapshots.
pub struct Holders {
    desk: Arc<Desk>,
    control: Arc<Control>,
    /// The names of a database's tables, by the listing of its source and its path; `None` where it could not be read.
    tables: HashMap<(String, String), Option<BTreeSet<String>>>,
}

/// Does a database have a table?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Has {
    Yes,
    No,
    /// It could not be read; whoever reads it is told why.
    Unknown,
}

impl Holders {
    pub fn new(desk: Arc<Desk>, control: Arc<Control>) -> Self {
        Self { desk, control, tables: HashMap::new() }
    }

    /// The database that is meant: the only one of the part or the snapshot, or the only one with such a table.
    pub fn place<'m>(
        &mut self,
        manifest: &'m Manifest,
        part: Option<&Part>,
        table: &str,
    ) -> Result<Place<'m>, OpError> {
        match Place::find(manifest, part) {
            Err(OpError::Problem(Problem::WhichDatabase { .. })) => {
                let source = part.map(|part| part.source_of(manifest)).transpose()?;
                let mut places = Place::all(manifest);
                places.retain(|place| source.is_none_or(|source| place.source.name == source.name));
                self.one_of(places, manifest, table)
            }
            found => found,
        }
    }

    /// The only one of these with such a table.
    pub fn one_of<'m>(
        &mut self,
        mut places: Vec<Place<'m>>,
        manifest: &Manifest,
        table: &str,
    ) -> Result<Place<'m>, OpError> {
        let all: Vec<String> = places.iter().map(Place::label).collect();
        let has: Vec<Has> = places.iter().map(|place| self.has(place, manifest, table)).collect();
        let wanted = if has.contains(&Has::Yes) { Has::Yes } else { Has::Unknown };
        let mut has = has.into_iter();
        places.retain(|_| has.next() == Some(wanted));
        match places.len() {
            1 => Ok(places.swap_remove(0)),
            0 => {
                Err(Problem::NoHolder { snapshot: manifest.id.short(), table: table.to_owned(), databases: all }.into())
            }
            _ => {
                let databases = places.iter().map(Place::label).collect();
                Err(Problem::WhichHolder { table: table.to_owned(), databases }.into())
            }
        }
    }

    pub fn has(&mut self, place: &Place<'_>, manifest: &Manifest, table: &str) -> Has {
        if known_tables(place).any(|name| is_called(name, table)) {
            return Has::Yes;
        }
        // Not every table is counted in the manifest.
        match self.tables_of(place, manifest) {
            None => Has::Unknown,
            Some(tables) if tables.iter().any(|name| is_called(name, table)) => Has::Yes,
            Some(_) => Has::No,
        }
    }

    /// The same of this very name, where the database tells capital letters.
    pub fn has_exactly(&mut self, place: &Place<'_>, manifest: &Manifest, table: &str) -> bool {
        let is_it = |name: &String| is_exactly(name, table);
        !place.is_postgres()
            || known_tables(place).any(is_it)
            || self.tables_of(place, manifest).is_some_and(|tables| tables.iter().any(is_it))
    }

    fn tables_of(&mut self, place: &Place<'_>, manifest: &Manifest) -> Option<&BTreeSet<String>> {
        let listing = serde_json::to_string(&place.source.listing).expect("BUG: plain fields");
        let known = self.tables.entry((listing, place.path.to_string()));
        let read = || match Side::open(place, manifest, &self.desk, &self.control) {
            Ok(side) => Some(side.records().tables().ok()?.into_iter().map(|table| table.name).collect()),
            Err(OpError::Problem(Problem::NotADatabase { .. })) => Some(BTreeSet::new()),
            Err(_) => None,
        };
        known.or_insert_with(read).as_ref()
    }
}

/// The tables of a database that its manifest counts.
pub fn known_tables<'p>(place: &Place<'p>) -> impl Iterator<Item = &'p String> + use<'p> {
    place.known.into_iter().flat_map(|known| known.rows.keys())
}

/// May a table be called so? Names are compared without regard to case and quotes, and `public` needs no saying: this tells
/// which database is meant, and never which table of it.
pub fn is_called(name: &str, asked: &str) -> bool {
    let plain = |name: &str| {
        let name = joined(name);
        name.strip_prefix("public.").unwrap_or(&name).to_ascii_lowercase()
    };
    plain(name) == plain(asked)
}

/// Is it this very name, but that `public` needs no saying?
pub fn is_exactly(name: &str, asked: &str) -> bool {
    name == asked || name.strip_prefix("public.") == Some(asked)
}

/// The databases that the words of a statement name a table of. Words in texts and comments are no names.
pub fn named_in<'m>(statement: &str, places: Vec<Place<'m>>) -> Vec<Place<'m>> {
    let words = words(statement);
    let is_named = |name: &String| {
        let last = parts(name).pop().unwrap_or_default().to_lowercase();
        words.contains(&last) || words.contains(&name.to_lowercase())
    };
    places.into_iter().filter(|place| known_tables(place).any(is_named)).collect()
}

/// Names and keywords of a statement in SQL, in lower case.
fn words(statement: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let until = |end: &str, from: usize| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
        let length = match first {
            '\'' => until("'", 1),
            _ if rest.starts_with("--") => until("\n", 2),
            _ if rest.starts_with("/*") => until("*/", 2),
            '"' | '`' | '[' => {
                let end = until(if first == '[' { "]" } else { &rest[..1] }, 1);
                words.insert(rest[1..end].trim_end_matches(['"', '`', ']']).to_lowercase());
                end
            }
            _ if is_letter(first) => {
                let end = rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len());
                words.insert(rest[..end].to_lowercase());
                end
            }
            _ => first.len_utf8(),
        };
        rest = &rest[length..];
    }
    words
}

fn is_letter(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_statement_are_its_names_and_not_what_stands_in_texts_or_comments() {
        let found = words(
            "SELECT o.\"Order Id\", [a b] FROM live.Orders o -- users\n WHERE x = 'users' /* users */ AND ü_1 > 2",
        );
        let expected = ["2", "a b", "and", "from", "live", "o", "order id", "orders", "select", "where", "x", "ü_1"];
        assert_eq!(found.iter().map(String::as_str).collect::<Vec<_>>(), expected);
        assert!(words("SELECT 'no end").contains("select") && words("\"no end").contains("no end"));
        assert!(is_called("public.Users", "users") && !is_called("app.users", "users"));
    }
}
