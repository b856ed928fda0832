//! What tests need around them: real servers, vaults true and forged, trees of files and how to compare them.

pub mod disk;
pub mod forge;
pub mod postgres;
pub mod program;
pub mod s3;
pub mod vaults;
