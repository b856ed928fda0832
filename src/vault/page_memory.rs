//! What this host remembers of the pages of each database it captured last, page by page: a page that has not changed is
//! recognised by its number and digest, without a search.
//!
//! A file of sections, one a database, in path order, under digests. A section that does not read is no memory: then the
//! index of pages is asked. Never vouches for a chunk: whoever uses a place it tells looks whether the vault has it.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::base::id::PlainDigest;
use crate::base::path::EntryPath;
use crate::format::page::PageDigest;
use crate::vault::cache::CacheFolder;
use crate::vault::checked::{CheckedReader, CheckedWriter};
use crate::vault::host;
use crate::vault::page_index::Spot;

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
    input: Option<CheckedReader>,
    /// What it reads, to be dropped if it does not fit.
    file: Option<(CacheFolder, PathBuf)>,
    /// The section that comes next: its database and the size of its pages.
    next: Option<(EntryPath, u32)>,
}

impl PageMemory {
    pub fn open(file: Option<(&CacheFolder, &str)>) -> Self {
        let file = file.map(|(folder, name)| (folder.clone(), folder.path().join(name)));
        let input = file.as_ref().and_then(|(folder, path)| CheckedReader::open(path, folder.key()).ok());
        let mut memory = Self { input, file, next: None };
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
            Err(_) => self.end(),
        }
        None
    }

    fn advance(&mut self) {
        match self.input.as_mut().map(read_head).transpose() {
            Ok(next) => self.next = next.flatten(),
            Err(_) => self.end(),
        }
    }

    /// Whatever cannot be read takes everything behind it along.
    fn end(&mut self) {
        (self.input, self.next) = (None, None);
        self.file.take().iter().for_each(|(folder, path)| folder.dropped(path));
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

/// `None` at the end.
fn read_head(input: &mut CheckedReader) -> io::Result<Option<(EntryPath, u32)>> {
    let mut length = [0; 4];
    if input.read(&mut length[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut length[1..])?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST_PATH {
        return Err(bad());
    }
    let mut path = vec![0; length];
    input.read_exact(&mut path)?;
    Ok(Some((EntryPath::from_bytes(&path).map_err(|_| bad())?, number(input)?)))
}

fn read_run(input: &mut CheckedReader) -> io::Result<Option<PageRun>> {
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

/// Writes the sections of this capture. Where that cannot be done, nothing is remembered.
pub struct PageMemoryWriter {
    folder: CacheFolder,
    path: PathBuf,
    out: Option<CheckedWriter>,
    /// Something could not be written.
    failed: bool,
    /// The section begun last.
    last: Option<EntryPath>,
    kept: bool,
}

impl PageMemoryWriter {
    /// Nothing is written, and no file made, before there is a database.
    pub fn new(folder: CacheFolder, path: PathBuf) -> Self {
        Self { folder, path, out: None, failed: false, last: None, kept: false }
    }

    /// Begins a section. What is written stands under digests and cannot be taken back: with a database that is captured
    /// once more, nothing is remembered of this capture.
    pub fn begin(&mut self, path: &EntryPath, page_size: u32) {
        if self.last.as_ref() == Some(path) {
            (self.out, self.failed) = (None, true);
        }
        self.last = Some(path.clone());
        if self.out.is_none() && !self.failed {
            let made = self.folder.noted(host::create_private(&self.path));
            let name = self.path.with_extension("");
            let name = name.file_name().unwrap_or_default();
            self.out = made.map(|file| CheckedWriter::new(file, self.folder.key(), name));
            self.failed = self.out.is_none();
        }
        self.write(&(path.as_bytes().len() as u32).to_le_bytes());
        self.write(path.as_bytes());
        self.write(&page_size.to_le_bytes());
    }

    pub fn run(&mut self, run: &PageRun) {
        match &run.spot {
            None => {
                self.write(&[ZEROS]);
                self.write(&run.count.to_le_bytes());
            }
            Some(spot) => {
                self.write(&[IN_CHUNK]);
                self.write(spot.chunk.as_bytes());
                self.write(&(spot.offset as u32).to_le_bytes());
                self.write(&run.count.to_le_bytes());
                run.digests.iter().for_each(|digest| self.write(digest.as_bytes()));
            }
        }
    }

    pub fn end(&mut self) {
        self.write(&[END]);
    }

    fn write(&mut self, bytes: &[u8]) {
        let Some(out) = &mut self.out else { return };
        if self.folder.noted(out.write_all(bytes)).is_none() {
            (self.out, self.failed) = (None, true);
            let _ = std::fs::remove_file(&self.path);
        }
    }

    /// The file, if there was anything to remember. From now on it is the caller's to remove.
    pub fn finish(&mut self) -> Option<PathBuf> {
        let mut out = self.out.take()?;
        self.kept = self.folder.noted(out.finish()).is_some();
        if !self.kept {
            let _ = std::fs::remove_file(&self.path);
        }
        self.kept.then(|| self.path.clone())
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
    fn with_a_section_that_is_begun_again_nothing_is_remembered() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::of_test(folder.path());
        let path = |name: &str| EntryPath::from_bytes(name.as_bytes()).unwrap();
        let mut writer = PageMemoryWriter::new(cache, folder.path().join("one.pages.partial"));
        for (name, chunk) in [("a", 1), ("b", 2), ("b", 3), ("c", 4)] {
            writer.begin(&path(name), 4096);
            writer.run(&run(chunk, 2));
            writer.end();
        }
        assert!(writer.finish().is_none());
    }

    #[test]
    fn sections_read_back_in_order_and_what_is_behind_a_flipped_or_cut_off_byte_is_no_memory() {
        let folder = tempfile::tempdir().unwrap();
        let cache = CacheFolder::of_test(folder.path());
        let path = |name: &str| EntryPath::from_bytes(name.as_bytes()).unwrap();
        let mut writer = PageMemoryWriter::new(cache.clone(), folder.path().join("one.pages.partial"));
        let zeros = PageRun { spot: None, count: 9, digests: Vec::new() };
        for (name, runs) in [("a", vec![run(1, 3), zeros.clone()]), ("b", vec![]), ("c/d", vec![zeros, run(2, 1)])] {
            writer.begin(&path(name), 4096);
            runs.iter().for_each(|run| writer.run(run));
            writer.end();
        }
        let file = folder.path().join("one.pages");
        std::fs::rename(writer.finish().unwrap(), &file).unwrap();
        let open = || PageMemory::open(Some((&cache, "one.pages")));
        let mut memory = open();
        assert!(memory.find(&path("a"), 4096));
        assert_eq!(memory.run(), Some(run(1, 3)));
        assert!(!memory.find(&path("bb"), 4096));
        assert!(memory.find(&path("c/d"), 4096));
        assert_eq!(memory.run().map(|run| run.count), Some(9));
        assert_eq!((memory.run(), memory.run()), (Some(run(2, 1)), None));
        assert!(!open().find(&path("c/d"), 512));
        let stored = std::fs::read(&file).unwrap();
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            for harmed in [&flipped[..], &stored[..at]] {
                std::fs::write(&file, harmed).unwrap();
                assert!(!open().find(&path("a"), 4096), "{at}");
                assert!(!file.exists(), "it stays, and is damaged the next time as well");
            }
        }
    }
}
