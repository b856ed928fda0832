//! Rows of SQLite databases as records: of a snapshot, through a session, and of a live database, which can be changed.
//!
//! Owns what the engine of records asks of a store (`base/record/seam.rs`), in SQL. Virtual tables and what belongs to
//! them are left out: they follow others. Never decides what is to be written.

mod error;
mod read;
mod schema;
mod write;

pub use error::RecordsError;
pub use write::Live;

use rusqlite::Connection;

use crate::base::error::Explained;
use crate::base::record::{Each, Key, Records, Table, Value};
use crate::engine::sqlite::ask::Session;

use read::Reader;

/// A snapshot's database.
pub struct Kept<'s> {
    session: &'s Session,
}

impl<'s> Kept<'s> {
    pub fn new(session: &'s Session) -> Self {
        Self { session }
    }

    fn with<R>(&self, work: impl FnOnce(&Reader<'_>) -> Result<R, Explained>) -> Result<R, Explained> {
        let explain = |error| Box::new(self.session.explain(error)) as Explained;
        work(&Reader { connection: self.connection(), explain: &explain })
    }

    fn connection(&self) -> &Connection {
        &self.session.connection
    }
}

impl Records for Kept<'_> {
    fn label(&self) -> String {
        "the snapshot".to_owned()
    }

    fn tables(&self) -> Result<Vec<Table>, Explained> {
        self.with(|reader| reader.tables())
    }

    fn find(
        &self,
        table: &Table,
        by: &[usize],
        keys: &[Key],
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.with(|reader| reader.find(table, by, keys, wanted, each))
    }

    fn matching(
        &self,
        table: &Table,
        condition: Option<&str>,
        wanted: &[usize],
        each: &mut Each<'_>,
    ) -> Result<(), Explained> {
        self.with(|reader| reader.matching(table, condition, wanted, each))
    }

    fn typed(&self, table: &Table, column: usize, text: &str) -> Result<Value, Explained> {
        Ok(schema::typed(&table.columns[column].kind, text))
    }
}
