//! Chunks in: deduplicate, gather into frames, hand to the pack writer, catalogue what has become durable.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use crate::base::capture::Access;
use crate::base::chunk::Chunk;
use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::{Catalog, PackContents, PagedChunk};
use crate::format::chunker::{self, Chunker};
use crate::format::pack;
use crate::format::page::{PageDigest, PageKey};
use crate::vault::Vault;
use crate::vault::content::ChunkSink;
use crate::vault::error::VaultError;
use crate::vault::host::DAY;
use crate::vault::index::{Index, Location};
use crate::vault::journal::Journal;
use crate::vault::pack_writer::{Frame, PackWriter};
use crate::vault::page_index::{PageIndex, Spot};

pub struct Ingest<'v> {
    vault: &'v Vault,
    index: Index,
    catalogs: Vec<SealedDigest>,
    /// Chunks taken in since the last catalog.
    pending: HashSet<PlainDigest>,
    whole: FrameBuilder,
    random: FrameBuilder,
    listed: FrameBuilder,
    writer: Option<PackWriter>,
    journal: Arc<Journal>,
    /// Durable, and named by no catalog yet.
    uncatalogued: Vec<PackContents>,
    /// Opened when the first database comes.
    page_index: Option<PageIndex>,
    page_key: PageKey,
    /// Chunks of pages that no catalog tells of yet.
    paged: Vec<PagedChunk>,
    lines: Chunker,
    account: Arc<AtomicU64>,
    /// Length of the chunks that the vault did not have.
    pub bytes_new: u64,
    pub catalog_bytes: u64,
}

#[derive(Default)]
struct FrameBuilder {
    plain: Vec<u8>,
    members: Vec<(PlainDigest, u32)>,
}

impl<'v> Ingest<'v> {
    /// Begins where a crash left off: packs that had been sent and not catalogued are catalogued first.
    pub fn start(vault: &'v Vault, recheck: bool) -> Result<Self, VaultError> {
        vault.host.sweep();
        if vault.host.is_due() {
            vault.store.sweep_leftovers(DAY);
        }
        let mut index = vault.sound_index(recheck)?;
        index.check_packs(&vault.packs_there()?);
        let catalogs = index.catalogs();
        let journal = Arc::new(Journal::open(vault.host.folder("journal")));
        let mut ingest = Self {
            vault,
            index,
            catalogs,
            pending: HashSet::new(),
            whole: FrameBuilder::default(),
            random: FrameBuilder::default(),
            listed: FrameBuilder::default(),
            writer: None,
            journal: journal.clone(),
            uncatalogued: Vec::new(),
            page_index: None,
            page_key: PageKey::new(&vault.keys.chunking),
            paged: Vec::new(),
            lines: Chunker::new(&vault.keys.chunking, chunker::LINES),
            account: Arc::default(),
            bytes_new: 0,
            catalog_bytes: 0,
        };
        for pack in journal.inherit() {
            ingest.adopt(pack)?;
        }
        ingest.catalogue()?;
        Ok(ingest)
    }

    fn adopt(&mut self, pack: PackContents) -> Result<(), VaultError> {
        let first = pack.places().next();
        let known = match first {
            Some((digest, _)) => self.index.find(&digest)?.is_some_and(|location| location.pack == pack.digest),
            None => true,
        };
        let durable = !known && self.vault.store.head(&crate::format::layout::pack(pack.digest))? == Some(pack.size);
        if durable {
            self.uncatalogued.push(pack);
        } else {
            self.journal.forget(pack.digest);
        }
        Ok(())
    }

    /// From now on, stored bytes are counted here.
    pub fn set_account(&mut self, account: Arc<AtomicU64>) -> Result<(), VaultError> {
        self.flush_frames()?;
        self.account = account;
        Ok(())
    }

    pub fn catalogs(&self) -> &[SealedDigest] {
        &self.catalogs
    }

    /// The packs that nothing is looked for in.
    pub fn absent(&self) -> &HashSet<SealedDigest> {
        self.index.absent()
    }

    /// Everything taken in becomes durable and catalogued.
    pub fn finish(&mut self) -> Result<(), VaultError> {
        self.flush_frames()?;
        if let Some(writer) = self.writer.take() {
            let finished = writer.finish()?;
            self.uncatalogued.extend(finished);
        }
        self.catalogue()?;
        self.index.flush()
    }

    fn flush_frames(&mut self) -> Result<(), VaultError> {
        [Access::Whole, Access::Random, Access::Lines].into_iter().try_for_each(|access| self.flush(access))
    }

    fn builder(&mut self, access: Access) -> &mut FrameBuilder {
        match access {
            Access::Whole => &mut self.whole,
            Access::Random => &mut self.random,
            Access::Lines => &mut self.listed,
        }
    }

