//! What a restore would do, without doing it: what would be made, changed, removed or left alone.
//!
//! Owns the form in which that is told, and the look at folders restored into. Compares as the restore itself does
//! ([`Target::look`]); writes nothing.

use std::fs;
use std::sync::Arc;

use serde::Serialize;

use crate::base::entry::{Entry, Kind};
use crate::base::error::{Explained, one_line};
use crate::base::path::EntryPath;
use crate::engine::sqlite::apply::is_open_elsewhere;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::diff::{Change, Difference};
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::live::{find, live_path};
use crate::ops::restore::names::Names;
use crate::ops::restore::sides::{IN_USE, NEEDLESS, is_needless};
use crate::ops::restore::{Issue, Job, Request, plan, spoken};
use crate::source::files::target::{Found, Options, Target};
use crate::vault::extents;
use crate::vault::read::{self, Library};
use crate::vault::unlocked::UnlockedVault;

/// So many issues are told; all are counted.
const ISSUES: usize = 1000;

/// What would become of live data, or of a folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Foreseen {
    pub sources: Vec<Counts>,
    /// Databases of servers, each of which another one would take the place of.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub servers: Vec<Server>,
    /// Rows of live databases that would hold again what they held before.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub rows: Vec<Rows>,
    /// What would not be given back as it was; the first thousand.
    pub issues: Vec<Issue>,
    pub issues_count: u64,
}

/// How many paths of a source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub source: String,
    pub added: u64,
    pub removed: u64,
    /// They would get other bytes, or become another kind of thing.
    pub content: u64,
    /// They would get other permissions, times, owners or attributes.
    pub metadata: u64,
    /// They are as they would be.
    pub same: u64,
}

/// A database of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Server {
    pub source: String,
    pub database: String,
    pub change: Change,
    /// The tables that are not as they would be, where there are two to compare.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// One that is kept aside would come back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kept: Option<String>,
}

/// Rows of a table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rows {
    pub table: String,
    pub rows: u64,
}

/// Is told of each path that would be another: the source, and what would become of it. `before` is what is there now.
pub type Told<'t> = dyn FnMut(&str, Difference) + 't;

impl Foreseen {
    pub(in crate::ops) fn note(&mut self, path: String, reason: String) {
        self.issues_count += 1;
        if self.issues.len() < ISSUES {
            self.issues.push(Issue { path, reason });
        }
    }

    /// A single file would become another.
    pub(in crate::ops) fn file(&mut self, source: &str, difference: Difference, told: &mut Told<'_>) {
        let at = self.sources.iter().position(|counts| counts.source == source).unwrap_or_else(|| {
            self.sources.push(Counts { source: source.to_owned(), ..Counts::default() });
            self.sources.len() - 1
        });
        *self.sources[at].of(difference.change) += 1;
        told(source, difference);
    }
}

impl Counts {
    fn of(&mut self, change: Change) -> &mut u64 {
        match change {
            Change::Added => &mut self.added,
            Change::Removed => &mut self.removed,
            Change::Content => &mut self.content,
            Change::Metadata => &mut self.metadata,
        }
    }
}

/// What is seen of one source.
pub(in crate::ops) struct Seen<'s> {
    pub counts: Counts,
    pub foreseen: &'s mut Foreseen,
    pub told: &'s mut Told<'s>,
    names: Arc<Names>,
}

impl<'s> Seen<'s> {
    pub fn of(
        (source, names): (&SourceRecord, &Arc<Names>),
        foreseen: &'s mut Foreseen,
        told: &'s mut Told<'s>,
    ) -> Self {
        let counts = Counts { source: source.name.to_string(), ..Counts::default() };
        Self { counts, foreseen, told, names: names.clone() }
    }

    /// An entry would come, and this stands there.
    pub fn entry(&mut self, entry: &Entry, found: Found) {
        let with_first = entry.link.as_ref().is_some_and(|first| self.names.is_anew(first));
        let after = (entry.kind == Kind::File).then_some(entry.size);
        match found {
            Found::Same if with_first => self.tell(&entry.path, Change::Content, (None, after)),
            Found::Same => self.counts.same += 1,
            Found::Metadata => self.tell(&entry.path, Change::Metadata, (after, after)),
            Found::Nothing => self.tell(&entry.path, Change::Added, (None, after)),
            Found::Other(before) => {
                self.names.renew(&entry.path);
                self.tell(&entry.path, Change::Content, (before, after));
            }
        }
    }

