//! Databases among the files: captured page by page as one moment saw them, not as bytes that change while they are read.
//!
//! Owns what makes a database look unchanged, and the handing over of its pages and facts. Whoever reads the file as a
//! plain file has closed it before this opens it as a database: closing it later would drop SQLite's locks.

use std::ffi::{CStr, CString, OsStr};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use crossbeam_channel::Receiver;

use crate::base::capture::{EntrySink, Fingerprint};
use crate::base::control::Control;
use crate::base::database::Database;
use crate::base::entry::Content;
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::engine::sqlite::error::SqliteError;
use crate::engine::sqlite::file::DatabaseFile;
use crate::engine::sqlite::live::{self, AtRest, Reader};
use crate::engine::sqlite::pages::{self, Free, Pages};
use crate::source::files::metadata::Facts;

/// What is done with databases that are met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Databases {
    /// They are captured as databases.
    Recognise(Free),
    /// They are files like any other.
    Plain,
    /// Nothing else is wanted.
    Demand(Free),
}

impl Default for Databases {
    fn default() -> Self {
        Self::Recognise(Free::Keep)
    }
}

/// How often a capture that waits for facts looks whether to stop.
const GLANCE: Duration = Duration::from_millis(50);

/// What a database was captured as.
pub(super) struct Captured {
    pub content: Content,
    pub length: u64,
    pub known: Database,
}

/// Why a database was not captured.
pub(super) enum Failure {
    /// Of its own: the capture of everything else goes on.
    Database(SqliteError),
    /// The sink's.
    Sink(Explained),
}

impl From<SqliteError> for Failure {
    fn from(error: SqliteError) -> Self {
        Failure::Database(error)
    }
}

/// The file of an entry below the root.
pub(super) fn file_of(root: &Path, path: &EntryPath) -> PathBuf {
    if path.is_root() { root.to_owned() } else { root.join(OsStr::from_bytes(path.as_bytes())) }
}

/// Captures one database, and has it checked if somebody wants that. One that nobody has open is read as it lies there, and
/// once more with everybody else where somebody has written to it meanwhile.
pub(super) fn capture(
    file: &DatabaseFile,
    path: &EntryPath,
    how: (Free, bool),
    sink: &mut dyn EntrySink,
    control: &Control,
) -> Result<Captured, Failure> {
    if let Some(rest) = AtRest::look(file) {
        let captured = rest.open().map_err(Failure::from).and_then(|both| read(both, path, how, sink, control));
        match captured {
            Err(Failure::Sink(error)) => return Err(Failure::Sink(error)),
            Err(Failure::Database(SqliteError::Interrupted)) => return captured,
            Ok(captured) if rest.is_undisturbed() => return Ok(captured),
            _ => {}
        }
    }
    read(live::open(file, control)?, path, how, sink, control)
}

fn read(
    (reader, second): (Reader, Option<Reader>),
    path: &EntryPath,
    (free, check): (Free, bool),
    sink: &mut dyn EntrySink,
    control: &Control,
) -> Result<Captured, Failure> {
    let shape = reader.shape()?;
    let (sender, receiver, buffers) = pages::channel();
    let interrupt = second.as_ref().unwrap_or(&reader).interrupt();
    thread::scope(|scope| {
        let asking = second.map(|second| {
            let path = path.clone();
            scope.spawn(move || second.facts(path, check))
        });
        let reading = scope.spawn(move || {
            if let Err(error) = reader.read_pages(free, &buffers, &sender) {
                let _ = sender.send(Err(error));
            }
            reader
        });
        let mut batches = Batches { receiver: Some(receiver), control, failed: None };
        let content = sink.pages(path, shape.page_size, &mut batches);
        let failed = batches.failed.take();
        // Nobody takes pages any more: the reader ends, should it not have.
        drop(batches);
        let reader = reading.join().expect("BUG: the reader of pages panicked");
        let end = |failure: Failure| {
            interrupt.interrupt();
            Err(failure)
        };
        let content = match (content, failed) {
            (_, Some(error)) => return end(Failure::Database(error)),
            (Err(error), None) => return end(Failure::Sink(error)),
            (Ok(content), None) => content,
        };
        let known = match asking {
            Some(asking) => wait(asking, control, &interrupt),
            None => {
                let path = path.clone();
                wait(scope.spawn(move || reader.facts(path, check)), control, &interrupt)
            }
        };
        Ok(Captured { content, length: shape.length(), known: known? })
    })
}

/// Waits for facts; ends the asking when somebody asked to stop.
fn wait(
    asking: ScopedJoinHandle<'_, Result<Database, SqliteError>>,
    control: &Control,
    interrupt: &rusqlite::InterruptHandle,
) -> Result<Database, SqliteError> {
    while !asking.is_finished() {
        if control.stopped() {
            interrupt.interrupt();
        }
        thread::park_timeout(GLANCE);
    }
    asking.join().expect("BUG: the reader of facts panicked")
}

/// Batches of pages as the sink wants them.
struct Batches<'a> {
    receiver: Option<Receiver<Pages>>,
    control: &'a Control,
    failed: Option<SqliteError>,
}

impl Iterator for Batches<'_> {
    type Item = Result<crate::base::chunk::Lent, Explained>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.receiver.as_ref()?.recv() {
            Ok(Ok(batch)) => {
                self.control.bytes.add(batch.bytes().len() as u64);
                Some(Ok(batch))
            }
            Ok(Err(error)) => {
                self.receiver = None;
                let told = SqliteError::Read { file: PathBuf::new(), reason: error.to_string() };
                self.failed = Some(error);
                Some(Err(Box::new(told)))
            }
            Err(_) => None,
        }
    }
}

/// What tells a database unchanged: the file, and the log of what is not yet in it. `None` while that is in motion.
pub(super) fn fingerprint(facts: &Facts, parent: impl AsFd, name: &CStr, length: u64) -> Option<Fingerprint> {
    let own = facts.fingerprint();
    let beside = |end: &str| {
        let name = CString::new([name.to_bytes(), end.as_bytes()].concat()).ok()?;
        Facts::at(&parent, &name).ok().filter(|facts| facts.size > 0)
    };
    if own.ctime == 0 || beside("-journal").is_some() {
        return None;
    }
    // Kept on disk: a digest that means the same whatever made the program.
    let mut hasher = blake3::Hasher::new();
    hasher.update(&own.inode.to_le_bytes()).update(&own.size.to_le_bytes());
    if let Some(log) = beside("-wal") {
        // Its ctime tells nothing: whoever opens the log as root sets its owner, to what it was.
        hasher.update(&log.inode.to_le_bytes()).update(&log.size.to_le_bytes());
        hasher.update(&log.last_written()?.to_le_bytes());
        // Whoever begins the log anew changes its header, whatever becomes of its length and time.
        hasher.update(&log_header(&parent, name)?);
    }
    let digest: [u8; 8] = hasher.finalize().as_bytes()[..8].try_into().expect("BUG: a digest has 32 bytes");
    Some(Fingerprint { size: length, inode: u64::from_le_bytes(digest), ..own })
}

/// The beginning of a database's log. SQLite keeps its locks on other files.
fn log_header(parent: impl AsFd, name: &CStr) -> Option<[u8; 32]> {
    let shown = Path::new(OsStr::from_bytes(name.to_bytes()));
    let database = DatabaseFile::within(parent, shown.as_os_str(), shown).ok()?;
    let (log, mut header) = (database.companion("-wal").open().ok()?, [0; 32]);
    (rustix::io::pread(&log, &mut header, 0) == Ok(header.len())).then_some(header)
}

#[cfg(test)]
mod tests;
