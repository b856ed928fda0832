//! What is given back of which source, where to, and what the snapshot has nothing of.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::capture::Skip;
use crate::base::entry::{Entry, Kind};
use crate::base::path::{self, EntryPath};
use crate::base::text::counted;
use crate::format::manifest::{Manifest, SourceRecord};
use crate::ops::error::{OpError, Problem};
use crate::ops::restore::names::Names;
use crate::ops::restore::{Issue, Request, live, server};
use crate::ops::show::{self, Part};
use crate::vault::read::Library;

/// A source, and what of it.
pub(super) type Wanted<'m> = (&'m SourceRecord, EntryPath);

pub(in crate::ops) struct Job<'m> {
    pub source: &'m SourceRecord,
    pub folder: EntryPath,
    pub to: PathBuf,
    /// What a source that is one file is called in the folder.
    pub name: EntryPath,
    /// What becomes of the names of its source, in all that is given back of it.
    pub names: Arc<Names>,
}

impl<'m> Job<'m> {
    pub fn of(source: &'m SourceRecord, folder: EntryPath, to: PathBuf) -> Self {
        Self { source, folder, to, name: own_name(source, &source.root), names: Arc::default() }
    }

    /// The folders above what is restored that are not there, the outermost first.
    pub fn missing_above(&self) -> Vec<EntryPath> {
        let above = std::iter::successors(self.folder.parent(), EntryPath::parent);
        let is_missing = |folder: &EntryPath| std::fs::symlink_metadata(live::live_path(&self.to, folder)).is_err();
        let mut missing: Vec<EntryPath> = above.take_while(is_missing).collect();
        missing.reverse();
        missing
    }

    /// What is asked for and not in the snapshot is an error.
    pub fn must_be(&self, found: bool, manifest: &Manifest) -> Result<(), OpError> {
        let is_empty = self.folder.is_root() && self.source.entries == 0;
        if found || is_empty {
            return Ok(());
        }
        let (snapshot, source_name) = (manifest.id.short(), self.source.name.to_string());
        Err(Problem::NoPath { snapshot, source_name, path: self.folder.to_string() }.into())
    }

    /// A source that is one file has only a root: in the folder restored into, it goes by its own name.
    pub fn named(&self, entry: Entry) -> Entry {
        if !entry.path.is_root() || entry.kind == Kind::Dir {
            return entry;
        }
        Entry { path: self.name.clone(), ..entry }
    }

    /// The entry as it is to be given back: linked to what this job, or an `earlier` one of the same source, gives back.
    pub fn given(&self, entry: Entry, earlier: &[Job<'_>], library: &Library<'_>) -> Result<Entry, OpError> {
        let is_here = |first: &EntryPath| {
            let others = earlier.iter().filter(|job| job.source.name == self.source.name).map(|job| &job.folder);
            Ok(others.chain([&self.folder]).any(|folder| first.is_within(folder)))
        };
        self.names.given(entry, (self.source, library), is_here)
    }
}

/// What is to be done, and what the snapshot has nothing of. That is an error where it is all that was asked for.
pub(super) fn plan<'m>(manifest: &'m Manifest, request: &Request) -> Result<(Vec<Job<'m>>, Vec<Issue>), OpError> {
    let everything = || manifest.sources.iter().map(|source| (source, EntryPath::root())).collect();
    let chosen: Vec<Wanted<'m>> = if request.parts.is_empty() {
        everything()
    } else {
        let resolve = |part: &Part| Ok((part.source_of(manifest)?, part.path.clone()));
        request.parts.iter().map(resolve).collect::<Result<_, OpError>>()?
    };
    let several = chosen.iter().any(|(source, _)| source.name != chosen[0].0.name);
    for (source, _) in &chosen {
        if !["files", "postgres", "sqlite"].contains(&source.kind.as_str()) {
            let (source_name, kind) = (source.name.to_string(), source.kind.clone());
            return Err(Problem::Kind { source_name, kind, verb: "restore" }.into());
        }
    }
    let (there, absent) = parted(manifest, chosen, !request.parts.is_empty())?;
    let place = |source: &SourceRecord| {
        if several { request.to.join(source.name.as_str()) } else { request.to.clone() }
    };
    let mut jobs: Vec<Job<'m>> = Vec::new();
    for (source, folder) in there {
        let mut job = Job::of(source, folder, place(source));
        if let Some(other) = jobs.iter().find(|other| other.source.name == source.name) {
            job.names = other.names.clone();
        }
        jobs.push(job);
    }
    Ok((jobs, absent))
}

