//! What this host remembers of the last capture of each source: the listing with what recognises a file unchanged.
//!
//! A memory is used only while the snapshot it belongs to is in the vault, with every catalog and every pack there was
//! then: what it vouches for is then there too. Packs that were gone already are not missed: nothing of that capture
//! relied on them. Its files stand under digests: what does not fit is not remembered, and read again.

use std::collections::HashSet;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::capture::{Fingerprint, Known, Recall};
use crate::base::chunk::sealed_digest;
use crate::base::database::Database;
use crate::base::id::{SealedDigest, SnapshotId};
use crate::base::name::{Name, ObjectKey};
use crate::base::path::EntryPath;
use crate::format::listing::MAX_LINE;
use crate::vault::cache::CacheFolder;
use crate::vault::checked::{CheckedReader, CheckedWriter};
use crate::vault::host;
use crate::vault::page_memory::{PageMemory, PageMemoryWriter};

/// The small file that makes a memory valid; written last.
#[derive(Serialize, Deserialize)]
struct Memory {
    records: String,
    manifest: String,
    /// The id of that snapshot.
    #[serde(default)]
    snapshot: Option<SnapshotId>,
    catalogs: Vec<SealedDigest>,
    #[serde(default)]
    absent: Vec<SealedDigest>,
    bytes: u64,
    entries: u64,
    #[serde(default)]
    files: u64,
    /// Beside the records: the pages of the databases among them.
    #[serde(default)]
    pages: Option<String>,
    #[serde(default)]
    databases: Vec<Database>,
    /// What the last backup found, where this is a capture that was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    measure: Option<Measure>,
}

/// What a backup found, by which the next one tells what was lost. A safety snapshot is no measure: it holds what was harmed.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Measure {
    /// The snapshot it was in.
    pub manifest: Option<String>,
    pub snapshot: Option<SnapshotId>,
    pub extent: Extent,
    pub databases: Vec<Database>,
}

impl Memory {
    fn measure(&self) -> Measure {
        let Self { bytes, entries, files, ref databases, snapshot, .. } = *self;
        let extent = Extent { bytes, entries, files };
        let own = || Measure { manifest: Some(self.manifest.clone()), snapshot, extent, databases: databases.clone() };
        self.measure.clone().unwrap_or_else(own)
    }
}

/// What a backup knew of the vault when it ended.
#[derive(Clone, Copy)]
pub struct Vouched<'k> {
    pub catalogs: &'k [SealedDigest],
    /// Packs that catalogs name and that were not there, or not to be relied on.
    pub absent: &'k HashSet<SealedDigest>,
}

/// What a source had when it was last captured: the measure of progress.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Extent {
    pub bytes: u64,
    pub entries: u64,
    pub files: u64,
}

/// All that is remembered of a source.
pub struct Remembered {
    pub recall: Recall,
    pub extent: Extent,
    pub databases: Vec<Database>,
    pub measure: Measure,
    pub(super) pages: PageMemory,
}

/// No memory: everything is read.
pub fn nothing() -> Remembered {
    Remembered {
        recall: Box::new(std::iter::empty()),
        extent: Extent::default(),
        databases: Vec::new(),
        measure: Measure::default(),
        pages: PageMemory::open(None),
    }
}

/// The place of one source's memory.
#[derive(Clone)]
pub struct Place {
    folder: CacheFolder,
    stem: String,
}

impl Place {
    pub(super) fn new(folder: CacheFolder, app: &Name, source: &Name, root: &str) -> Self {
        let stem = sealed_digest(format!("{app}\n{source}\n{root}").as_bytes()).to_hex()[..32].to_owned();
        Self { folder, stem }
    }

    fn memory_file(&self) -> String {
        format!("{}.json", self.stem)
    }

    fn memory(&self) -> Option<Memory> {
        serde_json::from_slice(&self.folder.read(&self.memory_file())?).ok()
    }

    /// The pages of the last capture's databases, whether the vault still has them or not.
    pub fn pages(&self) -> Option<PageMemory> {
        Some(PageMemory::open(Some((&self.folder, &self.memory()?.pages?))))
    }

