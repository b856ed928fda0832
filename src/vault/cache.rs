//! This host's cache of one vault: folders that may be lost, damaged or full at any time, and what is to be said of that.
//!
//! Owns that nothing fails for want of a cache: what cannot be kept is not kept, and a person is told once. Never holds
//! anything that exists nowhere else.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::error::reason;
use crate::vault::checked::CheckKey;
use crate::vault::host;

/// What became of the cache. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Notices(Arc<Mutex<Said>>);

#[derive(Debug, Default)]
struct Said {
    unusable: Option<String>,
    dropped: Vec<String>,
}

impl Notices {
    /// Why nothing can be kept, if so. Asked once: it is the asker's to tell.
    pub fn take_unusable(&self) -> Option<String> {
        self.said().unusable.take()
    }

    /// Which files were no longer what they should be, and were dropped. Asked once.
    pub fn take_dropped(&self) -> Vec<String> {
        std::mem::take(&mut self.said().dropped)
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One folder of the cache.
#[derive(Clone, Debug)]
pub struct CacheFolder {
    path: PathBuf,
    key: CheckKey,
    notices: Notices,
}

impl CacheFolder {
    pub fn new(path: PathBuf, key: CheckKey, notices: Notices) -> Self {
        Self { path, key, notices }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn key(&self) -> &CheckKey {
        &self.key
    }

    /// Makes the folder if need be. False where there can be none.
    pub fn make(&self) -> bool {
        self.noted(host::private_folder(&self.path)).is_some()
    }

    /// A folder within, under the same key.
    pub fn within(&self, path: PathBuf) -> Self {
        Self { path, ..self.clone() }
    }

    /// The content of a small file, if it is there and what it should be.
    pub fn read(&self, name: &str) -> Option<Vec<u8>> {
        let file = self.path.join(name);
        let stored = fs::read(&file).ok()?;
        let content = self.key.disclose(name.as_ref(), &stored);
        if content.is_none() {
            self.dropped(&file);
        }
        content
    }

    /// Replaces a small file at once and for good.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        host::private_folder(&self.path)?;
        host::replace_file(&self.path.join(name), &self.key.enclose(name.as_ref(), content))
    }

    /// Removes the files that end like this.
    pub fn clear(&self, extension: &str) {
        let files = fs::read_dir(&self.path).into_iter().flatten().flatten().map(|entry| entry.path());
        files.filter(|file| file.extension().is_some_and(|end| end == extension)).for_each(|file| {
            let _ = fs::remove_file(file);
        });
    }

    /// A file that does not fit is removed, and that is noted.
    pub fn dropped(&self, file: &Path) {
        let _ = fs::remove_file(file);
        self.notices.said().dropped.push(format!("{} is damaged or of another version, dropped", file.display()));
    }

    /// What came of keeping something; that it cannot be kept is noted.
    pub fn noted<T>(&self, result: io::Result<T>) -> Option<T> {
        match result {
            Ok(kept) => Some(kept),
            Err(error) => {
                self.unusable(&error);
                None
            }
        }
    }

    pub fn unusable(&self, error: &io::Error) {
        let why = || format!("cannot use the cache {}: {}", self.path.display(), reason(error));
        self.notices.said().unusable.get_or_insert_with(why);
    }
}

#[cfg(test)]
impl CacheFolder {
    /// A folder for a test.
    pub fn of_test(path: &Path) -> Self {
        let vault = crate::base::id::VaultId::from_bytes([1; crate::base::id::VaultId::BYTES]);
        Self::new(path.to_owned(), CheckKey::new(&vault, "test"), Notices::default())
    }
}
