//! Storage that fails on demand, so that every floor above can be tested against a crash, a full disk or a lost network.
//!
//! Owns the log of operations and the faults asked for. Never changes what is stored: an operation happens whole or
//! not at all, as it does on every store we accept.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::store::cause::Cause;
use crate::store::error::StoreError;

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Put,
    Get,
    GetRange,
    Head,
    List,
    Delete,
}

impl Operation {
    /// Whether it changes what is stored.
    pub fn changes(self) -> bool {
        matches!(self, Self::Put | Self::Delete)
    }
}

/// On which side of an operation's effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

/// One line of the log. Operations are numbered from 1, in the order they began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub number: u64,
    pub operation: Operation,
    /// The object's key, or a listing's prefix.
    pub object: String,
}

/// The faults of one store and all its clones. Shared: hold on to it to read the log.
#[derive(Debug, Default)]
pub struct Faults(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    log: Vec<Logged>,
    changes: u64,
    /// Bytes handed over by puts so far.
    written: u64,
    /// Bytes that gets handed out so far.
    read: u64,
    crash_at: Option<(u64, When)>,
    crash_at_change: Option<(u64, When)>,
    full_after: Option<u64>,
    read_only: bool,
    fail_once_at: Option<u64>,
    away_from: Option<u64>,
    dead: Option<(u64, When)>,
}

/// An operation that was let begin.
pub(super) struct Begun {
    number: u64,
    crash_after: bool,
}

impl Faults {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The process dies at this operation: it fails, and so does every later one.
    pub fn crash_at(&self, number: u64, when: When) {
        self.state().crash_at = Some((number, when));
    }

    /// The same, counting only puts and deletes: the points at which a crash can leave something different behind.
    pub fn crash_at_change(&self, number: u64, when: When) {
        self.state().crash_at_change = Some((number, when));
    }

    /// A put that would bring the bytes written to more than this finds no space.
    pub fn full_after(&self, bytes: u64) {
        self.state().full_after = Some(bytes);
    }

    pub fn read_only(&self) {
        self.state().read_only = true;
    }

    /// This operation, and only this one, fails as when a server cannot be reached.
    pub fn fail_once_at(&self, number: u64) {
        self.state().fail_once_at = Some(number);
    }

    /// From this operation on the storage cannot be reached, until it is healed.
    pub fn away_from(&self, number: u64) {
        self.state().away_from = Some(number);
    }

    /// No more faults from here on; the log and the counts stay.
    pub fn heal(&self) {
        let mut state = self.state();
        let (log, changes, written, read) = (std::mem::take(&mut state.log), state.changes, state.written, state.read);
        *state = State { log, changes, written, read, ..State::default() };
    }

    pub fn log(&self) -> Vec<Logged> {
        self.state().log.clone()
    }

    /// How many operations began so far.
    pub fn count(&self) -> u64 {
        self.state().log.len() as u64
    }

    /// How many puts and deletes began so far.
    pub fn changes(&self) -> u64 {
        self.state().changes
    }

    /// How many bytes of objects were handed out so far; what listings say is not counted.
    pub fn bytes_read(&self) -> u64 {
        self.state().read
    }

    pub(super) fn handed_out(&self, bytes: u64) {
        self.state().read += bytes;
    }

    pub(super) fn begin(
        &self,
        operation: Operation,
        object: &str,
        bytes: u64,
        location: &str,
    ) -> Result<Begun, StoreError> {
        let mut state = self.state();
        if let Some((number, when)) = state.dead {
            return Err(StoreError::Injected { number, when });
        }
        let number = state.log.len() as u64 + 1;
        state.log.push(Logged { number, operation, object: object.to_owned() });
        state.changes += u64::from(operation.changes());
        let crash = state.crash_at.filter(|(n, _)| *n == number).or_else(|| {
            let change = state.changes;
            state.crash_at_change.filter(|(n, _)| operation.changes() && *n == change)
        });
        if let Some((_, When::Before)) = crash {
            state.dead = Some((number, When::Before));
            return Err(StoreError::Injected { number, when: When::Before });
        }
        let (object, location) = (object.to_owned(), location.to_owned());
        let source = Cause::new("a fault was asked for");
        if state.fail_once_at == Some(number) || state.away_from.is_some_and(|from| number >= from) {
            return Err(StoreError::Unreachable { location, source });
        }
        if state.read_only && operation.changes() {
            let verb = if operation == Operation::Put { "write" } else { "remove" };
            return Err(StoreError::ReadOnly { verb, object, location, source });
        }
        if operation == Operation::Put {
            if state.full_after.is_some_and(|limit| state.written + bytes > limit) {
                return Err(StoreError::NoSpace { object, location, source });
            }
            state.written += bytes;
        }
        Ok(Begun { number, crash_after: crash.is_some() })
    }

    /// What the caller learns of an operation that had its effect: nothing, when the process died meanwhile.
    pub(super) fn end(&self, begun: Begun) -> Result<(), StoreError> {
        let mut state = self.state();
        if begun.crash_after {
            state.dead.get_or_insert((begun.number, When::After));
        }
        match state.dead {
            Some((number, when)) => Err(StoreError::Injected { number, when }),
            None => Ok(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
