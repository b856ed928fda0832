//! With keys: does every reference resolve, and on request, is every byte what it was?

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use crate::base::control::Control;
use crate::base::entry::{Entry, Extent, Kind};
use crate::base::error::one_line;
use crate::base::id::{PlainDigest, SealedDigest};
use crate::base::name::ObjectKey;
use crate::base::path::EntryPath;
use crate::format::error::FormatError;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::ops::error::{OpError, Problem};
use crate::ops::verify::{Checked, Damage, Depth, Report, harm};
use crate::vault::check::{Census, Checker, Misplaced, Said};
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
    /// Those of them that are not there, or that only miss what is not there.
    missing: HashSet<ObjectKey>,
    lost: BTreeMap<ObjectKey, HashSet<PlainDigest>>,
    /// Packs of which nothing can be counted on: gone, or of another length and not read.
    whole: BTreeSet<SealedDigest>,
    /// Parts of listings that were looked through and are sound: snapshots share most of them.
    seen: HashMap<Part, Arc<Ends>>,
    /// Packs that what was looked through needs.
    needed: HashSet<SealedDigest>,
    /// Packs that were read whole.
    read: BTreeSet<SealedDigest>,
    /// Chunks that are not in packs that some catalog says they are in.
    misplaced: Misplaced,
    /// Packs that are as long as one catalog says, and of which another says something else.
    misnamed: HashSet<SealedDigest>,
}

/// A part of a listing: its chunk, and where in it.
type Part = (PlainDigest, u64, u64);

/// The first and the last path of a part of a listing.
struct Ends {
    first: EntryPath,
    last: EntryPath,
}

impl<'a> Check<'a> {
    fn new(vault: &'a UnlockedVault, census: &'a Census, control: &'a Arc<Control>) -> Self {
        let (findings, lost, whole) = (BTreeMap::new(), BTreeMap::new(), BTreeSet::new());
        let (seen, needed, read) = (HashMap::new(), HashSet::new(), BTreeSet::new());
        let library = census.library(vault);
        let report = Report::default();
        let (misplaced, misnamed, missing) = (Misplaced::new(), HashSet::new(), HashSet::new());
        let mut check = Self {
            vault,
            census,
            library,
            control,
            report,
            findings,
            missing,
            lost,
            whole,
            seen,
            needed,
            read,
            misplaced,
            misnamed,
        };
        let total = census.catalogs as u64;
        check.report.catalogs = Checked { checked: total, total, bytes: census.catalog_bytes };
        for (object, error) in &census.damaged {
            check.findings.insert(object.clone(), one_line(error));
        }
        check
    }

    /// Reads all manifests; what they say of keys and of each other must be so.
    fn manifests(&mut self, only: Option<&Snapshot>) -> Result<Vec<Snapshot>, OpError> {
        let all = self.vault.snapshots_of(&self.census.manifests)?;
        for (object, error) in all.damaged {
            self.findings.insert(object, one_line(&error));
        }
        self.report.newer = all.newer.into_iter().map(|(object, _)| object).collect();
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
        let is_gone = |object: &&ObjectKey| !names.contains(object.as_str()) && !keys.contains(object.as_str());
        for object in self.census.known.expected().iter().filter(is_gone) {
            self.missing.insert(object.clone());
            self.findings.insert(object.clone(), known(object));
        }
        let total = self.census.manifests.len() as u64;
        self.report.snapshots = Checked { checked: snapshots.len() as u64, total, bytes: 0 };
        let total = self.census.keys.len() as u64;
        self.report.keys = Checked { checked: total, total, bytes: 0 };
        Ok(snapshots)
    }

    fn missing(&mut self, name: &str, manifest: &Manifest) {
        if let Some(object) = name.parse().ok().filter(|object| !self.census.known.is_accepted(object)) {
            let what = format!("it is not there; snapshot {} knew of it", manifest.id.short());
            self.missing.insert(object.clone());
            self.findings.insert(object, what);
        }
    }

