//! Floor 0: the vocabulary everything else is written in.
//!
//! Owns the names, identifiers, times, selectors, entries and error classes of the project.
//! Never does I/O and never imports another floor.

pub mod capture;
pub mod chunk;
pub mod control;
pub mod database;
pub mod entry;
pub mod error;
pub mod id;
pub mod name;
pub mod path;
pub mod point;
pub mod random;
pub mod record;
pub mod selector;
pub mod text;
pub mod time;