    /// The last capture, if it can be relied on. If not, what it had to say of the source, as long as the snapshot is
    /// there: what was lost since is lost all the same.
    pub fn recall(
        &self,
        manifests: &[ObjectKey],
        catalogs: &[SealedDigest],
        absent: &HashSet<SealedDigest>,
    ) -> Remembered {
        let Some(memory) = self.memory() else { return nothing() };
        let is_there = |manifest: &String| manifests.iter().any(|key| key.as_str() == manifest);
        let measure = Some(memory.measure()).filter(|measure| measure.manifest.as_ref().is_some_and(is_there));
        let measure = measure.unwrap_or_default();
        let catalogs: HashSet<_> = catalogs.iter().collect();
        let path = self.folder.path().join(&memory.records);
        let records = CheckedReader::open(&path, self.folder.key());
        let known: HashSet<_> = memory.absent.iter().collect();
        let lost = absent.iter().any(|pack| !known.contains(pack));
        if !is_there(&memory.manifest) {
            return Remembered { measure, ..nothing() };
        }
        let extent = Extent { bytes: memory.bytes, entries: memory.entries, files: memory.files };
        let known = Remembered { extent, databases: memory.databases, measure, ..nothing() };
        let all_there = !lost && memory.catalogs.iter().all(|c| catalogs.contains(c));
        let Ok(reader) = records else { return known };
        if !all_there {
            // What looks unchanged may be what is lost: everything is read again, and stored where it has to be.
            return known;
        }
        let pages = PageMemory::open(memory.pages.as_deref().map(|pages| (&self.folder, pages)));
        let records = Records { reader, folder: self.folder.clone(), path };
        Remembered { recall: Box::new(records), pages, ..known }
    }

    pub fn writer(&self) -> RecallWriter {
        let path = host::partial_of(&self.folder.path().join(&self.stem));
        let made = if self.folder.make() { self.folder.noted(host::create_private(&path)) } else { None };
        let name = path.with_extension("records");
        let out = made.map(|file| CheckedWriter::new(file, self.folder.key(), name.file_name().unwrap_or_default()));
        let pages = PageMemoryWriter::new(self.folder.clone(), path.with_extension("pages.partial"));
        RecallWriter { place: self.clone(), out, path, pages, kept: false }
    }
}

struct Records {
    reader: CheckedReader,
    folder: CacheFolder,
    path: PathBuf,
}

/// What a record has.
const FINGERPRINT: u8 = 1;
const DATABASE: u8 = 2;

impl Iterator for Records {
    type Item = Known;

    /// Ends at whatever cannot be read: what is not recalled is read again.
    fn next(&mut self) -> Option<Known> {
        match read_record(&mut self.reader) {
            Ok(known) => known,
            Err(_) => {
                self.folder.dropped(&self.path);
                None
            }
        }
    }
}

/// `None` at the end.
pub(super) fn read_record(input: &mut impl Read) -> io::Result<Option<Known>> {
    let mut head = [0; 4 + 4 + 1 + 32];
    if input.read(&mut head[..1])? == 0 {
        return Ok(None);
    }
    input.read_exact(&mut head[1..])?;
    let length = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("BUG: four bytes")) as usize;
    let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("BUG: eight bytes"));
    let (path_length, line_length) = (length(0), length(4));
    if path_length > MAX_LINE || line_length > MAX_LINE {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut path = vec![0; path_length];
    input.read_exact(&mut path)?;
    let mut line = vec![0; line_length];
    input.read_exact(&mut line)?;
    let fingerprint = (head[8] & FINGERPRINT != 0).then(|| Fingerprint {
        size: number(9),
        inode: number(17),
        mtime: number(25) as i64,
        ctime: number(33) as i64,
    });
    let database = head[8] & DATABASE != 0;
    let path = EntryPath::from_bytes(&path).map_err(|_| io::ErrorKind::InvalidData)?;
    Ok(Some(Known { path, fingerprint, database, line }))
}

