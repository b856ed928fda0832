//! Rows of PostgreSQL databases as records.
//!
//! Owns how a field's text becomes a value and how tables hang together. Never decides what is to be written.

pub mod schema;
pub mod value;
