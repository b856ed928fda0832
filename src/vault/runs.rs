//! A set of sorted runs that an index is made of, kept in this host's cache and built from catalogs.
//!
//! Losing the cache costs time, never data. A run that was made of a catalog the vault no longer has is dropped:
//! the cache never vouches for what the vault has lost.

use std::collections::HashSet;
use std::fs::{self, File};
use std::path::PathBuf;

use crate::base::id::SealedDigest;
use crate::vault::error::VaultError;
use crate::vault::run::{Home, Record, Run};

/// So many records are sorted in memory before they become a run: 16 MB of the longest.
const BATCH: usize = 250_000;

pub struct Runs<R> {
    folder: PathBuf,
    runs: Vec<Run<R>>,
    records: Vec<R>,
    homes: Vec<Home>,
    catalogs: Vec<SealedDigest>,
}

impl<R: Record> Runs<R> {
    /// What `folder` has of `catalogs`; the others are asked for one by one with `fill`, which adds what they say.
    pub fn open(
        folder: PathBuf,
        catalogs: &[SealedDigest],
        mut fill: impl FnMut(&mut Self, SealedDigest) -> Result<(), VaultError>,
    ) -> Result<Self, VaultError> {
        // One process at a time arranges the runs; what it opened stays readable after another has merged it away.
        let lock = folder.join("lock");
        let lock = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(VaultError::host(&lock))?;
        let runs = open_runs(&folder, catalogs)?;
        let mut runs = Self { folder, runs, records: Vec::new(), homes: Vec::new(), catalogs: Vec::new() };
        let known: HashSet<SealedDigest> = runs.runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect();
        for catalog in catalogs.iter().filter(|catalog| !known.contains(catalog)) {
            fill(&mut runs, *catalog)?;
        }
        runs.flush()?;
        runs.tidy()?;
        drop(lock);
        Ok(runs)
    }

    /// A home for records that are added next: its number.
    pub fn add_home(&mut self, home: Home) -> u32 {
        self.homes.push(home);
        self.homes.len() as u32 - 1
    }

    pub fn extend(&mut self, records: impl Iterator<Item = R>) {
        self.records.extend(records);
    }

    /// Everything that a catalog says has been added.
    pub fn covered(&mut self, catalog: SealedDigest) -> Result<(), VaultError> {
        self.catalogs.push(catalog);
        if self.records.len() >= BATCH { self.flush() } else { Ok(()) }
    }

    /// Turns what was added into a run.
    pub fn flush(&mut self) -> Result<(), VaultError> {
        if self.catalogs.is_empty() {
            return Ok(());
        }
        let (mut records, homes) = (std::mem::take(&mut self.records), std::mem::take(&mut self.homes));
        let catalogs = std::mem::take(&mut self.catalogs);
        records.sort_unstable_by(|a, b| a.key().cmp(b.key()));
        let count = records.len() as u64;
        let run = Run::write(&self.folder, &homes, &catalogs, count, records.into_iter().map(Ok));
        self.runs.push(run.map_err(VaultError::host(&self.folder))?);
        Ok(())
    }

    /// Merges runs of like size, so that there are only a few however many backups there were.
    fn tidy(&mut self) -> Result<(), VaultError> {
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

    /// Hands every record with the key to `take`, with its home, run by run, until one is good enough.
    pub fn find(&self, key: &[u8], mut take: impl FnMut((R, Home)) -> bool) -> Result<(), VaultError> {
        for run in &self.runs {
            let mut enough = false;
            for record in run.find(key).map_err(VaultError::host(run.path()))? {
                enough |= take((record, run.home(record.home())));
            }
            if enough {
                break;
            }
        }
        Ok(())
    }

    /// The catalogs it was made of.
    pub fn catalogs(&self) -> Vec<SealedDigest> {
        self.runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect()
    }

    pub fn homes(&self) -> impl Iterator<Item = &Home> {
        self.runs.iter().flat_map(|run| run.homes())
    }

    #[cfg(test)]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }

    #[cfg(test)]
    pub fn path(&self) -> PathBuf {
        self.runs[0].path().to_owned()
    }
}

/// The runs that are whole and say nothing the vault does not.
fn open_runs<R: Record>(folder: &PathBuf, catalogs: &[SealedDigest]) -> Result<Vec<Run<R>>, VaultError> {
    let present: HashSet<&SealedDigest> = catalogs.iter().collect();
    let mut covered = HashSet::new();
    let mut runs = Vec::new();
    for entry in fs::read_dir(folder).map_err(VaultError::host(folder))? {
        let path = entry.map_err(VaultError::host(folder))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("index") => {}
            _ => continue,
        }
        let run = Run::<R>::open(&path).map_err(VaultError::host(&path))?;
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
