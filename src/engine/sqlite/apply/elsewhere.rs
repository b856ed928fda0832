//! Has another process a database open?
//!
//! Locks tell of a log only, and of a database that is in use at this moment. An app that has one open and does nothing holds
//! no lock; the system's own list of open files tells of it, as far as it may be read.

use std::fs;
use std::os::unix::fs::MetadataExt;

use crate::engine::sqlite::file::DatabaseFile;

/// Has any process but this one the file open? Of processes that this one may not look at nothing is known.
pub fn is_open_elsewhere(file: &DatabaseFile) -> bool {
    let Some(wanted) = file.id() else { return false };
    let own = std::process::id().to_string();
    let is_other = |process: &fs::DirEntry| {
        let name = process.file_name();
        let name = name.as_encoded_bytes();
        name.iter().all(u8::is_ascii_digit) && name != own.as_bytes()
    };
    let open = |process: fs::DirEntry| fs::read_dir(process.path().join("fd")).into_iter().flatten().flatten();
    let is_it = |handle: fs::DirEntry| {
        let handle = handle.path();
        // Sockets and pipes have no path.
        let is_file = fs::read_link(&handle).is_ok_and(|target| target.is_absolute());
        is_file && fs::metadata(handle).is_ok_and(|it| (it.dev(), it.ino()) == wanted)
    };
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter(is_other).flat_map(open).any(is_it)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::*;

    fn is_open(path: &Path) -> bool {
        is_open_elsewhere(&DatabaseFile::at(path).unwrap())
    }

    #[test]
    fn a_file_that_another_process_has_open_is_told_from_one_that_this_one_has() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("app.db");
        fs::write(&path, "x").unwrap();
        let own = fs::File::open(&path).unwrap();
        assert!(!is_open(&path));
        let mut other = Command::new("sleep").arg("60").stdin(Stdio::from(own)).spawn().unwrap();
        assert!(is_open(&path));
        fs::hard_link(&path, temp.path().join("other name")).unwrap();
        assert!(is_open(&temp.path().join("other name")));
        other.kill().unwrap();
        other.wait().unwrap();
        assert!(!is_open(&path));
    }
}
