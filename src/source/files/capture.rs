//! One capture of a `files` source: the walk merged with what the host remembers, handed over in path order.
//!
//! Owns what is done with each item: repeated as known, described, or read. Items wait in a queue of bounded length
//! while readers work on those that need it; the one in front goes to the sink as soon as it is ready.

mod beside;
mod odd;

use std::ffi::CString;
use std::iter::Peekable;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex};
use std::thread::{self, Scope};

use crossbeam_channel::{Receiver, Sender, unbounded};
use rustix::fs::readlinkat;
use rustix::io::Errno;

use crate::base::capture::{Capture, EntrySink, Fingerprint, Known, LeftOut, Recall, Rescan, Rule, Skip};
use crate::base::chunk::{Buffers, MAX_CHUNK};
use crate::base::control::Control;
use crate::base::entry::{Entry, Kind};
use crate::base::path::{EntryPath, encode};
use crate::source::SourceError;
use crate::source::files::FilesSource;
use crate::source::files::attributes::{self, Attributes};
use crate::source::files::budget::Budget;
use crate::source::files::database::{self, Databases};
use crate::source::files::deliver::{Deliver, Later, Pending};
use crate::source::files::exclude;
use crate::source::files::handle::{Handle, Opener, raise_limit, trouble};
use crate::source::files::links::{First, Links, Role};
use crate::source::files::metadata::{Facts, Owners};
use crate::source::files::read::{Outcome, Reader, Request, hash, promise, serve};
use crate::source::files::root::{self, Absent, trusted};
use crate::source::files::scan::{Folder, Item, Own, Terms, is_one_of};
use crate::source::files::target::is_temporary;
use crate::source::files::task::Task;
use crate::source::files::walk::{Ahead, Found, Walk};

/// Threads that look ahead. They wait for the disk more than they work.
const WALKERS: usize = 12;
const READERS: usize = 16;
/// How many items may wait for their turn with the sink.
const QUEUE: usize = 1024;

type Requests = Sender<(Request, Sender<Outcome>)>;

/// Captures everything below the source's root.
pub(super) fn run(source: &FilesSource, capture: Capture, sink: &mut dyn EntrySink) -> Result<(), SourceError> {
    let Start { ahead, parent, root, place } = start(source, capture.own.clone())?;
    if place != source.options.path {
        sink.led_to(&encode(place.as_os_str().as_bytes()));
    }
    let Capture { cutter, recall, control, rescan, check, own } = capture;
    let budget = Budget::new();
    let owners = Arc::new(Owners::default());
    thread::scope(|scope| {
        let (requests, waiting) = unbounded();
        let (hashings, unhashed) = unbounded();
        // Dropped first on the way out, whatever the way: sends every thread home.
        let opener = Opener::new();
        let (buffers, reading) = (Buffers::new(10, MAX_CHUNK), Buffers::new(3, MAX_CHUNK));
        let (owned, allowed) = (owners.clone(), budget.clone());
        let databases = source.options.databases;
        let reader =
            Arc::new(Reader { opener, owners: owned, cutter, databases, budget: allowed, hashings, buffers, reading });
        start_threads(scope, &ahead, &reader, &waiting, &unhashed)?;
        let walk = Walk::new(&ahead, parent, root);
        let deliver = Deliver::new(sink, &control, budget, reader, (place, check));
        let recall = recall.peekable();
        let mut run = Run {
            source,
            ahead: &ahead,
            recall,
            rescan,
            own,
            owners: &owners,
            requests,
            links: Links::default(),
            tickets: 0,
            folders: Vec::new(),
            control: &control,
            deliver,
        };
        run.all(walk)
    })
}

/// Where a walk begins.
pub(super) struct Start {
    pub ahead: Ahead,
    pub parent: Arc<Handle>,
    pub root: Item,
    /// The root's own path, without links.
    place: PathBuf,
}

/// Opens the root. Links on the way to it are followed, once; below it, none is.
pub(super) fn start(source: &FilesSource, own: Own) -> Result<Start, SourceError> {
    let options = &source.options;
    let failed = |cause| SourceError::Root { path: options.path.clone(), cause };
    let path = trusted(&options.path).map_err(failed)?.path;
    let open = Arc::new(AtomicUsize::new(0));
    let (fd, name) = root_of(&path).map_err(|error| failed(error.into()))?;
    let parent = Arc::new(Handle::new(fd, &open));
    let facts = Facts::at(&parent, &name).map_err(|error| failed(error.into()))?;
    if facts.kind != Kind::File && source.only.as_ref().is_some_and(|only| only.is_root()) {
        return Err(failed(odd::not_a_file(facts.kind)));
    }
    if !matches!(facts.kind, Kind::File | Kind::Dir | Kind::Symlink) {
        return Err(failed(odd::not_a_file(facts.kind)));
    }
    let terms = Terms {
        opener: Opener::new(),
        device: options.one_file_system.then_some(facts.device),
        paths: options.paths.clone(),
        cachedirs: options.cachedirs,
        own,
        open,
    };
    let folder = (facts.kind == Kind::Dir).then(|| {
        Arc::new(Folder {
            path: EntryPath::root(),
            name: name.clone(),
            owner: facts.uid,
            scope: exclude::Scope::new(source.rules.clone()),
            parent: Mutex::new(Some(parent.clone())),
            listing: Task::new(),
        })
    });
    let root = Item { name, facts: Ok(facts), folder };
    Ok(Start { ahead: Ahead::new(terms, raise_limit() / 2), parent, root, place: path })
}

