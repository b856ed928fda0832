//! Chunks and listings out, one after the other, with a small cache of frames.
//!
//! For bulk reading in parallel see `fetch`. Every chunk is hashed again before it is handed out.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use crate::base::chunk::plain_digest;
use crate::base::control::Count;
use crate::base::entry::{Content, Entry, Extent};
use crate::base::id::{PlainDigest, SealedDigest};
use crate::base::path::{self, EntryPath};
use crate::format::error::FormatError;
use crate::format::frame::FrameReader;
use crate::format::header::MAX_HEADER;
use crate::format::seal::Opener;
use crate::format::{layout, listing};
use crate::store::Store;
use crate::vault::bad_object;
use crate::vault::cells::Cells;
use crate::vault::error::VaultError;
use crate::vault::extents::{self, Extents};
use crate::vault::fetch::Shelf;
use crate::vault::index::{Index, Location};
use crate::vault::unlocked::UnlockedVault;

/// The index and the keys: what finds and opens chunks. Shared by all readers.
pub struct Library<'v> {
    pub(super) store: Cow<'v, Store>,
    index: Arc<Index>,
    identity: Cow<'v, age::x25519::Identity>,
    openers: std::sync::Mutex<HashMap<(SealedDigest, u64), Arc<Opener>>>,
    cells: Cells,
    /// Bytes that came from the store.
    fetched: Count,
    pub(super) tools: Shelf,
}

/// Opened heads kept: a few hundred bytes each.
const OPENERS: usize = 4096;

impl UnlockedVault {
    /// Everything there is to read, according to the catalogs in the vault.
    pub fn library(&self) -> Result<Library<'_>, VaultError> {
        let catalogs = self.vault.catalog_digests()?;
        let mut index = self.vault.index(&catalogs)?;
        index.check_packs(&self.vault.packs_there()?);
        Ok(Library::new(self, Arc::new(index)))
    }
}

impl Library<'_> {
    /// The same for somebody who outlives whoever opened the vault.
    pub fn owned(&self) -> Library<'static> {
        let (store, identity) = (self.store.clone().into_owned(), self.identity.clone().into_owned());
        Library::of(Cow::Owned(store), self.index.clone(), Cow::Owned(identity))
    }

    /// How many bytes of packs were fetched.
    pub fn fetched(&self) -> u64 {
        self.fetched.get()
    }
}

impl<'v> Library<'v> {
    pub(super) fn new(unlocked: &'v UnlockedVault, index: Arc<Index>) -> Self {
        Self::of(Cow::Borrowed(&unlocked.vault.store), index, Cow::Borrowed(&unlocked.identity))
    }

    fn of(store: Cow<'v, Store>, index: Arc<Index>, identity: Cow<'v, age::x25519::Identity>) -> Self {
        Self {
            store,
            index,
            identity,
            openers: Default::default(),
            cells: Cells::default(),
            fetched: Count::default(),
            tools: Shelf::default(),
        }
    }

    /// Every pack with its size, once each.
    pub fn packs(&self) -> Vec<(SealedDigest, u64)> {
        self.index.packs()
    }

    pub fn find(&self, digest: &PlainDigest) -> Result<Location, VaultError> {
        self.index.find_at_all(digest)?.ok_or(VaultError::UnknownChunk { digest: *digest })
    }

    /// Every place where it should lie.
    pub fn places(&self, digest: &PlainDigest) -> Result<Vec<Location>, VaultError> {
        self.index.all_places(digest)
    }

    /// What opens ranges of a pack. Its head is fetched once.
    pub(super) fn opener(&self, pack: SealedDigest, size: u64) -> Result<Arc<Opener>, VaultError> {
        if let Some(opener) = self.openers.lock().expect("BUG: nothing panics while holding it").get(&(pack, size)) {
            return Ok(opener.clone());
        }
        let key = layout::pack(pack);
        let head = self.store.get_range(&key, 0..size.min(1024))?;
        self.fetched.add(head.len() as u64);
        let opener = match Opener::new(&head, &[&*self.identity], size) {
            Ok(opener) => opener,
            Err(_) if size > 1024 => {
                let head = self.store.get_range(&key, 0..size.min(MAX_HEADER as u64))?;
                Opener::new(&head, &[&*self.identity], size).map_err(bad_object(&key))?
            }
            Err(error) => return Err(bad_object(&key)(error)),
        };
        let opener = Arc::new(opener);
        let mut openers = self.openers.lock().expect("BUG: nothing panics while holding it");
        if openers.len() >= OPENERS {
            openers.clear();
        }
        openers.insert((pack, size), opener.clone());
        Ok(opener)
    }

