//! The queue in front of the sink: items in path order, each handed over when it is ready.
//!
//! Owns the handing over, and what becomes of files that turn out to be gone or unreadable only now. Databases
//! are in `databases`.

mod databases;
mod several;

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};

use crate::base::capture::{Access, EntrySink, Fingerprint, Known, LeftOut, Piece, Skip};
use crate::base::chunk::Chunk;
use crate::base::control::Control;
use crate::base::entry::{Content, Entry, Kind};
use crate::base::error::Explained;
use crate::base::path::EntryPath;
use crate::source::SourceError;
use crate::source::files::budget::Budget;
use crate::source::files::handle::trouble;
use crate::source::files::links::{FileId, First};
use crate::source::files::read::{Captured, Outcome, Reader, Request, promise};
use crate::source::files::stream::Part;

pub(super) use databases::Companion;
use several::Several;

/// How long to wait before looking whether to stop.
const GLANCE: Duration = Duration::from_millis(100);

/// An item on its way to the sink.
pub(super) enum Pending {
    Repeat {
        known: Known,
        size: u64,
    },
    Entry(Box<Entry>, Option<Fingerprint>),
    Skip(Skip),
    LeftOut(LeftOut),
    Read {
        path: EntryPath,
        ticket: u64,
        outcome: Receiver<Outcome>,
        first: Option<First>,
    },
    Link(Box<Later>),
    /// A file that is read only when its turn comes.
    Own(Box<Request>, Option<First>),
    Companion(Box<Companion>),
}

/// A later name of a file with several.
pub(super) struct Later {
    pub file: FileId,
    pub entry: Entry,
    pub first: First,
    /// How to read the file, should the first name have failed.
    pub request: Option<Request>,
    pub fingerprint: Fingerprint,
}

pub(super) struct Deliver<'a> {
    sink: &'a mut dyn EntrySink,
    control: &'a Control,
    budget: Arc<Budget>,
    reader: Arc<Reader>,
    queue: VecDeque<Pending>,
    /// The root's own path, for messages.
    root: PathBuf,
    /// Databases are checked.
    check: bool,
    /// Databases that logs and journals may still come of.
    databases: VecDeque<EntryPath>,
    /// Databases with several names, until all of those were looked at.
    several: HashMap<FileId, Several>,
}

impl Drop for Deliver<'_> {
    fn drop(&mut self) {
        self.budget.close();
    }
}

impl<'a> Deliver<'a> {
    pub fn new(
        sink: &'a mut dyn EntrySink,
        control: &'a Control,
        budget: Arc<Budget>,
        reader: Arc<Reader>,
        (root, check): (PathBuf, bool),
    ) -> Self {
        let (queue, databases, several) = (VecDeque::new(), VecDeque::new(), HashMap::new());
        Self { sink, control, budget, reader, queue, root, check, databases, several }
    }

    pub fn len(&self) -> usize {
        self.queue.len()
    }

    pub fn push(&mut self, pending: Pending) {
        self.queue.push_back(pending);
    }

    /// The item in front need not be waited for.
    pub fn is_ready(&self) -> bool {
        match self.queue.front() {
            None => false,
            Some(Pending::Read { outcome, .. }) => !outcome.is_empty(),
            Some(_) => true,
        }
    }

    /// Hands over the item in front.
    pub fn next(&mut self) -> Result<(), SourceError> {
        if self.control.stopped() {
            return Err(SourceError::Interrupted);
        }
        match self.queue.pop_front() {
            None => Ok(()),
            Some(pending) => self.hand_over(pending),
        }
    }

