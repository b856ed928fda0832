//! What changed: between two snapshots, or between a snapshot and what is there now.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;

use crate::base::capture::{Access, Capture, EntrySink, Fingerprint, Known, Piece, Rescan, Rows, Skip};
use crate::base::chunk::Lent;
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::entry::{Content, Entry, Extent, Kind};
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::format::listing;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::OpError;
use crate::ops::rows::ServerRows;
use crate::source::Source;
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::read::{self, ChunkReader, Library};
use crate::vault::unlocked::UnlockedVault;

/// What became of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Change {
    Added,
    Removed,
    /// Other bytes, or another kind of thing.
    Content,
    /// The same bytes under other permissions, owner, time or attributes, or as another name of another file.
    Metadata,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    pub path: EntryPath,
    pub change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_before: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size_after: Option<u64>,
}

type Each<'e> = dyn FnMut(Difference) -> Result<(), OpError> + 'e;

/// Hands over what changed from one snapshot's source to another's, in path order.
pub fn snapshots(
    unlocked: &UnlockedVault,
    before: &SourceRecord,
    after: &SourceRecord,
    each: &mut Each<'_>,
) -> Result<(), OpError> {
    let library = unlocked.library()?;
    if before.listing == after.listing {
        return Ok(());
    }
    let mut merge = Merge { before: sorted(before, &library), names: Names::new(before, &library), each };
    for entry in all(after, &library) {
        let entry = entry?;
        let first = |path: &EntryPath| content(after, path, &library);
        merge.after(&entry, &first)?;
    }
    merge.rest()
}

/// Hands over what changed from a snapshot's source to what is there now. Reads what does not look unchanged. `rows` takes
/// those of a server's tables while they pass by.
pub fn live(
    unlocked: &UnlockedVault,
    (manifest, before): (&Manifest, &SourceRecord),
    source: &dyn Source,
    (rescan, control): (bool, &Arc<Control>),
    each: &mut Each<'_>,
    rows: Option<&mut ServerRows<'_>>,
) -> Result<Vec<Skip>, OpError> {
    let library = unlocked.library()?;
    let vault = unlocked.vault();
    let recall = vault.recall(&manifest.app, &before.name, &source.memory())?;
    let cutter = Arc::new(vault.file_cutter());
    let merge = Merge { before: sorted(before, &library), names: Names::new(before, &library), each };
    let (unchanged, skipped) = (HashSet::new(), Vec::new());
    let mut sink = Comparison { merge, library: &library, unchanged, skipped, rows, line: Vec::new() };
    let rescan = if rescan { Rescan::Everything } else { Rescan::Nothing };
    let capture = Capture { cutter, recall, control: control.clone(), rescan, check: false, own: vault.own_places() };
    source.capture(capture, &mut sink)?;
    sink.merge.rest()?;
    Ok(sink.skipped)
}

fn all<'r>(source: &SourceRecord, library: &'r Library<'r>) -> read::Entries<'r> {
    read::entries(&source.listing, &EntryPath::root(), library)
}

type Sorted<'m> = std::iter::Peekable<Box<dyn Iterator<Item = Result<Entry, VaultError>> + 'm>>;

fn sorted<'r>(source: &SourceRecord, library: &'r Library<'r>) -> Sorted<'r> {
    let entries: Box<dyn Iterator<Item = Result<Entry, VaultError>>> = Box::new(all(source, library));
    entries.peekable()
}

/// What the name of a file leads to: how long it is, and its bytes.
type Held = (u64, Content);

/// What the entry at a path of a snapshot holds.
fn content(source: &SourceRecord, path: &EntryPath, library: &Library<'_>) -> Result<Option<Held>, OpError> {
    let first = read::entries(&source.listing, path, library).next().transpose()?;
    Ok(first.filter(|entry| entry.path == *path).map(|entry| (entry.size, entry.content)))
}

/// The content of so many new and changed files is remembered, to tell what is only another name of one.
const REMEMBERED: usize = 30_000;

/// Files that others may be further names of.
struct Names<'m> {
    before: &'m SourceRecord,
    library: &'m Library<'m>,
    /// New and changed ones, of what is there now.
    now: HashMap<EntryPath, Held>,
}

impl<'m> Names<'m> {
    fn new(before: &'m SourceRecord, library: &'m Library<'m>) -> Self {
        Self { before, library, now: HashMap::new() }
    }

    fn remember(&mut self, entry: &Entry) {
        if entry.kind == Kind::File && entry.link.is_none() && self.now.len() < REMEMBERED {
            self.now.insert(entry.path.clone(), (entry.size, entry.content.clone()));
        }
    }

    fn before(&self, path: &EntryPath) -> Result<Option<Held>, OpError> {
        content(self.before, path, self.library)
    }

