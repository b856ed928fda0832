//! Files that SQLite keeps open in this process while others of its threads open them as plain files.
//!
//! The system drops all locks that a process has on a file when the process closes any handle of that file: SQLite's
//! locks too, and then others come in. So plain handles of files that are held here stay open until SQLite is done.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::{HEADER, is_database};

/// A device, and a file's number on it.
type Id = (u64, u64);

/// Locks belong to the process, so this does.
static FILES: Mutex<BTreeMap<Id, Waiting>> = Mutex::new(BTreeMap::new());
/// How many there are: mostly none, which is told without a lock.
static COUNT: AtomicUsize = AtomicUsize::new(0);

#[derive(Default)]
struct Waiting {
    holders: usize,
    /// To be closed when nobody holds the file.
    handles: Vec<OwnedFd>,
}

fn files() -> MutexGuard<'static, BTreeMap<Id, Waiting>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A file that SQLite has open. To be dropped after what has it open.
#[derive(Debug)]
pub struct HeldFile(Id);

impl HeldFile {
    pub fn of(file: &DatabaseFile) -> io::Result<Self> {
        let there = file.look()?.ok_or(io::ErrorKind::NotFound)?;
        let id = (there.st_dev, there.st_ino);
        files().entry(id).or_default().holders += 1;
        COUNT.fetch_add(1, Ordering::SeqCst);
        Ok(Self(id))
    }
}

impl Drop for HeldFile {
    fn drop(&mut self) {
        let mut files = files();
        COUNT.fetch_sub(1, Ordering::SeqCst);
        let Some(waiting) = files.get_mut(&self.0) else { return };
        waiting.holders -= 1;
        if waiting.holders == 0 {
            files.remove(&self.0);
        }
    }
}

/// A file opened without SQLite, which may have it open as well.
#[derive(Debug)]
pub struct PlainFile(Option<OwnedFd>);

impl From<OwnedFd> for PlainFile {
    fn from(handle: OwnedFd) -> Self {
        Self(Some(handle))
    }
}

impl AsFd for PlainFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_ref().expect("BUG: it is there until it is dropped").as_fd()
    }
}

impl Drop for PlainFile {
    fn drop(&mut self) {
        if COUNT.load(Ordering::SeqCst) == 0 {
            return;
        }
        let Some(handle) = self.0.take() else { return };
        let Ok(stat) = rustix::fs::fstat(&handle) else { return };
        if let Some(waiting) = files().get_mut(&(stat.st_dev, stat.st_ino)) {
            waiting.handles.push(handle);
        }
    }
}

/// Does the file at this place begin like a database?
pub fn begins_like_a_database(file: &DatabaseFile) -> bool {
    let Ok(file) = file.open().map(PlainFile::from) else { return false };
    let mut beginning = [0; HEADER.len()];
    rustix::io::pread(&file, &mut beginning, 0).is_ok_and(|read| is_database(&beginning[..read]))
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::path::Path;
    use std::process::Command;

    use rusqlite::Connection;

    use super::*;

    const DATABASE: &str = "STRONGROOM_TEST_DATABASE";

    /// Not a test of its own: somebody else who wants to write.
    #[test]
    fn somebody_else() {
        let Ok(database) = std::env::var(DATABASE) else { return };
        Connection::open(database).unwrap().execute_batch("BEGIN IMMEDIATE").unwrap();
    }

    fn lets_in(database: &Path) -> bool {
        let mut other = Command::new(std::env::current_exe().unwrap());
        other.args(["--exact", "engine::sqlite::held::tests::somebody_else"]).env(DATABASE, database);
        other.output().unwrap().status.success()
    }

    #[test]
    fn who_reads_a_held_database_as_a_file_does_not_open_it_for_others() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.db");
        let connection = Connection::open(&path).unwrap();
        connection.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE").unwrap();
        let look = || PlainFile::from(OwnedFd::from(File::open(&path).unwrap()));
        let held = HeldFile::of(&DatabaseFile::at(&path).unwrap()).unwrap();
        drop(look());
        assert!(!lets_in(&path));
        fs::hard_link(&path, folder.path().join("other")).unwrap();
        drop(PlainFile::from(OwnedFd::from(File::open(folder.path().join("other")).unwrap())));
        assert!(!lets_in(&path));
        // Whoever holds nothing has nothing to lose.
        drop(held);
        assert!(lets_in(&path));
    }
}
