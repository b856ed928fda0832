//! Choosing a snapshot: pure, over manifests that were read already.

use jiff::Zoned;

use crate::base::error::{Class, Explain};
use crate::base::point::{self, BadPoint};
use crate::base::selector::Selector;
use crate::vault::snapshots::Snapshot;

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
            && self
                .source
                .as_ref()
                .is_none_or(|name| manifest.sources.iter().any(|s| s.name.as_str() == name && s.failed.is_none()))
    }
}

#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    #[error("no snapshot fits {selector}")]
    None { selector: Selector, newest: Option<String> },
    #[error("{selector} fits {} snapshots", .candidates.len())]
    Ambiguous { selector: Selector, candidates: Vec<String> },
    #[error(transparent)]
    Point(#[from] BadPoint),
}

impl Explain for SelectError {
    fn class(&self) -> Class {
        match self {
            Self::None { .. } => Class::Failed,
            Self::Ambiguous { .. } | Self::Point(_) => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::None { newest: None, .. } => Some("there is no snapshot yet; make one with strongroom backup".into()),
            Self::None { newest: Some(newest), .. } => {
                Some(format!("see strongroom snapshots; the newest is {newest}"))
            }
            Self::Ambiguous { candidates, .. } => Some(format!("write more of one of {}", candidates.join(", "))),
            Self::Point(error) => error.hint(),
        }
    }
}

/// The snapshot that `selector` names among those that `filter` admits. `snapshots` are oldest first.
pub fn select<'s>(
    snapshots: &'s [Snapshot],
    selector: &Selector,
    filter: &Filter,
    now: &Zoned,
) -> Result<&'s Snapshot, SelectError> {
    let mut admitted = snapshots.iter().rev().filter(|snapshot| filter.admits(snapshot));
    let found = match selector {
        // Nobody who lost something means the snapshot made just before that was given back.
        Selector::Latest(n) => admitted.filter(|snapshot| snapshot.manifest.reason != SAFETY).nth(*n),
        Selector::At(text) => {
            let point = point::parse(text, now)?;
            admitted.find(|snapshot| snapshot.manifest.time <= point)
        }
        Selector::Tag(tag) => admitted.find(|snapshot| snapshot.manifest.tags.contains(tag)),
        Selector::Label(key, value) => admitted.find(|snapshot| snapshot.manifest.labels.get(key) == Some(value)),
        Selector::Revision(revision) => admitted.find(|snapshot| has_revision(snapshot, revision)),
        Selector::Prefix(prefix) => return by_prefix(snapshots, admitted.collect(), selector, prefix),
    };
    found.ok_or_else(|| none(snapshots, selector))
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
    SelectError::None { selector: selector.clone(), newest }
}
