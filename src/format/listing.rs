//! Listings: entries as JSON lines, sorted by path (docs/format.md §6).

use crate::base::chunk::MAX_CHUNK;
use crate::base::entry::{Entry, Extent};
use crate::format::error::FormatError;

/// No line is longer, so that with what is cut off together with it, it fits into one chunk. An entry with that many
/// extended attributes does not exist on any file system.
pub const MAX_LINE: usize = MAX_CHUNK - (128 << 10);

/// Appends an entry's line, newline included.
pub fn write_entry(entry: &Entry, line: &mut Vec<u8>) {
    serde_json::to_writer(&mut *line, entry).expect("BUG: an entry has plain fields");
    line.push(b'\n');
}

/// Reads a line, without its newline.
pub fn read_entry(line: &[u8]) -> Result<Entry, FormatError> {
    serde_json::from_slice(line).map_err(|error| FormatError::malformed("a listing's line", error))
}

/// Appends an extent's line, newline included: the inside of a list of extents.
pub fn write_extent(extent: &Extent, line: &mut Vec<u8>) {
    serde_json::to_writer(&mut *line, extent).expect("BUG: an extent has plain fields");
    line.push(b'\n');
}

/// Reads a line, without its newline.
pub fn read_extent(line: &[u8]) -> Result<Extent, FormatError> {
    serde_json::from_slice(line).map_err(|error| FormatError::malformed("a list of extents", error))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::base::entry::{Content, Kind};
    use crate::base::id::PlainDigest;
    use crate::base::path::{self, EntryPath};
    use crate::base::time::Instant;

    fn entry() -> impl Strategy<Value = Entry> {
        let name = proptest::collection::vec(any::<u8>().prop_filter("a name", |b| !b"/\0.".contains(b)), 1..40);
        let fields = (
            name,
            0u32..0o10000,
            any::<u32>(),
            any::<i32>(),
            any::<u64>(),
            any::<[u8; 32]>(),
            any::<Option<String>>(),
            any::<bool>(),
        );
        fields.prop_map(|(name, mode, uid, seconds, size, digest, user, inconsistent)| Entry {
            path: EntryPath::root().child(&name),
            kind: Kind::File,
            mode,
            uid,
            gid: uid ^ 1,
            user,
            group: None,
            mtime: Instant::from_unix(seconds.into(), 5),
            size,
            content: Content {
                depth: 0,
                extents: vec![Extent::whole(PlainDigest::from_bytes(digest), size), Extent::hole(7)],
            },
            target: Some(path::encode(&name)),
            link: None,
            device: Some((8, uid)),
            xattrs: BTreeMap::from([("user.x".to_owned(), path::encode(&name))]),
            inconsistent,
        })
    }

    proptest! {
        #[test]
        fn an_entry_is_one_line_and_reads_back(entry in entry()) {
            let mut line = Vec::new();
            write_entry(&entry, &mut line);
            prop_assert_eq!(line.iter().filter(|b| **b == b'\n').count(), 1);
            prop_assert_eq!(read_entry(&line[..line.len() - 1]).unwrap(), entry);
        }

        #[test]
        fn any_text_is_an_entry_or_an_error(text in "\\PC{0,80}") {
            let _ = read_entry(text.as_bytes());
            let _ = read_extent(text.as_bytes());
        }
    }
}
