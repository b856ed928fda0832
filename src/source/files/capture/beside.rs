//! Files named like what SQLite keeps beside a database: a part of it, or something of their own if there is no such database.

use crate::base::capture::Known;
use crate::base::entry::Kind;
use crate::base::path::EntryPath;
use crate::engine::sqlite::COMPANIONS;
use crate::source::files::capture::{Run, size_of};
use crate::source::files::database::Databases;
use crate::source::files::deliver::{Companion, Pending};
use crate::source::files::links::Role;
use crate::source::files::metadata::Facts;
use crate::source::files::walk::Found;

impl Run<'_> {
    /// Logs and journals are part of the database they are named for, if there is one.
    pub(super) fn may_belong_to_a_database(&self, found: &Found) -> bool {
        matches!(self.source.options.databases, Databases::Recognise(_))
            && matches!(&found.facts, Ok(facts) if facts.kind == Kind::File)
            && main_file(&found.path).is_some()
    }

    pub(super) fn companion(&mut self, found: Found, facts: &Facts, known: Option<Known>, role: Role) {
        let Some(main) = main_file(&found.path) else { return };
        let path = found.path.clone();
        let (first, otherwise) = match (role, known) {
            (Role::Only, Some(known)) => (None, Pending::Repeat { known, size: size_of(facts) }),
            (Role::Only, None) => (None, Pending::Own(Box::new(self.request(found, facts)), None)),
            (Role::First(first), _) => {
                (Some(first.clone()), Pending::Own(Box::new(self.request(found, facts)), Some(first)))
            }
            (Role::Later(first), _) => (None, self.later(found, facts, first)),
        };
        self.deliver.push(Pending::Companion(Box::new(Companion { main, path, first, otherwise })));
    }
}

/// The database that a log or journal of this name belongs to.
fn main_file(path: &EntryPath) -> Option<EntryPath> {
    let main = COMPANIONS.iter().find_map(|end| path.as_bytes().strip_suffix(end.as_bytes()))?;
    EntryPath::from_bytes(main).ok()
}
