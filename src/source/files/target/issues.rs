//! What was restored, but not as it should be: counted, not listed, so that a million files without their owner
//! are one line and take no room.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use crate::base::error::reason;
use crate::base::path::{EntryPath, encode};
use crate::base::text::counted;

/// So many different shortfalls are told apart; a hostile listing can invent attribute names without end.
const MOST: usize = 1000;

/// One kind of shortfall: how many entries it concerns and the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Issue {
    pub path: String,
    pub reason: String,
    pub count: u64,
}

/// What could not be set or made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shortfall {
    Owner,
    /// Left out because the owner could not be set: setuid for the wrong user is a hole.
    SpecialBits,
    Mode,
    Time,
    Attribute(Vec<u8>),
    Device,
    Socket,
    Folder,
    Many,
}

#[derive(Default)]
pub struct Issues(Mutex<BTreeMap<(Shortfall, i32), (u64, String)>>);

impl Issues {
    pub fn note(&self, path: &EntryPath, shortfall: Shortfall, error: Errno) {
        self.count(path, shortfall, error.raw_os_error());
    }

    /// Counts what is no error of the system's.
    pub fn note_plainly(&self, path: &EntryPath, shortfall: Shortfall) {
        self.count(path, shortfall, 0);
    }

    fn count(&self, path: &EntryPath, shortfall: Shortfall, error: i32) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (shortfall, error);
        if seen.len() >= MOST && !seen.contains_key(&key) {
            key = (Shortfall::Many, 0);
        }
        seen.entry(key).or_insert_with(|| (0, path.to_string())).0 += 1;
    }

    pub fn take(&self) -> Vec<Issue> {
        let seen = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        seen.into_iter()
            .map(|((shortfall, error), (count, path))| Issue {
                path,
                reason: sentence(&shortfall, error, count),
                count,
            })
            .collect()
    }
}

fn sentence(shortfall: &Shortfall, error: i32, count: u64) -> String {
    let on = counted(count, "file");
    let mut text = match shortfall {
        Shortfall::Owner => format!("owner not set on {on}"),
        Shortfall::SpecialBits => format!("setuid or setgid left out on {on}, whose owner could not be set"),
        Shortfall::Mode => format!("mode not set on {on}"),
        Shortfall::Time => format!("time not set on {on}"),
        Shortfall::Attribute(name) => format!("attribute {} not set on {on}", encode(name)),
        Shortfall::Device => format!("{} not made", counted(count, "device")),
        Shortfall::Socket => format!("{} left out: only its program can make it anew", counted(count, "socket")),
        Shortfall::Folder => format!("{} not finished", counted(count, "folder")),
        Shortfall::Many => format!("further shortfalls of other kinds: {count}"),
    };
    if error != 0 {
        let why = reason(&io::Error::from_raw_os_error(error));
        let unprivileged = error == Errno::PERM.raw_os_error() && !rustix::process::geteuid().is_root();
        let why = if unprivileged { "not root" } else { &why };
        text.push_str(&format!(" ({why})"));
    }
    text
}
