//! Reads files, several at a time, ahead of the sink.
//!
//! Owns the reader threads' work and the reading of small files, whole; `stream` reads the others. A file that
//! changes while it is read is read again; one that keeps changing is kept and called inconsistent.
//! Never opens anything but regular files.

use std::ffi::CString;
use std::os::fd::AsFd;
use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};
use rustix::buffer::spare_capacity;
use rustix::io::Errno;

use crate::base::capture::{Cutter, Fingerprint};
use crate::base::chunk::{Buffers, Chunk};
use crate::base::entry::{Entry, Kind};
use crate::base::path::EntryPath;
use crate::engine::sqlite;
use crate::engine::sqlite::held::PlainFile;
use crate::source::files::attributes;
use crate::source::files::budget::{Budget, Lease};
use crate::source::files::database::Databases;
use crate::source::files::handle::{Handle, Opener, trouble};
use crate::source::files::metadata::{Facts, Owners};
use crate::source::files::stream::{self, Part};
use crate::source::files::task::Task;

/// How often a changing file is read before it is kept as it is.
pub(super) const ATTEMPTS: usize = 3;

/// A file to read.
#[derive(Clone)]
pub(super) struct Request {
    /// Rises from file to file: who is first with the sink.
    pub ticket: u64,
    pub path: EntryPath,
    pub name: CString,
    pub parent: Arc<Handle>,
    pub owner: u32,
    /// Read it as bytes, even if it is a database.
    pub plain: bool,
}

/// What became of a request.
pub(super) enum Outcome {
    /// All of a small file; no chunk for an empty one.
    Whole { captured: Box<Captured>, chunk: Option<Chunk>, lease: Lease },
    /// A larger file's content follows.
    Stream(Receiver<Part>),
    /// It is a database, to be captured as one; what was opened is closed again.
    Database(Box<Recognised>),
    /// It was removed since the walk saw it.
    Gone,
    /// It could not be read, for this reason.
    Failed(String),
    /// It is something else than what was wanted.
    Other(&'static str),
}

/// A file as it was read, without its content.
pub(super) struct Captured {
    pub entry: Entry,
    pub fingerprint: Option<Fingerprint>,
    /// What is not as it should be.
    pub troubles: Vec<String>,
}

/// A file that begins like a database.
pub(super) struct Recognised {
    pub captured: Captured,
    pub facts: Facts,
    /// For reading it as a plain file after all.
    pub request: Request,
}

/// Bytes to hash on any thread.
pub(super) struct Hashing {
    bytes: std::sync::Mutex<Vec<u8>>,
    home: Buffers,
    task: Task<Chunk>,
}

/// What all readers share.
pub(super) struct Reader {
    pub opener: Opener,
    pub owners: Arc<Owners>,
    pub cutter: Arc<dyn Cutter>,
    pub databases: Databases,
    pub budget: Arc<Budget>,
    pub hashings: Sender<Arc<Hashing>>,
    /// Buffers of chunks.
    pub buffers: Buffers,
    /// Buffers that large files are read into.
    pub reading: Buffers,
}

/// Where an outcome is to be found.
pub(super) fn promise() -> (Sender<Outcome>, Receiver<Outcome>) {
    bounded(1)
}

/// What a reader thread does until there are no more requests.
pub(super) fn serve(reader: &Reader, requests: &Receiver<(Request, Sender<Outcome>)>) {
    for (request, reply) in requests {
        if reader.budget.is_closed() {
            return;
        }
        reader.read(&request, &reply);
    }
}

/// What a hashing thread does until nothing can be read any more.
pub(super) fn hash(hashings: &Receiver<Arc<Hashing>>) {
    for hashing in hashings {
        if let Some(claim) = hashing.task.claim() {
            claim.finish(hashing.run());
        }
    }
}

impl Reader {
    /// Reads one file. Whoever waits for the outcome may have left: then nobody misses it.
    pub fn read(&self, request: &Request, reply: &Sender<Outcome>) {
        let outcome = match self.open(request) {
            Ok((file, facts)) => self.content(request, &file, facts, reply),
            Err(Errno::NOENT) => Ok(Some(Outcome::Gone)),
            Err(error) => Err(error),
        };
        let outcome = outcome.unwrap_or_else(|error| Some(Outcome::Failed(trouble(error))));
        if let Some(outcome) = outcome {
            let _ = reply.send(outcome);
        }
    }

