//! What was lost since an earlier snapshot: rows, files, bytes, everything.
//!
//! Owns when a loss is an alarm. Compares what this host remembers of a source's last capture with the new one.

use crate::base::database::Database;
use crate::base::name::Name;
use crate::base::path::EntryPath;
use crate::base::record::name::joined;
use crate::format::manifest::{Alarm, Lost};
use crate::source::Source;
use crate::vault::commit::Found;
use crate::vault::recall::Measure;

/// Which share of something has to be gone to be an alarm, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub rows_lost: u8,
    pub files_lost: u8,
    pub bytes_lost: u8,
}

impl Default for Shares {
    fn default() -> Self {
        Self { rows_lost: 25, files_lost: 25, bytes_lost: 50 }
    }
}

/// Fewer rows or files than this are no alarm.
const HANDFUL: u64 = 10;
/// Fewer bytes are none.
const LITTLE: u64 = 1 << 20;

/// Everything that is alarming about a source.
pub fn of(name: &Name, source: &dyn Source, before: &Measure, found: &Found, shares: Shares) -> Vec<Alarm> {
    let (source_name, kept, snapshot) = (name.clone(), before.manifest.clone(), before.snapshot);
    let blank = |what, before, after| Alarm {
        source: source_name.clone(),
        what,
        path: None,
        table: None,
        before,
        after,
        why: None,
        kept: kept.clone(),
        snapshot,
    };
    // What could not be captured is told as that, and is no loss.
    if found.empty && found.uncaptured.count == 0 && !source.may_be_empty() {
        let tables = "its databases have no tables".to_owned();
        let why = Some(if found.extent.files == 0 { source.nothing() } else { tables });
        return vec![Alarm { why, ..blank(Lost::Empty, before.extent.files, found.extent.files) }];
    }
    let (had, has) = (&before.extent, &found.extent);
    let files = has.files + found.uncaptured.count;
    let all_out_of_reach = found.uncaptured.covers(&EntryPath::root());
    // How long such a database is, nobody knows.
    let bytes_known = !before.databases.iter().any(|old| is_out_of_reach(old, found));
    let mut alarms: Vec<Alarm> = before.databases.iter().flat_map(|old| rows(old, found, shares, &blank)).collect();
    if !all_out_of_reach && is_loss(had.files, files, shares.files_lost, HANDFUL) {
        alarms.push(blank(Lost::Files, had.files, has.files));
    }
    if !all_out_of_reach && bytes_known && is_loss(had.bytes, has.bytes, shares.bytes_lost, LITTLE) {
        alarms.push(blank(Lost::Bytes, had.bytes, has.bytes));
    }
    alarms
}

fn is_loss(before: u64, after: u64, share: u8, least: u64) -> bool {
    let lost = before.saturating_sub(after);
    lost >= least && u128::from(lost) * 100 > u128::from(before) * u128::from(share)
}

/// Could a database not be captured, so that nobody knows what it has?
fn is_out_of_reach(old: &Database, found: &Found) -> bool {
    found.uncaptured.covers(&old.path) && !found.databases.iter().any(|new| new.path == old.path)
}

/// Tables of a database that have lost rows; the database itself, when it is gone or none of its rows is left.
fn rows(old: &Database, found: &Found, shares: Shares, blank: &dyn Fn(Lost, u64, u64) -> Alarm) -> Vec<Alarm> {
    let alarm = |table: Option<&String>, before, after| {
        let alarm = Alarm { path: Some(old.path.clone()), table: table.cloned(), ..blank(Lost::Rows, before, after) };
        // The snapshot before has nothing of it: an earlier one has, and which is not remembered.
        if old.is_carried() { Alarm { kept: None, snapshot: None, ..alarm } } else { alarm }
    };
    let sum = |database: &Database| database.rows.values().fold(0, |sum: u64, rows| sum.saturating_add(*rows));
    if is_out_of_reach(old, found) {
        return Vec::new();
    }
    let Some(new) = found.databases.iter().find(|new| new.path == old.path) else {
        // How many rows a damaged one had is not known.
        let gone = is_loss(sum(old), 0, shares.rows_lost, HANDFUL) || old.damage.is_some();
        return gone.then(|| alarm(None, sum(old), 0)).into_iter().collect();
    };
    // A table that cannot be counted any more is told as damage.
    // Earlier versions wrote names with dots without quotes.
    let unquoted = |table: &String| new.rows.iter().find(|(name, _)| joined(name) == *table).map(|(_, rows)| rows);
    let rows_now = |table: &String| new.rows.get(table).or_else(|| unquoted(table)).copied();
    let now = |table: &String| rows_now(table).or((new.damage.is_none()).then_some(0));
    let lost = old.rows.iter().filter_map(|(table, &rows)| Some((table, rows, now(table)?)));
    let lost = lost.filter(|(_, before, after)| is_loss(*before, *after, shares.rows_lost, HANDFUL));
    let mut alarms: Vec<Alarm> = lost.map(|(table, before, after)| alarm(Some(table), before, after)).collect();
    // However few there were: a database that had something and has nothing is no ordinary day.
    let emptied = new.damage.is_none() && sum(old) > 0 && sum(new) == 0 && shares.rows_lost < 100;
    if emptied && alarms.is_empty() {
        let largest = old.rows.iter().max_by_key(|(_, rows)| **rows);
        alarms.extend(largest.map(|(table, &rows)| alarm(Some(table), rows, 0)));
    }
    alarms
}
