//! Rows read from a file, one after another, and their fields where they are wanted.
//!
//! Memory is bounded by a block and the value that is handed over: a row longer than a block is gone through and not
//! kept.

use std::borrow::Cow;
use std::collections::{HashSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::error::Explained;
use crate::base::random::RandomRead;
use crate::base::record::Value;
use crate::engine::postgres::records::kept::image::{EMPTY, Image, Painter};
use crate::engine::postgres::records::value::{Kind, unescaped};

/// Blocks are so long; a run that is no longer than two of them is one block.
const BLOCK: u64 = 1 << 20;
/// Blocks that were read last and may be wanted again, of one file.
const KEPT: usize = 6;

/// Blocks that several scans of one file share.
#[derive(Default)]
pub struct Blocks(Mutex<VecDeque<Block>>);

type Block = (Range<u64>, Arc<Vec<u8>>);

impl Blocks {
    fn read(&self, content: &dyn RandomRead, range: &Range<u64>) -> Result<Arc<Vec<u8>>, Explained> {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, block)) = lock().iter().find(|(kept, _)| kept == range) {
            return Ok(block.clone());
        }
        let block = Arc::new(read(content, range.clone())?);
        let mut kept = lock();
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back((range.clone(), block.clone()));
        Ok(block)
    }
}

fn read(content: &dyn RandomRead, range: Range<u64>) -> Result<Vec<u8>, Explained> {
    let mut bytes = vec![0; (range.end - range.start) as usize];
    content.read_at(range.start, &mut bytes)?;
    Ok(bytes)
}

/// Rows whose field is none of these are passed over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sieve {
    pub field: usize,
    /// As they stand in the file.
    pub admitted: HashSet<Vec<u8>>,
}

/// Goes through runs of rows.
pub struct Scan {
    content: Arc<dyn RandomRead>,
    blocks: Arc<Blocks>,
    runs: std::vec::IntoIter<Range<u64>>,
    run: Range<u64>,
    sieves: Vec<Sieve>,
    block: Arc<Vec<u8>>,
    block_start: u64,
    /// The row it stands at, without its newline.
    row: Range<u64>,
    /// Where its fields end, as far as that was looked up.
    ends: Vec<u64>,
}

impl Scan {
    pub fn new(
        content: Arc<dyn RandomRead>,
        blocks: Arc<Blocks>,
        runs: Vec<Range<u64>>,
        mut sieves: Vec<Sieve>,
    ) -> Self {
        sieves.sort_by_key(|sieve| sieve.field);
        let (block, ends) = (Arc::default(), Vec::new());
        Self { content, blocks, runs: runs.into_iter(), run: 0..0, sieves, block, block_start: 0, row: 0..0, ends }
    }

    /// The next row: where in the file it begins.
    pub fn next(&mut self) -> Result<Option<u64>, Explained> {
        loop {
            while self.run.is_empty() {
                match self.runs.next() {
                    Some(run) => self.run = run,
                    None => return Ok(None),
                }
            }
            self.go_to(self.run.start)?;
            self.run.start = (self.row.end + 1).min(self.run.end);
            if self.is_admitted()? {
                return Ok(Some(self.row.start));
            }
        }
    }

    /// Are all rows of all runs behind it?
    pub fn is_over(&self) -> bool {
        self.run.is_empty() && self.runs.as_slice().iter().all(Range::is_empty)
    }

    /// One more run to go through, in place of the one it is in.
    pub fn give(&mut self, run: Range<u64>) {
        self.run = run;
    }

    /// Goes to the row that begins at `start`, in this run.
    pub fn from(&mut self, start: u64, run: Range<u64>) -> Result<(), Explained> {
        self.run = run;
        // The whole run is a block that the next of its rows is found in too.
        if self.run.end - self.run.start <= 2 * BLOCK {
            self.fill(self.run.start)?;
        }
        self.go_to(start)
    }

    /// Finds the row that begins here, in the run it is in.
    fn go_to(&mut self, start: u64) -> Result<(), Explained> {
        self.ends.clear();
        let length = match self.newline(start) {
            Some(length) => length,
            None => {
                self.fill(start)?;
                match self.newline(start) {
                    Some(length) => length,
                    None => return self.go_through(start),
                }
            }
        };
        self.row = start..start + length;
        Ok(())
    }