/// Parts what a snapshot has from what it has nothing of, and names what else of it was not captured. That is an error where it
/// is everything. A source that had lost everything is given back so only if it was `named`.
pub(super) fn parted<'m>(
    manifest: &'m Manifest,
    wanted: Vec<Wanted<'m>>,
    named: bool,
) -> Result<(Vec<Wanted<'m>>, Vec<Issue>), OpError> {
    let absence = |source: &SourceRecord| {
        let absence = manifest.absence(source);
        if named { absence } else { absence.or_else(|| manifest.emptied(source)) }
    };
    let is_nothing = |(source, path): &Wanted<'_>| source.entries == 0 && path.is_root();
    let has_nothing = |wanted: &Wanted<'_>| is_nothing(wanted) || absence(wanted.0).is_some();
    let (nothing, there): (Vec<_>, Vec<_>) = wanted.into_iter().partition(has_nothing);
    // A source that was meant to be empty is given back as it was: there is nothing to do.
    let absent = nothing.iter().filter_map(|(source, _)| Some((*source, absence(source)?)));
    let absent: Vec<(&SourceRecord, String)> = absent.collect();
    match &absent[..] {
        [(source, why), ..] if there.is_empty() => Err(show::not_captured(manifest, source, why.clone())),
        _ => {
            let issue = |(source, reason): (&SourceRecord, String)| Issue { path: source.name.to_string(), reason };
            let mut issues: Vec<Issue> = absent.into_iter().map(issue).collect();
            there.iter().for_each(|wanted| issues.extend(skipped(wanted)));
            Ok((there, issues))
        }
    }
}

/// What of a part was not captured as it should have been. Damage is captured, and told as such.
pub(super) fn skipped((source, part): &Wanted<'_>) -> Vec<Issue> {
    // What a configuration asked for in vain is nothing of the source.
    let is_pattern = |skip: &&Skip| source.kind == server::KIND && ["schemas", "tables"].contains(&&*skip.path);
    let is_asked_for = |skip: &&Skip| {
        let skipped = path::decode(&skip.path).and_then(|bytes| EntryPath::from_bytes(&bytes).ok());
        part.is_root() || skipped.is_some_and(|skipped| skipped.is_within(part))
    };
    let asked_for = source.skipped.iter().filter(|skip| !skip.damage && !is_pattern(skip)).filter(is_asked_for);
    let issue = |skip: &Skip| {
        let path = format!("{}/{}", source.name, skip.path);
        Issue { path, reason: format!("when it was captured: {}", skip.reason) }
    };
    let mut issues: Vec<Issue> = asked_for.map(issue).collect();
    let unnamed = source.skipped_count.saturating_sub(source.skipped.len() as u64);
    if unnamed > 0 {
        let reason = format!("{} more could not be captured, whose names are not known", counted(unnamed, "item"));
        issues.push(Issue { path: source.name.to_string(), reason });
    }
    issues
}

/// What a source that is one file is called: as at its root, or as the source.
pub(super) fn own_name(source: &SourceRecord, root: &str) -> EntryPath {
    let root = path::decode(root).unwrap_or_default();
    let last = root.rsplit(|&b| b == b'/').next().and_then(|name| EntryPath::from_bytes(name).ok());
    let own = last.map(|name| name.file_name().to_vec()).filter(|name| !name.is_empty());
    EntryPath::root().child(&own.unwrap_or_else(|| source.name.as_str().as_bytes().to_vec()))
}
