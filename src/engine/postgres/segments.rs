//! Rows of a table cut into segments that stay the same when other rows change (docs/format.md §6).
//!
//! Owns where rows are cut, what is a chunk, and what is noted of each segment. Never changes a byte of a row. Memory
//! is bounded by one segment, whatever the length of a row.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::chunk::{Chunk, Lent};
use crate::base::path;
use crate::engine::postgres::filters::{Filter, Values};

/// A segment is not begun before the last is so long, unless it would grow beyond the longest.
const SHORTEST: usize = 32 << 10;
const LONGEST: usize = 1 << 20;
/// Beyond the shortest, a segment ends after so many bytes on average. Rows count with lengths rounded up to a power of
/// two, about a third too long, which makes segments of about 128 KiB.
const SPACING: u64 = 128 << 10;
/// Keys longer than this are not noted.
const LONGEST_KEY: usize = 1024;

/// What is known of the rows before they come.
#[derive(Clone, Debug, Default)]
pub struct Shape {
    /// So many fields at the beginning of each row are its key.
    pub key: usize,
    /// Fields that filters are kept of: their place in a row, and their names.
    pub filtered: Vec<(usize, String)>,
    pub salt: u64,
}

/// Rows as they come: whole ones, and one at the end that may go on in the next batch.
#[derive(Debug)]
pub struct Batch {
    pub bytes: Lent,
    /// Where in the bytes a row ends, newline included.
    pub ends: Vec<u32>,
}

/// What is noted of a segment: a line of a `.segments` file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    pub rows: u64,
    pub bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub filters: BTreeMap<String, Filter>,
}

/// Takes what the cutter has cut.
pub trait Pieces {
    /// A chunk of the file, and the key of the row that begins in it.
    fn piece(&mut self, chunk: Chunk, first: Option<String>);
    fn segment(&mut self, segment: &Segment);
}

/// Cuts the rows of one table.
pub struct Segmenter {
    shape: Shape,
    /// The segment in the making, and behind it the beginning of a row whose end has not come.
    bytes: Vec<u8>,
    /// How much of `bytes` is whole rows.
    whole: usize,
    /// Rows of the segment.
    rows: u64,
    first: Option<Vec<u8>>,
    last: std::ops::Range<usize>,
    values: Vec<Values>,
    /// A row longer than any segment is on its way: what has been handed over of it.
    long: Option<Long>,
    pub total_rows: u64,
    pub total_bytes: u64,
}

struct Long {
    key: Option<Vec<u8>>,
    bytes: u64,
}

impl Segmenter {
    pub fn new(shape: Shape) -> Self {
        let values = shape.filtered.iter().map(|_| Values::default()).collect();
        Self {
            shape,
            bytes: Vec::new(),
            whole: 0,
            rows: 0,
            first: None,
            last: 0..0,
            values,
            long: None,
            total_rows: 0,
            total_bytes: 0,
        }
    }

    /// Takes the rows that follow.
    pub fn push(&mut self, batch: &Batch, out: &mut dyn Pieces) {
        let (bytes, mut start) = (batch.bytes.bytes(), 0);
        for &end in &batch.ends {
            self.extend(&bytes[start..end as usize], out);
            self.end_row(out);
            start = end as usize;
        }
        self.extend(&bytes[start..], out);
    }

    /// The rows are at their end.
    pub fn finish(&mut self, out: &mut dyn Pieces) {
        debug_assert!(self.long.is_none() && self.whole == self.bytes.len(), "BUG: a row without its end");
        self.close(out);
    }

