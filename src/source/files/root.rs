//! The place that a source names: followed once to where it leads, and from then on reached without any link.
//!
//! Whoever names a source may name a link. What that link is exchanged for afterwards nobody has named: so the place is
//! opened from the root of the file system down, each folder in the one before, and a link on the way is an error.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use rustix::io::Errno;
use rustix::process::geteuid;

pub use crate::engine::regular::{Absent, folder as open};

/// Linux follows no more of them, either.
const MOST_LINKS: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Led {
    /// Without links. Need not be there.
    pub path: PathBuf,
    /// Who owns the links that were followed.
    pub owners: Vec<u32>,
}

/// Follows the links on the way, and the last one.
pub fn follow(path: &Path) -> io::Result<Led> {
    let mut led = Led { path: PathBuf::from("/"), owners: Vec::new() };
    let mut left = Vec::new();
    put(&mut left, &std::path::absolute(path)?);
    while let Some(part) = left.pop() {
        if part == ".." {
            led.path.pop();
            continue;
        }
        let next = led.path.join(&part);
        let there = match fs::symlink_metadata(&next) {
            Ok(there) => there,
            // What is not there yet leads nowhere else.
            Err(error) if error.kind() == io::ErrorKind::NotFound && !left.iter().any(|part| part == "..") => {
                led.path = next;
                led.path.extend(left.drain(..).rev());
                return Ok(led);
            }
            Err(error) => return Err(error),
        };
        if !there.is_symlink() {
            led.path = next;
            continue;
        }
        led.owners.push(there.uid());
        if led.owners.len() > MOST_LINKS {
            return Err(Errno::LOOP.into());
        }
        let target = fs::read_link(&next)?;
        if target.is_absolute() {
            led.path = PathBuf::from("/");
        }
        put(&mut left, &target);
    }
    Ok(led)
}

/// The same for whoever goes there at once. A link of another user is followed only to what is theirs: they could have it
/// lead to what only we may read or write.
pub fn trusted(path: &Path) -> io::Result<Led> {
    let led = follow(path)?;
    let own = geteuid().as_raw();
    let mut others = led.owners.iter().filter(|&&owner| owner != 0 && owner != own).peekable();
    if others.peek().is_some() {
        let target = fs::symlink_metadata(&led.path).ok().map(|there| there.uid());
        if let Some(other) = others.find(|&&other| target != Some(other)) {
            let why = format!("a link of user {other} leads to {}, which is not theirs", led.path.display());
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
        }
    }
    Ok(led)
}

/// The parts of a path, the first one last.
fn put(left: &mut Vec<OsString>, path: &Path) {
    let parts: Vec<OsString> = path
        .components()
        .filter_map(|part| match part {
            Component::Normal(part) => Some(part.to_owned()),
            Component::ParentDir => Some("..".into()),
            _ => None,
        })
        .collect();
    left.extend(parts.into_iter().rev());
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_path_is_followed_to_where_it_leads() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        symlink("a", base.join("link")).unwrap();
        symlink(base.join("link/../link/b"), base.join("far")).unwrap();
        symlink("gone/x", base.join("dangling")).unwrap();
        symlink("loop", base.join("loop")).unwrap();
        for (path, leads, links) in [
            ("a/b", "a/b", 0),
            ("link/b", "a/b", 1),
            ("far", "a/b", 3),
            ("link/new/newer", "a/new/newer", 1),
            ("dangling/y", "gone/x/y", 1),
            ("a/../a/./b", "a/b", 0),
        ] {
            let led = follow(&base.join(path)).unwrap();
            assert_eq!((led.path, led.owners.len()), (base.join(leads), links), "{path}");
        }
        assert!(follow(&base.join("loop")).is_err());
    }

    #[test]
    fn a_folder_is_not_opened_through_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().canonicalize().unwrap();
        fs::create_dir_all(base.join("a/b")).unwrap();
        symlink("a", base.join("link")).unwrap();
        assert!(open(&base.join("a/b"), Absent::Fail).is_ok());
        assert!(open(&base.join("link/b"), Absent::Fail).is_err());
        assert!(open(&base.join("link/c"), Absent::Make).is_err());
        assert_eq!(open(&base.join("a/c/d"), Absent::Fail).unwrap_err(), Errno::NOENT);
        open(&base.join("a/c/d"), Absent::Make).unwrap();
        assert!(base.join("a/c/d").is_dir());
    }
}
