//! The paths that a change touches, in order, each with what is to be there and what is there.

use crate::base::entry::Entry;
use crate::base::path::EntryPath;
use crate::format::manifest::SourceRecord;
use crate::ops::error::OpError;
use crate::ops::restore::claims::Claims;
use crate::ops::restore::live::Place;
use crate::vault::error::VaultError;
use crate::vault::read::{self, Library};

/// One path.
pub(in crate::ops) struct Step {
    pub path: EntryPath,
    /// What it is in the snapshot that says what is touched.
    pub touched: Entry,
    pub wanted: Option<Entry>,
    /// What the safety snapshot says; `None` as well if there is none.
    pub now: Option<Entry>,
}

/// Why a path cannot be walked on to.
pub(in crate::ops) enum Trouble {
    /// Some paths cannot be told: they are not touched.
    Touched(VaultError),
    /// What is to be there, or what is, cannot be told: going on could remove what should stay.
    Fatal(OpError),
}

/// What another part decides over is passed over.
pub(in crate::ops) struct Walk<'w> {
    claims: &'w Claims,
    part: usize,
    seen: bool,
    touches: read::Entries<'w>,
    gives: Option<Sorted<'w>>,
    /// What is touched is given as it is.
    same: bool,
    before: Option<Sorted<'w>>,
}

impl<'w> Walk<'w> {
    pub fn new(place: &Place<'_>, claims: &'w Claims, library: &'w Library<'w>) -> Self {
        let path = &place.part.path;
        let same = place.gives.is_some_and(|gives| gives.listing == place.touches.listing);
        Self {
            claims,
            part: place.number,
            seen: false,
            touches: read::entries(&place.touches.listing, path, library),
            gives: place.gives.filter(|_| !same).map(|gives| Sorted::new(gives, path, library)),
            same,
            before: place.before.flatten().map(|before| Sorted::new(before, path, library)),
        }
    }

    /// Was there any path, whoever decides over it?
    pub fn seen(&self) -> bool {
        self.seen
    }

    fn step(&mut self, touched: Entry) -> Result<Step, OpError> {
        let path = touched.path.clone();
        let now = self.before.as_mut().map(|before| before.take(&path)).transpose()?.flatten();
        let wanted = match (&mut self.gives, self.same) {
            (_, true) => Some(touched.clone()),
            (Some(gives), _) => gives.take(&path)?,
            (None, _) => None,
        };
        Ok(Step { path, touched, wanted, now })
    }
}

impl Iterator for Walk<'_> {
    type Item = Result<Step, Trouble>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let touched = self.touches.next()?;
            self.seen = true;
            match touched {
                Ok(touched) if !self.claims.decides(self.part, &touched.path) => {}
                Ok(touched) => return Some(self.step(touched).map_err(Trouble::Fatal)),
                Err(error) => return Some(Err(Trouble::Touched(error))),
            }
        }
    }
}

/// A listing that is asked for paths in order.
pub(in crate::ops) struct Sorted<'r>(std::iter::Peekable<read::Entries<'r>>);

impl<'r> Sorted<'r> {
    pub fn new(record: &SourceRecord, folder: &EntryPath, library: &'r Library<'r>) -> Self {
        Self(read::entries(&record.listing, folder, library).peekable())
    }

    pub fn take(&mut self, path: &EntryPath) -> Result<Option<Entry>, OpError> {
        loop {
            let Some(next) = self.0.next_if(|next| next.as_ref().map_or(true, |next| next.path <= *path)) else {
                return Ok(None);
            };
            let next = next?;
            if next.path == *path {
                return Ok(Some(next));
            }
        }
    }
}

/// The entry of exactly this path.
pub(in crate::ops) fn find(
    record: &SourceRecord,
    path: &EntryPath,
    library: &Library<'_>,
) -> Result<Option<Entry>, OpError> {
    let first = read::entries(&record.listing, path, library).next().transpose()?;
    Ok(first.filter(|entry| entry.path == *path))
}
