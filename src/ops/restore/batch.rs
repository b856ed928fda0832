//! A bounded part of a restore: which chunks are wanted for which files, fetched together and written as they come.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::error::one_line;
use crate::base::path::EntryPath;
use crate::ops::restore::names::{Names, first_is_lost};
use crate::ops::restore::{Issue, Report};
use crate::source::files::target::{FileWriter, Outcome, Target, TargetError};
use crate::vault::error::VaultError;
use crate::vault::fetch::{self, Location, Want};
use crate::vault::read::Library;

/// So many chunks are wanted at once: about 10 MB with what is known of their files.
const WANTS: usize = 16_000;
/// So many large files are open at once.
const OPEN: usize = 100;
/// So many issues are told; all are counted.
const ISSUES: usize = 1000;

#[derive(Default)]
pub struct Batch {
    files: Vec<Wanting>,
    wants: Vec<Want<Part>>,
    links: Vec<Entry>,
    open: usize,
}

/// A file that wants chunks.
enum Wanting {
    Small(Box<Entry>),
    Open(Arc<OpenFile>),
}

/// Which part of a chunk goes where.
#[derive(Clone, Copy)]
struct Part {
    file: u32,
    from: u64,
    length: u64,
    at: u64,
}

/// A file that is written piece by piece.
pub struct OpenFile {
    path: EntryPath,
    size: u64,
    writer: FileWriter,
    /// Extents that are still to come, and one for the plan itself.
    left: AtomicU64,
    spoiled: Mutex<Option<String>>,
}

impl OpenFile {
    /// Something of it is lost: it will be removed, not left half right.
    pub fn spoil(&self, reason: String) {
        self.spoiled.lock().expect("BUG: nothing panics while holding it").get_or_insert(reason);
    }
}

impl Batch {
    pub fn is_full(&self) -> bool {
        self.wants.len() >= WANTS || self.open >= OPEN || self.links.len() >= WANTS
    }

    pub fn small(&mut self, entry: Entry, extent: &Extent, location: Location) {
        self.files.push(Wanting::Small(Box::new(entry)));
        self.want(extent, location, 0);
    }

    pub fn open(&mut self, entry: &Entry, writer: FileWriter) -> Arc<OpenFile> {
        let (left, spoiled) = (AtomicU64::new(1), Mutex::default());
        self.open += 1;
        Arc::new(OpenFile { path: entry.path.clone(), size: entry.size, writer, left, spoiled })
    }

    pub fn extent(&mut self, file: &Arc<OpenFile>, extent: &Extent, location: Location, at: u64) {
        let known = matches!(self.files.last(), Some(Wanting::Open(last)) if Arc::ptr_eq(last, file));
        if !known {
            self.files.push(Wanting::Open(file.clone()));
        }
        file.left.fetch_add(1, Ordering::Relaxed);
        self.want(extent, location, at);
    }

    pub fn link(&mut self, entry: Entry) {
        self.links.push(entry);
    }

    fn want(&mut self, extent: &Extent, location: Location, at: u64) {
        let part = Part { file: self.files.len() as u32 - 1, from: extent.offset, length: extent.length, at };
        let digest = extent.chunk.expect("BUG: only chunks are wanted");
        self.wants.push(Want { digest, location, tag: part });
    }

    /// Fetches everything wanted and writes it; then makes the links to what is now there.
    pub fn run(self, library: &Library<'_>, target: &Target, notes: Notes<'_>) -> Result<(), TargetError> {
        let files = self.files;
        fetch::fetch(library, self.wants, notes.control, |want, bytes| match &files[want.tag.file as usize] {
            Wanting::Small(entry) => write_small(entry, bytes, target, notes),
            Wanting::Open(file) => {
                write_part(file, &want.tag, bytes)?;
                one_less(file, notes)
            }
        })?;
        for entry in &self.links {
            // What was in the place of the first name may stand there still.
            if let Some(first) = entry.link.as_ref().filter(|first| notes.names.is_lost(first)) {
                notes.lost(&entry.path, first_is_lost(first));
                continue;
            }
            match target.link(entry) {
                Ok(Outcome::Identical) => notes.tally.identical_link(),
                Ok(_) => notes.tally.link(),
                Err(error) => notes.lost_or_fatal(&entry.path, error)?,
            }
        }
        Ok(())
    }
}

/// Where it is noted what became of the entries of a source.
#[derive(Clone, Copy)]
pub struct Notes<'n> {
    pub tally: &'n Tally,
    pub names: &'n Names,
    pub control: &'n Control,
}

