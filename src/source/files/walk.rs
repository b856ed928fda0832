//! Finds everything below a root, in path order, with helpers looking ahead.
//!
//! Owns what is looked at next and how far ahead: always what comes first in path order, while what is known but
//! not yet consumed stays within bounds. The consumer never waits for work that no helper has begun: it does it.

use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::sync::atomic;
use std::sync::{Arc, Condvar, Mutex};

use rustix::io::Errno;

use crate::base::path::EntryPath;
use crate::source::files::handle::Handle;
use crate::source::files::metadata::Facts;
use crate::source::files::scan::{Folder, Item, Listing, Place, Slice, Terms};
use crate::source::files::task::{locked, wait};

/// Something the walk came to.
pub(super) struct Found {
    pub path: EntryPath,
    pub name: CString,
    pub parent: Arc<Handle>,
    pub facts: Result<Facts, Errno>,
    /// The folder itself, open, when the item is one that is walked into.
    pub opened: Option<Arc<Handle>>,
    /// It is a folder marked as a cache, and what is in it is left out.
    pub is_cache: bool,
    /// Why the folder is not walked into, though it should be.
    pub closed: Option<Errno>,
}

/// What the consumer and the helpers share.
pub(super) struct Ahead {
    terms: Terms,
    queue: Mutex<Queue>,
    work: Condvar,
    /// Helpers leave off while this many directories are open.
    most_open: usize,
}

struct Queue {
    jobs: BTreeSet<Job>,
    /// What is known or being found out ahead of the consumer, weighed in items.
    outstanding: usize,
    closed: bool,
}

/// A task of the walk. Ordered as the consumer will need them.
#[derive(Clone)]
enum Job {
    List(Arc<Folder>),
    Look(Arc<Slice>),
}

impl Ahead {
    /// The most that is outstanding before helpers leave off.
    const MOST: usize = 30_000;

    pub fn new(terms: Terms, most_open: usize) -> Self {
        let queue = Queue { jobs: BTreeSet::new(), outstanding: 0, closed: false };
        Self { terms, queue: Mutex::new(queue), work: Condvar::new(), most_open }
    }

    /// What a helper thread does until the walk is closed.
    pub fn help(&self) {
        while let Some(job) = self.next_job() {
            match job {
                Job::List(folder) => self.help_list(&folder),
                Job::Look(slice) => {
                    if let Some(claim) = slice.items.claim() {
                        claim.finish(self.look(&slice));
                    }
                }
            }
        }
    }

    fn help_list(&self, folder: &Folder) {
        let Some(claim) = folder.listing.claim() else { return };
        match self.list(folder) {
            // The consumer will try again, when fewer are open.
            Err(Errno::MFILE | Errno::NFILE) => drop(claim),
            listing => claim.finish(listing),
        }
    }

    /// So many directories are open that what waits for the sink had better go first: it holds some of them.
    pub fn is_crowded(&self) -> bool {
        self.terms.open.load(atomic::Ordering::Relaxed) > self.most_open + self.most_open / 4
    }

    pub fn close(&self) {
        let mut queue = locked(&self.queue);
        queue.closed = true;
        queue.jobs.clear();
        drop(queue);
        self.work.notify_all();
    }

    fn next_job(&self) -> Option<Job> {
        let mut queue = locked(&self.queue);
        loop {
            if queue.closed {
                return None;
            }
            let open = self.terms.open.load(atomic::Ordering::Relaxed);
            let may = queue.outstanding < Self::MOST && open < self.most_open;
            if let Some(job) = may.then(|| queue.jobs.pop_first()).flatten() {
                return Some(job);
            }
            queue = wait(&self.work, queue);
        }
    }

    fn list(&self, folder: &Folder) -> Result<Listing, Errno> {
        let listing = folder.list(&self.terms)?;
        let mut later = listing.slices.iter();
        // Most folders have one slice: look at it at once, as it will be needed next.
        if let [only] = listing.slices.as_slice() {
            if let Some(claim) = only.items.claim() {
                claim.finish(self.look(only));
            }
            later.next();
        }
        self.add(later.map(|slice| Job::Look(slice.clone())).collect(), weight(&listing));
        Ok(listing)
    }

    fn look(&self, slice: &Slice) -> Vec<Item> {
        let items = slice.look(&self.terms);
        let folders = items.iter().filter_map(|item| item.folder.clone());
        self.add(folders.map(Job::List).collect(), slice.len());
        items
    }

    fn add(&self, jobs: Vec<Job>, weight: usize) {
        let new = jobs.len();
        let mut queue = locked(&self.queue);
        queue.outstanding += weight;
        if !queue.closed {
            queue.jobs.extend(jobs);
        }
        drop(queue);
        // Whoever found them goes on with one of them, a helper or the consumer.
        for _ in 1..new.min(16) {
            self.work.notify_one();
        }
    }

