//! Reading and writing catalogs. A writer can do both: catalogs are sealed to writers as well as to owners.

use std::collections::{BTreeSet, HashMap};

use crate::base::chunk::sealed_digest;
use crate::base::error::{Class, Explain};
use crate::base::id::SealedDigest;
use crate::format::catalog::Catalog;
use crate::format::{layout, seal};
use crate::vault::error::VaultError;
use crate::vault::index::{Claims, Index, catalog_digest};
use crate::vault::page_index::PageIndex;
use crate::vault::{Vault, bad_object};

impl Vault {
    /// The packs to rely on, with their lengths: those that are there and not doubted. Listed after the catalogs, so
    /// that it has all that they name.
    pub(super) fn packs_there(&self) -> Result<HashMap<SealedDigest, u64>, VaultError> {
        let doubts = self.doubts()?;
        let objects = self.store.list(layout::PACKS)?.into_iter().filter(|object| !doubts.contains(&object.key));
        Ok(objects.filter_map(|object| Some((object.key.digest()?, object.size))).collect())
    }

    /// The digests of all catalogs.
    pub(super) fn catalog_digests(&self) -> Result<Vec<SealedDigest>, VaultError> {
        Ok(self.store.list(layout::CATALOGS)?.iter().filter_map(|object| catalog_digest(&object.key)).collect())
    }

    /// Reads a catalog whose bytes are those it was named for. Says whether this host wrote it.
    pub(super) fn read_whole_catalog(&self, digest: SealedDigest) -> Result<(Catalog, bool), VaultError> {
        let object = layout::catalog(digest);
        let sealed = self.store.get(&object)?;
        if sealed_digest(&sealed) != digest {
            return Err(VaultError::Damaged { object });
        }
        let plain = seal::open(&sealed, &[&self.keys.catalog]).map_err(bad_object(&object))?;
        let catalog = Catalog::read(&plain).map_err(bad_object(&object))?;
        Ok((catalog, self.host.mark_key().is_on(&plain)))
    }

    /// What a catalog says of packs.
    pub(super) fn read_catalog(&self, digest: SealedDigest) -> Result<Claims, VaultError> {
        let (catalog, own) = self.read_whole_catalog(digest)?;
        Ok(Claims { packs: catalog.packs, own })
    }

    /// Makes a catalog durable. Every pack in it must be durable already.
    pub(super) fn write_catalog(&self, catalog: &Catalog) -> Result<(SealedDigest, u64), VaultError> {
        let marked = self.host.mark_key().mark(catalog.write());
        let sealed = seal::seal(&[&self.keys.recipient, &self.keys.catalog.to_public()], &marked);
        let size = sealed.bytes.len() as u64;
        self.store.put_new(&layout::catalog(sealed.digest), sealed.bytes.into())?;
        Ok((sealed.digest, size))
    }

    /// The index of everything the catalogs name. One that is damaged or gone is left out: what it alone names cannot
    /// be found, is stored again by the next backup, and is reported by `verify`.
    pub(super) fn index(&self, catalogs: &[SealedDigest]) -> Result<Index, VaultError> {
        self.index_in("index", catalogs)
    }

    /// For a backup: the index of the catalogs that can be relied on. With `recheck` each is read and compared with
    /// its name, whatever the cache knows.
    pub(super) fn sound_index(&self, recheck: bool) -> Result<Index, VaultError> {
        let mut catalogs = self.catalog_digests()?;
        let mut unreliable = self.unreliable_catalogs(&catalogs, recheck)?;
        unreliable.extend(self.noted_catalogs(REFUTED));
        if unreliable.is_empty() {
            return self.index(&catalogs);
        }
        catalogs.retain(|catalog| !unreliable.contains(catalog));
        // Beside the other index, which may be the last to know where the chunks of a damaged catalog lie: a restore
        // on this host still finds them by it.
        self.index_in("index-sound", &catalogs)
    }

    fn index_in(&self, folder: &str, catalogs: &[SealedDigest]) -> Result<Index, VaultError> {
        Index::open(self.host.folder(folder), catalogs, |catalog| readable(self.read_catalog(catalog)))
    }

    /// The index of the pages in this host's own catalogs, and in those that a check on this host found true.
    pub(super) fn page_index(&self, catalogs: &[SealedDigest]) -> Result<PageIndex, VaultError> {
        let proven = self.noted_catalogs(PROVEN);
        let paged = |digest| {
            let (catalog, own) = self.read_whole_catalog(digest)?;
            Ok(if own || proven.contains(&digest) { catalog.paged } else { Vec::new() })
        };
        PageIndex::open(self.host.folder(PAGES), catalogs, |catalog| readable(paged(catalog)))
    }

    /// Takes note of what a check found of catalogs whose content it compared. The index of pages is then made anew.
    pub(super) fn note_compared(&self, compared: &Compared) {
        let proven = self.note_more(PROVEN, &compared.proven);
        let refuted = self.note_more(REFUTED, &compared.refuted);
        if proven || refuted {
            self.host.folder(PAGES).clear("index");
        }
    }

    fn noted_catalogs(&self, name: &str) -> BTreeSet<SealedDigest> {
        let bytes = self.host.folder(NOTED).read(name).unwrap_or_default();
        bytes.as_chunks().0.iter().map(|digest| SealedDigest::from_bytes(*digest)).collect()
    }

    fn note_more(&self, name: &str, more: &BTreeSet<SealedDigest>) -> bool {
        let known = self.noted_catalogs(name);
        if more.is_subset(&known) {
            return false;
        }
        let folder = self.host.folder(NOTED);
        let bytes: Vec<u8> = known.union(more).flat_map(|digest| *digest.as_bytes()).collect();
        folder.noted(folder.replace(name, &bytes)).is_some()
    }
}

/// What reading data says of catalogs.
#[derive(Debug, Default)]
pub struct Compared {
    /// Of other hosts: every page they name was found where they say.
    pub proven: BTreeSet<SealedDigest>,
    /// Whole, and not true.
    pub refuted: BTreeSet<SealedDigest>,
}

const PAGES: &str = "pages";
const NOTED: &str = "catalogs";
const PROVEN: &str = "proven";
const REFUTED: &str = "refuted";

fn readable<T>(read: Result<T, VaultError>) -> Result<Option<T>, VaultError> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if error.class() == Class::Damaged || error.is_not_found() => Ok(None),
        Err(error) => Err(error),
    }
}
