//! Rows of PostgreSQL databases as records.
//!
//! Owns how a field's text becomes a value, how tables hang together, how a captured one is read, and reading and changing
//! a live one. Never decides what is to be written.

mod change;
mod check;
mod compared;
mod convert;
mod error;
pub mod kept;
mod live;
mod making;
mod parts;
mod place;
mod rules;
mod sameness;
pub mod schema;
pub mod value;
mod watch;

pub use error::LiveError;
pub use live::Live;
pub use making::making;
