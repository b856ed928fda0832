//! Which pages of a live database are not known to be what they are to be.
//!
//! Of some pages nothing is known: those are listed at once, and whoever replaces them can begin. All others are looked at,
//! within the transaction that will replace what differs: whoever wrote since the pages became known has left pages that are
//! not. Helpers look at them while the transaction's own thread has other things to do; they have connections of their own,
//! which see what the transaction found, since nobody else can write meanwhile and it shows nobody what it writes.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use crate::base::control::Control;
use crate::engine::sqlite::apply::Options;
use crate::engine::sqlite::apply::delta::Goal;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header;
use crate::engine::sqlite::apply::pages::Blocks;
use crate::engine::sqlite::file::DatabaseFile;

/// Threads that help to look at pages, at most.
const HELPERS: usize = 3;
/// In so many parts the pages are looked at, at most, and so many bytes each has at least.
const PARTS: u64 = 8;
const LEAST: u64 = 1 << 20;
/// Between so many pages somebody looks up.
const ROUND: u32 = 256;
/// A longer list is not made: then all is read.
const MOST: usize = 1 << 16;
/// Nor one of more than one page in so many, unless it is short all the same.
const ONE_IN: usize = 3;
const SHORT: usize = 64;

/// Takes bytes, in order.
pub type Take<'t> = dyn FnMut(&mut Blocks<'_>) -> Result<(), ApplyError> + 't;

/// Hands over the bytes of the pages with these numbers, which ascend.
pub type Pages<'p> = dyn FnMut(&[u32], &mut Take<'_>) -> Result<(), ApplyError> + 'p;

/// By which pages are known again: no two have the same.
pub type PageName = [u8; 16];

/// What is known of a page that a database is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    Unknown,
    Zeros,
    Named(PageName),
}

/// Tells of one page after the other, from the first one on.
pub type Expectations<'k> = Box<dyn FnMut() -> Expected + 'k>;

/// What is known of the pages that a database is to have.
pub struct Known<'k> {
    pub length: u64,
    /// The first of them.
    pub first: Vec<u8>,
    /// Begins to tell of the pages.
    pub expected: &'k (dyn Fn() -> Expectations<'k> + Sync),
    /// The name of a page.
    pub name: &'k (dyn Fn(&[u8]) -> PageName + Sync),
    pub pages: &'k mut Pages<'k>,
}

/// Which pages differ between what a database is to be and what it was when it was looked at.
pub struct Listed<'l> {
    pub length: u64,
    /// The first of the pages that it is to have.
    pub first: Vec<u8>,
    /// The others that differ, in ascending order, and any that may differ.
    pub numbers: Vec<u32>,
    /// How many pages there were.
    pub live_count: u32,
    pub pages: &'l mut Pages<'l>,
}

/// Why no list was made.
pub(super) enum Failure {
    Sqlite(rusqlite::Error),
    Interrupted,
}

impl Failure {
    pub fn explained(self, told: &Told<'_>) -> ApplyError {
        match self {
            Self::Sqlite(error) => told.sqlite("read")(error),
            Self::Interrupted => ApplyError::Interrupted,
        }
    }
}

/// Lists the pages of which nothing is known, but the first one. `None` when they are too many.
pub(super) fn unknown(known: &Known<'_>, goal: &Goal, live_count: u32) -> Option<Vec<u32>> {
    let common = live_count.min(goal.count);
    let locks = header::lock_page(goal.page_size() as u32);
    let mut expected = (known.expected)();
    let of_common = (1..=common).filter(|_| expected() == Expected::Unknown);
    let numbers = of_common.chain(common + 1..=goal.count).filter(|&number| number != 1 && number != locks);
    let most = most_listed(goal.count);
    let numbers: Vec<u32> = numbers.take(most + 1).collect();
    (numbers.len() <= most).then_some(numbers)
}

/// How many pages of so many are listed at most.
pub fn most_listed(count: u32) -> usize {
    MOST.min((count as usize / ONE_IN).max(SHORT))
}

