//! Whose file it becomes on this machine: by name where the name exists here, else by number.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::base::entry::Entry;

/// Remembers what each name means: asking may reach across the network.
pub struct Owners {
    numeric: bool,
    users: Mutex<HashMap<String, Option<u32>>>,
    groups: Mutex<HashMap<String, Option<u32>>>,
}

impl Owners {
    pub fn new(numeric: bool) -> Self {
        Self { numeric, users: Mutex::default(), groups: Mutex::default() }
    }

    pub fn of(&self, entry: &Entry) -> (u32, u32) {
        if self.numeric {
            return (entry.uid, entry.gid);
        }
        let user = entry
            .user
            .as_deref()
            .and_then(|name| remembered(&self.users, name, || uzers::get_user_by_name(name).map(|user| user.uid())));
        let group = entry.group.as_deref().and_then(|name| {
            remembered(&self.groups, name, || uzers::get_group_by_name(name).map(|group| group.gid()))
        });
        (user.unwrap_or(entry.uid), group.unwrap_or(entry.gid))
    }
}

fn remembered(
    known: &Mutex<HashMap<String, Option<u32>>>,
    name: &str,
    ask: impl FnOnce() -> Option<u32>,
) -> Option<u32> {
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(id) = known.get(name) {
        return *id;
    }
    // A name with NUL in it is nobody's, and the system's look-up cannot even be asked.
    let id = if name.contains('\0') { None } else { ask() };
    // A hostile listing can name users without end.
    if known.len() < 10_000 {
        known.insert(name.to_owned(), id);
    }
    id
}
