//! Which chunk a place of the content lies in.
//!
//! A list that stands in the entry is kept as it is. A list kept as content itself (a large database has millions of
//! extents) is gone through once: only where each part of it begins stays in memory, about 50 bytes for some eighty
//! extents, and the parts looked at last. So a hundred gigabytes cost a few megabytes, however scattered they are.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use crate::base::entry::{Content, Entry, Extent};
use crate::base::id::PlainDigest;
use crate::format::error::FormatError;
use crate::format::listing;
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::random::frames::Frames;
use crate::vault::read::MAX_DEPTH;

/// A list of more parts is taken for one without end: some 80 million extents are less.
const MOST_PARTS: usize = 1 << 20;
/// Extents of parts kept, as long as it is more than one part.
const KEPT: usize = 40_000;

/// Bytes that lie together: in a chunk, or in no chunk where they are zeros.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where they are in the content.
    pub start: u64,
    pub end: u64,
    pub chunk: Option<PlainDigest>,
    /// Where they begin in the chunk.
    pub offset: u32,
}

/// A list's extents, in order; they follow each other without a gap.
type List = Arc<Vec<Piece>>;

pub enum Pieces {
    Whole(List),
    Parts { parts: Vec<Part>, kept: Mutex<VecDeque<(usize, List)>> },
}

/// A part of a list that is kept as content, and what its extents begin with.
pub struct Part {
    start: u64,
    chunk: PlainDigest,
    offset: u32,
    length: u32,
}

impl Pieces {
    pub fn new(entry: &Entry, frames: &Frames) -> Result<Self, VaultError> {
        let content = &entry.content;
        let (pieces, end) = match content.depth {
            0 => {
                let list = list(content.extents.iter().cloned().map(Ok), 0)?;
                let end = list.last().map_or(0, |piece| piece.end);
                (Self::Whole(Arc::new(list)), end)
            }
            1..=MAX_DEPTH => {
                let (parts, end) = parts(content, frames)?;
                (Self::Parts { parts, kept: Mutex::default() }, end)
            }
            _ => return Err(malformed("it is nested too deeply")),
        };
        if end == entry.size { Ok(pieces) } else { Err(malformed("it is not as long as its file")) }
    }

    /// The piece that holds the byte at `offset`, which is below the content's length.
    pub fn at(&self, offset: u64, frames: &Frames) -> Result<Piece, VaultError> {
        let list = match self {
            Self::Whole(list) => list.clone(),
            Self::Parts { parts, kept } => {
                let number = parts.partition_point(|part| part.start <= offset).saturating_sub(1);
                part(parts, number, kept, frames)?
            }
        };
        let number = list.partition_point(|piece| piece.end <= offset);
        let piece = list.get(number).filter(|piece| piece.start <= offset);
        piece.copied().ok_or_else(|| malformed("it is not as long as its file"))
    }
}

fn part(
    parts: &[Part],
    number: usize,
    kept: &Mutex<VecDeque<(usize, List)>>,
    frames: &Frames,
) -> Result<List, VaultError> {
    let lock = || kept.lock().expect("BUG: nothing panics while holding it");
    if let Some((_, list)) = lock().iter().find(|(kept, _)| *kept == number) {
        return Ok(list.clone());
    }
    let part = parts.get(number).ok_or_else(|| malformed("it is not as long as its file"))?;
    let list = Arc::new(part.read(frames)?);
    let mut kept = lock();
    kept.push_back((number, list.clone()));
    let mut extents: usize = kept.iter().map(|(_, list)| list.len()).sum();
    while extents > KEPT && kept.len() > 1 {
        extents -= kept.pop_front().map_or(0, |(_, list)| list.len());
    }
    Ok(list)
}

impl Part {
    fn read(&self, frames: &Frames) -> Result<Vec<Piece>, VaultError> {
        let mut lines = vec![0; self.length as usize];
        frames.copy(&self.chunk, self.offset.into(), &mut lines)?;
        let Some(lines) = lines.strip_suffix(b"\n") else { return Err(malformed("a part of it ends within a line")) };
        let extents = lines
            .split(|&b| b == b'\n')
            .map(|line| listing::read_extent(line).map_err(|source| VaultError::Listing { source }));
        list(extents, self.start)
    }
}

/// Where the parts of a list begin, and where the last one ends.
fn parts(content: &Content, frames: &Frames) -> Result<(Vec<Part>, u64), VaultError> {
    let list = Content { depth: content.depth - 1, extents: content.extents.clone() };
    let (mut parts, mut end) = (Vec::new(), 0);
    for extent in extents::raw(&list, frames.library()) {
        let Extent { chunk, length, offset, .. } = extent?;
        let (Some(chunk), Ok(length), Ok(offset)) = (chunk, u32::try_from(length), u32::try_from(offset)) else {
            return Err(malformed("a part of it is no lines"));
        };
        if length as usize > crate::base::chunk::MAX_CHUNK || parts.len() == MOST_PARTS {
            return Err(malformed("it is longer than any list"));
        }
        let part = Part { start: end, chunk, offset, length };
        end = part.read(frames)?.last().map_or(end, |piece| piece.end);
        parts.push(part);
    }
    Ok((parts, end))
}

/// The pieces that extents make, the first of them at `start`.
fn list(extents: impl Iterator<Item = Result<Extent, VaultError>>, start: u64) -> Result<Vec<Piece>, VaultError> {
    let mut at = start;
    extents
        .map(|extent| {
            let Extent { chunk, length, offset, .. } = extent?;
            let end = at.checked_add(length).filter(|_| length > 0);
            let (Some(end), Ok(offset)) = (end, u32::try_from(offset)) else {
                return Err(malformed("an extent of it is no run of bytes"));
            };
            Ok(Piece { start: std::mem::replace(&mut at, end), end, chunk, offset })
        })
        .collect()
}

fn malformed(why: &str) -> VaultError {
    VaultError::Listing { source: FormatError::malformed("a list of extents", why) }
}
