//! Choosing a snapshot: pure, over manifests that were read already.

use std::collections::BTreeSet;
use std::fmt;

use jiff::Zoned;

use crate::base::error::{Class, Explain};
use crate::base::name::ObjectKey;
use crate::base::point::{self, BadPoint};
use crate::base::selector::Selector;
use crate::format::layout;
use crate::vault::error::VaultError;
use crate::vault::snapshots::{Snapshot, Snapshots};

/// Why a snapshot was made that keeps live data safe while something is given back: what its manifest says.
pub const SAFETY: &str = "safety";

/// Which snapshots are looked at in the first place.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub app: Option<String>,
    pub host: Option<String>,
    /// Only snapshots that hold a source of this name: one that could not be captured is in none.
    pub source: Option<String>,
}

impl Filter {
    pub fn admits(&self, snapshot: &Snapshot) -> bool {
        let manifest = &snapshot.manifest;
        self.app.as_ref().is_none_or(|app| manifest.app.as_str() == app)
            && self.host.as_ref().is_none_or(|host| manifest.host == *host)
            && self.source.as_ref().is_none_or(|name| {
                manifest.sources.iter().any(|s| s.name.as_str() == name && manifest.absence(s).is_none())
            })
    }
}

impl Filter {
    /// Refuses an app, a host or a source that no snapshot has: whoever mistypes one is not told that all is well. Where
    /// manifests could not be read, nobody knows.
    pub fn must_be_known(&self, snapshots: &Snapshots) -> Result<(), SelectError> {
        if snapshots.readable.is_empty() || Unread::of(snapshots).class().is_some() {
            return Ok(());
        }
        let manifests = || snapshots.readable.iter().map(|snapshot| &snapshot.manifest);
        let apps = || manifests().map(|manifest| manifest.app.to_string()).collect();
        let hosts = || manifests().map(|manifest| manifest.host.clone()).collect();
        let sources =
            || manifests().flat_map(|manifest| &manifest.sources).map(|source| source.name.to_string()).collect();
        known("app", self.app.as_ref(), apps)?;
        known("host", self.host.as_ref(), hosts)?;
        known("source", self.source.as_ref(), sources)
    }
}

fn known(what: &'static str, name: Option<&String>, all: impl FnOnce() -> BTreeSet<String>) -> Result<(), SelectError> {
    let Some(name) = name else { return Ok(()) };
    let known = all();
    if known.contains(name) {
        return Ok(());
    }
    Err(SelectError::Unknown { what, name: name.clone(), known: known.into_iter().collect() })
}

#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("no snapshot has the {what} {name}")]
    Unknown { what: &'static str, name: String, known: Vec<String> },
    #[error("no snapshot fits {selector}{unread}")]
    None { selector: Selector, newest: Option<String>, unread: Unread },
    #[error("{selector} fits {} snapshots", .candidates.len())]
    Ambiguous { selector: Selector, candidates: Vec<String> },
    #[error(transparent)]
    Point(#[from] BadPoint),
}

impl Explain for SelectError {
    fn class(&self) -> Class {
        match self {
            Self::None { unread, .. } => unread.class().unwrap_or(Class::Failed),
            Self::Ambiguous { .. } | Self::Point(_) | Self::Unknown { .. } => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::None { unread, .. } if unread.class().is_some() => {
                Some("what it meant may be among them: see strongroom verify".into())
            }
            Self::None { newest: None, .. } => Some("there is no snapshot yet; make one with strongroom backup".into()),
            Self::None { newest: Some(newest), .. } => {
                Some(format!("see strongroom snapshots; the newest is {newest}"))
            }
            Self::Unknown { known, .. } => Some(format!("there are {}", known.join(", "))),
            Self::Ambiguous { candidates, .. } => Some(format!("write more of one of {}", candidates.join(", "))),
            Self::Point(error) => error.hint(),
        }
    }
}

/// How many manifests could not be looked at: with them it is not certain that there is no such snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unread {
    pub damaged: u64,
    pub newer: u64,
    pub gone: u64,
}

impl Unread {
    pub fn of(snapshots: &Snapshots) -> Self {
        let count = |length: usize| length as u64;
        let Snapshots { damaged, newer, gone, .. } = snapshots;
        Self { damaged: count(damaged.len()), newer: count(newer.len()), gone: count(gone.len()) }
    }

    /// How a run ends that found no snapshot beside them.
    pub fn class(&self) -> Option<Class> {
        match self {
            Self { damaged: 0, newer: 0, gone: 0 } => None,
            Self { damaged: 0, gone: 0, .. } => Some(Class::Incomplete),
            _ => Some(Class::Damaged),
        }
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { damaged, newer, gone } = self;
        let counts = [(damaged, "damaged"), (newer, "of a newer format"), (gone, "gone")];
        let told: Vec<String> =
            counts.iter().filter(|(count, _)| **count > 0).map(|(count, word)| format!("{count} {word}")).collect();
        if told.is_empty() { Ok(()) } else { write!(f, " among those that can be read: {}", told.join(", ")) }
    }
}

impl SelectError {
    /// The same, told together with what could not be looked at. An id that fits nothing may be one of those too.
    pub fn beside(self, snapshots: &Snapshots) -> Self {
        match self {
            Self::None { selector, newest, .. } => Self::None { selector, newest, unread: Unread::of(snapshots) },
            other => other,
        }
    }
}

/// A snapshot that was selected.
#[derive(Clone, Copy, Debug)]
pub struct Selected<'s> {
    pub snapshot: &'s Snapshot,
    /// How many newer ones the selector fits that do not hold what was asked for.
    pub without: u64,
}

