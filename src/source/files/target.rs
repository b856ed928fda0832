//! Gives a tree of files back: the restoring side of the files source.
//!
//! Owns everything that is written into the folder restored into, and these rules:
//!
//! - Nothing outside the target is ever written, whatever the listing says and whatever stands in the target: see
//!   `dirs`. A link is replaced or is in the way, never followed.
//! - What is already there and identical is left alone, so that a restore can be run again to complete it.
//! - A file that is there and differs is replaced whole by rename, or stays as it was.
//! - Content not in the listing is left alone.
//! - Metadata that cannot be set is counted (`issues`), and ends nothing.
//!
//! Never reads a vault: content comes from the caller, in any order, from any thread.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{Access, AtFlags, Mode, OFlags, Stat, accessat, fchmod, fstat, linkat, openat, unlinkat};
use rustix::io::Errno;

use self::apply::{Handle, Meta, Now, apply};
use self::dirs::{Dirs, Missing};
use self::issues::{Issues, Shortfall};
use self::later::Later;
use self::owners::Owners;
use self::place::{Place, Temporary};
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::error::Explained;
use crate::base::path::{EntryPath, encode};
use crate::source::files::root::{self, Absent};

mod apply;
mod compare;
mod dirs;
mod error;
mod issues;
mod later;
mod look;
mod metadata;
mod owners;
mod place;
mod special;
#[cfg(test)]
mod tests;
mod tree;
mod writer;

pub use self::apply::through_proc;
pub use self::compare::holds;
pub use self::error::TargetError;
pub use self::issues::{Issue, Shortfall as IssueKind};
pub use self::look::Found;
pub use self::place::is_temporary;
pub use self::tree::Tree;
pub use self::writer::FileWriter;

/// How to restore.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Owners by number even where their names exist on this machine.
    pub numeric_ids: bool,
    /// Nothing is under its own name before it is complete, even where nothing stands there yet: whoever is killed leaves
    /// what was, or what is to be.
    pub staged: bool,
}

/// What became of an entry.
pub enum Outcome {
    /// It is there now. A folder still gets its metadata from [`Target::seal`].
    Done,
    /// It was there already; its metadata was put right where it differed.
    Identical,
    /// It cannot be made, which is counted among the issues.
    Skipped,
    /// It is another name of an earlier file: call [`Target::link`] once that one is finished.
    Link,
    /// Its content is needed.
    Content(FileWriter),
}

/// Files with several names that were left alone, by the name that was met first. May be shared by all that is restored into
/// one folder.
pub type Several = Arc<Mutex<HashMap<(u64, u64), EntryPath>>>;

/// A folder being restored into. Shared by all writers.
pub struct Target {
    dirs: Dirs,
    owners: Owners,
    issues: Arc<Issues>,
    later: Mutex<Later>,
    several: Several,
    temporary: Temporary,
    /// How often something took the place of what stood there and differed.
    replaced: Arc<AtomicU64>,
    staged: bool,
    /// Nothing was there to begin with: nothing can be there already.
    is_new: bool,
}

