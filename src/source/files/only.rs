//! Which files are meant, where not all are.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use globset::{GlobBuilder, GlobMatcher};

use crate::base::path::EntryPath;
use crate::source::ConfigError;

/// What is meant of all that lies below the root.
#[derive(Clone, Debug)]
pub(super) enum Only {
    /// The root itself.
    Root,
    Glob {
        glob: GlobMatcher,
        /// The glob's last part says what is meant: it is not just anything.
        says_what: bool,
    },
    /// Just these: their names are no pattern, and nothing else is looked at.
    Paths(Paths),
}

/// Paths below a root.
pub(super) type Paths = Arc<BTreeSet<EntryPath>>;

/// Is it one of them, or a folder on the way to one?
pub(super) fn leads_to(paths: &Paths, path: &EntryPath) -> bool {
    // What is in a folder comes right behind it.
    paths.range(path..).next().is_some_and(|next| next.is_within(path))
}

impl Only {
    /// The files that a glob names; without a glob, the root itself.
    pub fn new(glob: &str) -> Result<Self, ConfigError> {
        if glob.is_empty() {
            return Ok(Self::Root);
        }
        let says_what = !matches!(glob.rsplit('/').next(), Some("*" | "**"));
        let built = GlobBuilder::new(glob).literal_separator(true).build();
        let glob = built.map_err(|error| ConfigError::Value { key: "path", problem: error.kind().to_string() })?;
        Ok(Self::Glob { glob: glob.compile_matcher(), says_what })
    }

    /// Is the root itself the file that is meant?
    pub fn is_root(&self) -> bool {
        matches!(self, Self::Root)
    }

    /// Was a file meant by this path, whatever stands there?
    pub fn means_a_file(&self, path: &EntryPath) -> bool {
        !matches!(self, Self::Glob { says_what: false, .. }) && self.wants(path)
    }

    pub fn wants(&self, path: &EntryPath) -> bool {
        match self {
            Self::Root => path.is_root(),
            Self::Glob { glob, .. } => glob.is_match(Path::new(OsStr::from_bytes(path.as_bytes()))),
            Self::Paths(paths) => paths.contains(path),
        }
    }
}

/// The part of a path before its first glob, and the glob.
pub fn split(path: &str) -> (PathBuf, String) {
    const SPECIAL: &[char] = &['*', '?', '[', '{'];
    let Some(first) = path.find(SPECIAL) else { return (PathBuf::from(path), String::new()) };
    match path[..first].rfind('/') {
        Some(0) => (PathBuf::from("/"), path[1..].to_owned()),
        Some(slash) => (PathBuf::from(&path[..slash]), path[slash + 1..].to_owned()),
        None => (PathBuf::from("."), path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_split_before_its_first_glob() {
        let split = |path| {
            let (folder, glob) = split(path);
            (folder.to_string_lossy().into_owned(), glob)
        };
        assert_eq!(split("data/app.db"), ("data/app.db".into(), "".into()));
        assert_eq!(split("data/*/x?.db"), ("data".into(), "*/x?.db".into()));
        assert_eq!(split("/*.db"), ("/".into(), "*.db".into()));
        assert_eq!(split("*.db"), (".".into(), "*.db".into()));
    }

    #[test]
    fn a_star_stays_within_one_folder() {
        let wants =
            |glob: &str, path: &str| Only::new(glob).unwrap().wants(&EntryPath::from_bytes(path.as_bytes()).unwrap());
        assert!(wants("*.db", "a.db") && !wants("*.db", "a/b.db") && wants("**/*.db", "a/b.db"));
        assert!(Only::new("").unwrap().wants(&EntryPath::root()));
    }

    #[test]
    fn names_that_are_meant_mean_themselves_whatever_letters_are_in_them() {
        let path = |bytes: &[u8]| EntryPath::from_bytes(bytes).unwrap();
        let odd: [&[u8]; 6] = [b"a\\b.db", b"{a,b}.db", b"[x].db", b"*.db", b"\xff.db", b"!a?"];
        let only = Only::Paths(Arc::new(odd.iter().map(|name| path(name)).collect()));
        assert!(odd.iter().all(|name| only.wants(&path(name))) && !only.wants(&path(b"ab.db")) && !only.is_root());
    }
}
