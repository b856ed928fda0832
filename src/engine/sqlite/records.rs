//! Rows of SQLite databases as records: of a snapshot, through a session, and of a live database, which can be changed.
//!
//! Owns what the engine of records asks of a store (`base/record/seam.rs`), in SQL. Virtual tables and what belongs to
//! them are left out: they follow others. Never decides what is to be written.

mod error;
mod read;
mod reading;
mod schema;
mod watch;
mod write;

pub use error::RecordsError;
pub use write::Live;

use rusqlite::Connection;

use crate::base::error::Explained;
use crate::engine::sqlite::ask::Session;
use crate::engine::sqlite::records::read::Rows;

impl Session {
    /// The statements that make a table and its indexes: as its own database has them, without triggers.
    pub fn making(&self, table: &str) -> Result<Vec<String>, Explained> {
        let sql = "SELECT sql FROM main.sqlite_schema WHERE tbl_name = ? AND type IN ('table', 'index') AND sql IS NOT NULL \
                   ORDER BY type = 'index', rowid";
        let read = || self.connection.prepare(sql)?.query_map([table], |row| row.get(0))?.collect();
        let statements: rusqlite::Result<Vec<String>> = read();
        statements.map_err(|error| Box::new(Session::explain(self, error)) as Explained)
    }
}

/// A snapshot's database.
impl Rows for Session {
    fn label(&self) -> String {
        "the snapshot".to_owned()
    }

    fn connection(&self) -> &Connection {
        &self.connection
    }

    fn explain(&self, error: rusqlite::Error) -> Explained {
        Box::new(Session::explain(self, error))
    }
}
