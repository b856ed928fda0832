//! The tables of a server as they are now, beside captured ones in a question.
//!
//! Owns what the server is asked: at one moment, with what is pinned for a capture, so that equal values are equal; only
//! columns that are looked at, and rows as they come. Never writes, and has no more than one row of a scan in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::base::record::Value;
use crate::engine::postgres::catalog::Relation;
use crate::engine::postgres::error::PostgresError;
use crate::engine::postgres::layout::{Qualified, Shape, quoted};
use crate::engine::postgres::readers::{Reader, Readers};
use crate::engine::postgres::records::kept::arriving::Elsewhere;
use crate::engine::postgres::records::kept::handed::Alike;
use crate::engine::postgres::records::kept::shown::Shown;
use crate::engine::postgres::records::kept::table::KeptTable;
use crate::engine::postgres::records::kept::{KeptDatabase, is_told};
use crate::engine::postgres::records::schema;
use crate::engine::postgres::records::value::unescaped;
use crate::engine::postgres::settings::Settings;
use crate::engine::sqlite::ask::{LIVE, Placed, mentions_of_live};
use crate::engine::sqlite::vtab::{Comparison, Condition, Declared, Question, Rows, Virtual, Worth};

/// A row is about so long, where nobody has counted.
const ROW: u64 = 100;
/// Where in its file a row lies takes so many bits of its number; the others say which of the partitions it is in.
const PLACE: u32 = 48;

/// The tables of a server, where a session has them for this statement: all under one name. Those whose names stand in
/// the statement are locked until the tables are dropped, against being rewritten or emptied.
pub fn tables(settings: &Settings, statement: &str, control: &Arc<Control>) -> Result<Vec<Placed>, PostgresError> {
    let words = plain(statement);
    let is_named = |table: &Qualified| words.contains(&plain(&table.name));
    let mut readers = Readers::begin(settings, &is_named, mentions_of_live(statement), control)?;
    let relations = std::mem::take(&mut readers.relations);
    let described = schema::read(readers.session())?.into_iter();
    let shapes: HashMap<Qualified, Shape> = described.map(|table| (table.name, table.shape)).collect();
    let (readers, mut found) = (Arc::new(readers), gathered(relations, &shapes));
    found.retain(|_, (table, _)| is_told(table));
    let mut parts = BTreeMap::new();
    let mut database = KeptDatabase { tables: Vec::with_capacity(found.len()) };
    for (name, (table, relations)) in found {
        parts.insert(name, relations);
        database.tables.push(Arc::new(table));
    }
    let placed = database.places(Some(LIVE), 0).into_iter().map(|(table, placed)| {
        let parts = parts.remove(&table.name).expect("BUG: a table has parts");
        Placed { table: Arc::new(Present::new(table.clone(), parts, readers.clone())), ..placed }
    });
    Ok(placed.collect())
}

/// The tables that others know, each with those that its rows lie in.
fn gathered(
    mut relations: Vec<Relation>,
    shapes: &HashMap<Qualified, Shape>,
) -> BTreeMap<Qualified, (KeptTable, Vec<Relation>)> {
    // As they are captured: the first of several partitions says what columns there are.
    relations.sort_by_cached_key(|relation| EntryPath::from_bytes(relation.name.rows_path().as_bytes()).ok());
    let mut found: BTreeMap<Qualified, (KeptTable, Vec<Relation>)> = BTreeMap::new();
    for relation in relations {
        let line = relation.line(shapes.get(relation.known_as()).cloned(), 0, 0);
        match found.get_mut(relation.known_as()) {
            Some((table, parts)) => {
                table.add(&line, Arc::new(Elsewhere));
                parts.push(relation);
            }
            None => {
                let table = KeptTable::new(&line, Arc::new(Elsewhere));
                found.insert(relation.known_as().clone(), (table, vec![relation]));
            }
        }
    }
    found
}

/// What SQL would be quoted by is left out, and letters are small: whoever names a table has its name in such words.
fn plain(text: &str) -> String {
    text.chars().filter(|letter| !['"', '\'', '`'].contains(letter)).map(|letter| letter.to_ascii_lowercase()).collect()
}

/// A table of a server in SQLite.
struct Present {
    shown: Shown,
    /// What rows are chosen from: a table, or one of several partitions.
    from: String,
    /// A condition that holds for all of its rows, and whether others may be added.
    own: (String, bool),
    /// Its partitions.
    parts: Vec<u32>,
    /// How columns are named, to be equal to something and to be more or less than it.
    names: Vec<[String; 2]>,
    sorted_by: String,
    alike: Vec<Option<Alike>>,
    rows: u64,
    readers: Arc<Readers>,
}

