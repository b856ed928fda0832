//! Catalogs: which chunk lies in which pack and frame (docs/format.md §7). Binary, little-endian, fixed width.

use zeroize::Zeroizing;

use crate::base::chunk::MAX_CHUNK;
use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::error::FormatError;
use crate::format::frame::{MAX_FRAME, MAX_PACKED};
use crate::format::pack;
use crate::format::page::PageDigest;

const MAGIC: &[u8] = b"strongroom catalog 1\n";
const WHAT: &str = "a catalog";

/// What one pack holds, in the order it holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackContents {
    pub digest: SealedDigest,
    /// Length of the whole object.
    pub size: u64,
    pub frames: Vec<FrameContents>,
}

/// What one frame holds. Frames lie one after the other from the beginning of the pack.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrameContents {
    /// Length in the pack.
    pub stored: u32,
    /// Length unpacked.
    pub plain: u32,
    /// Chunks and their lengths.
    pub members: Vec<(PlainDigest, u32)>,
}

/// A chunk that is made of pages, and which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PagedChunk {
    pub chunk: PlainDigest,
    pub page_size: u32,
    pub pages: Vec<PageDigest>,
}

/// Where one chunk lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Where its frame begins in the opened pack.
    pub frame: u64,
    pub stored: u32,
    pub plain: u32,
    /// Where it begins in the unpacked frame.
    pub offset: u32,
    pub length: u32,
}

impl PackContents {
    /// Every chunk with its place.
    pub fn places(&self) -> impl Iterator<Item = (PlainDigest, Place)> {
        let mut frame_start = 0;
        self.frames.iter().flat_map(move |frame| {
            let (start, mut at) = (frame_start, 0);
            frame_start += u64::from(frame.stored);
            frame.members.iter().map(move |&(digest, length)| {
                let offset = pack::body(at, length.into()).start as u32;
                at = pack::next(at, length.into());
                (digest, Place { frame: start, stored: frame.stored, plain: frame.plain, offset, length })
            })
        })
    }
}

/// Everything one catalog says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    pub packs: Vec<PackContents>,
    pub paged: Vec<PagedChunk>,
}

impl Catalog {
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = write_packs(&self.packs);
        put(&mut bytes, self.paged.len());
        for paged in &self.paged {
            bytes.extend_from_slice(paged.chunk.as_bytes());
            bytes.extend_from_slice(&paged.page_size.to_le_bytes());
            put(&mut bytes, paged.pages.len());
            paged.pages.iter().for_each(|page| bytes.extend_from_slice(page.as_bytes()));
        }
        bytes
    }

    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let rest =
            bytes.strip_prefix(MAGIC).ok_or_else(|| FormatError::malformed(WHAT, "its first line is unknown"))?;
        let mut reader = Reader(rest);
        // Counts are never trusted for an allocation: each item read must be there.
        let count = reader.u32()?;
        let packs = (0..count).map(|_| reader.pack()).collect::<Result<_, _>>()?;
        let count = reader.u32()?;
        let paged = (0..count).map(|_| reader.paged()).collect::<Result<_, _>>()?;
        if !matches!(reader.0.len(), 0 | MARK) {
            return Err(FormatError::malformed(WHAT, "something follows its end"));
        }
        Ok(Self { packs, paged })
    }
}

/// Length of the mark that may follow all else.
const MARK: usize = 32;

/// What a host marks the catalogs with that it writes, so that it knows them again among those of others.
#[derive(Clone)]
pub struct MarkKey(Zeroizing<[u8; 32]>);

impl MarkKey {
    /// From a secret of the host.
    pub fn new(secret: &[u8; 32]) -> Self {
        Self(Zeroizing::new(blake3::derive_key("strongroom mark of catalogs 1", secret)))
    }

    /// Puts the mark behind a catalog.
    pub fn mark(&self, mut catalog: Vec<u8>) -> Vec<u8> {
        let mark = blake3::keyed_hash(&self.0, &catalog);
        catalog.extend_from_slice(mark.as_bytes());
        catalog
    }

    /// Did whoever has this key write the catalog?
    pub fn is_on(&self, catalog: &[u8]) -> bool {
        let marked = catalog.split_last_chunk::<MARK>();
        marked.is_some_and(|(bytes, mark)| blake3::keyed_hash(&self.0, bytes) == *mark)
    }
}

impl std::fmt::Debug for MarkKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MarkKey(…)")
    }
}

/// A catalog of packs that hold no pages.
pub fn write(packs: &[PackContents]) -> Vec<u8> {
    Catalog { packs: packs.to_vec(), paged: Vec::new() }.write()
}

/// The packs that a catalog names.
pub fn read(bytes: &[u8]) -> Result<Vec<PackContents>, FormatError> {
    Ok(Catalog::read(bytes)?.packs)
}

