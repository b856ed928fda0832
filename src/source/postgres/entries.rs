//! The entries of a captured database: files and folders that never lay on a disk.
//!
//! Owns their order, and the time they are said to have changed: when other content was first seen.

use std::collections::BTreeMap;

use crate::base::capture::{EntrySink, Known, Recall};
use crate::base::entry::{Content, Entry, Kind};
use crate::base::path::EntryPath;
use crate::base::time::Instant;
use crate::format::listing;
use crate::source::SourceError;

pub(super) struct Entries<'s> {
    pub sink: &'s mut dyn EntrySink,
    recall: std::iter::Peekable<Recall>,
    now: Instant,
    begun: bool,
    /// Files whose content is there and whose turn has not come.
    waiting: BTreeMap<EntryPath, (u64, Content)>,
}

impl<'s> Entries<'s> {
    pub fn new(sink: &'s mut dyn EntrySink, recall: Recall) -> Self {
        Self { sink, recall: recall.peekable(), now: Instant::now(), begun: false, waiting: BTreeMap::new() }
    }

    /// Has anything been handed over?
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    pub fn folder(&mut self, path: &EntryPath) -> Result<(), SourceError> {
        self.up_to(path)?;
        self.add(path, Kind::Dir, 0, Content::default())
    }

    /// A file, after those that were kept for later and come before it.
    pub fn file(&mut self, path: &EntryPath, size: u64, content: Content) -> Result<(), SourceError> {
        self.up_to(path)?;
        self.add(path, Kind::File, size, content)
    }

    /// A file that is added when its turn comes.
    pub fn later(&mut self, path: EntryPath, size: u64, content: Content) {
        self.waiting.insert(path, (size, content));
    }

    /// Adds what waits and comes before `path`, whose content is about to be handed over.
    pub fn up_to(&mut self, path: &EntryPath) -> Result<(), SourceError> {
        while let Some(first) = self.waiting.first_entry().filter(|first| first.key() < path) {
            let (path, (size, content)) = first.remove_entry();
            self.add(&path, Kind::File, size, content)?;
        }
        Ok(())
    }

    fn add(&mut self, path: &EntryPath, kind: Kind, size: u64, content: Content) -> Result<(), SourceError> {
        self.begun = true;
        let mtime = self.last_change(path, kind, &content).unwrap_or(self.now);
        let entry = Entry {
            path: path.clone(),
            kind,
            mode: if kind == Kind::Dir { 0o700 } else { 0o600 },
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
            user: None,
            group: None,
            mtime,
            size,
            content,
            target: None,
            link: None,
            device: None,
            xattrs: BTreeMap::new(),
            inconsistent: false,
        };
        self.sink.entry(&entry, None).map_err(SourceError::Sink)
    }

    /// When what was captured last under this path became what it still is.
    fn last_change(&mut self, path: &EntryPath, kind: Kind, content: &Content) -> Option<Instant> {
        while self.recall.next_if(|known| known.path < *path).is_some() {}
        let known: Known = self.recall.next_if(|known| known.path == *path)?;
        let entry = listing::read_entry(&known.line).ok()?;
        (entry.kind == kind && entry.content == *content).then_some(entry.mtime)
    }
}
