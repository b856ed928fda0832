//! A set of sorted runs that an index is made of, kept in this host's cache and built from catalogs.
//!
//! Losing the cache costs time, never data. A run that was made of a catalog the vault no longer has is dropped, and so is
//! one that does not fit its digest: the cache never vouches for what the vault has lost. Where nothing can be written,
//! runs are held in memory.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;

use crate::base::id::SealedDigest;
use crate::vault::cache::CacheFolder;
use crate::vault::error::VaultError;
use crate::vault::run::{Home, Record, Run};

/// So many records are sorted in memory before they become a run: 16 MB of the longest.
const BATCH: usize = 250_000;

pub struct Runs<R> {
    folder: CacheFolder,
    /// Whether runs can be written there.
    writable: bool,
    runs: Vec<Run<R>>,
    records: Vec<R>,
    homes: Vec<Home>,
    catalogs: Vec<SealedDigest>,
}

impl<R: Record> Runs<R> {
    /// What `folder` has of `catalogs`; the others are asked for one by one with `fill`, which adds what they say.
    pub fn open(
        folder: CacheFolder,
        catalogs: &[SealedDigest],
        mut fill: impl FnMut(&mut Self, SealedDigest) -> Result<(), VaultError>,
    ) -> Result<Self, VaultError> {
        // One process at a time arranges the runs; what it opened stays readable after another has merged it away.
        let lock = folder.path().join("lock");
        let lock = folder.make().then(|| File::create(&lock).and_then(|file| file.lock().map(|()| file)));
        let lock = lock.and_then(|lock| folder.noted(lock));
        let runs = open_runs(&folder, catalogs);
        let (records, homes) = (Vec::new(), Vec::new());
        let mut runs = Self { folder, writable: lock.is_some(), runs, records, homes, catalogs: Vec::new() };
        let known: HashSet<SealedDigest> = runs.catalogs().into_iter().collect();
        for catalog in catalogs.iter().filter(|catalog| !known.contains(catalog)) {
            fill(&mut runs, *catalog)?;
        }
        runs.flush()?;
        if runs.writable {
            runs.tidy();
        }
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
        let sorted = || records.iter().map(|record| Ok(*record));
        let write = || Run::write(&self.folder, &homes, &catalogs, count, sorted());
        let written = self.writable.then(write).and_then(|written| self.folder.noted(written));
        self.writable &= written.is_some();
        self.runs.push(written.unwrap_or_else(|| Run::in_memory(&homes, &catalogs, &records)));
        Ok(())
    }

    /// Merges runs of like size, so that there are only a few however many backups there were. Those that cannot be
    /// merged stay as they are.
    fn tidy(&mut self) {
        self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        while let [.., larger, smaller] = &self.runs[..] {
            if larger.len() > 4 * smaller.len() && self.runs.len() < 12 {
                break;
            }
            let pair = &self.runs[self.runs.len() - 2..];
            let Some(merged) = self.folder.noted(Run::merge(&self.folder, pair)) else { break };
            let merged_away = self.runs.split_off(self.runs.len() - 2);
            merged_away.iter().filter_map(Run::path).for_each(|path| drop(fs::remove_file(path)));
            self.runs.push(merged);
            self.runs.sort_by_key(|run| std::cmp::Reverse(run.len()));
        }
    }

    /// Hands every record with the key to `take`, with its home, run by run, until one is good enough.
    pub fn find(&self, key: &[u8], mut take: impl FnMut((R, Home)) -> bool) -> Result<(), VaultError> {
        for run in &self.runs {
            let mut enough = false;
            let failed = |error| VaultError::host(run.path().unwrap_or(self.folder.path()))(error);
            for record in run.find(key).map_err(failed)? {
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
        self.runs.iter().flat_map(|run| run.catalogs().iter().copied()).collect()
    }

    pub fn homes(&self) -> impl Iterator<Item = &Home> {
        self.runs.iter().flat_map(|run| run.homes())
    }

    #[cfg(test)]
    pub fn len(&self) -> u64 {
        self.runs.iter().map(Run::len).sum()
    }

    #[cfg(test)]
    pub fn path(&self) -> std::path::PathBuf {
        self.runs[0].path().expect("BUG: it was written").to_owned()
    }
}

/// The runs that are whole and say nothing the vault does not.
fn open_runs<R: Record>(folder: &CacheFolder, catalogs: &[SealedDigest]) -> Vec<Run<R>> {
    let present: HashSet<&SealedDigest> = catalogs.iter().collect();
    let mut covered = HashSet::new();
    let mut runs = Vec::new();
    let entries = fs::read_dir(folder.path()).into_iter().flatten().flatten().map(|entry| entry.path());
    for path in entries.filter(|path| path.extension().is_some_and(|extension| extension == "index")) {
        let run = match Run::<R>::open(&path, folder.key()) {
            Ok(Some(run)) => run,
            // Another process may have merged it away.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Ok(None) | Err(_) => {
                folder.dropped(&path);
                continue;
            }
        };
        let usable = run.catalogs().iter().all(|catalog| present.contains(catalog));
        // A crash between a merge and the removal of what it merged leaves both: one is enough.
        if usable && !run.catalogs().iter().any(|catalog| covered.contains(catalog)) {
            covered.extend(run.catalogs().iter().copied());
            runs.push(run);
        } else {
            drop(fs::remove_file(&path));
        }
    }
    runs
}
