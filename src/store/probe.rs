//! Does a store keep what was created first? Asked once, when a vault is made.
//!
//! Owns the experiment. Never leaves anything behind where it may remove things, and touches only keys of its own.
//! It exists because servers differ: some ignore `If-None-Match` and overwrite in silence, one honours it but lets
//! several of a few racing writers win.

use std::sync::Barrier;
use std::thread;

use bytes::Bytes;

use crate::base::name::ObjectKey;
use crate::store::error::StoreError;
use crate::store::{Cause, Store};

const RACERS: usize = 8;
/// One race finds a server that races four times in five; three find it 99 times in a hundred.
const RACES: usize = 3;

impl Store {
    /// Fails unless the store refuses to overwrite, alone and under a race.
    pub fn probe(&self) -> Result<(), StoreError> {
        self.with_key(|key| self.create_twice(key))?;
        (0..RACES).try_for_each(|_| self.with_key(|key| self.race(key)))
    }

    fn create_twice(&self, key: &ObjectKey) -> Result<(), StoreError> {
        self.put_new(key, Bytes::from_static(b"first"))?;
        match self.put_new(key, Bytes::from_static(b"second")) {
            Err(StoreError::Exists { .. }) => {}
            Err(error) => return Err(error),
            Ok(()) => return Err(self.unfit("it overwrites an object that it was asked to keep")),
        }
        match &self.get(key)?[..] {
            b"first" => Ok(()),
            _ => Err(self.unfit("it refuses to overwrite an object, and overwrites it")),
        }
    }

    fn race(&self, key: &ObjectKey) -> Result<(), StoreError> {
        let start = Barrier::new(RACERS);
        let content = |racer: usize| Bytes::from(format!("racer {racer}"));
        let run = |racer| {
            start.wait();
            self.put_new(key, content(racer))
        };
        let results: Vec<_> = thread::scope(|scope| {
            let racers: Vec<_> = (0..RACERS).map(|racer| scope.spawn(move || run(racer))).collect();
            racers.into_iter().map(|racer| racer.join().expect("BUG: a racer panicked")).collect()
        });
        let mut winners = Vec::new();
        for (racer, result) in results.into_iter().enumerate() {
            match result {
                Ok(()) => winners.push(racer),
                Err(StoreError::Exists { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        match winners[..] {
            [winner] if self.get(key)? == content(winner) => Ok(()),
            [_] => Err(self.unfit("of several writers racing to create an object, one that lost was kept")),
            [] => Err(self.unfit("of several writers racing to create an object, none won")),
            _ => Err(self.unfit("of several writers racing to create an object, more than one won")),
        }
    }

    /// Runs an experiment on a fresh key. Removing it afterwards may be forbidden, and rightly so: then it stays.
    fn with_key(&self, experiment: impl FnOnce(&ObjectKey) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| StoreError::Failed {
            verb: "draw a random name for",
            object: "a probe".to_owned(),
            location: self.location().to_owned(),
            source: Cause::new(error.to_string()),
        })?;
        let key = format!("probe/{}", hex::encode(random)).parse().expect("BUG: the name is valid");
        let result = experiment(&key);
        let _ = self.delete(&key);
        result
    }

    fn unfit(&self, finding: &'static str) -> StoreError {
        StoreError::IgnoresCreate { location: self.location().to_owned(), finding }
    }
}
