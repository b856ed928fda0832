//! What stands where a file was meant and is none: told, since what was meant is not captured.

use std::io;

use rustix::io::Errno;

use crate::base::entry::Kind;
use crate::base::path::EntryPath;
use crate::source::files::capture::Run;
use crate::source::files::database::Databases;
use crate::source::files::walk::Found;

/// Why what stands where a file was named cannot be that file.
pub(super) fn not_a_file(kind: Kind) -> io::Error {
    match kind {
        Kind::Dir => Errno::ISDIR.into(),
        other => io::Error::new(io::ErrorKind::InvalidInput, format!("it is {}", noun(other))),
    }
}

/// What something that is no file is called.
fn noun(kind: Kind) -> &'static str {
    match kind {
        Kind::File => "a file",
        Kind::Dir => "a folder",
        Kind::Symlink => "a link",
        Kind::Fifo => "a named pipe",
        Kind::Socket => "a socket",
        Kind::Char | Kind::Block => "a device",
    }
}

impl Run<'_> {
    /// Forgets folders that the walk has left without finding anything in them. One that stands where a file was meant is
    /// told.
    pub(super) fn leave(&mut self, next: Option<&EntryPath>) {
        while let Some(folder) = self.folders.pop_if(|folder| !next.is_some_and(|next| next.is_within(&folder.path))) {
            if self.source.only.as_ref().is_some_and(|only| only.means_a_file(&folder.path)) {
                self.skip_other(&folder.path, format!("is a folder, not {}", self.wanted()));
            }
        }
    }

    /// Tells of something that a glob names and that is no file: what it was to be is not captured.
    pub(super) fn tell_odd(&mut self, found: &Found) {
        let Ok(facts) = &found.facts else { return };
        if facts.kind != Kind::File && matches!(self.source.options.databases, Databases::Demand(_)) {
            self.skip_other(&found.path, format!("is {}, not a database", noun(facts.kind)));
        }
    }

    fn wanted(&self) -> &'static str {
        if matches!(self.source.options.databases, Databases::Demand(_)) { "a database" } else { "a file" }
    }
}