impl Present {
    fn new(table: Arc<KeptTable>, relations: Vec<Relation>, readers: Arc<Readers>) -> Self {
        let first = &relations[0];
        let is_partitioned = first.known_as() != &first.name;
        let (from, own, parts) = match is_partitioned {
            true => {
                let parts: Vec<u32> = relations.iter().map(|relation| relation.oid).collect();
                let list = parts.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
                // What is in none of these is not captured either.
                (first.known_as().quoted(), (format!(" WHERE tableoid = ANY ('{{{list}}}'::oid[])"), true), parts)
            }
            false => {
                let own = first.own_condition().map(|own| format!(" {own}"));
                (format!("ONLY {}", first.name.quoted()), (own.unwrap_or_default(), first.is_whole()), Vec::new())
            }
        };
        let key = first.sort_columns();
        let alike: Vec<Option<Alike>> = table.record.columns.iter().map(Alike::of).collect();
        let names = table.record.columns.iter().zip(&alike).map(|(column, alike)| {
            let name = quoted(&column.name);
            let place = first.columns.iter().position(|other| other.name == column.name);
            let sorted = match (place.and_then(|place| key.get(place)), alike) {
                (Some(sorted), _) => sorted.clone(),
                (None, Some(Alike::Texts)) => format!("{name} COLLATE \"C\""),
                (None, _) => name.clone(),
            };
            [name, sorted]
        });
        let (names, rows) = (names.collect(), relations.iter().map(|relation| relation.bytes / ROW).sum());
        Self { shown: Shown(table), from, own, parts, names, sorted_by: key.join(", "), alike, rows, readers }
    }

    /// What is asked of the server: where a row lies, and then the columns that are looked at.
    fn select(&self, question: &Question, columns: &[usize]) -> String {
        let place = if self.parts.is_empty() { "ctid" } else { "ctid, tableoid" };
        let mut sql = format!("SELECT {place}");
        columns.iter().for_each(|column| sql += &format!(", {}", self.names[*column][0]));
        sql += &format!(" FROM {}{}", self.from, self.own.0);
        let is_unicode = self.readers.encoding == "UTF8";
        let condition = |one| self.condition(one, is_unicode);
        let conditions = question.conditions.iter().filter(|_| self.own.1).filter_map(condition);
        for (number, condition) in conditions.enumerate() {
            let word = if number == 0 && self.own.0.is_empty() { "WHERE" } else { "AND" };
            sql += &format!(" {word} {condition}");
        }
        if question.sorted {
            sql += &format!(" ORDER BY {}", self.sorted_by);
        }
        sql
    }

    fn condition(&self, one: &Condition, is_unicode: bool) -> Option<String> {
        let [name, sorted] = &self.names[one.column];
        self.alike[one.column]?.sql([name, sorted], one, is_unicode)
    }
}

impl Virtual for Present {
    fn columns(&self) -> Vec<Declared> {
        self.shown.columns()
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn worth(&self, column: usize, comparison: Comparison) -> Option<Worth> {
        self.alike[column]?;
        Some(match comparison {
            _ if self.shown.begins_key(column) => Worth::Key,
            Comparison::Equal if self.shown.is_noted(column) => Worth::Filter,
            _ => Worth::Sieve,
        })
    }

    fn order(&self) -> &[usize] {
        self.shown.order()
    }

    fn open(&self, question: &Question) -> Result<Box<dyn Rows>, Explained> {
        let table = self.shown.0.clone();
        let columns: Vec<usize> = (0..self.names.len()).filter(|column| question.needs(*column)).collect();
        let reader = self.readers.read(&self.select(question, &columns));
        let reader = reader.map_err(|error| Box::new(error) as Explained)?;
        let mut fields = vec![None; self.names.len()];
        let first = if self.parts.is_empty() { 1 } else { 2 };
        columns.iter().enumerate().for_each(|(place, column)| fields[*column] = Some(first + place));
        let part = |(number, oid): (usize, &u32)| (oid.to_string().into_bytes(), number as i64);
        let parts = self.parts.iter().enumerate().map(part).collect();
        Ok(Box::new(Passing { table, reader, fields, parts }))
    }
}

/// Rows as the server sends them.
struct Passing {
    table: Arc<KeptTable>,
    reader: Reader,
    /// Which field a column is, of those that are looked at.
    fields: Vec<Option<usize>>,
    parts: HashMap<Vec<u8>, i64>,
}

impl Rows for Passing {
    fn next(&mut self) -> Result<Option<i64>, Explained> {
        if !self.reader.next().map_err(|error| Box::new(error) as Explained)? {
            return Ok(None);
        }
        let part = if self.parts.is_empty() { 0 } else { self.parts[self.reader.field(1)] };
        Ok(Some((part << PLACE) | place(self.reader.field(0))))
    }

    fn value(&self, column: usize) -> Result<Value, Explained> {
        let field = self.fields[column].expect("BUG: SQLite looks at columns it has told of");
        let text = unescaped(self.reader.field(field));
        Ok(text.map_or(Value::Null, |text| self.table.kinds[column].value(&text)))
    }
}

/// Where a row lies, `(block,number)`, as a number.
fn place(ctid: &[u8]) -> i64 {
    let text = std::str::from_utf8(ctid).ok().and_then(|text| text.strip_prefix('(')?.strip_suffix(')'));
    let numbers = text.and_then(|text| text.split_once(','));
    let number = numbers.and_then(|(block, row)| Some((block.parse::<i64>().ok()? << 16) | row.parse::<i64>().ok()?));
    number.expect("BUG: the server says where a row lies")
}