impl Target {
    /// Opens the folder to restore into, making it when it is not there: then only its owner may enter it until
    /// the entry of the root has said otherwise.
    pub fn open(root: &Path, options: Options) -> Result<Self, TargetError> {
        let path = || encode(root.as_os_str().as_encoded_bytes());
        let closed = |source: io::Error| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => TargetError::Full { path: path(), source },
            _ => TargetError::Closed { path: path(), source },
        };
        let place = root::trusted(root).map_err(closed)?.path;
        match root::open(&place, Absent::Make) {
            Ok(folder) => Self::within(folder, root, options),
            Err(Errno::NOTDIR) => Err(TargetError::NotAFolder { path: path() }),
            Err(error) => Err(closed(error.into())),
        }
    }

    /// Takes an open folder to restore into, which people call `root`.
    pub fn within(folder: OwnedFd, root: &Path, options: Options) -> Result<Self, TargetError> {
        let closed =
            |source: io::Error| TargetError::Closed { path: encode(root.as_os_str().as_encoded_bytes()), source };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(&folder, c".", flags, Mode::empty()).map_err(|error| closed(error.into()))?;
        accessat(&folder, c".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)
            .or_else(|error| if error == Errno::NOSYS { Ok(()) } else { Err(closed(error.into())) })?;
        let is_new = fs::read_dir(through_proc(&folder)).is_ok_and(|mut entries| entries.next().is_none());
        Ok(Self {
            dirs: Dirs::new(folder),
            owners: Owners::new(options.numeric_ids),
            staged: options.staged,
            issues: Arc::default(),
            later: Mutex::default(),
            several: Arc::default(),
            replaced: Arc::default(),
            is_new,
            temporary: Temporary::new().map_err(|error| closed(error.into()))?,
        })
    }

    /// The same, where it is known what others left alone in the same folder.
    pub fn sharing(self, several: &Several) -> Self {
        Self { several: several.clone(), ..self }
    }

    /// Looks at what is there and makes what can be made without content. `extents` is the entry's resolved
    /// content; it is only read when a file of the same size is already there.
    ///
    /// Call it in the listing's order for folders; for everything else in any order.
    pub fn begin(
        &self,
        entry: &Entry,
        extents: &mut dyn Iterator<Item = Result<Extent, Explained>>,
    ) -> Result<Outcome, TargetError> {
        if entry.path.is_root() && entry.kind != Kind::Dir {
            return Err(TargetError::listing(&entry.path, "the root is no folder"));
        }
        if entry.link.is_some() && entry.kind != Kind::Dir {
            return Ok(Outcome::Link);
        }
        match entry.kind {
            Kind::Dir => self.folder(entry),
            Kind::File => self.file(entry, extents),
            Kind::Symlink | Kind::Fifo | Kind::Char | Kind::Block => self.special(entry),
            Kind::Socket => {
                self.issues.note_plainly(&entry.path, Shortfall::Socket);
                Ok(Outcome::Skipped)
            }
        }
    }

    /// Is this file there already, byte for byte? Its metadata is put right then.
    pub fn already_there(
        &self,
        entry: &Entry,
        extents: &mut dyn Iterator<Item = Result<Extent, Explained>>,
    ) -> Result<bool, TargetError> {
        if self.is_new {
            return Ok(false);
        }
        let (place, meta) = self.prepare(entry)?;
        self.keep(&place, &meta, entry.size, |file| compare::holds(file, entry.size, extents))
    }

    /// A whole file whose content is at hand, with as few system calls as can be.
    pub fn small_file(&self, entry: &Entry, bytes: &[u8]) -> Result<Outcome, TargetError> {
        let (place, meta) = self.prepare(entry)?;
        if bytes.len() as u64 != entry.size {
            return Err(TargetError::listing(&entry.path, "its content is not as long as its size"));
        }
        let file = match self.create(&place) {
            Ok(file) => self.writer(file, place, None, meta, entry.size),
            Err(Errno::EXIST) => {
                if self.keep(&place, &meta, entry.size, |file| Ok(compare::equals(file, bytes)))? {
                    return Ok(Outcome::Identical);
                }
                self.replacement(place, meta, entry.size)?
            }
            Err(error) => return Err(TargetError::system("create", &entry.path, error)),
        };
        file.write_at(0, bytes)?;
        file.finish(entry.size)?;
        Ok(Outcome::Done)
    }

    /// Gives an earlier file its other name. The earlier one must be finished: until then an older file may have
    /// its name.
    pub fn link(&self, entry: &Entry) -> Result<Outcome, TargetError> {
        let path = &entry.path;
        let first = entry.link.as_ref().ok_or_else(|| TargetError::listing(path, "a link to nothing"))?;
        let missing = || TargetError::FirstName { path: path.to_string(), first: first.to_string() };
        let from = self.dirs.parent(first, Missing::Fail).map_err(|error| match error.errno() {
            Some(Errno::NOENT) => missing(),
            _ => error,
        })?;
        let from = Place { dir: from, path: first.clone() };
        let place = Place { dir: self.dirs.parent(path, Missing::Make)?, path: path.clone() };
        let link = |name: &[u8]| linkat(&from.dir, from.name(), &place.dir, name, AtFlags::empty());
        let failed = |error| match error {
            Errno::NOENT => missing(),
            error => TargetError::system("link", path, error),
        };
        match link(place.name()) {
            Ok(()) => return Ok(Outcome::Done),
            Err(Errno::EXIST) => {}
            Err(error) => return Err(failed(error)),
        }
        let (there, wanted) = (place.look()?, from.look()?);
        if (there.st_dev, there.st_ino) == (wanted.st_dev, wanted.st_ino) {
            return Ok(Outcome::Identical);
        }
        let temporary = self.temporary.name();
        link(temporary.as_bytes()).map_err(failed)?;
        place.replace_by(temporary.as_bytes())?;
        self.replaced.fetch_add(1, Ordering::Relaxed);
        Ok(Outcome::Done)
    }

    /// Makes what was written last through a crash. The whole file system is told at once: one call for any number of files.
    pub fn sync(&self) -> Result<(), TargetError> {
        let root = EntryPath::root();
        let dir = self.dirs.itself(&root, Missing::Fail)?;
        rustix::fs::syncfs(&*dir).map_err(|error| TargetError::system("write", &root, error))
    }

    /// How much stood there, differed and was replaced. Says nothing of what is staged.
    pub fn replaced(&self) -> u64 {
        self.replaced.load(Ordering::Relaxed)
    }

    /// Was nothing there to begin with?
    pub fn is_new(&self) -> bool {
        self.is_new
    }

    /// Removes what stands there; a folder only when it is empty. Was there anything?
    pub fn remove(&self, path: &EntryPath, folder: bool) -> Result<bool, TargetError> {
        let dir = match self.dirs.parent(path, Missing::Fail) {
            Ok(dir) => dir,
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        let flags = if folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        match unlinkat(&dir, path.file_name(), flags) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(TargetError::system("remove", path, error)),
        }
    }

    fn prepare(&self, entry: &Entry) -> Result<(Place, Meta), TargetError> {
        let meta = Meta::of(entry, &self.owners)?;
        Ok((Place { dir: self.dirs.parent(&entry.path, Missing::Make)?, path: entry.path.clone() }, meta))
    }

    fn folder(&self, entry: &Entry) -> Result<Outcome, TargetError> {
        let meta = Meta::of(entry, &self.owners)?;
        let dir = self.dirs.itself(&entry.path, Missing::Make)?;
        if !rustix::process::geteuid().is_root() {
            // A folder of ours that is there and closed to us: sealing closes it again.
            let stat = fstat(&*dir).map_err(|error| TargetError::system("look at", &entry.path, error))?;
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            if !mode.contains(Mode::RWXU) {
                // Not ours after all: making the first thing in it says so.
                let _ = fchmod(&*dir, mode | Mode::RWXU);
            }
        }
        self.later.lock().unwrap_or_else(PoisonError::into_inner).push(entry.path.as_bytes(), meta);
        Ok(Outcome::Done)
    }

    fn file(
        &self,
        entry: &Entry,
        extents: &mut dyn Iterator<Item = Result<Extent, Explained>>,
    ) -> Result<Outcome, TargetError> {
        let (place, meta) = self.prepare(entry)?;
        let writer = match self.create(&place) {
            Ok(file) => self.writer(file, place, None, meta, entry.size),
            Err(Errno::EXIST) => {
                if self.keep(&place, &meta, entry.size, |file| compare::holds(file, entry.size, extents))? {
                    return Ok(Outcome::Identical);
                }
                self.replacement(place, meta, entry.size)?
            }
            Err(error) => return Err(TargetError::system("create", &entry.path, error)),
        };
        if entry.size > 0 {
            return Ok(Outcome::Content(writer));
        }
        writer.finish(0)?;
        Ok(Outcome::Done)
    }

    /// Leaves the file that stands there alone if it is the one wanted, putting its metadata right.
    fn keep(
        &self,
        place: &Place,
        meta: &Meta,
        size: u64,
        same: impl FnOnce(rustix::fd::BorrowedFd) -> Result<bool, Explained>,
    ) -> Result<bool, TargetError> {
        let Some((file, now)) = self.wanted_one(place, meta, size, same)? else { return Ok(false) };
        apply(Handle::Open(file.as_fd()), &now, meta, &place.path, &self.issues);
        Ok(true)
    }

    /// The file that stands there, if it is the one wanted.
    fn wanted_one(
        &self,
        place: &Place,
        meta: &Meta,
        size: u64,
        same: impl FnOnce(rustix::fd::BorrowedFd) -> Result<bool, Explained>,
    ) -> Result<Option<(rustix::fd::OwnedFd, Now)>, TargetError> {
        let Some((file, stat)) = place.existing()? else { return Ok(None) };
        let now = Now::existing(&stat);
        // A file's other names may lie outside the target: its metadata is theirs too and is not for us to change.
        let several = stat.st_nlink > 1;
        let ours = || now.matches(Handle::Open(file.as_fd()), meta) && !self.stays_as_another(&stat, &place.path);
        if u64::try_from(stat.st_size) != Ok(size) || (several && !ours()) {
            return Ok(None);
        }
        let content = |error| TargetError::Content { path: place.path.to_string(), source: error::Cause(error) };
        let is_it = same(file.as_fd()).map_err(content)? && (!several || self.is_first_name(&stat, &place.path));
        Ok(is_it.then_some((file, now)))
    }

    /// Of a file with several names, one stays: the first that is to hold what it holds. Files that were apart when they were
    /// captured become so again.
    fn is_first_name(&self, stat: &Stat, path: &EntryPath) -> bool {
        let mut several = self.several.lock().unwrap_or_else(PoisonError::into_inner);
        *several.entry((stat.st_dev, stat.st_ino)).or_insert_with(|| path.clone()) == *path
    }

    /// Does another name of this file stay?
    fn stays_as_another(&self, stat: &Stat, path: &EntryPath) -> bool {
        let several = self.several.lock().unwrap_or_else(PoisonError::into_inner);
        several.get(&(stat.st_dev, stat.st_ino)).is_some_and(|first| first != path)
    }

    /// Makes the file under its own name, if nothing stands there and it may be seen half written.
    fn create(&self, place: &Place) -> Result<rustix::fd::OwnedFd, Errno> {
        if self.staged { Err(Errno::EXIST) } else { place.create(place.name()) }
    }

    fn replacement(&self, place: Place, meta: Meta, size: u64) -> Result<FileWriter, TargetError> {
        let name = self.temporary.name();
        let file = place.create(name.as_bytes()).map_err(|error| TargetError::system("replace", &place.path, error))?;
        Ok(self.writer(file, place, Some(name), meta, size))
    }

    fn writer(
        &self,
        file: rustix::fd::OwnedFd,
        place: Place,
        temporary: Option<String>,
        meta: Meta,
        size: u64,
    ) -> FileWriter {
        let issues = self.issues.clone();
        let (end, closed) = (AtomicU64::new(0), AtomicBool::new(false));
        let replaced = self.replaced.clone();
        FileWriter { file, place, temporary, meta, size, issues, replaced, end, closed }
    }
}
