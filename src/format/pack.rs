//! The inside of a frame: tar members named by the digest of what they hold (docs/format.md §5).

use std::ops::Range;

use crate::base::chunk::Chunk;
use crate::base::id::PlainDigest;
use crate::format::error::FormatError;

/// Tar's unit: a member is a header of this length, its bytes, and zeros up to a multiple of this.
pub const BLOCK: usize = 512;

/// Where a member's bytes lie, given where its header begins.
pub fn body(start: u64, length: u64) -> Range<u64> {
    start + BLOCK as u64..start + BLOCK as u64 + length
}

/// Where the member after it begins.
pub fn next(start: u64, length: u64) -> u64 {
    start + BLOCK as u64 + length.next_multiple_of(BLOCK as u64)
}

/// Appends a chunk as a tar member.
pub fn append(frame: &mut Vec<u8>, chunk: &Chunk) {
    let mut header = tar::Header::new_ustar();
    let mut name = [0; 64];
    hex::encode_to_slice(chunk.digest().as_bytes(), &mut name).expect("BUG: the buffer fits");
    header.as_ustar_mut().expect("BUG: it was made as one").name[..64].copy_from_slice(&name);
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o444);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(chunk.bytes().len() as u64);
    header.set_cksum();
    frame.extend_from_slice(header.as_bytes());
    frame.extend_from_slice(chunk.bytes());
    frame.resize(frame.len().next_multiple_of(BLOCK), 0);
}

/// What ends an archive: two blocks of zeros. The last frame of every pack.
pub const END: [u8; 2 * BLOCK] = [0; 2 * BLOCK];

/// The members of an unpacked frame, read from their tar headers: what a catalog can be made again from.
pub fn members(frame: &[u8]) -> Result<Vec<(PlainDigest, Range<usize>)>, FormatError> {
    let what = "a pack's archive";
    let bad = |error: std::io::Error| FormatError::malformed(what, error);
    let mut members = Vec::new();
    for member in tar::Archive::new(frame).entries().map_err(bad)? {
        let member = member.map_err(bad)?;
        let name = member.path_bytes();
        let digest = std::str::from_utf8(&name).ok().and_then(|name| name.parse().ok());
        let digest = digest.ok_or_else(|| FormatError::malformed(what, "a member is not named by a digest"))?;
        let start = member.raw_file_position() as usize;
        let end = start.checked_add(member.size() as usize).filter(|end| *end <= frame.len());
        members.push((digest, start..end.ok_or(FormatError::Truncated { what })?));
    }
    Ok(members)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn members_lie_where_the_catalog_computes_them(bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..1500), 0..20)) {
            let mut frame = Vec::new();
            let mut expected = Vec::new();
            for bytes in bodies {
                let chunk = Chunk::new(bytes);
                let range = body(frame.len() as u64, chunk.bytes().len() as u64);
                let after = next(frame.len() as u64, chunk.bytes().len() as u64);
                append(&mut frame, &chunk);
                prop_assert_eq!(after, frame.len() as u64);
                prop_assert_eq!(&frame[range.start as usize..range.end as usize], chunk.bytes());
                expected.push((chunk.digest(), range.start as usize..range.end as usize));
            }
            frame.extend_from_slice(&END);
            prop_assert_eq!(members(&frame).unwrap(), expected);
        }

        #[test]
        fn any_bytes_are_an_archive_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            let _ = members(&bytes);
        }
    }
}