/// The folder to open a root from, and its name there. The highest folder of all is its own parent.
fn root_of(path: &Path) -> Result<(std::os::fd::OwnedFd, CString), Errno> {
    let (parent, name) = match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => (parent, name.as_bytes()),
        _ => (path, b".".as_slice()),
    };
    let name = CString::new(name).map_err(|_| Errno::INVAL)?;
    // Only a place to start from: it need not be readable.
    Ok((root::open(parent, Absent::Fail)?, name))
}

/// Fewer threads than wished for make a slower capture; without any reader there is none.
fn start_threads<'scope, 'env>(
    scope: &'scope Scope<'scope, 'env>,
    ahead: &'env Ahead,
    reader: &Arc<Reader>,
    waiting: &Receiver<(Request, Sender<Outcome>)>,
    unhashed: &Receiver<Arc<super::read::Hashing>>,
) -> Result<(), SourceError> {
    for at in 0..READERS {
        let (reader, waiting) = (reader.clone(), waiting.clone());
        let started =
            thread::Builder::new().name("read".to_owned()).spawn_scoped(scope, move || serve(&reader, &waiting));
        match started {
            Err(error) if at == 0 => return Err(SourceError::Threads(error)),
            Err(_) => break,
            Ok(_) => {}
        }
    }
    for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
        let unhashed = unhashed.clone();
        let _ = thread::Builder::new().name("hash".to_owned()).spawn_scoped(scope, move || hash(&unhashed));
    }
    for _ in 0..WALKERS {
        let _ = thread::Builder::new().name("walk".to_owned()).spawn_scoped(scope, || ahead.help());
    }
    Ok(())
}

struct Run<'a> {
    source: &'a FilesSource,
    ahead: &'a Ahead,
    recall: Peekable<Recall>,
    rescan: Rescan,
    own: Own,
    owners: &'a Owners,
    requests: Requests,
    links: Links,
    tickets: u64,
    /// Folders that are captured only if something in them is.
    folders: Vec<Found>,
    control: &'a Control,
    deliver: Deliver<'a>,
}

