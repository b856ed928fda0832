//! Sets metadata on what is restored: owner, attributes, mode, time, in the one order that keeps them all.
//!
//! - Owner first: changing it clears setuid and file capabilities.
//! - Attributes next, while the mode still lets the owner write.
//! - Mode after both. Time last, since everything before it changes the file.
//!
//! A shortfall is counted and never ends the restore.

use std::collections::BTreeMap;
use std::ffi::CString;

use rustix::fd::{AsFd, AsRawFd, BorrowedFd};
use rustix::fs::{
    AtFlags, CWD, Gid, Mode, Stat, Timespec, Timestamps, UTIME_OMIT, Uid, XattrFlags, chmodat, chownat, fchmod, fchown,
    fgetxattr, flistxattr, fremovexattr, fsetxattr, futimens, getxattr, listxattr, removexattr, setxattr, utimensat,
};
use rustix::io::Errno;

use super::error::TargetError;
use super::issues::{Issues, Shortfall};
use super::owners::Owners;
use crate::base::entry::{Entry, Kind};
use crate::base::path::{EntryPath, decode};

/// The longest list of names and the longest value Linux allows.
const MOST_ATTRIBUTE_BYTES: usize = 64 << 10;

/// Few files have any, and an empty box takes no room of its own.
type Attributes = Box<[(CString, Vec<u8>)]>;

/// What an entry's metadata means on this machine.
pub struct Meta {
    /// `None` for links, which have no mode of their own.
    mode: Option<u32>,
    uid: u32,
    gid: u32,
    mtime: Timespec,
    /// Name to value, sorted by name.
    attributes: Attributes,
}

impl Meta {
    pub fn of(entry: &Entry, owners: &Owners) -> Result<Self, TargetError> {
        let (uid, gid) = owners.of(entry);
        let (seconds, nanoseconds) = entry.mtime.unix();
        Ok(Self {
            mode: (entry.kind != Kind::Symlink).then_some(entry.mode & 0o7777),
            uid,
            gid,
            mtime: Timespec { tv_sec: seconds, tv_nsec: nanoseconds.into() },
            attributes: attributes(&entry.xattrs)
                .ok_or_else(|| TargetError::listing(&entry.path, "an attribute that cannot be"))?,
        })
    }
}

fn attributes(written: &BTreeMap<String, String>) -> Option<Attributes> {
    let read = |(name, value): (&String, &String)| Some((CString::new(decode(name)?).ok()?, decode(value)?));
    written.iter().map(read).collect()
}

impl Meta {
    /// The same, with the time that a file has.
    pub fn at_the_time_of(self, now: &Now) -> Self {
        Self { mtime: now.mtime.unwrap_or(self.mtime), ..self }
    }
}

/// What a file has before its metadata is set.
pub struct Now {
    uid: u32,
    gid: u32,
    mode: u32,
    mtime: Option<Timespec>,
    /// Whether it may have attributes of its own, which takes a system call to find out.
    attributes: bool,
}

impl Now {
    /// A file just made; `attributes` says whether its folder gave it any.
    pub fn newborn(stat: &Stat, attributes: bool) -> Self {
        Self { mtime: None, attributes, ..Self::existing(stat) }
    }

    pub fn existing(stat: &Stat) -> Self {
        let mtime = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
        Self { uid: stat.st_uid, gid: stat.st_gid, mode: stat.st_mode & 0o7777, mtime: Some(mtime), attributes: true }
    }

    /// Would nothing have to be changed on what `handle` reaches?
    pub fn matches(&self, handle: Handle, meta: &Meta) -> bool {
        handle.has_just(&meta.attributes)
            && (self.uid, self.gid) == (meta.uid, meta.gid)
            && meta.mode.is_none_or(|mode| mode == self.mode)
            && self.mtime == Some(meta.mtime)
    }
}

