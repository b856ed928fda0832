//! The seam between the engine of records and the stores that hold them: what is asked of a store, and nothing more.

use crate::base::error::Explained;
use crate::base::record::{Key, Row, Table, Value};

/// Takes rows as they are found.
pub type Each<'e> = dyn FnMut(Row) -> Result<(), Explained> + 'e;

/// A database whose rows can be found by what they hold: a snapshot's, or a live one.
pub trait Records {
    /// What it is called in messages.
    fn label(&self) -> String;

    /// Its tables, by name.
    fn tables(&self) -> Result<Vec<Table>, Explained>;

    /// The rows whose columns `by` hold one of `keys`: their columns `wanted` ([`PART`](crate::base::record::PART) among them),
    /// in no order. Nothing equals an empty value.
    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained>;

    /// The rows that a condition in the store's own language holds for, ordered by key; without one, all.
    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained>;

    /// Columns of one table that refer to those of another: may equal values of both be written in ways that a search does
    /// not find? Stores that compare values themselves find all of them.
    fn is_loose(&self, _child: (&Table, &[usize]), _parent: (&Table, &[usize])) -> bool {
        false
    }

    /// A value that a person typed, as this column would keep it.
    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained>;
}

/// How a live database is to take changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules<'r> {
    /// Triggers fire, as they would for the app.
    pub triggers: bool,
    /// The store checks references itself when the transaction ends. Otherwise it is told not to look, where it can be:
    /// whoever writes has looked.
    pub references: bool,
    /// Rows will refer to each other in a circle that cannot be opened.
    pub circles: bool,
    /// The tables whose rows are written.
    pub tables: &'r [String],
    /// Rows, by table and key, that may refer to nothing: they did so before, and are no affair of whoever writes.
    pub outlived: &'r [(String, Key)],
}

/// A row that was touched in a transaction by whatever wrote it, and what it held before; nothing where there was none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    pub key: Key,
    /// All of its columns.
    pub row: Option<Row>,
}

/// Takes rows that were touched.
pub type EachTouched<'e> = dyn FnMut(Touched) -> Result<(), Explained> + 'e;

/// How a transaction ended.
#[derive(Debug)]
pub enum Ended {
    /// What was written lasts.
    ForGood,
    /// The store was lost before it could say.
    Unknown(Explained),
}

/// A live database that rows are written to, in one transaction.
pub trait Change: Records {
    /// Begins the transaction: from here on nobody else writes to the tables it names.
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained>;

    /// Makes tables, by statements in the store's own language, in the transaction.
    fn make(&mut self, statements: &[String]) -> Result<(), Explained> {
        assert!(statements.is_empty(), "BUG: only a store that says how its tables are made is asked for it");
        Ok(())
    }

    /// Can a reference be wrong as long as the transaction lasts?
    fn defers(&self) -> bool;

    /// Does the store itself look after rows that refer to one that goes, in this transaction?
    fn cascades(&self) -> bool {
        true
    }

    /// Adds a row of these columns.
    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained>;

    /// Changes columns of the row of this key. Says whether there was one.
    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained>;

    /// Removes the row of this key. Says whether there was one.
    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained>;

    /// What this column would make of a value of another kind, or why it cannot keep it without loss.
    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String>;

    /// The part that a row with these values would lie in; nothing where the store cannot tell before it is written.
    fn place(&self, _table: &Table, _columns: &[usize], _values: &[Value]) -> Result<Option<Value>, Explained> {
        Ok(None)
    }

    /// A number above every one that this column holds or has held.
    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained>;

    /// The rows of a table that were touched since the transaction began, where triggers fire: by what was written and by
    /// everything that followed of it. Rows may be among them that hold again what they held. Other rows can be asked for
    /// meanwhile.
    fn touched(&self, _table: &Table, _each: &mut EachTouched<'_>) -> Result<(), Explained> {
        Ok(())
    }

    /// Tables, or some of their rows, that nobody tells of when triggers touch them; in words.
    fn unwatched(&self) -> Result<Vec<String>, Explained> {
        Ok(Vec::new())
    }

    /// What the store can be asked by later whether the transaction lasted; nothing where only its rows can tell.
    fn mark(&mut self) -> Result<Option<String>, Explained> {
        Ok(None)
    }

    /// Did the transaction of this mark last? Nothing where the store does not know any more.
    fn lasted(&self, _mark: &str) -> Result<Option<bool>, Explained> {
        Ok(None)
    }

    /// Does what of a commit may fail, as far as that can be done ahead; nothing is written after it. Nothing lasts by it.
    fn ready(&mut self) -> Result<(), Explained> {
        Ok(())
    }

    /// Makes everything that was written last.
    fn commit(&mut self) -> Result<Ended, Explained>;

    /// Takes everything back that was written.
    fn roll_back(&mut self);
}
