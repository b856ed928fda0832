//! Databases in, page by page: pages the vault has are referred to where they lie, the others gathered into chunks.
//!
//! Owns the order of extents while their chunks are still being gathered. Memory is bounded by one chunk and what is
//! waiting for it, whatever the size of the database.

use crate::base::capture::Access;
use crate::base::chunk::Chunk;
use crate::base::entry::{Content, Extent};
use crate::base::id::PlainDigest;
use crate::format::catalog::PagedChunk;
use crate::format::page::PageDigest;
use crate::vault::content::{ChunkSink, ContentWriter};
use crate::vault::error::VaultError;
use crate::vault::ingest::Ingest;
use crate::vault::page_index::Spot;
use crate::vault::page_memory::{PageMemory, PageMemoryWriter, PageRun};

/// New pages are gathered into chunks of this length: one frame of content that is read here and there.
const CHUNK: usize = 256 << 10;

/// So many pages wait for the chunk of a new one before them; then that is closed, however short.
const WAITING: usize = 32_000;

/// One database on its way into the vault.
pub struct Paging<'m> {
    page_size: usize,
    before: Before<'m>,
    memory: &'m mut PageMemoryWriter,
    /// New pages, and their digests.
    gathered: Vec<u8>,
    digests: Vec<PageDigest>,
    /// Pages in order, from the first gathered one on.
    waiting: Vec<(Option<PageDigest>, Place)>,
    open: Option<PageRun>,
    content: ContentWriter,
    /// The chunk that was looked up last, and whether the vault has it.
    looked_up: Option<(PlainDigest, bool)>,
}

#[derive(Clone, Copy)]
enum Place {
    Zeros,
    At(Spot),
    /// In the chunk being gathered.
    Gathered {
        offset: u64,
    },
}

/// The pages of the last capture, one by one.
struct Before<'m> {
    memory: Option<&'m mut PageMemory>,
    run: Option<PageRun>,
    at: usize,
}

impl Before<'_> {
    fn next(&mut self, page_size: usize) -> Option<(PageDigest, Spot)> {
        while self.run.as_ref().is_none_or(|run| self.at >= run.count as usize) {
            self.run = self.memory.as_mut()?.run();
            self.at = 0;
            if self.run.is_none() {
                self.memory = None;
            }
        }
        let run = self.run.as_ref()?;
        let at = self.at;
        self.at += 1;
        let spot = run.spot?;
        Some((run.digests[at], Spot { offset: spot.offset + (at * page_size) as u64, ..spot }))
    }
}

impl<'m> Paging<'m> {
    /// `known` is at the database's section of the last capture, if it is given.
    pub fn new(page_size: usize, known: Option<&'m mut PageMemory>, memory: &'m mut PageMemoryWriter) -> Self {
        Self {
            page_size,
            before: Before { memory: known, run: None, at: 0 },
            memory,
            gathered: Vec::new(),
            digests: Vec::new(),
            waiting: Vec::new(),
            open: None,
            content: ContentWriter::default(),
            looked_up: None,
        }
    }

    /// Takes whole pages, in order.
    pub fn push(&mut self, pages: &[u8], ingest: &mut Ingest<'_>) -> Result<(), VaultError> {
        pages.chunks_exact(self.page_size).try_for_each(|page| self.page(page, ingest))
    }

    pub fn finish(mut self, ingest: &mut Ingest<'_>) -> Result<Content, VaultError> {
        self.close_chunk(ingest)?;
        self.close_run(ingest)?;
        self.content.finish(ingest)
    }

