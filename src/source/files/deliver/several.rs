//! Databases with several names: captured by the one that a log stands beside, and told where that cannot be known.
//!
//! The names in a folder are looked for when the first of them is captured, since it carries the content. Those in other folders
//! are looked at as the walk comes to them; what it never comes to is told in the end.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::base::path::EntryPath;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::names::{Names, elsewhere};
use crate::source::SourceError;
use crate::source::files::database;
use crate::source::files::deliver::Deliver;
use crate::source::files::links::FileId;
use crate::source::files::read::Request;

/// One of them.
pub(super) struct Several {
    /// The entry that carries the content.
    path: EntryPath,
    /// The folders whose names were looked at; nothing for that of a root.
    folders: BTreeSet<Option<EntryPath>>,
    found: usize,
    all: usize,
    /// The logs and journals it was captured with.
    beside: BTreeSet<FileId>,
    /// It keeps a log, which may stand beside a name that is not found.
    logged: bool,
}

impl Deliver<'_> {
    /// Notes a database that was captured, by one of its names.
    pub(super) fn has_several(&mut self, file: FileId, path: &EntryPath, names: &Names) {
        self.note_names(path, names);
        if let Some(why) = names.rivals() {
            self.skip(path, why);
        }
        let (folder, logged) = (path.parent(), names.keep_a_log());
        let found = names.files().count();
        let fresh = || Several {
            path: path.clone(),
            folders: BTreeSet::new(),
            found: 0,
            all: names.count(),
            beside: BTreeSet::new(),
            logged,
        };
        let several = self.several.entry(file).or_insert_with(fresh);
        several.path = path.clone();
        several.beside.extend(names.beside());
        several.add(folder, found);
    }

    /// Looks at one more name of a file. Is it a database whose log stands beside this name? Then the content it was captured
    /// with is not all of it, which is told.
    pub(super) fn has_another_log(
        &mut self,
        file: FileId,
        path: &EntryPath,
        request: Option<&Request>,
    ) -> Result<bool, SourceError> {
        let (Some(several), Some(request)) = (self.several.get(&file), request) else { return Ok(false) };
        let folder = path.parent();
        if several.folders.contains(&folder) {
            return Ok(false);
        }
        let shown = database::file_of(&self.root, path);
        let named = DatabaseFile::within(&*request.parent, OsStr::from_bytes(request.name.to_bytes()), &shown);
        let Some(names) = named.ok().and_then(|file| file.names()) else { return Ok(false) };
        self.note_names(path, &names);
        let Some(several) = self.several.get_mut(&file) else { return Ok(false) };
        let others: Vec<FileId> = names.beside().difference(&several.beside).copied().collect();
        if others.is_empty() {
            several.add(folder, names.files().count());
            return Ok(false);
        }
        let carrier = several.path.clone();
        self.skip(
            &carrier,
            format!("is one file with {path}, beside which another log stands: that one is missing here"),
        );
        Ok(true)
    }

    /// What stands beside any of the names is part of the database.
    fn note_names(&mut self, path: &EntryPath, names: &Names) {
        self.note_database(path);
        let Some(folder) = path.parent() else { return };
        let paths: Vec<EntryPath> = names.files().map(|file| folder.child(file.name().as_bytes())).collect();
        paths.iter().for_each(|path| self.note_database(path));
    }

    /// Tells of databases that may have a log where nobody has looked.
    pub fn end(&mut self) {
        for (_, several) in std::mem::take(&mut self.several) {
            let unseen = several.all.saturating_sub(several.found);
            if unseen > 0 && several.logged {
                self.skip(&several.path, elsewhere(unseen, several.all));
            }
        }
    }
}

impl Several {
    fn add(&mut self, folder: Option<EntryPath>, found: usize) {
        if self.folders.insert(folder) {
            self.found += found;
        }
    }
}
