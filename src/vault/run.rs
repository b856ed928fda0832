//! One sorted run of an index: a file of this host's cache, read by position and never held whole; in memory where there is no
//! room for a file.
//!
//! Layout, little-endian: records sorted by key; a table of homes, which records name by number; a table of where each
//! leading-bits bucket begins; the catalogs the run was made of; a footer with all counts; the digest of all this. A run
//! is read through once when it is opened: one that does not fit its digest is not used.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Read, Write};
use std::marker::PhantomData;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::id::SealedDigest;
use crate::vault::cache::CacheFolder;
use crate::vault::checked::{CheckKey, DIGEST};
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

/// Where the bytes of a run are.
enum Body {
    File(File, PathBuf),
    Memory(Vec<u8>),
}

impl Body {
    fn read_exact_at(&self, to: &mut [u8], at: u64) -> std::io::Result<()> {
        match self {
            Self::File(file, _) => file.read_exact_at(to, at),
            Self::Memory(bytes) => {
                let found = bytes.get(at as usize..at as usize + to.len());
                to.copy_from_slice(found.ok_or(std::io::ErrorKind::UnexpectedEof)?);
                Ok(())
            }
        }
    }
}

/// An open run.
pub struct Run<R> {
    body: Body,
    tables: Tables,
    kind: PhantomData<R>,
}

/// What is held of a run.
struct Tables {
    count: u64,
    homes: Vec<Home>,
    /// First record of each bucket, and the end of the last.
    buckets: Vec<u32>,
    bits: u32,
    catalogs: Vec<SealedDigest>,
}

/// Digests what passes through.
struct Digesting<W> {
    out: W,
    hasher: blake3::Hasher,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

impl<R: Record> Run<R> {
    /// Writes records that come sorted by key, under a name of its own in `folder`.
    pub fn write(
        folder: &CacheFolder,
        homes: &[Home],
        catalogs: &[SealedDigest],
        count: u64,
        records: impl Iterator<Item = std::io::Result<R>>,
    ) -> std::io::Result<Self> {
        let partial = host::partial_of(&folder.path().join("run"));
        let path = partial.with_extension("index");
        let write = || {
            let out = BufWriter::with_capacity(256 << 10, host::create_private(&partial)?);
            let hasher = folder.key().hasher(path.file_name().unwrap_or_default());
            let mut out = Digesting { out, hasher };
            let tables = compose(&mut out, homes, catalogs, count, records)?;
            let (digest, mut out) = (out.hasher.finalize(), out.out);
            out.write_all(digest.as_bytes())?;
            let file = out.into_inner().map_err(|error| error.into_error())?;
            std::fs::rename(&partial, &path)?;
            Ok((file, tables))
        };
        let (file, tables) = write().inspect_err(|_: &std::io::Error| drop(std::fs::remove_file(&partial)))?;
        Ok(Self { body: Body::File(file, path), tables, kind: PhantomData })
    }

    /// The same without a file.
    pub fn in_memory(homes: &[Home], catalogs: &[SealedDigest], records: &[R]) -> Self {
        let mut bytes = Vec::with_capacity(records.len() * R::LENGTH);
        let count = records.len() as u64;
        let tables = compose(&mut bytes, homes, catalogs, count, records.iter().map(|record| Ok(*record)));
        bytes.truncate(records.len() * R::LENGTH);
        let tables = tables.expect("BUG: memory takes everything");
        Self { body: Body::Memory(bytes), tables, kind: PhantomData }
    }

    /// Opens a run; `None` for anything that is not a whole one, byte for byte.
    pub fn open(path: &Path, key: &CheckKey) -> std::io::Result<Option<Self>> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        let Some(footer_at) = size.checked_sub((FOOTER + DIGEST) as u64) else { return Ok(None) };
        let mut footer = [0; FOOTER];
        file.read_exact_at(&mut footer, footer_at)?;
        let word = |at: usize| u32::from_le_bytes(footer[at..at + 4].try_into().expect("BUG: four bytes"));
        let count = u64::from_le_bytes(footer[..8].try_into().expect("BUG: eight bytes"));
        let (home_count, catalog_count, bits, total) = (word(8) as u64, word(12) as u64, word(16), word(20));
        let plausible = &footer[24..] == R::MAGIC && bits <= 24 && u64::from(total) == count;
        let tables = plausible.then(|| home_count * HOME as u64 + ((1u64 << bits) + 1) * 4 + catalog_count * 32);
        let Some(tables) = tables.filter(|tables| count * R::LENGTH as u64 + tables == footer_at) else {
            return Ok(None);
        };
        if !fits(&file, footer_at + FOOTER as u64, key, path.file_name().unwrap_or_default())? {
            return Ok(None);
        }
        let mut bytes = vec![0; tables as usize];
        file.read_exact_at(&mut bytes, count * R::LENGTH as u64)?;
        let (home_bytes, rest) = bytes.split_at(home_count as usize * HOME);
        let (bucket_bytes, catalog_bytes) = rest.split_at(((1 << bits) + 1) * 4);
        let homes = home_bytes.chunks_exact(HOME).map(|home| {
            let (digest, number) = home.split_at(32);
            let number = u64::from_le_bytes(number.try_into().expect("BUG: eight bytes"));
            (digest.try_into().expect("BUG: 32 bytes"), number)
        });
        let buckets =
            bucket_bytes.chunks_exact(4).map(|start| u32::from_le_bytes(start.try_into().expect("BUG: four bytes")));
        let buckets: Vec<u32> = buckets.collect();
        if !buckets.is_sorted() || buckets.last() != Some(&total) {
            return Ok(None);
        }
        let catalogs = catalog_bytes.chunks_exact(32).map(digest).collect();
        let tables = Tables { count, homes: homes.collect(), buckets, bits, catalogs };
        Ok(Some(Self { body: Body::File(file, path.to_owned()), tables, kind: PhantomData }))
    }

