//! What every store promises the floors above, asked of each: a folder, memory, and S3 at a real server.

use std::sync::Barrier;
use std::thread;

use bytes::Bytes;
use strongroom::base::chunk::sealed_digest;
use strongroom::base::error::{Class, Explain};
use strongroom::base::name::ObjectKey;
use strongroom::store::{Listed, Options, STORES, Store, StoreError};

use crate::support::s3;

/// A promise in words, and the check that it is kept.
type Promise = (&'static str, fn(&Store));

/// The contract: each promise gets a store with nothing in it.
const CONTRACT: [Promise; 10] = [
    ("what was put comes back, whole and by size", what_was_put_comes_back),
    ("an object that is there is neither overwritten nor harmed", nothing_is_overwritten),
    ("putting a content-named object again is no error", a_lost_reply_does_no_harm),
    ("a range is exact or an error", a_range_is_exact_or_an_error),
    ("an object that is absent is told from one that is empty", absent_is_not_empty),
    ("a listing is sorted, of one folder, and complete", a_listing_is_complete),
    ("removing is final, and twice is once", removing_twice_is_once),
    ("a large object comes back whole and by ranges", a_large_object_comes_back),
    ("of racing writers one wins and its content stays", one_of_racing_writers_wins),
    ("the probe accepts it and leaves nothing behind", the_probe_accepts_it),
];

fn check(mut fresh: impl FnMut() -> Store) {
    for (promise, holds) in CONTRACT {
        let store = fresh();
        eprintln!("{}: {promise}", store.describe());
        holds(&store);
    }
}

/// Asks one kind of store, by the scheme of its locations, for what it promises.
type Asked = fn();

/// Where each kind is asked.
const ASKED: [(&str, Asked); 3] = [("file", ask_a_folder), ("memory", ask_memory), ("s3", ask_s3_at_moto)];

fn asked(scheme: &str) -> Asked {
    let found = ASKED.iter().find(|(known, _)| *known == scheme);
    found.unwrap_or_else(|| panic!("stores of {scheme}:// are asked by nobody: add them to ASKED in this file")).1
}

#[test]
fn every_kind_of_store_there_is_is_asked() {
    for kind in STORES {
        asked(kind.scheme);
    }
    assert_eq!(STORES.len(), ASKED.len());
}

#[test]
fn a_folder_keeps_the_contract() {
    asked("file")();
}

#[test]
fn memory_keeps_the_contract() {
    asked("memory")();
}

#[test]
fn s3_at_moto_keeps_the_contract() {
    asked("s3")();
}

fn ask_a_folder() {
    let temp = tempfile::tempdir().unwrap();
    let mut n = 0;
    check(|| {
        n += 1;
        Store::create(&format!("file://{}/{n}", temp.path().display()), &Options::default()).unwrap()
    });
}

fn ask_memory() {
    check(|| Store::open("memory://", &Options::default()).unwrap());
}

fn ask_s3_at_moto() {
    let server = s3::moto();
    let bucket = server.bucket();
    let open = |prefix: &str| Store::open(&format!("s3://{bucket}{prefix}"), &server.options()).unwrap();
    // Vaults side by side in one bucket, the prefix of one being the beginning of the others'.
    let neighbour = open("/team/vaul");
    neighbour.put_new(&key("vault.json"), Bytes::from_static(b"theirs")).unwrap();
    let mut n = 0;
    check(|| {
        n += 1;
        open(&format!("/team/vault/{n}"))
    });
    assert_eq!(neighbour.list("").unwrap().len(), 1);
    assert_eq!(open("").get(&key("team/vaul/vault.json")).unwrap(), &b"theirs"[..]);
}

#[test]
#[ignore = "for a server of one's own: set STRONGROOM_TEST_BUCKET to s3://bucket/empty-prefix, and the AWS_ variables"]
fn the_bucket_named_by_the_environment_keeps_the_contract() {
    let location = std::env::var("STRONGROOM_TEST_BUCKET").expect("STRONGROOM_TEST_BUCKET is set");
    let options = Options { aws: std::env::vars().filter(|(name, _)| name.starts_with("AWS_")).collect() };
    let mut n = 0;
    check(|| {
        n += 1;
        Store::open(&format!("{location}/{n}"), &options).unwrap()
    });
}

#[test]
fn a_bucket_that_is_not_there_is_no_vault() {
    let store = Store::open("s3://no-such-bucket/x", &s3::moto().options()).unwrap();
    for error in [
        store.get(&key("vault.json")).unwrap_err(),
        store.list("").unwrap_err(),
        store.put_new(&key("vault.json"), Bytes::new()).unwrap_err(),
    ] {
        assert_eq!(error.to_string(), "there is no bucket for s3://no-such-bucket/x");
        assert_eq!(error.class(), Class::NoVault);
    }
}

#[test]
fn a_server_that_overwrites_in_silence_is_refused_by_the_probe() {
    let server = s3::rclone();
    let store = Store::open(&format!("s3://{}", server.bucket()), &server.options()).unwrap();
    let error = store.probe().unwrap_err();
    assert!(matches!(error, StoreError::IgnoresCreate { .. }), "{error}");
    assert!(error.hint().unwrap().contains("If-None-Match"));
    assert_eq!(store.list("").unwrap(), []);
}

#[test]
fn a_server_that_answers_a_range_with_the_whole_object_still_gives_the_range() {
    let server = s3::rclone();
    let store = Store::open(&format!("s3://{}", server.bucket()), &server.options()).unwrap();
    a_range_is_exact_or_an_error(&store);
}

#[test]
fn a_put_whose_answer_is_lost_succeeds_and_another_writers_object_is_still_told_apart() {
    let server = s3::moto();
    let bytes = Bytes::from_static(b"sealed");
    let named = format!("packs/{}.age", sealed_digest(&bytes));
    for name in [named.as_str(), "vault.json"] {
        let location = format!("s3://{}", server.bucket());
        let losing = Store::open(&location, &server.options_losing_the_first_answer()).unwrap();
        losing.put_new(&key(name), bytes.clone()).unwrap();
        let direct = Store::open(&location, &server.options()).unwrap();
        assert_eq!(direct.get(&key(name)).unwrap(), bytes, "{name}");

        direct.put_new(&key("sessions/theirs"), Bytes::from_static(b"theirs")).unwrap();
        let losing = Store::open(&location, &server.options_losing_the_first_answer()).unwrap();
        let error = losing.put_new(&key("sessions/theirs"), bytes.clone()).unwrap_err();
        assert!(matches!(error, StoreError::Exists { .. }), "{error:?}");
        assert_eq!(direct.get(&key("sessions/theirs")).unwrap(), &b"theirs"[..]);
    }
}

#[test]
fn a_server_that_is_not_there_is_named_and_given_up_on_within_half_a_minute() {
    let begin = std::time::Instant::now();
    // Port 1 is nobody's: the connection is refused at once, and tried again until patience ends.
    let options = s3::options(1);
    let error = Store::open("s3://bucket/x", &options).unwrap().list("").unwrap_err();
    assert_eq!(error.to_string(), "s3://bucket/x cannot be reached");
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), "connection refused");
    assert!(begin.elapsed().as_secs() < 35, "{:?}", begin.elapsed());
}

