//! The `sqlite` source: one database, or those that a glob names, each as one moment saw it.
//!
//! Owns its configuration. Finding and capturing databases is what `files` does with those it meets; here nothing else
//! is wanted, and what is no database is told.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::Table;

use crate::base::capture::{Capture, EntrySink};
use crate::base::control::Control;
use crate::base::path::EntryPath;
use crate::engine::sqlite::pages::Free;
use crate::source::files::{Databases, FilesOptions, FilesSource, split_glob};
use crate::source::settings::Settings;
use crate::source::{ConfigError, Source, SourceError};

#[derive(Debug)]
pub struct SqliteSource(FilesSource);

impl SqliteSource {
    /// One database, with everything in it.
    pub fn of(path: PathBuf) -> Self {
        let databases = Databases::Demand(Free::Keep);
        let options = FilesOptions { path, databases, only: Some(String::new()), ..FilesOptions::default() };
        Self(FilesSource::new(options).expect("BUG: there is no pattern that could be wrong"))
    }

    /// The databases that were captured below `root`: to see what has become of them.
    pub fn again<'p>(root: PathBuf, databases: impl Iterator<Item = &'p EntryPath>) -> Self {
        let paths: BTreeSet<EntryPath> = databases.filter(|path| !path.is_root()).cloned().collect();
        let (only, paths) = if paths.is_empty() { (Some(String::new()), None) } else { (None, Some(Arc::new(paths))) };
        let options = FilesOptions {
            path: root,
            databases: Databases::Recognise(Free::Keep),
            only,
            paths,
            ..FilesOptions::default()
        };
        Self(FilesSource::new(options).expect("BUG: there is no pattern that could be wrong"))
    }
}

/// Makes a `sqlite` source of its configuration table.
pub fn configure(table: &Table, base: &Path) -> Result<Box<dyn Source>, ConfigError> {
    let settings = Settings::new(table, &["path", "free_pages", "exclude", "allow_empty"])?;
    let path = settings.text("path")?;
    if path.is_empty() {
        return Err(ConfigError::Value { key: "path", problem: "is empty".to_owned() });
    }
    let free = match settings.optional("free_pages")? {
        None | Some("keep") => Free::Keep,
        Some("zero") => Free::Zero,
        Some(other) => {
            let problem = format!("{other:?} is neither \"keep\" nor \"zero\"");
            return Err(ConfigError::Value { key: "free_pages", problem });
        }
    };
    let (folder, glob) = split_glob(path);
    let options = FilesOptions {
        path: base.join(folder),
        exclude: settings.texts("exclude")?,
        databases: Databases::Demand(free),
        allow_empty: settings.flag("allow_empty")?,
        only: Some(glob),
        ..FilesOptions::default()
    };
    Ok(Box::new(SqliteSource(FilesSource::new(options)?)))
}

impl Source for SqliteSource {
    fn kind(&self) -> &'static str {
        "sqlite"
    }

    fn root(&self) -> String {
        self.0.root()
    }

    fn memory(&self) -> String {
        self.0.memory()
    }

    fn may_be_empty(&self) -> bool {
        self.0.may_be_empty()
    }

    fn nothing(&self) -> String {
        match self.0.options().only.as_deref() {
            Some("") => "there is no database in it".to_owned(),
            _ => self.0.nothing(),
        }
    }

    fn covers(&self, path: &Path) -> bool {
        self.0.covers(path)
    }

    fn names(&self) -> Vec<PathBuf> {
        self.0.names()
    }

    fn capture(&self, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
        self.0.capture(capture, sink)
    }

    fn estimate(&self, control: &Control) {
        self.0.estimate(control);
    }
}
