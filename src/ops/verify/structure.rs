//! With keys: does every reference resolve, and on request, is every byte what it was?

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::id::{PlainDigest, SealedDigest};
use crate::base::name::ObjectKey;
use crate::format::error::FormatError;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::ops::error::{OpError, Problem};
use crate::ops::verify::{Checked, Damage, Depth, Report, harm};
use crate::vault::check::{Census, Checker};
use crate::vault::error::VaultError;
use crate::vault::extents;
use crate::vault::read::{self, ChunkReader, Library};
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

pub(super) fn verify(
    vault: &UnlockedVault,
    only: Option<&Snapshot>,
    depth: Depth,
    control: &Arc<Control>,
) -> Result<Report, OpError> {
    let census = Census::take(vault)?;
    let mut check = Check::new(vault, &census, control);
    let snapshots = check.manifests(only)?;
    check.packs_are_there();
    for snapshot in &snapshots {
        check.references(snapshot)?;
    }
    if let Depth::Data { sample } = depth {
        check.data(sample, only.is_some())?;
    }
    check.finish(&snapshots)
}

struct Check<'a> {
    vault: &'a UnlockedVault,
    census: &'a Census,
    library: Library<'a>,
    control: &'a Arc<Control>,
    report: Report,
    /// What is wrong with each object, and which chunks are lost with it.
    findings: BTreeMap<ObjectKey, String>,
    lost: BTreeMap<ObjectKey, HashSet<PlainDigest>>,
    /// Packs of which nothing can be counted on: gone, or of another length and not read.
    whole: BTreeSet<SealedDigest>,
    /// Listing chunks that were looked through: snapshots share most of them.
    seen: HashSet<PlainDigest>,
    /// Packs that what was looked through needs.
    needed: HashSet<SealedDigest>,
}

impl<'a> Check<'a> {
    fn new(vault: &'a UnlockedVault, census: &'a Census, control: &'a Arc<Control>) -> Self {
        let (findings, lost, whole) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (seen, needed) = (HashSet::new(), HashSet::new());
        let library = census.library(vault);
        let report = Report::default();
        let mut check = Self { vault, census, library, control, report, findings, lost, whole, seen, needed };
        let total = census.catalogs as u64;
        check.report.catalogs = Checked { checked: total, total, bytes: census.catalog_bytes };
        for (object, error) in &census.damaged {
            check.findings.insert(object.clone(), describe(error));
        }
        check
    }

    /// Reads all manifests; what they say of keys and of each other must be so.
    fn manifests(&mut self, only: Option<&Snapshot>) -> Result<Vec<Snapshot>, OpError> {
        let all = self.vault.snapshots_of(&self.census.manifests)?;
        for (object, error) in all.damaged {
            self.findings.insert(object, describe(&error));
        }
        let names: HashSet<String> = self.census.manifests.iter().map(|key| key.to_string()).collect();
        let keys: HashSet<String> = self.census.keys.iter().map(|key| key.to_string()).collect();
        let snapshots = only.map_or(all.readable.clone(), |only| vec![only.clone()]);
        for Snapshot { manifest, .. } in &all.readable {
            for missing in manifest.previous.iter().filter(|name| !names.contains(*name)) {
                self.missing(missing, manifest);
            }
            for missing in manifest.keys.iter().filter(|name| !keys.contains(*name)) {
                self.missing(missing, manifest);
            }
        }
        if let Some(last) = self.census.last_commit.as_ref().filter(|key| !names.contains(key.as_str())) {
            self.findings.insert(last.clone(), "it is gone; this host committed it".to_owned());
        }
        let total = self.census.manifests.len() as u64;
        self.report.snapshots = Checked { checked: snapshots.len() as u64, total, bytes: 0 };
        let total = self.census.keys.len() as u64;
        self.report.keys = Checked { checked: total, total, bytes: 0 };
        Ok(snapshots)
    }

    fn missing(&mut self, name: &str, manifest: &Manifest) {
        if let Ok(object) = name.parse::<ObjectKey>() {
            let what = format!("it is gone; snapshot {} knew of it", manifest.id.short());
            self.findings.insert(object, what);
        }
    }

    /// Every pack that a catalog names is there and as long as it was.
    fn packs_are_there(&mut self) {
        let named = self.library.packs();
        for (digest, size) in &named {
            let object = layout::pack(*digest);
            let what = match self.census.packs.get(digest) {
                Some(there) if there == size => continue,
                Some(there) => format!("it has {there} bytes instead of {size}"),
                None => "it is gone".to_owned(),
            };
            self.findings.insert(object, what);
            self.whole.insert(*digest);
        }
        let known: HashSet<SealedDigest> = named.iter().map(|(digest, _)| *digest).collect();
        self.report.unreferenced = self.census.packs.keys().filter(|digest| !known.contains(*digest)).count() as u64;
        let bytes = named.iter().map(|(_, size)| *size).fold(0, u64::saturating_add);
        self.report.packs = Checked { checked: 0, total: named.len() as u64, bytes };
    }

    /// Every chunk that a snapshot's listings and entries name is in a catalog.
    fn references(&mut self, snapshot: &Snapshot) -> Result<(), OpError> {
        let library = self.census.library(self.vault);
        let mut reader = library.reader();
        let mut unresolved = Unresolved::default();
        for source in &snapshot.manifest.sources {
            for extent in extents::of_listing(&source.listing, &library) {
                if self.control.stopped() {
                    return Err(Problem::Interrupted.into());
                }
                match extent {
                    Ok(extent) => self.listing_chunk(&extent, &library, &mut reader, &mut unresolved),
                    Err(error) => unresolved.note(&error),
                }
            }
        }
        if unresolved.count > 0 {
            let what = format!("{} of its references do not resolve, first: {}", unresolved.count, unresolved.first);
            self.findings.insert(snapshot.key.clone(), what);
        }
        Ok(())
    }