/// The snapshot that `selector` names among those that `filter` admits and that hold what is asked for, as `holds` says.
/// `snapshots` are oldest first. An id names one snapshot, whatever it holds.
pub fn select<'s, E: From<SelectError>>(
    snapshots: &'s [Snapshot],
    selector: &Selector,
    filter: &Filter,
    now: &Zoned,
    mut holds: impl FnMut(&'s Snapshot) -> Result<bool, E>,
) -> Result<Selected<'s>, E> {
    let admitted = snapshots.iter().rev().filter(|snapshot| filter.admits(snapshot));
    if let Selector::Prefix(prefix) = selector {
        let snapshot = by_prefix(snapshots, admitted.collect(), selector, prefix)?;
        return Ok(Selected { snapshot, without: 0 });
    }
    let fits = fit(selector, now)?;
    let (mut to_pass, mut without) = (if let Selector::Latest(n) = selector { *n } else { 0 }, 0);
    for snapshot in admitted.filter(|snapshot| fits(snapshot)) {
        match holds(snapshot)? {
            false => without += 1,
            true if to_pass > 0 => to_pass -= 1,
            true => return Ok(Selected { snapshot, without }),
        }
    }
    Err(none(snapshots, selector).into())
}

/// Whatever a snapshot holds will do.
pub fn whole(_: &Snapshot) -> Result<bool, SelectError> {
    Ok(true)
}

/// Is a snapshot one that a selector can mean?
type Fits<'f> = dyn Fn(&Snapshot) -> bool + 'f;

/// Which snapshots a selector may mean; the newest of them is meant.
fn fit<'f>(selector: &'f Selector, now: &Zoned) -> Result<Box<Fits<'f>>, SelectError> {
    let point = match selector {
        Selector::At(text) => Some(point::parse(text, now)?),
        _ => None,
    };
    Ok(Box::new(move |snapshot| {
        let manifest = &snapshot.manifest;
        // It holds what something was about to change, in part and as nobody wanted it: who means that says its id.
        manifest.reason != SAFETY
            && match selector {
                Selector::Latest(_) => true,
                Selector::At(_) => point.is_some_and(|point| snapshot.made <= point),
                Selector::Tag(tag) => manifest.tags.contains(tag),
                Selector::Label(key, value) => manifest.labels.get(key) == Some(value),
                Selector::Revision(revision) => has_revision(snapshot, revision),
                Selector::Prefix(_) => false,
            }
    }))
}

/// The manifests that could not be read and may be what the selector means rather than `chosen`: with them it is not
/// certain. An id is certain always.
pub fn doubts<'s>(
    snapshots: &'s Snapshots,
    selector: &Selector,
    chosen: &Snapshot,
    now: &Zoned,
) -> Result<Vec<Doubt<'s>>, SelectError> {
    let until = match selector {
        Selector::Prefix(_) => return Ok(Vec::new()),
        Selector::At(text) => Some(point::parse(text, now)?),
        _ => None,
    };
    let is_later = |object: &ObjectKey| {
        let time = layout::manifest_time(object);
        time.is_none_or(|time| time > chosen.made && until.is_none_or(|until| time <= until))
    };
    let proven: BTreeSet<&str> = snapshots
        .readable
        .iter()
        .filter(|snapshot| snapshot.made <= chosen.made)
        .filter_map(|snapshot| snapshot.manifest.previous.as_deref())
        .collect();
    // By a clock that was behind it may say an earlier time than what it was made after; what names it was made after it.
    let may_be_later =
        |object: &ObjectKey| is_later(object) || (object < &chosen.key && !proven.contains(object.as_str()));
    let unread = snapshots.damaged.iter().chain(&snapshots.newer).filter(|(object, _)| may_be_later(object));
    let gone = snapshots.gone.iter().filter(|object| is_later(object));
    let all = unread.map(|(object, error)| (object, Some(error))).chain(gone.map(|object| (object, None)));
    Ok(all.map(|(object, error)| Doubt { object, error }).collect())
}

/// A manifest that may be what is meant and cannot be read.
#[derive(Clone, Copy, Debug)]
pub struct Doubt<'s> {
    pub object: &'s ObjectKey,
    /// Why it cannot be read; `None` when it is gone.
    pub error: Option<&'s VaultError>,
}

/// Has a database of the snapshot seen the migration last? The beginning of its name will do, as far as it says anything.
fn has_revision(snapshot: &Snapshot, revision: &str) -> bool {
    const TELLING: usize = 4;
    let databases = snapshot.manifest.sources.iter().flat_map(|source| &source.databases);
    let ids = databases.filter_map(|database| Some(&database.revision.as_ref()?.id));
    ids.into_iter().any(|id| id == revision || (revision.len() >= TELLING && id.starts_with(revision)))
}

fn by_prefix<'s>(
    all: &'s [Snapshot],
    admitted: Vec<&'s Snapshot>,
    selector: &Selector,
    prefix: &str,
) -> Result<&'s Snapshot, SelectError> {
    let fits: Vec<_> =
        admitted.into_iter().filter(|snapshot| snapshot.manifest.id.to_hex().starts_with(prefix)).collect();
    match fits[..] {
        [] => Err(none(all, selector)),
        [one] => Ok(one),
        _ => {
            let digits = (prefix.len() + 4).clamp(8, 32);
            let candidates = fits.iter().map(|s| s.manifest.id.to_hex()[..digits].to_owned()).collect();
            Err(SelectError::Ambiguous { selector: selector.clone(), candidates })
        }
    }
}

fn none(snapshots: &[Snapshot], selector: &Selector) -> SelectError {
    let newest = snapshots.last().map(|snapshot| snapshot.manifest.id.short());
    SelectError::None { selector: selector.clone(), newest, unread: Unread::default() }
}
