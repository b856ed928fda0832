//! The metadata of what is in place: of databases, and of folders, which get theirs last.

use std::sync::PoisonError;

use rustix::fd::AsFd;
use rustix::fs::{FileType, Mode, OFlags, fstat};
use rustix::io::Errno;

use super::Target;
use super::apply::{Handle, Meta, Now, apply, set_owner_and_mode};
use super::dirs::Missing;
use super::error::TargetError;
use super::issues::{Issue, Shortfall};
use super::place::Place;
use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;

impl Target {
    /// A file is there as it should be, and stays so. Is this the name that it stays for, where it has several?
    pub fn leave(&self, entry: &Entry) -> bool {
        if entry.kind != Kind::File || entry.link.is_some() {
            return true;
        }
        let Ok(dir) = self.dirs.parent(&entry.path, Missing::Fail) else { return true };
        match (Place { dir, path: entry.path.clone() }).look() {
            Ok(stat) if stat.st_nlink > 1 => self.is_first_name(&stat, &entry.path),
            _ => true,
        }
    }

    /// Gives a database that was changed where it lives its owner, mode and attributes, and the same owner and mode to
    /// what SQLite keeps beside it. Its time stays: it was changed. Opens nothing, which would drop SQLite's locks.
    pub fn dress_database(&self, entry: &Entry, sides: &[&str]) -> Result<(), TargetError> {
        let dir = self.dirs.parent(&entry.path, Missing::Fail)?;
        let failed = |error| TargetError::system("look at", &entry.path, error);
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for side in std::iter::once(&"").chain(sides) {
            let name = [entry.path.file_name(), side.as_bytes()].concat();
            let handle = match rustix::fs::openat(&dir, name.as_slice(), flags, Mode::empty()) {
                Err(Errno::NOENT) if !side.is_empty() => continue,
                opened => opened.map_err(failed)?,
            };
            let stat = fstat(&handle).map_err(failed)?;
            if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
                continue;
            }
            let now = Now::existing(&stat);
            let meta = Meta::of(entry, &self.owners)?.at_the_time_of(&now);
            match side.is_empty() {
                true => apply(Handle::Place(handle.as_fd()), &now, &meta, &entry.path, &self.issues),
                false => set_owner_and_mode(Handle::Place(handle.as_fd()), &now, &meta, &entry.path, &self.issues),
            }
        }
        Ok(())
    }

    /// Gives an open file that has no name here yet what metadata the entry says.
    pub fn dress(&self, entry: &Entry, file: impl AsFd) -> Result<(), TargetError> {
        let meta = Meta::of(entry, &self.owners)?;
        let stat = fstat(&file).map_err(|error| TargetError::system("look at", &entry.path, error))?;
        apply(Handle::Open(file.as_fd()), &Now::existing(&stat), &meta, &entry.path, &self.issues);
        Ok(())
    }

    /// Sets the metadata of folders, deepest first, and tells what fell short. Call it when all else is done.
    pub fn seal(&self) -> Vec<Issue> {
        let mut later = std::mem::take(&mut *self.later.lock().unwrap_or_else(PoisonError::into_inner));
        while let Some((path, meta)) = later.pop() {
            let path = EntryPath::from_bytes(&path).expect("BUG: a path that was one is none any more");
            if let Err(error) = self.seal_folder(&path, &meta) {
                let error = error.errno().unwrap_or(Errno::NOTDIR);
                self.issues.note(&path, Shortfall::Folder, error);
            }
        }
        self.issues.take()
    }

    fn seal_folder(&self, path: &EntryPath, meta: &Meta) -> Result<(), TargetError> {
        let dir = self.dirs.itself(path, Missing::Fail)?;
        let stat = fstat(&*dir).map_err(|error| TargetError::system("look at", path, error))?;
        apply(Handle::Open(dir.as_fd()), &Now::existing(&stat), meta, path, &self.issues);
        Ok(())
    }
}
