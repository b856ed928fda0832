//! How many bytes of content may be in memory ahead of the sink.
//!
//! The file the sink waits for may always go on: the others leave room for it. Its largest request and what a
//! reader holds of it undecided fit into that room together, so nothing ever waits in a circle.

use std::sync::{Arc, Condvar, Mutex};

use crate::base::chunk::MAX_CHUNK;
use crate::source::files::task::{locked, wait};

/// What may be held in all.
const MOST: usize = 16 << 20;
/// What files ahead of the sink may hold together.
const AHEAD: usize = MOST - 2 * MAX_CHUNK;

/// Large files read at once ahead of the sink: each has a buffer of its own beside what it holds.
const STREAMS: usize = 2;

pub(super) struct Budget {
    state: Mutex<State>,
    freed: Condvar,
}

struct State {
    used: usize,
    /// The file the sink waits for.
    head: u64,
    waiting: usize,
    streams: usize,
    closed: bool,
}

/// The right to read a large file, until this is dropped.
pub(super) struct Slot(Arc<Budget>);

impl Drop for Slot {
    fn drop(&mut self) {
        locked(&self.0.state).streams -= 1;
        self.0.freed.notify_all();
    }
}

/// Bytes that are allowed to be in memory, until this is dropped.
pub(super) struct Lease {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    pub fn new() -> Arc<Self> {
        let state = State { used: 0, head: 0, waiting: 0, streams: 0, closed: false };
        Arc::new(Self { state: Mutex::new(state), freed: Condvar::new() })
    }

    /// Waits until `file` may hold so many bytes more; nothing when the capture is over.
    pub fn lease(self: &Arc<Self>, file: u64, bytes: usize) -> Option<Lease> {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return None;
            }
            let most = if file <= state.head { MOST } else { AHEAD };
            if state.used + bytes <= most {
                state.used += bytes;
                return Some(Lease { budget: self.clone(), bytes });
            }
            state.waiting += 1;
            state = wait(&self.freed, state);
            state.waiting -= 1;
        }
    }

    /// Waits until another large file may be read; the one the sink waits for always may.
    pub fn enter_stream(self: &Arc<Self>, file: u64) -> Option<Slot> {
        let mut state = locked(&self.state);
        while !state.closed && state.streams >= STREAMS && file > state.head {
            state.waiting += 1;
            state = wait(&self.freed, state);
            state.waiting -= 1;
        }
        if state.closed {
            return None;
        }
        state.streams += 1;
        Some(Slot(self.clone()))
    }

    /// The sink now waits for this file.
    pub fn set_head(&self, file: u64) {
        let mut state = locked(&self.state);
        state.head = file;
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.freed.notify_all();
        }
    }

    /// The capture is over: nothing is worth reading any more.
    pub fn is_closed(&self) -> bool {
        locked(&self.state).closed
    }

    pub fn close(&self) {
        locked(&self.state).closed = true;
        self.freed.notify_all();
    }
}

impl Lease {
    /// Splits off a lease of so many bytes.
    pub fn split(&mut self, bytes: usize) -> Lease {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Lease { budget: self.budget.clone(), bytes }
    }

    /// Takes up another lease.
    pub fn join(&mut self, mut other: Lease) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.bytes == 0 {
            return;
        }
        let mut state = locked(&self.budget.state);
        state.used -= self.bytes;
        let wake = state.waiting > 0;
        drop(state);
        if wake {
            self.budget.freed.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_the_sink_waits_for_finds_room_when_others_have_taken_theirs() {
        let budget = Budget::new();
        let others = budget.lease(7, AHEAD).unwrap();
        let first = budget.lease(0, MAX_CHUNK).unwrap();
        let second = budget.lease(0, MAX_CHUNK).unwrap();
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.lease(8, 1).is_some());
            drop((others, first, second));
            assert!(waiting.join().unwrap());
        });
        budget.close();
        assert!(budget.lease(0, 1).is_none());
    }
}
