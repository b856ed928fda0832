//! What is left out of a capture because somebody said so.
//!
//! Owns the configured globs and the ignore files met on the way, both with the meaning they have for git. The
//! configured globs decide first; then the ignore file nearest to the item. What is left out is not reported.
//! A line that is no valid glob is refused in the configuration; in an ignore file it leaves nothing out.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::base::path::EntryPath;
use crate::source::ConfigError;

/// What was configured.
#[derive(Clone, Debug)]
pub(super) struct Rules {
    globs: Gitignore,
    ignore_files: Vec<String>,
}

impl Rules {
    pub fn new(globs: &[String], ignore_files: &[String]) -> Result<Self, ConfigError> {
        let bad = |problem: String| ConfigError::Value { key: "exclude", problem };
        let mut builder = GitignoreBuilder::new(".");
        for glob in globs {
            if has_unclosed_class(glob) {
                return Err(bad(format!("{glob:?} has a [ without a ]")));
            }
            builder.add_line(None, glob).map_err(|error| bad(error.to_string()))?;
        }
        let globs = builder.build().map_err(|error| bad(error.to_string()))?;
        if let Some(name) = ignore_files.iter().find(|name| name.is_empty() || name.contains('/')) {
            let problem = format!("{name:?} is a path, not a name");
            return Err(ConfigError::Value { key: "ignore_files", problem });
        }
        Ok(Self { globs, ignore_files: ignore_files.to_vec() })
    }
}

/// Is there a `[` that no `]` closes? git takes it for a pattern that fits nothing; whoever wrote it meant something.
fn has_unclosed_class(glob: &str) -> bool {
    let mut letters = glob.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => drop(letters.next()),
            '[' => {
                letters.next_if(|next| matches!(next, '!' | '^'));
                // A bracket that comes first is one of the letters meant.
                letters.next_if_eq(&']');
                if !letters.any(|next| next == ']') {
                    return true;
                }
            }
            _ => {}
        }
    }
    false
}

/// The rules that hold inside one folder.
#[derive(Clone)]
pub(super) struct Scope {
    rules: Arc<Rules>,
    level: Option<Arc<Level>>,
}

/// The ignore files of one folder.
struct Level {
    folder: EntryPath,
    matcher: Gitignore,
    outer: Option<Arc<Level>>,
}

impl Scope {
    pub fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(rules), level: None }
    }

    /// The names to look for in every folder.
    pub fn ignore_files(&self) -> &[String] {
        &self.rules.ignore_files
    }

    /// The rules inside `folder`, given the texts of its ignore files.
    pub fn enter(&self, folder: &EntryPath, texts: &[Vec<u8>]) -> Self {
        if texts.is_empty() {
            return self.clone();
        }
        let mut builder = GitignoreBuilder::new(".");
        for line in texts.iter().flat_map(|text| text.split(|&byte| byte == b'\n')) {
            // As for git, a line that makes no sense matches nothing.
            let _ = builder.add_line(None, &String::from_utf8_lossy(line));
        }
        let Ok(matcher) = builder.build() else { return self.clone() };
        let level = Level { folder: folder.clone(), matcher, outer: self.level.clone() };
        Self { rules: self.rules.clone(), level: Some(Arc::new(level)) }
    }

    /// Nothing is left out here.
    pub fn is_empty(&self) -> bool {
        self.rules.globs.is_empty() && self.level.is_none()
    }

    pub fn leaves_out(&self, path: &EntryPath, is_folder: bool) -> bool {
        if let Some(decided) = decide(&self.rules.globs, path.as_bytes(), is_folder) {
            return decided;
        }
        let mut level = self.level.as_deref();
        while let Some(inner) = level {
            let above = inner.folder.as_bytes().len() + usize::from(!inner.folder.is_root());
            if let Some(decided) = decide(&inner.matcher, &path.as_bytes()[above..], is_folder) {
                return decided;
            }
            level = inner.outer.as_deref();
        }
        false
    }
}

fn decide(matcher: &Gitignore, path: &[u8], is_folder: bool) -> Option<bool> {
    match matcher.matched(Path::new(OsStr::from_bytes(path)), is_folder) {
        Match::None => None,
        Match::Ignore(_) => Some(true),
        Match::Whitelist(_) => Some(false),
    }
}
