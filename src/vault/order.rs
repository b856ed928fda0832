//! The order in which snapshots were made, where clocks cannot be relied on.
//!
//! Snapshots sort by the time in their names. One by a clock that is ahead would be the newest until then, and one by a clock
//! that is behind would never be. Each manifest names the newest there was when it was begun: what names another was made after
//! it, whatever the two say of their times.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::name::ObjectKey;
use crate::base::time::Instant;
use crate::format::layout;
use crate::vault::snapshots::Snapshot;

/// Clocks of hosts may differ by so much.
const APART: Duration = Duration::from_secs(600);

/// Does it say that it was made later than now?
pub fn is_ahead(time: Instant, now: Instant) -> bool {
    let ahead = time.timestamp().as_second().saturating_sub(now.timestamp().as_second());
    ahead > APART.as_secs() as i64
}

/// When a snapshot was made at the earliest, where it says that it was made much before that.
pub fn made_after(snapshot: &Snapshot) -> Option<Instant> {
    Some(snapshot.made).filter(|made| is_ahead(*made, snapshot.manifest.time))
}

/// Where a snapshot stands: no earlier than what it was made after. Of those that stand at the time of another, that one
/// comes first, and then those with the fewest between; among themselves they stand as their own times say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    time: Instant,
    after: usize,
}

/// Puts every snapshot after what it was made after, and notes when that was. One from the future that nothing was made after
/// stays the newest.
pub(super) fn by_making(mut snapshots: Vec<Snapshot>, now: Instant) -> Vec<Snapshot> {
    let known: HashMap<&ObjectKey, usize> =
        snapshots.iter().enumerate().map(|(at, snapshot)| (&snapshot.key, at)).collect();
    let before: Vec<Before> = snapshots.iter().map(|snapshot| Before::of(snapshot, &known, now)).collect();
    let own = |at: usize| Standing { time: snapshots[at].manifest.time, after: 0 };
    let mut standing: Vec<Option<Standing>> = vec![None; snapshots.len()];
    for at in 0..snapshots.len() {
        // What names each other in a circle says nothing: a chain ends where it has been.
        let (mut chain, mut next) = (Vec::new(), Some(at));
        while let Some(one) = next.filter(|one| standing[*one].is_none()) {
            standing[one] = Some(own(one));
            chain.push(one);
            next = match before[one] {
                Before::Snapshot(before) => Some(before),
                _ => None,
            };
        }
        while let Some(one) = chain.pop() {
            let after = match before[one] {
                Before::Snapshot(before) => standing[before].map(Standing::next),
                Before::Gone(time) => Some(Standing { time, after: 1 }),
                Before::Nothing => None,
            };
            standing[one] = standing[one].max(after.filter(|after| after.time > own(one).time));
        }
    }
    let made: Vec<Standing> = (0..snapshots.len()).map(|at| standing[at].unwrap_or_else(|| own(at))).collect();
    for (snapshot, made) in snapshots.iter_mut().zip(&made) {
        // By a clock that is ahead nobody knows when anything was made.
        let is_known = !is_ahead(made.time, now);
        snapshot.made = if is_known { made.time } else { snapshot.manifest.time };
    }
    let mut placed: Vec<(Standing, Snapshot)> = made.into_iter().zip(snapshots).collect();
    placed.sort_by(|(one, this), (other, that)| (one, &this.key).cmp(&(other, &that.key)));
    placed.into_iter().map(|(_, snapshot)| snapshot).collect()
}

/// What a snapshot was made after.
enum Before {
    Nothing,
    Snapshot(usize),
    /// One that cannot be read or is gone. Its name tells the time.
    Gone(Instant),
}

