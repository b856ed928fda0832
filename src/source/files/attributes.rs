//! Extended attributes, access control lists among them, as a map of texts.
//!
//! Never fails: an attribute that cannot be read is named with the reason, so that it can be reported.

use std::collections::BTreeMap;
use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

use rustix::fs::{fgetxattr, flistxattr, lgetxattr, llistxattr};
use rustix::io::Errno;

use crate::base::path::encode;

/// What was found, and what could not be read.
#[derive(Default)]
pub(super) struct Attributes {
    pub values: BTreeMap<String, String>,
    pub troubles: Vec<String>,
}

/// What has attributes: something open, or something that must not be opened.
enum Subject<'a> {
    Open(BorrowedFd<'a>),
    Named(CString),
}

/// The attributes of an open file or directory.
pub(super) fn of_open(fd: impl AsFd) -> Attributes {
    read(&Subject::Open(fd.as_fd()))
}

/// The attributes of a link, device, fifo or socket: reached through the parent's entry in /proc,
/// as the path from the root may be too long.
pub(super) fn of_named(parent: impl AsFd, name: &CStr) -> Attributes {
    let mut path = format!("/proc/self/fd/{}/", parent.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.to_bytes());
    CString::new(path).map(|path| read(&Subject::Named(path))).unwrap_or_default()
}

fn read(subject: &Subject) -> Attributes {
    let mut found = Attributes::default();
    let names = match grow(&mut [0; 1024], |buffer| subject.list(buffer)) {
        Ok(names) => names,
        // Not every file system has attributes; and without /proc a link's cannot be reached.
        Err(Errno::NOTSUP | Errno::NOSYS | Errno::NOENT | Errno::LOOP) => return found,
        Err(error) => {
            found.troubles.push(format!("extended attributes: {}", super::handle::trouble(error)));
            return found;
        }
    };
    for name in names.split_inclusive(|&byte| byte == 0) {
        let Ok(name) = CStr::from_bytes_with_nul(name) else { continue };
        match grow(&mut [0; 1024], |buffer| subject.value(name, buffer)) {
            Ok(value) => {
                found.values.insert(encode(name.to_bytes()), encode(&value));
            }
            // Removed since it was listed.
            Err(Errno::NODATA) => {}
            Err(error) => {
                let name = encode(name.to_bytes());
                found.troubles.push(format!("extended attribute {name}: {}", super::handle::trouble(error)));
            }
        }
    }
    found
}

/// Calls with a small buffer, then with larger ones while the kernel finds them too small.
fn grow(small: &mut [u8], call: impl Fn(&mut [u8]) -> Result<usize, Errno>) -> Result<Vec<u8>, Errno> {
    const LARGEST: usize = 1 << 20;
    match call(small) {
        Ok(length) => return Ok(small[..length].to_vec()),
        Err(Errno::RANGE) => {}
        Err(error) => return Err(error),
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        match call(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Errno::RANGE) if buffer.len() < LARGEST => buffer.resize(buffer.len() * 4, 0),
            Err(error) => return Err(error),
        }
    }
}

impl Subject<'_> {
    fn list(&self, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(fd) => flistxattr(fd, buffer),
            Subject::Named(path) => llistxattr(path.as_c_str(), buffer),
        }
    }

    fn value(&self, name: &CStr, buffer: &mut [u8]) -> Result<usize, Errno> {
        match self {
            Subject::Open(fd) => fgetxattr(fd, name, buffer),
            Subject::Named(path) => lgetxattr(path.as_c_str(), name, buffer),
        }
    }
}
