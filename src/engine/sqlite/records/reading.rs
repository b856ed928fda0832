//! Rows whose text refers to numbers: `'017'` in a column of text refers to 17 in one of whole numbers.
//!
//! A declared reference compares as the column that it leads to does: text that reads as a number is that number there. No
//! index on the text knows that. Only columns that keep text are gone through; numbers are found as everywhere.

use std::collections::HashSet;

use crate::base::error::Explained;
use crate::base::record::{Each, Key, Numbers, Row, Table, Value};
use crate::engine::sqlite::facts::quoted;
use crate::engine::sqlite::records::read::{Rows, each_row, found, select};
use crate::engine::sqlite::records::schema::{Affinity, affinity};

/// A search for rows by columns of which some keep text and refer to numbers.
pub struct Reading<'t> {
    table: &'t Table,
    by: &'t [usize],
    /// Those columns, by their places in `by`.
    texts: Vec<usize>,
}

impl<'t> Reading<'t> {
    /// Nothing where every column keeps values as what it refers to does.
    pub fn of(table: &'t Table, by: &'t [usize]) -> Option<Self> {
        let is_text = |place: &usize| {
            let column = &table.columns[by[*place]];
            column.numbers == Numbers::Machine && keeps_text(&column.kind)
        };
        let texts: Vec<usize> = (0..by.len()).filter(is_text).collect();
        (!texts.is_empty()).then_some(Self { table, by, texts })
    }

    pub fn find(
        &self,
        database: &impl Rows,
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        let Self { table, by, .. } = self;
        let fetched: Vec<usize> = by.iter().chain(wanted).copied().collect();
        // What a column of text keeps as it is given is text, or bytes: it is gone through below.
        let is_all_text = |place: &usize| affinity(&table.columns[by[*place]].kind) == Affinity::Text;
        if !self.texts.iter().any(is_all_text) {
            let mut take = |mut row: Row| {
                let rest = row.split_off(by.len());
                if self.is_read(&row) { Ok(()) } else { each(rest) }
            };
            found(database, table, by, keys, &fetched, &mut take)?;
        }
        let asked: HashSet<Row> = keys.iter().map(|key| table.forms(by, key)).collect();
        let mut take = |mut row: Row| {
            let rest = row.split_off(by.len());
            match self.is_read(&row) && asked.contains(&table.forms(by, &row)) {
                true => each(rest),
                false => Ok(()),
            }
        };
        let read: Vec<String> = self.texts.iter().map(|place| self.condition(*place)).collect();
        let sql = format!("{} WHERE {}", select(table, &fetched), read.join(" OR "));
        each_row(database, &sql, &mut [].iter(), fetched.len(), &mut take)
    }

    /// Does it hold something in one of these columns that is read, and not found by an index?
    fn is_read(&self, values: &[Value]) -> bool {
        self.texts.iter().any(|place| match affinity(&self.table.columns[self.by[*place]].kind) {
            Affinity::Text => !values[*place].is_null(),
            _ => matches!(values[*place], Value::Text(_)),
        })
    }

    /// The same in SQL. Texts stand between numbers and bytes, in an index too.
    fn condition(&self, place: usize) -> String {
        let column = &self.table.columns[self.by[place]];
        let name = quoted(&column.name);
        match affinity(&column.kind) {
            Affinity::Text => format!("{name} IS NOT NULL"),
            _ => format!("({name} >= '' AND {name} < x'')"),
        }
    }
}

fn keeps_text(kind: &str) -> bool {
    matches!(affinity(kind), Affinity::Text | Affinity::Blob)
}