    /// How long the row is, if its end is in the block.
    fn newline(&self, start: u64) -> Option<u64> {
        let at = start.checked_sub(self.block_start)? as usize;
        memchr::memchr(b'\n', self.block.get(at..)?).map(|length| length as u64)
    }

    fn fill(&mut self, start: u64) -> Result<(), Explained> {
        if self.run.end - start <= 2 * BLOCK {
            self.block = self.blocks.read(&*self.content, &(start..self.run.end))?;
        } else {
            // Given back before the next is read.
            self.block = Arc::default();
            self.block = Arc::new(read(&*self.content, start..(start + BLOCK).min(self.run.end))?);
        }
        self.block_start = start;
        Ok(())
    }

    /// A row without an end in the block: it is gone through, and only where its fields end is kept.
    fn go_through(&mut self, start: u64) -> Result<(), Explained> {
        let mut at = start;
        self.block = Arc::default();
        while at < self.run.end {
            let part = read(&*self.content, at..(at + BLOCK).min(self.run.end))?;
            for found in memchr::memchr2_iter(b'\t', b'\n', &part) {
                self.ends.push(at + found as u64);
                if part[found] == b'\n' {
                    self.row = start..at + found as u64;
                    return Ok(());
                }
            }
            at += part.len() as u64;
        }
        // A file whose last row has no end.
        self.ends.push(self.run.end);
        self.row = start..self.run.end;
        Ok(())
    }

