//! What this host remembers of the pages of each database it captured last, page by page: a page that has not changed is
//! recognised by its number and digest, without a search.
//!
//! A file of sections, one a database, in path order. A section that does not read is no memory: then the index of
//! pages is asked. Never vouches for a chunk: whoever uses a place it tells looks whether the vault has it.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use crate::base::id::PlainDigest;
use crate::base::path::EntryPath;
use crate::format::page::PageDigest;
use crate::vault::error::VaultError;
use crate::vault::host;
use crate::vault::page_index::Spot;

const BUFFER: usize = 256 << 10;
const LONGEST_PATH: usize = 1 << 20;
/// What follows in a section: its end, pages in a chunk, pages of zeros.
const END: u8 = 0;
const IN_CHUNK: u8 = 1;
const ZEROS: u8 = 2;

/// Pages one after the other, in one chunk, or of zeros where there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRun {
    pub spot: Option<Spot>,
    pub count: u32,
    /// One each, for those in a chunk.
    pub digests: Vec<PageDigest>,
}

/// Reads the sections of the last capture.
pub struct PageMemory {
    input: Option<BufReader<File>>,
    /// The section that comes next: its database and the size of its pages.
    next: Option<(EntryPath, u32)>,
}

impl PageMemory {
    pub fn open(file: Option<&Path>) -> Self {
        let input = file.and_then(|file| File::open(file).ok()).map(|file| BufReader::with_capacity(BUFFER, file));
        let mut memory = Self { input, next: None };
        memory.advance();
        memory
    }

    /// Goes to a database's section. Paths must ascend from call to call.
    pub fn find(&mut self, path: &EntryPath, page_size: u32) -> bool {
        while self.next.as_ref().is_some_and(|(next, _)| next < path) {
            self.run();
        }
        self.next.as_ref().is_some_and(|(next, size)| next == path && *size == page_size)
    }

    /// The size of a database's pages, where its section comes next.
    pub fn page_size(&mut self, path: &EntryPath) -> Option<u32> {
        self.find(path, 0);
        self.next.as_ref().filter(|(next, _)| next == path).map(|(_, size)| *size)
    }

    /// The next run of the section; none at its end, where the next section begins.
    pub fn run(&mut self) -> Option<PageRun> {
        self.next.as_ref()?;
        match self.input.as_mut().map(read_run)? {
            Ok(Some(run)) => return Some(run),
            Ok(None) => self.advance(),
            // Whatever cannot be read takes everything behind it along.
            Err(_) => (self.input, self.next) = (None, None),
        }
        None
    }

    fn advance(&mut self) {
        self.next = self.input.as_mut().and_then(|input| read_head(input).ok());
    }
}

fn number(input: &mut impl Read) -> io::Result<u32> {
    let mut bytes = [0; 4];
    input.read_exact(&mut bytes)?;
    Ok(u32::from_le_bytes(bytes))
}

fn bad() -> io::Error {
    io::ErrorKind::InvalidData.into()
}

fn read_head(input: &mut impl Read) -> io::Result<(EntryPath, u32)> {
    let length = number(input)? as usize;
    if length > LONGEST_PATH {
        return Err(bad());
    }
    let mut path = vec![0; length];
    input.read_exact(&mut path)?;
    Ok((EntryPath::from_bytes(&path).map_err(|_| bad())?, number(input)?))
}

fn read_run(input: &mut impl Read) -> io::Result<Option<PageRun>> {
    let mut kind = [0];
    input.read_exact(&mut kind)?;
    match kind[0] {
        END => Ok(None),
        ZEROS => Ok(Some(PageRun { spot: None, count: number(input)?, digests: Vec::new() })),
        IN_CHUNK => {
            let mut chunk = [0; 32];
            input.read_exact(&mut chunk)?;
            let spot = Spot { chunk: PlainDigest::from_bytes(chunk), offset: number(input)?.into() };
            let count = number(input)?;
            let mut digests = Vec::new();
            for _ in 0..count {
                let mut digest = [0; PageDigest::BYTES];
                input.read_exact(&mut digest)?;
                digests.push(PageDigest::from_bytes(digest));
            }
            Ok(Some(PageRun { spot: Some(spot), count, digests }))
        }
        _ => Err(bad()),
    }
}

/// Writes the sections of this capture.
pub struct PageMemoryWriter {
    path: PathBuf,
    out: Option<BufWriter<File>>,
    /// The section begun last, and where it begins.
    last: Option<(EntryPath, u64)>,
    kept: bool,
}

impl PageMemoryWriter {
    /// Nothing is written, and no file made, before there is a database.
    pub fn new(path: PathBuf) -> Self {
        Self { path, out: None, last: None, kept: false }
    }

