//! The one integration test binary: contracts that hold for every store, against real servers where there are any.

mod caches;
mod cli;
mod copying;
mod crash;
mod damage;
mod documented;
mod economy;
mod faults;
mod floors;
mod healing;
mod hostile;
mod live;
mod outage;
mod parsers;
mod places;
mod postgres;
mod query;
mod records;
mod recover;
mod runbooks;
mod s3;
mod source_contract;
mod sqlite;
mod store_contract;
mod support;
mod torture;
