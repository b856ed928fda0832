//! Which places of this host commands are changing or reading at this moment: whoever changes one has it alone.
//!
//! Owns the files by which commands know of each other: one for each, which is locked as long as the command runs. The
//! system lets go of that lock when the process ends, however it ends, so that nobody waits for one that was killed.

use std::fs::{self, File, TryLockError};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::base::control::Control;
use crate::base::error::{Class, Explain, reason};
use crate::base::path::{decode, encode};
use crate::ops::backup::Planned;
use crate::ops::restore::claims::{FileId, overlap, real};
use crate::ops::restore::server;
use crate::ops::safety::place;
use crate::vault::host;

/// How often somebody who waits looks again.
const GLANCE: Duration = Duration::from_millis(100);

/// The turns that commands of one person on this host have.
pub struct Turns {
    folder: PathBuf,
    /// The turn within which this command runs, which it need not wait for.
    within: Option<String>,
}

/// What a command does with its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// Others may read as well.
    Read,
    Change,
}

/// A place, by the path without links and by the folders that lead to it, which a mount can give other paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    path: String,
    /// Its own first; none for what is not there, and for servers.
    files: Vec<FileId>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    command: String,
    process: u32,
    purpose: Purpose,
    places: Vec<Place>,
}

/// A turn at some places, until it is dropped.
#[derive(Debug)]
pub struct Turn {
    path: PathBuf,
    /// Locked as long as it is open.
    _file: File,
}

impl Turn {
    /// By what commands within it know it.
    pub fn id(&self) -> &str {
        self.path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default()
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        // Whoever finds it all the same finds it unlocked, and removes it.
        let _ = fs::remove_file(&self.path);
    }
}

impl Place {
    /// Where a source lives: a path, written as paths are, or a server's database.
    pub fn of(kind: &str, root: &str) -> Self {
        if kind == server::KIND || root.contains("://") {
            return Self { path: root.to_owned(), files: Vec::new() };
        }
        let path = real(&place(root));
        let ids = path.ancestors().map(|folder| folder.metadata().map(|there| (there.dev(), there.ino())));
        // Of what is not there, the folders above say nothing of it.
        let files = ids.map_while(Result::ok).collect();
        Self { path: encode(path.as_os_str().as_encoded_bytes()), files }
    }

    pub fn of_source(planned: &Planned) -> Self {
        Self::of(planned.source.kind(), &planned.source.root())
    }

    /// Is one of them the other, or inside it?
    fn meets(&self, other: &Self) -> bool {
        let within = |one: &Self, other: &Self| one.files.first().is_some_and(|own| other.files.contains(own));
        overlap(Path::new(&self.path), Path::new(&other.path)) || within(self, other) || within(other, self)
    }

    fn shown(&self) -> String {
        self.path.clone()
    }
}

impl Entry {
    /// The place that keeps the two from going on side by side.
    fn conflict<'e>(&'e self, other: &Entry) -> Option<&'e Place> {
        if self.purpose == Purpose::Read && other.purpose == Purpose::Read {
            return None;
        }
        self.places.iter().find(|place| other.places.iter().any(|theirs| theirs.meets(place)))
    }
}

/// What somebody waits for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    pub place: String,
    pub command: String,
    pub process: u32,
    pub purpose: Purpose,
}

impl Turns {
    pub fn new(folder: PathBuf) -> Self {
        Self { folder, within: None }
    }

    /// The same for a command that runs within another one's turn, such as one that a hook runs.
    pub fn within(self, turn: Option<String>) -> Self {
        Self { within: turn, ..self }
    }

