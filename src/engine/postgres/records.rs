//! Rows of PostgreSQL databases as records.
//!
//! Owns how a field's text becomes a value, how tables hang together, and reading and changing a live database. Never
//! decides what is to be written.

mod change;
mod check;
mod compared;
mod convert;
mod error;
mod live;
mod rules;
pub mod schema;
pub mod value;

pub use error::LiveError;
pub use live::Live;
