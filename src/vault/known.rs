//! Which vault this host met at which place: another one in its place is refused until somebody says that it is meant.
//!
//! One file for each place, in the configuration folder: the place, then the vaults that may be there, one on each line
//! by id and digest of `vault.json`. Several, because disks take turns.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::chunk::sealed_digest;
use crate::format::vault_file::VaultFile;
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::host::{self, Folders, Host};

/// Refuses a vault that is not the one that was met here. A place never met is no reason.
pub fn check(store: &Store, found: &VaultFile, folders: &Folders) -> Result<(), VaultError> {
    let Some((file, _)) = file_of(store, &folders.known()) else { return Ok(()) };
    let text = match fs::read_to_string(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(VaultError::host(file)(error)),
    };
    let found = line(found);
    if text.lines().any(|known| known.trim() == found) {
        return Ok(());
    }
    Err(VaultError::OtherVault { location: store.location().to_owned(), found, file })
}

/// The vaults that were met here, if any was: by id. Where there is none now, another one is made by nobody who was not
/// asked to.
pub fn met(place: Option<String>, folders: &Folders) -> Option<Vec<String>> {
    let text = fs::read_to_string(file_at(&place?, &folders.known())).ok()?;
    let ids = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_whitespace().next());
    Some(ids.map(str::to_owned).collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
}

/// Remembers a vault that somebody has shown a key for, at a place never met. A configuration folder that cannot be
/// written keeps nobody from restoring.
pub fn remember(store: &Store, vault: &VaultFile, host: &Host) {
    if file_of(store, host.known()).is_some_and(|(file, _)| !file.exists()) {
        replace(store, vault, host);
    }
}

/// This vault was made here just now: no other is expected any more.
pub fn replace(store: &Store, vault: &VaultFile, host: &Host) {
    if let Some((file, place)) = file_of(store, host.known()) {
        let _ = host::make_private_folder(host.known())
            .and_then(|()| host::replace(&file, format!("# {place}\n{}\n", line(vault)).as_bytes()));
    }
}

fn line(vault: &VaultFile) -> String {
    format!("{} {}", vault.vault, vault.digest())
}

fn file_of(store: &Store, folder: &Path) -> Option<(PathBuf, String)> {
    let place = store.lasting_name()?;
    Some((file_at(&place, folder), place))
}

fn file_at(place: &str, folder: &Path) -> PathBuf {
    folder.join(&sealed_digest(place.as_bytes()).to_hex()[..32])
}