    fn listing_chunk(
        &mut self,
        extent: &Extent,
        library: &Library<'_>,
        reader: &mut ChunkReader<'_>,
        unresolved: &mut Unresolved,
    ) {
        let Some(digest) = extent.chunk else { return };
        self.resolve(&digest, library, unresolved);
        if !self.seen.insert(digest) {
            return;
        }
        let before = unresolved.count;
        self.lines(extent, library, reader, unresolved);
        if unresolved.count > before {
            // The next snapshot that shares it is to be told as well.
            self.seen.remove(&digest);
        }
    }

    fn lines(
        &mut self,
        extent: &Extent,
        library: &Library<'_>,
        reader: &mut ChunkReader<'_>,
        unresolved: &mut Unresolved,
    ) {
        let lines = match reader.extent(extent) {
            Ok(lines) => lines.unwrap_or_default(),
            Err(error) => return unresolved.note(&error),
        };
        let Some(lines) = lines.strip_suffix(b"\n") else {
            let source = FormatError::malformed("a listing", "a part of it ends within a line");
            return unresolved.note(&VaultError::Listing { source });
        };
        let mut last = None;
        for line in lines.split(|&b| b == b'\n') {
            let entry = match read::next_entry(line, &mut last) {
                Ok(entry) => entry,
                Err(error) => return unresolved.note(&error),
            };
            self.control.items.add(1);
            self.content(&entry, library, unresolved);
        }
    }

    fn content(&mut self, entry: &Entry, library: &Library<'_>, unresolved: &mut Unresolved) {
        if entry.kind != Kind::File || entry.link.is_some() {
            return;
        }
        for extent in extents::of_file(entry, library) {
            match extent {
                Ok(extent) => extent.chunk.iter().for_each(|chunk| self.resolve(chunk, library, unresolved)),
                Err(error) => unresolved.note(&error),
            }
        }
    }

    fn resolve(&mut self, digest: &PlainDigest, library: &Library<'_>, unresolved: &mut Unresolved) {
        match library.find(digest) {
            Ok(location) => drop(self.needed.insert(location.pack)),
            Err(error) => {
                self.lost.entry(layout::vault_file()).or_default().insert(*digest);
                unresolved.note(&error);
            }
        }
    }

    /// Reads packs whole: of all, of what one snapshot needs, or of the part whose turn it is.
    fn data(&mut self, sample: Option<f64>, needed_only: bool) -> Result<(), OpError> {
        let mut packs: BTreeSet<SealedDigest> = self.library.packs().into_iter().map(|(digest, _)| digest).collect();
        if needed_only {
            packs.retain(|digest| self.needed.contains(digest));
        }
        packs.retain(|digest| self.census.packs.contains_key(digest));
        let checker = Checker::new(self.vault, self.control);
        let chosen = match sample {
            Some(percent) => checker.next_sample(&packs, percent)?,
            None => packs,
        };
        let sizes: HashMap<SealedDigest, u64> = self.library.packs().into_iter().collect();
        let bytes = chosen.iter().filter_map(|digest| sizes.get(digest)).copied().fold(0, u64::saturating_add);
        self.control.bytes_expected.set(bytes);
        self.control.items_expected.set(chosen.len() as u64);
        let outcome = checker.read_packs(&chosen)?;
        if self.control.stopped() {
            return Err(Problem::Interrupted.into());
        }
        self.report.packs.checked = outcome.checked;
        // What they lost is known exactly now.
        self.whole.retain(|digest| !chosen.contains(digest));
        for bad in outcome.bad {
            self.findings.insert(bad.object.clone(), bad.what);
            self.lost.insert(bad.object, bad.lost);
        }
        checker.keep_sample()?;
        Ok(())
    }

    fn finish(mut self, snapshots: &[Snapshot]) -> Result<Report, OpError> {
        if !self.whole.is_empty() {
            Checker::new(self.vault, self.control).each_pack(|pack| {
                if self.whole.contains(&pack.digest) {
                    let lost = self.lost.entry(layout::pack(pack.digest)).or_default();
                    lost.extend(pack.places().map(|(digest, _)| digest));
                }
            })?;
        }
        let manifests: Vec<Manifest> = snapshots.iter().map(|snapshot| snapshot.manifest.clone()).collect();
        let mut harmed = harm::find(&self.library, &manifests, &self.lost);
        // References that resolve nowhere are the manifest's damage: it is the object that has them.
        let unresolved = harmed.remove(&layout::vault_file()).unwrap_or_default();
        for (object, what) in self.findings {
            let own = snapshots.iter().find(|snapshot| snapshot.key == object).map(|snapshot| snapshot.manifest.id);
            let from_unresolved = unresolved.iter().filter(|harmed| Some(harmed.snapshot) == own).cloned();
            let mut harmed = harmed.remove(&object).unwrap_or_default();
            harmed.extend(from_unresolved);
            self.report.damage.push(Damage { object, what, harmed });
        }
        Ok(self.report)
    }
}

#[derive(Default)]
struct Unresolved {
    count: u64,
    first: String,
}

impl Unresolved {
    fn note(&mut self, error: &VaultError) {
        if self.count == 0 {
            self.first = describe(error);
        }
        self.count += 1;
    }
}

/// An error with its cause, on one line.
fn describe(error: &VaultError) -> String {
    match std::error::Error::source(error) {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}
