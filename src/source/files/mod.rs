//! The `files` source: a folder, or one file, as it is.
//!
//! Owns its options and the order of its parts: `walk` finds everything in path order, ahead of need; `read` reads
//! content, ahead of need; `capture` puts both together and hands the entries over. Memory is bounded whatever the
//! tree: by names ahead (`walk`), by bytes ahead (`budget`) and by entries ahead (`capture`).
//! Never follows a link below its root, and never opens anything but directories and regular files.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use toml::Table;

use crate::base::capture::{Capture, EntrySink};
use crate::base::control::Control;
use crate::base::path::{EntryPath, encode};
use crate::engine::sqlite::pages::Free;
use crate::source::settings::Settings;
use crate::source::{ConfigError, Source, SourceError};

mod attributes;
mod budget;
mod capture;
mod database;
mod deliver;
mod estimate;
mod exclude;
mod handle;
mod links;
mod metadata;
mod only;
mod read;
pub mod root;
mod scan;
mod stream;
pub mod target;
mod task;
mod walk;

#[cfg(test)]
mod tests;

pub use database::Databases;
pub use only::split as split_glob;

/// Among so many files those are looked for that a pattern means, where that is only a matter of a warning.
const MOST_NAMES: usize = 10_000;

/// What to capture, and what to leave out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilesOptions {
    /// A folder, a file, or a link to either.
    pub path: PathBuf,
    /// Globs relative to `path`, as in a .gitignore file.
    pub exclude: Vec<String>,
    /// Names of files that list what to leave out of their folder, such as `.gitignore`.
    pub ignore_files: Vec<String>,
    /// Keep the folders other file systems are mounted on, and nothing in them.
    pub one_file_system: bool,
    /// Capture folders marked by a CACHEDIR.TAG in full.
    pub cachedirs: bool,
    pub databases: Databases,
    /// There may be nothing.
    pub allow_empty: bool,
    /// Capture only the files that this glob names, relative to the root, and the folders on the way to them. Empty: the
    /// root itself.
    pub only: Option<String>,
}

/// A `files` source. Its globs are valid.
#[derive(Debug)]
pub struct FilesSource {
    options: FilesOptions,
    rules: exclude::Rules,
    only: Option<only::Only>,
}

impl FilesSource {
    pub fn new(options: FilesOptions) -> Result<Self, ConfigError> {
        let rules = exclude::Rules::new(&options.exclude, &options.ignore_files)?;
        let only = options.only.as_deref().map(only::Only::new).transpose()?;
        Ok(Self { options, rules, only })
    }

    /// Just these files; the root itself where there are none.
    pub fn of_these(options: FilesOptions, paths: BTreeSet<EntryPath>) -> Result<Self, ConfigError> {
        let only = Some(only::Only::these(paths));
        Ok(Self { only, ..Self::new(options)? })
    }

    /// Is the file meant, as far as its path tells?
    fn wants(&self, path: &EntryPath) -> bool {
        self.only.as_ref().is_none_or(|only| only.wants(path))
    }

    pub fn options(&self) -> &FilesOptions {
        &self.options
    }
}

/// Makes a `files` source of its configuration table.
pub fn configure(table: &Table, base: &Path) -> Result<Box<dyn Source>, ConfigError> {
    let known = ["path", "exclude", "ignore_files", "one_file_system", "cachedirs", "plain", "allow_empty"];
    let settings = Settings::new(table, &known)?;
    let path = settings.text("path")?;
    if path.is_empty() {
        return Err(ConfigError::Value { key: "path", problem: "is empty".to_owned() });
    }
    let options = FilesOptions {
        path: base.join(path),
        exclude: settings.texts("exclude")?,
        ignore_files: settings.texts("ignore_files")?,
        one_file_system: settings.flag("one_file_system")?,
        cachedirs: settings.flag("cachedirs")?,
        databases: if settings.flag("plain")? { Databases::Plain } else { Databases::default() },
        allow_empty: settings.flag("allow_empty")?,
        only: None,
    };
    Ok(Box::new(FilesSource::new(options)?))
}

impl Source for FilesSource {
    fn kind(&self) -> &'static str {
        "files"
    }

    fn root(&self) -> String {
        encode(self.options.path.as_os_str().as_bytes())
    }

    fn memory(&self) -> String {
        match (self.options.databases, &self.options.only) {
            // Some files of a source are not what the source was.
            (Databases::Plain, Some(only)) => format!("{}\nplain {only}", self.root()),
            (Databases::Plain, None) => format!("{}\nplain", self.root()),
            (Databases::Recognise(Free::Zero) | Databases::Demand(Free::Zero), _) => format!("{}\nzero", self.root()),
            (Databases::Recognise(Free::Keep) | Databases::Demand(Free::Keep), _) => self.root(),
        }
    }

    fn may_be_empty(&self) -> bool {
        self.options.allow_empty
    }

    fn nothing(&self) -> String {
        match self.options.only.as_deref() {
            Some(glob) if !glob.is_empty() => format!("no file matches {}", self.options.path.join(glob).display()),
            _ => "there is nothing in it".to_owned(),
        }
    }

    fn covers(&self, path: &Path) -> bool {
        let Ok(root) = self.options.path.canonicalize() else { return false };
        let Ok(inside) = path.strip_prefix(&root) else { return false };
        let Ok(inside) = EntryPath::from_typed(inside.as_os_str()) else { return false };
        let scope = exclude::Scope::new(self.rules.clone());
        let mut folder = inside.parent();
        let mut left_out = !inside.is_root() && scope.leaves_out(&inside, path.is_dir());
        while let Some(path) = folder.filter(|path| !path.is_root()) {
            left_out |= scope.leaves_out(&path, true);
            folder = path.parent();
        }
        !left_out && self.wants(&inside)
    }

    fn names(&self) -> Vec<PathBuf> {
        let Ok(root) = self.options.path.canonicalize() else { return Vec::new() };
        if self.wants(&EntryPath::root()) {
            return vec![root];
        }
        let files = walkdir::WalkDir::new(&root).into_iter().flatten().take(MOST_NAMES);
        files.map(walkdir::DirEntry::into_path).filter(|path| self.covers(path)).collect()
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        capture::run(self, capture, sink)
    }

    fn estimate(&self, control: &Control) {
        estimate::run(self, control);
    }
}
