//! How people name a snapshot: `latest`, `latest~2`, an id prefix, `@TIME`, `tag:X`, `label:K=V`, `revision:R`.

use std::fmt;
use std::str::FromStr;

use crate::base::error::{Class, Explain};

/// A parsed selector. `@TIME` keeps its text: what it means depends on now and on the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// The newest but `n`.
    Latest(usize),
    /// The one whose id begins so.
    Prefix(String),
    /// The newest at or before the time.
    At(String),
    /// The newest with this tag.
    Tag(String),
    /// The newest with this label.
    Label(String, String),
    /// The newest with a database that has seen this migration last.
    Revision(String),
}

/// Text that names no snapshot in any known way.
#[derive(Debug, thiserror::Error)]
#[error("{text:?} is not a snapshot selector")]
pub struct BadSelector {
    text: String,
}

impl Explain for BadSelector {
    fn class(&self) -> Class {
        Class::Usage
    }

    fn hint(&self) -> Option<String> {
        Some("use latest, latest~2, an id prefix, @2026-11-21T02:00, @yesterday, tag:NAME, label:KEY=VALUE or revision:ID".into())
    }
}

impl FromStr for Selector {
    type Err = BadSelector;

    fn from_str(text: &str) -> Result<Self, BadSelector> {
        let bad = || BadSelector { text: text.to_owned() };
        if text == "latest" {
            return Ok(Self::Latest(0));
        }
        if let Some(n) = text.strip_prefix("latest~") {
            return n.parse().map(Self::Latest).map_err(|_| bad());
        }
        if let Some(time) = text.strip_prefix('@') {
            return if time.trim().is_empty() { Err(bad()) } else { Ok(Self::At(time.trim().to_owned())) };
        }
        if let Some(tag) = text.strip_prefix("tag:") {
            return if tag.is_empty() { Err(bad()) } else { Ok(Self::Tag(tag.to_owned())) };
        }
        if let Some(label) = text.strip_prefix("label:") {
            let (key, value) = label.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(bad)?;
            return Ok(Self::Label(key.to_owned(), value.to_owned()));
        }
        if let Some(revision) = text.strip_prefix("revision:") {
            return if revision.is_empty() { Err(bad()) } else { Ok(Self::Revision(revision.to_owned())) };
        }
        let hex = (1..=32).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit());
        if hex { Ok(Self::Prefix(text.to_ascii_lowercase())) } else { Err(bad()) }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest(0) => f.write_str("latest"),
            Self::Latest(n) => write!(f, "latest~{n}"),
            Self::Prefix(prefix) => f.write_str(prefix),
            Self::At(time) => write!(f, "@{time}"),
            Self::Tag(tag) => write!(f, "tag:{tag}"),
            Self::Label(key, value) => write!(f, "label:{key}={value}"),
            Self::Revision(revision) => write!(f, "revision:{revision}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_way_to_name_a_snapshot_reads_back_as_written() {
        for text in [
            "latest",
            "latest~3",
            "7c1e04b2",
            "@yesterday",
            "@2026-11-21 02:00",
            "tag:nightly",
            "label:a=b=c",
            "revision:8f3c",
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().to_string(), text);
        }
        for bad in
            ["", "newest", "latest~", "latest~-1", "@", "@ ", "tag:", "label:x", "label:=x", "revision:", "7c1e04b2-"]
        {
            assert!(bad.parse::<Selector>().is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_selector_or_an_error(text in "\\PC*") {
            if let Ok(selector) = text.parse::<Selector>() {
                prop_assert_eq!(selector.to_string().parse::<Selector>().unwrap(), selector);
            }
        }
    }
}
