//! The chunk index: which chunks the vault has and where. Built from catalogs, kept in this host's cache.
//!
//! Losing the cache costs time, never data. A run that was made of a catalog the vault no longer has is dropped:
//! the cache never vouches for what the vault has lost.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::path::PathBuf;

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::{PackContents, Place};
use crate::format::layout;
use crate::vault::error::VaultError;
use crate::vault::run::{Record, Run};

/// So many records are sorted in memory before they become a run: 16 MB.
const BATCH: usize = 250_000;

/// A chunk's pack and its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    pub pack: SealedDigest,
    pub size: u64,
    pub place: Place,
}

pub struct Index {
    folder: PathBuf,
    runs: Vec<Run>,
    batch: Batch,
    /// Packs that catalogs name and that are not there, or not to be relied on.
    absent: HashSet<SealedDigest>,
}

#[derive(Default)]
struct Batch {
    records: Vec<Record>,
    packs: Vec<(SealedDigest, u64)>,
    catalogs: Vec<SealedDigest>,
}

impl Index {
    /// An index of `catalogs`, from the runs in `folder` and, for what they lack, from `fetch`, which answers `None`
    /// for a catalog that cannot be read.
    pub fn open(
        folder: PathBuf,
        catalogs: &[SealedDigest],
        mut fetch: impl FnMut(SealedDigest) -> Result<Option<Vec<PackContents>>, VaultError>,
    ) -> Result<Self, VaultError> {
        // One process at a time arranges the runs; what it opened stays readable after another has merged it away.
        let lock = folder.join("lock");
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(VaultError::host(&lock))?;
        let mut index =
            Self { runs: open_runs(&folder, catalogs)?, folder, batch: Batch::default(), absent: HashSet::new() };
        let known: HashSet<SealedDigest> = index.runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect();
        for catalog in catalogs.iter().filter(|catalog| !known.contains(catalog)) {
            if let Some(packs) = fetch(*catalog)? {
                index.add(*catalog, &packs)?;
            }
        }
        index.flush()?;
        index.tidy()?;
        drop(lock);
        Ok(index)
    }

    /// Takes in a catalog that the vault now has.
    pub fn add(&mut self, catalog: SealedDigest, packs: &[PackContents]) -> Result<(), VaultError> {
        for pack in packs {
            let number = self.batch.packs.len() as u32;
            self.batch.packs.push((pack.digest, pack.size));
            self.batch.records.extend(pack.places().map(|(digest, place)| Record { digest, pack: number, place }));
        }
        self.batch.catalogs.push(catalog);
        if self.batch.records.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Turns what was added into a run.
    pub fn flush(&mut self) -> Result<(), VaultError> {
        if self.batch.catalogs.is_empty() {
            return Ok(());
        }
        let Batch { mut records, packs, catalogs } = std::mem::take(&mut self.batch);
        records.sort_unstable_by_key(|record| record.digest);
        let count = records.len() as u64;
        let run = Run::write(&self.folder, &packs, &catalogs, count, records.into_iter().map(Ok));
        self.runs.push(run.map_err(VaultError::host(&self.folder))?);
        Ok(())
    }

    /// Merges runs of like size, so that there are only a few however many backups there were.
    pub fn tidy(&mut self) -> Result<(), VaultError> {
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        while let [.., larger, smaller] = &self.runs[..] {
            if larger.len() > 4 * smaller.len() && self.runs.len() < 12 {
                break;
            }
            let pair = self.runs.split_off(self.runs.len() - 2);
            let merged = Run::merge(&self.folder, &pair).map_err(VaultError::host(&self.folder))?;
            pair.iter().for_each(|run| drop(fs::remove_file(run.path())));
            self.runs.push(merged);
            self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        }
        Ok(())
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
        for run in &self.runs {
            self.add_places(run, digest, &mut places)?;
            if places.iter().any(|location| !self.absent.contains(&location.pack)) {
                break;
            }
        }
        Ok(places)
    }

    /// Every place where catalogs say it lies; those to rely on first.
    pub fn all_places(&self, digest: &PlainDigest) -> Result<Vec<Location>, VaultError> {
        let mut places = Vec::new();
        self.runs.iter().try_for_each(|run| self.add_places(run, digest, &mut places))?;
        places.sort_by_key(|location| self.absent.contains(&location.pack));
        Ok(places)
    }

    fn add_places(&self, run: &Run, digest: &PlainDigest, places: &mut Vec<Location>) -> Result<(), VaultError> {
        for record in run.find(digest).map_err(VaultError::host(run.path()))? {
            let (pack, size) = run.pack(record.pack);
            places.push(Location { pack, size, place: record.place });
        }
        Ok(())
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
        self.runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect()
    }

    /// Every pack any catalog names, with its size, sorted and once each.
    pub fn packs(&self) -> Vec<(SealedDigest, u64)> {
        let mut packs: Vec<_> = self.runs.iter().flat_map(|run| run.packs().iter().copied()).collect();
        packs.sort_unstable();
        packs.dedup();
        packs
    }

    #[cfg(test)]
    fn chunk_count(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }
}

/// The runs that are whole and say nothing the vault does not.
fn open_runs(folder: &PathBuf, catalogs: &[SealedDigest]) -> Result<Vec<Run>, VaultError> {
    let present: HashSet<&SealedDigest> = catalogs.iter().collect();
    let mut covered = HashSet::new();
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder).map_err(VaultError::host(folder))? {
        let path = entry.map_err(VaultError::host(folder))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") => {}
            _ => continue,
        }
        let run = Run::open(&path).map_err(VaultError::host(&path))?;
        let usable = run.filter(|run| run.catalogs.iter().all(|c| present.contains(c)));
        // A crash between a merge and the removal of what it merged leaves both: one is enough.
        match usable.filter(|run| !run.catalogs.iter().any(|c| covered.contains(c))) {
            Some(run) => {
                covered.extend(run.catalogs.iter().copied());
                runs.push(run);
            }
            None => drop(fs::remove_file(&path)),
        }
    }
    Ok(runs)
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
        let path = index.runs[0].path().to_owned();
        File::options().write(true).open(&path).unwrap().set_len(500).unwrap();
        let index = Index::open(folder.path().to_owned(), &[catalog], fetch).unwrap();
        assert_eq!(index.chunk_count(), 50);
    }
}