/// A way to reach a file's metadata.
#[derive(Clone, Copy)]
pub enum Handle<'fd> {
    /// An open file or folder.
    Open(BorrowedFd<'fd>),
    /// Opened with `O_PATH`: a link, FIFO or device, reached by its descriptor's name in /proc. That name is the
    /// thing itself, whatever takes its place in the tree meanwhile.
    Place(BorrowedFd<'fd>),
}

/// The name under which this process can reach what `fd` stands for.
pub fn through_proc(fd: impl AsFd) -> String {
    format!("/proc/self/fd/{}", fd.as_fd().as_raw_fd())
}

impl Handle<'_> {
    fn chown(self, uid: Option<u32>, gid: Option<u32>) -> Result<(), Errno> {
        let (uid, gid) = (uid.map(Uid::from_raw_unchecked), gid.map(Gid::from_raw_unchecked));
        match self {
            Self::Open(fd) => fchown(fd, uid, gid),
            Self::Place(fd) => chownat(fd, c"", uid, gid, AtFlags::EMPTY_PATH),
        }
    }

    fn chmod(self, mode: u32) -> Result<(), Errno> {
        let mode = Mode::from_raw_mode(mode);
        match self {
            Self::Open(fd) => fchmod(fd, mode),
            Self::Place(fd) => chmodat(CWD, through_proc(fd).as_str(), mode, AtFlags::empty()),
        }
    }

    fn set_time(self, mtime: Timespec) -> Result<(), Errno> {
        let unchanged = Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT };
        let times = Timestamps { last_access: unchanged, last_modification: mtime };
        match self {
            Self::Open(fd) => futimens(fd, &times),
            Self::Place(fd) => utimensat(fd, c"", &times, AtFlags::EMPTY_PATH),
        }
    }

    fn set_attribute(self, name: &CString, value: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fsetxattr(fd, name, value, XattrFlags::empty()),
            Self::Place(fd) => setxattr(through_proc(fd).as_str(), name, value, XattrFlags::empty()),
        }
    }

    fn remove_attribute(self, name: &CString) -> Result<(), Errno> {
        match self {
            Self::Open(fd) => fremovexattr(fd, name),
            Self::Place(fd) => removexattr(through_proc(fd).as_str(), name),
        }
    }

    fn has_attribute(self, name: &CString, value: &[u8]) -> bool {
        // One byte more than expected, so that a longer value does not pass for it.
        let mut buffer = vec![0; value.len() + 1];
        let length = match self {
            Self::Open(fd) => fgetxattr(fd, name, &mut buffer[..]),
            Self::Place(fd) => getxattr(through_proc(fd).as_str(), name, &mut buffer[..]),
        };
        length.is_ok_and(|length| buffer[..length] == *value)
    }

    /// The names of all attributes; none where the file system has no such thing.
    fn attribute_names(self) -> Vec<CString> {
        let mut short = [0; 1024];
        match self.list(&mut short) {
            Ok(length) => names(&short[..length]),
            Err(Errno::RANGE) => {
                let mut long = vec![0; MOST_ATTRIBUTE_BYTES];
                self.list(&mut long).map(|length| names(&long[..length])).unwrap_or_default()
            }
            Err(_) => Vec::new(),
        }
    }

    /// Are the attributes of its content just these?
    fn has_just(self, wanted: &Attributes) -> bool {
        let names = self.attribute_names();
        let mut content = names.iter().filter(|name| is_content(name.as_bytes()));
        content.all(|name| wanted.iter().any(|(wanted, _)| wanted == name))
            && wanted.iter().all(|(name, value)| names.contains(name) && self.has_attribute(name, value))
    }

    fn list(self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Self::Open(fd) => flistxattr(fd, buffer),
            Self::Place(fd) => listxattr(through_proc(fd).as_str(), buffer),
        }
    }
}

fn names(list: &[u8]) -> Vec<CString> {
    list.split(|&b| b == 0).filter(|name| !name.is_empty()).filter_map(|name| CString::new(name).ok()).collect()
}

