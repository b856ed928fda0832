//! Databases among the files of records, which are given back as files only where nothing of one is there.
//!
//! Owns what keeps a file from being put, replaced or removed beside what SQLite has in use: SQLite takes a log that it
//! finds beside a database for that database's own, whoever put either there.

use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::SIDES;
use crate::engine::sqlite::file::{DatabaseFile, is_regular};
use crate::engine::sqlite::held::begins_like_a_database;
use crate::ops::restore::live::stem;
use crate::source::files::target::Tree;

/// Is what stands there a database, by whatever name it is in use?
pub(super) fn stands(tree: &Tree, path: &EntryPath) -> bool {
    let Some(file) = tree.database(path).ok().flatten().filter(DatabaseFile::is_there) else { return false };
    // All of a young one may be in its log.
    begins_like_a_database(&file) || (!file.has_content() && log_of(&file, &|_| false).is_some())
}

/// A log beside a place, or beside another name of the database that stands there; but for what is `ours`.
pub(super) fn log_beside(tree: &Tree, path: &EntryPath, ours: &dyn Fn(&EntryPath) -> bool) -> Option<String> {
    let file = tree.database(path).ok().flatten()?;
    let own = |log: &DatabaseFile| {
        use std::os::unix::ffi::OsStrExt;
        path.parent().is_some_and(|folder| ours(&folder.child(log.name().as_bytes())))
    };
    log_of(&file, &own)
}

fn log_of(file: &DatabaseFile, own: &dyn Fn(&DatabaseFile) -> bool) -> Option<String> {
    // What is empty says nothing; what is no file is no log of ours to judge.
    let says = |log: &DatabaseFile| {
        log.look().is_ok_and(|there| there.is_some_and(|there| !is_regular(&there) || there.st_size > 0))
    };
    let logs = SIDES.iter().map(|side| file.companion(side));
    let found = logs.into_iter().find(|log| says(log) && !own(log))?;
    Some(found.name().to_string_lossy().into_owned())
}

/// The database that stands there and that this is the log of.
pub(super) fn owner(tree: &Tree, path: &EntryPath) -> Option<String> {
    let stem = stem(path)?;
    stands(tree, &stem).then(|| String::from_utf8_lossy(stem.file_name()).into_owned())
}

/// Why nothing is put there, replaced or removed: it would take a database from its log, or a log from its database.
/// `comes` is what takes the place.
pub(super) fn keeps_out(
    tree: &Tree,
    path: &EntryPath,
    comes: Option<(&Tree, &EntryPath)>,
    ours: &dyn Fn(&EntryPath) -> bool,
) -> Option<String> {
    let is_there = stands(tree, path);
    if is_there && comes.is_some() {
        return Some("left alone: it is a database by now, and is not replaced as a file".to_owned());
    }
    if (is_there || comes.is_some_and(|(staged, from)| stands(staged, from)))
        && let Some(log) = log_beside(tree, path, ours)
    {
        return Some(format!("left alone: {log} stands beside it, which belongs to another moment"));
    }
    let owner = owner(tree, path).filter(|_| !stem(path).is_some_and(|stem| ours(&stem)))?;
    Some(format!("left alone: it is the log of {owner}, which is there"))
}
