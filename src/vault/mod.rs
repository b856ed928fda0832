//! Floor 3: the invariants of a vault.
//!
//! Owns the order of writing (packs, catalogs, manifest), deduplication, commit, reading back, and who holds which
//! key. Never knows what a file or a table is: entries come through [`crate::base::capture`].

pub mod cache;
mod catalogs;
mod cells;
pub mod check;
mod checked;
pub mod commit;
mod content;
pub mod create;
mod doubts;
pub mod error;
pub mod extents;
pub mod fetch;
#[cfg(fuzzing)]
pub mod fuzzed;
pub mod host;
mod index;
mod ingest;
mod journal;
mod known;
pub mod ledger;
pub mod limits;
pub mod order;
mod pack_writer;
mod page_index;
pub mod page_match;
mod page_memory;
mod paging;
pub mod people;
pub mod places;
pub mod random;
pub mod read;
pub mod recall;
pub mod rotation;
mod run;
mod runs;
pub mod select;
pub mod snapshots;
pub mod stream;
pub mod unlocked;

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::base::id::VaultId;
use crate::base::name::ObjectKey;
use crate::format::error::FormatError;
use crate::format::identity::WriterKeys;
use crate::format::layout;
use crate::format::vault_file::VaultFile;
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::host::{Folders, Host};
use crate::vault::ledger::Ledger;
use crate::vault::limits::Limits;

/// A vault that can be appended to: it holds no key that reads a snapshot.
///
/// Invariants (docs/format.md §9):
/// 1. A pack is durable before a catalog names it, and a catalog before a manifest relies on it.
/// 2. Nothing is overwritten; what exists under a content name is compared, never replaced.
pub struct Vault {
    store: Store,
    keys: WriterKeys,
    host: Host,
    limits: Limits,
}

/// A vault that nobody has shown a key for: what anyone may see of it.
pub struct LockedVault {
    store: Store,
    file: VaultFile,
    host: Host,
}

impl LockedVault {
    pub fn open(store: Store, folders: &Folders) -> Result<Self, VaultError> {
        let object = layout::vault_file();
        let bytes = match store.get(&object) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => {
                let location = store.location().to_owned();
                return Err(match known::met(store.lasting_name(), folders) {
                    Some(known) => VaultError::VaultGone { location, known },
                    None => VaultError::NoVault { location },
                });
            }
            Err(error) => return Err(error.into()),
        };
        let file = VaultFile::read(&bytes).map_err(|error| VaultError::object(&object, error))?;
        known::check(&store, &file, folders)?;
        let host = Host::new(folders, file.vault);
        Ok(Self { store, file, host })
    }

    /// The vaults that this host met at a place, which need not be there any more: by id.
    pub fn met(location: &str, folders: &Folders) -> Option<Vec<String>> {
        known::met(Store::lasting_name_of(location), folders)
    }

    pub fn id(&self) -> VaultId {
        self.file.vault
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The same, where an identity lies that is strongroom's own.
    #[must_use]
    pub fn owning(self, identity: PathBuf) -> Self {
        Self { host: self.host.owning(identity), ..self }
    }

    /// What this host knows of objects that may be gone. Asked before what is there is listed.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.store, &self.host)
    }

    /// Has this host what it needs to append?
    pub fn has_writer_file(&self) -> bool {
        self.host.writer_file().exists()
    }

    /// Opens for appending, with the writer file of this host.
    pub fn into_vault(self) -> Result<Vault, VaultError> {
        let file = self.host.writer_file();
        let location = || self.store.location().to_owned();
        let Some(text) = host::read_secret(file)? else {
            return Err(VaultError::NoWriter { location: location(), file: file.to_owned() });
        };
        let keys =
            WriterKeys::from_json(&text).map_err(|source| VaultError::HostFile { file: file.to_owned(), source })?;
        if keys.vault_id != self.file.vault || keys.vault_file != self.file.digest() {
            return Err(VaultError::WriterMismatch { file: file.to_owned(), location: location() });
        }
        known::remember(&self.store, &self.file, &self.host);
        Ok(Vault { store: self.store, keys, host: self.host, limits: Limits::default() })
    }
}

impl Vault {
    pub fn id(&self) -> VaultId {
        self.keys.vault_id
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn host(&self) -> &Host {
        &self.host
    }

    /// What this host knows of objects that may be gone. Asked before what is there is listed.
    pub fn ledger(&self) -> Ledger {
        Ledger::of(&self.store, &self.host)
    }

    /// With other limits: for tests, which want many small packs.
    pub fn with_limits(self, limits: Limits) -> Self {
        Self { limits, ..self }
    }

    /// What is never captured: the vault itself and what this host keeps for it, by device and inode. A vault that holds
    /// itself would grow by its own size each time.
    pub fn own_places(&self) -> Arc<[(u64, u64)]> {
        let places = self.store.folder().into_iter().chain(self.host.own().iter().map(PathBuf::as_path));
        let there = places.filter_map(|place| std::fs::metadata(place).ok());
        there.map(|metadata| (metadata.dev(), metadata.ino())).collect()
    }

    /// The names of all manifests, oldest first. Needs no key.
    pub fn manifest_keys(&self) -> Result<Vec<ObjectKey>, VaultError> {
        manifest_keys(&self.store)
    }
}

/// The names of all manifests, oldest first. What is not named like one is left to `verify`.
fn manifest_keys(store: &Store) -> Result<Vec<ObjectKey>, VaultError> {
    let objects = store.list(layout::SNAPSHOTS)?;
    Ok(objects.into_iter().map(|o| o.key).filter(|key| layout::manifest_time(key).is_some()).collect())
}

/// An error about an object's inside.
fn bad_object(key: &ObjectKey) -> impl FnOnce(FormatError) -> VaultError {
    move |error| VaultError::object(key, error)
}
