//! One name in an open folder: what stands there, making something there, putting something over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, openat, renameat, statat, unlinkat};
use rustix::io::Errno;

use super::dirs::Dir;
use super::error::TargetError;
use crate::base::path::EntryPath;

/// Where an entry goes.
pub struct Place {
    pub dir: Arc<Dir>,
    pub path: EntryPath,
}

/// Makes names that no one can guess, for what is not complete yet.
pub struct Temporary {
    random: u64,
    next: AtomicU64,
}

impl Temporary {
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { random: getrandom::u64()?, next: AtomicU64::new(0) })
    }

    pub fn name(&self) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        format!(".strongroom-{:016x}-{number}.partial", self.random)
    }
}

/// Is it such a name? What it belongs to is not complete, and never will be if nobody is at it.
pub fn is_temporary(name: &[u8]) -> bool {
    let middle = name.strip_prefix(b".strongroom-").and_then(|rest| rest.strip_suffix(b".partial"));
    middle.is_some_and(|middle| middle.len() >= 16 && middle[..16].iter().all(u8::is_ascii_hexdigit))
}

impl Place {
    pub fn name(&self) -> &[u8] {
        self.path.file_name()
    }

    /// Makes an empty file that only its owner can open; fails with `EXIST` when anything stands there.
    pub fn create(&self, name: &[u8]) -> Result<OwnedFd, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        openat(&self.dir, name, flags, Mode::RUSR | Mode::WUSR)
    }

    /// What stands there, itself and not what it points to. A folder is an error: only another folder may be there.
    pub fn look(&self) -> Result<Stat, TargetError> {
        let stat = statat(&self.dir, self.name(), AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| TargetError::system("look at", &self.path, error))?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(TargetError::in_the_way(&self.path, b"a folder of that name"));
        }
        Ok(stat)
    }

    /// Opens the ordinary file that stands there. `None` for nothing, for anything else and for what cannot be read:
    /// it is going to be replaced. Looks before opening, since opening a device can set it in motion.
    pub fn existing(&self) -> Result<Option<(OwnedFd, Stat)>, TargetError> {
        let ordinary = |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
        match self.look() {
            Ok(stat) if ordinary(&stat) => {}
            Ok(_) => return Ok(None),
            Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(None),
            Err(error) => return Err(error),
        }
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = openat(&self.dir, self.name(), flags, Mode::empty()) else { return Ok(None) };
        let stat = fstat(&file).map_err(|error| TargetError::system("look at", &self.path, error))?;
        Ok(ordinary(&stat).then_some((file, stat)))
    }

    /// Puts the complete thing called `temporary` in this place, over whatever stands there.
    pub fn replace_by(&self, temporary: &[u8]) -> Result<(), TargetError> {
        renameat(&self.dir, temporary, &self.dir, self.name()).map_err(|error| {
            self.remove(temporary);
            TargetError::system("replace", &self.path, error)
        })
    }

    /// Removes what was begun here. Failing to is not worth hiding the error that led to it.
    pub fn remove(&self, name: &[u8]) {
        let _ = unlinkat(&self.dir, name, AtFlags::empty());
    }
}
