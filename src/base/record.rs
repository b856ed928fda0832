//! Records: rows, documents or points, as the engine sees that gives them back, whatever store they lie in.
//!
//! Owns the words: a value, a table with its columns, keys and references, what a name means among others, and the seam
//! to the stores that hold them. Never knows a store: what a value means to one is the store's own affair.

pub mod name;
mod sameness;
mod seam;
mod table;
mod value;

pub use sameness::{Letters, Numbers};
pub use seam::{Change, Each, EachTouched, Ended, Records, Rules, Touched};
pub use table::{Column, OnDelete, PART, Reference, Table, Unique, exactly, lies_in, pick};
pub use value::{Key, Row, Value, alike, like, plain};
