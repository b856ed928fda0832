//! One source of a snapshot in the making: a sink that stores what the source hands over, and writes its listing.
//!
//! Owns the source's record. Commits nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Instant as Clock;

use crate::base::capture::{Access, EntrySink, Fingerprint, Known, LeftOut, Piece, Rows, Skip};
use crate::base::chunk::{Chunk, Lent};
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::entry::{Content, Entry, Extent, Kind};
use crate::base::error::Explained;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::format::listing::{self, MAX_LINE};
use crate::format::manifest::SourceRecord;
use crate::vault::commit::Draft;
use crate::vault::commit::found::{self, Found, Uncaptured};
use crate::vault::content::{ChunkSink, ContentWriter, LineWriter};
use crate::vault::error::{SourceFailure, VaultError};
use crate::vault::page_memory::PageMemory;
use crate::vault::paging::Paging;
use crate::vault::read::MAX_DEPTH;
use crate::vault::recall::{self, Place, RecallWriter, Remembered};

/// So many skipped items are named in the manifest; all are counted.
const SKIPS_NAMED: usize = 10_000;

/// So many things that were left out are named; all are counted.
const LEFT_OUT_NAMED: usize = 1_000;

/// A path longer than this is not noted as the first of its chunk.
const LONGEST_KEY: usize = 1024;
/// Notes longer than this share no frame with those of the next table: who looks for rows in one reads all of them.
const LONG_NOTES: usize = 128 << 10;

impl<'v> Draft<'v> {
    /// Begins a source: the sink it writes to, and what is remembered of it under the name `memory`.
    pub fn source<'d>(
        &'d mut self,
        name: &Name,
        kind: &str,
        root: &str,
        memory: &str,
        control: Arc<Control>,
    ) -> Result<(SourceDraft<'d, 'v>, Remembered), VaultError> {
        let account = Arc::new(AtomicU64::new(0));
        self.ingest.set_account(account.clone())?;
        let place = Place::new(self.vault.host.folder("recall"), &self.label.app, name, memory);
        let mut remembered = place.recall(&self.manifests, self.ingest.catalogs(), self.ingest.absent());
        let record = SourceRecord {
            name: name.clone(),
            kind: kind.to_owned(),
            root: root.to_owned(),
            place: None,
            listing: Content::default(),
            entries: 0,
            files: 0,
            bytes: 0,
            bytes_read: 0,
            bytes_new: 0,
            bytes_stored: 0,
            milliseconds: 0,
            failed: None,
            left_out: Vec::new(),
            left_out_count: 0,
            skipped: Vec::new(),
            skipped_count: 0,
            databases: Vec::new(),
        };
        let memory = place.writer();
        let (listing, clock) = (LineWriter::default(), Clock::now());
        let (last, paged) = (None, None);
        let before = Before {
            pages: std::mem::replace(&mut remembered.pages, PageMemory::open(None)),
            files: remembered.extent.files,
            databases: remembered.databases.iter().map(|known| (known.path.clone(), known.clone())).collect(),
        };
        Ok((
            SourceDraft {
                draft: self,
                account,
                record,
                listing,
                memory,
                before,
                things: 0,
                last,
                paged,
                clock,
                control,
            },
            remembered,
        ))
    }
}

/// One source of a snapshot in the making: where its entries go.
pub struct SourceDraft<'d, 'v> {
    draft: &'d mut Draft<'v>,
    account: Arc<AtomicU64>,
    record: SourceRecord,
    listing: LineWriter,
    memory: RecallWriter,
    before: Before,
    /// Entries that are no folders.
    things: u64,
    last: Option<EntryPath>,
    /// The database whose pages came last: the next entry is its.
    paged: Option<EntryPath>,
    clock: Clock,
    control: Arc<Control>,
}

/// What is remembered of a source, of its databases above all.
struct Before {
    files: u64,
    pages: PageMemory,
    databases: BTreeMap<EntryPath, Database>,
}

impl SourceDraft<'_, '_> {
    /// The source has handed over everything. One that is empty and was not is remembered as it was, unless it may be
    /// empty: the next backup has the same to say of it.
    pub fn finish(mut self, may_be_empty: bool) -> Result<Found, VaultError> {
        let listing = std::mem::take(&mut self.listing);
        self.record.listing = listing.finish(&mut self.draft.ingest)?;
        if self.record.listing.depth > MAX_DEPTH {
            return Err(VaultError::TooDeep { name: self.record.name.to_string() });
        }
        self.record.milliseconds = self.clock.elapsed().as_millis() as u64;
        let SourceRecord { bytes, entries, files, .. } = self.record;
        let extent = recall::Extent { bytes, entries, files };
        let databases = self.record.databases.clone();
        let empty = found::is_empty(&self.record, self.things);
        let uncaptured = Uncaptured::of(&self.record);
        let as_it_was = empty && self.before.files > 0 && (!may_be_empty || uncaptured.count > 0);
        if !as_it_was {
            // A database that could not be captured this time is remembered: what it loses meanwhile is told then.
            let is_there = |path: &EntryPath| databases.iter().any(|database| database.path == *path);
            let kept = self.before.databases.iter().filter(|(path, _)| uncaptured.covers(path) && !is_there(path));
            let kept = kept.map(|(_, database)| database.clone().carried());
            let remembered = databases.iter().cloned().chain(kept).collect();
            self.draft.memories.push((self.memory, extent, remembered));
        }
        self.draft.sources.push((self.record, self.account));
        Ok(Found { extent, databases, uncaptured, empty })
    }

