//! What was done to live data on this host, so that it can be taken back: one file for each action, and one beside it for
//! the rows of those that wrote some, which may be many.
//!
//! Owns the form of these files and their order of writing: an action is on disk before the first change of live data and
//! is marked as done after the last. One that was killed half way is known by that. They lie with the user's data, not in
//! the cache: losing one loses the way back, though never data, which is in the safety snapshot.

mod beside;

pub use beside::{Beside, Fired};

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Class, Explain, reason};
use crate::base::id::SnapshotId;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::ops::recover::Recovered;
use crate::ops::turns::{Place, Turns};
use crate::vault::host;

/// Something done to live data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Action {
    pub id: String,
    /// Which one it is on this host, by which they are told apart where clocks were set back; 0 in earlier versions.
    #[serde(default)]
    pub number: u64,
    pub time: Instant,
    pub kind: Kind,
    pub state: State,
    pub app: Name,
    /// The snapshot whose paths are those that were touched.
    pub touches: SnapshotId,
    /// What they were made to hold; what is not in it was removed.
    pub gives: Holding,
    /// What they held before: the safety snapshot.
    pub safety: Holding,
    pub parts: Vec<Touched>,
    /// The folders that had to be made for it, the deepest first, written as paths are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub made: Vec<String>,
    /// The action that this one took back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undoes: Option<String>,
    /// The action that took this one back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub undone_by: Option<String>,
    /// What was done with single records.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovered: Option<Recovered>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    Restore,
    Recover,
    Undo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Live data may be as it was, as it should become, or partly so.
    Begun,
    Done,
}

/// What paths hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Holding {
    Snapshot(SnapshotId),
    /// None of them was there.
    Nothing,
    /// Nobody looked: there is no way back.
    #[default]
    Unknown,
}

/// A part of a source, and where it lives.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Touched {
    pub source: Name,
    pub kind: String,
    /// The source's own place, written as paths are.
    pub root: String,
    pub path: EntryPath,
    /// The databases that change places, of a part that is one of a server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub swap: Option<Swap>,
}

impl Action {
    /// The same as one that has failed and changed nothing.
    pub fn failed(&self) -> Self {
        Self { state: State::Done, undone_by: Some(self.id.clone()), ..self.clone() }
    }
}

impl Touched {
    /// Where its source lives.
    pub fn place(&self) -> Place {
        Place::of(&self.kind, &self.root)
    }
}

/// Names of databases of one server. What takes the live one's place has been made and checked before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    pub live: String,
    /// What becomes the live one; nothing where there is to be none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incoming: Option<String>,
    /// What the live one is called from then on; nothing where there was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
    /// What was kept has been dropped since.
    #[serde(default)]
    pub forgotten: bool,
    /// What the source leaves out, by name: it is in no snapshot.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
}

/// The actions of one vault on this host.
pub struct Actions {
    folder: PathBuf,
}

impl Actions {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Where they are, and what belongs to one for a moment.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Which places commands are changing now, whatever their vault.
    pub fn turns(&self) -> Turns {
        Turns::new(self.folder.with_file_name("turns"))
    }

    /// Keeps other processes from beginning or settling recoveries, for as long as the file lives; `None` where another
    /// one does.
    pub fn hold(&self) -> Result<Option<File>, ActionError> {
        let file = self.folder.join("lock");
        let failed = |source| ActionError::Io { file: file.clone(), source };
        host::make_private_folder(&self.folder).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        let open = File::options().create(true).truncate(false).write(true).open(&file).map_err(failed)?;
        match rustix::fs::flock(&open, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(open)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(failed(error.into())),
        }
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Result<Vec<Action>, ActionError> {
        let mut actions = self.files()?.iter().map(|file| read(file)).collect::<Result<Vec<Action>, _>>()?;
        actions.sort_by(|a, b| (a.number, a.time, &a.id).cmp(&(b.number, b.time, &b.id)));
        Ok(actions)
    }

    /// The number of one that begins now. What cannot be read is told by whoever takes something back.
    pub fn next_number(&self) -> Result<u64, ActionError> {
        let known = self.files()?.into_iter().filter_map(|file| Some(read::<Action>(&file).ok()?.number));
        Ok(known.max().unwrap_or_default().saturating_add(1))
    }

    fn files(&self) -> Result<Vec<PathBuf>, ActionError> {
        let entries = match fs::read_dir(&self.folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ActionError::Io { file: self.folder.clone(), source: error }),
        };
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        Ok(files.filter(|file| file.extension().is_some_and(|end| end == "json")).collect())
    }

