//! A database file, reached through the folder it is in, which is open.
//!
//! Owns how SQLite is made to open just that file: a name in an open folder cannot be led elsewhere by a link that
//! somebody puts in the place of the folder, of the file, or of what SQLite keeps beside it. What is no regular file is
//! never opened. A connection must be dropped before the file it was made by.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use rusqlite::{Connection, OpenFlags, ffi};
use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;

use crate::engine::regular::{self, Absent};
use crate::engine::sqlite::COMPANIONS;
use crate::engine::sqlite::vfs::system::{self, FOLDERS, FileId};

/// Folders that databases are open in. SQLite keeps the name that a log's index was first opened by and removes the index by
/// that name, whoever of several connections is the last: so a folder is open once, for all of them.
static OPEN: Mutex<Option<HashMap<FileId, Weak<OwnedFd>>>> = Mutex::new(None);

#[derive(Clone, Debug)]
pub struct DatabaseFile {
    folder: Arc<OwnedFd>,
    name: OsString,
    /// How people call it.
    shown: PathBuf,
    /// The file that is meant, if it is known.
    meant: Option<FileId>,
}

impl DatabaseFile {
    /// The file of this name in an open folder. `shown` is what people call it.
    pub fn within(folder: impl AsFd, name: &OsStr, shown: &Path) -> io::Result<Self> {
        let stat = fstat(&folder)?;
        let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
        let open = open.get_or_insert_default();
        open.retain(|_, folder| folder.strong_count() > 0);
        let id = id(&stat);
        let folder = match open.get(&id).and_then(Weak::upgrade) {
            Some(folder) => folder,
            None => {
                let folder = Arc::new(folder.as_fd().try_clone_to_owned()?);
                open.insert(id, Arc::downgrade(&folder));
                folder
            }
        };
        Ok(Self { folder, name: name.to_owned(), shown: shown.to_owned(), meant: None })
    }

    /// The file at a path that a person named, links and all, as it leads now. The file itself need not be there.
    pub fn at(path: &Path) -> io::Result<Self> {
        let whole = std::path::absolute(path)?;
        let whole = whole.canonicalize().unwrap_or(whole);
        let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        let folder = openat(CWD, parent, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        Self::within(folder, name, path)
    }

    /// The file at a path without links: one that was put on the way is an error. The file itself need not be there.
    pub fn direct(path: &Path) -> io::Result<Self> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(io::ErrorKind::IsADirectory.into());
        };
        Self::within(regular::folder(parent, Absent::Fail)?, name, path)
    }

    /// The same, if it is this file: whatever else SQLite finds under its name is refused.
    #[must_use]
    pub fn that_is(self, id: FileId) -> Self {
        Self { meant: Some(id), ..self }
    }

    /// What people call it.
    pub fn shown(&self) -> &Path {
        &self.shown
    }

    /// Its name in its folder.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The name by which this process reaches it, for as long as this lives.
    pub fn path(&self) -> PathBuf {
        let mut path = PathBuf::from(format!("{FOLDERS}{}", self.folder.as_raw_fd()));
        path.push(&self.name);
        path
    }

    /// The folder it is in.
    pub fn folder(&self) -> &Arc<OwnedFd> {
        &self.folder
    }

    /// Another file of the same folder, which is no matter of people.
    pub fn beside(&self, name: &OsStr) -> Self {
        let shown = self.shown.with_file_name(name);
        Self { folder: self.folder.clone(), name: name.to_owned(), shown, meant: None }
    }

    /// What SQLite keeps beside it: `-wal` and the like.
    pub fn companion(&self, end: &str) -> Self {
        let mut name = self.name.clone();
        name.push(end);
        self.beside(&name)
    }

    /// What stands there, itself and not what it links to; nothing where nothing does.
    pub fn look(&self) -> io::Result<Option<Stat>> {
        match statat(&self.folder, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The file it is, by whatever name; nothing where none is.
    pub fn id(&self) -> Option<FileId> {
        self.look().ok().flatten().filter(is_regular).map(|there| id(&there))
    }

    /// Is it a regular file?
    pub fn is_there(&self) -> bool {
        self.look().is_ok_and(|stat| stat.is_some_and(|stat| is_regular(&stat)))
    }

    /// Is it a regular file with anything in it?
    pub fn has_content(&self) -> bool {
        self.look().is_ok_and(|stat| stat.is_some_and(|stat| is_regular(&stat) && stat.st_size > 0))
    }

    /// Opens it to be read as it lies there, if it is a regular file. SQLite may have it open as well: see `held`.
    pub fn open(&self) -> io::Result<OwnedFd> {
        let odd = || io::Error::other("it is no regular file");
        let there = self.look()?.ok_or(io::ErrorKind::NotFound)?;
        if !is_regular(&there) {
            return Err(odd());
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = openat(&self.folder, &self.name, flags, Mode::empty())?;
        if is_regular(&fstat(&open)?) { Ok(open) } else { Err(odd()) }
    }

    /// Has SQLite open it.
    pub fn connect(&self, flags: OpenFlags) -> rusqlite::Result<Connection> {
        self.ready()?;
        self.checked(|| Connection::open_with_flags_and_vfs(self.path(), flags, system::NAME))
    }

    /// Has SQLite open it as a file that nobody else has open, without making anything beside it.
    pub(in crate::engine::sqlite) fn connect_alone(&self) -> rusqlite::Result<Connection> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let uri = format!("{}&immutable=1", self.uri()?);
        self.checked(|| Connection::open_with_flags(uri, flags))
    }

    fn checked(&self, open: impl FnOnce() -> rusqlite::Result<Connection>) -> rusqlite::Result<Connection> {
        system::forget();
        let connection = open()?;
        match (self.meant, system::opened()) {
            (Some(meant), opened) if opened != Some(meant) => {
                Err(refused("it was replaced by something else meanwhile".to_owned()))
            }
            _ => Ok(connection),
        }
    }

    /// How `ATTACH` names it, to be read only. The connection it is attached to must be dropped before this.
    pub fn uri(&self) -> rusqlite::Result<String> {
        self.ready()?;
        let name = system::NAME.to_str().expect("BUG: plain letters");
        Ok(format!("file:{}?vfs={name}&mode=ro", escaped(&self.path())))
    }

    /// Refuses where SQLite would come upon something that is no regular file.
    fn ready(&self) -> rusqlite::Result<()> {
        system::register().map_err(|error| refused(error.to_string()))?;
        let all = COMPANIONS.iter().map(|end| self.companion(end)).chain([self.clone()]);
        for file in all {
            if let Ok(Some(stat)) = file.look()
                && !is_regular(&stat)
            {
                let name = file.name.to_string_lossy().into_owned();
                return Err(refused(format!("{name} is {}", what(&stat))));
            }
        }
        Ok(())
    }
}

fn refused(why: String) -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(ffi::Error::new(ffi::SQLITE_CANTOPEN), Some(why))
}

fn id(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

pub fn is_regular(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile
}

/// What stands there, in words.
pub fn what(stat: &Stat) -> &'static str {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => "a file",
        FileType::Directory => "a folder",
        FileType::Symlink => "a link",
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// A path as it stands in a URI.
pub(in crate::engine::sqlite) fn escaped(path: &Path) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-".contains(&byte);
    path.as_os_str()
        .as_bytes()
        .iter()
        .map(|&byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect()
}

#[cfg(test)]
mod tests;
