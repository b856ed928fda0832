//! The one integration test binary: contracts that hold for every store, against real servers where there are any.

mod cli;
mod crash;
mod damage;
mod faults;
mod floors;
mod hostile;
mod query;
mod s3;
mod sqlite;
mod store_contract;
mod support;
mod torture;
