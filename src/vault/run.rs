//! One sorted run of the chunk index: a file of this host's cache, read by position and never held whole.
//!
//! Layout, little-endian: records sorted by digest; a table of packs; a table of where each leading-bits bucket
//! begins; the catalogs the run was made of; a footer with all counts. A run that does not add up is not used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::base::id::{PlainDigest, SealedDigest};
use crate::format::catalog::Place;
use crate::vault::host;

const MAGIC: &[u8; 8] = b"SRrun\0\0\x01";
const RECORD: usize = 60;
const FOOTER: usize = 8 + 8 + 4 + 4 + 4 + 4;

/// Where a chunk lies, with its pack as a number in the run's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    pub digest: PlainDigest,
    pub pack: u32,
    pub place: Place,
}

impl Record {
    fn write(&self, out: &mut impl Write) -> std::io::Result<()> {
        let mut bytes = [0; RECORD];
        bytes[..32].copy_from_slice(self.digest.as_bytes());
        bytes[32..36].copy_from_slice(&self.pack.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.place.frame.to_le_bytes());
        for (at, field) in
            [self.place.stored, self.place.plain, self.place.offset, self.place.length].into_iter().enumerate()
        {
            bytes[44 + 4 * at..48 + 4 * at].copy_from_slice(&field.to_le_bytes());
        }
        out.write_all(&bytes)
    }

    fn read(bytes: &[u8]) -> Self {
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("BUG: four bytes"));
        let frame = u64::from_le_bytes(bytes[36..44].try_into().expect("BUG: eight bytes"));
        let place = Place { frame, stored: word(44), plain: word(48), offset: word(52), length: word(56) };
        Self { digest: PlainDigest::from_bytes(bytes[..32].try_into().expect("BUG: 32 bytes")), pack: word(32), place }
    }
}

/// An open run.
pub struct Run {
    path: PathBuf,
    file: File,
    count: u64,
    packs: Vec<(SealedDigest, u64)>,
    /// First record of each bucket, and the end of the last.
    buckets: Vec<u32>,
    bits: u32,
    pub catalogs: Vec<SealedDigest>,
}

impl Run {
    /// Writes records that come sorted by digest, under a name of its own in `folder`.
    pub fn write(
        folder: &Path,
        packs: &[(SealedDigest, u64)],
        catalogs: &[SealedDigest],
        count: u64,
        records: impl Iterator<Item = std::io::Result<Record>>,
    ) -> std::io::Result<Self> {
        let path = folder.join("run");
        let partial = host::partial_of(&path);
        let mut out = BufWriter::with_capacity(256 << 10, host::create_private(&partial)?);
        let bits = bits_for(count);
        let mut buckets = vec![0u32; (1 << bits) + 1];
        for record in records {
            let record = record?;
            buckets[bucket(&record.digest, bits) + 1] += 1;
            record.write(&mut out)?;
        }
        for at in 1..buckets.len() {
            buckets[at] += buckets[at - 1];
        }
        for (digest, size) in packs {
            out.write_all(digest.as_bytes())?;
            out.write_all(&size.to_le_bytes())?;
        }
        buckets.iter().try_for_each(|start| out.write_all(&start.to_le_bytes()))?;
        catalogs.iter().try_for_each(|catalog| out.write_all(catalog.as_bytes()))?;
        out.write_all(&count.to_le_bytes())?;
        for number in [packs.len() as u32, catalogs.len() as u32, bits, buckets[buckets.len() - 1]] {
            out.write_all(&number.to_le_bytes())?;
        }
        out.write_all(MAGIC)?;
        let file = out.into_inner().map_err(|error| error.into_error())?;
        let path = partial.with_extension("index");
        std::fs::rename(&partial, &path)?;
        let buckets_end = count;
        debug_assert_eq!(u64::from(buckets[buckets.len() - 1]), buckets_end);
        Ok(Self { path, file, count, packs: packs.to_vec(), buckets, bits, catalogs: catalogs.to_vec() })
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
        let (pack_count, catalog_count, bits, total) = (word(8) as u64, word(12) as u64, word(16), word(20));
        let plausible = &footer[24..] == MAGIC && bits <= 24 && u64::from(total) == count;
        let tables = plausible.then(|| pack_count * 40 + ((1u64 << bits) + 1) * 4 + catalog_count * 32);
        let Some(tables) = tables.filter(|tables| count * RECORD as u64 + tables + FOOTER as u64 == size) else {
            return Ok(None);
        };
        let mut bytes = vec![0; tables as usize];
        file.seek(SeekFrom::Start(count * RECORD as u64))?;
        file.read_exact(&mut bytes)?;
        let (pack_bytes, rest) = bytes.split_at(pack_count as usize * 40);
        let (bucket_bytes, catalog_bytes) = rest.split_at(((1 << bits) + 1) * 4);
        let packs = pack_bytes
            .chunks_exact(40)
            .map(|pack| (digest(pack), u64::from_le_bytes(pack[32..].try_into().expect("BUG: eight bytes"))));
        let buckets =
            bucket_bytes.chunks_exact(4).map(|start| u32::from_le_bytes(start.try_into().expect("BUG: four bytes")));
        let catalogs = catalog_bytes.chunks_exact(32).map(digest).collect();
        Ok(Some(Self {
            path: path.to_owned(),
            count,
            packs: packs.collect(),
            buckets: buckets.collect(),
            bits,
            catalogs,
            file,
        }))
    }

