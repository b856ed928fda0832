//! The chunk index: which chunks the vault has and where. Built from catalogs, kept in this host's cache.
//!
//! What this host's own catalogs say goes before what others say: anybody who can write to the vault can make a catalog.

use std::collections::{HashMap, HashSet};

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::{PackContents, Place};
use crate::format::layout;
use crate::vault::cache::CacheFolder;
use crate::vault::error::VaultError;
use crate::vault::run::{Home, Record};
use crate::vault::runs::Runs;

/// A chunk's pack and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    pub pack: SealedDigest,
    pub size: u64,
    pub place: Place,
}

/// What a catalog says of packs, and whether this host wrote it.
pub struct Claims {
    pub packs: Vec<PackContents>,
    pub own: bool,
}

/// In a home's number, beside the pack's length: this host's own catalog says so.
const OWN: u64 = 1 << 63;

/// A place that a catalog names.
#[derive(Clone, Copy)]
struct Claim {
    location: Location,
    own: bool,
}

/// One chunk as the index keeps it: its pack is a home.
#[derive(Clone, Copy)]
pub(super) struct ChunkRecord {
    digest: PlainDigest,
    pack: u32,
    place: Place,
}

impl Record for ChunkRecord {
    const MAGIC: &'static [u8; 8] = b"SRrun\0\0\x03";
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
    /// Packs that catalogs name, with a length, and that the vault does not have like that.
    absent: HashSet<(SealedDigest, u64)>,
    /// Those of them that it does not have with any length that a catalog names.
    gone: HashSet<SealedDigest>,
}

impl Index {
    /// An index of `catalogs`, from the runs in `folder` and, for what they lack, from `fetch`, which answers `None`
    /// for a catalog that cannot be read.
    pub fn open(
        folder: CacheFolder,
        catalogs: &[SealedDigest],
        mut fetch: impl FnMut(SealedDigest) -> Result<Option<Claims>, VaultError>,
    ) -> Result<Self, VaultError> {
        let runs = Runs::open(folder, catalogs, |runs, catalog| {
            let claims = fetch(catalog)?;
            claims.map_or(Ok(()), |claims| add(runs, catalog, &claims.packs, claims.own))
        })?;
        Ok(Self { runs, absent: HashSet::new(), gone: HashSet::new() })
    }

    /// Takes in a catalog that the vault now has and this host wrote.
    pub fn add(&mut self, catalog: SealedDigest, packs: &[PackContents]) -> Result<(), VaultError> {
        add(&mut self.runs, catalog, packs, true)
    }

    /// Turns what was added into a run.
    pub fn flush(&mut self) -> Result<(), VaultError> {
        self.runs.flush()
    }

    /// Where a capture may rely on the chunk to lie: in a pack that is there and whole as far as its length tells. If
    /// this host stored the chunk itself, nobody else's word for another place is taken.
    pub fn find(&self, digest: &PlainDigest) -> Result<Option<Location>, VaultError> {
        let claims = self.claims(digest, |claim| claim.own && self.is_there(claim))?;
        let own = claims.iter().any(|claim| claim.own);
        Ok(claims.iter().find(|claim| claim.own == own && self.is_there(claim)).map(|claim| claim.location))
    }

    /// For a reader, who hashes what it finds: the place to try first, be it in a damaged pack.
    pub fn find_at_all(&self, digest: &PlainDigest) -> Result<Option<Location>, VaultError> {
        let mut claims = self.claims(digest, |claim| claim.own && self.is_there(claim))?;
        claims.sort_by_key(|claim| (!self.is_there(claim), !claim.own));
        Ok(claims.first().map(|claim| claim.location))
    }

    /// Every place where catalogs say it lies, once; those to try first at the beginning.
    pub fn all_places(&self, digest: &PlainDigest) -> Result<Vec<Location>, VaultError> {
        let mut claims = self.claims(digest, |_| false)?;
        claims.sort_by_key(|claim| (!self.is_there(claim), !claim.own));
        let mut seen = HashSet::new();
        Ok(claims.into_iter().map(|claim| claim.location).filter(|location| seen.insert(*location)).collect())
    }

    /// What catalogs say of the chunk, up to and with the first run in which something is `enough`.
    fn claims(&self, digest: &PlainDigest, enough: impl Fn(&Claim) -> bool) -> Result<Vec<Claim>, VaultError> {
        let mut claims = Vec::new();
        self.runs.find(digest.as_bytes(), |found| {
            let claim = claim(found);
            claims.push(claim);
            enough(&claim)
        })?;
        Ok(claims)
    }

    fn is_there(&self, claim: &Claim) -> bool {
        !self.absent.contains(&(claim.location.pack, claim.location.size))
    }

    /// Compares with the packs there are: what lies in a pack that is gone, or of another length, is not found any
    /// more, so that it is stored again and read from where it is whole. A catalog that is wrong about a length takes no
    /// other along.
    pub fn check_packs(&mut self, there: &HashMap<SealedDigest, u64>) {
        let named = self.packs();
        let is_there = |(digest, size): &(SealedDigest, u64)| there.get(digest) == Some(size);
        let found: HashSet<SealedDigest> = named.iter().filter(|pack| is_there(pack)).map(|pack| pack.0).collect();
        self.gone = named.iter().map(|pack| pack.0).filter(|digest| !found.contains(digest)).collect();
        self.absent = named.into_iter().filter(|pack| !is_there(pack)).collect();
    }

