//! SQLite: databases as sequences of pages.
//!
//! Everything here goes through SQLite itself. A live database is never opened as a plain file by a process that has it
//! open in SQLite: closing such a file drops SQLite's locks.

pub mod apply;
pub mod ask;
pub mod beside;
pub mod check;
pub mod decimal;
pub mod error;
pub mod facts;
pub mod file;
pub mod free;
pub mod held;
mod limits;
pub mod live;
pub mod names;
pub mod pages;
pub mod records;
pub mod rows;
mod tree;
pub mod vfs;
pub mod vtab;

/// What every SQLite database of the third version begins with.
pub const HEADER: &[u8; 16] = b"SQLite format 3\0";

/// Do these first bytes of a file say that it is a database?
pub fn is_database(beginning: &[u8]) -> bool {
    beginning.starts_with(HEADER)
}

/// What follows a database's name in the names of the files SQLite keeps beside it.
pub const COMPANIONS: [&str; 3] = ["-journal", "-shm", "-wal"];