/// The same of owner and mode alone.
pub fn set_owner_and_mode(handle: Handle, now: &Now, meta: &Meta, path: &EntryPath, issues: &Issues) {
    let (owned, owner_changed) = set_owner(handle, now, meta, path, issues);
    set_mode(handle, now, (meta, owned), owner_changed, path, issues);
}

/// Makes the metadata of what `handle` reaches that of the entry, changing only what differs.
pub fn apply(handle: Handle, now: &Now, meta: &Meta, path: &EntryPath, issues: &Issues) {
    let (owned, owner_changed) = set_owner(handle, now, meta, path, issues);
    let attributes_changed = set_attributes(handle, now, meta, path, issues);
    // A new owner clears setuid, and a new ACL brings its own permissions.
    set_mode(handle, now, (meta, owned), owner_changed || attributes_changed, path, issues);
    if now.mtime != Some(meta.mtime)
        && let Err(error) = handle.set_time(meta.mtime)
    {
        issues.note(path, Shortfall::Time, error);
    }
}

/// `owned` are the bits that may be set; `anew` says whether something before has changed the mode.
fn set_mode(handle: Handle, now: &Now, (meta, owned): (&Meta, u32), anew: bool, path: &EntryPath, issues: &Issues) {
    let Some(wanted) = meta.mode else { return };
    let mode = wanted & owned;
    if mode != wanted {
        issues.note_plainly(path, Shortfall::SpecialBits);
    }
    if (anew || mode != now.mode)
        && let Err(error) = handle.chmod(mode)
    {
        issues.note(path, Shortfall::Mode, error);
    }
}

/// Returns the mode bits that may be set, and whether the owner was changed.
fn set_owner(handle: Handle, now: &Now, meta: &Meta, path: &EntryPath, issues: &Issues) -> (u32, bool) {
    const SETUID: u32 = 0o4000;
    const SETGID: u32 = 0o2000;
    let uid = (now.uid != meta.uid).then_some(meta.uid);
    let gid = (now.gid != meta.gid).then_some(meta.gid);
    if uid.is_none() && gid.is_none() {
        return (0o7777, false);
    }
    let Err(error) = handle.chown(uid, gid) else { return (0o7777, true) };
    issues.note(path, Shortfall::Owner, error);
    // Someone who is not root may still give a file to another group of theirs.
    let group_set = gid.is_some() && uid.is_some() && handle.chown(None, gid).is_ok();
    let user_kept = if uid.is_none() { SETUID } else { 0 };
    let group_kept = if gid.is_none() || group_set { SETGID } else { 0 };
    (0o1777 | user_kept | group_kept, group_set)
}

/// Returns whether any was changed.
fn set_attributes(handle: Handle, now: &Now, meta: &Meta, path: &EntryPath, issues: &Issues) -> bool {
    let present = if now.attributes { handle.attribute_names() } else { Vec::new() };
    let mut changed = false;
    for name in present.iter().filter(|name| is_superfluous(name, meta)) {
        match handle.remove_attribute(name) {
            Ok(()) => changed = true,
            Err(error) => issues.note(path, Shortfall::Attribute(name.as_bytes().to_vec()), error),
        }
    }
    for (name, value) in &meta.attributes {
        if present.contains(name) && handle.has_attribute(name, value) {
            continue;
        }
        match handle.set_attribute(name, value) {
            Ok(()) => changed = true,
            Err(error) => issues.note(path, Shortfall::Attribute(name.as_bytes().to_vec()), error),
        }
    }
    changed
}

fn is_superfluous(name: &CString, meta: &Meta) -> bool {
    is_content(name.as_bytes()) && !meta.attributes.iter().any(|(wanted, _)| wanted == name)
}

/// Attributes that belong to a file's content; the others (labels of security modules) belong to the machine.
fn is_content(name: &[u8]) -> bool {
    name.starts_with(b"user.") || name.starts_with(b"system.posix_acl_") || name == b"security.capability"
}
