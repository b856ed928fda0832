//! What this host knows that a vault held: the snapshots it committed and the keys there were. What is gone of it is told
//! by every command that lists or chooses, until a person says that it is meant to be gone.
//!
//! One file for each vault and place, in the configuration folder: a copy elsewhere may not have the newest yet. Lines are
//! only ever added, the later one counts: `OBJECT` was there, `accepted OBJECT` may be gone. Each has a number and a check of its
//! own, so that one that is altered or missing costs only itself and is told, until a person says that it was seen: `seen`.
//! Where the configuration folder cannot be written, the cache holds it.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::base::chunk::sealed_digest;
use crate::base::name::ObjectKey;
use crate::format::layout;
use crate::store::Store;
use crate::vault::error::VaultError;
use crate::vault::host::{self, Host};

const ACCEPTED: &str = "accepted ";
/// What was altered before this line was told to a person.
const SEEN: &str = "seen";
/// So long is the check of a line.
const CHECK: usize = 16;

/// The file of one vault at one place, and the one that stands in for it.
pub struct Ledger {
    files: [PathBuf; 2],
}

/// What is known of objects that need not be there any more.
#[derive(Clone, Debug, Default)]
pub struct Known {
    there: BTreeSet<ObjectKey>,
    accepted: BTreeSet<ObjectKey>,
    altered: Vec<String>,
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

    /// What it says. What cannot be read says nothing but that: a backup goes on, and `verify` reads the vault itself.
    pub fn read(&self) -> Known {
        let mut known = Known::default();
        let [first, second] = &self.files;
        for file in std::iter::once(first).chain((second != first).then_some(second)) {
            match fs::read(file) {
                Ok(bytes) => Lines::of(file, &bytes, &mut known).all(),
                // Where a folder above is something else, there is no such file either.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {}
                Err(error) => known.altered.push(format!("{} could not be read: {error}", file.display())),
            }
        }
        known
    }

    /// Notes objects that are there now and were not known.
    pub fn add<'o>(&self, objects: impl Iterator<Item = &'o ObjectKey>) -> Result<(), VaultError> {
        let known = self.read();
        let fresh = objects.filter(|object| !known.there.contains(object));
        self.append(&fresh.map(ToString::to_string).collect::<Vec<_>>())
    }

    /// Notes that these are gone for good, and that this is right.
    pub fn accept<'o>(&self, objects: impl Iterator<Item = &'o ObjectKey>) -> Result<(), VaultError> {
        self.append(&objects.map(|object| format!("{ACCEPTED}{object}")).collect::<Vec<_>>())
    }

    /// Notes that a person was told what was altered in it.
    pub fn see(&self) -> Result<(), VaultError> {
        for file in self.files.iter().filter(|file| file.is_file()) {
            append_to(file, &[SEEN.to_owned()]).map_err(VaultError::host(file))?;
        }
        Ok(())
    }

    fn append(&self, words: &[String]) -> Result<(), VaultError> {
        if words.is_empty() {
            return Ok(());
        }
        let [first, second] = &self.files;
        append_to(first, words).or_else(|_| append_to(second, words)).map_err(VaultError::host(second))
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

    /// What of the ledger was altered, is missing or could not be read: what stood there is not known any more.
    pub fn altered(&self) -> &[String] {
        &self.altered
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

/// One file that is read.
struct Lines<'l> {
    file: &'l Path,
    bytes: &'l [u8],
    known: &'l mut Known,
    /// The number of the last line with one.
    last: u64,
    altered: Vec<String>,
}

impl<'l> Lines<'l> {
    fn of(file: &'l Path, bytes: &'l [u8], known: &'l mut Known) -> Self {
        Self { file, bytes, known, last: 0, altered: Vec::new() }
    }

    fn all(mut self) {
        for (at, line) in self.bytes.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() && !self.line(line) {
                self.altered.push(format!("line {} of {} is altered", at + 1, self.file.display()));
            }
        }
        self.known.altered.append(&mut self.altered);
    }

    /// Takes one line. Is it whole?
    fn line(&mut self, line: &[u8]) -> bool {
        let Ok(line) = std::str::from_utf8(line) else { return false };
        let numbered = line.split_once(' ').and_then(|(number, rest)| Some((number.parse::<u64>().ok()?, rest)));
        // Lines of earlier versions have neither a number nor a check.
        let Some((number, rest)) = numbered else { return self.word(line) };
        let Some((own, word)) = rest.split_once(' ') else { return false };
        if own != check(self.file, number, word) || !self.word(word) {
            return false;
        }
        if word != SEEN && number > self.last.saturating_add(1) {
            let missing = (number - self.last).saturating_sub(1);
            // What is altered and stands there is one of them.
            if missing > self.altered.len() as u64 {
                self.altered.push(format!("lines of {} are missing before number {number}", self.file.display()));
            }
        }
        self.last = self.last.max(number);
        true
    }

    fn word(&mut self, word: &str) -> bool {
        if word == SEEN {
            self.altered.clear();
            return true;
        }
        let (accepted, object) = match word.strip_prefix(ACCEPTED) {
            Some(object) => (true, object),
            None => (false, word),
        };
        let Some(object) = object.parse().ok().filter(is_whole) else { return false };
        if accepted {
            self.known.accept(object);
        } else {
            self.known.there.insert(object);
        }
        true
    }
}

