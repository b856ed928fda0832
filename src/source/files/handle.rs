//! Open directories and files, reached from their parent so that no path is ever too long.
//!
//! Owns the flags things are opened with: never through a link, never waiting for a fifo's other end, and without
//! touching access times where the system allows it.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// An open directory, counted while it is open.
pub(super) struct Handle {
    fd: OwnedFd,
    open: Arc<AtomicUsize>,
}

impl Handle {
    pub fn new(fd: OwnedFd, open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self { fd, open: open.clone() }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsFd for Handle {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Opens things as one user.
#[derive(Clone, Copy)]
pub(super) struct Opener {
    user: u32,
}

impl Opener {
    pub fn new() -> Self {
        Self { user: rustix::process::geteuid().as_raw() }
    }

    pub fn directory(self, parent: impl AsFd, name: &CStr, owner: u32) -> Result<OwnedFd, Errno> {
        self.open(parent, name, owner, OFlags::DIRECTORY)
    }

    pub fn file(self, parent: impl AsFd, name: &CStr, owner: u32) -> Result<OwnedFd, Errno> {
        self.open(parent, name, owner, OFlags::NONBLOCK | OFlags::NOCTTY)
    }

    /// Only the owner of a file may leave its access time alone; for others the kernel refuses the flag.
    fn open(self, parent: impl AsFd, name: &CStr, owner: u32, flags: OFlags) -> Result<OwnedFd, Errno> {
        let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        if self.user == 0 || self.user == owner {
            match openat(&parent, name, flags | OFlags::NOATIME, Mode::empty()) {
                Err(Errno::PERM) => {}
                other => return other,
            }
        }
        openat(&parent, name, flags, Mode::empty())
    }
}

/// Lets this process hold as many files open as it may, and says how many that is.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    now.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What a person makes of an error while reading something the walk found.
pub(super) fn trouble(error: Errno) -> String {
    match error {
        Errno::LOOP | Errno::NOTDIR | Errno::NXIO => "was replaced by something else while it was captured".to_owned(),
        other => crate::base::error::reason(&other.into()),
    }
}
