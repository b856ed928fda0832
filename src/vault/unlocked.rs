//! A vault somebody has opened with an identity: it can be read.

use age::x25519::Identity;

use crate::base::name::ObjectKey;
use crate::format::identity::{OwnerKeys, WriterKeys};
use crate::format::layout;
use crate::vault::error::VaultError;
use crate::vault::host;
use crate::vault::known;
use crate::vault::limits::Limits;
use crate::vault::people::{self, Credentials};
use crate::vault::{LockedVault, Vault};

/// A vault that can be read. Appending goes through [`Vault`], which this one contains.
pub struct UnlockedVault {
    pub(super) vault: Vault,
    pub(super) identity: Identity,
}

impl UnlockedVault {
    pub fn vault(&self) -> &Vault {
        &self.vault
    }

    /// Gives the power to read up, keeping the power to append.
    pub fn into_vault(self) -> Vault {
        self.vault
    }
}

impl LockedVault {
    /// Opens for reading with whichever credential fits. Leaves a writer file if this host has none.
    pub fn unlock(self, credentials: &Credentials) -> Result<UnlockedVault, VaultError> {
        let (object, text) = self.find_key(credentials)?;
        let (keys, id, digest) = OwnerKeys::from_text(&text).map_err(super::bad_object(&object))?;
        if id != self.file.vault || digest != self.file.digest() {
            return Err(VaultError::Damaged { object: layout::vault_file() });
        }
        let writer = WriterKeys::of(&keys, id, digest);
        known::remember(&self.store, &self.file, &self.host);
        if !self.has_writer_file() {
            // Only a convenience: a read-only home must not keep anybody from restoring.
            let _ = host::write_secret(self.host.writer_file(), &writer.to_json());
        }
        let vault = Vault { store: self.store, keys: writer, host: self.host, limits: Limits::default() };
        Ok(UnlockedVault { vault, identity: keys.vault })
    }

    /// Are these the keys of this vault?
    fn fits(&self, object: &ObjectKey, text: &str) -> Result<bool, VaultError> {
        let (_, id, digest) = OwnerKeys::from_text(text).map_err(super::bad_object(object))?;
        Ok(id == self.file.vault && digest == self.file.digest())
    }

    /// Tries every key with every identity, and only then with the passphrase, which takes a second and a person.
    fn find_key(&self, credentials: &Credentials) -> Result<(ObjectKey, zeroize::Zeroizing<String>), VaultError> {
        let mut people = Vec::new();
        let mut locked_by_passphrase = Vec::new();
        let mut damaged = None;
        // Keys of a vault that an interrupted init began here: they open nothing.
        let mut strange = None;
        let listed = self.store.list(layout::KEYS)?;
        if listed.is_empty() {
            return Err(VaultError::NoKeys { location: self.store.location().to_owned() });
        }
        for listed in listed {
            let sealed = self.store.get(&listed.key)?;
            if listed.key.digest() != Some(crate::base::chunk::sealed_digest(&sealed)) {
                damaged = Some(listed.key);
                continue;
            }
            if let Ok(text) = credentials.open(&sealed) {
                match self.fits(&listed.key, &text)? {
                    true => return Ok((listed.key, text)),
                    false => {
                        strange = Some(listed.key);
                        continue;
                    }
                }
            }
            let name = layout::person_of(&listed.key).unwrap_or("?").to_owned();
            if people::is_passphrase(&sealed) {
                people.push(format!("{name} (passphrase)"));
                locked_by_passphrase.push((listed.key, sealed));
            } else {
                people.push(name);
            }
        }
        let location = || self.store.location().to_owned();
        if !locked_by_passphrase.is_empty() {
            let identity = credentials.passphrase()?;
            for (key, sealed) in &locked_by_passphrase {
                let Some(identity) = &identity else { break };
                if let Ok(text) = people::open_with_passphrase(sealed, identity) {
                    return Ok((key.clone(), text));
                }
            }
            if damaged.is_none() && strange.is_none() {
                return Err(match identity {
                    Some(_) => VaultError::WrongPassphrase { location: location(), people },
                    None => VaultError::NobodyToAsk { location: location(), people },
                });
            }
        }
        match damaged.or(strange.map(|_| layout::vault_file())) {
            Some(object) => Err(VaultError::Damaged { object }),
            None => {
                let (tried, locked) = (credentials.labels(), credentials.locked());
                Err(VaultError::NoIdentity { location: location(), tried, locked, people })
            }
        }
    }
}