    fn page(&mut self, page: &[u8], ingest: &mut Ingest<'_>) -> Result<(), VaultError> {
        let before = self.before.next(self.page_size);
        if page.iter().all(|&byte| byte == 0) {
            return self.place(None, Place::Zeros, ingest);
        }
        let digest = ingest.page_key().digest(page);
        let unchanged = before.filter(|(known, _)| *known == digest).map(|(_, spot)| spot);
        let known = match unchanged {
            Some(spot) if self.vault_has(&spot, ingest)? => Some(spot),
            _ => ingest.find_page(&digest, self.page_size)?,
        };
        if let Some(spot) = known {
            return self.place(Some(digest), Place::At(spot), ingest);
        }
        let offset = self.gathered.len() as u64;
        self.gathered.extend_from_slice(page);
        self.digests.push(digest);
        self.waiting.push((Some(digest), Place::Gathered { offset }));
        if self.gathered.len() + self.page_size > CHUNK { self.close_chunk(ingest) } else { Ok(()) }
    }

    fn vault_has(&mut self, spot: &Spot, ingest: &Ingest<'_>) -> Result<bool, VaultError> {
        match self.looked_up {
            Some((chunk, there)) if chunk == spot.chunk => Ok(there),
            _ => {
                let there = ingest.has(&spot.chunk)?;
                self.looked_up = Some((spot.chunk, there));
                Ok(there)
            }
        }
    }

    fn place(&mut self, digest: Option<PageDigest>, place: Place, ingest: &mut Ingest<'_>) -> Result<(), VaultError> {
        if self.gathered.is_empty() {
            return self.settle(digest, place, None, ingest);
        }
        self.waiting.push((digest, place));
        if self.waiting.len() >= WAITING { self.close_chunk(ingest) } else { Ok(()) }
    }

    /// What was gathered becomes a chunk, and everything that waited for it gets its place.
    fn close_chunk(&mut self, ingest: &mut Ingest<'_>) -> Result<(), VaultError> {
        if self.gathered.is_empty() {
            return Ok(());
        }
        let chunk = Chunk::new(std::mem::take(&mut self.gathered));
        self.gathered.reserve(CHUNK);
        let (digest, pages) = (chunk.digest(), std::mem::take(&mut self.digests));
        ingest.paged_chunk(PagedChunk { chunk: digest, page_size: self.page_size as u32, pages });
        ingest.chunk(chunk, Access::Random)?;
        for (page, place) in std::mem::take(&mut self.waiting) {
            self.settle(page, place, Some(digest), ingest)?;
        }
        Ok(())
    }

    /// Adds a page whose place is known to the run before it, or begins another.
    fn settle(
        &mut self,
        digest: Option<PageDigest>,
        place: Place,
        gathered: Option<PlainDigest>,
        ingest: &mut Ingest<'_>,
    ) -> Result<(), VaultError> {
        let spot = match place {
            Place::Zeros => None,
            Place::At(spot) => Some(spot),
            Place::Gathered { offset } => {
                Some(Spot { chunk: gathered.expect("BUG: settled when its chunk is known"), offset })
            }
        };
        let page_size = self.page_size as u64;
        let goes_on = |run: &PageRun| match (&run.spot, &spot) {
            (None, None) => run.count < u32::MAX,
            (Some(first), Some(spot)) => {
                first.chunk == spot.chunk && spot.offset == first.offset + u64::from(run.count) * page_size
            }
            _ => false,
        };
        if !self.open.as_ref().is_some_and(goes_on) {
            self.close_run(ingest)?;
        }
        let run = self.open.get_or_insert_with(|| PageRun { spot, count: 0, digests: Vec::new() });
        run.count += 1;
        run.digests.extend(digest);
        Ok(())
    }

    fn close_run(&mut self, ingest: &mut Ingest<'_>) -> Result<(), VaultError> {
        let Some(run) = self.open.take() else { return Ok(()) };
        self.memory.run(&run);
        let length = u64::from(run.count) * self.page_size as u64;
        let extent = match run.spot {
            None => Extent::hole(length),
            Some(spot) => Extent { chunk: Some(spot.chunk), length, offset: spot.offset, first: None },
        };
        self.content.push(extent, ingest)
    }
}