    /// The action whose id begins like this; without one, the last restore that was not taken back.
    pub fn find(&self, prefix: Option<&str>) -> Result<Action, ActionError> {
        let actions = self.list()?;
        let Some(prefix) = prefix else {
            let open = |action: &&Action| action.kind != Kind::Undo && action.undone_by.is_none();
            return actions.iter().rfind(open).cloned().ok_or(ActionError::Nothing);
        };
        let fits: Vec<&Action> = actions.iter().filter(|action| action.id.starts_with(prefix)).collect();
        match fits[..] {
            [one] => Ok(one.clone()),
            [] => Err(ActionError::Unknown { prefix: prefix.to_owned() }),
            _ => Err(ActionError::Ambiguous { prefix: prefix.to_owned(), count: fits.len() }),
        }
    }

    /// Writes it down, for good once this returns.
    pub fn keep(&self, action: &Action) -> Result<(), ActionError> {
        let text = serde_json::to_vec_pretty(action).expect("BUG: plain fields");
        self.write(&self.folder.join(format!("{}.json", action.id)), &text)
    }

    /// Removes it, of an action that found nothing to do.
    pub fn forget(&self, action: &Action) -> Result<(), ActionError> {
        let file = self.folder.join(format!("{}.json", action.id));
        fs::remove_file(&file).map_err(|source| ActionError::Io { file, source })
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> Result<(), ActionError> {
        let failed = |source| ActionError::Io { file: file.to_owned(), source };
        let host = |error| match error {
            crate::vault::error::VaultError::Host { source, .. } => failed(source),
            other => failed(std::io::Error::other(other.to_string())),
        };
        host::make_private_folder(&self.folder).map_err(host)?;
        host::replace(file, &with_digest(bytes)).map_err(host)?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed)
    }

    /// A fresh id: eight digits are enough for what one person did on one host.
    pub fn fresh_id() -> String {
        let mut random = [0; 4];
        crate::format::header::fill_random(&mut random);
        hex::encode(random)
    }
}

fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<T, ActionError> {
    let bytes = fs::read(file).map_err(|source| ActionError::Io { file: file.to_owned(), source })?;
    let bytes = without_digest(&bytes).ok_or_else(|| ActionError::Damaged { file: file.to_owned() })?;
    serde_json::from_slice(bytes).map_err(|source| ActionError::Unreadable { file: file.to_owned(), source })
}

/// Stands before the digest, on the last line of a file: a flipped letter in a path would have `undo` change another one.
const DIGEST: &[u8] = b"\nblake3 ";

fn with_digest(text: &[u8]) -> Vec<u8> {
    [text, DIGEST, blake3::hash(text).to_hex().as_bytes(), b"\n"].concat()
}

/// The text of a file; `None` where it is not what was written. Files of earlier versions have no digest, and end where
/// their text does.
fn without_digest(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.trim_ascii_end().ends_with(b"}") {
        return Some(bytes);
    }
    let text = bytes.get(..bytes.len().checked_sub(DIGEST.len() + 65)?)?;
    (with_digest(text) == bytes).then_some(text)
}

#[derive(Debug, thiserror::Error)]
pub enum ActionError {
    #[error("there is nothing to take back")]
    Nothing,
    #[error("no action's id begins with {prefix}")]
    Unknown { prefix: String },
    #[error("{prefix} fits {count} actions")]
    Ambiguous { prefix: String, count: usize },
    #[error("cannot use {}: {}", .file.display(), reason(source))]
    Io { file: PathBuf, source: std::io::Error },
    #[error("{} is damaged", .file.display())]
    Damaged { file: PathBuf },
    #[error("{} is {fate}: without it nobody knows which rows were written", .file.display())]
    Beside { file: PathBuf, fate: &'static str },
    #[error("cannot read {}", .file.display())]
    Unreadable { file: PathBuf, source: serde_json::Error },
}

impl Explain for ActionError {
    fn class(&self) -> Class {
        match self {
            Self::Unknown { .. } | Self::Ambiguous { .. } => Class::Usage,
            _ => Class::Failed,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Nothing => "what was taken back already is listed by strongroom undo --list",
            Self::Unknown { .. } | Self::Ambiguous { .. } => "see strongroom undo --list",
            Self::Io { .. } => return None,
            Self::Beside { .. } => {
                "the rows as they were are in its safety snapshot, which strongroom undo --list --json names"
            }
            Self::Unreadable { .. } | Self::Damaged { .. } => {
                "move it away; the safety snapshots are listed by strongroom snapshots"
            }
        };
        Some(hint.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_any_byte_flipped_or_cut_off_is_damaged_or_says_what_was_written() {
        let text = br#"{"id":"abc","root":"/srv/app"}"#;
        let stored = with_digest(text);
        assert_eq!(without_digest(&stored).unwrap(), text);
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            assert_eq!(without_digest(&flipped), None, "{at}");
            let cut = without_digest(&stored[..at]);
            assert!(cut.is_none_or(|cut| cut.trim_ascii_end() == text), "{at}");
        }
    }
}
