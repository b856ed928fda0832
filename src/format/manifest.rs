//! The manifest: what one snapshot holds (docs/format.md §8). Its object is what commits the snapshot.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::capture::{LeftOut, Skip};
use crate::base::database::Database;
use crate::base::entry::Content;
use crate::base::id::{SnapshotId, VaultId};
use crate::base::name::{Name, ObjectKey};
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::format::error::FormatError;

/// The format this version writes, and the newest it reads.
pub const FORMAT: u64 = 1;

/// The kind of source that holds single rows of a database, as they were before a recovery changed them.
pub const ROWS: &str = "rows";

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
    /// What was lost since an earlier snapshot, which retention keeps; and sources with nothing in them.
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

/// Something was lost, or there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Alarm {
    pub source: Name,
    #[serde(default)]
    pub what: Lost,
    /// Of rows: the database's entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<EntryPath>,
    /// Of rows: the table. Without it the whole database is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    pub before: u64,
    pub after: u64,
    /// What the source finds in place of what it looks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The name of the manifest that still has what is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// The id of that snapshot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotId>,
}

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lost {
    /// Rows of a table, or all of a database.
    #[default]
    Rows,
    Files,
    Bytes,
    /// The source has nothing in it.
    Empty,
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
    /// Why nothing of it could be captured. Then everything else is empty, which says nothing of what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// What was left out by rules that nobody had to write down; the first thousand.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// How many there were in all.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_count: u64,
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
        self.sources.iter().all(|source| source.skipped_count == 0 && source.failed.is_none())
    }

    /// Why the snapshot has nothing of a source, though it should.
    pub fn absence(&self, source: &SourceRecord) -> Option<String> {
        if let Some(why) = &source.failed {
            return Some(format!("was not captured: {why}"));
        }
        match source.skipped.first() {
            _ if source.entries > 0 => None,
            Some(skip) => Some(format!("was not captured: {}", skip.reason)),
            None => self.emptied(source),
        }
    }

    /// Why there is nothing in a source that should not be empty, though there may be folders or definitions.
    pub fn emptied(&self, source: &SourceRecord) -> Option<String> {
        let is_alarming = |alarm: &&Alarm| alarm.source == source.name && alarm.what == Lost::Empty;
        let alarm = self.alarms.iter().find(is_alarming)?;
        let why = alarm.why.as_deref().unwrap_or("there was nothing in it");
        Some(format!("has nothing in this snapshot: {why}"))
    }

    /// Does it hold nothing but the rows and files that a recovery was about to change?
    pub fn is_partial(&self) -> bool {
        self.sources.iter().any(|source| source.kind == ROWS)
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

fn is_zero(count: &u64) -> bool {
    *count == 0
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