    /// Waits for a turn at these places, for so long at most. `waits` is told what for, once.
    pub fn turn(
        &self,
        (command, purpose): (&str, Purpose),
        places: Vec<Place>,
        (wait, control): (Duration, &Control),
        waits: &dyn Fn(&Taken),
    ) -> Result<Turn, TurnError> {
        let mine = Entry { command: command.to_owned(), process: std::process::id(), purpose, places };
        let since = Instant::now();
        let mut told = false;
        loop {
            let taken = match self.take(&mine)? {
                Ok(turn) => return Ok(turn),
                Err(taken) => taken,
            };
            if since.elapsed() >= wait {
                return Err(TurnError::Taken(taken));
            }
            if !std::mem::replace(&mut told, true) {
                waits(&taken);
            }
            if control.stopped() {
                return Err(TurnError::Interrupted);
            }
            std::thread::sleep(GLANCE);
        }
    }

    fn failed(&self) -> impl Fn(std::io::Error) -> TurnError {
        let folder = self.folder.clone();
        move |source| TurnError::Io { folder: folder.clone(), source }
    }

    /// Takes a turn unless somebody has one that does not go with it.
    fn take(&self, mine: &Entry) -> Result<Result<Turn, Taken>, TurnError> {
        let failed = self.failed();
        host::make_private_folder(&self.folder).map_err(|error| failed(std::io::Error::other(error.to_string())))?;
        // Nobody comes or goes while somebody looks.
        let all = File::options().create(true).truncate(false).write(true).open(self.folder.join("lock"));
        let all = all.map_err(&failed)?;
        all.lock().map_err(&failed)?;
        for entry in fs::read_dir(&self.folder).map_err(&failed)? {
            let path = entry.map_err(&failed)?.path();
            let is_ours = self.within.as_deref() == path.file_stem().and_then(|stem| stem.to_str());
            if path.extension().is_some_and(|end| end == "turn")
                && !is_ours
                && let Some(theirs) = read(&path)
                && let Some(place) = theirs.conflict(mine)
            {
                let Entry { ref command, process, purpose, .. } = theirs;
                return Ok(Err(Taken { place: place.shown(), command: command.clone(), process, purpose }));
            }
        }
        let mut random = [0; 8];
        crate::format::header::fill_random(&mut random);
        let path = self.folder.join(format!("{}.turn", hex::encode(random)));
        let write = || {
            let mut file = host::create_private(&path)?;
            file.lock()?;
            file.write_all(&serde_json::to_vec(mine).expect("BUG: plain fields"))?;
            Ok(Turn { path: path.clone(), _file: file })
        };
        write().map(Ok).map_err(|error| {
            let _ = fs::remove_file(&path);
            failed(error)
        })
    }
}

