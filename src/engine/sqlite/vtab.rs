//! Rows that lie elsewhere as tables of SQLite: a seam for whoever has them.
//!
//! Owns what SQLite is told of such a table and what it is asked for: columns, which conditions are handed on, rows as
//! they come. SQLite checks every condition itself again, so that a table may hand over more rows than were asked for,
//! never fewer. Writing is refused by SQLite: the module has no way to.
//!
//! The second place of unsafe code in the engine, and none but promises to rusqlite: its traits are unsafe since SQLite
//! takes what implements them for its own structs. Both begin with SQLite's struct, which SQLite alone touches.

#![allow(unsafe_code)]

use std::borrow::Cow;
use std::ffi::{CStr, CString, c_int};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::fallible_iterator::FallibleIterator;
use rusqlite::ffi;
use rusqlite::vtab::{
    Context, CreateVTab, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConnection, VTabCursor, VTabKind,
};
use rusqlite::{Connection, Error, Result};

use crate::base::error::Explained;
use crate::base::record::Value;
use crate::engine::sqlite::decimal::decimal;
use crate::engine::sqlite::facts::quoted;

/// The module's name in `CREATE VIRTUAL TABLE`.
pub const MODULE_NAME: &str = "strongroom_rows";
/// The collation of texts that are numbers.
pub const DECIMAL: &str = "DECIMAL";
/// A table of so many columns is declared, and no more: SQLite's own limit.
pub const MOST_COLUMNS: usize = 2000;

/// A column as SQLite is to take it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    pub name: String,
    /// A type and a collation, in SQLite's words.
    pub kind: &'static str,
}

/// How a column and a value compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// One of the values.
    Equal,
    Below,
    AtMost,
    Above,
    AtLeast,
}

/// A condition on one column, all of which hold for the rows that are asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    pub column: usize,
    pub comparison: Comparison,
    /// One; several where it is enough to be equal to one of them.
    pub values: Vec<Value>,
}

/// What is asked of a table.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    pub conditions: Vec<Condition>,
    /// Rows are wanted in the order that the table comes in.
    pub sorted: bool,
    /// A bit for each column that is looked at; the last for all that there is no other for.
    columns: u64,
}

impl Question {
    /// Is this column looked at?
    pub fn needs(&self, column: usize) -> bool {
        self.columns >> column.min(63) & 1 == 1
    }
}

/// What a condition is worth to a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Worth {
    /// A few rows are left.
    Key,
    /// Much need not be read.
    Filter,
    /// Rows are left out after they were read.
    Sieve,
}

/// A table whose rows lie elsewhere. Texts compare byte by byte in all it is asked.
pub trait Virtual: Send + Sync {
    fn columns(&self) -> Vec<Declared>;

    /// About so many rows.
    fn rows(&self) -> u64;

    /// Is it any use to be told of a condition on this column?
    fn worth(&self, column: usize, comparison: Comparison) -> Option<Worth>;

    /// The columns that rows come sorted by, ascending, where that is asked for.
    fn order(&self) -> &[usize];

    /// The rows that hold all conditions, and maybe others.
    fn open(&self, question: &Question) -> std::result::Result<Box<dyn Rows>, Explained>;
}

/// Rows of a table, one after another.
pub trait Rows {
    /// Goes to the next row, and says its number: the same whenever it is come across, and no other row's.
    fn next(&mut self) -> std::result::Result<Option<i64>, Explained>;

    /// A value of the row, in a column that is looked at.
    fn value(&self, column: usize) -> std::result::Result<Value, Explained>;
}

/// Why rows could not be had, which SQLite has no place for.
#[derive(Clone, Default)]
pub struct Failure(Arc<Mutex<Option<Explained>>>);

impl Failure {
    /// What failed since this was last asked.
    pub fn take(&self) -> Option<Explained> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn keep(&self, error: Explained) -> Error {
        let message = error.to_string();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
        Error::ModuleError(message)
    }
}

/// The tables of a connection.
pub struct Shelf {
    tables: Vec<Arc<dyn Virtual>>,
    failure: Failure,
}

/// The number of a plan whose rows come in order.
const SORTED: c_int = 1;

const MODULE: Module<'static, Tab> = Module::read_only_module();

