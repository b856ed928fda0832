//! Packs on their way: noted on this host before they are sent, so that a crash between a pack and its catalog does
//! not make the next backup send the pack again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use crate::base::id::SealedDigest;
use crate::format::catalog::{self, PackContents};
use crate::vault::error::VaultError;
use crate::vault::host;

/// One process's notes. Locked while the process lives: what nobody holds a lock on was left by one that died.
pub struct Journal {
    folder: PathBuf,
    _lock: File,
}

const LOCK: &str = "lock";

impl Journal {
    pub fn open(parent: &Path) -> Result<Self, VaultError> {
        let _door = door(parent)?;
        let folder = host::partial_of(&parent.join("session"));
        host::make_private_folder(&folder)?;
        let lock = folder.join(LOCK);
        let file = File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(VaultError::host(&lock))?;
        Ok(Self { folder, _lock: file })
    }

    /// Notes what a pack holds, before it is sent.
    pub fn note(&self, pack: &PackContents) -> Result<(), VaultError> {
        let file = self.folder.join(pack.digest.to_hex());
        let partial = file.with_extension("partial");
        let write = || {
            fs::write(&partial, catalog::write(std::slice::from_ref(pack))).and_then(|()| fs::rename(&partial, &file))
        };
        write().map_err(VaultError::host(&file))
    }

    /// A catalog names the pack now.
    pub fn forget(&self, pack: SealedDigest) {
        let _ = fs::remove_file(self.folder.join(pack.to_hex()));
    }

    /// What processes that died had sent or were about to send. Whoever calls this answers for it from now on.
    pub fn inherit(&self, parent: &Path) -> Result<Vec<PackContents>, VaultError> {
        let _door = door(parent)?;
        let mut packs = Vec::new();
        for entry in fs::read_dir(parent).map_err(VaultError::host(parent))? {
            let folder = entry.map_err(VaultError::host(parent))?.path();
            if folder == self.folder || !is_abandoned(&folder) {
                continue;
            }
            for pack in noted(&folder) {
                self.note(&pack)?;
                packs.push(pack);
            }
            let _ = fs::remove_dir_all(&folder);
        }
        Ok(packs)
    }
}

impl Drop for Journal {
    /// Leaves notes of what no catalog names yet; removes the folder if there are none.
    fn drop(&mut self) {
        let notes = fs::read_dir(&self.folder).map_or(0, |entries| entries.count());
        if notes <= 1 {
            let _ = fs::remove_dir_all(&self.folder);
        }
    }
}

/// Held while a session's folder is made or taken over: one that is just being made is not locked yet, and must not be
/// taken for abandoned.
fn door(parent: &Path) -> Result<File, VaultError> {
    let lock = parent.join(LOCK);
    File::create(&lock).and_then(|file| file.lock().map(|()| file)).map_err(VaultError::host(&lock))
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// Notes that can be read; one cut short by the crash was of a pack that had not been sent.
fn noted(folder: &Path) -> Vec<PackContents> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    files.filter_map(|file| fs::read(file).ok()).filter_map(|bytes| catalog::read(&bytes).ok()).flatten().collect()
}