impl Before {
    fn of(snapshot: &Snapshot, known: &HashMap<&ObjectKey, usize>, now: Instant) -> Self {
        let previous: Option<ObjectKey> = snapshot.manifest.previous.as_ref().and_then(|name| name.parse().ok());
        let Some(previous) = previous else { return Self::Nothing };
        if let Some(at) = known.get(&previous) {
            return Self::Snapshot(*at);
        }
        // Whoever names one from the future that is not there would be the newest for good.
        let time = layout::manifest_time(&previous).filter(|time| !is_ahead(*time, now));
        time.map_or(Self::Nothing, Self::Gone)
    }
}

impl Standing {
    fn next(self) -> Self {
        Self { after: self.after.saturating_add(1), ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::manifest::Manifest;

    fn key(hour: i64, number: u8) -> ObjectKey {
        layout::manifest(at(hour), crate::base::id::SealedDigest::from_bytes([number; 32]))
    }

    fn at(hour: i64) -> Instant {
        Instant::from_unix(1_800_000_000 + hour * 3600, 0)
    }

    /// One that says `hour`, and was made after another.
    fn made(hour: i64, number: u8, previous: Option<ObjectKey>) -> Snapshot {
        let time = at(hour);
        let manifest: Manifest = serde_json::from_value(json!({
            "format": 1, "id": format!("{number:032x}"), "vault": "00".repeat(16), "time": time, "finished": time,
            "host": "h", "user": "u", "app": "a", "reason": "manual", "tool": "t", "previous": previous,
            "sources": [], "bytes": 0, "bytes_read": 0, "bytes_new": 0, "bytes_stored": 0,
        }))
        .unwrap();
        Snapshot { key: key(hour, number), made: time, manifest }
    }

    /// Their numbers, in order, at hour 100.
    fn order(mut snapshots: Vec<Snapshot>) -> Vec<u8> {
        snapshots.sort_by(|one, other| one.key.cmp(&other.key));
        let ordered = by_making(snapshots, at(100));
        ordered.iter().map(|snapshot| snapshot.manifest.id.to_hex()[30..].parse().unwrap()).collect()
    }

    #[test]
    fn what_was_made_after_another_stands_after_it_whatever_it_says() {
        let (one, two) = (made(10, 1, None), made(20, 2, Some(key(10, 1))));
        let behind = made(5, 3, Some(key(20, 2)));
        let later = made(21, 4, Some(key(20, 2)));
        assert_eq!(order(vec![one.clone(), two.clone(), behind.clone(), later.clone()]), [1, 2, 3, 4]);
        // Also where that is gone, or where it was made after one that is behind itself.
        assert_eq!(order(vec![one.clone(), behind.clone(), later.clone()]), [1, 3, 4]);
        let last = made(4, 5, Some(key(5, 3)));
        assert_eq!(order(vec![one.clone(), two.clone(), behind, last, later]), [1, 2, 3, 5, 4]);
        // One from the future stands before what was made after it, and last where nothing was.
        let ahead = made(500, 6, Some(key(20, 2)));
        assert_eq!(order(vec![one.clone(), two.clone(), ahead.clone()]), [1, 2, 6]);
        let after = [made(30, 7, Some(ahead.key.clone())), made(15, 8, Some(ahead.key.clone()))];
        assert_eq!(order([&[one, two, ahead][..], &after].concat()), [1, 2, 6, 8, 7]);
    }

    #[test]
    fn what_manifests_falsely_say_of_each_other_ends_and_leaves_them_in_order() {
        let circle = vec![made(10, 1, Some(key(30, 3))), made(20, 2, Some(key(10, 1))), made(30, 3, Some(key(20, 2)))];
        assert_eq!(order(circle).len(), 3);
        let own = made(10, 1, Some(key(10, 1)));
        // Nobody is the newest for good by naming one from the future that is not there.
        let far = made(11, 2, Some(key(9000, 9)));
        assert_eq!(order(vec![own, far, made(12, 3, None)]), [1, 2, 3]);
        let chain = (1..20_000).map(|hour| made(-hour, 1, Some(key(1 - hour, 1)))).collect();
        assert_eq!(order(chain).len(), 19_999);
    }
}
