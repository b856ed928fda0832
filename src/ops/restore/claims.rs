//! Which part of a change decides over a live thing that several of them name: a folder and a database in it, two ways to
//! one folder, two names of one database.
//!
//! Owns the rule that everything is changed once, by the first part that has it. Whoever came second would overwrite what an
//! app has committed since.

use std::cell::RefCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use crate::base::path::EntryPath;
use crate::ops::actions::Touched;
use crate::ops::restore::live::live_path;
use crate::ops::restore::server::KIND;
use crate::ops::safety::place;

/// The parts of a change that are files, by their numbers, and what each of them decides over.
pub struct Claims {
    /// Where each part's source really lives.
    roots: Vec<PathBuf>,
    /// For each part, the places that it shares with others. Only what lies there is kept in memory.
    shared: Vec<Vec<PathBuf>>,
    paths: RefCell<HashMap<PathBuf, usize>>,
    databases: RefCell<HashMap<FileId, (usize, EntryPath)>>,
}

/// A file, by whatever name: its device, and its number there.
pub type FileId = (u64, u64);

impl Claims {
    /// `parts` are all those of an action; those of servers are left out.
    pub fn of(parts: &[Touched]) -> Self {
        let parts: Vec<&Touched> = parts.iter().filter(|part| part.kind != KIND).collect();
        let roots: Vec<PathBuf> = parts.iter().map(|part| real(&place(&part.root))).collect();
        let places: Vec<PathBuf> = parts.iter().zip(&roots).map(|(part, root)| live_path(root, &part.path)).collect();
        let shared_by = |at: usize| {
            let others = places.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, place)| place);
            others.filter(|other| overlap(other, &places[at])).cloned().collect()
        };
        let shared = (0..places.len()).map(shared_by).collect();
        Self { roots, shared, paths: RefCell::default(), databases: RefCell::default() }
    }

    /// Is this part the one that decides over a path of its source? Parts are to ask in their order.
    pub fn decides(&self, part: usize, path: &EntryPath) -> bool {
        let Some(shared) = self.shared.get(part).filter(|shared| !shared.is_empty()) else { return true };
        let place = live_path(&self.roots[part], path);
        if !shared.iter().any(|shared| place.starts_with(shared)) {
            return true;
        }
        *self.paths.borrow_mut().entry(place).or_insert(part) == part
    }

    /// The same of a database, which may have several names.
    pub fn decides_over_database(&self, part: usize, path: &EntryPath, file: Option<FileId>) -> bool {
        if !self.decides(part, path) {
            return false;
        }
        let Some(id) = file else { return true };
        let mut databases = self.databases.borrow_mut();
        let (owner, name) = databases.entry(id).or_insert_with(|| (part, path.clone()));
        (*owner, &*name) == (part, path)
    }

    /// By which part and which of its names a database is changed, as far as that was asked.
    pub fn decider(&self, file: FileId) -> Option<(usize, EntryPath)> {
        self.databases.borrow().get(&file).cloned()
    }
}

/// Is one the other, or inside it?
pub fn overlap(one: &Path, other: &Path) -> bool {
    one.starts_with(other) || other.starts_with(one)
}

/// The path without links, as far as it is there.
pub fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or(path.to_owned());
    for there in path.ancestors() {
        if let (Ok(real), Ok(rest)) = (there.canonicalize(), path.strip_prefix(there)) {
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    use super::*;

    fn part(root: &Path) -> Touched {
        Touched {
            source: "s".parse().unwrap(),
            kind: "files".to_owned(),
            root: root.to_str().unwrap().to_owned(),
            path: EntryPath::root(),
            swap: None,
        }
    }

    #[test]
    fn the_first_part_decides_over_what_several_name_by_whatever_path() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("app");
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join("data/s.db"), "x").unwrap();
        symlink(&folder, temp.path().join("link")).unwrap();
        let path = |text: &str| text.parse::<EntryPath>().unwrap();
        let parts = [part(&folder), part(&temp.path().join("link/data")), part(&temp.path().join("other"))];
        let claims = Claims::of(&parts);
        assert!(claims.decides(0, &path("data/s.db")) && claims.decides(0, &path("data/s.db")));
        assert!(!claims.decides(1, &path("s.db")) && claims.decides(1, &path("only-here")));
        assert!(claims.decides(0, &path("readme")) && claims.decides(2, &path("s.db")));
        // What is outside of what they share is not kept.
        assert_eq!(claims.paths.borrow().len(), 2);
    }

    #[test]
    fn a_database_with_several_names_is_given_back_by_one_of_them() {
        let temp = tempfile::tempdir().unwrap();
        let (one, other) = (temp.path().join("one"), temp.path().join("other"));
        fs::create_dir_all(&one).unwrap();
        fs::create_dir_all(&other).unwrap();
        fs::write(one.join("a.db"), "x").unwrap();
        fs::hard_link(one.join("a.db"), other.join("b.db")).unwrap();
        let path = |text: &str| text.parse::<EntryPath>().unwrap();
        let claims = Claims::of(&[part(&one), part(&other)]);
        let id = |file: PathBuf| file.metadata().ok().map(|there| (there.dev(), there.ino()));
        assert!(claims.decides_over_database(0, &path("a.db"), id(one.join("a.db"))));
        assert!(claims.decides_over_database(0, &path("a.db"), id(one.join("a.db"))));
        assert!(!claims.decides_over_database(1, &path("b.db"), id(other.join("b.db"))));
        assert!(claims.decides_over_database(1, &path("c.db"), id(other.join("c.db"))));
    }

    #[test]
    fn what_is_not_there_yet_is_known_by_the_folder_it_will_be_in() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().canonicalize().unwrap();
        symlink(&folder, folder.join("link")).unwrap();
        assert_eq!(real(&folder.join("link/new/deep")), folder.join("new/deep"));
    }
}
