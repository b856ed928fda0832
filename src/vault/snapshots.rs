//! Reading manifests: which snapshots there are.

use std::collections::BTreeSet;

use crate::base::name::ObjectKey;
use crate::base::time::Instant;
use crate::format::layout;
use crate::format::manifest::Manifest;
use crate::vault::error::VaultError;
use crate::vault::unlocked::UnlockedVault;
use crate::vault::{bad_object, order};

/// A manifest with the object that holds it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    pub key: ObjectKey,
    pub manifest: Manifest,
    /// When it was made, as far as that is known: no earlier than what it was made after (`order`).
    pub made: Instant,
}

/// The snapshots of a vault, oldest first, and the manifests that could not be read.
#[derive(Default)]
pub struct Snapshots {
    pub readable: Vec<Snapshot>,
    pub damaged: Vec<(ObjectKey, VaultError)>,
    /// Those of a format that this version does not know: nothing is wrong with them.
    pub newer: Vec<(ObjectKey, VaultError)>,
    /// Those that are known to have been there, by what this host committed or by another manifest, and are not.
    pub gone: Vec<ObjectKey>,
    /// What of the ledger of this host is not known any more.
    pub altered: Vec<String>,
}

impl UnlockedVault {
    pub fn snapshot(&self, key: &ObjectKey) -> Result<Snapshot, VaultError> {
        let store = &self.vault.store;
        let sealed = store.get(key)?;
        // The name vouches for the time: a manifest put back under another one must not pass for newer than it is.
        if key.digest() != Some(crate::base::chunk::sealed_digest(&sealed)) {
            return Err(VaultError::Damaged { object: key.clone() });
        }
        let plain = crate::format::seal::open(&sealed, &[&self.identity]).map_err(bad_object(key))?;
        let manifest = Manifest::read(&plain).map_err(bad_object(key))?;
        if layout::manifest_time(key) != Some(manifest.time) || manifest.vault != self.vault.keys.vault_id {
            return Err(VaultError::Damaged { object: key.clone() });
        }
        Ok(Snapshot { key: key.clone(), made: manifest.time, manifest })
    }

    /// All of them. One that is damaged, or newer than this version, does not hide the others.
    pub fn snapshots(&self) -> Result<Snapshots, VaultError> {
        // Before the list: what is committed in between is on the list and not missed.
        let noted = self.vault.ledger().read();
        let there = self.vault.manifest_keys()?;
        let mut snapshots = self.snapshots_of(&there)?;
        let previous =
            snapshots.readable.iter().filter_map(|snapshot| snapshot.manifest.previous.as_ref()?.parse().ok());
        let own = noted.expected().iter().filter(|object| layout::manifest_time(object).is_some()).cloned();
        let known: BTreeSet<ObjectKey> = own.chain(previous).collect();
        snapshots.readable = order::by_making(std::mem::take(&mut snapshots.readable), Instant::now());
        let there: BTreeSet<ObjectKey> = there.into_iter().collect();
        snapshots.gone = known.difference(&there).filter(|object| !noted.is_accepted(object)).cloned().collect();
        snapshots.altered = noted.altered().to_vec();
        Ok(snapshots)
    }

    /// Keys that this host knows of and that are not there any more.
    pub fn gone_keys(&self) -> Result<Vec<ObjectKey>, VaultError> {
        let noted = self.vault.ledger().read();
        let there = self.vault.store.list(layout::KEYS)?.into_iter().map(|object| object.key).collect();
        let gone = noted.gone(&there).into_iter();
        Ok(gone.filter(|object| object.as_str().starts_with("keys/")).collect())
    }

    /// Those that these manifests hold.
    pub fn snapshots_of(&self, manifests: &[ObjectKey]) -> Result<Snapshots, VaultError> {
        use crate::base::error::{Class, Explain};
        let mut snapshots = Snapshots::default();
        for key in manifests {
            match self.snapshot(key) {
                Ok(snapshot) => snapshots.readable.push(snapshot),
                Err(error) if error.is_newer() => snapshots.newer.push((key.clone(), error)),
                Err(error) if error.class() == Class::Damaged => snapshots.damaged.push((key.clone(), error)),
                Err(error) => return Err(error),
            }
        }
        Ok(snapshots)
    }
}
