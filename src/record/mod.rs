//! Floor 4: giving records back, with all that belongs to them.
//!
//! Owns the rules: what belongs to a record ([`closure`]), what of it live data lacks ([`plan`]), and how it is given
//! back so that it can be taken away again ([`apply`]). Knows stores only by their seam (`base/record/seam.rs`), so
//! every kind of database has the same rules. Never knows a vault's layout, a command line or a terminal.

pub mod apply;
mod bound;
pub mod closure;
pub mod compare;
pub mod drift;
pub mod error;
mod fired;
pub mod graph;
pub mod identity;
pub mod inverse;
pub mod loose;
pub mod model;
pub mod order;
pub mod plan;
pub mod prepare;
pub mod several;
pub mod trace;
