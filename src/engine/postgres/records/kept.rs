//! A captured database as tables: what a snapshot holds, found without loading it into a server.
//!
//! Owns which tables there are and where in SQLite each of them stands: `app.users` is `users` in a schema `app`, and
//! what is asked without a schema is found in `public` first. What only capital letters tell apart has numbers there. Reads files through a seam (`Files`), never a vault.

mod arriving;
mod check;
mod differences;
mod handed;
mod image;
mod order;
mod present;
mod runs;
mod scan;
mod shown;
mod table;
mod walk;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::base::record::{Each, Key, Records, Table, Value};
use crate::engine::postgres::layout::{self, Qualified};
use crate::engine::postgres::records::sameness;
use crate::engine::postgres::records::schema::{NUMBERED, PUBLIC};
use crate::engine::postgres::records::value::{Kind, plain_literal};
use crate::engine::sqlite::ask::{AskError, Placed, STATEMENTS, Session};
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::vtab::MOST_COLUMNS;

pub use arriving::Arrivals;
pub use check::Soundness;
pub use present::tables as present_tables;
pub use table::{Files, KeptTable, Start};

/// SQLite attaches no more schemas to one connection.
const MOST_SCHEMAS: usize = 10;
/// The schemas that every connection has.
const MAIN: &str = "main";
const TEMPORARY: &str = "temp";

/// The tables of a snapshot.
pub struct KeptDatabase {
    pub tables: Vec<Arc<KeptTable>>,
}

impl KeptDatabase {
    /// Reads the list of tables. `files` says where those of a line are.
    pub fn read(list: &dyn RandomRead, files: &dyn Fn(&layout::Table) -> Arc<dyn Files>) -> Result<Self, Explained> {
        let mut found: BTreeMap<Qualified, KeptTable> = BTreeMap::new();
        runs::lines(list, &mut |line| {
            // What a newer version has added is no reason to know nothing of the rest.
            let Ok(line) = serde_json::from_slice::<layout::Table>(line) else { return };
            let name = line.root.clone().unwrap_or_else(|| line.name.clone());
            match found.get_mut(&name) {
                Some(table) => table.add(&line, files(&line)),
                None => _ = found.insert(name, KeptTable::new(&line, files(&line))),
            }
        })?;
        Ok(Self { tables: found.into_values().filter(is_told).map(Arc::new).collect() })
    }

    /// The tables where a session has them: in schemas of their own, with so many other databases beside it.
    pub fn placed(&self, beside: usize) -> Vec<Placed> {
        self.places(None, beside).into_iter().map(|(_, placed)| placed).collect()
    }

    /// The tables where a session has them beside others: all under one name.
    pub fn placed_under(&self, name: &str) -> Vec<Placed> {
        self.places(Some(name), 0).into_iter().map(|(_, placed)| placed).collect()
    }

    fn places(&self, under: Option<&str>, beside: usize) -> Vec<(&Arc<KeptTable>, Placed)> {
        let room = MOST_SCHEMAS.saturating_sub(beside);
        let mut tables: Vec<&Arc<KeptTable>> = self.tables.iter().collect();
        tables.sort_by_key(|table| table.name.schema != PUBLIC);
        let schemas = tables.iter().map(|table| table.name.schema.clone()).collect();
        let mut places = Places { under, room, schemas, made: BTreeSet::new() };
        let wanted: Vec<(String, String)> = tables.iter().map(|table| places.wanted(table)).collect();
        let names = told_apart(&wanted, &[(MAIN, STATEMENTS)]);
        let placed = |((table, (schema, _)), name): ((&Arc<KeptTable>, (String, String)), String)| {
            let sql = if under.is_none() { statement(table) } else { String::new() };
            Placed { schema, name, table: Arc::new(shown::Shown(table.clone())), sql }
        };
        let all = tables.iter().copied().zip(wanted).zip(names);
        tables.iter().copied().zip(all.map(placed)).collect()
    }

    fn named(&self, name: &str) -> Option<&Arc<KeptTable>> {
        self.tables.iter().find(|table| table.record.name == name)
    }
}

/// SQLite knows no table without columns, nor can its rows be told apart.
fn is_told(table: &KeptTable) -> bool {
    (1..=MOST_COLUMNS).contains(&table.record.columns.len())
}

/// Says where every table would stand.
struct Places<'u> {
    under: Option<&'u str>,
    /// So many schemas may stand beside each other.
    room: usize,
    /// All that there are, and those that tables stand in.
    schemas: BTreeSet<String>,
    made: BTreeSet<String>,
}