    /// More of a row. What makes it longer than a segment may be is handed over at once.
    fn extend(&mut self, mut bytes: &[u8], out: &mut dyn Pieces) {
        self.total_bytes += bytes.len() as u64;
        while self.bytes.len() - self.whole + bytes.len() > LONGEST {
            let missing = LONGEST - (self.bytes.len() - self.whole);
            let (now, later) = bytes.split_at(missing);
            self.bytes.extend_from_slice(now);
            bytes = later;
            self.hand_over_long(out);
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The row in the making is too long: it gets a segment of its own, piece by piece.
    fn hand_over_long(&mut self, out: &mut dyn Pieces) {
        if self.long.is_none() {
            let row = self.bytes.split_off(self.whole);
            self.close(out);
            self.bytes = row;
            self.long = Some(Long { key: key_of(&self.bytes, self.shape.key), bytes: 0 });
        }
        self.piece_of_long(out);
    }

    fn piece_of_long(&mut self, out: &mut dyn Pieces) {
        let long = self.long.as_mut().expect("BUG: a long row is on its way");
        let first = if long.bytes == 0 { long.key.as_deref().and_then(extent_key) } else { None };
        long.bytes += self.bytes.len() as u64;
        out.piece(Chunk::new(std::mem::take(&mut self.bytes)), first);
    }

    fn end_row(&mut self, out: &mut dyn Pieces) {
        self.total_rows += 1;
        if self.long.is_some() {
            return self.end_long(out);
        }
        let begin = self.whole;
        let row = begin..self.bytes.len();
        let begins_segment = self.rows > 0 && self.cuts_before(row.clone());
        if begins_segment {
            let row = self.bytes.split_off(begin);
            self.close(out);
            self.bytes.extend_from_slice(&row);
        }
        let row = self.bytes.len() - row.len()..self.bytes.len();
        self.note(row);
    }

    /// Takes the row at `row` into the segment.
    fn note(&mut self, row: std::ops::Range<usize>) {
        let bytes = &self.bytes[row.clone()];
        if self.rows == 0 {
            self.first = key_of(bytes, self.shape.key);
        }
        filter_row(bytes, &self.shape.filtered, &mut self.values);
        self.whole = row.end;
        self.last = row;
        self.rows += 1;
    }

    fn end_long(&mut self, out: &mut dyn Pieces) {
        if !self.bytes.is_empty() {
            self.piece_of_long(out);
        }
        let long = self.long.take().expect("BUG: a long row ends");
        let key = long.key.as_deref().and_then(fields);
        let segment = Segment { rows: 1, bytes: long.bytes, first: key.clone(), last: key, filters: BTreeMap::new() };
        out.segment(&segment);
    }

    /// Does a segment begin with this row?
    fn cuts_before(&self, row: std::ops::Range<usize>) -> bool {
        if row.end > LONGEST {
            return true;
        }
        if row.start < SHORTEST {
            return false;
        }
        let bytes = &self.bytes[row];
        let hash = hash(key_bytes(bytes, self.shape.key).unwrap_or(bytes), self.shape.salt);
        let length = (bytes.len() as u64).next_power_of_two();
        hash % SPACING < length
    }

    fn close(&mut self, out: &mut dyn Pieces) {
        if self.rows == 0 {
            return;
        }
        debug_assert_eq!(self.whole, self.bytes.len());
        let last = key_of(&self.bytes[self.last.clone()], self.shape.key);
        let names = self.shape.filtered.iter().map(|(_, name)| name);
        let filters = names.zip(&mut self.values).filter_map(|(name, values)| Some((name.clone(), values.take()?)));
        let segment = Segment {
            rows: std::mem::take(&mut self.rows),
            bytes: self.bytes.len() as u64,
            first: self.first.as_deref().and_then(fields),
            last: last.as_deref().and_then(fields),
            filters: filters.collect(),
        };
        let first = self.first.take().as_deref().and_then(extent_key);
        self.whole = 0;
        // Exactly as long as it has to be: buffers of the longest segments would pile up while they wait to be packed.
        out.piece(Chunk::new(self.bytes.as_slice().to_vec()), first);
        self.bytes.clear();
        out.segment(&segment);
    }
}

/// The key at the beginning of a row: so many fields, without what follows them.
fn key_bytes(row: &[u8], fields: usize) -> Option<&[u8]> {
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    match fields {
        0 => None,
        _ => Some(memchr::memchr_iter(b'\t', row).nth(fields - 1).map_or(row, |end| &row[..end])),
    }
}

fn key_of(row: &[u8], fields: usize) -> Option<Vec<u8>> {
    key_bytes(row, fields).filter(|key| key.len() <= LONGEST_KEY).map(<[u8]>::to_vec)
}

/// The key's fields as JSON takes them; none where they are not text.
fn fields(key: &[u8]) -> Option<Vec<String>> {
    Some(std::str::from_utf8(key).ok()?.split('\t').map(str::to_owned).collect())
}

/// The key as an extent takes it.
fn extent_key(key: &[u8]) -> Option<String> {
    Some(path::encode(key)).filter(|key| key.len() <= LONGEST_KEY)
}

fn filter_row(row: &[u8], filtered: &[(usize, String)], values: &mut [Values]) {
    let Some((furthest, _)) = filtered.last() else { return };
    let row = row.strip_suffix(b"\n").unwrap_or(row);
    let mut wanted = filtered.iter().zip(values).peekable();
    let ends = memchr::memchr_iter(b'\t', row).chain(std::iter::once(row.len()));
    let mut start = 0;
    for (at, end) in ends.enumerate().take(furthest + 1) {
        if let Some((_, values)) = wanted.next_if(|((place, _), _)| *place == at) {
            values.add(&row[start..end]);
        }
        start = end + 1;
    }
}

/// Spreads keys evenly, differently in each vault. FNV-1a, its bits mixed afterwards.
fn hash(bytes: &[u8], salt: u64) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325 ^ salt;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash ^= hash >> 32;
    hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    hash ^ (hash >> 29)
}

#[cfg(test)]
mod tests;
