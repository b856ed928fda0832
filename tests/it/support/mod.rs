//! What tests need around them: real servers, vaults, trees of files and how to compare them.

pub mod s3;
pub mod vaults;
