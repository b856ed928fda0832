//! What stands where an entry would go, compared as a restore compares it. Writes nothing.
//!
//! A restore decides by the same questions ([`Target::wanted_one`], [`Target::has_special`]), so that what is announced is
//! what happens.

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;

use rustix::fd::{AsFd, BorrowedFd};
use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags, Stat, accessat, fstat, openat};
use rustix::io::Errno;

use super::apply::{Handle, Meta, Now};
use super::compare;
use super::dirs::{Dirs, Missing};
use super::error::TargetError;
use super::issues::Shortfall;
use super::owners::Owners;
use super::place::{Place, Temporary};
use super::{Options, Target};
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::error::Explained;
use crate::base::path::encode;
use crate::source::files::root::{self, Absent};

/// What a restore of an entry would find.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    Nothing,
    /// The very thing: it would be left alone.
    Same,
    /// The same bytes under other permissions, owner, time or attributes.
    Metadata,
    /// Something else, and its length if it is a file: it would be replaced.
    Other(Option<u64>),
}

impl Target {
    /// The folder that would be restored into, to look at only. `None` where it is not there.
    pub fn at(root: &Path, options: Options) -> Result<Option<Self>, TargetError> {
        let path = || encode(root.as_os_str().as_encoded_bytes());
        let closed = |source: io::Error| TargetError::Closed { path: path(), source };
        match fs::metadata(root) {
            Ok(there) if !there.is_dir() => return Err(TargetError::NotAFolder { path: path() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let above = std::path::absolute(root).map_err(closed)?;
                let above = above.ancestors().skip(1).find(|above| fs::symlink_metadata(above).is_ok());
                return above.map_or(Ok(None), |above| writable(CWD, above).map(|()| None).map_err(closed));
            }
            Err(error) => return Err(closed(error)),
            Ok(_) => writable(CWD, root).map_err(closed)?,
        }
        let place = root::trusted(root).map_err(closed)?.path;
        let folder = root::open(&place, Absent::Fail).map_err(|error| closed(error.into()))?;
        Ok(Some(Self {
            dirs: Dirs::new(folder),
            owners: Owners::new(options.numeric_ids),
            staged: options.staged,
            issues: Arc::default(),
            later: Default::default(),
            several: Default::default(),
            replaced: Arc::default(),
            is_new: fs::read_dir(root).is_ok_and(|mut entries| entries.next().is_none()),
            temporary: Temporary::new().map_err(|error| closed(error.into()))?,
        }))
    }

    /// What stands in an entry's place? `extents` is its resolved content, which is read only where a file of the same
    /// size is there. A name of an earlier file is compared with that one.
    pub fn look(
        &self,
        entry: &Entry,
        extents: &mut dyn Iterator<Item = Result<Extent, Explained>>,
    ) -> Result<Found, TargetError> {
        let meta = Meta::of(entry, &self.owners)?;
        if entry.kind == Kind::Dir {
            return self.look_at_folder(entry, meta);
        }
        if entry.kind == Kind::Socket {
            self.issues.note_plainly(&entry.path, Shortfall::Socket);
            return Ok(Found::Same);
        }
        let Some((place, stat)) = self.seen(entry)? else { return Ok(Found::Nothing) };
        let is_file = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        let other = Found::Other(u64::try_from(stat.st_size).ok().filter(|_| is_file));
        if let Some(first) = &entry.link {
            let first = self.seen(&Entry { path: first.clone(), link: None, ..entry.clone() })?;
            let is_it = first.is_some_and(|(_, first)| (first.st_dev, first.st_ino) == (stat.st_dev, stat.st_ino));
            return Ok(if is_it { Found::Same } else { other });
        }
        let now = Now::existing(&stat);
        Ok(match entry.kind {
            Kind::File => {
                let same = |file: BorrowedFd<'_>| compare::holds(file, entry.size, extents);
                match self.wanted_one(&place, &meta, entry.size, same)? {
                    Some((file, now)) => dressed(Handle::Open(file.as_fd()), &now, &meta),
                    None => other,
                }
            }
            _ if self.has_special(entry, &place, &meta)? => through(&place, &now, &meta)?,
            _ => other,
        })
    }

    /// What of a database's metadata is not as the entry says? Its time is its own. Opens nothing that SQLite may have open.
    pub fn look_at_database(&self, entry: &Entry) -> Result<Found, TargetError> {
        let Some((place, stat)) = self.seen(entry)? else { return Ok(Found::Nothing) };
        let now = Now::existing(&stat);
        let meta = Meta::of(entry, &self.owners)?.at_the_time_of(&now);
        through(&place, &now, &meta)
    }

    fn look_at_folder(&self, entry: &Entry, meta: Meta) -> Result<Found, TargetError> {
        let dir = match self.dirs.itself(&entry.path, Missing::Look) {
            Ok(dir) => dir,
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(Found::Nothing),
            Err(error) => return Err(error),
        };
        let stat = fstat(&*dir).map_err(|error| TargetError::system("look at", &entry.path, error))?;
        // Its time says only that something in it changed, which is told of that something.
        let now = Now::existing(&stat);
        Ok(dressed(Handle::Open(dir.as_fd()), &now, &meta.at_the_time_of(&now)))
    }

    /// What stands there, if its folder and itself do.
    fn seen(&self, entry: &Entry) -> Result<Option<(Place, Stat)>, TargetError> {
        let nothing = |error: &TargetError| error.errno() == Some(Errno::NOENT);
        let dir = match self.dirs.parent(&entry.path, Missing::Look) {
            Ok(dir) => dir,
            Err(error) if nothing(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let place = Place { dir, path: entry.path.clone() };
        match place.look() {
            Ok(stat) => Ok(Some((place, stat))),
            Err(error) if nothing(&error) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// May this user make something in a folder?
fn writable(dir: BorrowedFd<'_>, folder: &Path) -> io::Result<()> {
    match accessat(dir, folder, Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS) {
        Ok(()) | Err(Errno::NOSYS) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn dressed(handle: Handle, now: &Now, meta: &Meta) -> Found {
    if now.matches(handle, meta) { Found::Same } else { Found::Metadata }
}

/// The metadata of what is reached without being opened.
fn through(place: &Place, now: &Now, meta: &Meta) -> Result<Found, TargetError> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let thing = openat(&place.dir, place.name(), flags, Mode::empty());
    let thing = thing.map_err(|error| TargetError::system("look at", &place.path, error))?;
    Ok(dressed(Handle::Place(thing.as_fd()), now, meta))
}
