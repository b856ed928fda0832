//! strongroom: undo for your whole application.
#![deny(unsafe_code)]
#![deny(clippy::print_stdout, clippy::print_stderr, clippy::exit)]

pub mod base;
pub mod engine;
pub mod format;
pub mod ops;
pub mod record;
pub mod source;
pub mod store;
pub mod vault;