#[test]
fn memory_is_shared_by_name_and_otherwise_private() {
    let open = |location| Store::open(location, &Options::default()).unwrap();
    open("memory://shared").put_new(&key("vault.json"), Bytes::from_static(b"x")).unwrap();
    assert_eq!(open("memory://shared").list("").unwrap().len(), 1);
    assert_eq!(open("memory://other").list("").unwrap(), []);
    open("memory://").put_new(&key("vault.json"), Bytes::from_static(b"x")).unwrap();
    assert_eq!(open("memory://").list("").unwrap(), []);
}

fn what_was_put_comes_back(store: &Store) {
    for (name, bytes) in [("vault.json", &b"{}"[..]), ("keys/A-z_0.9.age", b"\0\xff\n"), ("a/b/c/d/e", b"")] {
        store.put_new(&key(name), Bytes::copy_from_slice(bytes)).unwrap();
        assert_eq!(store.get(&key(name)).unwrap(), bytes, "{name}");
        assert_eq!(store.head(&key(name)).unwrap(), Some(bytes.len() as u64), "{name}");
    }
}

fn nothing_is_overwritten(store: &Store) {
    let named = key(&format!("packs/{}.age", sealed_digest(b"first")));
    for key in [key("vault.json"), named] {
        store.put_new(&key, Bytes::from_static(b"first")).unwrap();
        let error = store.put_new(&key, Bytes::from_static(b"second")).unwrap_err();
        assert!(matches!(&error, StoreError::Exists { key: which, .. } if *which == key), "{error}");
        assert_eq!(store.get(&key).unwrap(), &b"first"[..]);
    }
    let same = store.put_new(&key("vault.json"), Bytes::from_static(b"first"));
    assert!(matches!(same, Err(StoreError::Exists { .. })), "a name without digest says nothing of its content");
}

fn a_lost_reply_does_no_harm(store: &Store) {
    let bytes = Bytes::from_static(b"sealed");
    let key = key(&format!("packs/ab/{}.tar.zst.age", sealed_digest(&bytes)));
    store.put_new(&key, bytes.clone()).unwrap();
    store.put_new(&key, bytes.clone()).unwrap();
    assert_eq!(store.get(&key).unwrap(), bytes);
}

