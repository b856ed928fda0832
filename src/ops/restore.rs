//! Giving files back: plan by pack, read each frame once, write at its place, metadata last.
//!
//! Works through a listing in batches, so that memory does not grow with the tree. What is damaged or cannot be
//! written is reported and the rest goes on.

mod batch;
pub mod claims;
pub mod foreseen;
pub mod ground;
pub mod guard;
pub mod in_place;
mod job;
pub mod live;
pub mod live_target;
mod names;
pub mod server;
mod sides;
pub mod swap;
pub mod whose;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Serialize;

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::error::{Explained, one_line};
use crate::base::path::EntryPath;
use crate::engine::postgres::restore::spoken;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::{OpError, Problem};
use crate::ops::show::Part;
use crate::source::files::target::{Options, Outcome, Target, TargetError};
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::read::{self, Library};
use crate::vault::unlocked::UnlockedVault;
use batch::{Batch, Notes, Tally};
use job::{Job, parted, plan};

pub(in crate::ops) use sides::{NEEDLESS, is_needless};

pub struct Request {
    /// What to restore; empty for everything.
    pub parts: Vec<Part>,
    pub to: PathBuf,
    pub numeric_ids: bool,
    pub control: Arc<Control>,
}

/// What came back, and what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    pub files: u64,
    pub bytes: u64,
    /// Files that were there already, byte for byte.
    pub identical: u64,
    /// Files, links and devices that stood there and held something else, which is lost.
    #[serde(skip_serializing_if = "is_zero")]
    pub replaced: u64,
    /// Folders, links and devices.
    pub others: u64,
    /// What another database had left beside one that was restored, and was removed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub stale: Vec<String>,
    /// What could not be given back as it was; the first thousand.
    pub issues: Vec<Issue>,
    pub issues_count: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Issue {
    pub path: String,
    pub reason: String,
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// Restores into a folder. One source goes straight into it, several into a folder each.
pub fn restore(unlocked: &UnlockedVault, manifest: &Manifest, request: &Request) -> Result<Report, OpError> {
    let library = unlocked.library()?;
    let (jobs, absent) = plan(manifest, request)?;
    let expected =
        |field: fn(&SourceRecord) -> u64| jobs.iter().map(|job| field(job.source)).fold(0, u64::saturating_add);
    if jobs.iter().all(|job| job.folder.is_root()) {
        request.control.bytes_expected.set(expected(|source| source.bytes));
        request.control.items_expected.set(expected(|source| source.files));
    }
    let issues_count = absent.len() as u64;
    let mut report = Report { issues: absent, issues_count, ..Report::default() };
    for (number, job) in jobs.iter().enumerate() {
        restore_source(&library, manifest, (job, &jobs[..number]), request, &mut report)?;
        let spoken = spoken(unlocked, job)?;
        report.issues_count += spoken.len() as u64;
        report.issues.extend(spoken);
    }
    Ok(report)
}

/// Files that somebody may load with psql, and that speak to psql as no backup does. What cannot be read is told when it is
/// given back.
fn spoken(unlocked: &UnlockedVault, job: &Job<'_>) -> Result<Vec<Issue>, OpError> {
    if job.source.kind != server::KIND {
        return Ok(Vec::new());
    }
    let found = spoken::to_psql(&server::Captured::of(unlocked, job.source)?).unwrap_or_default();
    let is_meant = |file: &str| job.folder.is_root() || job.folder.as_bytes() == file.as_bytes();
    let found = found.into_iter().filter(|(file, _)| is_meant(file));
    Ok(found.map(|(file, reason)| Issue { path: file.to_owned(), reason }).collect())
}

fn restore_source(
    library: &Library<'_>,
    manifest: &Manifest,
    (job, earlier): (&Job<'_>, &[Job<'_>]),
    request: &Request,
    report: &mut Report,
) -> Result<(), OpError> {
    let options = Options { numeric_ids: request.numeric_ids, staged: false };
    let above = job.missing_above();
    let target = Target::open(&job.to, options)?.sharing(&job.names.several);
    let tally = Tally::default();
    let notes = Notes { tally: &tally, names: &job.names, control: &request.control };
    let (batch, careful) = (Batch::default(), !target.is_new());
    let mut restorer = Restorer { library, job, target: &target, notes, batch, careful };
    // Folders that have to be made are made as they were.
    for folder in &above {
        if let Some(folder) = live::find(job.source, folder, library)? {
            restorer.entry(folder)?;
        }
    }
    let mut found = false;
    for entry in read::entries(&job.source.listing, &job.folder, library) {
        found = true;
        match entry {
            Ok(entry) => restorer.entry(job.given(entry, earlier, library)?)?,
            Err(error) => tally.issue(&job.source.name.to_string(), &error),
        }
    }
    job.must_be(found, manifest)?;
    restorer.flush()?;
    for issue in target.seal() {
        tally.note(issue.path, issue.reason);
    }
    report.replaced += target.replaced();
    tally.add_to(report);
    Ok(())
}

