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
use crate::engine::sqlite::ask::Session;
use crate::engine::sqlite::records::read::Rows;

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
