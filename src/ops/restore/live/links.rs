//! Names of one file: which of them are linked to which, and what is left alone since it could not be right.
//!
//! Decided in the order in which files are given back, by the dry run as by the run: whatever took the place of the first
//! name, a later one is made a link to what is there by then.

use crate::base::entry::Entry;
use crate::base::error::Explained;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::restore::alone;
use crate::ops::restore::claims::Claims;
use crate::ops::restore::live::database::is_database;
use crate::ops::restore::live::walk::find;
use crate::ops::restore::live::{Change, Place, file_parts};
use crate::ops::restore::names::first_is_lost;
use crate::source::files::target::{Found, Target};
use crate::vault::extents;
use crate::vault::read::Library;

/// As which a path is given back, or why it is not.
pub(super) type AsGiven = Result<Entry, String>;

impl Place<'_> {
    /// The earlier parts of the same source: what of it is given back before this one.
    pub(super) fn earlier(change: &Change<'_>, (number, source): (usize, &Name)) -> Vec<(usize, EntryPath)> {
        let parts = file_parts(change).take(number).filter(|(_, part)| part.source == *source);
        parts.map(|(number, part)| (number, part.path.clone())).collect()
    }

    /// As which a path is given back that is no database by itself. `target` is where it lives, if that is there.
    pub(super) fn given(
        &self,
        wanted: Entry,
        claims: &Claims,
        (library, target): (&Library<'_>, Option<&Target>),
    ) -> Result<AsGiven, OpError> {
        let Some(record) = self.gives else { return Ok(Ok(wanted)) };
        // A database is no file to be replaced: an app may have it open by this name.
        if let Some(first) = wanted.link.as_ref().filter(|first| self.names.is_lost(first))
            && let Some(carrier) = find(record, first, library)?
            && is_database(&carrier, record, library)?
        {
            return Ok(Err(first_is_lost(first)));
        }
        let stands = |first: &EntryPath| {
            let comes_first = self.comes_first(first, claims, library)?;
            Ok(comes_first || self.names.is_standing(first, || self.holds(first, library, target))?)
        };
        self.names.given(wanted, (record, library), stands).map(Ok)
    }

    /// Is the first name of a file given back before its later ones in this part?
    fn comes_first(&self, first: &EntryPath, claims: &Claims, library: &Library<'_>) -> Result<bool, OpError> {
        let mut parts =
            self.earlier.iter().map(|(number, path)| (*number, path)).chain([(self.number, &self.part.path)]);
        let is_decided = parts.any(|(number, path)| first.is_within(path) && claims.decides(number, first));
        Ok(is_decided && self.is_listed(first, library)?)
    }

    /// Does the first name of a file, which is not given back, hold what the snapshot says, with all that belongs to a file?
    /// By the safety snapshot, or else by what stands there.
    fn holds(&self, first: &EntryPath, library: &Library<'_>, target: Option<&Target>) -> Result<bool, OpError> {
        let whole = |record: &SourceRecord| {
            let entry = find(record, first, library)?;
            entry.map(|entry| alone(entry, record, library)).transpose()
        };
        let Some(wanted) = self.gives.map(whole).transpose()?.flatten() else { return Ok(false) };
        if let Some(now) = self.before.flatten().map(whole).transpose()?.flatten() {
            return Ok(now == wanted && target.is_some_and(|target| target.leave(&wanted)));
        }
        let extents = extents::of_file(&wanted, library);
        let mut extents = extents.map(|extent| extent.map_err(|error| Box::new(error) as Explained));
        let found = target.and_then(|target| target.look(&wanted, &mut extents).ok());
        Ok(found == Some(Found::Same))
    }

    /// Is a path of this part among those that are changed?
    pub(super) fn is_touched(&self, path: &EntryPath, library: &Library<'_>) -> Result<bool, OpError> {
        Ok(path.is_within(&self.part.path) && self.is_listed(path, library)?)
    }

    /// Is a path, to which the listing of what is given links, in the one of what is touched?
    fn is_listed(&self, path: &EntryPath, library: &Library<'_>) -> Result<bool, OpError> {
        let is_same = self.gives.is_some_and(|gives| gives.listing == self.touches.listing);
        Ok(is_same || find(self.touches, path, library)?.is_some())
    }
}
