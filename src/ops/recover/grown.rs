//! A live database that lacks tables which records go into: it is told as if it had them, empty, and gets them in the
//! transaction that writes.
//!
//! Owns which tables are made: those that rows are written to, and what these refer to. They are made without triggers.

use std::collections::BTreeSet;

use crate::base::error::Explained;
use crate::base::record::{Change, Each, EachTouched, Ended, Key, Records, Rules, Table, Value, exactly};

/// A table that is not there, and the statements that make it.
pub struct Lacking {
    pub table: Table,
    pub statements: Vec<String>,
}

/// A live database, and what it lacks.
pub struct Grown {
    live: Box<dyn Change>,
    lacking: Vec<Lacking>,
    /// Those that it has by now, by name.
    made: BTreeSet<String>,
}

impl Grown {
    pub fn new(live: Box<dyn Change>, lacking: Vec<Lacking>) -> Self {
        Self { live, lacking, made: BTreeSet::new() }
    }

    fn lacks(&self, table: &Table) -> bool {
        !self.made.contains(&table.name) && self.lacking.iter().any(|one| one.table.name == table.name)
    }

    /// Which of them are made when rows of these tables are written.
    fn needed(&self, written: &[String]) -> Vec<&Lacking> {
        let mut names: BTreeSet<String> = BTreeSet::new();
        let mut waiting: Vec<String> = written.to_vec();
        let named =
            |name: &str| exactly(self.lacking.iter().map(|one| &one.table), name).map(|(at, _)| &self.lacking[at]);
        while let Some(name) = waiting.pop() {
            let Some(one) = named(&name) else { continue };
            if names.insert(one.table.name.clone()) {
                waiting.extend(one.table.references.iter().map(|reference| reference.to.clone()));
            }
        }
        self.lacking.iter().filter(|one| names.contains(&one.table.name)).collect()
    }
}

impl Records for Grown {
    fn label(&self) -> String {
        self.live.label()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        let mut tables = self.live.tables()?;
        let known: BTreeSet<String> = tables.iter().map(|table| table.name.clone()).collect();
        tables.extend(self.lacking.iter().map(|one| &one.table).filter(|one| !known.contains(&one.name)).cloned());
        Ok(tables)
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        if self.lacks(table) { Ok(()) } else { self.live.find(table, by, keys, wanted, each) }
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        if self.lacks(table) { Ok(()) } else { self.live.matching(table, condition, wanted, each) }
    }

    fn is_loose(&self, child: (&Table, &[usize]), parent: (&Table, &[usize])) -> bool {
        self.live.is_loose(child, parent)
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        self.live.typed(table, column, text)
    }
}

impl Change for Grown {
    fn begin(&mut self, rules: Rules<'_>) -> Result<(), Explained> {
        let needed = self.needed(rules.tables);
        let made: BTreeSet<String> = needed.iter().map(|one| one.table.name.clone()).collect();
        let statements: Vec<String> = needed.into_iter().flat_map(|one| one.statements.clone()).collect();
        let there: Vec<String> = rules.tables.iter().filter(|name| !made.contains(*name)).cloned().collect();
        self.live.begin(Rules { tables: &there, ..rules })?;
        if made.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.live.make(&statements) {
            self.live.roll_back();
            return Err(error);
        }
        self.made = made;
        Ok(())
    }

    fn make(&mut self, statements: &[String]) -> Result<(), Explained> {
        self.live.make(statements)
    }

    fn defers(&self) -> bool {
        self.live.defers()
    }

    fn cascades(&self) -> bool {
        self.live.cascades()
    }

    fn insert(&mut self, table: &Table, columns: &[usize], values: &[Value]) -> Result<(), Explained> {
        self.live.insert(table, columns, values)
    }

    fn update(&mut self, table: &Table, key: &[Value], columns: &[usize], values: &[Value]) -> Result<bool, Explained> {
        self.live.update(table, key, columns, values)
    }

    fn delete(&mut self, table: &Table, key: &[Value]) -> Result<bool, Explained> {
        self.live.delete(table, key)
    }

    fn converted(&self, table: &Table, column: usize, value: &Value) -> Result<Value, String> {
        self.live.converted(table, column, value)
    }

    fn place(&self, table: &Table, columns: &[usize], values: &[Value]) -> Result<Option<Value>, Explained> {
        if self.lacks(table) { Ok(None) } else { self.live.place(table, columns, values) }
    }

    fn next_number(&self, table: &Table, column: usize) -> Result<i64, Explained> {
        if self.lacks(table) { Ok(1) } else { self.live.next_number(table, column) }
    }

    fn touched(&self, table: &Table, each: &mut EachTouched<'_>) -> Result<(), Explained> {
        self.live.touched(table, each)
    }

    fn unwatched(&self) -> Result<Vec<String>, Explained> {
        self.live.unwatched()
    }

    fn mark(&mut self) -> Result<Option<String>, Explained> {
        self.live.mark()
    }

    fn lasted(&self, mark: &str) -> Result<Option<bool>, Explained> {
        self.live.lasted(mark)
    }

    fn ready(&mut self) -> Result<(), Explained> {
        self.live.ready()
    }

    fn commit(&mut self) -> Result<Ended, Explained> {
        self.live.commit()
    }

    fn roll_back(&mut self) {
        self.live.roll_back();
        self.made.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::record::{OnDelete, Reference};

    #[test]
    fn what_a_made_table_refers_to_is_made_with_it() {
        let lacking = |name: &str, to: &[&str]| Lacking {
            table: Table {
                name: name.to_owned(),
                references: to
                    .iter()
                    .map(|to| Reference {
                        columns: Vec::new(),
                        to: (*to).to_owned(),
                        to_columns: Vec::new(),
                        on_delete: OnDelete::Restrict,
                        parts: BTreeSet::new(),
                        to_parts: BTreeSet::new(),
                    })
                    .collect(),
                ..Table::default()
            },
            statements: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("db");
        let live = crate::engine::sqlite::records::Live::open_new(&file, std::time::Duration::ZERO).unwrap();
        let all = vec![lacking("a", &["b", "there"]), lacking("b", &["A"]), lacking("c", &[])];
        let grown = Grown::new(Box::new(live), all);
        let names: Vec<&str> =
            grown.needed(&["a".to_owned(), "there".to_owned()]).iter().map(|one| one.table.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!file.exists(), "nothing is made before something is written");
    }
}
