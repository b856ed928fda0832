//! Which entries of a snapshot are databases, and where they live when they are not in a snapshot.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::database::Database;
use crate::base::entry::{Entry, Kind};
use crate::base::path::{self, EntryPath};
use crate::base::random::RandomRead;
use crate::engine::sqlite;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::{OpError, Problem};
use crate::ops::show::{self, Part};
use crate::vault::random::{ContentReader, Desk};

const SQLITE: &str = "sqlite";
const POSTGRES: &str = "postgres";

/// A database of a snapshot.
#[derive(Clone, Debug)]
pub struct Place<'m> {
    pub source: &'m SourceRecord,
    pub path: EntryPath,
    /// What was found out when it was captured; nothing for one that was kept as a plain file.
    pub known: Option<&'m Database>,
}

impl<'m> Place<'m> {
    /// The databases that were captured as such.
    pub fn all(manifest: &'m Manifest) -> Vec<Self> {
        let of = |source: &'m SourceRecord| {
            let known = |database: &&Database| [SQLITE, POSTGRES].contains(&&*database.engine);
            let all = source.databases.iter().filter(known);
            all.map(move |known| Self { source, path: known.path.clone(), known: Some(known) })
        };
        manifest.sources.iter().flat_map(of).collect()
    }

    /// The database at a path of a source.
    pub fn at(source: &'m SourceRecord, path: &EntryPath) -> Self {
        let known = source.databases.iter().find(|database| database.path == *path);
        Self { source, path: path.clone(), known }
    }

    /// The database that `part` means; without it, the only one there is.
    pub fn find(manifest: &'m Manifest, part: Option<&Part>) -> Result<Self, OpError> {
        let source = part.map(|part| part.source_of(manifest)).transpose()?;
        let mut all = Self::all(manifest);
        if let (Some(source), Some(part)) = (source, part) {
            all.retain(|place| place.source.name == source.name);
            if !part.path.is_root() {
                let known = all.into_iter().find(|place| place.path == part.path).and_then(|place| place.known);
                return Ok(Self { source, path: part.path.clone(), known });
            }
        }
        match (&all[..], source, &manifest.sources[..]) {
            ([_], ..) => Ok(all.swap_remove(0)),
            // A source may be nothing but a file that nobody looked into.
            ([], Some(source), _) | ([], None, [source]) if source.entries == 1 => {
                Ok(Self { source, path: EntryPath::root(), known: None })
            }
            ([], ..) => Err(Problem::NoDatabase { snapshot: manifest.id.short() }.into()),
            _ => {
                let databases = all.iter().map(Self::label).collect();
                Err(Problem::WhichDatabase { snapshot: manifest.id.short(), databases }.into())
            }
        }
    }

    /// Is it one that was captured from a PostgreSQL server?
    pub fn is_postgres(&self) -> bool {
        self.known.is_some_and(|known| known.engine == POSTGRES)
    }

    /// How it is named on the command line.
    pub fn label(&self) -> String {
        if self.path.is_root() { self.source.name.to_string() } else { format!("{}:{}", self.source.name, self.path) }
    }

    /// It as a part of its snapshot.
    pub fn part(&self) -> Part {
        Part { source: Some(self.source.name.to_string()), path: self.path.clone() }
    }

    /// Where it was captured from.
    pub fn live(&self) -> PathBuf {
        let root = path::decode(&self.source.root).unwrap_or_default();
        let root = PathBuf::from(OsStr::from_bytes(&root));
        if self.path.is_root() { root } else { root.join(OsStr::from_bytes(self.path.as_bytes())) }
    }

    /// Its bytes.
    pub fn read(&self, manifest: &Manifest, desk: &Arc<Desk>) -> Result<Arc<ContentReader>, OpError> {
        let entry = self.entry(manifest, desk)?;
        let reader = desk.read(&entry)?;
        if self.known.is_none() {
            let mut beginning = [0; sqlite::HEADER.len()];
            let is_database = entry.size >= beginning.len() as u64 && {
                let read = reader.read_at(0, &mut beginning);
                read.map_err(Problem::Content)?;
                sqlite::is_database(&beginning)
            };
            if !is_database {
                return Err(Problem::NotADatabase { path: self.label() }.into());
            }
        }
        Ok(Arc::new(reader))
    }

    /// Its entry in the listing.
    pub fn entry(&self, manifest: &Manifest, desk: &Desk) -> Result<Entry, OpError> {
        let gone = || Problem::NoPath {
            snapshot: manifest.id.short(),
            source_name: self.source.name.to_string(),
            path: self.path.to_string(),
        };
        let library = desk.library();
        let mut entry = show::one(library, self.source, &self.path)?.ok_or_else(gone)?;
        if let Some(first) = &entry.link {
            entry = show::one(library, self.source, first)?.ok_or_else(gone)?;
        }
        if entry.kind != Kind::File {
            return Err(Problem::NotADatabase { path: self.label() }.into());
        }
        Ok(entry)
    }

    /// The log that was captured beside a database kept as a plain file: without it, it is not what it was.
    pub fn log_beside(&self, desk: &Desk) -> Result<Option<EntryPath>, OpError> {
        if self.known.is_some() || self.path.is_root() {
            return Ok(None);
        }
        for end in ["-wal", "-journal"] {
            let beside = [self.path.as_bytes(), end.as_bytes()].concat();
            let Ok(path) = EntryPath::from_bytes(&beside) else { continue };
            if show::one(desk.library(), self.source, &path)?.is_some_and(|entry| entry.size > 0) {
                return Ok(Some(path));
            }
        }
        Ok(None)
    }
}
