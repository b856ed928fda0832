//! Where pages of databases lie, by their digests: what lets a page that moved, or that another host stored, be found.
//!
//! Built from catalogs like the chunk index, and only when a database is captured. Of this host's own catalogs only, and
//! of those whose pages were read and compared here: whoever says of a page that it is another one's spoils a database.

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::PagedChunk;
use crate::format::page::PageDigest;
use crate::vault::cache::CacheFolder;
use crate::vault::error::VaultError;
use crate::vault::run::Record;
use crate::vault::runs::Runs;

/// A page in a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    pub chunk: PlainDigest,
    pub offset: u64,
}

/// A page as the index keeps it: its chunk is a home, and so is the size of that chunk's pages.
#[derive(Clone, Copy)]
pub(super) struct PageRecord {
    digest: PageDigest,
    chunk: u32,
    offset: u32,
}

impl Record for PageRecord {
    const MAGIC: &'static [u8; 8] = b"SRpag\0\0\x02";
    const LENGTH: usize = PageDigest::BYTES + 4 + 4;

    fn key(&self) -> &[u8] {
        self.digest.as_bytes()
    }

    fn home(&self) -> u32 {
        self.chunk
    }

    fn with_home(self, chunk: u32) -> Self {
        Self { chunk, ..self }
    }

    fn write(&self, bytes: &mut [u8]) {
        bytes[..16].copy_from_slice(self.digest.as_bytes());
        bytes[16..20].copy_from_slice(&self.chunk.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.offset.to_le_bytes());
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("BUG: four bytes"));
        let digest = PageDigest::from_bytes(bytes[..16].try_into().expect("BUG: 16 bytes"));
        Self { digest, chunk: word(16), offset: word(20) }
    }
}

pub struct PageIndex(Runs<PageRecord>);

impl PageIndex {
    /// An index of what `catalogs` say of pages; `fetch` answers `None` for a catalog that cannot be read.
    pub fn open(
        folder: CacheFolder,
        catalogs: &[SealedDigest],
        mut fetch: impl FnMut(SealedDigest) -> Result<Option<Vec<PagedChunk>>, VaultError>,
    ) -> Result<Self, VaultError> {
        let runs = Runs::open(folder, catalogs, |runs, catalog| {
            let paged = fetch(catalog)?;
            paged.map_or(Ok(()), |paged| add(runs, catalog, &paged))
        })?;
        Ok(Self(runs))
    }

    /// Takes in what a new catalog says.
    pub fn add(&mut self, catalog: SealedDigest, paged: &[PagedChunk]) -> Result<(), VaultError> {
        add(&mut self.0, catalog, paged)
    }

    pub fn flush(&mut self) -> Result<(), VaultError> {
        self.0.flush()
    }

    /// The first place of the page that `good` takes.
    pub fn find(
        &self,
        digest: &PageDigest,
        page_size: usize,
        mut good: impl FnMut(&Spot) -> Result<bool, VaultError>,
    ) -> Result<Option<Spot>, VaultError> {
        let (mut found, mut failed) = (None, None);
        self.0.find(digest.as_bytes(), |(record, (chunk, size))| {
            let spot = Spot { chunk: PlainDigest::from_bytes(chunk), offset: record.offset.into() };
            if size != page_size as u64 || found.is_some() || failed.is_some() {
                return found.is_some() || failed.is_some();
            }
            match good(&spot) {
                Ok(true) => found = Some(spot),
                Ok(false) => {}
                Err(error) => failed = Some(error),
            }
            found.is_some() || failed.is_some()
        })?;
        failed.map_or(Ok(found), Err)
    }
}

fn add(runs: &mut Runs<PageRecord>, catalog: SealedDigest, paged: &[PagedChunk]) -> Result<(), VaultError> {
    for PagedChunk { chunk, page_size, pages } in paged {
        let home = runs.add_home((*chunk.as_bytes(), u64::from(*page_size)));
        let offsets = (0u32..).step_by((*page_size).max(1) as usize);
        let record = |(&digest, offset)| PageRecord { digest, chunk: home, offset };
        runs.extend(pages.iter().zip(offsets).map(record));
    }
    runs.covered(catalog)
}
