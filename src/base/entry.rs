//! One thing in a capture, and the content it refers to. One entry is one JSON line of a listing (docs/format.md §6).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::id::PlainDigest;
use crate::base::path::EntryPath;
use crate::base::time::Instant;

/// What an entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Dir,
    File,
    Symlink,
    Fifo,
    Socket,
    Char,
    Block,
}

/// One directory, file, link or device. Absent fields take no room in the listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub path: EntryPath,
    #[serde(rename = "type")]
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky.
    #[serde(with = "octal")]
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub group: Option<String>,
    pub mtime: Instant,
    /// Length in bytes; files only.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub size: u64,
    /// The bytes, in order; files only. Empty for a hard link.
    #[serde(default, skip_serializing_if = "Content::is_empty")]
    pub content: Content,
    /// Where a symbolic link points, written as paths are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// The earlier entry that this one is another name of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<EntryPath>,
    /// Major and minor number of a device.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<(u32, u32)>,
    /// Extended attributes, ACLs among them: name to bytes, both written as paths are.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, String>,
    /// The file kept changing while it was read: its bytes may be of different moments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub inconsistent: bool,
}

/// Bytes as a list of extents. A long list is itself kept as content: `depth` says how many times over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    #[serde(default, skip_serializing_if = "is_flat")]
    pub depth: u8,
    pub extents: Vec<Extent>,
}

/// A run of bytes: part of a chunk, or a hole of zeros where `chunk` is absent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chunk: Option<PlainDigest>,
    pub length: u64,
    /// Where in the chunk the run begins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub offset: u64,
    /// The first key of what the run holds, where the content is sorted by key: a listing's first path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<String>,
}

impl Content {
    pub fn is_empty(&self) -> bool {
        self.extents.is_empty()
    }

    /// Content of exactly one whole chunk.
    pub fn of_chunk(chunk: PlainDigest, length: u64) -> Self {
        Self { depth: 0, extents: vec![Extent::whole(chunk, length)] }
    }
}

impl Extent {
    pub fn whole(chunk: PlainDigest, length: u64) -> Self {
        Self { chunk: Some(chunk), length, offset: 0, first: None }
    }

    pub fn hole(length: u64) -> Self {
        Self { chunk: None, length, offset: 0, first: None }
    }
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

fn is_flat(depth: &u8) -> bool {
    *depth == 0
}

/// Modes are written in octal, as every tool that takes one expects.
mod octal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{mode:04o}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777)
            .ok_or_else(|| de::Error::custom("mode is not octal"))
    }
}
