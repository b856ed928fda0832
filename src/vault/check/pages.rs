//! Are pages of databases where catalogs say? Asked of chunks that are read anyway.
//!
//! Nobody else asks: a reader hashes chunks, and not their pages.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Mutex;

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::PagedChunk;
use crate::format::page::{PageDigest, PageKey};

/// What catalogs say of the pages in chunks, to be compared with the chunks.
#[derive(Default)]
pub struct PageClaims {
    /// The claims on each chunk: the catalog, the size of a page, and the digest of all page digests.
    on: HashMap<PlainDigest, Vec<(SealedDigest, u32, blake3::Hash)>>,
    /// Of each catalog of another host, on how many chunks.
    foreign: HashMap<SealedDigest, usize>,
    /// The chunks that bear out what a catalog says of them, and those that do not.
    met: Mutex<HashSet<(SealedDigest, PlainDigest)>>,
    unmet: Mutex<HashSet<(SealedDigest, PlainDigest)>>,
}

impl PageClaims {
    pub fn add(&mut self, catalog: SealedDigest, own: bool, paged: &[PagedChunk]) {
        let mut chunks = HashSet::new();
        for PagedChunk { chunk, page_size, pages } in paged {
            let claims = self.on.entry(*chunk).or_default();
            claims.push((catalog, *page_size, digest_of(pages.iter().copied())));
            chunks.insert(*chunk);
        }
        if !own && !chunks.is_empty() {
            self.foreign.insert(catalog, chunks.len());
        }
    }

    pub fn compare(&self, chunk: &PlainDigest, bytes: &[u8], key: &PageKey) {
        for (catalog, page_size, said) in self.on.get(chunk).into_iter().flatten() {
            let pages = bytes.chunks((*page_size).max(1) as usize).map(|page| key.digest(page));
            let list = if digest_of(pages) == *said { &self.met } else { &self.unmet };
            list.lock().expect("BUG: nothing panics while holding it").insert((*catalog, *chunk));
        }
    }

    /// Catalogs that are not true of some chunk; and those of others that are of all.
    pub fn results(self) -> (BTreeMap<SealedDigest, usize>, BTreeSet<SealedDigest>) {
        let poisoned = "BUG: nothing panics while holding it";
        let mut wrong: BTreeMap<SealedDigest, usize> = BTreeMap::new();
        self.unmet
            .into_inner()
            .expect(poisoned)
            .iter()
            .for_each(|(catalog, _)| *wrong.entry(*catalog).or_default() += 1);
        let mut right: HashMap<SealedDigest, usize> = HashMap::new();
        self.met.into_inner().expect(poisoned).iter().for_each(|(catalog, _)| *right.entry(*catalog).or_default() += 1);
        let all = |(catalog, claims): &(&SealedDigest, &usize)| {
            right.get(*catalog) == Some(*claims) && !wrong.contains_key(*catalog)
        };
        let proven = self.foreign.iter().filter(all).map(|(catalog, _)| *catalog).collect();
        (wrong, proven)
    }
}

fn digest_of(pages: impl Iterator<Item = PageDigest>) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    pages.for_each(|page| {
        hasher.update(page.as_bytes());
    });
    hasher.finalize()
}
