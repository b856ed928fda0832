//! Which pages of a live database are not known to be what they are to be.
//!
//! Every page is looked at, within the transaction that will replace what differs: whoever wrote since the pages became
//! known has left pages that are not. One thread reads them, another looks at them.

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
/// A longer list is not made: then all is read.
const MOST: usize = 1 << 16;
/// Nor one of more than one page in so many, unless it is short all the same.
const ONE_IN: usize = 3;
const SHORT: usize = 64;

/// Takes bytes, in order.
pub type Take<'t> = dyn FnMut(&mut Blocks<'_>) -> Result<(), ApplyError> + 't;

/// Hands over the bytes of the pages with these numbers, which ascend.
pub type Pages<'p> = dyn FnMut(&[u32], &mut Take<'_>) -> Result<(), ApplyError> + 'p;

/// What is known of the pages that a database is to have.
pub struct Known<'k> {
    pub length: u64,
    /// The first of them.
    pub first: Vec<u8>,
    /// Is this live page known to be what it is to be? Asked for each in order, from the first on.
    pub is_wanted: &'k mut (dyn FnMut(&[u8]) -> bool + Send),
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
    is_wanted: &mut (dyn FnMut(&[u8]) -> bool + Send),
    goal: &Goal,
    live_count: u32,
    options: &Options<'_>,
) -> Result<Option<Vec<u32>>, Failure> {
    let common = live_count.min(goal.count);
    let locks = header::lock_page(goal.page_size() as u32);
    let most = MOST.min((goal.count as usize / ONE_IN).max(SHORT));
    let (send, receive) = bounded(2);
    let size = goal.page_size();
    let found = std::thread::scope(|scope| {
        let looking = scope.spawn(move || look(&receive, is_wanted, size, locks, most));
        let read = read(connection, common, size, send, options);
        let found = looking.join().expect("BUG: whoever looks at pages panicked");
        read.map(|()| found)
    })?;
    reach("looked");
    let Some(mut numbers) = found else { return Ok(None) };
    let more = (common + 1..=goal.count).filter(|&number| number != locks);
    if numbers.len() + (goal.count - common) as usize > most {
        return Ok(None);
    }
    numbers.extend(more);
    Ok(Some(numbers))
}

/// Hands the first `count` pages over, until nobody takes them any more.
fn read(
    connection: &Connection,
    count: u32,
    size: usize,
    batches: Sender<Lent>,
    options: &Options<'_>,
) -> Result<(), Failure> {
    let buffers = Buffers::new(4, BATCH);
    let empty = || {
        let mut buffer = buffers.take();
        buffer.clear();
        buffer
    };
    let mut batch = empty();
    let mut scan = connection.prepare("SELECT data FROM sqlite_dbpage").map_err(Failure::Sqlite)?;
    let mut rows = scan.query([]).map_err(Failure::Sqlite)?;
    for _ in 0..count {
        if options.control.stopped() {
            return Err(Failure::Interrupted);
        }
        // A page that is not there is none that is known.
        let row = rows.next().map_err(Failure::Sqlite)?;
        let page = row.and_then(|row| row.get_ref(0).ok()?.as_blob().ok()).filter(|page| page.len() == size);
        match page {
            Some(page) => batch.extend_from_slice(page),
            None => return Err(Failure::Sqlite(rusqlite::Error::QueryReturnedNoRows)),
        }
        options.control.bytes.add(size as u64);
        if batch.len() + size > BATCH.max(size)
            && batches.send(Lent::new(std::mem::replace(&mut batch, empty()), &buffers)).is_err()
        {
            return Ok(());
        }
    }
    // Short of its end, nobody wanted the rest.
    let _ = batches.send(Lent::new(batch, &buffers));
    Ok(())
}

fn look(
    batches: &Receiver<Lent>,
    is_wanted: &mut (dyn FnMut(&[u8]) -> bool + Send),
    size: usize,
    locks: u32,
    most: usize,
) -> Option<Vec<u32>> {
    let (mut numbers, mut number) = (Vec::new(), 0);
    for batch in batches {
        for page in batch.bytes().chunks_exact(size) {
            number += 1;
            // The first page is written anyway, if any is.
            if is_wanted(page) || number == 1 || number == locks {
                continue;
            }
            if numbers.len() == most {
                return None;
            }
            numbers.push(number);
        }
    }
    Some(numbers)
}
