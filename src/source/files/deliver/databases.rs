//! Databases among the files: captured by SQLite, with their logs and journals as parts of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use crate::base::database::{Database, FREE_PAGES};
use crate::base::error::reason;
use crate::base::path::{self, EntryPath};
use crate::engine::sqlite::error::SqliteError;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::names::Names;
use crate::engine::sqlite::pages::Free;
use crate::source::SourceError;
use crate::source::files::database::{self, Databases, Failure};
use crate::source::files::deliver::{Deliver, Pending};
use crate::source::files::links::First;
use crate::source::files::read::{Recognised, Request};

/// A file named like a log or journal: part of a database, or something of its own if there is no such database.
pub struct Companion {
    pub main: EntryPath,
    pub path: EntryPath,
    /// It is the first name of a file with several.
    pub first: Option<First>,
    /// What it is of its own.
    pub otherwise: Pending,
}

impl Deliver<'_> {
    /// Hands over a database; one that SQLite cannot make sense of as the bytes it is. False when it cannot be had.
    pub(super) fn database(&mut self, recognised: Recognised) -> Result<bool, SourceError> {
        let Recognised { mut captured, facts, request } = recognised;
        let free = match self.reader.databases {
            Databases::Recognise(free) | Databases::Demand(free) => free,
            Databases::Plain => Free::Keep,
        };
        // What stands beside other names is looked at every time.
        let fingerprint = Some(&facts).filter(|facts| facts.names == 1);
        let fingerprint = fingerprint.and_then(|facts| database::fingerprint(facts, &request.parent, &request.name, 0));
        let shown = database::file_of(&self.root, &request.path);
        let file = match DatabaseFile::within(&*request.parent, OsStr::from_bytes(request.name.to_bytes()), &shown) {
            Ok(file) => file.that_is((facts.device, facts.inode)),
            Err(error) => {
                self.skip(&request.path, reason(&error));
                return Ok(false);
            }
        };
        let names = file.names();
        let file = names.as_ref().map_or(&file, Names::in_use);
        let mut done = match database::capture(file, &request.path, (free, self.check), self.sink, self.control) {
            Ok(done) => done,
            Err(Failure::Sink(error)) => return Err(SourceError::Sink(error)),
            Err(Failure::Database(SqliteError::Interrupted)) => return Err(SourceError::Interrupted),
            Err(Failure::Database(SqliteError::Unsound { reason, .. })) => return self.unsound(request, reason),
            Err(Failure::Database(error)) => {
                self.skip(&request.path, trouble_with(&error));
                return Ok(false);
            }
        };
        if free == Free::Zero {
            done.known.facts.insert(FREE_PAGES.to_owned(), "zero".to_owned());
        }
        captured.entry.size = done.length;
        captured.fingerprint = fingerprint.filter(|_| captured.troubles.is_empty() && done.known.is_sound());
        captured.fingerprint.iter_mut().for_each(|print| print.size = done.length);
        let damage = done.known.damage.clone();
        self.note_database(&request.path);
        self.sink.database(done.known);
        self.keep(captured, done.content)?;
        if let Some(names) = names {
            self.has_several((facts.device, facts.inode), &request.path, &names);
        }
        damage.iter().for_each(|damage| self.damaged(&request.path, damage));
        Ok(true)
    }

    /// What nobody can open as a database is kept as it lies there: somebody may know how to mend it.
    fn unsound(&mut self, request: Request, damage: String) -> Result<bool, SourceError> {
        self.damaged(&request.path, &damage);
        let path = request.path.clone();
        self.sink.database(Database {
            path,
            engine: "sqlite".to_owned(),
            rows: BTreeMap::new(),
            bytes: BTreeMap::new(),
            revision: None,
            damage: Some(damage),
            facts: BTreeMap::new(),
        });
        self.read_now(Request { plain: true, ..request }, None)
    }

    pub(super) fn note_database(&mut self, path: &EntryPath) {
        self.databases.push_back(path.clone());
    }

    pub(super) fn companion(&mut self, companion: Companion) -> Result<(), SourceError> {
        let Companion { main, path, first, otherwise } = companion;
        let last = |database: &EntryPath| [database.as_bytes(), b"-wal"].concat();
        while self.databases.front().is_some_and(|database| path::compare(&last(database), path.as_bytes()).is_lt()) {
            self.databases.pop_front();
        }
        if !self.databases.contains(&main) {
            return self.hand_over(otherwise);
        }
        // Should it have other names that belong to no database, one of those has to carry the content.
        if let Some(first) = first {
            *first.borrow_mut() = None;
        }
        Ok(())
    }
}

/// What keeps a database from being captured, without its name, which is told beside it.
fn trouble_with(error: &SqliteError) -> String {
    match error {
        SqliteError::Busy { .. } => "is locked by another process".to_owned(),
        SqliteError::Read { reason, .. } => reason.clone(),
        other => other.to_string(),
    }
}