/// What those who look at pages share.
pub(super) struct Looking<'l, 'k> {
    live: &'l DatabaseFile,
    live_count: u32,
    size: usize,
    locks: u32,
    expected: &'k (dyn Fn() -> Expectations<'k> + Sync),
    name: &'k (dyn Fn(&[u8]) -> PageName + Sync),
    control: &'l Control,
    /// So many may be found.
    most: usize,
    found: Arc<AtomicUsize>,
    /// What nobody has looked at.
    parts: Mutex<VecDeque<Range<u32>>>,
    /// Nobody wants to know any more.
    over: AtomicBool,
}

impl<'l, 'k> Looking<'l, 'k> {
    /// Looks at all pages but those that were listed as unknown.
    pub fn at(
        known: &Known<'k>,
        goal: &Goal,
        live_count: u32,
        listed: usize,
        options: &Options<'l>,
        live: &'l DatabaseFile,
    ) -> Self {
        let size = goal.page_size();
        Self {
            live,
            live_count,
            size,
            locks: header::lock_page(size as u32),
            expected: known.expected,
            name: known.name,
            control: options.control,
            most: most_listed(goal.count) - listed,
            found: Arc::default(),
            parts: Mutex::new(parts(live_count.min(goal.count), size).into()),
            over: AtomicBool::new(false),
        }
    }

    /// So many pages were found by now.
    pub fn found(&self) -> &Arc<AtomicUsize> {
        &self.found
    }

    /// Has helpers begin.
    pub fn begin<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>) -> Helpers<'scope, 'l, 'k> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let helpers = processors.saturating_sub(1).clamp(1, HELPERS);
        let helpers = (0..helpers).map(|_| scope.spawn(|| self.help())).collect();
        Helpers { looking: self, helpers, numbers: Vec::new() }
    }

    /// By a connection of its own. What could not be looked at, since the database lets no second one in or shows it
    /// something else, is left to others.
    fn help(&self) -> Result<Vec<u32>, Failure> {
        let Ok(connection) = self.connect() else { return Ok(Vec::new()) };
        let mut numbers = Vec::new();
        let mut expected = self.ahead();
        while let Some(part) = self.next() {
            match self.look(&connection, part.clone(), &mut expected) {
                Ok(found) => numbers.extend(found),
                Err(Failure::Sqlite(_)) => {
                    self.parts().push_back(part);
                    break;
                }
                Err(failure) => return Err(failure),
            }
        }
        Ok(numbers)
    }

    /// What is known of the pages from the first one on.
    fn ahead(&self) -> Ahead<'k> {
        Ahead { expected: (self.expected)(), next: 1 }
    }

    fn connect(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = self.live.connect(flags)?;
        // The lock that would be waited for is the transaction's.
        connection.busy_timeout(Duration::ZERO)?;
        connection.execute_batch("PRAGMA cache_size = -1024; BEGIN")?;
        let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        if count == self.live_count { Ok(connection) } else { Err(rusqlite::Error::QueryReturnedNoRows) }
    }

    fn parts(&self) -> MutexGuard<'_, VecDeque<Range<u32>>> {
        self.parts.lock().expect("BUG: whoever looks at pages panicked")
    }

    fn next(&self) -> Option<Range<u32>> {
        if self.is_over() { None } else { self.parts().pop_front() }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed) || self.found.load(Ordering::Relaxed) > self.most
    }

    /// Lists the pages that are known and not what is expected, until there are too many.
    fn look(&self, connection: &Connection, part: Range<u32>, expected: &mut Ahead<'k>) -> Result<Vec<u32>, Failure> {
        let mut numbers = Vec::new();
        if expected.next > part.start {
            *expected = self.ahead();
        }
        // What is passed over is not read.
        let scan = connection.prepare("SELECT data FROM sqlite_dbpage LIMIT -1 OFFSET ?1");
        let mut scan = scan.map_err(Failure::Sqlite)?;
        let mut rows = scan.query([part.start - 1]).map_err(Failure::Sqlite)?;
        for round in part.clone().step_by(ROUND as usize) {
            if self.control.stopped() {
                return Err(Failure::Interrupted);
            }
            if self.is_over() {
                break;
            }
            let round = round..part.end.min(round.saturating_add(ROUND));
            let (before, bytes) = (numbers.len(), round.len() as u64 * self.size as u64);
            for number in round {
                // A page that is not there is none that is known.
                let row = rows.next().map_err(Failure::Sqlite)?;
                let page = row.and_then(|row| row.get_ref(0).ok()?.as_blob().ok());
                let page = page.filter(|page| page.len() == self.size);
                let page = page.ok_or(Failure::Sqlite(rusqlite::Error::QueryReturnedNoRows))?;
                // The first page is written anyway, if any is.
                if !self.is_expected(page, &expected.of(number)) && number != 1 && number != self.locks {
                    numbers.push(number);
                }
            }
            self.control.bytes.add(bytes);
            self.found.fetch_add(numbers.len() - before, Ordering::Relaxed);
        }
        Ok(numbers)
    }

    fn is_expected(&self, page: &[u8], expected: &Expected) -> bool {
        match expected {
            // It is listed already.
            Expected::Unknown => true,
            Expected::Zeros => page.iter().all(|&byte| byte == 0),
            Expected::Named(name) => (self.name)(page) == *name,
        }
    }
}

