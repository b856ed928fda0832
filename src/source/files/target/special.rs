//! What is neither file nor folder: links, FIFOs, devices.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev, mknodat, openat, readlinkat, statat, symlinkat};
use rustix::io::Errno;

use super::apply::{Handle, Meta, Now, apply};
use super::error::TargetError;
use super::issues::Issues;
use super::place::Place;
use crate::base::entry::{Entry, Kind};
use crate::base::path::decode;

pub enum Special {
    Link(Vec<u8>),
    Node(FileType, u64),
}

impl Special {
    /// `None` for kinds that are not special.
    pub fn of(entry: &Entry) -> Result<Option<Self>, TargetError> {
        let device = || {
            let (major, minor) = entry.device.ok_or_else(|| TargetError::listing(&entry.path, "no device number"))?;
            Ok(makedev(major, minor))
        };
        Ok(Some(match entry.kind {
            Kind::Symlink => {
                let target = entry.target.as_deref().and_then(decode).filter(|target| !target.contains(&0));
                Self::Link(target.ok_or_else(|| TargetError::listing(&entry.path, "a link without a target"))?)
            }
            Kind::Fifo => Self::Node(FileType::Fifo, 0),
            Kind::Char => Self::Node(FileType::CharacterDevice, device()?),
            Kind::Block => Self::Node(FileType::BlockDevice, device()?),
            Kind::Dir | Kind::File | Kind::Socket => return Ok(None),
        }))
    }

    pub fn is_device(&self) -> bool {
        matches!(self, Self::Node(FileType::CharacterDevice | FileType::BlockDevice, _))
    }

    pub fn make(&self, place: &Place, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Link(target) => symlinkat(target.as_slice(), &place.dir, name),
            Self::Node(kind, device) => mknodat(&place.dir, name, *kind, Mode::RUSR | Mode::WUSR, *device),
        }
    }

    /// Is what stands in the place the same?
    pub fn is_there(&self, place: &Place, stat: &Stat) -> bool {
        let kind = FileType::from_raw_mode(stat.st_mode);
        match self {
            Self::Link(target) => {
                kind == FileType::Symlink
                    && readlinkat(&place.dir, place.name(), Vec::new()).is_ok_and(|there| there.as_bytes() == target)
            }
            Self::Node(wanted, device) => kind == *wanted && (!self.is_device() || stat.st_rdev == *device),
        }
    }
}

/// Sets the metadata of the special thing called `name`. Reaches it once, so that nothing put in its place
/// meanwhile gets the metadata.
pub fn dress(place: &Place, name: &[u8], meta: &Meta, issues: &Issues) -> Result<(), TargetError> {
    let failed = |error| TargetError::system("set the metadata of", &place.path, error);
    let thing = openat(&place.dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let thing = thing.map_err(failed)?;
    let stat = statat(&thing, c"", AtFlags::EMPTY_PATH).map_err(failed)?;
    apply(Handle::Place(thing.as_fd()), &Now::existing(&stat), meta, &place.path, issues);
    Ok(())
}
