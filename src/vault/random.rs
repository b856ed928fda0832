//! Content read here and there: the bytes of an entry at any place, in memory that does not grow with its length.
//!
//! Owns finding the extent that a place lies in (`pieces`), the frames unpacked last (`frames`) and fetching ahead of
//! somebody who reads on (`ahead`). Every chunk is hashed again before a byte of it is handed out. Never writes.

mod ahead;
mod frames;
mod pieces;

use std::ops::Range;
use std::sync::Arc;

use crate::base::entry::Entry;
use crate::base::error::Explained;
use crate::base::id::PlainDigest;
use crate::base::random::RandomRead;
use crate::vault::error::VaultError;
use crate::vault::random::ahead::{Ahead, Streams};
use crate::vault::random::frames::Frames;
use crate::vault::random::pieces::{Piece, Pieces};
use crate::vault::read::Library;

/// Unpacked frames kept, of all contents together.
const HELD: usize = 32 << 20;

/// What several contents are read through: one cache, one set of threads. They end with the last reader.
pub struct Desk {
    frames: Arc<Frames>,
    ahead: Ahead,
}

impl Desk {
    pub fn new(library: Library<'static>) -> Arc<Self> {
        Self::holding(library, HELD)
    }

    /// With a cache of about so many bytes.
    pub fn holding(library: Library<'static>, held: usize) -> Arc<Self> {
        let frames = Arc::new(Frames::new(library, held));
        let ahead = Ahead::new(frames.clone());
        Arc::new(Self { frames, ahead })
    }

    pub fn library(&self) -> &Library<'static> {
        self.frames.library()
    }

    /// The bytes of an entry.
    pub fn read(self: &Arc<Self>, entry: &Entry) -> Result<ContentReader, VaultError> {
        let pieces = Pieces::new(entry, &self.frames)?;
        Ok(ContentReader { desk: self.clone(), pieces, streams: Streams::default(), length: entry.size })
    }
}

/// One entry's content.
pub struct ContentReader {
    desk: Arc<Desk>,
    pieces: Pieces,
    streams: Streams,
    length: u64,
}

impl ContentReader {
    /// Where the two do not have their bytes in the same place of the vault, as far as both reach: runs in order. `None`
    /// when there are more than `most` of them.
    pub fn unlike(&self, other: &Self, most: usize) -> Result<Option<Vec<Range<u64>>>, VaultError> {
        let (mut at, mut runs) = (0, Vec::<Range<u64>>::new());
        while at < self.length.min(other.length) {
            let (own, its) = (self.pieces.at(at, &self.desk.frames)?, other.pieces.at(at, &other.desk.frames)?);
            let end = own.end.min(its.end);
            let place = |piece: &Piece| piece.chunk.map(|chunk| (chunk, u64::from(piece.offset) + at - piece.start));
            if place(&own) != place(&its) {
                if let Some(run) = runs.last_mut().filter(|run| run.end == at) {
                    run.end = end;
                } else if runs.len() == most {
                    return Ok(None);
                } else {
                    runs.push(at..end);
                }
            }
            at = end;
        }
        Ok(Some(runs))
    }

    fn fill(&self, mut offset: u64, mut buffer: &mut [u8]) -> Result<(), VaultError> {
        while !buffer.is_empty() {
            let piece = self.pieces.at(offset, &self.desk.frames)?;
            let now = ((piece.end - offset).min(buffer.len() as u64)) as usize;
            let (part, rest) = buffer.split_at_mut(now);
            match piece.chunk {
                None => part.fill(0),
                Some(digest) => {
                    let from = u64::from(piece.offset) + (offset - piece.start);
                    self.desk.frames.copy(&digest, from, part)?;
                }
            }
            buffer = rest;
            offset += now as u64;
        }
        Ok(())
    }

    /// Whoever reads on finds what comes next fetched and hashed.
    fn go_ahead(&self, offset: u64, length: u64) -> Result<(), VaultError> {
        let Some(wanted) = self.streams.read(offset, length) else { return Ok(()) };
        let wanted = wanted.start..wanted.end.min(self.length);
        let (mut at, mut jobs) = (wanted.start, Vec::<Vec<PlainDigest>>::new());
        let (mut chunks, mut job, mut last) = (0, 0, None);
        while at < wanted.end && chunks < ahead::MOST_CHUNKS {
            let piece = self.pieces.at(at, &self.desk.frames)?;
            if let Some(digest) = piece.chunk.filter(|digest| last != Some(*digest)) {
                if jobs.is_empty() || job >= ahead::JOB {
                    jobs.push(Vec::new());
                    job = 0;
                }
                jobs.last_mut().expect("BUG: there is one").push(digest);
                (last, chunks) = (Some(digest), chunks + 1);
            }
            job += piece.end - at;
            at = piece.end;
        }
        self.streams.asked(offset, at);
        jobs.into_iter().for_each(|job| self.desk.ahead.fetch(job));
        Ok(())
    }
}

impl RandomRead for ContentReader {
    fn length(&self) -> u64 {
        self.length
    }

    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<(), Explained> {
        let length = buffer.len() as u64;
        if offset.checked_add(length).is_none_or(|end| end > self.length) {
            return Err(Box::new(VaultError::BeyondEnd { length: self.length }));
        }
        let read = self.go_ahead(offset, length).and_then(|()| self.fill(offset, buffer));
        read.map_err(|error| Box::new(error) as Explained)
    }
}