    /// The packs that are named and not there, or not to be relied on.
    pub fn absent(&self) -> &HashSet<SealedDigest> {
        &self.gone
    }

    /// The catalogs it was made of: each could be read when it was taken in.
    pub fn catalogs(&self) -> Vec<SealedDigest> {
        self.runs.catalogs()
    }

    /// Every pack any catalog names, with its size, sorted and once each.
    pub fn packs(&self) -> Vec<(SealedDigest, u64)> {
        let homes = self.runs.homes();
        let mut packs: Vec<_> = homes.map(|&(digest, size)| (SealedDigest::from_bytes(digest), size & !OWN)).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    #[cfg(test)]
    fn chunk_count(&self) -> u64 {
        self.runs.len()
    }
}

fn claim((record, (pack, size)): (ChunkRecord, Home)) -> Claim {
    let location = Location { pack: SealedDigest::from_bytes(pack), size: size & !OWN, place: record.place };
    Claim { location, own: size & OWN != 0 }
}

fn add(
    runs: &mut Runs<ChunkRecord>,
    catalog: SealedDigest,
    packs: &[PackContents],
    own: bool,
) -> Result<(), VaultError> {
    for pack in packs {
        let home = runs.add_home((*pack.digest.as_bytes(), (pack.size & !OWN) | if own { OWN } else { 0 }));
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
                let packs = vec![pack(at * 100..at * 100 + 50), pack(at * 100 + 50..at * 100 + 90)];
                Ok(Some(Claims { packs, own: at.is_multiple_of(2) }))
            };
            let index = Index::open(CacheFolder::of_test(folder.path()), &catalogs[..known], fetch).unwrap();
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
    fn a_run_with_any_byte_flipped_or_cut_off_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::of_test(folder.path());
        let catalog = SealedDigest::from_bytes([1; 32]);
        let made = std::cell::Cell::new(0);
        let fetch = |_| {
            made.set(made.get() + 1);
            Ok(Some(Claims { packs: vec![pack(0..5)], own: true }))
        };
        let open = || Index::open(cache.clone(), &[catalog], fetch).unwrap();
        let path = open().runs.path();
        let length = std::fs::metadata(&path).unwrap().len() as usize;
        let (mut path, mut expected) = (path, 1);
        for at in 0..length {
            for harm in [true, false] {
                let mut bytes = std::fs::read(&path).unwrap();
                if harm {
                    bytes[at] ^= 1
                } else {
                    bytes.truncate(at)
                }
                std::fs::write(&path, bytes).unwrap();
                let index = open();
                expected += 1;
                assert_eq!((made.get(), index.chunk_count()), (expected, 5), "{at}");
                assert!(!path.exists());
                path = index.runs.path();
            }
        }
        // One in another's place, and one of another vault.
        let other = folder.path().join("run.other.index");
        std::fs::rename(&path, &other).unwrap();
        open();
        assert_eq!(made.get(), expected + 1);
    }

    #[test]
    fn where_nothing_can_be_written_an_index_is_held_in_memory() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a file");
        std::fs::write(&file, b"").unwrap();
        let catalogs: Vec<SealedDigest> = (0..3).map(|n| SealedDigest::from_bytes(digest(n, 2))).collect();
        let at = |catalog: SealedDigest| catalogs.iter().position(|c| *c == catalog).unwrap() as u32;
        let fetch =
            |catalog| Ok(Some(Claims { packs: vec![pack(at(catalog) * 10..at(catalog) * 10 + 10)], own: true }));
        let cache = CacheFolder::of_test(&file.join("index"));
        let mut index = Index::open(cache, &catalogs, fetch).unwrap();
        index.add(SealedDigest::from_bytes([9; 32]), &[pack(30..40)]).unwrap();
        index.flush().unwrap();
        for n in 0..50 {
            assert_eq!(index.find(&PlainDigest::from_bytes(digest(n, 0))).unwrap().is_some(), n < 40, "{n}");
        }
    }

    #[test]
    fn nobody_elses_word_is_taken_for_a_chunk_that_this_host_stored() {
        let folder = tempfile::tempdir().unwrap();
        let catalogs: Vec<SealedDigest> = (0..2).map(|n| SealedDigest::from_bytes(digest(n, 2))).collect();
        let fetch = |catalog: SealedDigest| {
            let own = catalog == catalogs[0];
            let said = pack(0..5);
            let elsewhere = PackContents { digest: SealedDigest::from_bytes([8; 32]), ..pack(0..9) };
            Ok(Some(Claims { packs: vec![if own { said } else { elsewhere }], own }))
        };
        let mut index = Index::open(CacheFolder::of_test(folder.path()), &catalogs, fetch).unwrap();
        let (ours, theirs) = (pack(0..5).digest, SealedDigest::from_bytes([8; 32]));
        let chunk = |n| PlainDigest::from_bytes(digest(n, 0));
        let found = |index: &Index, n| index.find(&chunk(n)).unwrap().map(|location| location.pack);
        assert_eq!((found(&index, 1), found(&index, 7)), (Some(ours), Some(theirs)));
        index.check_packs(&[(theirs, 5000)].into());
        assert_eq!((found(&index, 1), found(&index, 7)), (None, Some(theirs)));
        assert_eq!(index.find_at_all(&chunk(1)).unwrap().unwrap().pack, theirs);
        assert_eq!(index.all_places(&chunk(1)).unwrap().len(), 2);
    }
}
