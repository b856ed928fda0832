//! The faults that every floor above is tested with do what they say, and real ones are told apart.

use std::error::Error;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use bytes::Bytes;
use rustix::thread::{CapabilitySet, CapabilitySets};
use strongroom::base::error::Explain;
use strongroom::base::name::ObjectKey;
use strongroom::store::{Faults, Operation, Options, Store, StoreError, When};

use crate::support::disk::Disk;

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}

fn faulty() -> (Store, Store, std::sync::Arc<Faults>) {
    let (store, faults) = (Store::open("memory://", &Options::default()).unwrap(), Faults::new());
    (store.clone(), store.with_faults(faults.clone()), faults)
}

fn put(store: &Store, name: &str) -> Result<(), StoreError> {
    store.put_new(&key(name), Bytes::from_static(b"0123456789"))
}

#[test]
fn after_a_crash_nothing_works_and_what_was_done_stays() {
    for (when, kept) in [(When::Before, 1), (When::After, 2)] {
        let (real, store, faults) = faulty();
        faults.crash_at(3, when);
        put(&store, "one").unwrap();
        store.get(&key("one")).unwrap();
        for _ in 0..2 {
            assert!(matches!(put(&store, "two"), Err(StoreError::Injected { number: 3, .. })));
        }
        assert!(store.clone().get(&key("one")).is_err(), "clones die together");
        assert_eq!(real.list("").unwrap().len(), kept);
        assert_eq!(faults.count(), 3);
    }
}

#[test]
fn a_crash_can_be_asked_for_at_the_nth_change() {
    let (real, store, faults) = faulty();
    faults.crash_at_change(2, When::After);
    put(&store, "one").unwrap();
    store.list("").unwrap();
    assert!(store.delete(&key("one")).is_err());
    assert_eq!(real.list("").unwrap(), []);
    assert_eq!(faults.changes(), 2);
    faults.heal();
    put(&store, "three").unwrap();
    let log: Vec<_> = faults.log().into_iter().map(|line| (line.number, line.operation, line.object)).collect();
    assert_eq!(log[1], (2, Operation::List, String::new()));
    assert_eq!(log[3], (4, Operation::Put, "three".to_owned()));
}

#[test]
fn a_store_can_be_full_read_only_or_out_of_reach_for_once() {
    let (real, store, faults) = faulty();
    faults.full_after(25);
    faults.fail_once_at(2);
    put(&store, "one").unwrap();
    assert!(matches!(put(&store, "two"), Err(StoreError::Unreachable { .. })));
    put(&store, "two").unwrap();
    let error = put(&store, "three").unwrap_err();
    assert_eq!(error.to_string(), "no space left for three in memory://");
    assert_eq!(real.list("").unwrap().len(), 2);
    faults.heal();
    faults.read_only();
    assert!(matches!(put(&store, "three"), Err(StoreError::ReadOnly { .. })));
    assert!(matches!(store.delete(&key("one")), Err(StoreError::ReadOnly { .. })));
    assert_eq!(store.get(&key("one")).unwrap().len(), 10);
}

#[test]
fn a_disk_that_is_full_is_told_in_words_and_nothing_half_written_is_left() {
    let temp = tempfile::tempdir().unwrap();
    let Some(small) = Disk::mount(temp.path().join("disk"), "1m") else { return };
    let location = small.0.to_str().unwrap();
    let store = Store::open(location, &Options::default()).unwrap();
    put(&store, "one").unwrap();
    let error = store.put_new(&key("packs/large"), Bytes::from(vec![1; 3 << 20])).unwrap_err();
    assert_eq!(error.to_string(), format!("no space left for packs/large in {location}"));
    assert_eq!(error.source().unwrap().to_string(), "no space left on device");
    assert!(error.hint().unwrap().contains("free some space"));
    assert_eq!(store.list("").unwrap().len(), 1);
    assert_eq!(fs::read_dir(small.0.join("packs")).unwrap().count(), 0);

    small.remount("ro");
    let error = put(&store, "two").unwrap_err();
    assert_eq!(error.to_string(), format!("cannot write two: {location} is read-only"));
}

#[test]
fn a_folder_that_may_not_be_written_is_told_in_words() {
    let temp = tempfile::tempdir().unwrap();
    let location = temp.path().to_str().unwrap();
    let store = Store::open(location, &Options::default()).unwrap();
    fs::set_permissions(temp.path(), Permissions::from_mode(0o500)).unwrap();
    // To root all is permitted, so this thread gives that up. It is this test's own.
    let none = CapabilitySets { effective: CapabilitySet::empty(), ..rustix::thread::capabilities(None).unwrap() };
    rustix::thread::set_capabilities(None, none).unwrap();
    let error = put(&store, "one").unwrap_err();
    assert_eq!(error.to_string(), format!("not allowed to write one in {location}"));
}

#[test]
fn names_that_no_vault_uses_are_passed_over() {
    let temp = tempfile::tempdir().unwrap();
    let store = Store::open(temp.path().to_str().unwrap(), &Options::default()).unwrap();
    put(&store, "packs/one").unwrap();
    // A note of a person, a hidden file of the system, and what a killed process left half written.
    for stray in ["read me.txt", ".DS_Store", "packs/two#1"] {
        fs::write(temp.path().join(stray), "stray").unwrap();
    }
    assert_eq!(store.list("").unwrap().len(), 1);
    put(&store, "packs/two").unwrap();
    assert_eq!(store.list("").unwrap().len(), 2);
}
