//! The chunk index: which chunks the vault has and where. Built from catalogs, kept in this host's cache.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::{PackContents, Place};
use crate::format::layout;
use crate::vault::error::VaultError;
use crate::vault::run::{Home, Record};
use crate::vault::runs::Runs;

/// A chunk's pack and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub pack: SealedDigest,
    pub size: u64,
    pub place: Place,
}

/// One chunk as the index keeps it: its pack is a home.
#[derive(Clone, Copy)]
struct ChunkRecord {
    digest: PlainDigest,
    pack: u32,
    place: Place,
}

impl Record for ChunkRecord {
    const MAGIC: &'static [u8; 8] = b"SRrun\0\0\x02";
    const LENGTH: usize = 32 + 4 + 8 + 4 * 4;

    fn key(&self) -> &[u8] {
        self.digest.as_bytes()
    }

    fn home(&self) -> u32 {
        self.pack
    }

    fn with_home(self, pack: u32) -> Self {
        Self { pack, ..self }
    }

    fn write(&self, bytes: &mut [u8]) {
        let Place { frame, stored, plain, offset, length } = self.place;
        bytes[..32].copy_from_slice(self.digest.as_bytes());
        bytes[32..36].copy_from_slice(&self.pack.to_le_bytes());
        bytes[36..44].copy_from_slice(&frame.to_le_bytes());
        for (at, field) in [stored, plain, offset, length].into_iter().enumerate() {
            bytes[44 + 4 * at..48 + 4 * at].copy_from_slice(&field.to_le_bytes());
        }
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("BUG: four bytes"));
        let frame = u64::from_le_bytes(bytes[36..44].try_into().expect("BUG: eight bytes"));
        let place = Place { frame, stored: word(44), plain: word(48), offset: word(52), length: word(56) };
        Self { digest: PlainDigest::from_bytes(bytes[..32].try_into().expect("BUG: 32 bytes")), pack: word(32), place }
    }
}

pub struct Index {
    runs: Runs<ChunkRecord>,
    /// Packs that catalogs name and the vault does not have.
    absent: HashSet<SealedDigest>,
}

impl Index {
    /// An index of `catalogs`, from the runs in `folder` and, for what they lack, from `fetch`, which answers `None`
    /// for a catalog that cannot be read.
    pub fn open(
        folder: PathBuf,
        catalogs: &[SealedDigest],
        mut fetch: impl FnMut(SealedDigest) -> Result<Option<Vec<PackContents>>, VaultError>,
    ) -> Result<Self, VaultError> {
        let runs = Runs::open(folder, catalogs, |runs, catalog| {
            let packs = fetch(catalog)?;
            packs.map_or(Ok(()), |packs| add(runs, catalog, &packs))
        })?;
        Ok(Self { runs, absent: HashSet::new() })
    }

    /// Takes in a catalog that the vault now has.
    pub fn add(&mut self, catalog: SealedDigest, packs: &[PackContents]) -> Result<(), VaultError> {
        add(&mut self.runs, catalog, packs)
    }

    /// Turns what was added into a run.
    pub fn flush(&mut self) -> Result<(), VaultError> {
        self.runs.flush()
    }

    /// Where the chunk lies, in a pack that is there and whole as far as its length tells.
    pub fn find(&self, digest: &PlainDigest) -> Result<Option<Location>, VaultError> {
        Ok(self.places(digest)?.into_iter().find(|location| !self.absent.contains(&location.pack)))
    }

    /// As [`Self::find`]; failing that, where it should lie: part of a damaged pack may still be read.
    pub fn find_at_all(&self, digest: &PlainDigest) -> Result<Option<Location>, VaultError> {
        let places = self.places(digest)?;
        let whole = places.iter().find(|location| !self.absent.contains(&location.pack));
        Ok(whole.or(places.first()).copied())
    }

    /// Where it lies, up to and with the first run that knows a pack to rely on.
    fn places(&self, digest: &PlainDigest) -> Result<Vec<Location>, VaultError> {
        let mut places = Vec::new();
        self.runs.find(digest.as_bytes(), |found| {
            let location = location(found);
            places.push(location);
            !self.absent.contains(&location.pack)
        })?;
        Ok(places)
    }

    /// Every place where catalogs say it lies; those to rely on first.
    pub fn all_places(&self, digest: &PlainDigest) -> Result<Vec<Location>, VaultError> {
        let mut places = Vec::new();
        self.runs.find(digest.as_bytes(), |found| {
            places.push(location(found));
            false
        })?;
        places.sort_by_key(|location| self.absent.contains(&location.pack));
        Ok(places)
    }