    /// Reads part of a pack's plain bytes.
    pub(super) fn read_pack_into(
        &self,
        pack: SealedDigest,
        size: u64,
        plain: Range<u64>,
        opened: &mut Vec<u8>,
    ) -> Result<(), VaultError> {
        let key = layout::pack(pack);
        let opener = self.opener(pack, size)?;
        let range = opener.sealed_range(&plain);
        if range.end > size || range.start >= range.end {
            return Err(VaultError::Damaged { object: key });
        }
        let fetch = |range| {
            let sealed = self.store.get_range(&key, range)?;
            self.fetched.add(sealed.len() as u64);
            Ok(sealed)
        };
        let sealed = self.cells.read(pack, range.clone(), fetch)?;
        opener.open_range_into(&plain, &sealed, opened).map_err(bad_object(&key))?;
        self.cells.keep(pack, range, &sealed);
        Ok(())
    }

    pub fn reader(&self) -> ChunkReader<'_> {
        ChunkReader { library: self, frames: VecDeque::new(), held: 0, unpack: FrameReader::default() }
    }
}

/// Reads chunks one by one. Keeps the frames it unpacked last, up to a bound.
pub struct ChunkReader<'l> {
    library: &'l Library<'l>,
    frames: VecDeque<(FrameName, Arc<Vec<u8>>)>,
    held: usize,
    unpack: FrameReader,
}

/// A frame's pack, and where it begins there.
type FrameName = (SealedDigest, u64);

/// Unpacked frames kept.
const HELD: usize = 12 << 20;

impl<'l> ChunkReader<'l> {
    /// What it reads from.
    pub fn library(&self) -> &'l Library<'l> {
        self.library
    }

    pub fn chunk(&mut self, digest: &PlainDigest) -> Result<Vec<u8>, VaultError> {
        let location = self.library.find(digest)?;
        self.chunk_at(digest, &location).or_else(|error| self.elsewhere(digest, &location).ok_or(error))
    }

    /// The chunk from a place other than the one that failed, if there is a good one: a pack that was altered in place
    /// does not show before it is read, and what it held may have been stored again since. All are tried: a forger of
    /// catalogs could add any number of bad ones, and make it slow but not wrong.
    pub fn elsewhere(&mut self, digest: &PlainDigest, failed: &Location) -> Option<Vec<u8>> {
        let places = self.library.places(digest).ok()?;
        let mut others = places.iter().filter(|location| *location != failed);
        others.find_map(|location| self.chunk_at(digest, location).ok())
    }

    fn chunk_at(&mut self, digest: &PlainDigest, location: &Location) -> Result<Vec<u8>, VaultError> {
        let frame = self.frame(location)?;
        let place = location.place;
        let bytes = frame.get(place.offset as usize..place.offset as usize + place.length as usize);
        let bad = || VaultError::BadChunk { digest: *digest, object: layout::pack(location.pack) };
        let bytes = bytes.ok_or_else(bad)?;
        if plain_digest(bytes) == *digest { Ok(bytes.to_vec()) } else { Err(bad()) }
    }

    fn frame(&mut self, location: &Location) -> Result<Arc<Vec<u8>>, VaultError> {
        let name = (location.pack, location.place.frame);
        if let Some(at) = self.frames.iter().position(|(held, _)| *held == name) {
            let found = self.frames.remove(at).expect("BUG: just found");
            let frame = found.1.clone();
            self.frames.push_back(found);
            return Ok(frame);
        }
        let place = location.place;
        let range = place.frame..place.frame + u64::from(place.stored);
        let (mut packed, mut plain) = (Vec::new(), Vec::new());
        self.library.read_pack_into(location.pack, location.size, range, &mut packed)?;
        self.unpack.decompress(&packed, place.plain, &mut plain).map_err(bad_object(&layout::pack(location.pack)))?;
        let frame = Arc::new(plain);
        self.held += frame.len();
        self.frames.push_back((name, frame.clone()));
        while self.held > HELD && self.frames.len() > 1 {
            self.held -= self.frames.pop_front().map_or(0, |(_, frame)| frame.len());
        }
        Ok(frame)
    }

    /// The bytes of one extent; a hole's are never made up, so this is for those that are not one.
    pub fn extent(&mut self, extent: &Extent) -> Result<Option<Vec<u8>>, VaultError> {
        let Some(digest) = &extent.chunk else { return Ok(None) };
        let mut bytes = self.chunk(digest)?;
        let end = extent.offset.checked_add(extent.length).filter(|end| *end <= bytes.len() as u64);
        let end = end.ok_or(VaultError::BadExtent { digest: *digest })?;
        bytes.truncate(end as usize);
        bytes.drain(..extent.offset as usize);
        Ok(Some(bytes))
    }
}

