//! Files that belong to records: which they are, and how live data has them.

use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::base::entry::Entry;
use crate::base::name::Name;
use crate::base::path::{EntryPath, encode};
use crate::base::record::Key;
use crate::format::manifest::SourceRecord;
use crate::ops::actions::Touched;
use crate::ops::error::{OpError, Problem};
use crate::ops::recover::case::Kit;
use crate::ops::recover::going::{Done, Going};
use crate::ops::recover::pattern::Pattern;
use crate::ops::restore::ground::Ground;
use crate::ops::safety::place;
use crate::record::closure::{Closure, Why};
use crate::record::plan::{Act, Plan, Step};
use crate::source::files::root::{self, Absent};
use crate::source::files::target::Tree;
use crate::vault::read::Library;

/// A file that belongs to a record that comes back, or that is there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStep {
    pub source: Name,
    /// Where the source lives, without links, written as paths are.
    pub root: String,
    pub path: EntryPath,
    /// Its path in the snapshot, where its record has another key now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<EntryPath>,
    pub size: u64,
    #[serde(flatten)]
    pub act: FileAct,
    /// It was to come back and does not: nobody can tell its place under the new key of its record, or it is a database
    /// that files cannot give back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub missing: bool,
    /// The command that gives it back, where this does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// What stood there when the plan was made: its length and when it was written; nothing where nothing stood there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<String>,
}

impl FileStep {
    /// Does the same stand there as when the plan was made?
    pub fn is_unmoved(&self) -> bool {
        tree(&self.root).and_then(|tree| seen(&tree, &self.path)) == self.seen
    }
}

fn seen(tree: &Tree, path: &EntryPath) -> Option<String> {
    let there = tree.look(path).ok()??;
    Some(format!("{} bytes, {}.{:09}", there.st_size, there.st_mtime, there.st_mtime_nsec))
}

/// What lives below a root, reached without any link; nothing where the root is not there, or leads elsewhere by now.
pub(super) fn tree(root: &str) -> Option<Tree> {
    let root = place(root);
    root::open(&root, Absent::Fail).ok().map(|folder| Tree::new(folder, &root))
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "act")]
pub enum FileAct {
    /// It is not there, and comes back.
    Add,
    /// It is there with other bytes, and is replaced.
    Replace,
    /// It is there as the snapshot has it.
    Keep,
    Leave {
        why: String,
    },
}

impl FileAct {
    pub fn writes(&self) -> bool {
        matches!(self, Self::Add | Self::Replace)
    }
}

/// Where an entry of a source lives.
pub fn live(root: &str, path: &EntryPath) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let root = place(root);
    if path.is_root() { root } else { root.join(std::ffi::OsStr::from_bytes(path.as_bytes())) }
}

/// Finds the files of every record that comes back or is there, and how live data has them.
pub(super) fn plan(
    kit: &Kit<'_>,
    closure: &Closure,
    plan: &Plan,
    library: &Library<'_>,
) -> Result<Vec<FileStep>, OpError> {
    let mut steps = Vec::new();
    if kit.request.into.is_some() {
        // Another database has files of its own, and nobody said where.
        return Ok(steps);
    }
    // What others only need is not looked into, and what is another record now has files of its own.
    let belongs = |step: &&Step| {
        let there = matches!(step.act, Act::Insert | Act::Update { .. } | Act::Keep) || !step.differs.is_empty();
        there && !matches!(step.why, Why::Needed(_)) && step.taken.is_none()
    };
    let steps_of: Vec<&Step> = plan.steps.iter().filter(belongs).collect();
    let (moved, rows): (Vec<&Step>, Vec<&Step>) = steps_of.into_iter().partition(|step| step.into.is_some());
    let rows: Vec<(usize, &Key)> = rows.iter().map(|step| (step.table, &step.key)).collect();
    let mut homes = Homes { kit, known: BTreeMap::new() };
    for (record, entries) in of(kit, closure, &rows, library)? {
        for entry in entries {
            steps.push(homes.of(record)?.step(record, (entry, None), kit, library)?);
        }
    }
    for one in moved {
        for (record, entry, to) in renamed(kit, closure, one, library)? {
            let home = homes.of(record)?;
            steps.push(match to {
                Some(to) => home.step(record, (entry, Some(to)), kit, library)?,
                None => home.nowhere(record, entry),
            });
        }
    }
    steps.sort_by(|one, other| (&one.source, &one.path).cmp(&(&other.source, &other.path)));
    steps.dedup_by(|one, other| (&one.source, &one.path) == (&other.source, &other.path));
    Ok(steps)
}

/// Where sources live, each looked up once.
struct Homes<'k> {
    kit: &'k Kit<'k>,
    known: BTreeMap<&'k Name, Home>,
}

/// Where a source lives, without links, and what is there.
struct Home {
    root: String,
    tree: Option<Tree>,
}

impl<'k> Homes<'k> {
    fn of(&mut self, record: &'k SourceRecord) -> Result<&Home, OpError> {
        Ok(match self.known.entry(&record.name) {
            btree_map::Entry::Occupied(known) => known.into_mut(),
            btree_map::Entry::Vacant(fresh) => fresh.insert(Home::of(self.kit, record)?),
        })
    }
}