/// Somebody's turn; `None` where it is over, which is tidied up.
fn read(path: &Path) -> Option<Entry> {
    let mut file = File::open(path).ok()?;
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => {}
        Ok(()) | Err(TryLockError::Error(_)) => {
            let _ = fs::remove_file(path);
            return None;
        }
    }
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The path of a place, for whoever compares.
impl Place {
    pub fn path(&self) -> PathBuf {
        use std::os::unix::ffi::OsStringExt;
        PathBuf::from(std::ffi::OsString::from_vec(decode(&self.path).unwrap_or_default()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum TurnError {
    #[error("{} is being {} by strongroom {} (process {})", .0.place, .0.doing(), .0.command, .0.process)]
    Taken(Taken),
    #[error("cannot use {}: {}", .folder.display(), reason(source))]
    Io { folder: PathBuf, source: std::io::Error },
    #[error("interrupted")]
    Interrupted,
}

impl Taken {
    fn doing(&self) -> &'static str {
        match self.purpose {
            Purpose::Read => "read",
            Purpose::Change => "changed",
        }
    }
}

impl Explain for TurnError {
    fn class(&self) -> Class {
        match self {
            Self::Taken(_) => Class::Busy,
            Self::Io { .. } => Class::Failed,
            Self::Interrupted => Class::Interrupted,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Taken(_) => Some("nothing was changed; run this again when that is done".to_owned()),
            Self::Io { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => Some(
                "nothing was changed; run this as the user whose folder it is, or set XDG_DATA_HOME to another"
                    .to_owned(),
            ),
            Self::Io { .. } | Self::Interrupted => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn take(turns: &Turns, purpose: Purpose, paths: &[&Path]) -> Result<Turn, TurnError> {
        let of = |path: &&Path| Place::of("files", &encode(path.as_os_str().as_encoded_bytes()));
        let wanted = paths.iter().map(of).collect();
        turns.turn(("restore", purpose), wanted, (Duration::ZERO, &Control::default()), &|_| ())
    }

    #[test]
    fn whoever_changes_a_place_has_it_and_all_that_is_in_it_alone() {
        let temp = tempfile::tempdir().unwrap();
        let turns = Turns::new(temp.path().join("turns"));
        let app = temp.path().join("app");
        fs::create_dir_all(app.join("data")).unwrap();
        fs::write(app.join("s.db"), "x").unwrap();
        fs::hard_link(app.join("s.db"), temp.path().join("other.db")).unwrap();
        symlink(&app, temp.path().join("link")).unwrap();
        let change = |path: &Path| take(&turns, Purpose::Change, &[path]);
        let read = |path: &Path| take(&turns, Purpose::Read, &[path]);
        let held = change(&app).unwrap();
        for inside in ["app", "app/data", "app/data/new/deep", "link/data", "link", "."] {
            let error = change(&temp.path().join(inside)).unwrap_err();
            assert_eq!(error.class(), Class::Busy, "{inside}");
            assert!(error.to_string().contains("strongroom restore (process "), "{error}");
            assert!(read(&temp.path().join(inside)).is_err(), "{inside}");
        }
        // What lies beside is free, and what has a name that only begins so.
        let beside = change(&temp.path().join("app2")).unwrap();
        drop(held);
        let (one, other) = (read(&app).unwrap(), read(&app.join("data")).unwrap());
        assert!(change(&app.join("data")).is_err());
        drop((one, other, beside));
        // Two names of one file are one place.
        let database = change(&app.join("s.db")).unwrap();
        assert!(change(&temp.path().join("other.db")).is_err());
        drop(database);
        change(&app.join("data")).unwrap();
        assert_eq!(fs::read_dir(temp.path().join("turns")).unwrap().count(), 1, "only the lock of all");
    }

    #[test]
    fn a_place_that_is_not_there_yet_is_taken_as_well() {
        let temp = tempfile::tempdir().unwrap();
        let turns = Turns::new(temp.path().join("turns"));
        let new = temp.path().join("new/app");
        let held = take(&turns, Purpose::Change, &[&new]).unwrap();
        fs::create_dir_all(&new).unwrap();
        assert!(take(&turns, Purpose::Change, &[&new]).is_err());
        assert!(take(&turns, Purpose::Change, &[&temp.path().join("new/other")]).is_ok());
        drop(held);
        assert!(take(&turns, Purpose::Change, &[&new]).is_ok());
    }

    #[test]
    fn a_command_within_a_turn_does_not_wait_for_it() {
        let temp = tempfile::tempdir().unwrap();
        let turns = Turns::new(temp.path().join("turns"));
        let held = take(&turns, Purpose::Change, &[temp.path()]).unwrap();
        let within = Turns::new(temp.path().join("turns")).within(Some(held.id().to_owned()));
        assert!(take(&within, Purpose::Read, &[temp.path()]).is_ok());
        assert!(take(&turns, Purpose::Read, &[temp.path()]).is_err());
    }

    #[test]
    fn a_server_s_database_is_a_place_too() {
        let temp = tempfile::tempdir().unwrap();
        let turns = Turns::new(temp.path().to_owned());
        let of = |text: &str| vec![Place::of(server::KIND, text)];
        let turn = |text: &str| {
            turns.turn(("undo", Purpose::Change), of(text), (Duration::ZERO, &Control::default()), &|_| ())
        };
        let held = turn("postgresql://db/app").unwrap();
        assert!(turn("postgresql://db/app").is_err() && turn("postgresql://db/app2").is_ok());
        drop(held);
    }
}