/// No list of extents is nested deeper: at three, content is longer than any file system holds.
pub const MAX_DEPTH: u8 = 4;

/// The lines of content, without their newlines. Goes on with the next chunk after one that cannot be read, and ends
/// at one that no writer writes: chunks of lines end where lines end.
pub struct Lines<'r> {
    extents: Extents<'r>,
    reader: ChunkReader<'r>,
    bytes: Vec<u8>,
    at: usize,
    ended: bool,
}

impl<'r> Lines<'r> {
    pub fn new(content: &Content, library: &'r Library<'r>) -> Self {
        let extents: Extents<'r> = if content.depth > MAX_DEPTH {
            let why = "it is nested too deeply";
            Box::new(std::iter::once(Err(VaultError::Listing {
                source: FormatError::malformed("a list of extents", why),
            })))
        } else {
            extents::raw(content, library)
        };
        Self::of(extents, library)
    }

    fn of(extents: Extents<'r>, library: &'r Library<'r>) -> Self {
        Self { extents, reader: library.reader(), bytes: Vec::new(), at: 0, ended: false }
    }

    fn chunk(&mut self, extent: &Extent) -> Result<Vec<u8>, VaultError> {
        match self.reader.extent(extent)? {
            Some(bytes) if bytes.last() == Some(&b'\n') => Ok(bytes),
            _ => {
                Err(VaultError::Listing { source: FormatError::malformed("a list", "a part of it ends within a line") })
            }
        }
    }
}

impl Iterator for Lines<'_> {
    type Item = Result<Vec<u8>, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(length) = self.bytes[self.at..].iter().position(|&b| b == b'\n') {
                let line = self.bytes[self.at..self.at + length].to_vec();
                self.at += length + 1;
                return Some(Ok(line));
            }
            if self.ended {
                return None;
            }
            (self.bytes, self.at) = (Vec::new(), 0);
            match self.extents.next()?.and_then(|extent| self.chunk(&extent)) {
                Ok(bytes) => self.bytes = bytes,
                Err(error) => {
                    self.ended = matches!(error, VaultError::Listing { .. });
                    return Some(Err(error));
                }
            }
        }
    }
}

/// The entries of a listing, from the first that may lie within `folder` on, in order.
///
/// Starts reading at the chunk whose first path comes last before `folder`: the extents carry those.
pub fn entries<'r>(listing: &Content, folder: &EntryPath, library: &'r Library<'r>) -> Entries<'r> {
    let start = folder.as_bytes().to_vec();
    let from = first_within(extents::of_listing(listing, library), &start);
    Entries { lines: Lines::of(from, library), folder: folder.clone(), last: None, ended: false }
}

/// Drops extents that end before `start`: those whose successor begins at or before it.
fn first_within<'r>(extents: Extents<'r>, start: &[u8]) -> Extents<'r> {
    if start.is_empty() {
        return extents;
    }
    let start = start.to_vec();
    let begins_before = move |extent: &Extent| match extent.first.as_deref().and_then(path::decode) {
        Some(first) => first == b"." || path::compare(&first, &start).is_le(),
        None => false,
    };
    let mut extents = extents.peekable();
    let mut candidate = None;
    while let Some(next) = extents.next_if(|next| next.as_ref().is_ok_and(&begins_before)) {
        candidate = Some(next);
    }
    Box::new(candidate.into_iter().chain(extents))
}

pub struct Entries<'r> {
    lines: Lines<'r>,
    folder: EntryPath,
    last: Option<EntryPath>,
    ended: bool,
}

impl Iterator for Entries<'_> {
    type Item = Result<Entry, VaultError>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            let line = match self.lines.next()? {
                Ok(line) => line,
                Err(error) => return Some(Err(error)),
            };
            let entry = match next_entry(&line, &mut self.last) {
                Ok(entry) => entry,
                Err(error) => {
                    self.ended = true;
                    return Some(Err(error));
                }
            };
            if entry.path.is_within(&self.folder) {
                return Some(Ok(entry));
            }
            self.ended = entry.path > self.folder;
        }
        None
    }
}

/// Reads a listing's line, whose path must come after that of the line before.
pub fn next_entry(line: &[u8], last: &mut Option<EntryPath>) -> Result<Entry, VaultError> {
    let entry = listing::read_entry(line).map_err(|source| VaultError::Listing { source })?;
    if last.as_ref().is_some_and(|last| *last >= entry.path) {
        let why = format!("{} is not in its place", entry.path);
        return Err(VaultError::Listing { source: FormatError::malformed("a listing", why) });
    }
    *last = Some(entry.path.clone());
    Ok(entry)
}