    /// What the first name of a file holds now: what is not among the changed ones is as it was.
    fn now(&self, path: &EntryPath) -> Result<Option<Held>, OpError> {
        match self.now.get(path) {
            Some(held) => Ok(Some(held.clone())),
            None if self.now.len() < REMEMBERED => self.before(path),
            None => Ok(None),
        }
    }
}

type First<'f> = dyn Fn(&EntryPath) -> Result<Option<Held>, OpError> + 'f;

/// Two listings side by side, both sorted by path.
struct Merge<'m, 'e> {
    before: Sorted<'m>,
    names: Names<'m>,
    each: &'m mut Each<'e>,
}

impl Merge<'_, '_> {
    /// The entry that is there now.
    fn live(&mut self, now: &Entry) -> Result<(), OpError> {
        // Taken out, since it is asked while the others are told.
        let none = Names::new(self.names.before, self.names.library);
        let mut names = std::mem::replace(&mut self.names, none);
        let changed = self.after(now, &|path| names.now(path));
        if changed.as_ref().is_ok_and(|changed| *changed) {
            names.remember(now);
        }
        self.names = names;
        changed.map(drop)
    }

    /// Tells what became of an entry. `first` knows what the first name of a file holds. Has its content changed, or is it
    /// new?
    fn after(&mut self, after: &Entry, first: &First<'_>) -> Result<bool, OpError> {
        self.up_to(&after.path)?;
        let same_path = |next: &Result<Entry, VaultError>| next.as_ref().is_ok_and(|next| next.path == after.path);
        match self.before.next_if(same_path).transpose()? {
            None => self.tell(Change::Added, None, Some(after)).map(|()| true),
            Some(before) => {
                let change = match compare(&before, after) {
                    Some(Change::Content) if before.link != after.link => self.relinked(&before, after, first)?,
                    change => change,
                };
                if let Some(change) = change {
                    self.tell(change, Some(&before), Some(after))?;
                }
                Ok(change == Some(Change::Content))
            }
        }
    }

    /// What became of a file that is another name of another file than before, or of none any more.
    fn relinked(&self, before: &Entry, after: &Entry, first: &First<'_>) -> Result<Option<Change>, OpError> {
        let held = |entry: &Entry, first: &First<'_>| match &entry.link {
            Some(path) => first(path),
            None => Ok(Some((entry.size, entry.content.clone()))),
        };
        let (was, is) = (held(before, &|path| self.names.before(path))?, held(after, first)?);
        let same = was.is_some() && was == is && before.kind == Kind::File && after.kind == Kind::File;
        Ok(Some(if same { Change::Metadata } else { Change::Content }))
    }

    /// What was there before `path`, and is not there any more.
    fn up_to(&mut self, path: &EntryPath) -> Result<(), OpError> {
        while let Some(next) = self.before.next_if(|next| next.as_ref().map_or(true, |next| next.path < *path)) {
            self.tell(Change::Removed, Some(&next?), None)?;
        }
        Ok(())
    }

    /// The entry that a path had.
    fn before(&mut self, path: &EntryPath) -> Result<Option<Entry>, OpError> {
        self.up_to(path)?;
        Ok(self.before.peek().and_then(|next| next.as_ref().ok()).filter(|next| next.path == *path).cloned())
    }

    fn rest(&mut self) -> Result<(), OpError> {
        while let Some(before) = self.before.next() {
            self.tell(Change::Removed, Some(&before?), None)?;
        }
        Ok(())
    }

    fn tell(&mut self, change: Change, before: Option<&Entry>, after: Option<&Entry>) -> Result<(), OpError> {
        let path = before.or(after).expect("BUG: one of them is there").path.clone();
        let size = |entry: &Entry| (entry.kind == Kind::File).then_some(entry.size);
        (self.each)(Difference { path, change, size_before: before.and_then(size), size_after: after.and_then(size) })
    }
}

fn compare(before: &Entry, after: &Entry) -> Option<Change> {
    let same_thing = before.kind == after.kind
        && before.size == after.size
        && before.content == after.content
        && before.target == after.target
        && before.device == after.device
        && before.link == after.link;
    if !same_thing {
        return Some(Change::Content);
    }
    // A folder's time says only that something in it changed, which is told of that something.
    let same_time = before.mtime == after.mtime || before.kind == Kind::Dir;
    let same =
        (before.mode, before.uid, before.gid) == (after.mode, after.uid, after.gid) && before.xattrs == after.xattrs;
    if same && same_time { None } else { Some(Change::Metadata) }
}

/// A sink that stores nothing: it compares.
struct Comparison<'m, 'e, 'r> {
    merge: Merge<'m, 'e>,
    library: &'m Library<'m>,
    /// Notes on rows that have not changed.
    unchanged: HashSet<EntryPath>,
    skipped: Vec<Skip>,
    /// Compares the rows of tables, beside their files.
    rows: Option<&'m mut ServerRows<'r>>,
    /// The table whose rows come next.
    line: Vec<u8>,
}

