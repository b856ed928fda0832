//! Which name each later name of a file is linked to, decided once for everything that one command gives back of a source.
//!
//! In a snapshot the first name of a file carries its content. That name may not be asked for, or may not come back: then the
//! first name that does carries the content, and the others are linked to it. Nothing is linked to a name that may hold
//! something else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::entry::Entry;
use crate::base::path::EntryPath;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::restore::alone;
use crate::source::files::target::Several;
use crate::vault::read::Library;

/// Why a later name of a file cannot become a link.
pub fn first_is_lost(first: &EntryPath) -> String {
    format!("left alone: it is another name of {first}, which was not restored")
}

/// The names of one source.
#[derive(Default)]
pub struct Names {
    known: Mutex<Known>,
    /// Files with several names that stay as they are.
    pub several: Several,
}

#[derive(Default)]
struct Known {
    /// By the first name in the snapshot: the name that carries the content instead of it.
    carriers: BTreeMap<EntryPath, EntryPath>,
    /// What did not come back, folders with all that is in them.
    lost: BTreeSet<EntryPath>,
    /// Do these first names, which are not given back, hold what the snapshot says?
    standing: BTreeMap<EntryPath, bool>,
    /// Files that would be others: so would be their other names.
    anew: BTreeSet<EntryPath>,
}

impl Names {
    /// The entry as it is to be given back: a link to a name that is right by then, or a file of its own, to which later
    /// names are linked. `stands` says whether the first name is given back earlier, or holds already what it is to hold.
    pub fn given(
        &self,
        wanted: Entry,
        (record, library): (&SourceRecord, &Library<'_>),
        stands: impl FnOnce(&EntryPath) -> Result<bool, OpError>,
    ) -> Result<Entry, OpError> {
        if let Some(carrier) = self.carrier(wanted.link.as_ref().unwrap_or(&wanted.path)) {
            return match carrier == wanted.path {
                true => alone(wanted, record, library),
                false => Ok(Entry { link: Some(carrier), ..wanted }),
            };
        }
        let Some(first) = wanted.link.clone() else { return Ok(wanted) };
        if !self.is_lost(&first) && stands(&first)? {
            return Ok(wanted);
        }
        self.known().carriers.insert(first, wanted.path.clone());
        alone(wanted, record, library)
    }

    /// Notes that a path was left alone or could not be given back.
    pub fn lose(&self, path: &EntryPath) {
        self.known().lost.insert(path.clone());
    }

    /// Was it left alone, or could it not be given back?
    pub fn is_lost(&self, path: &EntryPath) -> bool {
        let known = self.known();
        !known.lost.is_empty()
            && std::iter::successors(Some(path.clone()), EntryPath::parent).any(|path| known.lost.contains(&path))
    }

    /// Does a first name that is not given back hold what the snapshot says? Found out once.
    pub fn is_standing(
        &self,
        first: &EntryPath,
        look: impl FnOnce() -> Result<bool, OpError>,
    ) -> Result<bool, OpError> {
        let known = self.known().standing.get(first).copied();
        if let Some(known) = known {
            return Ok(known);
        }
        let stands = look()?;
        self.known().standing.insert(first.clone(), stands);
        Ok(stands)
    }

    /// Notes that another file would stand there.
    pub fn renew(&self, path: &EntryPath) {
        self.known().anew.insert(path.clone());
    }

    pub fn is_anew(&self, path: &EntryPath) -> bool {
        self.known().anew.contains(path)
    }

    fn carrier(&self, first: &EntryPath) -> Option<EntryPath> {
        let carrier = self.known().carriers.get(first).cloned()?;
        (!self.is_lost(&carrier)).then_some(carrier)
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
