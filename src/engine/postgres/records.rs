//! Rows of PostgreSQL databases as records.
//!
//! Owns how a field's text becomes a value, how tables hang together, and how a captured one is read. Never decides what is to be written.

pub mod kept;
pub mod schema;
pub mod value;
