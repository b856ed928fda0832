//! One sorted run of an index: a file of this host's cache, read by position and never held whole.
//!
//! Layout, little-endian: records sorted by key; a table of homes, which records name by number; a table of where each
//! leading-bits bucket begins; the catalogs the run was made of; a footer with all counts. A run that does not add up
//! is not used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::id::SealedDigest;
use crate::vault::host;

const FOOTER: usize = 8 + 8 + 4 + 4 + 4 + 4;
const HOME: usize = 32 + 8;

/// Where many records are at home: a digest and a number that belongs to it.
pub type Home = ([u8; 32], u64);

/// One thing that an index finds by its key.
pub trait Record: Copy {
    /// Tells runs of one kind from those of another, and of other versions.
    const MAGIC: &'static [u8; 8];
    /// Length of a record; its key comes first.
    const LENGTH: usize;

    fn key(&self) -> &[u8];
    fn home(&self) -> u32;
    fn with_home(self, home: u32) -> Self;
    /// Fills exactly [`Record::LENGTH`] bytes.
    fn write(&self, bytes: &mut [u8]);
    fn read(bytes: &[u8]) -> Self;
}

/// An open run.
pub struct Run<R> {
    path: PathBuf,
    file: File,
    count: u64,
    homes: Vec<Home>,
    /// First record of each bucket, and the end of the last.
    buckets: Vec<u32>,
    bits: u32,
    pub catalogs: Vec<SealedDigest>,
    kind: PhantomData<R>,
}

impl<R: Record> Run<R> {
    /// Writes records that come sorted by key, under a name of its own in `folder`.
    pub fn write(
        folder: &Path,
        homes: &[Home],
        catalogs: &[SealedDigest],
        count: u64,
        records: impl Iterator<Item = std::io::Result<R>>,
    ) -> std::io::Result<Self> {
        let path = folder.join("run");
        let partial = host::partial_of(&path);
        let mut out = BufWriter::with_capacity(256 << 10, host::create_private(&partial)?);
        let bits = bits_for(count);
        let mut buckets = vec![0u32; (1 << bits) + 1];
        let mut bytes = vec![0; R::LENGTH];
        for record in records {
            let record = record?;
            buckets[bucket(record.key(), bits) + 1] += 1;
            record.write(&mut bytes);
            out.write_all(&bytes)?;
        }
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        for (digest, number) in homes {
            out.write_all(digest)?;
            out.write_all(&number.to_le_bytes())?;
        }
        buckets.iter().try_for_each(|start| out.write_all(&start.to_le_bytes()))?;
        catalogs.iter().try_for_each(|catalog| out.write_all(catalog.as_bytes()))?;
        out.write_all(&count.to_le_bytes())?;
        for number in [homes.len() as u32, catalogs.len() as u32, bits, buckets[buckets.len() - 1]] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(R::MAGIC)?;
        let file = out.into_inner().map_err(|error| error.into_error())?;
        let path = partial.with_extension("index");
        std::fs::rename(&partial, &path)?;
        let buckets_end = count;
        debug_assert_eq!(u64::from(buckets[buckets.len() - 1]), buckets_end);
        let (homes, catalogs) = (homes.to_vec(), catalogs.to_vec());
        Ok(Self { path, file, count, homes, buckets, bits, catalogs, kind: PhantomData })
    }

