//! One file being restored: bytes at their places, from any thread, then its metadata and its name.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::ftruncate;
use rustix::io::{Errno, pwrite};

use super::apply::{Handle, Meta, apply};
use super::error::TargetError;
use super::issues::Issues;
use super::place::Place;

/// Invariant: until [`FileWriter::finish`] succeeded, what stood in its place before still stands there, and dropping
/// the writer leaves nothing behind.
pub struct FileWriter {
    pub(super) file: OwnedFd,
    pub(super) place: Place,
    /// The name it has meanwhile, where an older file holds its own.
    pub(super) temporary: Option<String>,
    pub(super) meta: Meta,
    pub(super) size: u64,
    pub(super) issues: Arc<Issues>,
    pub(super) replaced: Arc<AtomicU64>,
    /// Where the last byte written ends.
    pub(super) end: AtomicU64,
    /// Finished or given up: nothing is left to remove.
    pub(super) closed: AtomicBool,
}

impl FileWriter {
    /// Holes are never written: leave them out.
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), TargetError> {
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| TargetError::listing(&self.place.path, "more content than its size"))?;
        self.end.fetch_max(end, Ordering::Relaxed);
        write_all(&self.file, bytes, offset).map_err(|error| TargetError::system("write", &self.place.path, error))
    }

    /// All content is there, `length` bytes with its holes: sets length and metadata and moves the file into place.
    pub fn finish(&self, length: u64) -> Result<(), TargetError> {
        if length != self.size {
            self.abandon();
            return Err(TargetError::listing(&self.place.path, "its content is not as long as its size"));
        }
        self.complete().inspect_err(|_| self.abandon())
    }

    fn complete(&self) -> Result<(), TargetError> {
        let failed = |error| TargetError::system("write", &self.place.path, error);
        if self.end.load(Ordering::Relaxed) != self.size {
            ftruncate(&self.file, self.size).map_err(failed)?;
        }
        let now = self.place.dir.newborn(&self.file).map_err(failed)?;
        apply(Handle::Open(self.file.as_fd()), now, &self.meta, &self.place.path, &self.issues);
        if let Some(temporary) = &self.temporary {
            self.place.replace_by(temporary.as_bytes())?;
            self.replaced.fetch_add(1, Ordering::Relaxed);
        }
        self.closed.store(true, Ordering::Release);
        Ok(())
    }

    /// The content is damaged or cannot be had: removes what was begun. What stood there before stays.
    pub fn abandon(&self) {
        if !self.closed.swap(true, Ordering::AcqRel) {
            self.place.remove(self.temporary.as_ref().map_or(self.place.name(), |name| name.as_bytes()));
        }
    }
}

impl Drop for FileWriter {
    fn drop(&mut self) {
        self.abandon();
    }
}

pub fn write_all(file: &OwnedFd, mut bytes: &[u8], mut offset: u64) -> Result<(), Errno> {
    while !bytes.is_empty() {
        match pwrite(file, bytes, offset) {
            Ok(0) => return Err(Errno::IO),
            Ok(length) => {
                bytes = &bytes[length..];
                offset += length as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
