//! Whom damage harms: from lost chunks back to snapshots and paths.

use std::collections::{BTreeMap, HashSet};

use serde::Serialize;

use crate::base::id::{PlainDigest, SnapshotId};
use crate::base::name::ObjectKey;
use crate::base::path::EntryPath;
use crate::format::manifest::Manifest;
use crate::vault::extents;
use crate::vault::read::{self, Library};

/// What one snapshot loses with an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Harmed {
    pub snapshot: SnapshotId,
    /// `source/path`; the first few.
    pub paths: Vec<String>,
    pub paths_count: u64,
}

/// So many paths are named per snapshot; all are counted.
const NAMED: usize = 20;

/// Goes through every listing once and says which entries need a lost chunk.
pub fn find(
    library: &Library<'_>,
    manifests: &[Manifest],
    lost: &BTreeMap<ObjectKey, HashSet<PlainDigest>>,
) -> BTreeMap<ObjectKey, Vec<Harmed>> {
    let mut harmed: BTreeMap<ObjectKey, Vec<Harmed>> = BTreeMap::new();
    if lost.is_empty() {
        return harmed;
    }
    for manifest in manifests {
        for source in &manifest.sources {
            for extent in extents::of_listing(&source.listing, library).flatten() {
                let first = extent.first.clone().unwrap_or_default();
                for object in extent.chunk.iter().flat_map(|chunk| losers(lost, chunk)) {
                    add(&mut harmed, object, manifest, format!("{}: the listing from {first} on", source.name));
                }
            }
            for entry in read::entries(&source.listing, &EntryPath::root(), library).flatten() {
                let extents = extents::of_file(&entry, library).flatten();
                let objects: HashSet<&ObjectKey> =
                    extents.filter_map(|extent| extent.chunk).flat_map(|chunk| losers(lost, &chunk)).collect();
                for object in objects {
                    add(&mut harmed, object, manifest, format!("{}/{}", source.name, entry.path));
                }
            }
        }
    }
    harmed
}

fn losers<'l>(
    lost: &'l BTreeMap<ObjectKey, HashSet<PlainDigest>>,
    chunk: &PlainDigest,
) -> impl Iterator<Item = &'l ObjectKey> + use<'l> {
    let chunk = *chunk;
    lost.iter().filter(move |(_, chunks)| chunks.contains(&chunk)).map(|(object, _)| object)
}

fn add(harmed: &mut BTreeMap<ObjectKey, Vec<Harmed>>, object: &ObjectKey, manifest: &Manifest, path: String) {
    let list = harmed.entry(object.clone()).or_default();
    if list.last().is_none_or(|last| last.snapshot != manifest.id) {
        list.push(Harmed { snapshot: manifest.id, paths: Vec::new(), paths_count: 0 });
    }
    let last = list.last_mut().expect("BUG: just made");
    last.paths_count += 1;
    if last.paths.len() < NAMED {
        last.paths.push(path);
    }
}