/// Makes tables of a connection: each of them under a schema, which must be there, and a name.
pub fn create(
    connection: &Connection,
    tables: Vec<(String, String, Arc<dyn Virtual>)>,
    failure: Failure,
) -> Result<()> {
    connection.create_collation(DECIMAL, decimal)?;
    let mut names = Vec::with_capacity(tables.len());
    let mut shelf = Shelf { tables: Vec::with_capacity(tables.len()), failure };
    for (schema, name, table) in tables {
        names.push((schema, name));
        shelf.tables.push(table);
    }
    connection.create_module(MODULE_NAME, &MODULE, Some(shelf))?;
    let create = |(at, (schema, name)): (usize, &(String, String))| {
        let (schema, name) = (quoted(schema), quoted(name));
        connection.execute_batch(&format!("CREATE VIRTUAL TABLE {schema}.{name} USING {MODULE_NAME}({at})"))
    };
    names.iter().enumerate().try_for_each(create)
}

/// A table as SQLite has it.
#[repr(C)]
struct Tab {
    /// SQLite's own.
    base: ffi::sqlite3_vtab,
    table: Arc<dyn Virtual>,
    failure: Failure,
}

// SAFETY: `Tab` is laid out as C does and begins with SQLite's struct, as the trait demands.
unsafe impl VTab<'_> for Tab {
    type Aux = Shelf;
    type Cursor = Cursor;

    fn connect(
        _: &mut VTabConnection,
        shelf: Option<&Shelf>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        arguments: &[&[u8]],
    ) -> Result<(Cow<'static, CStr>, Self)> {
        let number = arguments.first().and_then(|text| std::str::from_utf8(text).ok()?.trim().parse::<usize>().ok());
        let found = shelf.zip(number).and_then(|(shelf, number)| Some((shelf, shelf.tables.get(number)?)));
        let (shelf, table) = found.ok_or_else(|| Error::ModuleError("there is no such table".to_owned()))?;
        let tab = Self { base: ffi::sqlite3_vtab::default(), table: table.clone(), failure: shelf.failure.clone() };
        let sql = CString::new(declaration(&table.columns())).map_err(Error::NulError)?;
        Ok((Cow::Owned(sql), tab))
    }

    fn best_index(&self, info: &mut IndexInfo) -> Result<bool> {
        let mut plan = format!("{:x} ", info.col_used());
        let (mut best, mut arguments) = (None, 0);
        for at in 0..info.constraints().count() {
            let Some((column, comparison)) = usable(info, at) else { continue };
            let Some(worth) = self.table.worth(column, comparison) else { continue };
            // Another order than that of bytes is not one that is known elsewhere.
            if info.collation(at)? != "BINARY" {
                continue;
            }
            let is_list = comparison == Comparison::Equal && info.set_in_constraint(at, true)?;
            plan += &format!("{column}{}{} ", letter(comparison), if is_list { "*" } else { "" });
            arguments += 1;
            info.constraint_usage(at).set_argv_index(arguments);
            let equal = comparison == Comparison::Equal;
            best = best.into_iter().chain(std::iter::once((worth, !equal, is_list))).min();
        }
        info.set_idx_str(&plan);
        let rows = self.table.rows().max(1) as f64;
        let (cost, left) = match best {
            Some((Worth::Key, false, false)) => (20.0, 1.0),
            Some((Worth::Key, false, true)) => (500.0, 25.0),
            Some((Worth::Key, true, _)) => (rows / 4.0, rows / 4.0),
            Some((Worth::Filter, ..)) => (rows / 20.0, rows / 100.0),
            Some((Worth::Sieve, ..)) => (rows, rows / 20.0),
            None => (rows * 2.0, rows),
        };
        info.set_estimated_cost(cost.max(20.0));
        info.set_estimated_rows(left.max(1.0) as i64);
        if self.is_ordered(info) {
            info.set_order_by_consumed(true);
            info.set_idx_num(SORTED);
        }
        Ok(true)
    }

    fn open(&mut self) -> Result<Cursor> {
        Ok(Cursor {
            base: ffi::sqlite3_vtab_cursor::default(),
            table: self.table.clone(),
            failure: self.failure.clone(),
            rows: None,
            number: None,
        })
    }
}

impl CreateVTab<'_> for Tab {
    const KIND: VTabKind = VTabKind::Default;
}

impl Tab {
    /// Do the rows come in the order that is asked for anyway?
    fn is_ordered(&self, info: &IndexInfo) -> bool {
        let order = self.table.order();
        let asked: Vec<(usize, bool)> =
            info.order_bys().map(|by| (by.column() as usize, by.is_order_by_desc())).collect();
        !asked.is_empty()
            && asked.len() <= order.len()
            && asked.iter().zip(order).all(|((column, descending), own)| column == own && !descending)
    }
}

