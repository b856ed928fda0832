//! Is the file that is already there the one to be restored?
//!
//! Decides by content alone, reading what is there once; never writes.

use rustix::fd::BorrowedFd;
use rustix::fs::{SeekFrom, seek};
use rustix::io::{Errno, pread};

use crate::base::chunk::{MAX_CHUNK, plain_digest};
use crate::base::entry::Extent;
use crate::base::error::Explained;

const BLOCK: usize = 64 << 10;

/// Does the file of `size` bytes hold exactly what the extents say? A file that cannot be read does not.
pub fn holds(
    file: BorrowedFd,
    size: u64,
    extents: &mut dyn Iterator<Item = Result<Extent, Explained>>,
) -> Result<bool, Explained> {
    let mut at = 0u64;
    let mut buffer = Vec::new();
    for extent in extents {
        let extent = extent?;
        let Some(end) = at.checked_add(extent.length).filter(|end| *end <= size) else { return Ok(false) };
        let same = match &extent.chunk {
            None => is_zero(file, at, end),
            // A digest names a whole chunk: a part of one cannot be told from its digest.
            Some(_) if extent.offset != 0 || extent.length > MAX_CHUNK as u64 => Ok(false),
            Some(digest) => {
                buffer.resize(extent.length as usize, 0);
                read_exact(file, &mut buffer, at).map(|full| full && plain_digest(&buffer) == *digest)
            }
        };
        if !same.unwrap_or(false) {
            return Ok(false);
        }
        at = end;
    }
    Ok(at == size)
}

/// Does the file hold exactly these bytes?
pub fn equals(file: BorrowedFd, bytes: &[u8]) -> bool {
    let mut buffer = vec![0; bytes.len()];
    read_exact(file, &mut buffer, 0).unwrap_or(false) && buffer == bytes
}

/// Reads holes as what they are, so that a sparse terabyte takes no time.
fn is_zero(file: BorrowedFd, start: u64, end: u64) -> Result<bool, Errno> {
    let mut at = start;
    let mut buffer = vec![0; BLOCK];
    while at < end {
        match seek(file, SeekFrom::Data(at)) {
            Ok(data) if data >= end => return Ok(true),
            Ok(data) => at = data,
            Err(Errno::NXIO) => return Ok(true),
            Err(error) => return Err(error),
        }
        let length = (end - at).min(BLOCK as u64) as usize;
        if !read_exact(file, &mut buffer[..length], at)? || buffer[..length].iter().any(|&b| b != 0) {
            return Ok(false);
        }
        at += length as u64;
    }
    Ok(true)
}

/// Fills the buffer; `false` when the file ends before.
fn read_exact(file: BorrowedFd, mut buffer: &mut [u8], mut at: u64) -> Result<bool, Errno> {
    while !buffer.is_empty() {
        match pread(file, &mut *buffer, at) {
            Ok(0) => return Ok(false),
            Ok(length) => {
                buffer = &mut buffer[length..];
                at += length as u64;
            }
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(true)
}
