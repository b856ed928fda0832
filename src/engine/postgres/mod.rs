//! PostgreSQL: spoken to over its own protocol, its definitions left to its own tools.

pub mod filters;
pub mod layout;
pub mod segments;