    pub fn removed(&mut self, path: &EntryPath, size: Option<u64>) {
        self.tell(path, Change::Removed, (size, None));
    }

    fn tell(&mut self, path: &EntryPath, change: Change, (size_before, size_after): (Option<u64>, Option<u64>)) {
        *self.counts.of(change) += 1;
        (self.told)(&self.counts.source, Difference { path: path.clone(), change, size_before, size_after });
    }

    pub fn note(&mut self, path: String, reason: String) {
        self.foreseen.note(path, reason);
    }

    /// What stands in the place of an entry, compared as a restore compares it. What would end badly is noted, and is
    /// nothing to be told.
    pub fn look(&mut self, target: Option<&Target>, entry: &Entry, library: &Library<'_>) -> Option<Found> {
        let Some(target) = target else { return Some(Found::Nothing) };
        let mut extents =
            extents::of_file(entry, library).map(|extent| extent.map_err(|error| Box::new(error) as Explained));
        match target.look(entry, &mut extents) {
            Ok(found) => Some(found),
            Err(error) => {
                self.note(entry.path.to_string(), one_line(&error));
                None
            }
        }
    }

    /// All of the source has been looked at.
    pub fn end(self, target: Option<&Target>) {
        for issue in target.map(Target::seal).unwrap_or_default() {
            self.foreseen.note(issue.path, issue.reason);
        }
        self.foreseen.sources.push(self.counts);
    }
}

/// What a restore into a folder would do there.
pub fn beside(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    request: &Request,
    told: &mut Told<'_>,
) -> Result<Foreseen, OpError> {
    let library = unlocked.library()?;
    let (jobs, absent) = plan(manifest, request)?;
    let issues_count = absent.len() as u64;
    let mut foreseen = Foreseen { issues: absent, issues_count, ..Foreseen::default() };
    for (number, job) in jobs.iter().enumerate() {
        let mut each = |source: &str, difference: Difference| told(source, difference);
        foresee(
            &library,
            manifest,
            (job, &jobs[..number], request),
            Seen::of((job.source, &job.names), &mut foreseen, &mut each),
        )?;
        for issue in spoken(unlocked, job)? {
            foreseen.note(issue.path, issue.reason);
        }
    }
    Ok(foreseen)
}

fn foresee(
    library: &Library<'_>,
    manifest: &Manifest,
    (job, earlier, request): (&Job<'_>, &[Job<'_>], &Request),
    mut seen: Seen<'_>,
) -> Result<(), OpError> {
    let target = Target::at(&job.to, Options { numeric_ids: request.numeric_ids, staged: false })?;
    let target = target.map(|target| target.sharing(&job.names.several));
    let target = target.as_ref();
    for folder in job.missing_above() {
        if let Some(folder) = find(job.source, &folder, library)? {
            seen.entry(&folder, Found::Nothing);
        }
    }
    let mut found = false;
    for entry in read::entries(&job.source.listing, &job.folder, library) {
        if request.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        found = true;
        match entry {
            Ok(entry) => {
                let entry = job.given(entry, earlier, library)?;
                foresee_entry(library, job, (target, entry), &mut seen)?;
            }
            Err(error) => seen.note(job.source.name.to_string(), one_line(&error)),
        }
    }
    job.must_be(found, manifest)?;
    seen.end(target);
    Ok(())
}

fn foresee_entry(
    library: &Library<'_>,
    job: &Job<'_>,
    (target, entry): (Option<&Target>, Entry),
    seen: &mut Seen<'_>,
) -> Result<(), OpError> {
    let original = entry.path.clone();
    if is_needless(job.source, &original, library)? {
        job.names.lose(&original);
        seen.note(original.to_string(), NEEDLESS.to_owned());
        return Ok(());
    }
    let entry = job.named(entry);
    if let Some((place, strangers)) = job.strangers((&entry, &original), target, library)? {
        if is_open_elsewhere(&place) {
            job.names.lose(&original);
            seen.note(entry.path.to_string(), IN_USE.to_owned());
            return Ok(());
        }
        for stranger in strangers {
            let there = fs::symlink_metadata(live_path(&job.to, &stranger)).ok();
            seen.removed(&stranger, there.map(|there| there.len()));
        }
    }
    match seen.look(target, &entry, library) {
        Some(found) => seen.entry(&entry, found),
        None => job.names.lose(&original),
    }
    Ok(())
}
