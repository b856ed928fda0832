//! Where an entry lies inside its source.
//!
//! Paths are bytes, not text. In JSON and on a terminal they are written with `%XX` for every byte that is not
//! printable UTF-8 and for `%` itself, so that any name survives and none can play tricks with a terminal.

use std::cmp::Ordering;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::str::FromStr;

use crate::base::text::is_obeyed;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A relative path. The root is written `.`.
///
/// Invariants: no part is empty, `.` or `..`, or holds NUL; so joining it to a folder never leaves that folder,
/// links aside. Ordered part by part: a folder comes right before what it contains.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EntryPath(Vec<u8>);

/// A path no source could have made.
#[derive(Debug, thiserror::Error)]
#[error("unsafe path {0:?} in a listing")]
pub struct BadPath(String);

impl EntryPath {
    pub fn root() -> Self {
        Self(Vec::new())
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadPath> {
        let bytes = if bytes == b"." { b"" } else { bytes };
        let safe = |part: &[u8]| !part.is_empty() && part != b"." && part != b".." && !part.contains(&0);
        if bytes.is_empty() || bytes.split(|&b| b == b'/').all(safe) {
            return Ok(Self(bytes.to_vec()));
        }
        Err(BadPath(encode(bytes)))
    }

    /// What a person typed: `./a//b/` means `a/b`; `%` is an ordinary letter.
    pub fn from_typed(text: &OsStr) -> Result<Self, BadPath> {
        let parts: Vec<&[u8]> = text.as_bytes().split(|&b| b == b'/').filter(|p| !p.is_empty() && *p != b".").collect();
        Self::from_bytes(&parts.join(&b'/'))
    }

    pub fn child(&self, name: &[u8]) -> Self {
        debug_assert!(!name.contains(&b'/') && !name.is_empty());
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let cut = self.0.iter().rposition(|&b| b == b'/').unwrap_or(0);
        Some(Self(self.0[..cut].to_vec()))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The bytes, empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The last part; empty for the root.
    pub fn file_name(&self) -> &[u8] {
        self.0.rsplit(|&b| b == b'/').next().unwrap_or_default()
    }

    pub fn parts(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|&b| b == b'/').filter(|p| !p.is_empty())
    }

    /// Is this path `folder` itself or something inside it?
    pub fn is_within(&self, folder: &EntryPath) -> bool {
        match self.0.strip_prefix(folder.0.as_slice()) {
            Some(rest) => rest.is_empty() || folder.is_root() || rest[0] == b'/',
            None => false,
        }
    }
}

impl Ord for EntryPath {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for EntryPath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Part by part: like comparing bytes, with `/` before every other byte.
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    let differ = a.iter().zip(b).position(|(x, y)| x != y);
    match differ {
        None => a.len().cmp(&b.len()),
        Some(at) => match (a[at], b[at]) {
            (b'/', _) => Ordering::Less,
            (_, b'/') => Ordering::Greater,
            (x, y) => x.cmp(&y),
        },
    }
}

/// The JSON and terminal form of any bytes.
pub fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if letter == '%' || is_obeyed(letter) {
                let mut buffer = [0; 4];
                escape(letter.encode_utf8(&mut buffer).as_bytes(), &mut text);
            } else {
                text.push(letter);
            }
        }
        escape(chunk.invalid(), &mut text);
    }
    text
}

fn escape(bytes: &[u8], text: &mut String) {
    for byte in bytes {
        text.push('%');
        text.push_str(&hex::encode_upper([*byte]));
    }
}

/// The bytes that [`encode`] made this text of.
pub fn decode(text: &str) -> Option<Vec<u8>> {
    if !text.contains('%') {
        return Some(text.as_bytes().to_vec());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let mut byte = [0];
        hex::decode_to_slice(after.get(..2)?, &mut byte).ok()?;
        bytes.push(byte[0]);
        rest = &after[2..];
    }
    Some(bytes)
}

impl FromStr for EntryPath {
    type Err = BadPath;

    /// Reads the JSON form back.
    fn from_str(text: &str) -> Result<Self, BadPath> {
        let bytes = decode(text).ok_or_else(|| BadPath(text.to_owned()))?;
        if text.is_empty() {
            return Err(BadPath(String::new()));
        }
        Self::from_bytes(&bytes)
    }
}

impl fmt::Display for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() { f.write_str(".") } else { f.write_str(&encode(&self.0)) }
    }
}

impl fmt::Debug for EntryPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for EntryPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EntryPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_path_that_leaves_its_folder_is_refused() {
        for bad in ["", "/etc", "..", "a/../b", "a//b", "a/", "a/./b", "a%00b", "%2E%2E", "%2", "%zz"] {
            assert!(bad.parse::<EntryPath>().is_err(), "{bad:?}");
        }
        assert!(".".parse::<EntryPath>().unwrap().is_root());
    }

    #[test]
    fn a_folder_comes_right_before_what_it_contains() {
        let mut paths: Vec<EntryPath> =
            ["a-b", "a/z", "a", "a/b/c", ".", "a/b", "a.txt"].iter().map(|p| p.parse().unwrap()).collect();
        paths.sort();
        let texts: Vec<String> = paths.iter().map(ToString::to_string).collect();
        assert_eq!(texts, [".", "a", "a/b", "a/b/c", "a/z", "a-b", "a.txt"]);
    }

    #[test]
    fn a_path_is_within_its_folder_and_not_within_one_of_similar_name() {
        let path = |p: &str| p.parse::<EntryPath>().unwrap();
        assert!(
            path("a/b").is_within(&path("a")) && path("a").is_within(&path("a")) && path("a").is_within(&path("."))
        );
        assert!(!path("ab").is_within(&path("a")) && !path("a").is_within(&path("a/b")));
    }

    proptest! {
        #[test]
        fn any_bytes_survive_their_text_form(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let text = encode(&bytes);
            prop_assert!(!text.chars().any(char::is_control));
            prop_assert_eq!(decode(&text), Some(bytes));
        }

        #[test]
        fn any_text_is_a_path_or_an_error(text in "\\PC*") {
            if let Ok(path) = text.parse::<EntryPath>() {
                prop_assert_eq!(path.to_string().parse::<EntryPath>().unwrap(), path);
            }
        }
    }
}