    /// The source could not be captured: nothing of what it has handed over is kept, and it is remembered as it was.
    pub fn fail(self, why: String) {
        let milliseconds = self.clock.elapsed().as_millis() as u64;
        let record = SourceRecord {
            entries: 0,
            files: 0,
            bytes: 0,
            milliseconds,
            failed: Some(why),
            left_out: Vec::new(),
            left_out_count: 0,
            skipped: Vec::new(),
            skipped_count: 0,
            databases: Vec::new(),
            ..self.record
        };
        self.draft.sources.push((record, self.account));
    }

    fn add(
        &mut self,
        path: &EntryPath,
        fingerprint: Option<Fingerprint>,
        database: bool,
        line: &[u8],
    ) -> Result<(), VaultError> {
        if let Some(last) = &self.last {
            assert!(last < path, "BUG: {path} comes after {last}");
        }
        // A long path is no key: lists of keys would be longer than what they list.
        let key = Some(path.to_string()).filter(|key| key.len() <= LONGEST_KEY);
        self.listing.push(line, key.as_deref(), &mut self.draft.ingest)?;
        self.memory.push(path, fingerprint, database, &line[..line.len() - 1]);
        self.record.entries += 1;
        self.last = Some(path.clone());
        Ok(())
    }

    fn stopped(&self) -> Result<(), VaultError> {
        if self.control.stopped() { Err(VaultError::Interrupted) } else { Ok(()) }
    }

    fn take_content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        access: Access,
    ) -> Result<Content, VaultError> {
        let new_before = self.draft.ingest.bytes_new;
        let content = self.keep_content(pieces, access);
        self.record.bytes_new += self.draft.ingest.bytes_new - new_before;
        content
    }

    fn keep_content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        access: Access,
    ) -> Result<Content, VaultError> {
        let mut content = ContentWriter::default();
        for piece in pieces {
            self.stopped()?;
            let extent = match piece.map_err(|error| VaultError::Source(SourceFailure(error)))? {
                Piece::Hole(length) => Extent::hole(length),
                Piece::Chunk(chunk) => self.keep_chunk(chunk, access)?,
            };
            content.push(extent, &mut self.draft.ingest)?;
        }
        content.finish(&mut self.draft.ingest)
    }

    fn keep_chunk(&mut self, chunk: Chunk, access: Access) -> Result<Extent, VaultError> {
        let length = chunk.bytes().len() as u64;
        self.record.bytes_read += length;
        let extent = Extent::whole(chunk.digest(), length);
        self.draft.ingest.chunk(chunk, access)?;
        Ok(extent)
    }

    fn keep_rows(
        &mut self,
        rows: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), VaultError> {
        let (mut content, mut notes) = (ContentWriter::default(), LineWriter::read_as(Access::Whole));
        let mut noted = 0;
        for piece in rows {
            self.stopped()?;
            let short = |key: Option<String>| key.filter(|key| key.len() <= LONGEST_KEY);
            match piece.map_err(|error| VaultError::Source(SourceFailure(error)))? {
                Rows::Chunk(chunk, first) => {
                    let extent = Extent { first: short(first), ..self.keep_chunk(chunk, Access::Random)? };
                    content.push(extent, &mut self.draft.ingest)?;
                }
                Rows::Note(line, key) => {
                    noted += line.len();
                    notes.push(&line, short(key).as_deref(), &mut self.draft.ingest)?;
                }
            }
        }
        let ingest = &mut self.draft.ingest;
        let kept = (content.finish(ingest)?, notes.finish(ingest)?);
        if noted > LONG_NOTES {
            ingest.flush(Access::Whole)?;
        }
        Ok(kept)
    }
}

