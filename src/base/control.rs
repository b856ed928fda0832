//! What a running operation shares with whoever started it: counters to watch, and a flag to stop it.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

/// Counters only ever grow; a reader may see one ahead of another.
#[derive(Debug, Default)]
pub struct Control {
    stop: AtomicBool,
    /// Bytes dealt with so far, of whatever the operation counts.
    pub bytes: Count,
    /// Files (or other items) dealt with so far.
    pub items: Count,
    /// Bytes expected in all; 0 while unknown.
    pub bytes_expected: Count,
    /// Items expected in all; 0 while unknown.
    pub items_expected: Count,
    waiting: Mutex<Option<String>>,
    /// For so many seconds a database that others have locked is waited for; 0 for the usual few.
    pub wait: Count,
    watch: Watch,
}

type Told = dyn Fn(&str) + Send + Sync;

/// Whoever is told what was reached.
#[derive(Default)]
struct Watch(OnceLock<Box<Told>>);

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Control {
    /// Asks the operation to end soon, leaving everything valid.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Says what the operation waits for, for people; nothing when it goes on.
    pub fn wait_for(&self, what: Option<String>) {
        *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    /// What the operation waits for.
    pub fn waits_for(&self) -> Option<String> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Has `told` told of each place that an operation reaches: tests end the process there. The first one stays.
    pub fn watch(&self, told: impl Fn(&str) + Send + Sync + 'static) {
        let _ = self.watch.0.set(Box::new(told));
    }

    pub fn reached(&self, place: &str) {
        if let Some(told) = self.watch.0.get() {
            told(place);
        }
    }
}

/// A number that threads add to and one looks at.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
