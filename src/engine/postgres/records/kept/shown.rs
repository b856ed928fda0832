//! A captured table as a table of SQLite.
//!
//! Owns what SQLite is told of its columns, and which of its conditions leave rows out before anybody sees them: those
//! whose idea of what is equal, or less, is the same here and there.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::error::Explained;
use crate::base::record::{Column, Letters, Table, Value};
use crate::engine::postgres::records::kept::order::Mark;
use crate::engine::postgres::records::kept::runs::Asked;
use crate::engine::postgres::records::kept::scan::{Scan, Sieve};
use crate::engine::postgres::records::kept::table::{KeptTable, PLACE, Part};
use crate::engine::postgres::records::kept::told_apart;
use crate::engine::postgres::records::value::Kind;
use crate::engine::sqlite::vtab::{Comparison, Condition, Declared, Question, Rows, Virtual, Worth};

/// The rows of several files, as SQLite takes them.
struct Chain {
    table: Arc<KeptTable>,
    waiting: std::vec::IntoIter<(usize, Scan)>,
    at: Option<(usize, RefCell<Scan>)>,
}

impl Rows for Chain {
    fn next(&mut self) -> Result<Option<i64>, Explained> {
        loop {
            if let Some((part, scan)) = &mut self.at
                && let Some(start) = scan.get_mut().next()?
            {
                return Ok(Some(((*part as i64) << PLACE) | start as i64));
            }
            match self.waiting.next() {
                Some((part, scan)) => self.at = Some((part, scan.into())),
                None => return Ok(None),
            }
        }
    }

    fn value(&self, column: usize) -> Result<Value, Explained> {
        let (part, scan) = self.at.as_ref().expect("BUG: it stands at a row");
        self.table.parts[*part].value(&mut scan.borrow_mut(), column, self.table.kinds[column])
    }
}

/// A table in SQLite.
pub struct Shown(pub Arc<KeptTable>);

/// What the columns of a table are called there.
pub(super) fn names(table: &Table) -> Vec<String> {
    let wanted: Vec<_> = table.columns.iter().map(|column| (String::new(), column.name.clone())).collect();
    told_apart(&wanted, &[])
}

impl Virtual for Shown {
    fn columns(&self) -> Vec<Declared> {
        let declared = |((column, kind), name): ((&Column, &Kind), String)| {
            let kind = match kind {
                Kind::Integer | Kind::Boolean => "INTEGER",
                Kind::Real => "REAL",
                Kind::Bytes => "BLOB",
                Kind::Numeric => "TEXT COLLATE DECIMAL",
                Kind::Text if column.letters == Letters::WithoutCase => "TEXT COLLATE NOCASE",
                Kind::Text => "TEXT",
            };
            Declared { name, kind }
        };
        let columns = self.0.record.columns.iter().zip(&self.0.kinds);
        columns.zip(names(&self.0.record)).map(declared).collect()
    }

    fn rows(&self) -> u64 {
        self.0.rows
    }

    fn worth(&self, column: usize, comparison: Comparison) -> Option<Worth> {
        match (self.0.kinds[column], comparison) {
            (Kind::Real | Kind::Numeric, _) => None,
            (_, _) if self.begins_key(column) => Some(Worth::Key),
            (_, Comparison::Equal) if self.is_noted(column) => Some(Worth::Filter),
            (_, Comparison::Equal) => Some(Worth::Sieve),
            _ => None,
        }
    }

    fn order(&self) -> &[usize] {
        &self.0.order
    }

    fn open(&self, question: &Question) -> Result<Box<dyn Rows>, Explained> {
        let mut scans = Vec::new();
        for (at, part) in self.0.parts.iter().enumerate() {
            let (asked, sieves) = self.asked(part, &question.conditions);
            scans.push((at, part.scan(&self.0, asked.as_ref(), sieves)?));
        }
        Ok(Box::new(Chain { table: self.0.clone(), waiting: scans.into_iter(), at: None }))
    }
}

impl Shown {
    /// Is it the first of the columns that rows are sorted by?
    pub(super) fn begins_key(&self, column: usize) -> bool {
        self.0.parts.iter().all(|part| part.key.first().is_some_and(|(first, _)| *first == column))
    }

    /// Filters are kept of columns that refer to others, and of those that indexes begin with.
    pub(super) fn is_noted(&self, column: usize) -> bool {
        let record = &self.0.record;
        record.references.iter().any(|reference| reference.columns.contains(&column))
            || record.unique.iter().any(|one| one.columns.first() == Some(&column))
    }

    /// What conditions ask of a file: of its key, and of other columns.
    fn asked(&self, part: &Part, conditions: &[Condition]) -> (Option<Asked>, Vec<Sieve>) {
        let (mut sieves, mut points): (Vec<Sieve>, Vec<(usize, BTreeSet<Mark>)>) = (Vec::new(), Vec::new());
        let (mut low, mut high) = (None, None);
        for one in conditions {
            let kind = self.0.kinds[one.column];
            let Some(texts) = one.values.iter().map(|value| as_kept(kind, value)).collect::<Option<Vec<_>>>() else {
                continue;
            };
            let place = part.key.iter().position(|(column, _)| *column == one.column);
            let mark = |text: &Vec<u8>| part.key[place?].1.mark(text);
            match one.comparison {
                Comparison::Equal => {
                    sieves.extend(part.sieve(one.column, texts.iter().map(Vec::as_slice)));
                    if let (Some(place), Some(marks)) = (place, texts.iter().map(mark).collect()) {
                        points.push((place, marks));
                    }
                }
                Comparison::Below | Comparison::AtMost if place == Some(0) => high = mark(&texts[0]),
                Comparison::Above | Comparison::AtLeast if place == Some(0) => low = mark(&texts[0]),
                _ => {}
            }
        }
        (keys(points).or_else(|| (low.is_some() || high.is_some()).then_some(Asked::Between(low, high))), sieves)
    }
}

/// The keys that conditions on single columns leave.
fn keys(mut points: Vec<(usize, BTreeSet<Mark>)>) -> Option<Asked> {
    points.sort_by_key(|(place, _)| *place);
    points.dedup_by_key(|(place, _)| *place);
    let mut leading = points.into_iter().enumerate().map_while(|(at, (place, marks))| (at == place).then_some(marks));
    let mut found: BTreeSet<Vec<Mark>> = leading.next()?.into_iter().map(|mark| vec![mark]).collect();
    for marks in leading {
        // A list for each of several columns: one column is enough to find the place.
        let [only] = &marks.iter().collect::<Vec<_>>()[..] else { break };
        found = found
            .into_iter()
            .map(|mut key| {
                key.push((*only).clone());
                key
            })
            .collect();
    }
    Some(Asked::Points(found))
}

/// A value as fields of such a column would be written, if SQLite's idea of what is equal to it is no other.
pub(super) fn as_kept(kind: Kind, value: &Value) -> Option<Vec<u8>> {
    match (kind, value) {
        (Kind::Integer, Value::Integer(number)) => Some(number.to_string().into_bytes()),
        (Kind::Integer, Value::Real(real)) if real.fract() == 0.0 && real.abs() < 9e15 => {
            Some((*real as i64).to_string().into_bytes())
        }
        (Kind::Integer, Value::Text(text)) => {
            let number: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (number.to_string().as_bytes() == text.as_slice()).then(|| text.clone())
        }
        (Kind::Boolean, Value::Integer(0 | 1)) | (Kind::Text, Value::Text(_)) | (Kind::Bytes, Value::Blob(_)) => {
            kind.text(value).map(std::borrow::Cow::into_owned)
        }
        _ => None,
    }
}
