//! What is neither file nor folder: links, FIFOs, devices.

use rustix::fd::AsFd;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, makedev, mknodat, openat, readlinkat, statat, symlinkat};
use rustix::io::Errno;

use super::apply::{Handle, Meta, Now, apply};
use super::error::TargetError;
use super::issues::{Issues, Shortfall};
use super::place::Place;
use super::{Outcome, Target};
use crate::base::entry::{Entry, Kind};
use crate::base::path::decode;

enum Special {
    Link(Vec<u8>),
    Node(FileType, u64),
}

impl Special {
    /// `None` for kinds that are not special.
    fn of(entry: &Entry) -> Result<Option<Self>, TargetError> {
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

    fn is_device(&self) -> bool {
        matches!(self, Self::Node(FileType::CharacterDevice | FileType::BlockDevice, _))
    }

    fn make(&self, place: &Place, name: &[u8]) -> Result<(), Errno> {
        match self {
            Self::Link(target) => symlinkat(target.as_slice(), &place.dir, name),
            Self::Node(kind, device) => mknodat(&place.dir, name, *kind, Mode::RUSR | Mode::WUSR, *device),
        }
    }

    /// Is what stands in the place the same?
    fn is_there(&self, place: &Place, stat: &Stat) -> bool {
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

impl Target {
    /// Makes a link, a FIFO or a device; leaves alone what is there already.
    pub(super) fn special(&self, entry: &Entry) -> Result<Outcome, TargetError> {
        let (place, meta) = self.prepare(entry)?;
        let special = Special::of(entry)?.expect("BUG: begin() sends only special kinds here");
        match special.make(&place, place.name()) {
            Ok(()) => {
                dress(&place, place.name(), &meta, &self.issues)?;
                return Ok(Outcome::Done);
            }
            Err(Errno::EXIST) => {}
            Err(error) => return self.not_made(entry, &special, error),
        }
        if self.has_special(entry, &place, &meta)? {
            dress(&place, place.name(), &meta, &self.issues)?;
            return Ok(Outcome::Identical);
        }
        let temporary = self.temporary.name();
        if let Err(error) = special.make(&place, temporary.as_bytes()) {
            return self.not_made(entry, &special, error);
        }
        dress(&place, temporary.as_bytes(), &meta, &self.issues).inspect_err(|_| place.remove(temporary.as_bytes()))?;
        place.replace_by(temporary.as_bytes())?;
        self.replaced.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Ok(Outcome::Done)
    }

    /// Is the link, the FIFO or the device there that is wanted?
    pub(super) fn has_special(&self, entry: &Entry, place: &Place, meta: &Meta) -> Result<bool, TargetError> {
        let special = Special::of(entry)?.expect("BUG: only special kinds are asked for");
        let stat = place.look()?;
        let ours = stat.st_nlink == 1 || is_as(place, meta);
        Ok(ours && special.is_there(place, &stat))
    }

    /// Devices are for root to make: everyone else goes on without.
    fn not_made(&self, entry: &Entry, special: &Special, error: Errno) -> Result<Outcome, TargetError> {
        if special.is_device() && matches!(error, Errno::PERM | Errno::ACCESS) {
            self.issues.note(&entry.path, Shortfall::Device, error);
            return Ok(Outcome::Skipped);
        }
        Err(TargetError::system("create", &entry.path, error))
    }
}

/// Has what stands there this metadata already?
fn is_as(place: &Place, meta: &Meta) -> bool {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(thing) = openat(&place.dir, place.name(), flags, Mode::empty()) else { return false };
    let stat = statat(&thing, c"", AtFlags::EMPTY_PATH);
    stat.is_ok_and(|stat| Now::existing(&stat).matches(Handle::Place(thing.as_fd()), meta))
}

/// Sets the metadata of the special thing called `name`. Reaches it once, so that nothing put in its place
/// meanwhile gets the metadata.
fn dress(place: &Place, name: &[u8], meta: &Meta, issues: &Issues) -> Result<(), TargetError> {
    let failed = |error| TargetError::system("set the metadata of", &place.path, error);
    let thing = openat(&place.dir, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty());
    let thing = thing.map_err(failed)?;
    let stat = statat(&thing, c"", AtFlags::EMPTY_PATH).map_err(failed)?;
    apply(Handle::Place(thing.as_fd()), &Now::existing(&stat), meta, &place.path, issues);
    Ok(())
}