impl Home {
    fn of(kit: &Kit<'_>, record: &SourceRecord) -> Result<Self, OpError> {
        let root = kit.request.places.root(kit.manifest, record, &kit.request.configured)?;
        let (source, kind, path) = (record.name.clone(), record.kind.clone(), EntryPath::root());
        let part = Touched { source, kind, root, path, swap: None };
        let root = encode(Ground::of(&part, record, false)?.root.as_os_str().as_encoded_bytes());
        let tree = tree(&root);
        Ok(Self { root, tree })
    }

    /// What is done with one file, and with one that gets another path.
    fn step(
        &self,
        record: &SourceRecord,
        (entry, to): (Entry, Option<EntryPath>),
        kit: &Kit<'_>,
        library: &Library<'_>,
    ) -> Result<FileStep, OpError> {
        let path = to.clone().unwrap_or_else(|| entry.path.clone());
        let Done { act, missing, hint } =
            Going { entry: &entry, record, path: &path, kit, library }.done(self.tree.as_ref())?;
        let seen = self.tree.as_ref().and_then(|tree| seen(tree, &path));
        let from = to.map(|_| entry.path.clone());
        let (source, root) = (record.name.clone(), self.root.clone());
        Ok(FileStep { source, root, path, from, size: entry.size, act, missing, hint, seen })
    }

    /// A file whose place under the new key of its record nobody can tell.
    fn nowhere(&self, record: &SourceRecord, entry: Entry) -> FileStep {
        let why = "its record has a new key, and its place below that is not known: take it out with restore --to";
        let (source, root, act) = (record.name.clone(), self.root.clone(), FileAct::Leave { why: why.to_owned() });
        let (missing, hint) = (true, None);
        FileStep { source, root, path: entry.path, from: None, size: entry.size, act, missing, hint, seen: None }
    }
}

/// A file of a source, and its path under a new key.
type Renamed<'k> = (&'k SourceRecord, Entry, Option<EntryPath>);

/// The files of a record that has another key now, each with its path under that.
fn renamed<'k>(
    kit: &Kit<'k>,
    closure: &Closure,
    step: &Step,
    library: &Library<'_>,
) -> Result<Vec<Renamed<'k>>, OpError> {
    let table = &kit.graph.tables[step.table];
    let mut found = Vec::new();
    let Some((_, entity)) = kit.model.entity_of(&table.name) else { return Ok(found) };
    let Some(member) = closure.members[step.table].get(&step.key) else { return Ok(found) };
    for linked in &entity.files {
        let was = |name: &str| {
            let column = kit.graph.column(step.table, name)?;
            Ok(kit.graph.tied(step.table, &member.ties, &[column]).remove(0))
        };
        let now = |name: &str| {
            let column = kit.graph.column(step.table, name)?;
            match table.key.iter().position(|at| *at == column) {
                Some(part) => Ok(step.live_key()[part].clone()),
                None => was(name),
            }
        };
        let (Some(old), Some(new)) = (Pattern::of(linked, was)?, Pattern::of(linked, now)?) else { continue };
        let Some(record) = kit.manifest.sources.iter().find(|record| record.name == linked.source) else { continue };
        let mut entries = BTreeMap::new();
        old.entries(record, library, &mut entries)?;
        let below = |path: &EntryPath| old.moved(&new, path);
        found.extend(entries.into_values().map(|entry| {
            let to = below(&entry.path);
            (record, entry, to)
        }));
    }
    Ok(found)
}

/// The files of every row of a closure, by their source.
pub(super) fn of_closure<'k>(
    kit: &Kit<'k>,
    closure: &Closure,
    library: &Library<'_>,
) -> Result<Vec<(&'k SourceRecord, Vec<Entry>)>, OpError> {
    let members = closure.members.iter().enumerate();
    let rows: Vec<(usize, &Key)> = members.flat_map(|(table, rows)| rows.keys().map(move |key| (table, key))).collect();
    of(kit, closure, &rows, library)
}

/// The files of some rows, by their source.
fn of<'k>(
    kit: &Kit<'k>,
    closure: &Closure,
    rows: &[(usize, &Key)],
    library: &Library<'_>,
) -> Result<Vec<(&'k SourceRecord, Vec<Entry>)>, OpError> {
    let mut patterns: BTreeMap<&Name, BTreeSet<Pattern>> = BTreeMap::new();
    for (table, key) in rows {
        let Some((_, entity)) = kit.model.entity_of(&kit.graph.tables[*table].name) else { continue };
        let Some(member) = closure.members[*table].get(*key) else { continue };
        for linked in &entity.files {
            let value = |name: &str| {
                let column = kit.graph.column(*table, name)?;
                Ok(kit.graph.tied(*table, &member.ties, &[column]).remove(0))
            };
            patterns.entry(&linked.source).or_default().extend(Pattern::of(linked, value)?);
        }
    }
    let mut found = Vec::new();
    for (source, patterns) in patterns {
        let Some(record) = kit.manifest.sources.iter().find(|record| record.name == *source) else {
            let snapshot = kit.manifest.id.short();
            let names = kit.manifest.sources.iter().map(|record| record.name.to_string()).collect();
            return Err(Problem::NoSource { snapshot, source_name: source.to_string(), sources: names }.into());
        };
        let mut entries = BTreeMap::new();
        for pattern in patterns {
            pattern.entries(record, library, &mut entries)?;
        }
        found.push((record, entries.into_values().collect()));
    }
    Ok(found)
}