    /// Every pack that a catalog names is there and as long as it was.
    fn packs_are_there(&mut self) {
        let named = self.library.packs();
        let fits = |(digest, size): &&(SealedDigest, u64)| self.census.packs.get(digest) == Some(size);
        let fitting: HashSet<SealedDigest> = named.iter().filter(fits).map(|(digest, _)| *digest).collect();
        for (digest, size) in &named {
            let object = layout::pack(*digest);
            let what = match self.census.packs.get(digest) {
                Some(there) if there == size => continue,
                // Some catalog is wrong, and takes no other along. Reading data tells which.
                Some(there) if fitting.contains(digest) => {
                    self.misnamed.insert(*digest);
                    self.findings.insert(object, format!("a catalog says that it has {size} bytes; it has {there}"));
                    continue;
                }
                Some(there) => format!("it has {there} bytes instead of {size}"),
                None => {
                    self.missing.insert(object.clone());
                    "it is not there".to_owned()
                }
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
            let mut last = None;
            for extent in extents::of_listing(&source.listing, &library) {
                if self.control.stopped() {
                    return Err(Problem::Interrupted.into());
                }
                match extent {
                    Ok(extent) => self.listing_part(&extent, &mut last, &mut reader, &mut unresolved),
                    Err(error) => unresolved.note(&error),
                }
            }
        }
        if unresolved.count > 0 {
            let what = format!("{} of its references do not resolve, first: {}", unresolved.count, unresolved.first);
            if unresolved.absent == unresolved.count {
                self.missing.insert(snapshot.key.clone());
            }
            self.findings.insert(snapshot.key.clone(), what);
        }
        Ok(())
    }

    /// Looks through a part of a listing, unless another snapshot's listing had it; `last` is the path before it.
    fn listing_part(
        &mut self,
        extent: &Extent,
        last: &mut Option<EntryPath>,
        reader: &mut ChunkReader<'_>,
        unresolved: &mut Unresolved,
    ) {
        let Some(digest) = extent.chunk else {
            return unresolved.note(&listing_error("a part of it is a hole"));
        };
        self.resolve(&digest, reader.library(), unresolved);
        let part = (digest, extent.offset, extent.length);
        let ends = match self.seen.get(&part) {
            Some(ends) => ends.clone(),
            None => {
                let before = unresolved.count;
                let Some(ends) = self.lines(extent, reader, unresolved).map(Arc::new) else { return };
                if unresolved.count == before {
                    // Otherwise the next snapshot that shares it is to be told as well.
                    self.seen.insert(part, ends.clone());
                }
                ends
            }
        };
        if last.as_ref().is_some_and(|last| *last >= ends.first) {
            unresolved.note(&listing_error(&format!("{} is not in its place", ends.first)));
        }
        if extent.first.as_ref().is_some_and(|first| first.parse().ok().as_ref() != Some(&ends.first)) {
            unresolved.note(&listing_error(&format!("the part from {} on is said to begin elsewhere", ends.first)));
        }
        *last = Some(ends.last.clone());
    }

    /// Goes through the lines of a part. `None` where they cannot be read to their end.
    fn lines(&mut self, extent: &Extent, reader: &mut ChunkReader<'_>, unresolved: &mut Unresolved) -> Option<Ends> {
        let lines = reader.extent(extent).map_err(|error| unresolved.note(&error)).ok()?.unwrap_or_default();
        let Some(lines) = lines.strip_suffix(b"\n") else {
            unresolved.note(&listing_error("a part of it ends within a line"));
            return None;
        };
        let (mut first, mut last) = (None, None);
        for line in lines.split(|&b| b == b'\n') {
            let entry = read::next_entry(line, &mut last).map_err(|error| unresolved.note(&error)).ok()?;
            self.control.items.add(1);
            self.content(&entry, reader.library(), unresolved);
            first.get_or_insert(entry.path);
        }
        Some(Ends { first: first?, last: last? })
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
            Some(percent) => checker.next_sample(&packs, percent),
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
        for digest in self.misnamed.iter().filter(|digest| chosen.contains(*digest)) {
            self.findings.remove(&layout::pack(*digest));
        }
        for bad in outcome.bad {
            self.findings.insert(bad.object.clone(), bad.what);
            self.lost.entry(bad.object).or_default().extend(bad.lost);
        }
        for (catalog, (what, misplaced)) in outcome.false_catalogs {
            let lost = self.lost.entry(layout::catalog(catalog)).or_default();
            lost.extend(misplaced.iter().map(|(_, chunk)| *chunk));
            self.findings.insert(layout::catalog(catalog), what);
            self.misplaced.extend(misplaced);
        }
        checker.keep_sample();
        self.read = chosen;
        Ok(())
    }

    fn finish(mut self, snapshots: &[Snapshot]) -> Result<Report, OpError> {
        if !self.whole.is_empty() {
            Checker::new(self.vault, self.control).each_pack(|Said { pack, .. }| {
                if self.whole.contains(&pack.digest) {
                    let lost = self.lost.entry(layout::pack(pack.digest)).or_default();
                    lost.extend(pack.places().map(|(digest, _)| digest));
                }
            })?;
        }
        self.note_doubts()?;
        let had_losses: HashSet<ObjectKey> =
            self.lost.iter().filter(|(_, lost)| !lost.is_empty()).map(|(object, _)| object.clone()).collect();
        self.forgive_what_is_elsewhere()?;
        let manifests: Vec<Manifest> = snapshots.iter().map(|snapshot| snapshot.manifest.clone()).collect();
        let mut harmed = harm::find(&self.library, &manifests, &self.lost);
        // References that resolve nowhere are the manifest's damage: it is the object that has them.
        let unresolved = harmed.remove(&layout::vault_file()).unwrap_or_default();
        for (object, what) in self.findings {
            let own = snapshots.iter().find(|snapshot| snapshot.key == object).map(|snapshot| snapshot.manifest.id);
            let from_unresolved = unresolved.iter().filter(|harmed| Some(harmed.snapshot) == own).cloned();
            let mut harmed = harmed.remove(&object).unwrap_or_default();
            harmed.extend(from_unresolved);
            let missing = self.missing.contains(&object);
            let is_spare = had_losses.contains(&object)
                && object.as_str().starts_with(layout::PACKS)
                && self.lost.get(&object).is_none_or(HashSet::is_empty)
                && harmed.is_empty();
            let found = if is_spare { &mut self.report.spare } else { &mut self.report.damage };
            found.push(Damage { object, what, missing, harmed });
        }
        Ok(self.report)
    }
}

impl Check<'_> {
    /// Lets this host's next backup know what was found: it does not rely on catalogs and packs that are there and
    /// hold something else. That others are gone it sees for itself.
    fn note_doubts(&self) -> Result<(), OpError> {
        let is_catalog = |object: &ObjectKey| object.as_str().starts_with(layout::CATALOGS);
        let pack = |object: &ObjectKey| object.digest().filter(|digest| layout::pack(*digest) == *object);
        let was_read = |object: &ObjectKey| pack(object).is_some_and(|digest| self.read.contains(&digest));
        let is_there = |object: &ObjectKey| pack(object).is_some_and(|pack| self.census.packs.contains_key(&pack));
        let damaged = self.findings.keys().filter(|object| is_catalog(object) || was_read(object)).cloned().collect();
        let answered = |object: &ObjectKey| is_catalog(object) || was_read(object) || !is_there(object);
        Ok(self.vault.vault().note_check(damaged, answered)?)
    }