    /// Compares with the packs there are: what lies in a pack that is gone, or of another length, is not found any
    /// more, so that it is stored again and read from where it is whole.
    pub fn check_packs(&mut self, there: &HashMap<SealedDigest, u64>) {
        let named = self.packs();
        let absent = named.into_iter().filter(|(digest, size)| there.get(digest) != Some(size));
        self.absent = absent.map(|(digest, _)| digest).collect();
    }

    /// The packs that are named and not there, or not to be relied on.
    pub fn absent(&self) -> &HashSet<SealedDigest> {
        &self.absent
    }

    /// The catalogs it was made of: each could be read when it was taken in.
    pub fn catalogs(&self) -> Vec<SealedDigest> {
        self.runs.catalogs()
    }

    /// Every pack any catalog names, with its size, sorted and once each.
    pub fn packs(&self) -> Vec<(SealedDigest, u64)> {
        let homes = self.runs.homes();
        let mut packs: Vec<_> = homes.map(|&(digest, size)| (SealedDigest::from_bytes(digest), size)).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    #[cfg(test)]
    fn chunk_count(&self) -> u64 {
        self.runs.len()
    }
}

fn location((record, (pack, size)): (ChunkRecord, Home)) -> Location {
    Location { pack: SealedDigest::from_bytes(pack), size, place: record.place }
}

fn add(runs: &mut Runs<ChunkRecord>, catalog: SealedDigest, packs: &[PackContents]) -> Result<(), VaultError> {
    for pack in packs {
        let home = runs.add_home((*pack.digest.as_bytes(), pack.size));
        runs.extend(pack.places().map(|(digest, place)| ChunkRecord { digest, pack: home, place }));
    }
    runs.covered(catalog)
}

/// The digest in a catalog's name.
pub fn catalog_digest(key: &crate::base::name::ObjectKey) -> Option<SealedDigest> {
    key.digest().filter(|digest| layout::catalog(*digest) == *key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::catalog::FrameContents;

    fn digest(n: u32, salt: u8) -> [u8; 32] {
        use sha2::{Digest, Sha256};
        Sha256::digest([&n.to_be_bytes()[..], &[salt]].concat()).into()
    }

    fn pack(numbers: std::ops::Range<u32>) -> PackContents {
        let members: Vec<_> = numbers.clone().map(|n| (PlainDigest::from_bytes(digest(n, 0)), n % 1000)).collect();
        let plain = members.iter().fold(0, |at, &(_, length)| crate::format::pack::next(at, length.into())) as u32;
        let frames = vec![FrameContents { stored: 77, plain, members }];
        PackContents { digest: SealedDigest::from_bytes(digest(numbers.start, 1)), size: 5000, frames }
    }

    #[test]
    fn an_index_finds_every_chunk_of_every_catalog_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let catalogs: Vec<SealedDigest> = (0..40).map(|n| SealedDigest::from_bytes(digest(n, 2))).collect();
        for known in [0, 1, 3, 17, 40, 40, 12] {
            let fetch = |catalog: SealedDigest| {
                let at = catalogs.iter().position(|c| *c == catalog).unwrap() as u32;
                Ok(Some(vec![pack(at * 100..at * 100 + 50), pack(at * 100 + 50..at * 100 + 90)]))
            };
            let index = Index::open(folder.path().to_owned(), &catalogs[..known], fetch).unwrap();
            assert_eq!(index.chunk_count(), 90 * known as u64);
            assert_eq!(index.packs().len(), 2 * known);
            for n in 0..4000u32 {
                let found = index.find(&PlainDigest::from_bytes(digest(n, 0))).unwrap();
                let expected = n % 100 < 90 && n / 100 < known as u32;
                assert_eq!(found.is_some(), expected, "chunk {n} of {known} catalogs");
                if let Some(location) = found {
                    assert_eq!(location.place.length, n % 1000);
                    let start = if n % 100 < 50 { n / 100 * 100 } else { n / 100 * 100 + 50 };
                    assert_eq!(*location.pack.as_bytes(), digest(start, 1));
                }
            }
        }
    }

    #[test]
    fn a_run_cut_short_by_a_crash_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let catalog = SealedDigest::from_bytes([1; 32]);
        let fetch = |_| Ok(Some(vec![pack(0..50)]));
        let index = Index::open(folder.path().to_owned(), &[catalog], fetch).unwrap();
        let path = index.runs.path();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(500).unwrap();
        let index = Index::open(folder.path().to_owned(), &[catalog], fetch).unwrap();
        assert_eq!(index.chunk_count(), 50);
    }
}
