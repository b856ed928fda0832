//! Which pages of a live database are not known to be what they are to be.
//!
//! Every page is looked at, within the transaction that will replace what differs: whoever wrote since the pages became
//! known has left pages that are not. One thread reads them, others look at them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::ScopedJoinHandle;

use crossbeam_channel::{Receiver, Sender, bounded};
use rusqlite::Connection;

use crate::base::chunk::{Buffers, Lent};
use crate::engine::sqlite::apply::delta::Goal;
use crate::engine::sqlite::apply::error::{ApplyError, Told};
use crate::engine::sqlite::apply::header::{self, Header};
use crate::engine::sqlite::apply::pages::Blocks;
use crate::engine::sqlite::apply::{Options, reach};

/// Pages are looked at so many bytes at a time.
const BATCH: usize = 1 << 20;
/// Digests take longer than reading.
const LOOKERS: usize = 2;
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

/// What is known of the pages that a database is to have.
pub struct Known<'k> {
    pub length: u64,
    /// The first of them.
    pub first: Vec<u8>,
    /// Tells of each page, in order, from the first on.
    pub expected: &'k mut dyn FnMut() -> Expected,
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
    known: &mut Known<'_>,
    goal: &Goal,
    live_count: u32,
    options: &Options<'_>,
) -> Result<Option<Vec<u32>>, Failure> {
    let common = live_count.min(goal.count);
    let (size, locks) = (goal.page_size(), header::lock_page(goal.page_size() as u32));
    let most = MOST.min((goal.count as usize / ONE_IN).max(SHORT));
    let looking = Looking { size, locks, name: known.name, most, found: AtomicUsize::new(0) };
    let (send, batches) = bounded(LOOKERS);
    let mut numbers = std::thread::scope(|scope| {
        let look = |_| {
            let (looking, batches) = (&looking, batches.clone());
            scope.spawn(move || looking.look(&batches))
        };
        let lookers: Vec<_> = (0..LOOKERS).map(look).collect();
        // With the lookers gone nobody takes what is read.
        drop(batches);
        let read = read(connection, common, size, known.expected, &send, options);
        drop(send);
        let found =
            |looker: ScopedJoinHandle<'_, Vec<u32>>| looker.join().expect("BUG: whoever looks at pages panicked");
        let numbers: Vec<u32> = lookers.into_iter().flat_map(found).collect();
        read.map(|()| numbers)
    })?;
    reach("looked");
    if numbers.len() + (goal.count - common) as usize > most {
        return Ok(None);
    }
    numbers.sort_unstable();
    numbers.extend((common + 1..=goal.count).filter(|&number| number != locks));
    Ok(Some(numbers))
}

/// Pages that follow each other, and what is known of each.
struct Batch {
    first: u32,
    pages: Lent,
    expected: Vec<Expected>,
}

/// Hands the first `count` pages over, until nobody takes them any more.
fn read(
    connection: &Connection,
    count: u32,
    size: usize,
    expected: &mut dyn FnMut() -> Expected,
    batches: &Sender<Batch>,
    options: &Options<'_>,
) -> Result<(), Failure> {
    let buffers = Buffers::new(2 * LOOKERS + 1, BATCH);
    let mut scan = connection.prepare("SELECT data FROM sqlite_dbpage").map_err(Failure::Sqlite)?;
    let mut rows = scan.query([]).map_err(Failure::Sqlite)?;
    let in_batch = (BATCH / size).max(1) as u32;
    for first in (1..=count).step_by(in_batch as usize) {
        if options.control.stopped() {
            return Err(Failure::Interrupted);
        }
        let numbers = first..=count.min(first.saturating_add(in_batch - 1));
        let expected: Vec<Expected> = numbers.clone().map(|_| expected()).collect();
        let mut pages = buffers.take();
        pages.clear();
        for _ in numbers {
            // A page that is not there is none that is known.
            let row = rows.next().map_err(Failure::Sqlite)?;
            let page = row.and_then(|row| row.get_ref(0).ok()?.as_blob().ok()).filter(|page| page.len() == size);
            pages.extend_from_slice(page.ok_or(Failure::Sqlite(rusqlite::Error::QueryReturnedNoRows))?);
        }
        options.control.bytes.add(pages.len() as u64);
        if batches.send(Batch { first, pages: Lent::new(pages, &buffers), expected }).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// What those who look at pages share.
struct Looking<'l> {
    size: usize,
    locks: u32,
    name: &'l (dyn Fn(&[u8]) -> PageName + Sync),
    most: usize,
    /// How many all of them have found.
    found: AtomicUsize,
}

impl Looking<'_> {
    /// Lists the pages that are not what is expected, until there are too many.
    fn look(&self, batches: &Receiver<Batch>) -> Vec<u32> {
        let mut numbers = Vec::new();
        for Batch { first, pages, expected } in batches {
            let before = numbers.len();
            let pages = pages.bytes().chunks_exact(self.size).zip(&expected).zip(first..);
            // The first page is written anyway, if any is.
            let counts = pages.filter(|(_, number)| *number != 1 && *number != self.locks);
            let other = counts.filter(|((page, expected), _)| !self.is_expected(page, expected));
            numbers.extend(other.map(|(_, number)| number));
            if self.found.fetch_add(numbers.len() - before, Ordering::Relaxed) > self.most {
                break;
            }
        }
        numbers
    }

    fn is_expected(&self, page: &[u8], expected: &Expected) -> bool {
        match expected {
            Expected::Unknown => false,
            Expected::Zeros => page.iter().all(|&byte| byte == 0),
            Expected::Named(name) => (self.name)(page) == *name,
        }
    }
}
