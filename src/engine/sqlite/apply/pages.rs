//! The pages that a database is to have, one after the other, out of blocks of any length.

use crate::base::error::Explained;
use crate::engine::sqlite::apply::error::{ApplyError, Cause};
use crate::engine::sqlite::apply::header::{Header, LENGTH};

/// Puts the next block into the buffer, whose memory it may take for a later one. `false` when there is none.
pub type Blocks<'b> = dyn FnMut(&mut Vec<u8>) -> Result<bool, Explained> + 'b;

/// A database's bytes in order.
pub struct Wanted<'w> {
    pub length: u64,
    pub blocks: &'w mut Blocks<'w>,
}

/// Hands pages out in order. The first one is known from the beginning, and handed out like the others.
pub(super) struct Pages<'w> {
    blocks: &'w mut Blocks<'w>,
    block: Vec<u8>,
    at: usize,
    /// A page that lies in several blocks is put together here.
    joined: Vec<u8>,
    first: Vec<u8>,
    count: u32,
    next: u32,
}

impl<'w> Pages<'w> {
    pub fn new(wanted: Wanted<'w>) -> Result<Self, ApplyError> {
        let Wanted { length, blocks } = wanted;
        let mut pages =
            Self { blocks, block: Vec::new(), at: 0, joined: Vec::new(), first: Vec::new(), count: 0, next: 1 };
        let mut first = vec![0; length.min(LENGTH as u64) as usize];
        pages.fill(&mut first)?;
        let header = Header::of(&first).ok_or_else(|| unfit("it is no SQLite database"))?;
        let size = header.page_size();
        let there = u32::try_from(length / u64::from(size)).map_err(|_| unfit("it has too many pages"))?;
        if length % u64::from(size) != 0 {
            return Err(unfit("it ends within a page"));
        }
        // A crash while a file was being shortened leaves more of it than belongs to the database.
        let count = header.pages().unwrap_or(there);
        if count > there {
            return Err(unfit("it is shorter than it says"));
        }
        first.resize(size as usize, 0);
        pages.fill(&mut first[LENGTH..])?;
        (pages.first, pages.count) = (first, count);
        Ok(pages)
    }

    /// So many pages of a database other than its first one, numbered from 2 on.
    pub fn some(blocks: &'w mut Blocks<'w>, page_size: usize, count: usize) -> Self {
        let (first, count) = (vec![0; page_size], count as u32 + 1);
        Self { blocks, block: Vec::new(), at: 0, joined: Vec::new(), first, count, next: 2 }
    }

    pub fn first(&self) -> &[u8] {
        &self.first
    }

    pub fn size(&self) -> usize {
        self.first.len()
    }

    pub fn count(&self) -> u32 {
        self.count
    }

    /// The next page with its number.
    pub fn next(&mut self) -> Result<Option<(u32, &[u8])>, ApplyError> {
        let number = self.next;
        if number > self.count {
            return Ok(None);
        }
        self.next += 1;
        if number == 1 {
            return Ok(Some((1, &self.first)));
        }
        let size = self.first.len();
        if self.at == self.block.len() {
            self.refill()?;
        }
        if self.block.len() - self.at >= size {
            self.at += size;
            return Ok(Some((number, &self.block[self.at - size..self.at])));
        }
        let mut joined = std::mem::take(&mut self.joined);
        joined.resize(size, 0);
        self.fill(&mut joined)?;
        self.joined = joined;
        Ok(Some((number, &self.joined)))
    }

    fn fill(&mut self, mut buffer: &mut [u8]) -> Result<(), ApplyError> {
        while !buffer.is_empty() {
            if self.at == self.block.len() {
                self.refill()?;
            }
            let now = buffer.len().min(self.block.len() - self.at);
            let (filled, rest) = buffer.split_at_mut(now);
            filled.copy_from_slice(&self.block[self.at..self.at + now]);
            (buffer, self.at) = (rest, self.at + now);
        }
        Ok(())
    }

    fn refill(&mut self) -> Result<(), ApplyError> {
        let more = (self.blocks)(&mut self.block).map_err(|error| ApplyError::Content { source: Cause(error) })?;
        if !more {
            return Err(unfit("it is not as long as its size"));
        }
        self.at = 0;
        Ok(())
    }
}

fn unfit(what: &str) -> ApplyError {
    ApplyError::Snapshot { what: what.to_owned() }
}