impl EntrySink for Comparison<'_, '_, '_> {
    fn content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        _: Access,
    ) -> Result<Content, Explained> {
        let extents = pieces.map(|piece| {
            Ok(match piece? {
                Piece::Hole(length) => Extent::hole(length),
                Piece::Chunk(chunk) => Extent::whole(chunk.digest(), chunk.bytes().len() as u64),
            })
        });
        Ok(Content { depth: 0, extents: extents.collect::<Result<_, Explained>>()? })
    }

    /// A database is cut where its history says, so its bytes are compared, not its chunks.
    fn pages(
        &mut self,
        path: &EntryPath,
        _: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained> {
        let before = self.merge.before(path).map_err(OpError::into_explained)?;
        let mut bytes = before.as_ref().map(|entry| Bytes::of(entry, self.library));
        for batch in batches {
            let batch = batch?;
            let same = bytes.as_mut().map_or(Ok(false), |bytes| bytes.go_on_with(batch.bytes()));
            if !same.map_err(|error| Box::new(error) as Explained)? {
                bytes = None;
            }
        }
        Ok(before.filter(|_| bytes.is_some()).map(|entry| entry.content).unwrap_or_default())
    }

    fn table(&mut self, line: &[u8]) {
        self.line = line.to_vec();
    }

    /// Rows are cut where they always are, so their chunks tell. The notes on rows that did not change did not either.
    fn rows(
        &mut self,
        path: &EntryPath,
        notes: &EntryPath,
        rows: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained> {
        let before = self.merge.before(path).map_err(OpError::into_explained)?;
        let mut extents = before.as_ref().map(|entry| extents::of_file(entry, self.library));
        let mut rows = rows;
        let mut chunks = std::iter::from_fn(|| {
            let chunk = Iterator::find_map(&mut rows, |piece| match piece {
                Ok(Rows::Chunk(chunk, _)) => Some(Ok(chunk)),
                Ok(Rows::Note(..)) => None,
                Err(error) => Some(Err(error)),
            })?;
            let next = extents.as_mut().and_then(|extents| extents.next()?.ok());
            if next.is_none_or(|extent| chunk.as_ref().is_ok_and(|chunk| extent.chunk != Some(chunk.digest()))) {
                extents = None;
            }
            Some(chunk)
        });
        if let Some(compared) = &mut self.rows {
            compared.file(&std::mem::take(&mut self.line), &mut chunks)?;
        }
        chunks.try_for_each(|chunk| chunk.map(drop))?;
        let same = extents.is_some_and(|mut extents| extents.next().is_none());
        if same {
            self.unchanged.insert(notes.clone());
        }
        Ok((before.filter(|_| same).map(|entry| entry.content).unwrap_or_default(), Content::default()))
    }

    fn database(&mut self, _: Database) {}

    fn entry(&mut self, entry: &Entry, _: Option<Fingerprint>) -> Result<(), Explained> {
        if self.unchanged.remove(&entry.path)
            && let Some(before) = self.merge.before(&entry.path).map_err(OpError::into_explained)?
        {
            return self.merge.live(&before).map_err(OpError::into_explained);
        }
        self.merge.live(entry).map_err(OpError::into_explained)
    }

    fn repeat(&mut self, known: &Known) -> Result<(), Explained> {
        let entry = listing::read_entry(&known.line).map_err(|error| Box::new(error) as Explained)?;
        self.merge.live(&entry).map_err(OpError::into_explained)
    }

    fn skip(&mut self, skip: Skip) {
        self.skipped.push(skip);
    }
}

/// The bytes of a file, to compare others with.
struct Bytes<'r> {
    extents: extents::Extents<'r>,
    reader: ChunkReader<'r>,
    /// What is left of the extent before: bytes, or zeros where there are none.
    held: Option<Vec<u8>>,
    left: usize,
}

impl<'r> Bytes<'r> {
    fn of(entry: &Entry, library: &'r Library<'r>) -> Self {
        Self { extents: extents::of_file(entry, library), reader: library.reader(), held: None, left: 0 }
    }

    /// Are the next bytes these?
    fn go_on_with(&mut self, mut bytes: &[u8]) -> Result<bool, VaultError> {
        while !bytes.is_empty() {
            if self.left == 0 {
                let Some(extent) = self.extents.next().transpose()? else { return Ok(false) };
                self.held = self.reader.extent(&extent)?;
                self.left = extent.length as usize;
            }
            let (now, rest) = bytes.split_at(self.left.min(bytes.len()));
            let same = match &self.held {
                Some(held) => held[held.len() - self.left..].starts_with(now),
                None => now.iter().all(|&byte| byte == 0),
            };
            if !same {
                return Ok(false);
            }
            self.left -= now.len();
            bytes = rest;
        }
        Ok(true)
    }
}
