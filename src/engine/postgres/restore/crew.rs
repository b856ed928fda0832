//! Several sessions that work through a list together.
//!
//! Owns who does what next: a job waits for those before it that need the same thing. The first error ends it all.

use std::collections::{HashSet, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::restore::error::LoadError;

/// Something to do, and the names of what nobody else may use meanwhile.
pub struct Job<T> {
    pub needs: Vec<String>,
    pub what: T,
}

struct Board<T> {
    waiting: VecDeque<Job<T>>,
    used: HashSet<String>,
    failed: Option<LoadError>,
}

/// Does every job, each by one of the sessions.
pub fn work<T: Send>(
    sessions: &mut [Session],
    jobs: impl IntoIterator<Item = Job<T>>,
    each: impl Fn(&mut Session, T) -> Result<(), LoadError> + Sync,
) -> Result<(), LoadError> {
    let board = Board { waiting: jobs.into_iter().collect(), used: HashSet::new(), failed: None };
    let (board, changed) = (Mutex::new(board), Condvar::new());
    std::thread::scope(|scope| {
        for session in sessions {
            let (board, changed, each) = (&board, &changed, &each);
            scope.spawn(move || {
                while let Some(job) = next(lock(board), changed) {
                    let done = each(session, job.what);
                    let mut board = lock(board);
                    job.needs.iter().for_each(|need| _ = board.used.remove(need));
                    if let Err(error) = done {
                        board.waiting.clear();
                        board.failed.get_or_insert(error);
                    }
                    changed.notify_all();
                }
            });
        }
    });
    let board = board.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    board.failed.map_or(Ok(()), Err)
}

fn lock<T>(board: &Mutex<Board<T>>) -> MutexGuard<'_, Board<T>> {
    board.lock().expect("BUG: nothing panics while holding it")
}

/// The first job that needs nothing that is used, or is needed by one before it.
fn next<T>(mut board: MutexGuard<'_, Board<T>>, changed: &Condvar) -> Option<Job<T>> {
    loop {
        let mut taken: HashSet<&String> = board.used.iter().collect();
        let free = board.waiting.iter().position(|job| {
            let is_free = job.needs.iter().all(|need| !taken.contains(need));
            taken.extend(&job.needs);
            is_free
        });
        if let Some(job) = free.and_then(|at| board.waiting.remove(at)) {
            board.used.extend(job.needs.iter().cloned());
            return Some(job);
        }
        if board.waiting.is_empty() {
            return None;
        }
        board = changed.wait(board).expect("BUG: nothing panics while holding it");
    }
}
