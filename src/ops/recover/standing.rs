//! What stands where a file of a record goes, from before the safety snapshot until it gives way.
//!
//! Owns the promise that whatever is replaced or removed is in that snapshot: it is marked before it is captured, it has to
//! be there as it was marked, and it is looked at again right before the rename.

use std::collections::BTreeMap;

use rustix::fs::{FileType, Stat};
use serde::{Deserialize, Serialize};

use crate::base::entry::Kind;
use crate::base::path::EntryPath;
use crate::format::manifest::Manifest;
use crate::ops::error::OpError;
use crate::ops::recover::files::tree;
use crate::ops::recover::journal::Placed;
use crate::ops::recover::{databases, files};
use crate::ops::restore::live::find;
use crate::source::files::target::Tree;
use crate::vault::read::Library;

/// Why something is left alone.
pub(super) const CHANGED: &str = "left alone: somebody has changed it since the safety snapshot was begun";
pub(super) const APPEARED: &str = "left alone: somebody has put it there meanwhile";
pub(super) const ABSENT: &str = "left alone: the snapshot that was to give it back does not have it";
pub(super) const UNSAVED: &str = crate::ops::restore::live::UNSAVED;

/// By which it is known that nobody has written to a file, or put another in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    file: (u64, u64),
    length: i64,
    written: (i64, u32),
    changed: (i64, u32),
}

impl Mark {
    fn of(stat: &Stat) -> Self {
        let nanoseconds = |part: u64| u32::try_from(part).unwrap_or_default();
        Self {
            file: (stat.st_dev, stat.st_ino),
            length: stat.st_size,
            written: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
            changed: (stat.st_ctime, nanoseconds(stat.st_ctime_nsec)),
        }
    }
}

/// Folders that files of records live below, each opened once.
#[derive(Default)]
pub(super) struct Trees(BTreeMap<String, Option<Tree>>);

impl Trees {
    pub fn of(&mut self, root: &str) -> Option<&Tree> {
        self.0.entry(root.to_owned()).or_insert_with(|| tree(root)).as_ref()
    }
}

/// What is done with a file for now.
pub(super) enum Standing {
    Goes,
    /// Nothing has to be done.
    Gone,
    Left(String),
}

/// Marks what stands where a file goes, which is about to be captured.
pub(super) fn mark(file: &mut Placed, trees: &mut Trees, ours: &dyn Fn(&EntryPath) -> bool) -> Standing {
    let there = trees.of(&file.root).and_then(|tree| Some((tree, tree.look(&file.path).ok()??)));
    let Some((tree, there)) = there else {
        // Where nothing is, nothing is replaced: what appears there from now on stays.
        (file.was, file.replaced) = (None, file.replaced && file.staged.is_none());
        return if file.staged.is_none() { Standing::Gone } else { Standing::Goes };
    };
    if file.staged.is_some() && !file.replaced {
        return Standing::Left(APPEARED.to_owned());
    }
    if FileType::from_raw_mode(there.st_mode) == FileType::Directory {
        return Standing::Left("left alone: a folder stands there".to_owned());
    }
    if file.staged.is_some() && databases::stands(tree, &file.path) {
        return Standing::Left("left alone: it is a database by now, and is not replaced as a file".to_owned());
    }
    if let Some(why) = databases::keeps_out(tree, &file.path, None, ours) {
        return Standing::Left(why);
    }
    file.was = Some(Mark::of(&there));
    Standing::Goes
}

/// Is what was marked in the safety snapshot as it was marked?
pub(super) fn kept(file: &Placed, safety: &Manifest, library: &Library<'_>) -> Result<Standing, OpError> {
    let Some(was) = &file.was else { return Ok(Standing::Goes) };
    let record = safety.sources.iter().find(|record| record.name == file.source);
    let entry = record.map(|record| find(record, &file.path, library)).transpose()?.flatten();
    Ok(match entry {
        None => Standing::Left(UNSAVED.to_owned()),
        Some(entry) => {
            let same_length = entry.kind != Kind::File || i64::try_from(entry.size) == Ok(was.length);
            let same = same_length && entry.mtime.unix() == was.written && !entry.inconsistent;
            if same { Standing::Goes } else { Standing::Left(CHANGED.to_owned()) }
        }
    })
}

/// Why what stands there does not give way after all: asked right before it would.
pub(super) fn objection(
    file: &Placed,
    (live, staged): (&Tree, Option<&Tree>),
    ours: &dyn Fn(&EntryPath) -> bool,
) -> Result<Option<String>, OpError> {
    let there = live.look(&file.path)?;
    Ok(match (&there, &file.was) {
        (Some(there), Some(was)) if Mark::of(there) != *was => Some(CHANGED.to_owned()),
        (Some(_), None) if file.staged.is_some() && !file.replaced => Some(APPEARED.to_owned()),
        _ => databases::keeps_out(live, &file.path, staged.map(|staged| (staged, file.from())), ours),
    })
}

/// How reports call it.
pub(super) fn shown(file: &Placed) -> String {
    format!("{}/{}", file.source, file.path)
}

/// Is it in the folder that it waits in?
pub(super) fn is_staged(file: &Placed, trees: &mut Trees) -> bool {
    let Some(staged) = &file.staged else { return true };
    trees.of(staged).is_some_and(|tree| matches!(tree.look(file.from()), Ok(Some(_))))
}

/// Removes what waits for a place that it does not get.
pub(super) fn unstage(file: &Placed) -> Result<(), OpError> {
    let Some(staged) = file.staged.as_ref().and_then(|staged| files::tree(staged)) else { return Ok(()) };
    staged.remove_file(file.from())?;
    Ok(())
}
