//! Floor 1: the bytes on disk. One file per section of docs/format.md.
//!
//! Turns structs into bytes and bytes into structs. Never opens a file, a socket or a store; never
//! trusts a length it reads before checking it against a limit.

pub mod catalog;
pub mod chunker;
pub mod error;
pub mod frame;
pub mod header;
pub mod identity;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod pack;
pub mod page;
pub mod seal;
pub mod vault_file;
