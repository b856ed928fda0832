//! The one integration test binary: contracts that hold for every store, against real servers where there are any.

mod cli;
mod crash;
mod damage;
mod faults;
mod floors;
mod hostile;
mod live;
mod s3;
mod store_contract;
mod support;
mod torture;
