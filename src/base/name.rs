//! Names, parsed once and valid ever after.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::id::SealedDigest;
use crate::base::text::is_obeyed;

/// A name that is not one.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BadName {
    #[error("{what} is empty")]
    Empty { what: &'static str },
    #[error("{what} {name:?} is longer than {max} bytes")]
    Long { what: &'static str, name: String, max: usize },
    #[error("{what} {name:?} has {bad:?} in it")]
    Letter { what: &'static str, name: String, bad: char },
    #[error("{what} {name:?} begins with {bad:?}")]
    Start { what: &'static str, name: String, bad: char },
}

/// The name of a source, an app or a person: printable, one line, no `/` and no `:`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl Name {
    const MAX: usize = 255;

    /// Makes a valid name of any text, replacing what is not allowed.
    pub fn lossy(text: &str) -> Self {
        let clean: String =
            text.trim_start_matches(['-', '.', '@']).chars().map(|c| if Self::allowed(c) { c } else { '_' }).collect();
        let mut end = clean.len().min(Self::MAX);
        while !clean.is_char_boundary(end) {
            end -= 1;
        }
        let clean = &clean[..end];
        Self(if clean.is_empty() { "unnamed".to_owned() } else { clean.to_owned() })
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn allowed(c: char) -> bool {
        !is_obeyed(c) && !matches!(c, '/' | ':' | '\\')
    }
}

impl FromStr for Name {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let what = "name";
        let name = || text.to_owned();
        match text.chars().next() {
            None => return Err(BadName::Empty { what }),
            Some(bad @ ('-' | '.' | '@')) => return Err(BadName::Start { what, name: name(), bad }),
            Some(_) => {}
        }
        if text.len() > Self::MAX {
            return Err(BadName::Long { what, name: name(), max: Self::MAX });
        }
        match text.chars().find(|&c| !Self::allowed(c)) {
            Some(bad) => Err(BadName::Letter { what, name: name(), bad }),
            None => Ok(Self(name())),
        }
    }
}

impl TryFrom<String> for Name {
    type Error = BadName;

    fn try_from(text: String) -> Result<Self, BadName> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> String {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of an object in a vault, such as `packs/3f/3f9c….tar.zst.age`.
///
/// Invariants: relative, `/`-separated, each part non-empty, made of `A-Z a-z 0-9 . _ -`, and never `.` or `..`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct ObjectKey(String);

impl ObjectKey {
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The digest the name carries: the last run of 64 hexadecimal digits before the first dot.
    pub fn digest(&self) -> Option<SealedDigest> {
        let stem = self.0.rsplit('/').next()?.split('.').next()?;
        let stem = if self.0.starts_with("snapshots/") { self.0.rsplit('/').next()? } else { stem };
        stem.split(['.', '-']).find(|part| part.len() == 64)?.parse().ok()
    }
}

impl FromStr for ObjectKey {
    type Err = BadName;

    fn from_str(text: &str) -> Result<Self, BadName> {
        let what = "object name";
        let name = || text.to_owned();
        for part in text.split('/') {
            if part.is_empty() {
                return Err(BadName::Empty { what });
            }
            if part.starts_with('.') {
                return Err(BadName::Start { what, name: name(), bad: '.' });
            }
        }
        if text.len() > 512 {
            return Err(BadName::Long { what, name: name(), max: 512 });
        }
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
        match text.chars().find(|&c| !allowed(c)) {
            Some(bad) => Err(BadName::Letter { what, name: name(), bad }),
            None => Ok(Self(name())),
        }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_refuses_what_would_confuse_a_path_or_a_selector() {
        for bad in ["", "-x", ".x", "@x", "a/b", "a:b", "a\nb", "fdp\u{202e}exe"] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
            assert!(Name::lossy(bad).as_str().parse::<Name>().is_ok(), "{bad:?}");
        }
        assert!("größe 2".parse::<Name>().is_ok());
    }

    #[test]
    fn an_object_key_refuses_traversal_and_finds_its_digest() {
        for bad in ["", "/a", "a//b", "../a", "a/./b", "a b", "a/.hidden"] {
            assert!(bad.parse::<ObjectKey>().is_err(), "{bad:?}");
        }
        let digest = "3f".repeat(32);
        for key in [
            format!("packs/3f/{digest}.tar.zst.age"),
            format!("catalogs/{digest}.age"),
            format!("keys/owner-{digest}.age"),
            format!("snapshots/20261121T020004.123456789Z-{digest}.json.zst.age"),
        ] {
            let key: ObjectKey = key.parse().unwrap();
            assert_eq!(key.digest().unwrap().to_hex(), digest, "{key}");
        }
        assert!("vault.json".parse::<ObjectKey>().unwrap().digest().is_none());
    }
}