    fn hand_over(&mut self, pending: Pending) -> Result<(), SourceError> {
        match pending {
            Pending::Repeat { known, size } => {
                if known.database {
                    self.note_database(&known.path);
                }
                self.sink.repeat(&known).map_err(SourceError::Sink)?;
                self.count(size);
                Ok(())
            }
            Pending::Entry(entry, fingerprint) => {
                self.entry(&entry, fingerprint)?;
                self.control.bytes.add(entry.size);
                Ok(())
            }
            Pending::Skip(skip) => {
                self.sink.skip(skip);
                Ok(())
            }
            Pending::LeftOut(left_out) => {
                self.sink.left_out(left_out);
                Ok(())
            }
            Pending::Read { path, ticket, outcome, first } => self.read(&path, ticket, &outcome, first).map(|_| ()),
            Pending::Link(later) => self.link(*later),
            Pending::Own(request, first) => self.read_now(*request, first).map(|_| ()),
            Pending::Companion(companion) => self.companion(*companion),
        }
    }

    fn count(&self, bytes: u64) {
        self.control.items.add(1);
        self.control.bytes.add(bytes);
    }

    fn entry(&mut self, entry: &Entry, fingerprint: Option<Fingerprint>) -> Result<(), SourceError> {
        self.sink.entry(entry, fingerprint).map_err(SourceError::Sink)?;
        self.control.items.add(1);
        Ok(())
    }

    fn skip(&mut self, path: &EntryPath, reason: String) {
        self.sink.skip(Skip::new(path.to_string(), reason));
    }

    /// What is kept as it lies there, and is damaged.
    fn damaged(&mut self, path: &EntryPath, damage: &str) {
        self.sink.skip(Skip { damage: true, ..Skip::new(path.to_string(), format!("is damaged: {damage}")) });
    }

    fn read(
        &mut self,
        path: &EntryPath,
        ticket: u64,
        outcome: &Receiver<Outcome>,
        first: Option<First>,
    ) -> Result<bool, SourceError> {
        let kept = match self.wait(ticket, outcome)? {
            Outcome::Gone => false,
            Outcome::Failed(reason) => {
                self.skip(path, reason);
                false
            }
            Outcome::Other(what) => {
                self.sink.skip(Skip::other(path.to_string(), what));
                false
            }
            Outcome::Whole { captured, chunk, lease } => {
                self.control.bytes.add(captured.entry.size);
                let content = self.small(chunk)?;
                drop(lease);
                self.keep(*captured, content)?;
                true
            }
            Outcome::Stream(parts) => {
                self.budget.set_head(ticket);
                self.stream(path, parts)?
            }
            Outcome::Database(recognised) => self.database(*recognised)?,
        };
        if let (false, Some(first)) = (kept, first) {
            *first.borrow_mut() = None;
        }
        Ok(kept)
    }

    fn wait(&mut self, ticket: u64, outcome: &Receiver<Outcome>) -> Result<Outcome, SourceError> {
        if let Ok(outcome) = outcome.try_recv() {
            return Ok(outcome);
        }
        self.budget.set_head(ticket);
        receive(outcome, self.control)
    }

    fn small(&mut self, chunk: Option<Chunk>) -> Result<Content, SourceError> {
        let Some(chunk) = chunk else { return Ok(Content::default()) };
        let mut pieces = std::iter::once(Ok(Piece::Chunk(chunk)));
        self.sink.content(&mut pieces, Access::Whole).map_err(SourceError::Sink)
    }

    fn keep(&mut self, mut captured: Captured, content: Content) -> Result<(), SourceError> {
        captured.entry.content = content;
        self.entry(&captured.entry, captured.fingerprint)?;
        for reason in captured.troubles {
            self.skip(&captured.entry.path, reason);
        }
        Ok(())
    }