    /// Closes the frame that content read like this is gathered in.
    pub fn flush(&mut self, access: Access) -> Result<(), VaultError> {
        if self.builder(access).members.is_empty() {
            return Ok(());
        }
        let writer = self.writer.get_or_insert_with(|| {
            let (store, recipient) = (self.vault.store.clone(), self.vault.keys.recipient.clone());
            PackWriter::start(store, recipient, self.journal.clone(), self.vault.limits.pack)
        });
        let empty = writer.buffer();
        let account = self.account.clone();
        let builder = self.builder(access);
        let (plain, members) = (std::mem::replace(&mut builder.plain, empty), std::mem::take(&mut builder.members));
        let writer = self.writer.as_mut().expect("BUG: just made");
        let written = writer.write(Frame { plain, members, account });
        let finished = writer.finished();
        self.uncatalogued.extend(finished);
        if written.is_err() {
            // It takes nothing more. What was finished is still catalogued, should the caller abandon the rest.
            self.writer = None;
        }
        written.and_then(|()| self.catalogue_when_due())
    }

    fn catalogue_when_due(&mut self) -> Result<(), VaultError> {
        let limits = &self.vault.limits;
        let chunks: usize =
            self.uncatalogued.iter().flat_map(|pack| &pack.frames).map(|frame| frame.members.len()).sum();
        if chunks >= limits.catalog_chunks || self.uncatalogued.len() >= limits.catalog_packs {
            self.catalogue()
        } else {
            Ok(())
        }
    }

    fn catalogue(&mut self) -> Result<(), VaultError> {
        let packs = std::mem::take(&mut self.uncatalogued);
        for (digest, _) in packs.iter().flat_map(|pack| &pack.frames).flat_map(|frame| &frame.members) {
            self.pending.remove(digest);
        }
        // Chunks that the vault had already count as well: their pages may be in no catalog.
        let durable = |paged: &PagedChunk| !self.pending.contains(&paged.chunk);
        let (paged, waiting) = std::mem::take(&mut self.paged).into_iter().partition(durable);
        self.paged = waiting;
        let catalog = Catalog { packs, paged };
        if catalog.packs.is_empty() && catalog.paged.is_empty() {
            return Ok(());
        }
        let (digest, size) = self.vault.write_catalog(&catalog)?;
        self.catalog_bytes += size;
        self.index.add(digest, &catalog.packs)?;
        self.index.flush()?;
        if let Some(pages) = &mut self.page_index {
            pages.add(digest, &catalog.paged)?;
            pages.flush()?;
        }
        self.catalogs.push(digest);
        catalog.packs.iter().for_each(|pack| self.journal.forget(pack.digest));
        Ok(())
    }
}

/// What databases need.
impl Ingest<'_> {
    pub fn page_key(&self) -> &PageKey {
        &self.page_key
    }

    /// Will the vault have the chunk, whatever happens from here on, when the snapshot is committed?
    pub fn has(&self, chunk: &PlainDigest) -> Result<bool, VaultError> {
        Ok(self.pending.contains(chunk) || self.index.find(chunk)?.is_some())
    }

    /// Where a page lies that the vault has.
    pub fn find_page(&mut self, digest: &PageDigest, page_size: usize) -> Result<Option<Spot>, VaultError> {
        if self.page_index.is_none() {
            self.page_index = Some(self.vault.page_index(&self.catalogs)?);
        }
        let pages = self.page_index.as_ref().expect("BUG: just opened");
        let holds = |spot: &Spot, location: &Location| spot.offset + page_size as u64 <= location.place.length.into();
        pages.find(digest, page_size, |spot| Ok(self.index.find(&spot.chunk)?.is_some_and(|found| holds(spot, &found))))
    }

    /// Notes of which pages a chunk is made, for the catalog.
    pub fn paged_chunk(&mut self, paged: PagedChunk) {
        self.paged.push(paged);
    }
}

impl ChunkSink for Ingest<'_> {
    fn chunk(&mut self, chunk: Chunk, access: Access) -> Result<(), VaultError> {
        let digest = chunk.digest();
        // A catalog that is wrong about the length is wrong about the rest.
        let fits = |found: Location| u64::from(found.place.length) == chunk.bytes().len() as u64;
        if self.pending.contains(&digest) || self.index.find(&digest)?.is_some_and(fits) {
            return Ok(());
        }
        let target = self.vault.limits.frame(access);
        let length = pack::next(0, chunk.bytes().len() as u64) as usize;
        if self.builder(access).plain.len() + length > target {
            self.flush(access)?;
        }
        self.pending.insert(digest);
        self.bytes_new += chunk.bytes().len() as u64;
        let builder = self.builder(access);
        // One growth to the full size instead of many on the way there.
        let expected = if builder.members.len() == 1 { target } else { 0 };
        builder.plain.reserve(length.max(expected.saturating_sub(builder.plain.len())));
        pack::append(&mut builder.plain, &chunk);
        builder.members.push((digest, chunk.bytes().len() as u32));
        Ok(())
    }

    fn line_cutter(&self) -> &Chunker {
        &self.lines
    }
}
