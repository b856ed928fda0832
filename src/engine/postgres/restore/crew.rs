//! Several sessions that work through a list together.
//!
//! Owns who does what next: a job waits for those before it that need the same thing. The first error ends it all.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, MutexGuard};

use crate::engine::postgres::connect::Session;
use crate::engine::postgres::restore::error::LoadError;

/// Something to do, and what it uses meanwhile.
pub struct Job<T> {
    pub needs: Vec<Need>,
    pub what: T,
}

/// The name of a table that is used, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    name: String,
    mode: Mode,
}

/// What is done with a table, after the locks that a server takes for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// Rows are put in.
    Fill,
    /// Rows are read.
    Read,
    /// An index is built, which keeps those out that write.
    Build,
    /// A reference from it or to it is made: one at a time.
    Refer,
    /// Nobody else may come near.
    Alone,
}

impl Mode {
    fn goes_with(self, other: Self) -> bool {
        use Mode::{Alone, Build, Fill, Read, Refer};
        match (self, other) {
            (Fill, Fill) | (Build, Build) => true,
            (Alone | Fill, _) | (_, Alone | Fill) => false,
            (Read, _) | (_, Read) => true,
            (Build | Refer, Build | Refer) => false,
        }
    }
}

impl Need {
    /// Of a table as statements write it or as it is shown: quotes make no difference, since the worst of taking one
    /// table for another is to wait for it.
    pub fn of(table: &str, mode: Mode) -> Self {
        Self { name: table.replace('"', ""), mode }
    }

    pub fn table(&self) -> &str {
        &self.name
    }

    fn goes_with(&self, other: &Self) -> bool {
        self.name != other.name || self.mode.goes_with(other.mode)
    }
}

struct Board<T> {
    waiting: VecDeque<Job<T>>,
    used: Vec<Need>,
    failed: Option<LoadError>,
}

/// Does every job, each by one of the sessions.
pub fn work<T: Send>(
    sessions: &mut [Session],
    jobs: impl IntoIterator<Item = Job<T>>,
    each: impl Fn(&mut Session, T) -> Result<(), LoadError> + Sync,
) -> Result<(), LoadError> {
    let board = Board { waiting: jobs.into_iter().collect(), used: Vec::new(), failed: None };
    let (board, changed) = (Mutex::new(board), Condvar::new());
    std::thread::scope(|scope| {
        for session in sessions {
            let (board, changed, each) = (&board, &changed, &each);
            scope.spawn(move || {
                while let Some(job) = next(lock(board), changed) {
                    let done = each(session, job.what);
                    let mut board = lock(board);
                    for need in &job.needs {
                        let at = board.used.iter().position(|used| used == need).expect("BUG: it was put there");
                        board.used.swap_remove(at);
                    }
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

/// The first job whose needs go with all that is used, and with all that those before it need.
fn next<T>(mut board: MutexGuard<'_, Board<T>>, changed: &Condvar) -> Option<Job<T>> {
    loop {
        let mut before: HashMap<&str, Vec<&Need>> = HashMap::new();
        board.used.iter().for_each(|need| before.entry(&need.name).or_default().push(need));
        let free = board.waiting.iter().position(|job| {
            let is_free =
                |need: &Need| before.get(need.table()).is_none_or(|all| all.iter().all(|one| need.goes_with(one)));
            let is_free = job.needs.iter().all(is_free);
            job.needs.iter().for_each(|need| before.entry(&need.name).or_default().push(need));
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
