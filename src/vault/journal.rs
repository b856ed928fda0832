//! Packs on their way: noted on this host before they are sent, so that a crash between a pack and its catalog does
//! not make the next backup send the pack again.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use crate::base::id::SealedDigest;
use crate::format::catalog::{self, PackContents};
use crate::vault::cache::CacheFolder;
use crate::vault::host;

/// One process's notes. Locked while the process lives: what nobody holds a lock on was left by one that died.
///
/// Where nothing can be noted, a crash costs sending a pack again.
pub struct Journal {
    parent: CacheFolder,
    session: Option<Session>,
}

struct Session {
    folder: CacheFolder,
    _lock: File,
}

const LOCK: &str = "lock";

impl Journal {
    pub fn open(parent: CacheFolder) -> Self {
        let session = if parent.make() { parent.noted(Session::begin(&parent)) } else { None };
        Self { parent, session }
    }

    /// Notes what a pack holds, before it is sent.
    pub fn note(&self, pack: &PackContents) {
        let Some(Session { folder, .. }) = &self.session else { return };
        let name = pack.digest.to_hex();
        let (file, partial) = (folder.path().join(&name), folder.path().join(format!("{name}.partial")));
        let bytes = folder.key().enclose(name.as_ref(), &catalog::write(std::slice::from_ref(pack)));
        folder.noted(fs::write(&partial, bytes).and_then(|()| fs::rename(&partial, &file)));
    }

    /// A catalog names the pack now.
    pub fn forget(&self, pack: SealedDigest) {
        self.session.iter().for_each(|session| drop(fs::remove_file(session.folder.path().join(pack.to_hex()))));
    }

    /// What processes that died had sent or were about to send. Whoever calls this answers for it from now on. Without a
    /// session of its own nobody can: it is left for the next.
    pub fn inherit(&self) -> Vec<PackContents> {
        let Some(session) = &self.session else { return Vec::new() };
        let Some(_door) = self.parent.noted(door(self.parent.path())) else { return Vec::new() };
        let mut packs = Vec::new();
        let entries = fs::read_dir(self.parent.path()).into_iter().flatten().flatten().map(|entry| entry.path());
        for folder in entries.filter(|folder| folder != session.folder.path() && is_abandoned(folder)) {
            for pack in noted(&self.parent.within(folder.clone())) {
                self.note(&pack);
                packs.push(pack);
            }
            let _ = fs::remove_dir_all(&folder);
        }
        packs
    }
}

impl Session {
    fn begin(parent: &CacheFolder) -> io::Result<Self> {
        let _door = door(parent.path())?;
        let folder = host::partial_of(&parent.path().join("session"));
        host::private_folder(&folder)?;
        let file = File::create(folder.join(LOCK)).and_then(|file| file.lock().map(|()| file))?;
        Ok(Self { folder: parent.within(folder), _lock: file })
    }
}

impl Drop for Session {
    /// Leaves notes of what no catalog names yet; removes the folder if there are none.
    fn drop(&mut self) {
        let notes = fs::read_dir(self.folder.path()).map_or(0, |entries| entries.count());
        if notes <= 1 {
            let _ = fs::remove_dir_all(self.folder.path());
        }
    }
}

/// Held while a session's folder is made or taken over: one that is just being made is not locked yet, and must not be
/// taken for abandoned.
fn door(parent: &Path) -> io::Result<File> {
    File::create(parent.join(LOCK)).and_then(|file| file.lock().map(|()| file))
}

fn is_abandoned(folder: &Path) -> bool {
    File::open(folder.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok())
}

/// Notes that fit their digest and their name; one cut short by the crash was of a pack that had not been sent.
fn noted(folder: &CacheFolder) -> Vec<PackContents> {
    let files = fs::read_dir(folder.path()).into_iter().flatten().flatten();
    let names = files.filter_map(|entry| entry.file_name().into_string().ok());
    let read = |name: String| {
        let digest: SealedDigest = name.parse().ok()?;
        let packs = catalog::read(&folder.read(&name)?).ok()?;
        packs.into_iter().find(|pack| pack.digest == digest)
    };
    names.filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_with_any_byte_flipped_or_cut_off_is_none() {
        let place = tempfile::tempdir().unwrap();
        let parent = CacheFolder::of_test(place.path());
        let pack = PackContents { digest: SealedDigest::from_bytes([3; 32]), size: 700, frames: Vec::new() };
        let folder = parent.within(place.path().join("session"));
        let name = pack.digest.to_hex();
        folder.replace(&name, &catalog::write(std::slice::from_ref(&pack))).unwrap();
        assert_eq!(noted(&folder), [pack]);
        let file = folder.path().join(&name);
        let stored = fs::read(&file).unwrap();
        for at in 0..stored.len() {
            let mut flipped = stored.clone();
            flipped[at] ^= 1;
            for harmed in [&flipped[..], &stored[..at]] {
                fs::write(&file, harmed).unwrap();
                assert_eq!(noted(&folder), [], "{at}");
            }
        }
    }
}
