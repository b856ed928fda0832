//! Recoveries into several databases that were broken off between their commits: all or nothing.
//!
//! Owns finding out which database has its rows, and taking them back where another has not. What was taken back already
//! is told by the images of the safety snapshot, so that it can be begun again however often it is broken off.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use crate::base::control::Control;
use crate::base::record::{Change, Records};
use crate::ops::actions::{Action, Actions};
use crate::ops::backup::Planned;
use crate::ops::error::OpError;
use crate::ops::recover::journal::Recovered;
use crate::ops::recover::{safety, together};
use crate::ops::undo;
use crate::record::error::RecordError;
use crate::record::inverse::{self, Images};
use crate::record::several::Several;
use crate::record::trace::{Trace, Written, any_as_written};
use crate::vault::unlocked::UnlockedVault;

/// What became of a recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Everything was written for good.
    Written,
    Nothing,
    /// What some databases had was taken back, since others had it not.
    TakenBack,
}

/// Databases by their places among several.
type Places = BTreeSet<usize>;

/// Finds out what became of a recovery into several databases, and takes back what is half.
pub(super) fn became(
    unlocked: &UnlockedVault,
    actions: &Actions,
    configured: &[Planned],
    (action, recovered): (&Action, &Recovered),
    (wait, control): (Duration, &Arc<Control>),
) -> Result<Became, OpError> {
    let trace = actions.trace(action)?;
    if trace.written.is_empty() {
        return Ok(if recovered.ready { Became::Written } else { Became::Nothing });
    }
    let first = recovered.database(configured)?;
    let mut live = together::several(&first, &recovered.joined(configured)?, wait, control)?;
    let mut rows: BTreeMap<usize, Vec<&Written>> = BTreeMap::new();
    for written in &trace.written {
        // A table that is gone by now tells nothing.
        if let Ok(at) = live.whose(&written.table) {
            rows.entry(at).or_default().push(written);
        }
    }
    let mut lasting = Places::new();
    for (at, rows) in &rows {
        if lasts(&live, *at, recovered.mark(*at), rows)? {
            lasting.insert(*at);
        }
    }
    match lasting.len() {
        0 => Ok(Became::Nothing),
        all if all == rows.len() => Ok(Became::Written),
        _ => {
            let all = unlocked.snapshots()?.readable;
            let safety = undo::manifest(&all, action, action.safety)?;
            let images = safety.map(|safety| safety::images(unlocked, safety, actions, action)).transpose()?.flatten();
            let lost = || RecordError::Image("the safety snapshot has no rows".to_owned());
            take_back(&mut live, &mut images.ok_or_else(lost)?, &trace, lasting)?;
            Ok(Became::TakenBack)
        }
    }
}

/// Does one database have its rows for good? Where it cannot say, they themselves do.
fn lasts(live: &Several<dyn Change>, at: usize, mark: Option<&String>, rows: &[&Written]) -> Result<bool, OpError> {
    if let Some(mark) = mark
        && let Some(lasted) = live.store(at).lasted(mark).map_err(RecordError::store)?
    {
        return Ok(lasted);
    }
    Ok(any_as_written(live, rows.iter().copied())?)
}

/// Makes the rows of some databases what they were.
fn take_back(
    live: &mut Several<dyn Change>,
    images: &mut dyn Images,
    trace: &Trace,
    mut lasting: Places,
) -> Result<(), RecordError> {
    let changed = inverse::changed(images, live)?;
    lasting.retain(|at| changed.iter().any(|table| live.whose(table).is_ok_and(|whose| whose == *at)));
    let mut theirs = BTreeSet::new();
    for table in live.tables()? {
        if lasting.contains(&live.whose(&table.name)?) {
            theirs.insert(table.name);
        }
    }
    let (written, others): (Vec<_>, Vec<_>) =
        trace.written.iter().cloned().partition(|written| theirs.contains(&written.table));
    let mut was = Trace { written, ..trace.clone() };
    // What the others hold they held before.
    was.referring.extend(others.into_iter().map(|written| (written.table, written.key)));
    let is_meant = |table: &str| theirs.contains(table);
    inverse::restore_some(images, live, &was, &is_meant).map(|_| ())
}
