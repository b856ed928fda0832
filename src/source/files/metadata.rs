//! What the file system says of an item, without its content.
//!
//! Owns the reading of `stat` and the names of users and groups, and what makes an item look unchanged.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CStr;
use std::os::fd::AsFd;
use std::sync::RwLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::fs::{AtFlags, FileType, Stat, fstat, major, minor, statat};
use rustix::io::Errno;

use crate::base::capture::Fingerprint;
use crate::base::entry::{Content, Entry, Kind};
use crate::base::path::EntryPath;
use crate::base::time::Instant;

const SECOND: i64 = 1_000_000_000;

/// What `stat` says, as far as a capture cares.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    pub kind: Kind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub size: u64,
    /// Blocks of 512 bytes that are stored.
    pub blocks: u64,
    pub device: u64,
    pub inode: u64,
    pub names: u64,
    /// Which device a device node stands for.
    pub stands_for: u64,
    mtime: (i64, i32),
    ctime: i64,
    /// The item had rested for a moment when it was looked at: any later change will show in its times.
    settled: bool,
}

impl Facts {
    /// Of the thing called `name`, not of what it may link to.
    pub fn at(parent: impl AsFd, name: &CStr) -> Result<Self, Errno> {
        statat(parent, name, AtFlags::SYMLINK_NOFOLLOW).map(|stat| Self::new(&stat))
    }

    pub fn of_open(fd: impl AsFd) -> Result<Self, Errno> {
        fstat(fd).map(|stat| Self::new(&stat))
    }

    // The width of these fields differs between architectures.
    #[allow(clippy::unnecessary_cast)]
    fn new(stat: &Stat) -> Self {
        let mtime = nanoseconds(stat.st_mtime as i64, stat.st_mtime_nsec as i64);
        let ctime = nanoseconds(stat.st_ctime as i64, stat.st_ctime_nsec as i64);
        Self {
            kind: kind_of(stat.st_mode as u32),
            mode: stat.st_mode as u32 & 0o7777,
            uid: stat.st_uid,
            gid: stat.st_gid,
            size: u64::try_from(stat.st_size).unwrap_or(0),
            blocks: stat.st_blocks as u64,
            device: stat.st_dev as u64,
            inode: stat.st_ino as u64,
            names: stat.st_nlink as u64,
            stands_for: stat.st_rdev as u64,
            mtime: (stat.st_mtime as i64, stat.st_mtime_nsec as i32),
            ctime,
            settled: settled(mtime, ctime),
        }
    }

    /// What to remember to know the item unchanged next time.
    pub fn fingerprint(&self) -> Fingerprint {
        let ctime = if self.settled { self.ctime } else { 0 };
        let mtime = nanoseconds(self.mtime.0, i64::from(self.mtime.1));
        Fingerprint { size: self.size, inode: self.inode, mtime, ctime }
    }

    /// When it was last written, where any later writing will show.
    pub fn last_written(&self) -> Option<i64> {
        let mtime = nanoseconds(self.mtime.0, i64::from(self.mtime.1));
        settled(mtime, mtime).then_some(mtime)
    }

    /// Nothing was written between these two looks at one open file.
    pub fn same_content(&self, other: &Facts) -> bool {
        (self.size, self.mtime, self.ctime) == (other.size, other.mtime, other.ctime)
    }

    /// Parts of the file are not stored at all. Small files are not worth the look.
    pub fn is_sparse(&self) -> bool {
        const WORTH_IT: u64 = 16 << 10;
        self.size >= WORTH_IT && self.blocks.saturating_mul(512) < self.size
    }

    /// Which file this is a name of, when it may have other names.
    pub fn shared_file(&self) -> Option<(u64, u64)> {
        (self.names > 1 && self.kind != Kind::Dir).then_some((self.device, self.inode))
    }

    /// The entry, as yet without content, target and attributes.
    pub fn entry(&self, path: EntryPath, owners: &Owners) -> Entry {
        let is_device = matches!(self.kind, Kind::Char | Kind::Block);
        Entry {
            path,
            kind: self.kind,
            mode: self.mode,
            uid: self.uid,
            gid: self.gid,
            user: owners.user(self.uid),
            group: owners.group(self.gid),
            mtime: Instant::from_unix(self.mtime.0, self.mtime.1),
            size: if self.kind == Kind::File { self.size } else { 0 },
            content: Content::default(),
            target: None,
            link: None,
            device: is_device.then(|| (major(self.stands_for), minor(self.stands_for))),
            xattrs: BTreeMap::new(),
            inconsistent: false,
        }
    }
}

fn kind_of(mode: u32) -> Kind {
    match FileType::from_raw_mode(mode) {
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::Char,
        FileType::BlockDevice => Kind::Block,
        _ => Kind::File,
    }
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(SECOND).saturating_add(nanoseconds)
}

/// A file changed within the clock's grain after it was read would keep its times. So times of the last second
/// are not trusted, nor a change time in the future: there is no telling when it will be reached.
/// A modification time in the future is ordinary: anybody may set one.
fn settled(mtime: i64, ctime: i64) -> bool {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(since.as_nanos()).unwrap_or(i64::MAX);
    ctime < now - SECOND && mtime.abs_diff(now) > SECOND.unsigned_abs()
}

/// The names of users and groups, each looked up once.
#[derive(Default)]
pub(super) struct Owners {
    users: RwLock<HashMap<u32, Option<String>>>,
    groups: RwLock<HashMap<u32, Option<String>>>,
}

impl Owners {
    fn user(&self, id: u32) -> Option<String> {
        remembered(&self.users, id, |id| uzers::get_user_by_uid(id)?.name().to_str().map(str::to_owned))
    }

    fn group(&self, id: u32) -> Option<String> {
        remembered(&self.groups, id, |id| uzers::get_group_by_gid(id)?.name().to_str().map(str::to_owned))
    }
}

fn remembered(
    names: &RwLock<HashMap<u32, Option<String>>>,
    id: u32,
    look_up: impl Fn(u32) -> Option<String>,
) -> Option<String> {
    if let Some(name) = names.read().ok().and_then(|names| names.get(&id).cloned()) {
        return name;
    }
    let name = look_up(id);
    if let Ok(mut names) = names.write() {
        names.insert(id, name.clone());
    }
    name
}