/// The snapshot that something was captured for.
#[derive(Clone, Copy)]
pub struct Kept<'k> {
    pub manifest: &'k ObjectKey,
    pub snapshot: SnapshotId,
    /// Not one that keeps live data safe while something is given back.
    pub is_backup: bool,
}

/// Writes the memory of a capture beside the last one, which stays valid until this one is kept.
pub struct RecallWriter {
    place: Place,
    /// None where nothing can be kept.
    out: Option<CheckedWriter>,
    path: PathBuf,
    pub(super) pages: PageMemoryWriter,
    kept: bool,
}

impl RecallWriter {
    pub fn push(&mut self, path: &EntryPath, fingerprint: Option<Fingerprint>, database: bool, line: &[u8]) {
        let Some(out) = &mut self.out else { return };
        let mut head = [0; 4 + 4 + 1 + 32];
        head[..4].copy_from_slice(&(path.as_bytes().len() as u32).to_le_bytes());
        head[4..8].copy_from_slice(&(line.len() as u32).to_le_bytes());
        if let Some(Fingerprint { size, inode, mtime, ctime }) = fingerprint {
            head[8] = FINGERPRINT;
            for (at, number) in [size, inode, mtime as u64, ctime as u64].into_iter().enumerate() {
                head[9 + 8 * at..17 + 8 * at].copy_from_slice(&number.to_le_bytes());
            }
        }
        if database {
            head[8] |= DATABASE;
        }
        let write =
            out.write_all(&head).and_then(|()| out.write_all(path.as_bytes())).and_then(|()| out.write_all(line));
        if self.place.folder.noted(write).is_none() {
            self.out = None;
        }
    }

    /// The snapshot is committed: this is what is recalled next time. Where it cannot be kept, the last one stays, which
    /// is as true as it was.
    pub fn keep(mut self, snapshot: Kept<'_>, known: Vouched<'_>, extent: Extent, databases: Vec<Database>) {
        let Some(mut out) = self.out.take() else { return };
        let kept = out.finish().and_then(|()| self.settle(snapshot, known, extent, databases));
        self.place.folder.clone().noted(kept);
    }

    fn settle(
        &mut self,
        Kept { manifest, snapshot, is_backup }: Kept<'_>,
        known: Vouched<'_>,
        extent: Extent,
        databases: Vec<Database>,
    ) -> io::Result<()> {
        let records = self.path.with_extension("records");
        fs::rename(&self.path, &records)?;
        self.kept = true;
        let pages = match self.pages.finish() {
            Some(partial) => {
                let pages = self.path.with_extension("pages");
                fs::rename(&partial, &pages)?;
                Some(name_of(&pages))
            }
            None => None,
        };
        let name = name_of(&records);
        let before = if is_backup { None } else { self.place.memory() };
        let memory = Memory {
            records: name.clone(),
            manifest: manifest.as_str().to_owned(),
            snapshot: Some(snapshot),
            catalogs: known.catalogs.to_vec(),
            absent: known.absent.iter().copied().collect(),
            bytes: extent.bytes,
            entries: extent.entries,
            files: extent.files,
            pages: pages.clone(),
            databases,
            measure: before.map(|before| before.measure()),
        };
        let text = serde_json::to_vec(&memory).expect("BUG: plain fields");
        self.place.folder.replace(&self.place.memory_file(), &text)?;
        self.place.remove_others(&[Some(name), pages]);
        Ok(())
    }
}

fn name_of(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

impl Place {
    fn remove_others(&self, current: &[Option<String>]) {
        let is_memory = |name: &str| name.ends_with(".records") || name.ends_with(".pages");
        let is_current = |name: &str| current.iter().flatten().any(|current| current == name);
        let mine = |name: &str| name.starts_with(&self.stem) && is_memory(name) && !is_current(name);
        for entry in fs::read_dir(self.folder.path()).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(mine) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }
}

impl Drop for RecallWriter {
    fn drop(&mut self) {
        if !self.kept {
            let _ = fs::remove_file(Path::new(&self.path));
        }
    }
}