    /// The consumer does this job itself, or has its result.
    fn withdraw(&self, job: &Job) {
        locked(&self.queue).jobs.remove(job);
    }

    fn release(&self, weight: usize) {
        let mut queue = locked(&self.queue);
        let was_full = queue.outstanding >= Self::MOST;
        queue.outstanding = queue.outstanding.saturating_sub(weight);
        let wake = !queue.jobs.is_empty() && (was_full || queue.outstanding < Self::MOST / 2);
        drop(queue);
        if wake {
            self.work.notify_one();
        }
    }
}

/// What a listed folder weighs, beside its items: an open directory, a path, the names not yet looked at.
fn weight(listing: &Listing) -> usize {
    let names: usize = listing.slices.iter().map(|slice| slice.len()).sum();
    16 + listing.place.path.as_bytes().len() / 64 + names / 8
}

impl Job {
    fn key(&self) -> (&EntryPath, bool) {
        match self {
            Job::Look(slice) => (&slice.first, false),
            Job::List(folder) => (&folder.path, true),
        }
    }
}

impl Ord for Job {
    fn cmp(&self, other: &Self) -> Ordering {
        self.key().cmp(&other.key())
    }
}

impl PartialOrd for Job {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Job {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Job {}

/// The consumer's side. Dropped, it sends the helpers home.
pub(super) struct Walk<'a> {
    ahead: &'a Ahead,
    root: Option<(Arc<Handle>, Item)>,
    frames: Vec<Frame>,
}

/// A folder the walk is inside of.
struct Frame {
    place: Arc<Place>,
    slices: std::vec::IntoIter<Arc<Slice>>,
    items: std::vec::IntoIter<Item>,
    /// What to release when the items, and when the whole folder, are consumed.
    items_weight: usize,
    weight: usize,
}

impl<'a> Walk<'a> {
    pub fn new(ahead: &'a Ahead, parent: Arc<Handle>, root: Item) -> Self {
        Self { ahead, root: Some((parent, root)), frames: Vec::new() }
    }

    /// Enters a folder: its listing is taken from a helper, or made.
    fn enter(&mut self, folder: &Arc<Folder>) -> Result<(Arc<Handle>, bool), Errno> {
        self.ahead.withdraw(&Job::List(folder.clone()));
        let listing = folder.listing.take(|| self.ahead.list(folder))?;
        let handle = listing.place.handle.clone();
        let weight = weight(&listing);
        let Listing { place, slices, is_cache } = listing;
        let nothing = Vec::new().into_iter();
        self.frames.push(Frame { place, slices: slices.into_iter(), items: nothing, items_weight: 0, weight });
        Ok((handle, is_cache))
    }

    fn visit(&mut self, parent: Arc<Handle>, path: EntryPath, item: Item) -> Option<Found> {
        let Item { name, facts, folder } = item;
        let mut found = Found { path, name, parent, facts, opened: None, is_cache: false, closed: None };
        if let Some(folder) = folder {
            match self.enter(&folder) {
                Ok((handle, is_cache)) => (found.opened, found.is_cache) = (Some(handle), is_cache),
                // Removed since it was seen. A root was named by somebody who wants to know.
                Err(Errno::NOENT) if !found.path.is_root() => return None,
                Err(error) => found.closed = Some(error),
            }
        }
        Some(found)
    }

    fn next_item(&mut self) -> Option<(Arc<Place>, Item)> {
        loop {
            let frame = self.frames.last_mut()?;
            if let Some(item) = frame.items.next() {
                let place = frame.place.clone();
                // Closes folders that are done with early: in a deep chain of folders few are open at a time.
                if frame.items.len() == 0 && frame.slices.len() == 0 {
                    self.leave();
                }
                return Some((place, item));
            }
            self.ahead.release(std::mem::take(&mut frame.items_weight));
            match frame.slices.next() {
                None => self.leave(),
                Some(slice) => {
                    self.ahead.withdraw(&Job::Look(slice.clone()));
                    frame.items = slice.items.take(|| self.ahead.look(&slice)).into_iter();
                    frame.items_weight = slice.len();
                }
            }
        }
    }

    fn leave(&mut self) {
        if let Some(frame) = self.frames.pop() {
            self.ahead.release(frame.items_weight + frame.weight);
        }
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            let (parent, path, item) = match self.root.take() {
                Some((parent, item)) => (parent, EntryPath::root(), item),
                None => {
                    let (place, item) = self.next_item()?;
                    (place.handle.clone(), place.path.child(item.name.to_bytes()), item)
                }
            };
            if let Some(found) = self.visit(parent, path, item) {
                return Some(found);
            }
        }
    }
}

impl Drop for Walk<'_> {
    fn drop(&mut self) {
        self.ahead.close();
    }
}