    /// What is lost with one pack and whole in another is not lost: the next backup after the damage stored it again.
    fn forgive_what_is_elsewhere(&mut self) -> Result<(), OpError> {
        let mut whole = HashSet::new();
        let mut reader = self.library.reader();
        let misplaced: HashSet<PlainDigest> = self.misplaced.iter().map(|(_, chunk)| *chunk).collect();
        for digest in self.lost.values().flatten() {
            let is_lost = |pack| self.lost.get(&layout::pack(pack)).is_some_and(|lost| lost.contains(digest));
            let is_whole = match misplaced.contains(digest) {
                // Only reading tells which of the places is the true one.
                true => reader.chunk(digest).is_ok(),
                false => self.library.places(digest)?.iter().any(|location| !is_lost(location.pack)),
            };
            if is_whole {
                whole.insert(*digest);
            }
        }
        drop(reader);
        self.lost.values_mut().for_each(|lost| lost.retain(|digest| !whole.contains(digest)));
        Ok(())
    }
}

/// What is said of an object that this host knows and that is gone.
pub(super) fn known(object: &ObjectKey) -> String {
    let how = if layout::manifest_time(object).is_some() { "committed" } else { "saw" };
    format!("it is not there; this host {how} it")
}

fn listing_error(why: &str) -> VaultError {
    VaultError::Listing { source: FormatError::malformed("a listing", why) }
}

#[derive(Default)]
struct Unresolved {
    count: u64,
    /// Those that lead to what is not there at all.
    absent: u64,
    first: String,
}

impl Unresolved {
    fn note(&mut self, error: &VaultError) {
        if self.count == 0 {
            self.first = one_line(error);
        }
        self.count += 1;
        self.absent += u64::from(matches!(error, VaultError::UnknownChunk { .. }) || error.is_not_found());
    }
}