/// Goes along what is known: going back means beginning again.
struct Ahead<'k> {
    expected: Expectations<'k>,
    next: u32,
}

impl Ahead<'_> {
    fn of(&mut self, number: u32) -> Expected {
        (self.next..number).for_each(|_| _ = (self.expected)());
        self.next = number + 1;
        (self.expected)()
    }
}

/// Those who look at pages for somebody else. They stop when it is gone.
pub(super) struct Helpers<'scope, 'l, 'k> {
    looking: &'scope Looking<'l, 'k>,
    helpers: Vec<ScopedJoinHandle<'scope, Result<Vec<u32>, Failure>>>,
    numbers: Vec<u32>,
}

impl Helpers<'_, '_, '_> {
    /// Helps until everything is looked at.
    pub fn finish(&mut self, connection: &Connection) -> Result<(), Failure> {
        self.help(connection)?;
        for helper in std::mem::take(&mut self.helpers) {
            self.numbers.extend(helper.join().expect("BUG: whoever looks at pages panicked")?);
        }
        // What helpers could not look at.
        self.help(connection)
    }

    fn help(&mut self, connection: &Connection) -> Result<(), Failure> {
        let mut expected = self.looking.ahead();
        while let Some(part) = self.looking.next() {
            self.numbers.extend(self.looking.look(connection, part, &mut expected)?);
        }
        Ok(())
    }

    /// Lists what was found, in ascending order. `None` when it is too much.
    pub fn found(mut self) -> Option<Vec<u32>> {
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.sort_unstable();
        (numbers.len() <= self.looking.most).then_some(numbers)
    }
}

impl Drop for Helpers<'_, '_, '_> {
    fn drop(&mut self) {
        self.looking.over.store(true, Ordering::Relaxed);
    }
}

/// The numbers of the first `count` pages in parts, each worth a thread's while.
fn parts(count: u32, size: usize) -> Vec<Range<u32>> {
    let parts = (u64::from(count) * size as u64 / LEAST).clamp(1, PARTS);
    let bound = |part: u64| (u64::from(count) * part / parts) as u32 + 1;
    (0..parts).map(|part| bound(part)..bound(part + 1)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_page_is_in_one_part() {
        for (count, size) in [(0, 4096), (1, 512), (255, 4096), (1_000_003, 4096), (u32::MAX - 1, 65_536)] {
            let parts = parts(count, size);
            assert_eq!((parts[0].start, parts[parts.len() - 1].end), (1, count + 1), "{count}");
            assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start), "{parts:?}");
        }
    }
}