    /// Begins a section. One of the database before, which is captured once more, is forgotten.
    pub fn begin(&mut self, path: &EntryPath, page_size: u32) -> Result<(), VaultError> {
        let failed = |error| VaultError::host(&self.path)(error);
        let out = match &mut self.out {
            Some(out) => out,
            empty => {
                let file = host::create_private(&self.path).map_err(failed)?;
                empty.insert(BufWriter::with_capacity(BUFFER, file))
            }
        };
        match &self.last {
            Some((last, start)) if last == path => {
                out.seek(SeekFrom::Start(*start)).and_then(|start| out.get_ref().set_len(start)).map_err(failed)?;
            }
            _ => self.last = Some((path.clone(), out.stream_position().map_err(failed)?)),
        }
        self.write(&(path.as_bytes().len() as u32).to_le_bytes())?;
        self.write(path.as_bytes())?;
        self.write(&page_size.to_le_bytes())
    }

    pub fn run(&mut self, run: &PageRun) -> Result<(), VaultError> {
        match &run.spot {
            None => {
                self.write(&[ZEROS])?;
                self.write(&run.count.to_le_bytes())
            }
            Some(spot) => {
                self.write(&[IN_CHUNK])?;
                self.write(spot.chunk.as_bytes())?;
                self.write(&(spot.offset as u32).to_le_bytes())?;
                self.write(&run.count.to_le_bytes())?;
                run.digests.iter().try_for_each(|digest| self.write(digest.as_bytes()))
            }
        }
    }

    pub fn end(&mut self) -> Result<(), VaultError> {
        self.write(&[END])
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), VaultError> {
        let out = self.out.as_mut().expect("BUG: a section has begun");
        out.write_all(bytes).map_err(VaultError::host(&self.path))
    }

    /// The file, if there was anything to remember. From now on it is the caller's to remove.
    pub fn finish(&mut self) -> Result<Option<PathBuf>, VaultError> {
        let Some(mut out) = self.out.take() else { return Ok(None) };
        out.flush().map_err(VaultError::host(&self.path))?;
        self.kept = true;
        Ok(Some(self.path.clone()))
    }
}

impl Drop for PageMemoryWriter {
    fn drop(&mut self) {
        if !self.kept && self.out.take().is_some() {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(chunk: u8, count: u32) -> PageRun {
        let spot = Spot { chunk: PlainDigest::from_bytes([chunk; 32]), offset: 4096 };
        PageRun { spot: Some(spot), count, digests: vec![PageDigest::from_bytes([chunk; 16]); count as usize] }
    }

    #[test]
    fn a_section_that_is_begun_again_replaces_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| EntryPath::from_bytes(name.as_bytes()).unwrap();
        let mut writer = PageMemoryWriter::new(folder.path().join("pages"));
        for (name, chunk) in [("a", 1), ("b", 2), ("b", 3), ("c", 4)] {
            writer.begin(&path(name), 4096).unwrap();
            writer.run(&run(chunk, 2)).unwrap();
            writer.end().unwrap();
        }
        let mut memory = PageMemory::open(Some(&writer.finish().unwrap().unwrap()));
        for (name, chunk) in [("a", 1), ("b", 3), ("c", 4)] {
            assert!(memory.find(&path(name), 4096));
            assert_eq!((memory.run(), memory.run()), (Some(run(chunk, 2)), None));
        }
    }

    #[test]
    fn sections_read_back_in_order_and_a_cut_one_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| EntryPath::from_bytes(name.as_bytes()).unwrap();
        let mut writer = PageMemoryWriter::new(folder.path().join("pages"));
        let zeros = PageRun { spot: None, count: 9, digests: Vec::new() };
        for (name, runs) in [("a", vec![run(1, 3), zeros.clone()]), ("b", vec![]), ("c/d", vec![zeros, run(2, 1)])] {
            writer.begin(&path(name), 4096).unwrap();
            runs.iter().for_each(|run| writer.run(run).unwrap());
            writer.end().unwrap();
        }
        let file = writer.finish().unwrap().unwrap();
        let mut memory = PageMemory::open(Some(&file));
        assert!(memory.find(&path("a"), 4096));
        assert_eq!(memory.run(), Some(run(1, 3)));
        assert!(!memory.find(&path("bb"), 4096));
        assert!(memory.find(&path("c/d"), 4096));
        assert_eq!(memory.run().map(|run| run.count), Some(9));
        assert_eq!((memory.run(), memory.run()), (Some(run(2, 1)), None));
        let length = file.metadata().unwrap().len();
        File::options().write(true).open(&file).unwrap().set_len(length - 20).unwrap();
        let mut memory = PageMemory::open(Some(&file));
        assert!(memory.find(&path("c/d"), 4096));
        memory.run().unwrap();
        assert_eq!(memory.run(), None);
        assert!(!PageMemory::open(Some(&file)).find(&path("c/d"), 512));
    }
}
