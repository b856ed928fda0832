//! Content as a file that SQLite can open and never write: a small read-only VFS.
//!
//! Owns the table of contents shown to SQLite, each under a name of its own for as long as somebody holds it, and why
//! one could not be read: SQLite itself only says "disk I/O error". The calls from SQLite are in `calls`, files for its
//! temporary data, in memory and bounded, in `scratch`. Never opens a file of the system.

mod calls;
mod scratch;
pub mod system;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::base::error::Explained;
use crate::base::random::RandomRead;

pub use scratch::MOST as MOST_SCRATCH;

/// The VFS by which SQLite knows it.
pub const NAME: &str = "strongroom";

/// Content that SQLite sees as a file.
pub struct Shown {
    name: String,
    file: Arc<File>,
}

/// What open files and the table share.
struct File {
    content: Arc<dyn RandomRead>,
    /// Why the last read failed.
    failure: Mutex<Option<Explained>>,
}

/// Everything shown now.
static FILES: Mutex<Option<HashMap<String, Arc<File>>>> = Mutex::new(None);

/// Numbers files: no name comes twice.
static NEXT: AtomicU64 = AtomicU64::new(1);

/// SQLite does not let the VFS be registered.
#[derive(Debug, thiserror::Error)]
#[error("SQLite refuses to read from the vault")]
pub struct NotRegistered;

impl Shown {
    /// Shows content to SQLite until this is dropped; connections that are open by then go on reading.
    pub fn new(content: Arc<dyn RandomRead>) -> Result<Self, NotRegistered> {
        calls::register()?;
        let name = format!("/snapshot/{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let file = Arc::new(File { content, failure: Mutex::default() });
        files().get_or_insert_default().insert(name.clone(), file.clone());
        Ok(Self { name, file })
    }

    /// The file's name for the VFS.
    pub fn path(&self) -> &str {
        &self.name
    }

    /// How `ATTACH` names it, whatever VFS the connection uses.
    pub fn uri(&self) -> String {
        format!("file:{}?vfs={NAME}&mode=ro", self.name)
    }

    /// Why SQLite could not read it, if that is what has happened since this was last asked.
    pub fn failure(&self) -> Option<Explained> {
        self.file.failure().take()
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some(files) = files().as_mut() {
            files.remove(&self.name);
        }
    }
}

impl File {
    fn find(name: &str) -> Option<Arc<Self>> {
        files().as_ref()?.get(name).cloned()
    }

    /// The length of the content; what SQLite cannot count to is no database.
    fn length(&self) -> i64 {
        i64::try_from(self.content.length()).unwrap_or(i64::MAX)
    }

    /// Fills `buffer` from `offset` on, with zeros beyond the end. Says whether all of it was there.
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<bool, ()> {
        let there = self.content.length().saturating_sub(offset).min(buffer.len() as u64) as usize;
        let (inside, beyond) = buffer.split_at_mut(there);
        beyond.fill(0);
        match self.content.read_at(offset, inside) {
            Ok(()) => Ok(beyond.is_empty()),
            Err(error) => {
                *self.failure() = Some(error);
                Err(())
            }
        }
    }

    /// A panic while it was held leaves nothing half done in it.
    fn failure(&self) -> MutexGuard<'_, Option<Explained>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn files() -> MutexGuard<'static, Option<HashMap<String, Arc<File>>>> {
    FILES.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
