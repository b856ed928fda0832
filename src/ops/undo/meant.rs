//! What an undo without a name is about to take back, and whether that is what the last command did.
//!
//! Owns the rule that nobody's guess is carried out in silence: who has done something else since may mean something else.

use crate::base::name::Name;
use crate::base::time::Instant;
use crate::ops::actions::{Action, Actions, Kind, State};
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
        None => backup(snapshots, (host, &action.app), all.last().map_or(action.time, |last| last.time)),
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

/// The last backup of the same app that this host made since. Other hosts' are nobody's who is here.
fn backup(snapshots: &[Snapshot], (host, app): (&str, &Name), time: Instant) -> Option<Since> {
    let own = snapshots
        .iter()
        .map(|snapshot| &snapshot.manifest)
        .filter(|manifest| (&*manifest.host, &manifest.app) == (host, app));
    let later = own.filter(|manifest| manifest.reason != SAFETY && manifest.time > time);
    later.map(|manifest| manifest.time).max().map(|time| Since::Backup { time })
}
