//! The one integration test binary: contracts that hold for every store, against real servers where there are any.

mod crash;
mod damage;
mod faults;
mod hostile;
mod store_contract;
mod support;