    pub fn catalogs(&self) -> &[SealedDigest] {
        &self.tables.catalogs
    }

    pub fn len(&self) -> u64 {
        self.tables.count
    }

    /// Its file, if it is in one.
    pub fn path(&self) -> Option<&Path> {
        match &self.body {
            Body::File(_, path) => Some(path),
            Body::Memory(_) => None,
        }
    }

    pub fn home(&self, number: u32) -> Home {
        self.tables.homes[number as usize]
    }

    pub fn homes(&self) -> &[Home] {
        &self.tables.homes
    }

    /// Every record with the key. One read of a few kilobytes.
    pub fn find(&self, wanted: &[u8]) -> std::io::Result<Vec<R>> {
        let Tables { bits, buckets, homes, .. } = &self.tables;
        let bucket = bucket(wanted, *bits);
        let (start, end) = (buckets[bucket] as usize, buckets[bucket + 1] as usize);
        if start >= end {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; (end - start) * R::LENGTH];
        self.body.read_exact_at(&mut bytes, (start * R::LENGTH) as u64)?;
        let found = bytes.chunks_exact(R::LENGTH).filter(|record| record.starts_with(wanted));
        Ok(found.map(R::read).filter(|record| (record.home() as usize) < homes.len()).collect())
    }

    /// Every record, in order.
    pub fn records(&self) -> std::io::Result<impl Iterator<Item = std::io::Result<R>> + use<R>> {
        let input: Box<dyn Read> = match &self.body {
            Body::File(_, path) => Box::new(File::open(path)?),
            Body::Memory(bytes) => Box::new(Cursor::new(bytes.clone())),
        };
        let mut reader = BufReader::with_capacity(64 << 10, input);
        let mut bytes = vec![0; R::LENGTH];
        Ok((0..self.tables.count).map(move |_| {
            reader.read_exact(&mut bytes)?;
            Ok(R::read(&bytes))
        }))
    }

    /// Merges runs into one, in constant memory.
    pub fn merge(folder: &CacheFolder, runs: &[Self]) -> std::io::Result<Self> {
        let mut numbers = BTreeMap::new();
        let mut homes = Vec::new();
        for home in runs.iter().flat_map(|run| run.homes()) {
            numbers.entry(*home).or_insert_with(|| {
                homes.push(*home);
                homes.len() as u32 - 1
            });
        }
        let catalogs: Vec<_> = runs.iter().flat_map(|run| run.catalogs().iter().copied()).collect();
        let mut inputs = Vec::new();
        for run in runs {
            let table: Vec<u32> = run.homes().iter().map(|home| numbers[home]).collect();
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

/// Writes everything but the digest.
fn compose<R: Record>(
    out: &mut impl Write,
    homes: &[Home],
    catalogs: &[SealedDigest],
    count: u64,
    records: impl Iterator<Item = std::io::Result<R>>,
) -> std::io::Result<Tables> {
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
    debug_assert_eq!(u64::from(buckets[buckets.len() - 1]), count);
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
    Ok(Tables { count, homes: homes.to_vec(), buckets, bits, catalogs: catalogs.to_vec() })
}

/// Are the first `length` bytes those that the digest behind them is of?
fn fits(file: &File, length: u64, key: &CheckKey, name: &OsStr) -> std::io::Result<bool> {
    let mut hasher = key.hasher(name);
    let (mut buffer, mut at) = (vec![0; length.min(256 << 10) as usize], 0);
    while at < length {
        let part = (length - at).min(buffer.len() as u64) as usize;
        file.read_exact_at(&mut buffer[..part], at)?;
        hasher.update(&buffer[..part]);
        at += part as u64;
    }
    let mut digest = [0; DIGEST];
    file.read_exact_at(&mut digest, length)?;
    Ok(hasher.finalize() == digest)
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
