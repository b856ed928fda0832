//! A snapshot in the making, and the one place that commits it.
//!
//! [`Draft`] becomes a [`Committed`] by writing its manifest: the last object, after everything it refers to.

mod found;
mod source;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::base::capture::Recall;
use crate::base::database::Database;
use crate::base::id::SnapshotId;
use crate::base::name::{Name, ObjectKey};
use crate::base::time::Instant;
use crate::format::chunker::{self, Chunker};
use crate::format::header::fill_random;
use crate::format::manifest::{Alarm, FORMAT, Manifest, SourceRecord};
use crate::format::{layout, seal};
use crate::vault::Vault;
use crate::vault::error::VaultError;
use crate::vault::ingest::Ingest;
use crate::vault::places::{self, Place as CapturedPlace};
use crate::vault::recall::{self, Place, RecallWriter};
use crate::vault::select::SAFETY;

pub use found::{Found, Uncaptured};
pub use source::SourceDraft;

/// What a snapshot says about itself.
#[derive(Clone, Debug)]
pub struct Label {
    pub host: String,
    pub user: String,
    pub app: Name,
    pub tags: Vec<String>,
    pub labels: BTreeMap<String, String>,
    pub reason: String,
    pub tool: String,
}

/// A snapshot in the making. Dropping it leaves the vault valid, with some packs that the next backup makes use of.
pub struct Draft<'v> {
    vault: &'v Vault,
    ingest: Ingest<'v>,
    label: Label,
    started: Instant,
    manifests: Vec<ObjectKey>,
    keys: Vec<ObjectKey>,
    gone: Vec<ObjectKey>,
    altered: Vec<String>,
    sources: Vec<(SourceRecord, Arc<AtomicU64>)>,
    memories: Vec<(RecallWriter, recall::Extent, Vec<Database>)>,
    alarms: Vec<Alarm>,
}

/// A snapshot that exists.
pub struct Committed {
    pub manifest: Manifest,
    pub key: ObjectKey,
    /// Why this host could not note it in its cache. Costs time, never data.
    pub not_noted: Option<VaultError>,
}

impl Vault {
    /// Begins a snapshot. With `recheck` every catalog is read and compared with its name first.
    pub fn begin(&self, label: Label, recheck: bool) -> Result<Draft<'_>, VaultError> {
        // Before the lists: what another process commits in between is on them and not missed.
        let known = self.ledger().read();
        let manifests = self.manifest_keys()?;
        let keys: Vec<ObjectKey> = self.store.list(layout::KEYS)?.into_iter().map(|object| object.key).collect();
        let gone = known.gone(&manifests.iter().chain(&keys).cloned().collect::<BTreeSet<_>>());
        let altered = known.altered().to_vec();
        let ingest = Ingest::start(self, recheck)?;
        let (sources, memories, alarms) = (Vec::new(), Vec::new(), Vec::new());
        let started = Instant::now();
        Ok(Draft { vault: self, ingest, label, started, manifests, keys, gone, altered, sources, memories, alarms })
    }

    /// Cuts the content of files.
    pub fn file_cutter(&self) -> Chunker {
        Chunker::new(&self.keys.chunking, chunker::FILE)
    }

    /// What this host remembers of a source's last capture.
    pub fn recall(&self, app: &Name, source: &Name, memory: &str) -> Result<Recall, VaultError> {
        let place = Place::new(self.host.folder("recall"), app, source, memory);
        Ok(place.recall(&self.manifest_keys()?, &self.catalog_digests()?, &HashSet::new()).recall)
    }
}

impl<'v> Draft<'v> {
    /// The newest snapshot there was when this one began.
    pub fn previous(&self) -> Option<&ObjectKey> {
        self.manifests.last()
    }

    /// Snapshots and keys that this host knows of and that were not there when this one began.
    pub fn gone(&self) -> &[ObjectKey] {
        &self.gone
    }

    /// What of the ledger of this host is not known any more.
    pub fn altered(&self) -> &[String] {
        &self.altered
    }

    /// Is there nobody left who could open the vault?
    pub fn is_sealed_to_nobody(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn file_cutter(&self) -> Chunker {
        self.vault.file_cutter()
    }

    /// What is never captured: see [`Vault::own_places`].
    pub fn own_places(&self) -> Arc<[(u64, u64)]> {
        self.vault.own_places()
    }

    pub fn started(&self) -> Instant {
        self.started
    }

    /// What was captured so far, source by source.
    pub fn records(&self) -> impl Iterator<Item = &SourceRecord> {
        self.sources.iter().map(|(record, _)| record)
    }

    /// Notes that much was lost since an earlier snapshot, which is to be kept for that.
    pub fn alarm(&mut self, alarm: Alarm) {
        self.alarms.push(alarm);
    }

    /// Makes everything durable without committing: what an interrupted backup leaves for the next one.
    pub fn abandon(mut self) -> Result<(), VaultError> {
        self.ingest.finish()
    }

    /// Writes the manifest. Everything it refers to is durable by then.
    pub fn commit(mut self) -> Result<Committed, VaultError> {
        self.ingest.finish()?;
        let manifest = self.manifest();
        let sealed = seal::seal(&[&self.vault.keys.recipient], &manifest.write());
        let key = manifest.key(sealed.digest);
        self.vault.store.put_new(&key, sealed.bytes.into())?;
        // The snapshot exists: whatever fails from here on must not make it look failed.
        for SourceRecord { name, kind, root, .. } in &manifest.sources {
            let (source, kind, root) = (name.to_string(), kind.clone(), root.clone());
            places::remember(&self.vault.host, &CapturedPlace { source, kind, root });
        }
        let not_noted = self.note(&key, manifest.id).err();
        Ok(Committed { manifest, key, not_noted })
    }

    fn note(self, key: &ObjectKey, id: SnapshotId) -> Result<(), VaultError> {
        let known = recall::Vouched { catalogs: self.ingest.catalogs(), absent: self.ingest.absent() };
        let memories = self.memories.into_iter();
        let kept = recall::Kept { manifest: key, snapshot: id, is_backup: self.label.reason != SAFETY };
        memories.for_each(|(memory, extent, databases)| memory.keep(kept, known, extent, databases));
        self.vault.ledger().add(self.keys.iter().chain([key]))
    }

    fn manifest(&mut self) -> Manifest {
        let mut id = [0; SnapshotId::BYTES];
        fill_random(&mut id);
        let sources: Vec<SourceRecord> = std::mem::take(&mut self.sources)
            .into_iter()
            .map(|(record, stored)| SourceRecord { bytes_stored: stored.load(Ordering::Relaxed), ..record })
            .collect();
        let sum = |field: fn(&SourceRecord) -> u64| sources.iter().map(field).sum::<u64>();
        let Label { host, user, app, tags, labels, reason, tool } = self.label.clone();
        Manifest {
            format: FORMAT,
            id: SnapshotId::from_bytes(id),
            vault: self.vault.keys.vault_id,
            time: self.started,
            finished: Instant::now(),
            host,
            user,
            app,
            tags,
            labels,
            reason,
            tool,
            previous: self.manifests.last().map(|key| key.as_str().to_owned()),
            keys: self.keys.iter().map(|key| key.as_str().to_owned()).collect(),
            bytes: sum(|s| s.bytes),
            bytes_read: sum(|s| s.bytes_read),
            bytes_new: sum(|s| s.bytes_new),
            bytes_stored: sum(|s| s.bytes_stored) + self.ingest.catalog_bytes,
            sources,
            alarms: std::mem::take(&mut self.alarms),
        }
    }
}
