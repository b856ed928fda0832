//! Floor 5: one file per use case, a request in, a report out.
//!
//! Never prints, never exits, never reads the environment: all of that is the caller's.

pub mod actions;
pub mod backup;
pub mod choose;
pub mod config;
pub mod damaged;
pub mod databases;
pub mod diff;
pub mod discover;
pub mod error;
pub mod find;
pub mod holders;
pub mod hooks;
pub mod live_database;
pub mod overlap;
pub mod places;
pub mod query;
pub mod recover;
pub mod restore;
pub mod rows;
pub mod safety;
pub mod show;
pub mod side;
pub mod turns;
pub mod undo;
pub mod verify;
