//! Which of several names of one database file is the one in use.
//!
//! SQLite keeps a log or journal beside the name that a database was opened by, and looks for it nowhere else. By another name
//! of the same file the rows in the log are not there, and whoever writes by that name does not see the locks of the others.
//! Owns finding the names in one folder, and the reason why none of them can be relied on.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{Mode, OFlags, RawDir, Stat, openat};
use rustix::io::Errno;

use crate::engine::sqlite::COMPANIONS;
use crate::engine::sqlite::file::{DatabaseFile, is_regular};
use crate::engine::sqlite::live::keeps_a_log;
use crate::engine::sqlite::vfs::system::FileId;

/// The names of one file, as far as they are in one folder.
pub struct Names {
    named: Vec<Named>,
    /// The one that was asked for.
    asked: usize,
    /// How many names the file has, wherever they are.
    all: usize,
    /// Why there may be more in the folder.
    unlisted: Option<Errno>,
}

struct Named {
    file: DatabaseFile,
    /// What stands beside it: by what its name ends with, which file it is and whether there is anything in it.
    beside: BTreeMap<&'static str, (FileId, bool)>,
}

impl Named {
    fn of(file: DatabaseFile) -> Self {
        let beside = |end: &&'static str| {
            let there = file.companion(end).look().ok().flatten().filter(is_regular)?;
            Some((*end, (id(&there), there.st_size > 0)))
        };
        let beside = COMPANIONS.iter().filter_map(beside).collect();
        Self { file, beside }
    }

    /// How much says that the database is opened by this name.
    fn weight(&self) -> u8 {
        let has_content = self.beside.iter().any(|(end, (_, filled))| *end != "-shm" && *filled);
        if has_content { 2 } else { u8::from(!self.beside.is_empty()) }
    }

    fn files_beside(&self) -> BTreeSet<FileId> {
        self.beside.values().map(|(id, _)| *id).collect()
    }
}

impl Names {
    /// The name that a log or journal stands beside; the one that was asked for where none does.
    pub fn in_use(&self) -> &DatabaseFile {
        &self.named[self.best()].file
    }

    fn best(&self) -> usize {
        // Where one log has two names, its index may have one only: then that name is the one.
        let weight = |named: &Named| (named.weight(), named.beside.len());
        let most = self.named.iter().map(weight).max().unwrap_or_default();
        let is_best = |at: &usize| weight(&self.named[*at]) == most;
        Some(self.asked).filter(is_best).or_else(|| (0..self.named.len()).find(is_best)).unwrap_or(self.asked)
    }

    /// The names in the folder.
    pub fn files(&self) -> impl Iterator<Item = &DatabaseFile> {
        self.named.iter().map(|named| &named.file)
    }

    /// How many names the file has, wherever they are.
    pub fn count(&self) -> usize {
        self.all
    }

    /// What stands beside the name in use, by whatever name.
    pub fn beside(&self) -> BTreeSet<FileId> {
        self.named[self.best()].files_beside()
    }

    /// Why it cannot be told which of the names in the folder is in use.
    pub fn rivals(&self) -> Option<String> {
        let own = self.beside();
        // Names of one log are one log.
        let is_rival = |named: &&Named| !named.files_beside().is_subset(&own);
        if let Some(rival) = self.named.iter().find(is_rival) {
            let (one, other) = (shown(self.in_use()), shown(&rival.file));
            return Some(format!("is one file with {} names, and {one} and {other} both have a log", self.all));
        }
        let error = std::io::Error::from(self.unlisted?);
        Some(format!("is one file with {} names, which cannot be looked for: {error}", self.all))
    }

    /// May there be a log at all? Without one, locks are on the file, whatever its name.
    pub fn keep_a_log(&self) -> bool {
        keeps_a_log(self.in_use())
    }

    /// Why what is reached by a name of this folder may not be all of the database.
    pub fn doubt(&self) -> Option<String> {
        let outside = self.all.saturating_sub(self.named.len());
        self.rivals().or_else(|| (outside > 0 && self.keep_a_log()).then(|| elsewhere(outside, self.all)))
    }
}

/// Why a database may lack what is in its log.
pub fn elsewhere(unseen: usize, all: usize) -> String {
    format!("is one file with {all} names, of which {unseen} could not be found: a log beside those is missing here")
}

impl DatabaseFile {
    /// The names of this file; nothing where it has only this one.
    pub fn names(&self) -> Option<Names> {
        let there = self.look().ok().flatten().filter(|there| is_regular(there) && there.st_nlink > 1)?;
        let all = usize::try_from(there.st_nlink).unwrap_or(usize::MAX);
        let (found, unlisted) = match self.namesakes(&there) {
            Ok(found) => (found, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        let of = |file: DatabaseFile| {
            let own = file.name() == self.name();
            Named::of(if own { self.clone() } else { file.that_is(id(&there)) })
        };
        let mut named: Vec<Named> = found.into_iter().map(of).collect();
        let asked = named.iter().position(|named| named.file.name() == self.name()).unwrap_or_else(|| {
            named.push(Named::of(self.clone()));
            named.len() - 1
        });
        Some(Names { named, asked, all, unlisted })
    }

    /// The same file by the name that its log or journal stands beside.
    #[must_use]
    pub fn in_use(self) -> Self {
        match self.names() {
            Some(names) => names.in_use().clone(),
            None => self,
        }
    }

    /// Why what is reached by this name may not be all of the database.
    pub fn doubt(&self) -> Option<String> {
        self.names()?.doubt()
    }

    /// The files of its folder that are this one, in the order of their names.
    fn namesakes(&self, there: &Stat) -> Result<Vec<DatabaseFile>, Errno> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(self.folder(), c".", flags, Mode::empty())?;
        let mut names: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 32 << 10];
        let mut entries = RawDir::new(&folder, &mut buffer);
        while let Some(entry) = entries.next() {
            let entry = entry?;
            names.push((entry.ino(), entry.file_name().to_bytes().to_vec()));
        }
        // Some file systems list other numbers than they tell of the files.
        let is_own = |(ino, name): &&(u64, Vec<u8>)| name == self.name().as_bytes() && *ino == there.st_ino;
        let exact = names.iter().any(|name| is_own(&name));
        names.retain(|(ino, _)| !exact || *ino == there.st_ino);
        names.sort_unstable_by(|(_, one), (_, other)| one.cmp(other));
        let files = names.iter().map(|(_, name)| self.beside(OsStr::from_bytes(name)));
        Ok(files.filter(|file| file.look().is_ok_and(|it| it.is_some_and(|it| id(&it) == id(there)))).collect())
    }
}

fn shown(file: &DatabaseFile) -> String {
    file.name().to_string_lossy().into_owned()
}

fn id(stat: &Stat) -> FileId {
    (stat.st_dev, stat.st_ino)
}

#[cfg(test)]
mod tests;