    /// Opens a run; `None` for anything that is not a whole one.
    pub fn open(path: &Path) -> std::io::Result<Option<Self>> {
        let mut file = File::open(path)?;
        let size = file.metadata()?.len();
        let Some(footer_at) = size.checked_sub(FOOTER as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at)?;
        let word = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().expect("BUG: four bytes"));
        let count = u64::from_le_bytes(footer[..8].try_into().expect("BUG: eight bytes"));
        let (home_count, catalog_count, bits, total) = (word(8) as u64, word(12) as u64, word(16), word(20));
        let plausible = &footer[24..] == R::MAGIC && bits <= 24 && u64::from(total) == count;
        let tables = plausible.then(|| home_count * HOME as u64 + ((1u64 << bits) + 1) * 4 + catalog_count * 32);
        let Some(tables) = tables.filter(|tables| count * R::LENGTH as u64 + tables + FOOTER as u64 == size) else {
            return Ok(None);
        };
        let mut bytes = vec![0; tables as usize];
        file.seek(SeekFrom::Start(count * R::LENGTH as u64))?;
        file.read_exact(&mut bytes)?;
        let (home_bytes, rest) = bytes.split_at(home_count as usize * HOME);
        let (bucket_bytes, catalog_bytes) = rest.split_at(((1 << bits) + 1) * 4);
        let homes = home_bytes.chunks_exact(HOME).map(|home| {
            let (digest, number) = home.split_at(32);
            let number = u64::from_le_bytes(number.try_into().expect("BUG: eight bytes"));
            (digest.try_into().expect("BUG: 32 bytes"), number)
        });
        let buckets =
            bucket_bytes.chunks_exact(4).map(|start| u32::from_le_bytes(start.try_into().expect("BUG: four bytes")));
        let catalogs = catalog_bytes.chunks_exact(32).map(digest).collect();
        Ok(Some(Self {
            path: path.to_owned(),
            count,
            homes: homes.collect(),
            buckets: buckets.collect(),
            bits,
            catalogs,
            file,
            kind: PhantomData,
        }))
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn home(&self, number: u32) -> Home {
        self.homes[number as usize]
    }

    pub fn homes(&self) -> &[Home] {
        &self.homes
    }

    /// Every record with the key. One read of a few kilobytes.
    pub fn find(&self, wanted: &[u8]) -> std::io::Result<Vec<R>> {
        let bucket = bucket(wanted, self.bits);
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        if start >= end {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; (end - start) * R::LENGTH];
        self.file.read_exact_at(&mut bytes, (start * R::LENGTH) as u64)?;
        let found = bytes.chunks_exact(R::LENGTH).filter(|record| record.starts_with(wanted));
        Ok(found.map(R::read).filter(|record| (record.home() as usize) < self.homes.len()).collect())
    }

    /// Every record, in order.
    pub fn records(&self) -> std::io::Result<impl Iterator<Item = std::io::Result<R>> + use<R>> {
        let mut reader = BufReader::with_capacity(64 << 10, File::open(&self.path)?);
        let mut bytes = vec![0; R::LENGTH];
        Ok((0..self.count).map(move |_| {
            reader.read_exact(&mut bytes)?;
            Ok(R::read(&bytes))
        }))
    }

    /// Merges runs into one, in constant memory.
    pub fn merge(folder: &Path, runs: &[Self]) -> std::io::Result<Self> {
        let mut numbers = BTreeMap::new();
        let mut homes = Vec::new();
        for home in runs.iter().flat_map(|run| &run.homes) {
            numbers.entry(*home).or_insert_with(|| {
                homes.push(*home);
                homes.len() as u32 - 1
            });
        }
        let catalogs: Vec<_> = runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect();
        let mut inputs = Vec::new();
        for run in runs {
            let table: Vec<u32> = run.homes.iter().map(|home| numbers[home]).collect();
            let renumbered = run.records()?.map(move |record| {
                record.map(|record| record.with_home(table.get(record.home() as usize).copied().unwrap_or(0)))
            });
            inputs.push(renumbered.peekable());
        }
        let count = runs.iter().map(Run::len).sum();
        let merged = std::iter::from_fn(move || {
            let mut least: Option<(usize, R)> = None;
            for (at, input) in inputs.iter_mut().enumerate() {
                match input.peek() {
                    Some(Ok(record)) if least.is_none_or(|(_, least)| record.key() < least.key()) => {
                        least = Some((at, *record));
                    }
                    Some(Err(_)) => return input.next(),
                    _ => {}
                }
            }
            let (at, _) = least?;
            inputs[at].next()
        });
        Self::write(folder, &homes, &catalogs, count, merged)
    }
}

fn digest(bytes: &[u8]) -> SealedDigest {
    SealedDigest::from_bytes(bytes[..32].try_into().expect("BUG: 32 bytes"))
}

/// About 32 records to a bucket.
fn bits_for(count: u64) -> u32 {
    (count / 32).max(1).ilog2().min(24)
}

fn bucket(key: &[u8], bits: u32) -> usize {
    let lead = u32::from_be_bytes(key[..4].try_into().expect("BUG: four bytes"));
    (u64::from(lead) >> (32 - bits)) as usize
}
