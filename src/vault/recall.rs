//! What this host remembers of the last capture of each source: the listing with what recognises a file unchanged.
//!
//! A memory is used only while the snapshot it belongs to is in the vault, with every catalog and every pack there was
//! then: what it vouches for is then there too. Packs that were gone already are not missed: nothing of that capture
//! relied on them.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::capture::{Fingerprint, Known, Recall};
use crate::base::chunk::sealed_digest;
use crate::base::database::Database;
use crate::base::id::{SealedDigest, SnapshotId};
use crate::base::name::{Name, ObjectKey};
use crate::base::path::EntryPath;
use crate::format::listing::MAX_LINE;
use crate::vault::error::VaultError;
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
}

/// What a backup knew of the vault when it ended.
#[derive(Clone, Copy)]
pub struct Vouched<'k> {
    pub catalogs: &'k [SealedDigest],
    /// Packs that catalogs name and that were not there, or not to be relied on.
    pub absent: &'k HashSet<SealedDigest>,
}

/// What a source had when it was last captured: the measure of progress.
#[derive(Clone, Copy, Debug, Default)]
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
    /// The snapshot it was in.
    pub manifest: Option<String>,
    pub snapshot: Option<SnapshotId>,
    pub(super) pages: PageMemory,
}

/// No memory: everything is read.
pub fn nothing() -> Remembered {
    Remembered {
        recall: Box::new(std::iter::empty()),
        extent: Extent::default(),
        databases: Vec::new(),
        manifest: None,
        snapshot: None,
        pages: PageMemory::open(None),
    }
}

/// The place of one source's memory.
#[derive(Clone)]
pub struct Place {
    folder: PathBuf,
    stem: String,
}

impl Place {
    pub fn new(folder: PathBuf, app: &Name, source: &Name, root: &str) -> Self {
        let stem = sealed_digest(format!("{app}\n{source}\n{root}").as_bytes()).to_hex()[..32].to_owned();
        Self { folder, stem }
    }

    fn memory_file(&self) -> PathBuf {
        self.folder.join(format!("{}.json", self.stem))
    }

    /// The pages of the last capture's databases, whether the vault still has them or not.
    pub fn pages(&self) -> Option<PageMemory> {
        let memory = fs::read(self.memory_file()).ok()?;
        let pages = serde_json::from_slice::<Memory>(&memory).ok()?.pages?;
        Some(PageMemory::open(Some(&self.folder.join(pages))))
    }

    /// The last capture, if it can be relied on. If not, what it had to say of the source, as long as the snapshot is
    /// there: what was lost since is lost all the same.
    pub fn recall(
        &self,
        manifests: &[ObjectKey],
        catalogs: &[SealedDigest],
        absent: &HashSet<SealedDigest>,
    ) -> Remembered {
        let memory = fs::read(self.memory_file()).ok().and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).ok());
        let Some(memory) = memory else { return nothing() };
        let committed = manifests.iter().any(|key| key.as_str() == memory.manifest);
        let catalogs: HashSet<_> = catalogs.iter().collect();
        let records = File::open(self.folder.join(&memory.records));
        let known: HashSet<_> = memory.absent.iter().collect();
        let lost = absent.iter().any(|pack| !known.contains(pack));
        if !committed {
            return nothing();
        }
        let known = Remembered {
            extent: Extent { bytes: memory.bytes, entries: memory.entries, files: memory.files },
            databases: memory.databases,
            manifest: Some(memory.manifest),
            snapshot: memory.snapshot,
            ..nothing()
        };
        let all_there = !lost && memory.catalogs.iter().all(|c| catalogs.contains(c));
        let Ok(records) = records else { return known };
        if !all_there {
            // What looks unchanged may be what is lost: everything is read again, and stored where it has to be.
            return known;
        }
        let reader = BufReader::with_capacity(256 << 10, records);
        let pages = PageMemory::open(memory.pages.map(|pages| self.folder.join(pages)).as_deref());
        Remembered { recall: Box::new(Records(reader)), pages, ..known }
    }

    pub fn writer(&self) -> Result<RecallWriter, VaultError> {
        let path = host::partial_of(&self.folder.join(&self.stem));
        let file = host::create_private(&path).map_err(VaultError::host(&path))?;
        let (place, out) = (self.clone(), BufWriter::with_capacity(256 << 10, file));
        let pages = PageMemoryWriter::new(path.with_extension("pages.partial"));
        Ok(RecallWriter { place, out, path, pages, kept: false })
    }
}

struct Records(BufReader<File>);

/// What a record has.
const FINGERPRINT: u8 = 1;
const DATABASE: u8 = 2;

impl Iterator for Records {
    type Item = Known;

    /// Ends at whatever cannot be read: what is not recalled is read again.
    fn next(&mut self) -> Option<Known> {
        let mut head = [0; 4 + 4 + 1 + 32];
        self.0.read_exact(&mut head).ok()?;
        let length = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("BUG: four bytes")) as usize;
        let number = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("BUG: eight bytes"));
        let (path_length, line_length) = (length(0), length(4));
        if path_length > MAX_LINE || line_length > MAX_LINE {
            return None;
        }
        let mut path = vec![0; path_length];
        self.0.read_exact(&mut path).ok()?;
        let mut line = vec![0; line_length];
        self.0.read_exact(&mut line).ok()?;
        let fingerprint = (head[8] & FINGERPRINT != 0).then(|| Fingerprint {
            size: number(9),
            inode: number(17),
            mtime: number(25) as i64,
            ctime: number(33) as i64,
        });
        let database = head[8] & DATABASE != 0;
        Some(Known { path: EntryPath::from_bytes(&path).ok()?, fingerprint, database, line })
    }
}

/// Writes the memory of a capture beside the last one, which stays valid until this one is kept.
pub struct RecallWriter {
    place: Place,
    out: BufWriter<File>,
    path: PathBuf,
    pub(super) pages: PageMemoryWriter,
    kept: bool,
}

impl RecallWriter {
    pub fn push(
        &mut self,
        path: &EntryPath,
        fingerprint: Option<Fingerprint>,
        database: bool,
        line: &[u8],
    ) -> Result<(), VaultError> {
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
        let write = self
            .out
            .write_all(&head)
            .and_then(|()| self.out.write_all(path.as_bytes()))
            .and_then(|()| self.out.write_all(line));
        write.map_err(VaultError::host(&self.path))
    }

    /// The snapshot is committed: this is what is recalled next time.
    pub fn keep(
        mut self,
        (manifest, snapshot): (&ObjectKey, SnapshotId),
        known: Vouched<'_>,
        extent: Extent,
        databases: Vec<Database>,
    ) -> Result<(), VaultError> {
        self.out.flush().map_err(VaultError::host(&self.path))?;
        let records = self.path.with_extension("records");
        fs::rename(&self.path, &records).map_err(VaultError::host(&records))?;
        self.kept = true;
        let pages = match self.pages.finish()? {
            Some(partial) => {
                let pages = self.path.with_extension("pages");
                fs::rename(&partial, &pages).map_err(VaultError::host(&pages))?;
                Some(name_of(&pages))
            }
            None => None,
        };
        let name = name_of(&records);
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
        };
        host::replace(&self.place.memory_file(), &serde_json::to_vec(&memory).expect("BUG: plain fields"))?;
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
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
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
