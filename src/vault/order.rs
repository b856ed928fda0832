//! The order in which snapshots were made, where clocks cannot be relied on.
//!
//! Snapshots sort by the time in their names. One that says it was made in the future would be the newest until then. Each
//! manifest names the newest there was when it was begun: what names one from the future was made after it.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::base::time::Instant;
use crate::vault::snapshots::Snapshot;

/// Clocks of hosts may differ by so much.
const APART: Duration = Duration::from_secs(600);

/// Does it say that it was made later than now?
pub fn is_ahead(time: Instant, now: Instant) -> bool {
    let ahead = time.timestamp().as_second().saturating_sub(now.timestamp().as_second());
    ahead > APART.as_secs() as i64
}

/// Puts those from the future before the first that was made after them. One that nothing was made after stays the newest.
pub(super) fn by_making(snapshots: Vec<Snapshot>, now: Instant) -> Vec<Snapshot> {
    let name = |snapshot: &Snapshot| snapshot.key.as_str().to_owned();
    let ahead: BTreeSet<String> =
        snapshots.iter().filter(|snapshot| is_ahead(snapshot.manifest.time, now)).map(name).collect();
    if ahead.is_empty() {
        return snapshots;
    }
    let mut place: HashMap<String, usize> = snapshots
        .iter()
        .enumerate()
        .filter(|(_, one)| !ahead.contains(one.key.as_str()))
        .map(|(at, one)| (name(one), at))
        .collect();
    // Several of them may follow each other: as many rounds as there are links in the longest chain, and no more.
    for _ in 0..=ahead.len() {
        let mut moved = false;
        for snapshot in &snapshots {
            let before = snapshot.manifest.previous.as_ref().filter(|name| ahead.contains(*name));
            let (Some(before), Some(&at)) = (before, place.get(snapshot.key.as_str())) else { continue };
            if place.get(before).is_none_or(|known| at < *known) {
                place.insert(before.clone(), at);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    // Those from the future come before the one they are placed at, among themselves as their names sort.
    let key = |snapshot: &Snapshot| {
        let at = place.get(snapshot.key.as_str()).copied().unwrap_or(usize::MAX);
        (at, !ahead.contains(snapshot.key.as_str()), name(snapshot))
    };
    let mut snapshots = snapshots;
    snapshots.sort_by_cached_key(key);
    snapshots
}