impl Places<'_> {
    fn wanted(&mut self, table: &KeptTable) -> (String, String) {
        let (schema, mut name) = match self.under {
            Some(under) => (under.to_owned(), table.record.name.clone()),
            None => self.own(table),
        };
        // These are SQLite's own.
        if name.to_lowercase().starts_with("sqlite_") {
            name.insert(0, '_');
        }
        (schema, name)
    }

    /// A schema of the same name, if there may be one more. Of those that SQLite would take for each other none has one.
    fn own(&mut self, table: &KeptTable) -> (String, String) {
        let Qualified { schema, name } = &table.name;
        let is_like = |known: &String| known.eq_ignore_ascii_case(schema) && known != schema;
        let is_other = self.schemas.iter().any(is_like) || schema.eq_ignore_ascii_case(TEMPORARY);
        if schema == MAIN {
            return (MAIN.to_owned(), name.clone());
        }
        let is_main = schema.eq_ignore_ascii_case(MAIN);
        if is_other || is_main || (!self.made.contains(schema) && self.made.len() >= self.room) {
            return (MAIN.to_owned(), table.name.shown());
        }
        self.made.insert(schema.clone());
        (schema.clone(), name.clone())
    }
}

/// The names that things have in SQLite, which tells no capital letters in them. Where only those tell some apart, each of
/// them has a number behind it: what is written without is nobody's, rather than the wrong one's.
fn told_apart(wanted: &[(String, String)], taken: &[(&str, &str)]) -> Vec<String> {
    let plain = |(schema, name): (&str, &str)| (schema.to_lowercase(), name.to_lowercase());
    let plain_of = |(schema, name): &(String, String)| plain((schema, name));
    let mut alike: BTreeMap<(String, String), usize> = BTreeMap::new();
    wanted.iter().for_each(|one| *alike.entry(plain_of(one)).or_default() += 1);
    let mut all: BTreeSet<(String, String)> = alike.keys().cloned().collect();
    all.extend(taken.iter().map(|one| plain(*one)));
    let is_free = |one: &(String, String)| alike[one] == 1 && !taken.iter().any(|other| plain(*other) == *one);
    let name = |one: &(String, String)| {
        if is_free(&plain_of(one)) {
            return one.1.clone();
        }
        let mut numbered = (1..).map(|number| format!("{}_{number}", one.1));
        numbered.find(|name| all.insert(plain((&one.0, name)))).expect("BUG: there is always one more number")
    };
    wanted.iter().map(name).collect()
}

/// What would make the table, as far as it is known: for people.
fn statement(table: &KeptTable) -> String {
    let word = |name: &str| {
        let is_plain = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
        let begins = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
        if is_plain && begins { name.to_owned() } else { layout::quoted(name) }
    };
    let record = &table.record;
    let list =
        |columns: &[usize]| columns.iter().map(|&at| word(&record.columns[at].name)).collect::<Vec<_>>().join(", ");
    let here = shown::names(record);
    let column = |((column, kind), here): ((&crate::base::record::Column, &String), &String)| {
        let default = column.default.as_ref().map(|default| format!(" DEFAULT {default}")).unwrap_or_default();
        let called = if *here == column.name { String::new() } else { format!(" /* here {} */", word(here)) };
        format!("{} {kind}{}{default}{called}", word(&column.name), if column.required { " NOT NULL" } else { "" })
    };
    let mut lines: Vec<String> = record.columns.iter().zip(&table.declared).zip(&here).map(column).collect();
    if record.key.len() < record.columns.len() || record.columns.iter().all(|column| column.required) && table.is_shaped
    {
        lines.push(format!("PRIMARY KEY ({})", list(&record.key)));
    }
    lines.extend(record.unique.iter().map(|one| format!("UNIQUE ({})", list(&one.columns))));
    for reference in &record.references {
        use crate::base::record::OnDelete;
        let to = reference.to_columns.iter().map(|name| word(name)).collect::<Vec<_>>().join(", ");
        let on_delete = match reference.on_delete {
            OnDelete::Cascade => " ON DELETE CASCADE",
            OnDelete::Restrict => "",
            OnDelete::SetNull => " ON DELETE SET NULL",
            OnDelete::SetDefault => " ON DELETE SET DEFAULT",
        };
        let some = |what: &str, parts: &BTreeSet<String>| match parts.is_empty() {
            true => String::new(),
            false => format!(" /* {what} {} */", Vec::from_iter(parts.iter().cloned()).join(", ").replace("*/", "* /")),
        };
        let (of, into) = (some("rows in", &reference.parts), some("to rows in", &reference.to_parts));
        let columns = list(&reference.columns);
        lines.push(format!("FOREIGN KEY ({columns}) REFERENCES {} ({to}){on_delete}{of}{into}", reference.to));
    }
    format!("CREATE TABLE {}.{} (\n    {}\n)", word(&table.name.schema), word(&table.name.name), lines.join(",\n    "))
}