fn usable(info: &IndexInfo, at: usize) -> Option<(usize, Comparison)> {
    let constraint = info.constraints().nth(at).filter(|constraint| constraint.is_usable())?;
    let comparison = match constraint.operator() {
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ => Comparison::Equal,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT => Comparison::Below,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE => Comparison::AtMost,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT => Comparison::Above,
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE => Comparison::AtLeast,
        _ => return None,
    };
    // Below zero it is the number of a row.
    Some((usize::try_from(constraint.column()).ok()?, comparison))
}

fn letter(comparison: Comparison) -> char {
    match comparison {
        Comparison::Equal => '=',
        Comparison::Below => '<',
        Comparison::AtMost => 'm',
        Comparison::Above => '>',
        Comparison::AtLeast => 'l',
    }
}

fn declaration(columns: &[Declared]) -> String {
    let one = |column: &Declared| format!("{} {}", quoted(&column.name), column.kind);
    format!("CREATE TABLE x ({})", columns.iter().map(one).collect::<Vec<_>>().join(", "))
}

#[repr(C)]
struct Cursor {
    /// SQLite's own.
    base: ffi::sqlite3_vtab_cursor,
    table: Arc<dyn Virtual>,
    failure: Failure,
    rows: Option<Box<dyn Rows>>,
    /// Of the row it stands at.
    number: Option<i64>,
}

// SAFETY: `Cursor` is laid out as C does and begins with SQLite's struct, as the trait demands.
unsafe impl VTabCursor for Cursor {
    fn filter(&mut self, number: c_int, plan: Option<&str>, values: &Filters<'_>) -> Result<()> {
        let question = question(number, plan.unwrap_or_default(), values)?;
        (self.rows, self.number) = (None, None);
        // Nothing equals an empty value, nor is it more or less.
        if question.conditions.iter().any(|condition| condition.values.is_empty()) {
            return Ok(());
        }
        self.rows = Some(self.table.open(&question).map_err(|error| self.failure.keep(error))?);
        self.next()
    }

    fn next(&mut self) -> Result<()> {
        self.number = match &mut self.rows {
            Some(rows) => rows.next().map_err(|error| self.failure.keep(error))?,
            None => None,
        };
        Ok(())
    }

    fn eof(&self) -> bool {
        self.number.is_none()
    }

    fn column(&self, context: &mut Context, column: c_int) -> Result<()> {
        let rows = self.rows.as_ref().expect("BUG: SQLite asks rows of what it opened");
        let value = rows.value(column as usize).map_err(|error| self.failure.keep(error))?;
        context.set_result(&value)
    }

    fn rowid(&self) -> Result<i64> {
        Ok(self.number.unwrap_or_default())
    }
}

/// What the plan says, with the values of the conditions that it names.
fn question(number: c_int, plan: &str, values: &Filters<'_>) -> Result<Question> {
    let bad = || Error::ModuleError("BUG: the plan is not its own".to_owned());
    let (columns, plan) = plan.split_once(' ').ok_or_else(bad)?;
    let columns = u64::from_str_radix(columns, 16).map_err(|_| bad())?;
    let mut conditions = Vec::new();
    for (at, one) in plan.split_terminator(' ').enumerate() {
        let (one, is_list) = one.strip_suffix('*').map_or((one, false), |one| (one, true));
        let (column, sign) = one.split_at(one.len().saturating_sub(1));
        let comparison = match sign {
            "=" => Comparison::Equal,
            "<" => Comparison::Below,
            "m" => Comparison::AtMost,
            ">" => Comparison::Above,
            "l" => Comparison::AtLeast,
            _ => return Err(bad()),
        };
        let mut asked = Vec::new();
        if is_list {
            let mut list = values.in_values(at)?;
            while let Some(value) = list.next()? {
                asked.push(value.into());
            }
        } else {
            asked.push(values.iter().nth(at).ok_or_else(bad)?.into());
        }
        asked.retain(|value: &Value| !value.is_null());
        conditions.push(Condition { column: column.parse().map_err(|_| bad())?, comparison, values: asked });
    }
    Ok(Question { conditions, sorted: number == SORTED, columns })
}

#[cfg(test)]
mod tests;