fn a_range_is_exact_or_an_error(store: &Store) {
    let (hundred, bytes) = (key("packs/hundred"), Bytes::from_iter(0..100u8));
    store.put_new(&hundred, bytes.clone()).unwrap();
    for (start, end) in [(0, 100), (0, 1), (10, 20), (99, 100), (50, 100), (0, 0), (70, 70)] {
        let range = store.get_range(&hundred, start..end).unwrap();
        assert_eq!(range, bytes[start as usize..end as usize], "{start}..{end}");
    }
    for (start, end) in [(99, 101), (0, 101), (100, 101), (200, 300), (0, u64::MAX), (1 << 40, 1 << 50)] {
        let error = store.get_range(&hundred, start..end).unwrap_err();
        assert!(matches!(error, StoreError::Truncated { have: 100, .. }), "{start}..{end}: {error:?}");
        assert_eq!(error.class(), Class::Damaged);
    }
}

fn absent_is_not_empty(store: &Store) {
    let nobody = key("packs/nobody");
    let location = store.location();
    for error in [store.get(&nobody).unwrap_err(), store.get_range(&nobody, 0..1).unwrap_err()] {
        assert!(matches!(&error, StoreError::NotFound { key, .. } if *key == nobody), "{error:?}");
        assert_eq!(error.to_string(), format!("packs/nobody is not in {location}"));
    }
    assert_eq!(store.head(&nobody).unwrap(), None);
    assert_eq!(store.list("packs").unwrap(), []);
    store.put_new(&nobody, Bytes::new()).unwrap();
    assert_eq!(store.head(&nobody).unwrap(), Some(0));
    assert_eq!(store.list("packs").unwrap().len(), 1);
}

fn a_listing_is_complete(store: &Store) {
    // A page of S3 has a thousand names. Memory and folders pay nothing for more than that.
    let names: Vec<String> = (0..1100).map(|n| format!("packs/{:02x}/{n}", n % 7)).collect();
    thread::scope(|scope| {
        for part in names.chunks(names.len().div_ceil(8)) {
            scope.spawn(move || {
                for name in part {
                    store.put_new(&key(name), Bytes::from(name.clone())).unwrap();
                }
            });
        }
    });
    store.put_new(&key("packs-beside/x"), Bytes::new()).unwrap();
    store.put_new(&key("vault.json"), Bytes::new()).unwrap();
    let mut expected: Vec<Listed> =
        names.iter().map(|name| Listed { key: key(name), size: name.len() as u64 }).collect();
    expected.sort_by(|a, b| a.key.cmp(&b.key));
    assert_eq!(store.list("packs").unwrap(), expected);
    assert_eq!(store.list("packs/").unwrap(), expected);
    expected.retain(|listed| listed.key.as_str().starts_with("packs/03/"));
    assert_eq!(store.list("packs/03").unwrap(), expected);
    assert_eq!(store.list("").unwrap().len(), names.len() + 2);
    assert_eq!(store.list("nothing").unwrap(), []);
}

fn removing_twice_is_once(store: &Store) {
    let doomed = key("sessions/doomed");
    store.put_new(&doomed, Bytes::from_static(b"x")).unwrap();
    store.delete(&doomed).unwrap();
    store.delete(&doomed).unwrap();
    assert_eq!(store.head(&doomed).unwrap(), None);
    store.put_new(&doomed, Bytes::from_static(b"again")).unwrap();
    assert_eq!(store.get(&doomed).unwrap(), &b"again"[..]);
}

fn a_large_object_comes_back(store: &Store) {
    let bytes: Bytes = (0..20_000_000u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let large = key(&format!("packs/aa/{}.tar.zst.age", sealed_digest(&bytes)));
    store.put_new(&large, bytes.clone()).unwrap();
    assert!(store.get(&large).unwrap() == bytes);
    thread::scope(|scope| {
        for n in 0..8u64 {
            let (large, bytes) = (&large, &bytes);
            scope.spawn(move || {
                let (start, end) = (n * 2_500_000, (n + 1) * 2_500_000);
                assert!(store.get_range(large, start..end).unwrap() == bytes[start as usize..end as usize]);
            });
        }
    });
}

fn one_of_racing_writers_wins(store: &Store) {
    for round in 0..10 {
        let (prize, start) = (key(&format!("snapshots/prize-{round}")), Barrier::new(8));
        let run = |racer: u8| {
            start.wait();
            store.put_new(&prize, Bytes::from(vec![racer; 1000])).is_ok().then_some(racer)
        };
        let winners: Vec<u8> = thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|racer| scope.spawn(move || run(racer))).collect();
            racers.into_iter().filter_map(|racer| racer.join().unwrap()).collect()
        });
        assert_eq!(winners.len(), 1, "round {round}");
        assert_eq!(store.get(&prize).unwrap(), vec![winners[0]; 1000]);
    }
}

fn the_probe_accepts_it(store: &Store) {
    store.probe().unwrap();
    assert_eq!(store.list("").unwrap(), []);
}

fn key(name: &str) -> ObjectKey {
    name.parse().unwrap()
}
