//! Opening what others may have put there: regular files and nothing else, since what is found may be a FIFO that nobody
//! writes to, or a device; and folders that no link leads to.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, mkdirat, openat, unlinkat};
use rustix::io::Errno;

/// Opens a file to be read, through links as well. Never waits: what is no regular file is an error. Looks before it opens,
/// since opening a device can set it in motion, and after, since what was looked at may have been replaced.
pub fn open(path: &Path) -> io::Result<File> {
    let odd = || io::Error::other("it is no regular file");
    if !fs::metadata(path)?.is_file() {
        return Err(odd());
    }
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(odd()) }
}

/// The first bytes of a file as text; nothing where it cannot be read or is no text.
pub fn text(path: &Path, most: u64) -> Option<String> {
    let mut text = String::new();
    open(path).ok()?.take(most).read_to_string(&mut text).ok()?;
    Some(text)
}

/// What to do about a folder that is not there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    Fail,
    /// It is made, for its owner only, and those above it as the user's umask says.
    Make,
}

/// Opens a folder at a path without links, to reach what is in it: each folder in the one before, so that a link that was put
/// on the way is an error.
pub fn folder(path: &Path, absent: Absent) -> Result<OwnedFd, Errno> {
    let mut parts: Vec<&OsStr> = Vec::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => parts.push(part),
            Component::RootDir => {}
            // Where these lead depends on what is there.
            _ => return Err(Errno::INVAL),
        }
    }
    if !path.is_absolute() {
        return Err(Errno::INVAL);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folder = openat(CWD, c"/", flags, Mode::empty())?;
    for (at, part) in parts.iter().enumerate() {
        folder = match openat(&folder, *part, flags, Mode::empty()) {
            Err(Errno::NOENT) if absent == Absent::Make => {
                let mode = if at + 1 == parts.len() { 0o700 } else { 0o777 };
                match mkdirat(&folder, *part, Mode::from_raw_mode(mode)) {
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(error),
                }
                openat(&folder, *part, flags, Mode::empty())?
            }
            other => other?,
        };
    }
    Ok(folder)
}

/// Removes a folder that is empty, at a path without links. Has it?
pub fn remove_folder(path: &Path) -> bool {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { return false };
    folder(parent, Absent::Fail).and_then(|parent| unlinkat(parent, name, AtFlags::REMOVEDIR)).is_ok()
}

#[cfg(test)]
mod tests {
    use rustix::fs::{FileType, mknodat};

    use super::*;

    #[test]
    fn only_a_whole_path_leads_to_a_folder() {
        for path in ["tmp", "", "./tmp", "/tmp/../tmp"] {
            assert_eq!(folder(Path::new(path), Absent::Fail).unwrap_err(), Errno::INVAL, "{path}");
        }
        assert!(folder(Path::new("/"), Absent::Fail).is_ok());
    }

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        mknodat(CWD, path("fifo"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        fs::write(path("file"), "text").unwrap();
        std::os::unix::fs::symlink("fifo", path("link")).unwrap();
        for odd in ["fifo", "link", "."] {
            assert!(open(&path(odd)).is_err() && text(&path(odd), 9).is_none(), "{odd}");
        }
        assert_eq!(text(&path("file"), 9).as_deref(), Some("text"));
    }
}
