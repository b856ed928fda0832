//! A captured database as whoever restores it sees it: files of the layout, read some at a time.
//!
//! Never knows where they are kept.

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::base::random::RandomRead;
use crate::engine::postgres::restore::error::LoadError;

/// So much is read at once.
const BLOCK: u64 = 256 << 10;
/// A line of one of the lists is not longer.
const LONGEST_LINE: usize = 64 << 20;

/// A captured database.
pub trait Dump: Sync {
    /// The content of a file, if it is there.
    fn open(&self, path: &str) -> Result<Option<Box<dyn RandomRead>>, Explained>;

    /// What is known of a file's content without reading it, from its beginning to its end.
    fn pieces(&self, path: &str) -> Result<Pieces<'_>, Explained>;

    /// What the database said of itself: `encoding`, `collate`, …
    fn fact(&self, name: &str) -> Option<&str>;
}

pub type Pieces<'d> = Box<dyn Iterator<Item = Result<Piece, Explained>> + 'd>;

/// A run of bytes, with their digest where the whole run has one.
pub struct Piece {
    pub length: u64,
    pub digest: Option<PlainDigest>,
}

/// A file that must be there.
pub(super) fn open(dump: &dyn Dump, path: &str) -> Result<Box<dyn RandomRead>, LoadError> {
    dump.open(path)?.ok_or_else(|| LoadError::Absent { path: path.to_owned() })
}

/// A run of a file's bytes, block by block.
pub struct Blocks {
    content: Box<dyn RandomRead>,
    at: u64,
    end: u64,
}

impl Blocks {
    pub fn of(dump: &dyn Dump, path: &str) -> Result<Self, LoadError> {
        let content = open(dump, path)?;
        let end = content.length();
        Ok(Self { content, at: 0, end })
    }

    pub fn within(dump: &dyn Dump, path: &str, start: u64, end: u64) -> Result<Self, LoadError> {
        let content = open(dump, path)?;
        let end = end.min(content.length());
        Ok(Self { content, at: start, end })
    }

    pub fn block(&mut self) -> Result<Option<Bytes>, Explained> {
        if self.at >= self.end {
            return Ok(None);
        }
        let mut block = vec![0; (self.end - self.at).min(BLOCK) as usize];
        self.content.read_at(self.at, &mut block)?;
        self.at += block.len() as u64;
        Ok(Some(block.into()))
    }
}

/// The lines of a list.
pub struct Lines {
    path: String,
    blocks: Blocks,
    waiting: Vec<u8>,
    at: usize,
}

impl Lines {
    pub fn of(dump: &dyn Dump, path: &str) -> Result<Self, LoadError> {
        Ok(Self { path: path.to_owned(), blocks: Blocks::of(dump, path)?, waiting: Vec::new(), at: 0 })
    }

    pub fn line<T: DeserializeOwned>(&mut self) -> Result<Option<T>, LoadError> {
        loop {
            if let Some(length) = memchr::memchr(b'\n', &self.waiting[self.at..]) {
                let line = &self.waiting[self.at..self.at + length];
                self.at += length + 1;
                let read = serde_json::from_slice(line);
                return read.map(Some).map_err(|source| LoadError::List { path: self.path.clone(), source });
            }
            self.waiting.drain(..self.at);
            self.at = 0;
            match self.blocks.block()? {
                Some(block) if self.waiting.len() < LONGEST_LINE => self.waiting.extend_from_slice(&block),
                Some(_) => return Err(LoadError::Absent { path: self.path.clone() }),
                None => return Ok(None),
            }
        }
    }

    pub fn all<T: DeserializeOwned>(mut self) -> Result<Vec<T>, LoadError> {
        let mut found = Vec::new();
        while let Some(line) = self.line()? {
            found.push(line);
        }
        Ok(found)
    }
}