/// A snapshot's database, as the engine of records takes it.
pub struct Kept {
    pub database: Arc<KeptDatabase>,
    label: String,
    control: Arc<Control>,
    /// The same tables, to look for conditions in.
    asked: OnceCell<Asked>,
}

struct Asked {
    session: Session,
    /// Where a table stands in the session, by its name in records.
    places: BTreeMap<String, String>,
}

impl Kept {
    pub fn new(database: Arc<KeptDatabase>, label: &str, control: Arc<Control>) -> Self {
        Self { database, label: label.to_owned(), control, asked: OnceCell::new() }
    }

    fn asked(&self) -> Result<&Asked, AskError> {
        if let Some(asked) = self.asked.get() {
            return Ok(asked);
        }
        let (places, placed) = self
            .database
            .places(None, 0)
            .into_iter()
            .map(|(table, one)| {
                let place = format!("{}.{}", quoted(&one.schema), quoted(&one.name));
                ((table.record.name.clone(), place), one)
            })
            .unzip();
        let session = Session::over(placed, &self.label, self.control.clone())?;
        Ok(self.asked.get_or_init(|| Asked { session, places }))
    }

    fn table(&self, table: &Table) -> &Arc<KeptTable> {
        self.database.named(&table.name).expect("BUG: it is one of its own")
    }

    /// A statement that adds a row, of all columns of a table, to a server. Numbers that it would give itself are given.
    pub fn insert(&self, table: &Table, row: &[Value]) -> String {
        let names: Vec<String> = table.columns.iter().map(|column| layout::quoted(&column.name)).collect();
        let values: Vec<String> =
            table.columns.iter().zip(row).map(|(column, value)| plain_literal(Kind::of(&column.kind), value)).collect();
        let is_given = table.columns.iter().any(|column| column.default.as_deref() == Some(NUMBERED));
        let given = if is_given { " OVERRIDING SYSTEM VALUE" } else { "" };
        let into = self.table(table).name.quoted();
        format!("INSERT INTO {into} ({}){given} VALUES ({});\n", names.join(", "), values.join(", "))
    }

    /// The numbers of the rows that a condition holds for, in the order of the key.
    fn numbers(
        &self,
        table: &Table,
        condition: Option<&str>,
        each: &mut dyn FnMut(i64) -> Result<(), Explained>,
    ) -> Result<(), Explained> {
        let Asked { session, places } = self.asked().map_err(|error| Box::new(error) as Explained)?;
        let explain = |error| Box::new(session.explain(error)) as Explained;
        let only = condition.map(|condition| format!(" WHERE ({condition}\n)")).unwrap_or_default();
        let names = shown::names(&self.table(table).record);
        let key = table.key.iter().map(|&at| quoted(&names[at])).collect::<Vec<_>>().join(", ");
        let sql = format!("SELECT rowid FROM {}{only} ORDER BY {key}", places[&table.name]);
        let mut statement = session.connection().prepare(&sql).map_err(explain)?;
        let mut rows = statement.raw_query();
        while let Some(row) = rows.next().map_err(explain)? {
            each(row.get(0).map_err(explain)?)?;
        }
        Ok(())
    }
}

impl Records for Kept {
    fn label(&self) -> String {
        "the snapshot".to_owned()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        Ok(self.database.tables.iter().map(|table| table.record.clone()).collect())
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.table(table).find(table, by, keys, wanted, each)
    }

    /// The condition is SQL as SQLite has it, over values as `query` shows them.
    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let kept = self.table(table);
        if condition.is_none() && kept.is_sorted() {
            return kept.each(wanted, each);
        }
        // Values are read here and not through SQLite, which would have a long one in memory once more.
        self.numbers(table, condition, &mut |number| each(kept.row(number, wanted)?))
    }

    fn is_loose(&self, child: (&Table, &[usize]), parent: (&Table, &[usize])) -> bool {
        sameness::between(child, parent)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        Ok(typed(&table.columns[column].kind, text))
    }
}

/// What somebody typed, as a column of this type keeps it.
fn typed(kind: &str, text: &str) -> Value {
    let kind = Kind::of(kind);
    let trimmed = text.trim();
    match (kind, trimmed.to_ascii_lowercase().as_str()) {
        (Kind::Boolean, "true" | "yes" | "on" | "1") => Value::Integer(1),
        (Kind::Boolean, "false" | "no" | "off" | "0") => Value::Integer(0),
        (Kind::Integer | Kind::Real | Kind::Boolean | Kind::Bytes, _) => kind.value(trimmed.as_bytes()),
        (Kind::Numeric | Kind::Text, _) => Value::text(text),
    }
}

#[cfg(test)]
mod tests;