impl Notes<'_> {
    /// An entry does not come back: nothing is to be linked to it.
    pub fn lost(&self, path: &EntryPath, reason: String) {
        self.names.lose(path);
        self.tally.note(path.to_string(), reason);
    }

    pub fn lost_or_fatal(&self, path: &EntryPath, error: TargetError) -> Result<(), TargetError> {
        if error.is_fatal() {
            return Err(error);
        }
        self.lost(path, one_line(&error));
        Ok(())
    }
}

fn write_small(
    entry: &Entry,
    bytes: Result<&[u8], &VaultError>,
    target: &Target,
    notes: Notes<'_>,
) -> Result<(), TargetError> {
    match bytes.map(|bytes| target.small_file(entry, bytes)) {
        Ok(Ok(_)) => notes.tally.made(notes.control, entry),
        Ok(Err(error)) => notes.lost_or_fatal(&entry.path, error)?,
        Err(error) => notes.lost(&entry.path, one_line(error)),
    }
    Ok(())
}

fn write_part(file: &OpenFile, part: &Part, bytes: Result<&[u8], &VaultError>) -> Result<(), TargetError> {
    let bytes = match bytes {
        Ok(bytes) => bytes,
        Err(error) => {
            file.spoil(one_line(error));
            return Ok(());
        }
    };
    let end = part.from.checked_add(part.length).filter(|end| *end <= bytes.len() as u64);
    let Some(end) = end else {
        file.spoil("an extent reaches beyond its chunk".to_owned());
        return Ok(());
    };
    match file.writer.write_at(part.at, &bytes[part.from as usize..end as usize]) {
        Err(error) if error.is_fatal() => Err(error),
        Err(error) => {
            file.spoil(one_line(&error));
            Ok(())
        }
        Ok(()) => Ok(()),
    }
}

/// One extent is dealt with, or the plan is complete: after the last, the file is finished or removed.
pub fn one_less(file: &OpenFile, notes: Notes<'_>) -> Result<(), TargetError> {
    if file.left.fetch_sub(1, Ordering::AcqRel) > 1 {
        return Ok(());
    }
    let spoiled = file.spoiled.lock().expect("BUG: nothing panics while holding it").take();
    if let Some(reason) = spoiled {
        file.writer.abandon();
        notes.lost(&file.path, reason);
        return Ok(());
    }
    match file.writer.finish(file.size) {
        Ok(()) => notes.tally.file(notes.control, file.size),
        Err(error) => notes.lost_or_fatal(&file.path, error)?,
    }
    Ok(())
}

/// What has been done so far, counted by all threads.
#[derive(Default)]
pub struct Tally {
    files: AtomicU64,
    bytes: AtomicU64,
    identical: AtomicU64,
    others: AtomicU64,
    stale: Mutex<Vec<String>>,
    issues: Mutex<(Vec<Issue>, u64)>,
}

impl Tally {
    fn file(&self, control: &Control, size: u64) {
        self.files.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(size, Ordering::Relaxed);
        control.items.add(1);
        control.bytes.add(size);
    }

    /// Something was made that is not there otherwise.
    pub fn made(&self, control: &Control, entry: &Entry) {
        if entry.kind == Kind::File {
            self.file(control, entry.size);
        } else {
            self.others.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Another name of a file: its bytes were counted with the first.
    fn link(&self) {
        self.files.fetch_add(1, Ordering::Relaxed);
    }

    fn identical_link(&self) {
        self.identical.fetch_add(1, Ordering::Relaxed);
    }

    pub fn identical(&self, control: &Control, entry: &Entry) {
        self.identical.fetch_add(1, Ordering::Relaxed);
        control.items.add(1);
        control.bytes.add(entry.size);
    }

    pub fn stale(&self, path: String) {
        self.stale.lock().expect("BUG: nothing panics while holding it").push(path);
    }

    pub fn issue(&self, path: &str, error: &dyn std::error::Error) {
        self.note(path.to_owned(), one_line(error));
    }

    pub fn note(&self, path: String, reason: String) {
        let mut issues = self.issues.lock().expect("BUG: nothing panics while holding it");
        issues.1 += 1;
        if issues.0.len() < ISSUES {
            issues.0.push(Issue { path, reason });
        }
    }

    pub fn add_to(self, report: &mut Report) {
        report.files += self.files.into_inner();
        report.bytes = report.bytes.saturating_add(self.bytes.into_inner());
        report.identical += self.identical.into_inner();
        report.others += self.others.into_inner();
        report.stale.extend(self.stale.into_inner().expect("BUG: nothing panics while holding it"));
        let (issues, count) = self.issues.into_inner().expect("BUG: nothing panics while holding it");
        report.issues.extend(issues);
        report.issues_count += count;
    }
}
