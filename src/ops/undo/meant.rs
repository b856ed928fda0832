//! What an undo without a name is about to take back, and whether that is what the last command did.
//!
//! Owns the rule that nobody's guess is carried out in silence: who has done something else since may mean something else.

use crate::base::name::Name;
use crate::base::time::Instant;
use crate::format::manifest::Manifest;
use crate::ops::actions::{Action, Actions, Holding, Kind, State};
use crate::ops::error::OpError;
use crate::vault::select::SAFETY;
use crate::vault::snapshots::Snapshot;

/// What would be taken back.
pub struct Meant {
    pub action: Action,
    /// What this host has done since, on this vault; nothing where that was the last.
    pub since: Option<Since>,
}

/// Something that was done later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Since {
    Action { kind: Kind, time: Instant, failed: bool },
    Backup { time: Instant },
}

/// The last action that stands and is no undo.
pub fn meant(actions: &Actions, snapshots: &[Snapshot], host: &str) -> Result<Meant, OpError> {
    let action = actions.find(None)?;
    let mut all = actions.list()?;
    // Undoes of it that failed or were killed: this is about the same.
    let stands = |one: &Action| one.state == State::Done && one.undone_by.as_ref() != Some(&one.id);
    all.retain(|one| one.undoes.as_ref() != Some(&action.id) || stands(one));
    let last = all.last().filter(|last| doing(&all, last).is_none_or(|doing| doing.id != action.id));
    let since = match last {
        Some(last) => {
            let failed = last.undone_by.as_ref() == Some(&last.id);
            Some(Since::Action { kind: last.kind, time: last.time, failed })
        }
        None => backup(snapshots, (host, &action.app), all.last().unwrap_or(&action)),
    };
    Ok(Meant { action, since })
}

/// What stands because of an action: its own doing, or what had been taken back by what it took back.
fn doing<'a>(all: &'a [Action], last: &'a Action) -> Option<&'a Action> {
    let of = |id: &String| all.iter().find(|action| action.id == *id);
    match last.kind {
        Kind::Undo => {
            let undone = of(last.undoes.as_ref()?)?;
            doing(all, of(undone.undoes.as_ref()?)?)
        }
        _ => Some(last),
    }
}

/// The last backup of the same app that this host made since. Other hosts' are nobody's who is here. Where the clock was set
/// back, one that stands behind the safety snapshot was made later all the same.
fn backup(snapshots: &[Snapshot], (host, app): (&str, &Name), last: &Action) -> Option<Since> {
    let safety = snapshots.iter().position(|one| last.safety == Holding::Snapshot(one.manifest.id));
    let is_later =
        |(at, manifest): &(usize, &Manifest)| manifest.time > last.time || safety.is_some_and(|safety| *at > safety);
    let all = snapshots.iter().enumerate().map(|(at, snapshot)| (at, &snapshot.manifest));
    let own = all.filter(|(_, manifest)| (&*manifest.host, &manifest.app) == (host, app) && manifest.reason != SAFETY);
    own.filter(is_later).map(|(_, manifest)| manifest.time).next_back().map(|time| Since::Backup { time })
}
