//! Patterns such as `{id}/**`, with the values of one record in them.
//!
//! Owns the reading of them: a value never leads out of the source, and never means a pattern.

use std::collections::BTreeMap;
use std::path::Path;

use globset::{GlobBuilder, GlobMatcher};

use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::base::record::Value;
use crate::base::text::glob_literal;
use crate::format::manifest::SourceRecord;
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::alone;
use crate::record::model::{Linked, placeholders};
use crate::vault::read::{self, Library};

/// The files of one record, of one source.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pattern {
    /// What every path begins with.
    prefix: EntryPath,
    glob: String,
}

impl Pattern {
    /// The pattern with the record's values in it; `None` where one is empty.
    pub fn of(linked: &Linked, value: impl Fn(&str) -> Result<Value, OpError>) -> Result<Option<Self>, OpError> {
        let mut glob = linked.path.clone();
        for name in placeholders(&linked.path) {
            let text = match value(name)? {
                Value::Null => return Ok(None),
                Value::Integer(number) => number.to_string(),
                // With other letters in the place of what is no text it would be another record's.
                Value::Text(bytes) if !bytes.is_empty() => {
                    String::from_utf8(bytes).map_err(|_| wrong(&linked.path, &format!("{name} is no text in UTF-8")))?
                }
                other => return Err(wrong(&linked.path, &format!("{name} is {other}"))),
            };
            let leads_out = text.starts_with('/') || text.split('/').any(|part| part == ".." || part == ".");
            if leads_out {
                return Err(wrong(&linked.path, &format!("{name} is {}", crate::base::text::quoted(&text))));
            }
            glob = glob.replace(&format!("{{{name}}}"), &glob_literal(&text));
        }
        let plain: Vec<String> = glob.split('/').map_while(plain_part).collect();
        let prefix = match plain.is_empty() {
            true => EntryPath::root(),
            false => {
                EntryPath::from_bytes(plain.join("/").as_bytes()).map_err(|_| wrong(&linked.path, "it is no path"))?
            }
        };
        Ok(Some(Self { prefix, glob }))
    }

    /// The path of a file under a pattern that differs from this one by what it begins with.
    pub fn moved(&self, new: &Self, path: &EntryPath) -> Option<EntryPath> {
        let rest =
            |pattern: &Self| pattern.glob.split('/').skip(pattern.prefix.parts().count()).collect::<Vec<_>>().join("/");
        if self.prefix.is_root() || new.prefix.is_root() || rest(self) != rest(new) {
            // What was the key's is among the stars, or there is nothing before them.
            return (self.glob == new.glob).then(|| path.clone());
        }
        let inner = path.as_bytes().strip_prefix(self.prefix.as_bytes())?;
        EntryPath::from_bytes(&[new.prefix.as_bytes(), inner].concat()).ok()
    }

    /// The files of a snapshot that it means.
    pub fn entries(
        &self,
        record: &SourceRecord,
        library: &Library<'_>,
        found: &mut BTreeMap<EntryPath, Entry>,
    ) -> Result<(), OpError> {
        use std::os::unix::ffi::OsStrExt;
        let matcher = self.matcher()?;
        for entry in read::entries(&record.listing, &self.prefix, library) {
            let entry = entry?;
            let path = Path::new(std::ffi::OsStr::from_bytes(entry.path.as_bytes()));
            if entry.kind != Kind::Dir && matcher.is_match(path) {
                found.insert(entry.path.clone(), alone(entry, record, library)?);
            }
        }
        Ok(())
    }

    fn matcher(&self) -> Result<GlobMatcher, OpError> {
        let glob = GlobBuilder::new(&self.glob).literal_separator(true).build();
        Ok(glob.map_err(|error| wrong(&self.glob, &error.to_string()))?.compile_matcher())
    }
}

/// What a part of a glob means, if that is one name: `[*]` is a star, and so is `\*`.
fn plain_part(part: &str) -> Option<String> {
    let mut plain = String::new();
    let mut letters = part.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '[' => {
                let inner = letters.next()?;
                (letters.next()? == ']').then_some(())?;
                plain.push(inner);
            }
            '\\' => plain.push(letters.next()?),
            '*' | '?' | '{' => return None,
            other => plain.push(other),
        }
    }
    Some(plain)
}

fn wrong(path: &str, reason: &str) -> OpError {
    Problem::Linked { path: path.to_owned(), reason: reason.to_owned() }.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_letter_of_a_value_stands_for_itself_and_for_nothing_else() {
        for letter in (' '..='~').chain(['ä', '\u{202e}', '\n']).filter(|letter| *letter != '/') {
            for text in [format!("{letter}"), format!("a{letter}b"), format!("{letter}b"), format!("{letter}{letter}")]
            {
                let glob = glob_literal(&text);
                let matcher = GlobBuilder::new(&glob).literal_separator(true).build().unwrap().compile_matcher();
                assert!(matcher.is_match(&text), "{text}");
                assert_eq!(plain_part(&glob).as_deref(), Some(text.as_str()));
                let others = ["", "a", "b", "ab", "axb", "x", "bb"].into_iter().filter(|other| **other != text);
                others.for_each(|other| assert!(!matcher.is_match(other), "{text} {other}"));
            }
        }
    }
}