    pub fn len(&self) -> u64 {
        self.count
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn pack(&self, number: u32) -> (SealedDigest, u64) {
        self.packs[number as usize]
    }

    pub fn packs(&self) -> &[(SealedDigest, u64)] {
        &self.packs
    }

    /// Everywhere the chunk lies. One read of a few kilobytes.
    pub fn find(&self, wanted: &PlainDigest) -> std::io::Result<Vec<Record>> {
        let bucket = bucket(wanted, self.bits);
        let (start, end) = (self.buckets[bucket] as usize, self.buckets[bucket + 1] as usize);
        if start >= end {
            return Ok(Vec::new());
        }
        let mut bytes = vec![0; (end - start) * RECORD];
        self.file.read_exact_at(&mut bytes, (start * RECORD) as u64)?;
        let found = bytes.chunks_exact(RECORD).filter(|record| record[..32] == *wanted.as_bytes());
        Ok(found.map(Record::read).filter(|record| (record.pack as usize) < self.packs.len()).collect())
    }

    /// Every record, in order.
    pub fn records(&self) -> std::io::Result<impl Iterator<Item = std::io::Result<Record>> + use<>> {
        let mut reader = BufReader::with_capacity(64 << 10, File::open(&self.path)?);
        Ok((0..self.count).map(move |_| {
            let mut bytes = [0; RECORD];
            reader.read_exact(&mut bytes)?;
            Ok(Record::read(&bytes))
        }))
    }

    /// Merges runs into one, in constant memory.
    pub fn merge(folder: &Path, runs: &[Run]) -> std::io::Result<Self> {
        let mut numbers = BTreeMap::new();
        let mut packs = Vec::new();
        for pack in runs.iter().flat_map(|run| &run.packs) {
            numbers.entry(*pack).or_insert_with(|| {
                packs.push(*pack);
                packs.len() as u32 - 1
            });
        }
        let catalogs: Vec<_> = runs.iter().flat_map(|run| run.catalogs.iter().copied()).collect();
        let mut inputs = Vec::new();
        for run in runs {
            let table: Vec<u32> = run.packs.iter().map(|pack| numbers[pack]).collect();
            let renumbered = run.records()?.map(move |record| {
                record.map(|record| Record { pack: table.get(record.pack as usize).copied().unwrap_or(0), ..record })
            });
            inputs.push(renumbered.peekable());
        }
        let count = runs.iter().map(Run::len).sum();
        let merged = std::iter::from_fn(move || {
            let next = inputs.iter_mut().enumerate().filter_map(|(at, input)| match input.peek()? {
                Ok(record) => Some((record.digest, at)),
                Err(_) => Some((PlainDigest::from_bytes([0; 32]), at)),
            });
            let (_, at) = next.min()?;
            inputs[at].next()
        });
        Self::write(folder, &packs, &catalogs, count, merged)
    }
}

fn digest(bytes: &[u8]) -> SealedDigest {
    SealedDigest::from_bytes(bytes[..32].try_into().expect("BUG: 32 bytes"))
}

/// About 32 records to a bucket.
fn bits_for(count: u64) -> u32 {
    (count / 32).max(1).ilog2().min(24)
}

fn bucket(digest: &PlainDigest, bits: u32) -> usize {
    let lead = u32::from_be_bytes(digest.as_bytes()[..4].try_into().expect("BUG: four bytes"));
    (u64::from(lead) >> (32 - bits)) as usize
}