impl Run<'_> {
    fn all(&mut self, walk: Walk) -> Result<(), SourceError> {
        for found in walk {
            if self.control.stopped() {
                return Err(SourceError::Interrupted);
            }
            self.meet(found)?;
            while self.deliver.len() >= QUEUE || self.deliver.is_ready() || self.is_crowded() {
                self.deliver.next()?;
            }
        }
        self.leave(None);
        while self.deliver.len() > 0 {
            self.deliver.next()?;
        }
        self.deliver.end();
        Ok(())
    }

    fn is_crowded(&self) -> bool {
        self.deliver.len() > 0 && self.ahead.is_crowded()
    }

    /// Leaves out what is not meant, and folders on the way to nothing.
    fn meet(&mut self, found: Found) -> Result<(), SourceError> {
        if self.source.only.is_none() {
            return self.take(found);
        }
        self.leave(Some(&found.path));
        if matches!(&found.facts, Ok(facts) if facts.kind == Kind::Dir) {
            self.folders.push(found);
            return Ok(());
        }
        if !self.source.wants(&found.path) {
            return Ok(());
        }
        self.tell_odd(&found);
        for folder in std::mem::take(&mut self.folders) {
            self.take(folder)?;
        }
        self.take(found)
    }

    /// Decides what is done with an item.
    fn take(&mut self, found: Found) -> Result<(), SourceError> {
        if is_temporary(found.name.to_bytes()) && !found.path.is_root() {
            self.left_out(&found.path, Rule::Partial);
            return Ok(());
        }
        if !found.path.is_root() && found.facts.as_ref().is_ok_and(|facts| is_one_of(&self.own, facts)) {
            self.left_out(&found.path, Rule::Own);
            return Ok(());
        }
        if found.is_cache {
            self.left_out(&found.path, Rule::Cache);
        }
        let facts = match &found.facts {
            Ok(facts) => facts.clone(),
            Err(error) => {
                self.skip(&found.path, trouble(*error));
                return Ok(());
            }
        };
        if let Some(error) = found.closed {
            self.closed(&found.path, error)?;
            if matches!(error, Errno::NOTDIR | Errno::LOOP) {
                return Ok(());
            }
        }
        let known = self.known(&found, &facts);
        let role = self.links.meet(&found.path, &facts);
        if self.may_belong_to_a_database(&found) {
            self.companion(found, &facts, known, role);
            return Ok(());
        }
        match (role, known) {
            (Role::Only, Some(known)) => self.deliver.push(Pending::Repeat { known, size: size_of(&facts) }),
            (Role::Only, None) => self.describe(found, &facts, None),
            (Role::First(first), Some(known)) => self.reuse(found, &facts, first, &known),
            (Role::First(first), None) => self.describe(found, &facts, Some(first)),
            (Role::Later(first), _) => self.link(found, &facts, first),
        }
        Ok(())
    }

    /// A folder that cannot be looked into. For the root that is the end.
    fn closed(&mut self, path: &EntryPath, error: Errno) -> Result<(), SourceError> {
        if path.is_root() {
            return Err(SourceError::Root { path: self.source.options.path.clone(), cause: error.into() });
        }
        self.skip(path, trouble(error));
        Ok(())
    }

    /// What the host remembers of an item, when the item has not changed since.
    fn known(&mut self, found: &Found, facts: &Facts) -> Option<Known> {
        while self.recall.next_if(|known| known.path < found.path).is_some() {}
        let known = self.recall.next_if(|known| known.path == found.path)?;
        let before = known.fingerprint.filter(|before| before.ctime != 0 && !self.rescan.wants(&found.path))?;
        // What was captured as something else than it would be now is looked at again.
        let now = match (known.database, self.source.options.databases) {
            (true, Databases::Plain) | (false, Databases::Demand(_)) => None,
            // What stands beside its other names is part of it.
            (true, _) if facts.names > 1 => None,
            (true, _) => database::fingerprint(facts, &found.parent, &found.name, before.size),
            (false, _) => Some(facts.fingerprint()),
        };
        (now == Some(before)).then_some(known)
    }

    /// A new or changed item.
    fn describe(&mut self, found: Found, facts: &Facts, first: Option<First>) {
        if facts.kind == Kind::File {
            let request = self.request(found, facts);
            let (reply, outcome) = promise();
            let (path, ticket) = (request.path.clone(), request.ticket);
            // The readers outlive this: they go when nobody can send any more.
            let _ = self.requests.send((request, reply));
            self.deliver.push(Pending::Read { path, ticket, outcome, first });
            return;
        }
        let attributes = match &found.opened {
            Some(handle) => attributes::of_open(handle),
            None if facts.kind == Kind::Dir => Attributes::default(),
            None => attributes::of_named(&found.parent, &found.name),
        };
        let mut entry = facts.entry(found.path, self.owners);
        entry.xattrs = attributes.values;
        if facts.kind == Kind::Symlink {
            match readlinkat(&found.parent, &found.name, Vec::new()) {
                Ok(target) => entry.target = Some(encode(target.as_bytes())),
                Err(Errno::NOENT) => return forget(first),
                Err(error) => {
                    self.skip(&entry.path, trouble(error));
                    return forget(first);
                }
            }
        }
        let whole = attributes.troubles.is_empty() && found.closed.is_none();
        let fingerprint = whole.then(|| facts.fingerprint());
        for reason in attributes.troubles {
            self.skip(&entry.path, reason);
        }
        self.entry(entry, fingerprint);
    }

    /// An unchanged file with several names: its content is known, if it was this name that carried it.
    fn reuse(&mut self, found: Found, facts: &Facts, first: First, known: &Known) {
        match serde_json::from_slice::<Entry>(&known.line) {
            Ok(entry) if entry.link.is_none() && entry.kind == facts.kind => {
                self.entry(entry, Some(facts.fingerprint()));
            }
            _ => self.describe(found, facts, Some(first)),
        }
    }

    /// One more name of a file whose first name came before.
    fn link(&mut self, found: Found, facts: &Facts, first: First) {
        let later = self.later(found, facts, first);
        self.deliver.push(later);
    }

    fn later(&mut self, found: Found, facts: &Facts, first: First) -> Pending {
        let entry = facts.entry(found.path.clone(), self.owners);
        let request = (facts.kind == Kind::File).then(|| self.request(found, facts));
        let (file, fingerprint) = ((facts.device, facts.inode), facts.fingerprint());
        Pending::Link(Box::new(Later { file, entry, first, request, fingerprint }))
    }

    fn request(&mut self, found: Found, facts: &Facts) -> Request {
        self.tickets += 1;
        let Found { path, name, parent, .. } = found;
        Request { ticket: self.tickets, path, name, parent, owner: facts.uid, plain: false }
    }

    fn entry(&mut self, entry: Entry, fingerprint: Option<Fingerprint>) {
        self.deliver.push(Pending::Entry(Box::new(entry), fingerprint));
    }

    fn left_out(&mut self, path: &EntryPath, why: Rule) {
        self.deliver.push(Pending::LeftOut(LeftOut { path: path.to_string(), why }));
    }

    fn skip_other(&mut self, path: &EntryPath, reason: String) {
        self.deliver.push(Pending::Skip(Skip::other(path.to_string(), reason)));
    }

    fn skip(&mut self, path: &EntryPath, reason: String) {
        self.deliver.push(Pending::Skip(Skip::new(path.to_string(), reason)));
    }
}

/// The first name of a shared file could not be captured: the next one has to carry the content.
fn forget(first: Option<First>) {
    if let Some(first) = first {
        *first.borrow_mut() = None;
    }
}

fn size_of(facts: &Facts) -> u64 {
    if facts.kind == Kind::File { facts.size } else { 0 }
}
