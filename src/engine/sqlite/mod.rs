//! SQLite: databases as sequences of pages.
//!
//! Everything here goes through SQLite itself. A live database is never opened as a plain file by a process that has it
//! open in SQLite: closing such a file drops SQLite's locks.

pub mod apply;
