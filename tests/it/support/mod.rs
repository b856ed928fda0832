//! What tests need around them: real servers. Never asserts what the product does.

pub mod s3;