    fn is_admitted(&mut self) -> Result<bool, Explained> {
        for at in 0..self.sieves.len() {
            let Some(range) = self.field(self.sieves[at].field) else { return Ok(false) };
            let admitted = &self.sieves[at].admitted;
            let is_in = match self.held(&range) {
                Some(field) => admitted.contains(field),
                // As long as none of them is, it is not read.
                None if admitted.iter().any(|one| one.len() as u64 == range.end - range.start) => {
                    admitted.contains(&read(&*self.content, range)?)
                }
                None => false,
            };
            if !is_in {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn held(&self, range: &Range<u64>) -> Option<&[u8]> {
        let at = range.start.checked_sub(self.block_start)? as usize;
        self.block.get(at..at + (range.end - range.start) as usize)
    }

    /// Where a field lies.
    fn field(&mut self, field: usize) -> Option<Range<u64>> {
        while self.ends.len() <= field {
            let from = self.ends.last().map_or(self.row.start, |end| end + 1);
            if from > self.row.end {
                return None;
            }
            let rest = self.held(&(from..self.row.end))?;
            let length = memchr::memchr(b'\t', rest).unwrap_or(rest.len()) as u64;
            self.ends.push(from + length);
        }
        let start = if field == 0 { self.row.start } else { self.ends[field - 1] + 1 };
        Some(start..self.ends[field])
    }

    /// Is a field of the row the same as one of the row that another scan stands at? However long, little of them is in
    /// memory.
    pub fn is_same(&mut self, field: usize, other: &mut Self, other_field: usize) -> Result<bool, Explained> {
        let (one, two) = match (self.field(field), other.field(other_field)) {
            (Some(one), Some(two)) => (one, two),
            (one, two) => return Ok(one.is_none() && two.is_none()),
        };
        if one.end - one.start != two.end - two.start {
            return Ok(false);
        }
        if let (Some(one), Some(two)) = (self.held(&one), other.held(&two)) {
            return Ok(one == two);
        }
        for at in (0..one.end - one.start).step_by(BLOCK as usize) {
            let part = |range: &Range<u64>| range.start + at..(range.start + at + BLOCK).min(range.end);
            if read(&*self.content, part(&one))? != read(&*other.content, part(&two))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Is a field of the row these bytes?
    pub fn holds(&mut self, field: usize, bytes: &[u8]) -> Result<bool, Explained> {
        let Some(range) = self.field(field) else { return Ok(false) };
        if range.end - range.start != bytes.len() as u64 {
            return Ok(false);
        }
        if let Some(held) = self.held(&range) {
            return Ok(held == bytes);
        }
        for (at, part) in range.clone().step_by(BLOCK as usize).zip(bytes.chunks(BLOCK as usize)) {
            if read(&*self.content, at..at + part.len() as u64)? != part {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What a field of the row is, in few bytes.
    pub fn image(&mut self, field: usize) -> Result<Image, Explained> {
        let Some(range) = self.field(field) else { return Ok(Image::of(EMPTY)) };
        if let Some(bytes) = self.held(&range) {
            return Ok(Image::of(bytes));
        }
        let mut painter = Painter::default();
        for at in range.clone().step_by(BLOCK as usize) {
            painter.add(&read(&*self.content, at..(at + BLOCK).min(range.end))?);
        }
        Ok(painter.image())
    }

    /// How many fields the row has.
    pub fn width(&mut self) -> usize {
        // Beyond the last one there is none.
        while self.field(self.ends.len()).is_some() {}
        self.ends.len()
    }

    /// A field as it was before it was written; none for an empty one, and for one that lies in no block.
    pub fn text(&mut self, field: usize) -> Result<Option<Vec<u8>>, Explained> {
        let Some(range) = self.field(field) else { return Ok(None) };
        match self.held(&range) {
            Some(bytes) => Ok(unescaped(bytes).map(Cow::into_owned)),
            None if range.end - range.start <= BLOCK => {
                Ok(unescaped(&read(&*self.content, range)?).map(Cow::into_owned))
            }
            None => Ok(None),
        }
    }

    /// A field's value.
    pub fn value(&mut self, field: usize, kind: Kind) -> Result<Value, Explained> {
        // A row that is too short holds nothing there.
        let Some(range) = self.field(field) else { return Ok(Value::Null) };
        match self.held(&range) {
            Some(bytes) => Ok(unescaped(bytes).map_or(Value::Null, |text| kind.value(&text))),
            None if range.end - range.start <= BLOCK => {
                let bytes = read(&*self.content, range)?;
                Ok(unescaped(&bytes).map_or(Value::Null, |text| kind.value(&text)))
            }
            None => long(&*self.content, range, kind),
        }
    }
}

/// A value that lies in no block: read bit by bit, so that it is in memory once.
fn long(content: &dyn RandomRead, range: Range<u64>, kind: Kind) -> Result<Value, Explained> {
    let mut text = Vec::new();
    text.reserve_exact((range.end - range.start) as usize / if kind == Kind::Bytes { 2 } else { 1 });
    let (mut at, mut waiting) = (range.start, Vec::new());
    let mut is_bytes = kind == Kind::Bytes;
    while at < range.end {
        let end = (at + BLOCK).min(range.end);
        let mut part = std::mem::take(&mut waiting);
        let begun = part.len();
        part.resize(begun + (end - at) as usize, 0);
        content.read_at(at, &mut part[begun..])?;
        if at == range.start {
            // The sign that digits follow: it is written with a backslash of its own.
            is_bytes &= part.starts_with(b"\\\\x");
            if is_bytes {
                part.drain(..3);
            }
        }
        at = end;
        let whole = if at == range.end { part.len() } else { whole(&part, is_bytes) };
        waiting.extend_from_slice(&part[whole..]);
        match is_bytes {
            true => match hex::decode(&part[..whole]) {
                Ok(bytes) => text.extend_from_slice(&bytes),
                Err(_) => return Ok(Value::Text(read(content, range)?)),
            },
            false => match unescaped(&part[..whole]) {
                Some(unescaped) => text.extend_from_slice(&unescaped),
                None => text.extend_from_slice(b"N"),
            },
        }
    }
    text.shrink_to_fit();
    Ok(if is_bytes { Value::Blob(text) } else { Value::Text(text) })
}

/// So much of a part can be read without what follows: no sign is cut in two, nor a pair of digits.
fn whole(part: &[u8], is_bytes: bool) -> usize {
    if is_bytes {
        return part.len() / 2 * 2;
    }
    let signs = part.iter().rev().take_while(|&&byte| byte == b'\\').count();
    part.len() - signs % 2
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "runs are ranges, be it one")]
mod tests;
