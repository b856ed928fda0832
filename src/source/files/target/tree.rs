//! A tree to look into, and the databases in it: every name is reached as a restore reaches it, never through a link.

use std::collections::BTreeSet;
use std::ffi::{CString, OsStr};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fd::{AsFd, OwnedFd};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, Stat, fstat, mkdirat, openat, readlinkat, renameat, renameat_with, statat,
    syncfs, unlinkat,
};
use rustix::io::Errno;

use super::dirs::{Dirs, Missing};
use super::error::TargetError;
use super::{Target, dirs};
use crate::base::path::EntryPath;
use crate::engine::sqlite::file::DatabaseFile;

/// A folder and what is below it.
pub struct Tree {
    dirs: Dirs,
    root: PathBuf,
}

impl Tree {
    /// `root` is what people call the folder.
    pub fn new(folder: OwnedFd, root: &Path) -> Self {
        Self { dirs: Dirs::new(folder), root: root.to_owned() }
    }

    /// What stands there, itself and not what it links to; nothing where nothing does. What stands in the way there is an
    /// error.
    pub fn look(&self, path: &EntryPath) -> Result<Option<Stat>, TargetError> {
        let folder = match self.dirs.parent(path, Missing::Look) {
            Ok(folder) => folder,
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        };
        let name = if path.is_root() { b".".as_slice() } else { path.file_name() };
        match statat(&*folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(TargetError::system("look at", path, error)),
        }
    }

    /// The database at a path, which need not be there, by the name it is in use by; nothing where not even its folder is.
    pub fn database(&self, path: &EntryPath) -> Result<Option<DatabaseFile>, TargetError> {
        match self.dirs.parent(path, Missing::Look) {
            Ok(folder) => database(&folder, path, &self.root).map(|file| Some(file.in_use())),
            Err(error) if error.errno() == Some(Errno::NOENT) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens the regular file that stands there to be read; nothing where there is none.
    pub fn file(&self, path: &EntryPath) -> Option<OwnedFd> {
        self.database(path).ok().flatten()?.open().ok()
    }

    /// What the link that stands there leads to, as it is written in it; nothing where there is none.
    pub fn read_link(&self, path: &EntryPath) -> Option<Vec<u8>> {
        let folder = self.dirs.parent(path, Missing::Look).ok()?;
        readlinkat(&*folder, path.file_name(), Vec::new()).ok().map(CString::into_bytes)
    }

    /// Moves what stands at a path of another tree to a path here. What stands there already is replaced only if that is
    /// meant. Lasts once the tree is synchronized.
    pub fn take(&self, (tree, from): (&Self, &EntryPath), path: &EntryPath, replace: bool) -> Result<(), TargetError> {
        let failed = |error| TargetError::system("write", path, error);
        let there = tree.dirs.parent(from, Missing::Look)?;
        let here = self.dirs.parent(path, Missing::Look)?;
        let (old, new) = (from.file_name(), path.file_name());
        let flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        match renameat_with(&*there, old, &*here, new, flags) {
            Err(Errno::INVAL | Errno::NOSYS) if self.look(path)?.is_none() => {
                renameat(&*there, old, &*here, new).map_err(failed)
            }
            result => result.map_err(failed),
        }
    }

    /// Makes what was moved to these paths, or removed there, last through a crash: one call for each file system they are on.
    pub fn sync<'p>(&self, paths: impl Iterator<Item = &'p EntryPath>) -> Result<(), TargetError> {
        let mut synchronized = BTreeSet::new();
        for path in paths {
            let failed = |error| TargetError::system("write", path, error);
            let folder = self.nearest_folder(path)?;
            if synchronized.insert(fstat(&*folder).map_err(failed)?.st_dev) {
                let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
                openat(&*folder, c".", flags, Mode::empty()).and_then(syncfs).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// The folder that something is in, or the nearest above it that is there.
    fn nearest_folder(&self, path: &EntryPath) -> Result<Arc<dirs::Dir>, TargetError> {
        match self.dirs.parent(path, Missing::Look) {
            Err(error) if error.errno() == Some(Errno::NOENT) => match path.parent() {
                Some(folder) if !folder.is_root() => self.nearest_folder(&folder),
                _ => self.dirs.itself(&EntryPath::root(), Missing::Look),
            },
            folder => folder,
        }
    }

    /// Makes a folder in one that is there.
    pub fn make_folder(&self, path: &EntryPath) -> Result<(), TargetError> {
        let made = mkdirat(&*self.dirs.parent(path, Missing::Look)?, path.file_name(), Mode::from_raw_mode(0o777));
        made.map_err(|error| TargetError::system("make", path, error))
    }

    /// Removes a file, and for good once the tree is synchronized. Was there one?
    pub fn remove_file(&self, path: &EntryPath) -> Result<bool, TargetError> {
        let folder = match self.dirs.parent(path, Missing::Look) {
            Ok(folder) => folder,
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(false),
            Err(error) => return Err(error),
        };
        match unlinkat(&*folder, path.file_name(), AtFlags::empty()) {
            Ok(()) => Ok(true),
            Err(Errno::NOENT) => Ok(false),
            Err(error) => Err(TargetError::system("remove", path, error)),
        }
    }

    /// Removes a folder that is empty. Has it?
    pub fn remove_folder(&self, path: &EntryPath) -> bool {
        let folder = self.dirs.parent(path, Missing::Look);
        folder.is_ok_and(|folder| unlinkat(&*folder, path.file_name(), AtFlags::REMOVEDIR).is_ok())
    }

    /// An open folder of the tree; nothing where there is none.
    pub fn folder(&self, path: &EntryPath) -> Option<OwnedFd> {
        let folder = self.dirs.itself(path, Missing::Look).ok()?;
        folder.as_fd().try_clone_to_owned().ok()
    }
}

impl Target {
    /// The database that is to be at a path, by the name it is in use by; its folder is made where it is not there. `root` is what people call the
    /// target.
    pub fn database(&self, path: &EntryPath, root: &Path) -> Result<DatabaseFile, TargetError> {
        database(&*self.dirs.parent(path, Missing::Make)?, path, root).map(DatabaseFile::in_use)
    }

    /// The file at a path that a database takes the place of, whatever other names it has; nothing where its folder cannot be
    /// reached.
    pub fn database_there(&self, path: &EntryPath, root: &Path) -> Option<DatabaseFile> {
        database(&*self.dirs.parent(path, Missing::Look).ok()?, path, root).ok()
    }
}

fn database(folder: &dirs::Dir, path: &EntryPath, root: &Path) -> Result<DatabaseFile, TargetError> {
    let shown = root.join(OsStr::from_bytes(path.as_bytes()));
    DatabaseFile::within(folder, OsStr::from_bytes(path.file_name()), &shown).map_err(|source| TargetError::Io {
        action: "open the folder of",
        path: path.to_string(),
        source,
    })
}