/// What a line says of itself. One of another file does not fit.
fn check(file: &Path, number: u64, word: &str) -> String {
    let name = file.file_name().unwrap_or_default().as_encoded_bytes();
    sealed_digest(&[name, format!(" {number} {word}").as_bytes()].concat()).to_hex()[..CHECK].to_owned()
}

/// One `write` to the end of the file, by one process after the other. A line that a crash cut off ends before the next begins,
/// since each begins with the end of one.
fn append_to(file: &Path, words: &[String]) -> io::Result<()> {
    file.parent().map_or(Ok(()), host::private_folder)?;
    let mut out = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(file)?;
    // Where there are no locks, two lines may have the same number: that is no loss.
    let _ = rustix::fs::flock(&out, rustix::fs::FlockOperation::LockExclusive);
    let first = last_number(file, &mut out)?.saturating_add(1);
    let line = |(number, word): (u64, &String)| format!("\n{number} {} {word}\n", check(file, number, word));
    let text: String = (first..).zip(words).map(line).collect();
    out.write_all(text.as_bytes())?;
    out.sync_all()
}

fn last_number(file: &Path, open: &mut File) -> io::Result<u64> {
    let (mut bytes, mut known) = (Vec::new(), Known::default());
    open.read_to_end(&mut bytes)?;
    let mut lines = Lines::of(file, &[], &mut known);
    for line in bytes.split(|byte| *byte == b'\n') {
        lines.line(line.trim_ascii());
    }
    Ok(lines.last)
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
    fn a_line_that_a_crash_cut_off_costs_no_other_line_and_is_told_until_it_was_seen() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        ledger.add([&object(1)].into_iter()).unwrap();
        let mut text = fs::read_to_string(&ledger.files[0]).unwrap();
        text.push_str(&format!("\n2 0123456789abcdef {}", &object(2).as_str()[..40]));
        fs::write(&ledger.files[0], text).unwrap();
        ledger.add([&object(3)].into_iter()).unwrap();
        assert_eq!(ledger.read().gone(&BTreeSet::new()), [object(1), object(3)]);
        assert!(matches!(ledger.read().altered(), [one] if one.contains("is altered")), "{:?}", ledger.read());
        ledger.see().unwrap();
        assert!(ledger.read().altered().is_empty() && ledger.read().expected().len() == 2);
    }

    #[test]
    fn a_flipped_bit_anywhere_in_a_ledger_costs_one_line_at_most_and_is_told() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        let all: Vec<ObjectKey> = (1..6).map(object).collect();
        all.iter().for_each(|object| ledger.add([object].into_iter()).unwrap());
        let whole = fs::read(&ledger.files[0]).unwrap();
        for (at, bit) in (0..whole.len()).flat_map(|at| [1, 16, 128].map(|bit| (at, bit))) {
            let mut bytes = whole.clone();
            bytes[at] ^= bit;
            fs::write(&ledger.files[0], &bytes).unwrap();
            let known = ledger.read();
            assert!(known.expected().len() >= all.len() - 1, "byte {at}: {known:?}");
            assert!(known.expected().len() == all.len() || !known.altered().is_empty(), "byte {at}: {known:?}");
            assert!(known.expected().iter().all(|object| all.contains(object)), "byte {at}: {known:?}");
        }
    }

    #[test]
    fn lines_that_were_cut_out_of_a_ledger_and_one_that_cannot_be_read_are_told() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        (1..6).for_each(|number| ledger.add([&object(number)].into_iter()).unwrap());
        let text = fs::read_to_string(&ledger.files[0]).unwrap();
        for cut in [0, 2] {
            let kept: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
            let kept = [&kept[..cut], &kept[cut + 1..]].concat().join("\n");
            fs::write(&ledger.files[0], kept).unwrap();
            assert!(matches!(ledger.read().altered(), [one] if one.contains("are missing")), "{:?}", ledger.read());
        }
        fs::remove_file(&ledger.files[0]).unwrap();
        assert!(ledger.read().altered().is_empty());
        fs::create_dir(&ledger.files[0]).unwrap();
        assert!(matches!(ledger.read().altered(), [one] if one.contains("could not be read")));
    }

    #[test]
    fn lines_of_earlier_versions_are_read_as_they_are() {
        let temp = tempfile::tempdir().unwrap();
        let ledger = ledger(temp.path());
        ledger.add([&object(1)].into_iter()).unwrap();
        fs::write(&ledger.files[0], format!("\n{}\n\n{}\n\n{ACCEPTED}{}\n", object(1), object(2), object(2))).unwrap();
        ledger.add([&object(3)].into_iter()).unwrap();
        let known = ledger.read();
        assert_eq!(known.gone(&BTreeSet::new()), [object(1), object(3)]);
        assert!(known.is_accepted(&object(2)) && known.altered().is_empty(), "{known:?}");
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
