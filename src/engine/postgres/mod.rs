//! PostgreSQL: spoken to over its own protocol, its definitions left to its own tools.

pub mod catalog;
pub mod connect;
pub mod copy_out;
pub mod database;
pub mod definitions;
pub mod error;
pub mod facts;
pub mod filters;
pub mod large_objects;
pub mod layout;
pub mod load_script;
pub mod moment;
mod passfile;
mod pinned;
mod readers;
pub mod records;
pub mod restore;
pub mod segments;
pub mod sequences;
pub mod settings;
pub mod split;
mod tls;
pub mod tools;
pub mod triggers;
pub mod turn;
pub mod wire;
