//! Databases that were damaged when they were captured: which of what is given back or read are some, and where else such
//! a database is sound.
//!
//! A snapshot keeps what it finds, and `latest` means it all the same. The manifest has what the engine's own check
//! complained about, so that whoever gives such a database back, or reads from it, is told.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;

use crate::base::entry::Kind;
use crate::engine::sqlite::ask::AskError;
use crate::format::manifest::Manifest;
use crate::ops::databases::Place;
use crate::ops::error::{OpError, Problem};
use crate::ops::show::{self, Part};
use crate::record::error::RecordError;
use crate::vault::select::SAFETY;
use crate::vault::snapshots::Snapshot;
use crate::vault::unlocked::UnlockedVault;

/// A database that was damaged when it was captured.
#[derive(Clone, Debug)]
pub struct Damaged<'m> {
    pub manifest: &'m Manifest,
    pub place: Place<'m>,
    /// What the check complained about.
    pub damage: &'m str,
}

impl<'m> Damaged<'m> {
    /// The database, if it was damaged.
    pub fn of(place: &Place<'m>, manifest: &'m Manifest) -> Option<Self> {
        let damage = place.known?.damage.as_deref()?;
        Some(Self { manifest, place: place.clone(), damage })
    }

    /// Those among these parts of a snapshot; among everything where there is none.
    pub fn among(manifest: &'m Manifest, parts: &[Part]) -> Vec<Self> {
        let places = Place::all(manifest).into_iter().filter(|place| is_meant(place, manifest, parts));
        places.filter_map(|place| Self::of(&place, manifest)).collect()
    }

    /// The database that an error of these snapshots is about: because it is not sound, something could not be read.
    pub fn behind(error: &OpError, manifests: &[&'m Manifest]) -> Option<Self> {
        let label = unsound(error)?;
        let all =
            || manifests.iter().flat_map(|manifest| Place::all(manifest).into_iter().map(|place| (place, *manifest)));
        let named = all().find(|(place, _)| place.label() == label);
        // A snapshot that was not checked says nothing of damage.
        let presumed = |(place, manifest): (Place<'m>, &'m Manifest)| {
            let damage = place.known.and_then(|known| known.damage.as_deref()).unwrap_or_default();
            Self { manifest, place, damage }
        };
        named.map(presumed).or_else(|| manifests.iter().flat_map(|manifest| Self::among(manifest, &[])).next())
    }

    /// The newest snapshot in which the database is sound: found so by a check, or else not known to be damaged.
    pub fn sound<'s>(&self, snapshots: &'s [Snapshot]) -> Option<&'s Manifest> {
        let is_checked = |place: &Place<'_>| place.known.is_some_and(|known| known.is_sound());
        let is_unknown = |place: &Place<'_>| place.known.is_some_and(|known| known.damage.is_none());
        self.newest(snapshots, &is_checked).or_else(|| self.newest(snapshots, &is_unknown))
    }

    fn newest<'s>(&self, snapshots: &'s [Snapshot], is_fit: &dyn Fn(&Place<'_>) -> bool) -> Option<&'s Manifest> {
        let other = |manifest: &&Manifest| {
            manifest.id != self.manifest.id && !manifest.is_partial() && manifest.reason != SAFETY
        };
        let has = |manifest: &&'s Manifest| {
            let is_it = |place: &Place<'_>| self.is_in(place, manifest) && is_fit(place);
            Place::all(manifest).iter().any(|place| is_it(place) && manifest.emptied(place.source).is_none())
        };
        snapshots.iter().rev().map(|snapshot| &snapshot.manifest).filter(other).find(has)
    }

    /// A database is the same where it lived in the same place, or is called the same of the same app.
    fn is_in(&self, place: &Place<'_>, manifest: &Manifest) -> bool {
        let lives_there = || manifest.host == self.manifest.host && place.live() == self.place.live();
        (manifest.app == self.manifest.app && place.label() == self.place.label()) || lives_there()
    }
}

/// For people.
impl fmt::Display for Damaged<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (label, snapshot) = (self.place.label(), self.manifest.id.short());
        write!(f, "{label} of {snapshot} was damaged when it was captured: {}", self.damage)
    }
}

/// Is this place within one of these parts; within everything where there is none?
fn is_meant(place: &Place<'_>, manifest: &Manifest, parts: &[Part]) -> bool {
    let of = |part: &Part| {
        let source = part.source_of(manifest);
        source.is_ok_and(|source| source.name == place.source.name) && place.path.is_within(&part.path)
    };
    parts.is_empty() || parts.iter().any(of)
}

/// Empty files among these parts that are databases with rows in another snapshot of the app: what they are called, and the
/// newest such snapshot. Only the first backup that met such a file raised an alarm.
pub fn emptied<'s>(
    unlocked: &UnlockedVault,
    manifest: &Manifest,
    parts: &[Part],
    snapshots: &'s [Snapshot],
) -> Result<Vec<(String, &'s Manifest)>, OpError> {
    let library = unlocked.library()?;
    let (mut looked, mut found) = (BTreeSet::new(), Vec::new());
    let others = snapshots.iter().rev().map(|snapshot| &snapshot.manifest);
    for other in others.filter(|other| other.app == manifest.app && other.id != manifest.id && !other.is_partial()) {
        for place in Place::all(other) {
            let has_rows = place.known.is_some_and(|known| known.rows.values().any(|rows| *rows > 0));
            let Some(source) = manifest.sources.iter().find(|source| source.name == place.source.name) else {
                continue;
            };
            let own = Place::at(source, &place.path);
            if !has_rows || own.known.is_some() || !is_meant(&own, manifest, parts) || !looked.insert(own.label()) {
                continue;
            }
            let entry = show::one(&library, source, &own.path)?;
            if entry.is_some_and(|entry| entry.kind == Kind::File && entry.link.is_none() && entry.size == 0) {
                found.push((own.label(), other));
            }
        }
    }
    Ok(found)
}

/// What a captured database is called that is not sound, if that is why something could not be read.
fn unsound<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e str> {
    match error.downcast_ref() {
        Some(AskError::Unsound { label, .. }) => return Some(label),
        Some(_) => return None,
        None => {}
    }
    // Errors of other floors come wrapped in those of this one and of the seams between.
    if let Some(RecordError::Store(error)) = error.downcast_ref() {
        return unsound(&*error.0);
    }
    match error.downcast_ref()? {
        OpError::Ask(error) => unsound(error),
        OpError::Record(error) => unsound(error),
        OpError::Problem(Problem::Content(error)) => unsound(&**error),
        OpError::Problem(Problem::Beside { error, .. }) => unsound(&**error),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask() -> AskError {
        AskError::Unsound { label: "db".to_owned(), reason: "database disk image is malformed".to_owned() }
    }

    #[test]
    fn an_unsound_database_is_known_through_every_error_that_passes_it_on() {
        let store = |error| OpError::from(RecordError::store(error));
        let beside = Problem::Beside { source_name: "db".to_owned(), error: Box::new(ask().into()) };
        let errors = [
            ask().into(),
            store(Box::new(ask())),
            store(Box::new(RecordError::store(Box::new(ask())))),
            store(OpError::from(ask()).into_explained()),
            Problem::Content(Box::new(ask())).into(),
            beside.into(),
        ];
        for error in errors {
            assert_eq!(unsound(&error), Some("db"), "{error:?}");
        }
        assert_eq!(unsound(&OpError::from(AskError::Several)), None);
        assert_eq!(unsound(&OpError::from(Problem::Interrupted)), None);
    }
}
