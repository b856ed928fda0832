//! The metadata of folders, kept until everything in them is there: making a file changes its folder's time.
//!
//! Folders arrive in the listing's order and are taken back in reverse, deepest first. Of each path only the part
//! is kept that the next one does not share, so that a chain of 10,000 folders takes no room for its paths.

use super::apply::Meta;

#[derive(Default)]
pub struct Later {
    /// The path of the newest record, whole.
    newest: Vec<u8>,
    /// Of each older one, what follows the part shared with its successor.
    tails: Vec<u8>,
    records: Vec<Record>,
}

struct Record {
    meta: Meta,
    /// How much of the successor's path begins this one, and how much of `tails` ends it.
    shared: u32,
    tail: u32,
}

impl Later {
    pub fn push(&mut self, path: &[u8], meta: Meta) {
        if let Some(last) = self.records.last_mut() {
            let shared = self.newest.iter().zip(path).take_while(|(a, b)| a == b).count();
            // Paths of 4 GiB would not get here: a listing line is one chunk at most.
            (last.shared, last.tail) = (shared as u32, (self.newest.len() - shared) as u32);
            self.tails.extend_from_slice(&self.newest[shared..]);
        }
        self.newest.clear();
        self.newest.extend_from_slice(path);
        self.records.push(Record { meta, shared: 0, tail: 0 });
    }

    /// The newest record.
    pub fn pop(&mut self) -> Option<(Vec<u8>, Meta)> {
        let record = self.records.pop()?;
        let path = self.newest.clone();
        if let Some(previous) = self.records.last() {
            self.newest.truncate(previous.shared as usize);
            let cut = self.tails.len() - previous.tail as usize;
            self.newest.extend_from_slice(&self.tails[cut..]);
            self.tails.truncate(cut);
        }
        Some((path, record.meta))
    }
}
