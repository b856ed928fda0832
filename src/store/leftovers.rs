//! What a put that was killed leaves in a folder: a file beside the object's place, `NAME#1`, that was never given its
//! name. No listing shows it and no reader meets it; it only takes room.

use std::path::Path;
use std::time::Duration;

use walkdir::WalkDir;

use crate::base::name::ObjectKey;
use crate::store::Store;

impl Store {
    /// Removes such files that nobody has written to for so long, and says how many. A put that is under way writes
    /// all the time; one that slept for longer than that fails when it wakes, and harms nothing.
    pub fn sweep_leftovers(&self, age: Duration) -> u64 {
        let Some(root) = self.folder() else { return 0 };
        let mut removed = 0;
        for entry in WalkDir::new(root).min_depth(1).max_depth(4).into_iter().flatten() {
            let is_old = || {
                let modified = entry.metadata().ok().and_then(|metadata| metadata.modified().ok());
                modified.and_then(|time| time.elapsed().ok()).is_some_and(|since| since > age)
            };
            if entry.file_type().is_file() && is_leftover(root, entry.path()) && is_old() {
                removed += u64::from(std::fs::remove_file(entry.path()).is_ok());
            }
        }
        removed
    }
}

/// An object's name that carries a digest, `#` and a number: nobody else names a file so.
fn is_leftover(root: &Path, path: &Path) -> bool {
    let name = path.strip_prefix(root).ok().and_then(Path::to_str);
    let Some((name, number)) = name.and_then(|name| name.rsplit_once('#')) else { return false };
    let digits = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    digits && name.parse::<ObjectKey>().is_ok_and(|key| key.digest().is_some())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use super::*;
    use crate::store::Options;

    #[test]
    fn only_what_a_put_left_long_ago_is_swept() {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        let temp = tempfile::tempdir().unwrap();
        let store = Store::open(temp.path().to_str().unwrap(), &Options::default()).unwrap();
        let object = format!("packs/ab/{}.tar.zst.age", "ab".repeat(32));
        let plant = |name: &str, days: u32| {
            let path = temp.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            File::create(&path).unwrap().set_modified(SystemTime::now() - DAY * days).unwrap();
        };
        let left = [format!("{object}#1"), format!("{object}#12")];
        let kept =
            [object.clone(), format!("{object}#3"), "notes#1".into(), "packs/ab/x#1".into(), format!("{object}#x")];
        left.iter().for_each(|name| plant(name, 2));
        kept.iter().for_each(|name| plant(name, if name.ends_with("#3") { 0 } else { 9 }));
        assert_eq!(store.sweep_leftovers(DAY), 2);
        assert!(left.iter().all(|name| !temp.path().join(name).exists()));
        assert!(kept.iter().all(|name| temp.path().join(name).exists()));
    }
}
