//! Floor 1: how databases are spoken to.
//!
//! Owns what is peculiar to one engine: opening, a consistent view, pages or rows out and in, the engine's own checks.
//! Never knows a vault, a listing or a configuration: bytes come from [`crate::base::random`] and go to whoever asks.

pub mod postgres;
pub mod regular;
pub mod revision;
pub mod sqlite;
