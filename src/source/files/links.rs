//! Which names are of one and the same file.
//!
//! The first name in path order carries the content; later ones refer to it. Remembers a file only until all of its
//! names were seen.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use crate::base::path::EntryPath;
use crate::source::files::metadata::Facts;

/// The entry that carries a shared file's content; none when its capture failed and the next name has to.
pub(super) type First = Rc<RefCell<Option<EntryPath>>>;

/// A device, and a file's number on it.
pub(super) type FileId = (u64, u64);

#[derive(Default)]
pub(super) struct Links(HashMap<FileId, (First, u64)>);

/// What a name is to its file.
pub(super) enum Role {
    Only,
    First(First),
    Later(First),
}

impl Links {
    /// Notes one more name of a file.
    pub fn meet(&mut self, path: &EntryPath, facts: &Facts) -> Role {
        let Some(file) = facts.shared_file() else { return Role::Only };
        let Some((first, missing)) = self.0.get_mut(&file) else {
            let first = Rc::new(RefCell::new(Some(path.clone())));
            self.0.insert(file, (first.clone(), facts.names - 1));
            return Role::First(first);
        };
        let first = first.clone();
        *missing -= 1;
        if *missing == 0 {
            self.0.remove(&file);
        }
        Role::Later(first)
    }
}