    /// Hands over a large file, again if it has to be read again. False when it cannot be read.
    fn stream(&mut self, path: &EntryPath, parts: Receiver<Part>) -> Result<bool, SourceError> {
        let mut pieces = Pieces { parts, path, control: self.control, counted: 0, furthest: 0, end: None };
        loop {
            pieces.counted = 0;
            let content = self.sink.content(&mut pieces, Access::Whole);
            match pieces.end.take() {
                Some(End::Again) => {
                    content.map_err(SourceError::Sink)?;
                }
                Some(End::Captured(captured)) => {
                    let content = content.map_err(SourceError::Sink)?;
                    self.keep(*captured, content)?;
                    return Ok(true);
                }
                Some(End::Failed(reason)) => {
                    self.skip(path, reason);
                    return Ok(false);
                }
                Some(End::Interrupted) => return Err(SourceError::Interrupted),
                // The sink stopped asking before the end: only an error explains that.
                None => return Err(content.map_or_else(SourceError::Sink, |_| SourceError::Interrupted)),
            }
        }
    }

    fn link(&mut self, later: Later) -> Result<(), SourceError> {
        let Later { file, mut entry, first, request, fingerprint } = later;
        let carrier = first.borrow().clone();
        if carrier.is_some() && !self.has_another_log(file, &entry.path, request.as_ref())? {
            entry.link = carrier;
            return self.entry(&entry, Some(fingerprint));
        }
        let Some(request) = request.filter(|_| entry.kind == Kind::File) else { return Ok(()) };
        *first.borrow_mut() = Some(entry.path.clone());
        self.read_now(request, Some(first)).map(|_| ())
    }

    /// The readers may all be busy with files that come later, and wait for the sink: this one gets its own.
    fn read_now(&mut self, request: Request, first: Option<First>) -> Result<bool, SourceError> {
        let (reply, outcome) = promise();
        let (path, ticket, reader) = (request.path.clone(), request.ticket, self.reader.clone());
        let work = move || reader.read(&request, &reply);
        std::thread::Builder::new().name("read".to_owned()).spawn(work).map_err(SourceError::Threads)?;
        self.read(&path, ticket, &outcome, first)
    }
}

/// A stream's parts as the sink wants them.
struct Pieces<'a> {
    parts: Receiver<Part>,
    path: &'a EntryPath,
    control: &'a Control,
    /// Bytes of this attempt, and of the attempt that came furthest: none is counted twice.
    counted: u64,
    furthest: u64,
    end: Option<End>,
}

/// How an attempt ended.
enum End {
    Again,
    Captured(Box<Captured>),
    Failed(String),
    Interrupted,
}

impl Pieces<'_> {
    fn count(&mut self, bytes: u64) {
        self.counted += bytes;
        if self.counted > self.furthest {
            self.control.bytes.add(self.counted - self.furthest);
            self.furthest = self.counted;
        }
    }
}

impl Iterator for Pieces<'_> {
    type Item = Result<Piece, Explained>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.end.is_some() {
            return None;
        }
        match receive(&self.parts, self.control) {
            Ok(Part::Data { hashing, length, lease }) => {
                let chunk = hashing.take();
                drop(lease);
                self.count(length);
                return Some(Ok(Piece::Chunk(chunk)));
            }
            Ok(Part::Hole(length)) => {
                self.count(length);
                return Some(Ok(Piece::Hole(length)));
            }
            Ok(Part::Again) => self.end = Some(End::Again),
            Ok(Part::End(captured)) => self.end = Some(End::Captured(captured)),
            Ok(Part::Failed(error)) => {
                self.end = Some(End::Failed(trouble(error)));
                let path = self.path.to_string();
                return Some(Err(Box::new(SourceError::Content { path, cause: error.into() })));
            }
            Err(error) => {
                self.end = Some(End::Interrupted);
                return Some(Err(Box::new(error)));
            }
        }
        None
    }
}

/// Waits for a reader, and looks now and then whether to stop.
fn receive<T>(receiver: &Receiver<T>, control: &Control) -> Result<T, SourceError> {
    loop {
        if control.stopped() {
            return Err(SourceError::Interrupted);
        }
        match receiver.recv_timeout(GLANCE) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Timeout) => {}
            // A reader died: its panic is about to end the capture.
            Err(RecvTimeoutError::Disconnected) => return Err(SourceError::Interrupted),
        }
    }
}