/// Databases.
impl SourceDraft<'_, '_> {
    fn keep_pages(
        &mut self,
        path: &EntryPath,
        page_size: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, VaultError> {
        let known = self.before.pages.find(path, page_size as u32);
        self.memory.pages.begin(path, page_size as u32);
        let mut paging = Paging::new(page_size, known.then_some(&mut self.before.pages), &mut self.memory.pages);
        let mut pushed = Ok(());
        for batch in batches {
            pushed = match batch {
                _ if self.control.stopped() => Err(VaultError::Interrupted),
                Err(error) => Err(VaultError::Source(SourceFailure(error))),
                Ok(batch) => {
                    self.record.bytes_read += batch.bytes().len() as u64;
                    paging.push(batch.bytes(), &mut self.draft.ingest)
                }
            };
            if pushed.is_err() {
                break;
            }
        }
        // A section that was begun is ended, whatever came of it.
        let content = pushed.and_then(|()| paging.finish(&mut self.draft.ingest));
        self.memory.pages.end();
        content
    }

    /// What is known of an unchanged database is known of it again.
    fn repeat_database(&mut self, path: &EntryPath) {
        self.record.databases.extend(self.before.databases.remove(path));
        let Some(page_size) = self.before.pages.page_size(path) else { return };
        self.memory.pages.begin(path, page_size);
        while let Some(run) = self.before.pages.run() {
            self.memory.pages.run(&run);
        }
        self.memory.pages.end();
    }
}

impl EntrySink for SourceDraft<'_, '_> {
    fn led_to(&mut self, place: &str) {
        self.record.place = Some(place.to_owned());
    }

    fn content(
        &mut self,
        pieces: &mut dyn Iterator<Item = Result<Piece, Explained>>,
        access: Access,
    ) -> Result<Content, Explained> {
        self.take_content(pieces, access).map_err(boxed)
    }

    fn pages(
        &mut self,
        path: &EntryPath,
        page_size: usize,
        batches: &mut dyn Iterator<Item = Result<Lent, Explained>>,
    ) -> Result<Content, Explained> {
        let new_before = self.draft.ingest.bytes_new;
        let content = self.keep_pages(path, page_size, batches);
        self.record.bytes_new += self.draft.ingest.bytes_new - new_before;
        self.paged = content.is_ok().then(|| path.clone());
        content.map_err(boxed)
    }

    fn rows(
        &mut self,
        _: &EntryPath,
        _: &EntryPath,
        rows: &mut dyn Iterator<Item = Result<Rows, Explained>>,
    ) -> Result<(Content, Content), Explained> {
        let new_before = self.draft.ingest.bytes_new;
        let content = self.keep_rows(rows);
        self.record.bytes_new += self.draft.ingest.bytes_new - new_before;
        content.map_err(boxed)
    }

    fn database(&mut self, database: Database) {
        self.record.databases.push(database);
    }

    fn entry(&mut self, entry: &Entry, fingerprint: Option<Fingerprint>) -> Result<(), Explained> {
        self.stopped().map_err(boxed)?;
        let mut line = Vec::with_capacity(256);
        listing::write_entry(entry, &mut line);
        if line.len() > MAX_LINE {
            let reason = format!("its attributes take more than {MAX_LINE} bytes");
            self.skip(Skip::new(entry.path.to_string(), reason));
            return Ok(());
        }
        if entry.kind == Kind::File {
            self.record.files += 1;
            self.record.bytes += entry.size;
        }
        self.things += u64::from(entry.kind != Kind::Dir);
        let database = self.paged.take().is_some_and(|paged| paged == entry.path);
        self.add(&entry.path, fingerprint, database, &line).map_err(boxed)
    }

    fn repeat(&mut self, known: &Known) -> Result<(), Explained> {
        self.stopped().map_err(boxed)?;
        let mut line = Vec::with_capacity(known.line.len() + 1);
        line.extend_from_slice(&known.line);
        line.push(b'\n');
        // Only a file has a size in its fingerprint that counts; what a line is of is said at its beginning.
        self.things += u64::from(!is_line_of(&known.line, br#"","type":"dir""#));
        if is_line_of(&known.line, br#"","type":"file""#) {
            self.record.files += 1;
            self.record.bytes += known.fingerprint.map_or(0, |fingerprint| fingerprint.size);
        }
        if known.database {
            self.repeat_database(&known.path);
        }
        self.add(&known.path, known.fingerprint, known.database, &line).map_err(boxed)
    }

    fn skip(&mut self, skip: Skip) {
        self.record.skipped_count += 1;
        if self.record.skipped.len() < SKIPS_NAMED {
            self.record.skipped.push(skip);
        }
    }

    fn left_out(&mut self, left_out: LeftOut) {
        self.record.left_out_count += 1;
        if self.record.left_out.len() < LEFT_OUT_NAMED {
            self.record.left_out.push(left_out);
        }
    }
}

/// The type follows the path, which cannot hold a quote that is not escaped.
fn is_line_of(line: &[u8], needle: &[u8]) -> bool {
    line.windows(needle.len()).any(|window| window == needle)
}

fn boxed(error: VaultError) -> Explained {
    Box::new(error)
}