    fn open(&self, request: &Request) -> Result<(PlainFile, Facts), Errno> {
        let file: PlainFile = self.opener.file(&request.parent, &request.name, request.owner)?.into();
        let facts = Facts::of_open(&file)?;
        // A fifo or device that has taken the file's place: opened without waiting, and never read.
        if facts.kind != Kind::File {
            return Err(Errno::NXIO);
        }
        Ok((file, facts))
    }

    /// The outcome, unless it has been sent.
    fn content(
        &self,
        request: &Request,
        file: &PlainFile,
        mut facts: Facts,
        reply: &Sender<Outcome>,
    ) -> Result<Option<Outcome>, Errno> {
        for attempt in 1..=ATTEMPTS {
            let streamed = facts.size >= self.cutter.minimum() as u64 || facts.is_sparse();
            if streamed && let Some(outcome) = self.recognise(request, file, &facts, &beginning(file)?) {
                return Ok(Some(outcome));
            }
            if streamed {
                stream::read(self, request, file, facts, attempt, reply);
                return Ok(None);
            }
            // What the system makes as it is read, such as files of /proc, says that it has no bytes.
            let is_made = facts.size == 0 && !whole(file, 1)?.is_empty();
            let size = if is_made { self.cutter.minimum() } else { facts.size as usize };
            let Some(lease) = self.budget.lease(request.ticket, size) else { return Ok(Some(Outcome::Gone)) };
            let bytes = whole(file, size)?;
            if is_made && bytes.len() == size {
                return Ok(Some(Outcome::Failed(format!("says that it is empty, and has more than {size} bytes"))));
            }
            if let Some(outcome) = self.recognise(request, file, &facts, &bytes) {
                return Ok(Some(outcome));
            }
            let after = Facts::of_open(file)?;
            let steady = after.same_content(&facts);
            if steady || attempt == ATTEMPTS {
                let captured = self.captured(request, file, &after, bytes.len() as u64, steady);
                let chunk = (!bytes.is_empty()).then(|| Chunk::new(bytes));
                return Ok(Some(Outcome::Whole { captured: Box::new(captured), chunk, lease }));
            }
            facts = after;
        }
        unreachable!("BUG: the last attempt returns")
    }

    /// What becomes of a file that begins so, if it is no matter of reading on.
    fn recognise(&self, request: &Request, file: &PlainFile, facts: &Facts, beginning: &[u8]) -> Option<Outcome> {
        let demanded = matches!(self.databases, Databases::Demand(_));
        if request.plain || self.databases == Databases::Plain {
            return None;
        }
        if !sqlite::is_database(beginning) {
            let what = if beginning.is_empty() { "is empty: no database yet" } else { "is not a SQLite database" };
            return demanded.then(|| Outcome::Other(what));
        }
        let captured = self.captured(request, file, facts, facts.size, true);
        let (facts, request) = (facts.clone(), request.clone());
        Some(Outcome::Database(Box::new(Recognised { captured, facts, request })))
    }

    /// What to write down of a file of which `size` bytes were read.
    pub fn captured(&self, request: &Request, file: impl AsFd, facts: &Facts, size: u64, steady: bool) -> Captured {
        let attributes = attributes::of_open(file);
        let mut entry = facts.entry(request.path.clone(), &self.owners);
        entry.size = size;
        entry.xattrs = attributes.values;
        entry.inconsistent = !steady;
        let mut troubles = attributes.troubles;
        if !steady {
            troubles.push("changed while it was read".to_owned());
        }
        // What is not as it should be is looked at again next time, and so is what is longer than it says.
        let fingerprint = (troubles.is_empty() && size <= facts.size).then(|| facts.fingerprint());
        Captured { entry, fingerprint, troubles }
    }
}

/// The first bytes, as many as tell a database.
fn beginning(file: impl AsFd) -> Result<Vec<u8>, Errno> {
    whole(file, sqlite::HEADER.len())
}

/// Reads at most `size` bytes: fewer when the file has become shorter.
fn whole(file: impl AsFd, size: usize) -> Result<Vec<u8>, Errno> {
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let at = bytes.len() as u64;
        match rustix::io::pread(&file, spare_capacity(&mut bytes), at) {
            Ok(0) => break,
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

impl Hashing {
    pub fn new(bytes: Vec<u8>, home: &Buffers) -> Arc<Self> {
        Arc::new(Self { bytes: std::sync::Mutex::new(bytes), home: home.clone(), task: Task::new() })
    }

    pub fn take(&self) -> Chunk {
        self.task.take(|| self.run())
    }

    fn run(&self) -> Chunk {
        Chunk::borrowing(std::mem::take(&mut *super::task::locked(&self.bytes)), &self.home)
    }
}
