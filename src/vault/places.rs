//! Which places this host itself captured into a vault: where a source lives is believed of those, and not because a
//! snapshot says so, which whoever can write to the storage can make.
//!
//! One file for each place, in the configuration folder, named by a digest of what it says. A file that does not fit its
//! name says nothing.

use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::chunk::sealed_digest;
use crate::vault::host::{self, Host};

/// Longer files are none of these.
const LONGEST: u64 = 64 << 10;

/// A source, and where it lives, written as in manifests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    pub source: String,
    pub kind: String,
    pub root: String,
}

impl Place {
    fn written(&self) -> String {
        serde_json::to_string(self).expect("BUG: plain fields")
    }

    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(&sealed_digest(self.written().as_bytes()).to_hex()[..32])
    }
}

/// Remembers a place. A configuration folder that cannot be written makes no backup fail: a person is asked where the
/// source lives when it is restored there.
pub(super) fn remember(host: &Host, place: &Place) {
    let file = place.file(host.places());
    if !file.exists() {
        let _ =
            host::make_private_folder(host.places()).and_then(|()| host::replace(&file, place.written().as_bytes()));
    }
}

/// Did this host capture this source there?
pub fn is_known(host: &Host, place: &Place) -> bool {
    read(&place.file(host.places())).is_some_and(|found| found == *place)
}

/// All places this host captured.
pub fn all(host: &Host) -> Vec<Place> {
    let entries = fs::read_dir(host.places()).into_iter().flatten().flatten();
    let mut places: Vec<Place> = entries
        .filter_map(|entry| read(&entry.path()).filter(|place| place.file(host.places()) == entry.path()))
        .collect();
    places.sort();
    places
}

fn read(file: &Path) -> Option<Place> {
    let is_one = fs::symlink_metadata(file).is_ok_and(|found| found.is_file() && found.len() <= LONGEST);
    is_one.then(|| serde_json::from_slice(&fs::read(file).ok()?).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::VaultId;
    use crate::vault::host::Folders;

    fn host(folder: &Path) -> Host {
        let folders = Folders { config: folder.join("config"), cache: folder.join("cache") };
        Host::new(&folders, VaultId::from_bytes([7; VaultId::BYTES]))
    }

    fn place(source: &str, root: &str) -> Place {
        Place { source: source.to_owned(), kind: "files".to_owned(), root: root.to_owned() }
    }

    #[test]
    fn a_place_is_known_under_its_source_alone_and_only_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let host = host(folder.path());
        let docs = place("docs", "/srv/docs");
        assert!(!is_known(&host, &docs));
        remember(&host, &docs);
        assert!(is_known(&host, &docs));
        assert!(!is_known(&host, &place("other", "/srv/docs")));
        assert!(!is_known(&host, &place("docs", "/srv")));
        assert_eq!(all(&host), std::slice::from_ref(&docs));
        let file = docs.file(host.places());
        fs::write(&file, place("docs", "/etc").written()).unwrap();
        assert!(!is_known(&host, &docs) && !is_known(&host, &place("docs", "/etc")));
        assert!(all(&host).is_empty());
    }
}
