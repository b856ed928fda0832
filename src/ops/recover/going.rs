//! What is done with one file of a record, by what stands in its place.
//!
//! Owns that nothing that stands there goes but where that was asked for, and that a database never does.

use std::os::fd::AsFd;

use rustix::fs::{FileType, Stat};

use crate::base::entry::{Entry, Kind};
use crate::base::error::Explained;
use crate::base::path::{EntryPath, decode};
use crate::base::text::shell_word;
use crate::engine::sqlite::held::PlainFile;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::recover::case::Kit;
use crate::ops::recover::databases;
use crate::ops::recover::files::FileAct;
use crate::ops::restore::live::{Origin, is_database};
use crate::ops::restore::{NEEDLESS, is_needless};
use crate::record::plan::OnConflict;
use crate::source::files::target::{TargetError, Tree, holds};
use crate::vault::extents;
use crate::vault::read::Library;

/// What is done with a file.
pub(super) struct Done {
    pub act: FileAct,
    /// It was to come back, and does not.
    pub missing: bool,
    pub hint: Option<String>,
}

impl Done {
    fn leave(why: impl Into<String>) -> Self {
        Self { act: FileAct::Leave { why: why.into() }, missing: false, hint: None }
    }
}

impl From<FileAct> for Done {
    fn from(act: FileAct) -> Self {
        Self { act, missing: false, hint: None }
    }
}

/// One file of a snapshot, and the place it goes to.
pub(super) struct Going<'g> {
    pub entry: &'g Entry,
    pub record: &'g SourceRecord,
    pub path: &'g EntryPath,
    pub kit: &'g Kit<'g>,
    pub library: &'g Library<'g>,
}

impl Going<'_> {
    pub fn done(&self, tree: Option<&Tree>) -> Result<Done, OpError> {
        let Self { entry, record, path, library, .. } = *self;
        if is_needless(record, &entry.path, library)? {
            return Ok(Done::leave(NEEDLESS));
        }
        let Some(tree) = tree else { return Ok(FileAct::Add.into()) };
        let there = match tree.look(path) {
            Ok(there) => there,
            Err(TargetError::InTheWay { .. }) => return Ok(Done::leave("a link leads to it")),
            Err(error) => return Err(error.into()),
        };
        if is_database(entry, record, library)? || databases::stands(tree, path) {
            return self.database(tree, there);
        }
        let same = there.is_some() && stands_as(entry, (tree, path), library)?;
        let owner = databases::owner(tree, path).filter(|_| !same);
        if let Some(owner) = owner {
            return Ok(Done::leave(format!("it is the log of {owner}, which is there and would be spoiled by it")));
        }
        let Some(there) = there else { return Ok(FileAct::Add.into()) };
        let is_file = FileType::from_raw_mode(there.st_mode) == FileType::RegularFile;
        Ok(match (same, self.kit.request.options.on_conflict) {
            (true, _) => FileAct::Keep.into(),
            _ if !is_file => Done::leave("something else stands there"),
            (false, OnConflict::Overwrite) => FileAct::Replace.into(),
            (false, _) => Done::leave("it holds something else; --on-conflict overwrite replaces it"),
        })
    }

    /// A database is never replaced as a file: an app would go on writing to one that has no name, and a log that stays
    /// behind would spoil the one that is put there.
    fn database(&self, tree: &Tree, there: Option<Stat>) -> Result<Done, OpError> {
        let Self { entry, record, path, kit, library } = *self;
        let log = databases::log_beside(tree, path, &|_| false);
        let Some(there) = there else {
            return Ok(match log {
                None => FileAct::Add.into(),
                Some(log) => self.left(format!("{log} was left there, which would spoil it")),
            });
        };
        if FileType::from_raw_mode(there.st_mode) != FileType::RegularFile {
            return Ok(Done::leave("something else stands there"));
        }
        let origin = Origin { record, library, control: &kit.request.control };
        let is_as = |entry: &Entry| {
            // A log goes where its database does.
            let side = entry.path.as_bytes().strip_prefix(self.entry.path.as_bytes());
            let at = side.and_then(|side| EntryPath::from_bytes(&[path.as_bytes(), side].concat()).ok());
            at.is_some_and(|at| stands_as(entry, (tree, &at), library).unwrap_or(false))
        };
        let is_wanted = is_database(entry, record, library)?;
        let live = tree.database(path)?.filter(|live| live.doubt().is_none());
        let same = match live {
            Some(live) if is_wanted => origin.holds(entry, &live, kit.request.wait, &is_as)?,
            _ => false,
        };
        Ok(match (same, kit.request.options.on_conflict) {
            (true, _) => FileAct::Keep.into(),
            (false, OnConflict::Overwrite) => {
                self.left("a database stands there that holds something else, and is not replaced as a file".to_owned())
            }
            (false, _) => Done { hint: Some(self.way()), ..Done::leave("it holds something else") },
        })
    }

    fn left(&self, why: String) -> Done {
        Done { act: FileAct::Leave { why }, missing: true, hint: Some(self.way()) }
    }

    /// The command that gives it back all the same: page by page where it lives, or beside.
    fn way(&self) -> String {
        let Self { entry, record, path, kit, library } = *self;
        let part = shell_word(&format!("{}:{}", record.name, entry.path));
        let in_place = *path == entry.path && is_database(entry, record, library).unwrap_or(false);
        let way = if in_place { "--in-place" } else { "--to recovered" };
        format!("strongroom restore {} {part} {way}", kit.manifest.id.short())
    }
}

/// Does what a snapshot says stand there: the same kind of thing, with the same in it?
pub(super) fn stands_as(
    entry: &Entry,
    (tree, path): (&Tree, &EntryPath),
    library: &Library<'_>,
) -> Result<bool, OpError> {
    let Some(there) = tree.look(path).ok().flatten() else { return Ok(false) };
    let kind = FileType::from_raw_mode(there.st_mode);
    Ok(match entry.kind {
        Kind::File => {
            let is_as_long = u64::try_from(there.st_size) == Ok(entry.size);
            kind == FileType::RegularFile && is_as_long && is_as(entry, (tree, path), library)?
        }
        Kind::Symlink => kind == FileType::Symlink && tree.read_link(path) == entry.target.as_deref().and_then(decode),
        Kind::Dir => kind == FileType::Directory,
        Kind::Fifo => kind == FileType::Fifo,
        Kind::Socket => kind == FileType::Socket,
        Kind::Char => kind == FileType::CharacterDevice,
        Kind::Block => kind == FileType::BlockDevice,
    })
}

/// Does a live file hold what the snapshot says?
fn is_as(entry: &Entry, (tree, path): (&Tree, &EntryPath), library: &Library<'_>) -> Result<bool, OpError> {
    let Some(file) = tree.file(path).map(PlainFile::from) else { return Ok(false) };
    let mut extents =
        extents::of_file(entry, library).map(|extent| extent.map_err(|error| Box::new(error) as Explained));
    Ok(holds(file.as_fd(), entry.size, &mut extents).unwrap_or(false))
}
