//! Open folders: every name below the target is reached through them, one component at a time.
//!
//! Owns the rule that a restore never leaves its target: each component is opened relative to its parent with
//! `O_NOFOLLOW | O_DIRECTORY`, so that a link is an error and never a way out, however it came there.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rustix::fd::{AsFd, BorrowedFd, OwnedFd};
use rustix::fs::{AtFlags, Mode, OFlags, chmodat, fgetxattr, fstat, mkdirat, openat, statat};
use rustix::io::Errno;
use rustix::process::{Resource, geteuid, getrlimit};

use super::apply::{Now, through_proc};
use super::error::TargetError;
use crate::base::path::EntryPath;

/// So many folders are kept open at most.
const MOST_OPEN: usize = 256;
/// So many ancestors are looked up in the cache before the walk starts at the root, and so many are kept on the way
/// down. Without the bound a tree of 10,000 levels costs the square of its depth in hashing paths.
const NEAR: usize = 160;

/// An open folder and what has been learnt of the files made in it.
pub struct Dir {
    fd: OwnedFd,
    newborn: OnceLock<Now>,
}

impl Dir {
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, newborn: OnceLock::new() }
    }

    /// Owner and mode of a file just made here. Learnt from the first one, which is right under setgid, on file
    /// systems that map owners, and everywhere else; asking for each file would be a system call for each file.
    pub fn newborn(&self, file: impl AsFd) -> Result<&Now, Errno> {
        if let Some(now) = self.newborn.get() {
            return Ok(now);
        }
        let stat = fstat(file)?;
        Ok(self.newborn.get_or_init(|| Now::newborn(&stat, self.has_default_acl())))
    }

    /// Do new files get an ACL from this folder?
    fn has_default_acl(&self) -> bool {
        let mut short = [0; 1];
        matches!(fgetxattr(&self.fd, c"system.posix_acl_default", &mut short[..]), Ok(_) | Err(Errno::RANGE))
    }
}

impl AsFd for Dir {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    Make,
    Fail,
    /// As `Fail`; and a folder that is closed to its owner stays closed: somebody only looks.
    Look,
}

/// The cache. Holds at most [`MOST_OPEN`] folders; those in use elsewhere stay open until let go.
pub struct Dirs {
    root: Arc<Dir>,
    cache: Mutex<Cache>,
    capacity: usize,
}

#[derive(Default)]
struct Cache {
    clock: u64,
    open: HashMap<Box<[u8]>, (u64, Arc<Dir>)>,
}

impl Dirs {
    pub fn new(root: OwnedFd) -> Self {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let capacity = usize::try_from(descriptors / 4).map_or(MOST_OPEN, |n| n.clamp(2, MOST_OPEN));
        Self { root: Arc::new(Dir::new(root)), cache: Mutex::default(), capacity }
    }

    /// The folder that holds `path`.
    pub fn parent(&self, path: &EntryPath, missing: Missing) -> Result<Arc<Dir>, TargetError> {
        let bytes = path.as_bytes();
        self.open(path, bytes.iter().rposition(|&b| b == b'/').unwrap_or(0), missing)
    }

    /// The folder `path` itself.
    pub fn itself(&self, path: &EntryPath, missing: Missing) -> Result<Arc<Dir>, TargetError> {
        self.open(path, path.as_bytes().len(), missing)
    }

    /// The folder named by the first `end` bytes of `path`, from the nearest open ancestor down.
    fn open(&self, path: &EntryPath, end: usize, missing: Missing) -> Result<Arc<Dir>, TargetError> {
        let bytes = path.as_bytes();
        let (mut dir, mut at) = self.nearest(&bytes[..end]);
        while at < end {
            let start = if at == 0 { 0 } else { at + 1 };
            at = bytes[start..end].iter().position(|&b| b == b'/').map_or(end, |n| start + n);
            let fd = step(&dir, &bytes[start..at], missing).map_err(|error| match error {
                Errno::NOTDIR | Errno::LOOP => TargetError::in_the_way(path, &bytes[..at]),
                error => TargetError::system("open the folder of", path, error),
            })?;
            dir = Arc::new(Dir::new(fd));
            if bytes[at..end].iter().filter(|&&b| b == b'/').take(NEAR).count() < NEAR {
                self.keep(&bytes[..at], &dir);
            }
        }
        Ok(dir)
    }

    fn nearest(&self, folder: &[u8]) -> (Arc<Dir>, usize) {
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = &mut *guard;
        let mut end = folder.len();
        for _ in 0..NEAR {
            if end == 0 {
                break;
            }
            if let Some((used, dir)) = cache.open.get_mut(&folder[..end]) {
                cache.clock += 1;
                *used = cache.clock;
                return (dir.clone(), end);
            }
            end = folder[..end].iter().rposition(|&b| b == b'/').unwrap_or(0);
        }
        (self.root.clone(), 0)
    }

    fn keep(&self, path: &[u8], dir: &Arc<Dir>) {
        let mut guard = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        let cache = &mut *guard;
        if cache.open.len() >= self.capacity {
            // A quarter goes at once, so that the scan is paid once for many.
            let mut ages: Vec<u64> = cache.open.values().map(|(used, _)| *used).collect();
            let quarter = ages.len() / 4;
            let (_, oldest_kept, _) = ages.select_nth_unstable(quarter);
            let oldest_kept = *oldest_kept;
            cache.open.retain(|_, (used, _)| *used > oldest_kept);
        }
        cache.clock += 1;
        cache.open.insert(path.into(), (cache.clock, dir.clone()));
    }
}

/// One component down.
fn step(dir: &Dir, name: &[u8], missing: Missing) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::NOENT) if missing == Missing::Make => {
            match mkdirat(dir, name, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error),
            }
            openat(dir, name, flags, Mode::empty())
        }
        Err(Errno::ACCESS) if missing != Missing::Look => {
            unlock(dir, name)?;
            openat(dir, name, flags, Mode::empty())
        }
        other => other,
    }
}

/// Lets the owner into a folder of their own that its mode keeps them out of. Sealing sets the mode anew.
fn unlock(dir: &Dir, name: &[u8]) -> Result<(), Errno> {
    let folder =
        openat(dir, name, OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let stat = statat(&folder, c"", AtFlags::EMPTY_PATH)?;
    if stat.st_uid != geteuid().as_raw() {
        return Err(Errno::ACCESS);
    }
    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777) | Mode::RWXU;
    chmodat(rustix::fs::CWD, through_proc(&folder).as_str(), mode, AtFlags::empty())
}
