//! Work that whoever comes first does: a helper ahead of time, or the one who needs the result.
//!
//! Nobody ever waits for work that no thread has begun, so a capture goes on even without helpers.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Locks even when a thread died holding the lock: that thread's panic ends the capture by itself.
pub(super) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Waits on a condition, with the same view of dead threads.
pub(super) fn wait<'a, T>(condition: &Condvar, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
    condition.wait(guard).unwrap_or_else(PoisonError::into_inner)
}

/// A piece of work and, later, its result. Taken once, by one taker; done by any thread.
pub(super) struct Task<T> {
    stage: Mutex<Stage<T>>,
    changed: Condvar,
}

enum Stage<T> {
    Waiting,
    Running,
    Done(T),
    Taken,
}

impl<T> Task<T> {
    pub fn new() -> Self {
        Self { stage: Mutex::new(Stage::Waiting), changed: Condvar::new() }
    }

    /// For a helper: the right to do the work, when nobody has begun it.
    pub fn claim(&self) -> Option<Claim<'_, T>> {
        let mut stage = locked(&self.stage);
        if !matches!(*stage, Stage::Waiting) {
            return None;
        }
        *stage = Stage::Running;
        Some(Claim(self))
    }

    /// For the taker: the result. Does the work itself when nobody has begun it.
    pub fn take(&self, run: impl FnOnce() -> T) -> T {
        let mut stage = locked(&self.stage);
        loop {
            match std::mem::replace(&mut *stage, Stage::Taken) {
                Stage::Done(result) => return result,
                Stage::Waiting => {
                    drop(stage);
                    return run();
                }
                Stage::Running => {
                    *stage = Stage::Running;
                    stage = wait(&self.changed, stage);
                }
                Stage::Taken => unreachable!("BUG: a result was taken twice"),
            }
        }
    }
}

/// The right and duty to do a task. Dropped without a result, by a panic too, it gives the task back.
pub(super) struct Claim<'a, T>(&'a Task<T>);

impl<T> Claim<'_, T> {
    pub fn finish(self, result: T) {
        *locked(&self.0.stage) = Stage::Done(result);
    }
}

impl<T> Drop for Claim<'_, T> {
    fn drop(&mut self) {
        let mut stage = locked(&self.0.stage);
        if matches!(*stage, Stage::Running) {
            *stage = Stage::Waiting;
        }
        drop(stage);
        self.0.changed.notify_all();
    }
}
