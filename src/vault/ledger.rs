//! What this host knows that a vault held: the snapshots it committed and the keys there were. What is gone of it is told
//! by every command that lists or chooses, until a person says that it is meant to be gone.
//!
//! One file for each vault and place, in the configuration folder: a copy elsewhere may not have the newest yet. Lines are
//! only ever added, the later one counts: `OBJECT` was there, `accepted OBJECT` may be gone. Where the configuration folder
//! cannot be written, the cache holds it.

use std::collections::BTreeSet;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::chunk::sealed_digest;
use crate::base::name::ObjectKey;
use crate::format::layout;
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::host::{self, Host};

const ACCEPTED: &str = "accepted ";

/// The file of one vault at one place, and the one that stands in for it.
pub struct Ledger {
    files: [PathBuf; 2],
}

/// What is known of objects that need not be there any more.
#[derive(Clone, Debug, Default)]
pub struct Known {
    there: BTreeSet<ObjectKey>,
    accepted: BTreeSet<ObjectKey>,
}

impl Ledger {
    pub fn of(store: &Store, host: &Host) -> Self {
        // A place that does not last, such as memory, is known to nobody who looks into the configuration.
        let Some(place) = store.lasting_name() else {
            let [_, cache] = host.ledgers().map(|folder| folder.join("passing"));
            return Self { files: [cache.clone(), cache] };
        };
        let name = &sealed_digest(place.as_bytes()).to_hex()[..32];
        Self { files: host.ledgers().map(|folder| folder.join(name)) }
    }

    /// What it says. What cannot be read says nothing: a backup goes on, and `verify` reads the vault itself.
    pub fn read(&self) -> Known {
        let mut known = Known::default();
        for line in self.files.iter().filter_map(|file| fs::read_to_string(file).ok()).flat_map(lines) {
            match line.strip_prefix(ACCEPTED).map(str::parse) {
                Some(Ok(object)) => known.accept(object),
                Some(Err(_)) => {}
                None => known.there.extend(line.parse().ok().filter(is_whole)),
            }
        }
        known
    }

    /// Notes objects that are there now and were not known.
    pub fn add<'o>(&self, objects: impl Iterator<Item = &'o ObjectKey>) -> Result<(), VaultError> {
        let known = self.read();
        let text: String =
            objects.filter(|object| !known.there.contains(object)).map(|object| format!("\n{object}\n")).collect();
        self.append(&text)
    }

    /// Notes that these are gone for good, and that this is right.
    pub fn accept<'o>(&self, objects: impl Iterator<Item = &'o ObjectKey>) -> Result<(), VaultError> {
        self.append(&objects.map(|object| format!("\n{ACCEPTED}{object}\n")).collect::<String>())
    }

    fn append(&self, text: &str) -> Result<(), VaultError> {
        if text.is_empty() {
            return Ok(());
        }
        let [first, second] = &self.files;
        append_to(first, text).or_else(|_| append_to(second, text)).map_err(VaultError::host(second))
    }
}

impl Known {
    fn accept(&mut self, object: ObjectKey) {
        self.there.remove(&object);
        self.accepted.insert(object);
    }

    /// Did a person say that it may be gone?
    pub fn is_accepted(&self, object: &ObjectKey) -> bool {
        self.accepted.contains(object)
    }

    /// What is known to have been there, but for what may be gone.
    pub fn expected(&self) -> &BTreeSet<ObjectKey> {
        &self.there
    }

    /// What of it is not among these.
    pub fn gone(&self, there: &BTreeSet<ObjectKey>) -> Vec<ObjectKey> {
        self.there.difference(there).cloned().collect()
    }
}

/// One `write` to the end of the file: what several processes add does not mix. A line that a crash cut off ends before the
/// next begins, since each begins with the end of one.
fn append_to(file: &Path, text: &str) -> std::io::Result<()> {
    file.parent().map_or(Ok(()), host::private_folder)?;
    let mut out = OpenOptions::new().append(true).create(true).mode(0o600).open(file)?;
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn lines(text: String) -> Vec<String> {
    text.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

/// Is it the whole name of a snapshot or a key, and not what a crash left of one?
fn is_whole(object: &ObjectKey) -> bool {
    let is_key = object.as_str().starts_with("keys/") && object.as_str().ends_with(".age") && object.digest().is_some();
    is_key || (layout::manifest_time(object).is_some() && object.digest().is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(folder: &Path) -> Ledger {
        Ledger { files: [folder.join("config/one"), folder.join("cache/one")] }
    }

    fn object(number: u8) -> ObjectKey {
        format!("keys/me-{}.age", hex::encode([number; 32])).parse().unwrap()
    }

    #[test]
    fn what_was_there_is_missed_until_a_person_accepts_that_it_is_gone() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        let (one, two) = (object(1), object(2));
        ledger.add([&one, &two].into_iter()).unwrap();
        ledger.add([&two].into_iter()).unwrap();
        assert_eq!(ledger.read().gone(&BTreeSet::from([two.clone()])), std::slice::from_ref(&one));
        ledger.accept([&one].into_iter()).unwrap();
        assert!(ledger.read().gone(&BTreeSet::from([two])).is_empty() && ledger.read().is_accepted(&one));
    }

    #[test]
    fn a_line_that_a_crash_cut_off_costs_no_other_line() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        ledger.add([&object(1)].into_iter()).unwrap();
        let mut text = fs::read_to_string(&ledger.files[0]).unwrap();
        text.push_str(&format!("\n{}", &object(2).as_str()[..40]));
        fs::write(&ledger.files[0], text).unwrap();
        ledger.add([&object(3)].into_iter()).unwrap();
        assert_eq!(ledger.read().gone(&BTreeSet::new()), [object(1), object(3)]);
    }

    #[test]
    fn a_configuration_folder_that_cannot_be_written_leaves_it_to_the_cache() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        fs::write(temp.path().join("config"), "a file").unwrap();
        ledger.add([&object(1)].into_iter()).unwrap();
        assert_eq!(ledger.read().gone(&BTreeSet::new()), [object(1)]);
    }
}