fn write_packs(packs: &[PackContents]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    put(&mut bytes, packs.len());
    for pack in packs {
        bytes.extend_from_slice(pack.digest.as_bytes());
        bytes.extend_from_slice(&pack.size.to_le_bytes());
        put(&mut bytes, pack.frames.len());
        for frame in &pack.frames {
            bytes.extend_from_slice(&frame.stored.to_le_bytes());
            bytes.extend_from_slice(&frame.plain.to_le_bytes());
            put(&mut bytes, frame.members.len());
            for (digest, length) in &frame.members {
                bytes.extend_from_slice(digest.as_bytes());
                bytes.extend_from_slice(&length.to_le_bytes());
            }
        }
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, count: usize) {
    bytes.extend_from_slice(&u32::try_from(count).expect("BUG: a catalog is flushed long before").to_le_bytes());
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> Result<[u8; N], FormatError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FormatError::Truncated { what: WHAT })?;
        self.0 = rest;
        Ok(*head)
    }

    fn u32(&mut self) -> Result<u32, FormatError> {
        self.array().map(u32::from_le_bytes)
    }

    fn pack(&mut self) -> Result<PackContents, FormatError> {
        let digest = SealedDigest::from_bytes(self.array()?);
        let size = u64::from_le_bytes(self.array()?);
        let frames = self.u32()?;
        let frames = (0..frames).map(|_| self.frame()).collect::<Result<Vec<_>, _>>()?;
        let stored: u64 = frames.iter().map(|frame| u64::from(frame.stored)).sum();
        if stored > size {
            return Err(FormatError::malformed(WHAT, "a pack's frames are longer than the pack"));
        }
        Ok(PackContents { digest, size, frames })
    }

    fn paged(&mut self) -> Result<PagedChunk, FormatError> {
        let (chunk, page_size, count) = (PlainDigest::from_bytes(self.array()?), self.u32()?, self.u32()?);
        if u64::from(page_size) * u64::from(count) > MAX_CHUNK as u64 {
            return Err(FormatError::malformed(WHAT, "a chunk's pages are longer than the chunk"));
        }
        let pages = (0..count).map(|_| self.array().map(PageDigest::from_bytes)).collect::<Result<_, _>>()?;
        Ok(PagedChunk { chunk, page_size, pages })
    }

    fn frame(&mut self) -> Result<FrameContents, FormatError> {
        let (stored, plain, count) = (self.u32()?, self.u32()?, self.u32()?);
        for (asked, limit) in [(stored, MAX_PACKED), (plain, MAX_FRAME)] {
            if asked > limit {
                return Err(FormatError::TooLarge { what: "a frame", asked: asked.into(), limit: limit.into() });
            }
        }
        let mut members = Vec::new();
        let mut end = 0;
        for _ in 0..count {
            let (digest, length) = (PlainDigest::from_bytes(self.array()?), self.u32()?);
            if length as usize > MAX_CHUNK {
                return Err(FormatError::TooLarge { what: "a chunk", asked: length.into(), limit: MAX_CHUNK as u64 });
            }
            end = pack::next(end, length.into());
            members.push((digest, length));
        }
        if end > u64::from(plain) {
            return Err(FormatError::malformed(WHAT, "a frame's chunks are longer than the frame"));
        }
        Ok(FrameContents { stored, plain, members })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packs() -> impl Strategy<Value = Vec<PackContents>> {
        let member = (any::<[u8; 32]>(), 0u32..5000).prop_map(|(d, l)| (PlainDigest::from_bytes(d), l));
        let frame = (0u32..1000, proptest::collection::vec(member, 0..6)).prop_map(|(stored, members)| {
            let plain = members.iter().fold(0, |at, &(_, length)| pack::next(at, length.into())) as u32;
            FrameContents { stored, plain, members }
        });
        let pack = (any::<[u8; 32]>(), proptest::collection::vec(frame, 0..5));
        let pack =
            pack.prop_map(|(d, frames)| PackContents { digest: SealedDigest::from_bytes(d), size: 100_000, frames });
        proptest::collection::vec(pack, 0..4)
    }

    fn paged() -> impl Strategy<Value = Vec<PagedChunk>> {
        let pages = proptest::collection::vec(any::<[u8; 16]>().prop_map(PageDigest::from_bytes), 0..9);
        let paged = (any::<[u8; 32]>(), 0u32..65537, pages).prop_map(|(digest, page_size, pages)| PagedChunk {
            chunk: PlainDigest::from_bytes(digest),
            page_size,
            pages,
        });
        proptest::collection::vec(paged, 0..4)
    }

    proptest! {
        #[test]
        fn a_catalog_reads_back_as_written(packs in packs(), paged in paged()) {
            let catalog = Catalog { packs, paged };
            prop_assert_eq!(Catalog::read(&catalog.write()).unwrap(), catalog);
        }

        #[test]
        fn a_cut_or_lengthened_catalog_is_refused(packs in packs(), cut in any::<prop::sample::Index>()) {
            let mut bytes = write(&packs);
            prop_assert!(read(&bytes[..cut.index(bytes.len())]).is_err());
            bytes.push(0);
            prop_assert!(read(&bytes).is_err());
        }

        #[test]
        fn a_mark_is_on_the_catalog_it_was_put_on_and_on_no_other(packs in packs(), at in any::<prop::sample::Index>()) {
            let (ours, theirs) = (MarkKey::new(&[1; 32]), MarkKey::new(&[2; 32]));
            let mut marked = ours.mark(write(&packs));
            prop_assert_eq!(read(&marked).unwrap(), packs.clone());
            prop_assert!(ours.is_on(&marked) && !theirs.is_on(&marked) && !ours.is_on(&write(&packs)));
            let at = at.index(marked.len());
            marked[at] ^= 1;
            prop_assert!(!ours.is_on(&marked));
        }

        #[test]
        fn any_bytes_are_a_catalog_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&[MAGIC, &bytes].concat());
        }
    }
}