/// Writes single entries of a source below a folder, with the folders they are in as they were captured. What cannot be
/// written ends it.
pub(in crate::ops) fn some(
    library: &Library<'_>,
    source: &SourceRecord,
    paths: &[EntryPath],
    (to, target): (&std::path::Path, &Target),
    control: &Control,
) -> Result<Report, OpError> {
    let job = Job::of(source, EntryPath::root(), to.to_owned());
    let (tally, batch, careful) = (Tally::default(), Batch::default(), false);
    let notes = Notes { tally: &tally, names: &job.names, control };
    let mut restorer = Restorer { library, job: &job, target, notes, batch, careful };
    let mut folders = BTreeSet::new();
    for path in paths {
        let mut above: Vec<EntryPath> = std::iter::successors(path.parent(), EntryPath::parent).collect();
        above.retain(|folder| !folder.is_root() && folders.insert(folder.clone()));
        for path in above.iter().rev().chain([path]) {
            let Some(entry) = live::find(source, path, library)? else { continue };
            restorer.entry(alone(entry, source, library)?)?;
        }
    }
    restorer.flush()?;
    let mut report = Report::default();
    for issue in target.seal() {
        tally.note(issue.path, issue.reason);
    }
    target.sync()?;
    tally.add_to(&mut report);
    Ok(report)
}

/// An entry that is no other name of another one.
pub(in crate::ops) fn alone(entry: Entry, source: &SourceRecord, library: &Library<'_>) -> Result<Entry, OpError> {
    let Some(first) = &entry.link else { return Ok(entry) };
    match live::find(source, first, library)? {
        Some(first) => Ok(apart(entry, first)),
        None => Ok(entry),
    }
}

/// Another name of something, as a thing of its own.
fn apart(entry: Entry, first: Entry) -> Entry {
    Entry { content: first.content, size: first.size, target: first.target, link: None, ..entry }
}

struct Restorer<'r> {
    library: &'r Library<'r>,
    job: &'r Job<'r>,
    target: &'r Target,
    notes: Notes<'r>,
    batch: Batch,
    /// Something may stand where databases go: what is beside them is looked at.
    careful: bool,
}

