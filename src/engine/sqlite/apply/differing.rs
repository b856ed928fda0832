//! Which pages of a live database are not known to be what they are to be.
//!
//! Every page is looked at, within the transaction that will replace what differs: whoever wrote since the pages became
//! known has left pages that are not. A long database is looked at by several threads: others than the first have
//! connections of their own, which see what the transaction found, since nobody else can write meanwhile.

use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use rusqlite::{Connection, OpenFlags};

use crate::base::control::Control;
use crate::engine::sqlite::apply::delta::Goal;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header::{self, Header};
use crate::engine::sqlite::apply::pages::Blocks;
use crate::engine::sqlite::apply::{Options, reach};

/// Threads that look at pages, at most, and the least that each of them looks at.
const LOOKERS: u64 = 4;
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

/// Tells of one page after the other.
pub type Expectations<'k> = Box<dyn FnMut() -> Expected + 'k>;

/// What is known of the pages that a database is to have.
pub struct Known<'k> {
    pub length: u64,
    /// The first of them.
    pub first: Vec<u8>,
    /// Tells of each page, in order, from the page with a number on.
    pub expected: &'k (dyn Fn(u32) -> Expectations<'k> + Sync),
    /// The name of a page.
    pub name: &'k (dyn Fn(&[u8]) -> PageName + Sync),
    pub pages: &'k mut Pages<'k>,
}

impl Known<'_> {
    /// What the first page says, if that is a database to go by. What is wrong with another one [`super::apply`] tells.
    pub(super) fn goal(&mut self) -> Option<Goal> {
        let header = Header::of(&self.first)?;
        let (size, count) = (header.page_size() as usize, header.pages()?);
        let fits = self.first.len() == size && size as u64 * u64::from(count) <= self.length;
        fits.then(|| Goal { first: std::mem::take(&mut self.first), count })
    }
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

/// Lists the pages but the first one. `None` when they are too many.
pub(super) fn find(
    connection: &Connection,
    known: &Known<'_>,
    goal: &Goal,
    live_count: u32,
    options: &Options<'_>,
    told: &Told<'_>,
) -> Result<Option<Vec<u32>>, Failure> {
    let common = live_count.min(goal.count);
    let (size, locks) = (goal.page_size(), header::lock_page(goal.page_size() as u32));
    let most = MOST.min((goal.count as usize / ONE_IN).max(SHORT));
    let (expected, name, control) = (known.expected, known.name, options.control);
    let looking = Looking { size, locks, expected, name, control, most, found: AtomicUsize::new(0) };
    let mut numbers = looking.all(connection, told.path, live_count, common)?;
    reach("looked");
    if numbers.len() + (goal.count - common) as usize > most {
        return Ok(None);
    }
    numbers.sort_unstable();
    numbers.extend((common + 1..=goal.count).filter(|&number| number != locks));
    Ok(Some(numbers))
}

/// What those who look at pages share.
struct Looking<'l, 'k> {
    size: usize,
    locks: u32,
    expected: &'l (dyn Fn(u32) -> Expectations<'k> + Sync),
    name: &'l (dyn Fn(&[u8]) -> PageName + Sync),
    control: &'l Control,
    most: usize,
    /// How many all of them have found.
    found: AtomicUsize,
}

impl Looking<'_, '_> {
    fn all(&self, connection: &Connection, live: &Path, live_count: u32, count: u32) -> Result<Vec<u32>, Failure> {
        let mut parts = parts(count, self.size).into_iter();
        let own = parts.next().unwrap_or(1..1);
        std::thread::scope(|scope| {
            let look = |part: Range<u32>| (part.clone(), scope.spawn(move || self.beside(live, live_count, part)));
            let others: Vec<_> = parts.map(look).collect();
            let mut numbers = self.look(connection, own)?;
            for (part, other) in others {
                numbers.extend(match other.join().expect("BUG: whoever looks at pages panicked") {
                    Some(found) => found?,
                    None => self.look(connection, part)?,
                });
            }
            Ok(numbers)
        })
    }

    /// By a connection of its own. `None` where the database lets no second one in, or shows it something else.
    fn beside(&self, live: &Path, live_count: u32, part: Range<u32>) -> Option<Result<Vec<u32>, Failure>> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(live, flags).ok()?;
        connection.execute_batch("PRAGMA cache_size = -1024; BEGIN").ok()?;
        let count: u32 = connection.query_row("PRAGMA page_count", [], |row| row.get(0)).ok()?;
        match self.look(&connection, part) {
            Err(Failure::Sqlite(_)) => None,
            found => (count == live_count).then_some(found),
        }
    }

    /// Lists the pages that are not what is expected, until there are too many.
    fn look(&self, connection: &Connection, part: Range<u32>) -> Result<Vec<u32>, Failure> {
        let mut numbers = Vec::new();
        let mut expected = (self.expected)(part.start);
        // What is passed over is not read.
        let scan = connection.prepare("SELECT data FROM sqlite_dbpage LIMIT -1 OFFSET ?1");
        let mut scan = scan.map_err(Failure::Sqlite)?;
        let mut rows = scan.query([part.start - 1]).map_err(Failure::Sqlite)?;
        for round in part.clone().step_by(ROUND as usize) {
            if self.control.stopped() {
                return Err(Failure::Interrupted);
            }
            let (before, round) = (numbers.len(), round..part.end.min(round.saturating_add(ROUND)));
            self.control.bytes.add(round.len() as u64 * self.size as u64);
            for number in round {
                // A page that is not there is none that is known.
                let row = rows.next().map_err(Failure::Sqlite)?;
                let page = row.and_then(|row| row.get_ref(0).ok()?.as_blob().ok());
                let page = page.filter(|page| page.len() == self.size);
                let page = page.ok_or(Failure::Sqlite(rusqlite::Error::QueryReturnedNoRows))?;
                // The first page is written anyway, if any is.
                if !self.is_expected(page, &expected()) && number != 1 && number != self.locks {
                    numbers.push(number);
                }
            }
            if self.found.fetch_add(numbers.len() - before, Ordering::Relaxed) > self.most {
                break;
            }
        }
        Ok(numbers)
    }

    fn is_expected(&self, page: &[u8], expected: &Expected) -> bool {
        match expected {
            Expected::Unknown => false,
            Expected::Zeros => page.iter().all(|&byte| byte == 0),
            Expected::Named(name) => (self.name)(page) == *name,
        }
    }
}

/// The numbers of the first `count` pages in as many parts as there are processors, each worth a thread.
fn parts(count: u32, size: usize) -> Vec<Range<u32>> {
    let processors = std::thread::available_parallelism().map_or(1, |n| n.get() as u64);
    let lookers = (u64::from(count) * size as u64 / LEAST).clamp(1, LOOKERS.min(processors));
    let bound = |part: u64| (u64::from(count) * part / lookers) as u32 + 1;
    (0..lookers).map(|part| bound(part)..bound(part + 1)).collect()
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
