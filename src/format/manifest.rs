//! The manifest: what one snapshot holds (docs/format.md §8). Its object is what commits the snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::capture::Skip;
use crate::base::database::Database;
use crate::base::entry::Content;
use crate::base::id::{SnapshotId, VaultId};
use crate::base::name::{Name, ObjectKey};
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::format::error::FormatError;

/// The format this version writes, and the newest it reads.
pub const FORMAT: u64 = 1;

/// A manifest that unpacks to more is not one.
const MAX_MANIFEST: usize = 64 << 20;

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub format: u64,
    pub id: SnapshotId,
    pub vault: VaultId,
    /// When the capture began.
    pub time: Instant,
    /// When the manifest was written.
    pub finished: Instant,
    pub host: String,
    pub user: String,
    pub app: Name,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Why it was made: `manual`, `safety`, …
    pub reason: String,
    /// Which program wrote it.
    pub tool: String,
    /// The newest manifest in the vault when this one was begun: its loss can be noticed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The objects of `keys/` there were: their loss can be noticed.
    #[serde(default)]
    pub keys: Vec<String>,
    pub sources: Vec<SourceRecord>,
    /// Tables that lost many rows since an earlier snapshot: retention keeps that one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alarms: Vec<Alarm>,
    /// Length of everything captured.
    pub bytes: u64,
    /// How much of it had to be read.
    pub bytes_read: u64,
    /// How much of it the vault did not have.
    pub bytes_new: u64,
    /// How much longer the vault became.
    pub bytes_stored: u64,
}

/// A table that has lost many of its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub source: Name,
    /// The database's entry.
    pub path: EntryPath,
    pub table: String,
    pub before: u64,
    pub after: u64,
    /// The name of the manifest that still has them.
    pub kept: String,
}

/// One source of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SourceRecord {
    pub name: Name,
    /// A word, not an enum: a vault may hold kinds this version does not know.
    pub kind: String,
    /// Where it was captured from, written as paths are.
    pub root: String,
    /// Where that led through links, written as paths are; nothing where it led through none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<String>,
    pub listing: Content,
    pub entries: u64,
    pub files: u64,
    pub bytes: u64,
    pub bytes_read: u64,
    pub bytes_new: u64,
    pub bytes_stored: u64,
    pub milliseconds: u64,
    /// What could not be captured; the first ten thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skipped: Vec<Skip>,
    /// How many there were in all.
    #[serde(default)]
    pub skipped_count: u64,
    /// The databases among what was captured, in path order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub databases: Vec<Database>,
}

impl Manifest {
    /// Was everything captured?
    pub fn complete(&self) -> bool {
        self.sources.iter().all(|source| source.skipped_count == 0)
    }

    /// Compressed, ready to be sealed.
    pub fn write(&self) -> Vec<u8> {
        let json = serde_json::to_vec(self).expect("BUG: a manifest has plain fields");
        zstd::bulk::compress(&json, 3).expect("BUG: the buffer fits")
    }

    pub fn read(bytes: &[u8]) -> Result<Self, FormatError> {
        let what = "a manifest";
        let json = zstd::bulk::decompress(bytes, MAX_MANIFEST).map_err(|error| FormatError::malformed(what, error))?;
        check_format(&json, what)?;
        serde_json::from_slice(&json).map_err(|error| FormatError::malformed(what, error))
    }

    pub fn key(&self, digest: crate::base::id::SealedDigest) -> ObjectKey {
        crate::format::layout::manifest(self.time, digest)
    }
}

/// Looks at the format number before anything else: a newer document may be anything.
pub fn check_format(json: &[u8], what: &'static str) -> Result<(), FormatError> {
    #[derive(Deserialize)]
    struct Format {
        format: u64,
    }
    let Format { format } = serde_json::from_slice(json).map_err(|error| FormatError::malformed(what, error))?;
    if format > FORMAT { Err(FormatError::Newer { what, found: format, known: FORMAT }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_manifest_of_a_newer_format_says_so() {
        let newer = zstd::bulk::compress(br#"{"format":2,"everything":"else"}"#, 3).unwrap();
        assert!(matches!(Manifest::read(&newer), Err(FormatError::Newer { found: 2, .. })));
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_manifest_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Manifest::read(&bytes);
            let _ = Manifest::read(&zstd::bulk::compress(&bytes, 3).unwrap());
        }
    }
}