impl Restorer<'_> {
    /// Gives an entry back as it is: what it is linked to has to be there by then.
    fn entry(&mut self, entry: Entry) -> Result<(), OpError> {
        if self.notes.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        let original = entry.path.clone();
        if sides::is_needless(self.job.source, &original, self.library)? {
            self.notes.lost(&original, sides::NEEDLESS.to_owned());
            return Ok(());
        }
        let entry = self.job.named(entry);
        if self.careful && !self.make_room(&entry, &original)? {
            self.notes.names.lose(&original);
            return Ok(());
        }
        let small = small_content(&entry).cloned();
        let result = match small {
            Some(extent) => self.small(entry, &extent),
            None => self.other(entry),
        };
        result?;
        if self.batch.is_full() { self.flush() } else { Ok(()) }
    }

    /// A file of one chunk: written in one go when its chunk comes by.
    fn small(&mut self, entry: Entry, extent: &Extent) -> Result<(), OpError> {
        let mut extents = std::iter::once(Ok(extent.clone()));
        match self.target.already_there(&entry, &mut extents) {
            Ok(true) => {
                self.notes.tally.identical(self.notes.control, &entry);
                return Ok(());
            }
            Ok(false) => {}
            Err(error) => return self.failed(&entry, error),
        }
        match self.library.find(&extent.chunk.expect("BUG: small content has a chunk")) {
            // A database that was cut short is the beginning of a chunk.
            Ok(location) if u64::from(location.place.length) != extent.length => return self.other(entry),
            Ok(location) => self.batch.small(entry, extent, location),
            Err(error) => self.notes.lost(&entry.path, one_line(&error)),
        }
        Ok(())
    }

    fn other(&mut self, entry: Entry) -> Result<(), OpError> {
        if entry.kind == Kind::File && entry.size == 0 && !entry.content.is_empty() {
            self.notes.lost(&entry.path, "its content is not as long as its size".to_owned());
            return Ok(());
        }
        let mut extents = extents::of_file(&entry, self.library).map(|extent| extent.map_err(boxed));
        match self.target.begin(&entry, &mut extents) {
            Ok(Outcome::Done) => self.notes.tally.made(self.notes.control, &entry),
            Ok(Outcome::Identical) if entry.kind == Kind::File => {
                self.notes.tally.identical(self.notes.control, &entry)
            }
            Ok(Outcome::Identical) => self.notes.tally.made(self.notes.control, &entry),
            Ok(Outcome::Skipped) => {}
            Ok(Outcome::Link) => self.batch.link(entry),
            Ok(Outcome::Content(writer)) => {
                let file = self.batch.open(&entry, writer);
                return self.extents(&entry, file);
            }
            Err(error) => return self.failed(&entry, error),
        }
        Ok(())
    }

    /// Plans every extent of a large file; a file with more of them than a batch holds goes through several.
    fn extents(&mut self, entry: &Entry, file: Arc<batch::OpenFile>) -> Result<(), OpError> {
        let mut at = 0u64;
        for extent in extents::of_file(entry, self.library) {
            let (extent, location) = match extent.and_then(|extent| Ok((extent.clone(), self.locate(&extent)?))) {
                Ok(found) => found,
                Err(error) => {
                    file.spoil(one_line(&error));
                    break;
                }
            };
            if let Some(location) = location {
                self.batch.extent(&file, &extent, location, at);
            }
            at = at.saturating_add(extent.length);
            if self.batch.is_full() {
                self.flush()?;
            }
        }
        if at != entry.size {
            file.spoil("its content is not as long as its size".to_owned());
        }
        batch::one_less(&file, self.notes).map_err(OpError::from)
    }

    fn locate(&self, extent: &Extent) -> Result<Option<crate::vault::fetch::Location>, VaultError> {
        extent.chunk.as_ref().map(|digest| self.library.find(digest)).transpose()
    }

    fn flush(&mut self) -> Result<(), OpError> {
        let batch = std::mem::take(&mut self.batch);
        batch.run(self.library, self.target, self.notes)?;
        if self.notes.control.stopped() { Err(Problem::Interrupted.into()) } else { Ok(()) }
    }

    fn failed(&self, entry: &Entry, error: TargetError) -> Result<(), OpError> {
        Ok(self.notes.lost_or_fatal(&entry.path, error)?)
    }
}

/// The only extent of a file that is one chunk, or the beginning of one.
fn small_content(entry: &Entry) -> Option<&Extent> {
    match &entry.content.extents[..] {
        [extent] if entry.kind == Kind::File && entry.content.depth == 0 && entry.link.is_none() => {
            let whole = extent.chunk.is_some() && extent.offset == 0 && extent.length == entry.size;
            whole.then_some(extent)
        }
        _ => None,
    }
}

fn boxed(error: VaultError) -> Explained {
    Box::new(error)
}
